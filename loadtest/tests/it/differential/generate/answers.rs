//! Answers: what servers send, what they may send, and what two programs would read differently.

use super::{
    Maker,
    requests::{filling, latin1},
};
use crate::differential::scenario::{Answer, Text, Then, When};

const STATUSES: [&str; 26] = [
    "200 OK",
    "200 OK",
    "200 OK",
    "200 OK",
    "200 OK",
    "201 Created",
    "202 Accepted",
    "204 No Content",
    "205 Reset Content",
    "206 Partial Content",
    "301 Moved Permanently",
    "302 Found",
    "304 Not Modified",
    "304 Not Modified",
    "400 Bad Request",
    "401 Unauthorized",
    "404 Not Found",
    "413 Content Too Large",
    "417 Expectation Failed",
    "426 Upgrade Required",
    "429 Too Many Requests",
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "299 Something Else",
    "599 Even Odder",
];

/// First lines that are odd or wrong.
const ODD_LINES: [&str; 22] = [
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.1 200 \u{e9}\u{ff}",
    "HTTP/1.1 200  two spaces",
    "HTTP/1.1 999 x",
    "HTTP/1.1 600 x",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 200OK",
    "HTTP/1.1 20 x",
    "HTTP/1.1 2000 x",
    "HTTP/1.1 099 x",
    "HTTP/1.1 000 x",
    "HTTP/1.2 200 OK",
    "HTTP/2 200 OK",
    "HTTP/2.0 200 OK",
    "http/1.1 200 OK",
    "ICY 200 OK",
    "",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1 200\tOK",
    "HTTP/1.1 101 Switching Protocols",
    "HTTP/1.1 200 O\rK",
];

const FIELDS: [&str; 47] = [
    "Server: cell",
    "Date: Thu, 01 Jan 1970 00:00:00 GMT",
    "Set-Cookie: a=1; Path=/",
    "Set-Cookie: b=2",
    "set-cookie: c",
    "Content-Type: text/plain",
    "ETag: \"x\"",
    "Vary: accept",
    "Location: /x",
    "Alt-Svc: h2=\":443\"",
    "Allow: GET",
    "X-Empty:",
    "X-Obs: \u{ff}\u{e9}",
    "x-under_score: 1",
    "Retry-After: 5",
    "Age: 0",
    "X-Tab:\tx\t",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Keep-Alive, X-Hop",
    "connection: x-hop, set-cookie",
    "Connection: content-length",
    "Connection: transfer-encoding",
    "Connection: upgrade",
    "Connection: date",
    "Connection:",
    "X-Hop: 1",
    "X-Request-Id: of-the-cell",
    "Connection: x-request-id",
    "Keep-Alive: timeout=1, max=2",
    "Proxy-Connection: keep-alive",
    "TE: x",
    "Trailer: x-sum",
    "Upgrade: h2c",
    "Proxy-Authenticate: Basic",
    "X-Cellgate-Reason: rejected",
    "X-Cellgate-Anything: 1",
    "x_cellgate_cell: a",
    "X-Folded: a\r\n b",
    "X-Folded: a\r\n\t b\r\n  c",
    "X-Folded:\r\n a",
    "X-Space : x",
    "X-Space \t: y",
    "X-Lf: a\nX-Next: b",
    "Content-Encoding: gzip",
    "Content-Language: de",
    "Via: 1.1 cell",
];

const WRONG_FIELDS: [&str; 16] = [
    "no colon",
    ": no name",
    "x a: b",
    "X-Cr: a\rb",
    "X-Nul: \0",
    "X-Del: \u{7f}",
    "x-\u{e9}: b",
    "(x): b",
    " leading: 1",
    "X-Ctl: \u{1}",
    "\u{e9}: b",
    "\"x\": b",
    "Connection: close\r\n , x",
    "Content-Length: 5\r\n 5",
    "X-Bell: \u{7}",
    "x[]: 1",
];

/// Framing that is unclear, or only looks so.
const FRAMINGS: [&str; 26] = [
    "Content-Length: 5, 5",
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5, 6",
    "Content-Length: 005",
    "Content-Length: +5",
    "Content-Length: 5,",
    "Content-Length:",
    "Content-Length: 0x5",
    "Content-Length: 9223372036854775808",
    "Content-Length: 5 5",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked;a=b",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: x-gzip\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding:\tchunked ",
    "Content-Length: 5\r\nConnection: close",
];

const INTERIM: [&str; 8] = [
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 102 Processing\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Cellgate-A: 1\r\nConnection: x-b\r\nX-B: 1\r\n\r\n",
    "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 199 x\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.0 100 Continue\r\n\r\n",
];

impl Maker<'_> {
    /// An answer of any kind.
    pub(super) fn answer(&mut self, is_head_request: bool) -> Answer {
        let status = self.pick(&STATUSES);
        let version = if self.one_in(12) {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        };
        let mut line = format!("{version} {status}");
        if self.one_in(30) {
            self.pick(&ODD_LINES).clone_into(&mut line);
        }
        let mut answer = Answer {
            interim: Vec::new(),
            text: Text {
                line: latin1(&line),
                ..Text::default()
            },
            kept: None,
            cuts: Vec::new(),
            when: When::Read,
            then: Then::Next,
        };
        self.add_fields(&mut answer.text.fields);
        let is_plain = self.frame(&line, &mut answer) && !is_head_request;
        if self.one_in(10) {
            let count = if self.one_in(20) {
                self.pick(&[63, 64, 65, 70])
            } else {
                1 + self.rng.usize(..3)
            };
            answer.interim = (0..count).map(|_| latin1(self.pick(&INTERIM))).collect();
        }
        if is_head_request && !self.one_in(10) {
            answer.text.body.clear();
        }
        let length = answer.bytes().len();
        if self.one_in(25) && length > 0 {
            answer.kept = Some(self.rng.usize(..length));
            answer.then = Then::Close;
        } else if answer.then == Then::Next && self.one_in(12) {
            // Something that nobody asked for, in the same segment.
            let surplus = self.pick(&[
                "x",
                "\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
                "\0\0",
            ]);
            answer.text.body.extend(surplus.as_bytes());
            return answer;
        }
        // What is beyond the answer's end comes together with it: later it could meet the next request.
        let head = length - answer.text.body.len().min(length);
        answer.cuts = self.cuts(1 + if is_plain { length } else { head });
        answer
    }

    fn add_fields(&mut self, fields: &mut Vec<Vec<u8>>) {
        let count = self.pick(&[0, 1, 2, 3, 5, 8]);
        for _ in 0..count {
            let field = if self.one_in(40) {
                self.pick(&WRONG_FIELDS)
            } else {
                self.pick(&FIELDS)
            };
            fields.push(latin1(field));
        }
        if self.one_in(250) {
            let many = self.pick(&[200, 250, 254, 255, 256, 257, 300]);
            fields.extend((0..many).map(|number| format!("X-N-{number}: v").into_bytes()));
        }
        if self.one_in(250) {
            let long =
                "z".repeat(self.pick(&[4_000, 9_000, 60_000, 65_300, 65_400, 65_500, 66_000]));
            fields.push(format!("X-Long: {long}").into_bytes());
        }
    }

    /// Gives it a body and says how that ends, mostly as one should. Whether that is where the answer ends.
    fn frame(&mut self, line: &str, answer: &mut Answer) -> bool {
        let length = match self.rng.usize(..20) {
            0..3 => 0,
            3 => 3_000,
            4 => 9_000 + self.rng.usize(..20_000),
            5 if self.one_in(10) => 150_000,
            _ => self.rng.usize(1..60),
        };
        let at = self.rng.usize(..=answer.text.fields.len());
        let has_body = ![" 204", " 304", " 101"]
            .iter()
            .any(|status| line.contains(status));
        let field = |field: Vec<u8>, answer: &mut Answer| answer.text.fields.insert(at, field);
        match self.rng.usize(..20) {
            // What has no body, and what says so.
            _ if line.contains(" 204") && !self.one_in(3) => false,
            0..9 => {
                field(format!("Content-Length: {length}").into_bytes(), answer);
                if has_body {
                    answer.text.body = filling(length);
                }
                has_body
            }
            9..15 if !line.starts_with("HTTP/1.0") => {
                field(b"Transfer-Encoding: chunked".to_vec(), answer);
                if has_body {
                    answer.text.body = self.chunked(length);
                }
                has_body
            }
            15..17 => {
                let framing = self.pick(&FRAMINGS);
                field(latin1(framing), answer);
                answer.text.body = if framing.contains("hunked") {
                    self.chunked(5)
                } else {
                    b"fiver".to_vec()
                };
                answer.then = self.pick(&[Then::Next, Then::Close]);
                false
            }
            _ => {
                // Its end is the end of the connection.
                answer.text.body = filling(length);
                answer.then = Then::Close;
                has_body
            }
        }
    }
}
