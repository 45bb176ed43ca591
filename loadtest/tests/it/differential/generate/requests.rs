//! Requests: mostly good ones with something odd about them, some that must be refused.

use super::Maker;
use crate::differential::{
    profile::{Naming, TENANT},
    scenario::Text,
};

const METHODS: [&str; 17] = [
    "GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "POST", "POST", "POST", "PUT",
    "PUT", "PATCH", "DELETE", "OPTIONS",
];

const ODD_METHODS: [&str; 9] = [
    "TRACE", "CONNECT", "BREW", "M-SEARCH", "get", "PRI", "GET!", "PROPFIND", "G\tT",
];

/// Behind the segment with the id.
const PATHS: [&str; 15] = [
    "",
    "",
    "",
    "/",
    "/a/b",
    "/a%2fb",
    "/%zz",
    "/%00",
    "//x",
    "/a;b=c",
    "/\u{fc}",
    "/a\"b",
    "/[x]{y}|^",
    "/a:b@c",
    "/a?b/../c",
];

const ODD_PATHS: [&str; 6] = ["/./y", "/../z", "/a\\b", "/<x>", "/%2e%2e/z", "/a`b"];

const QUERIES: [&str; 13] = [
    "",
    "",
    "",
    "",
    "?",
    "?a=1&b=2",
    "?a=%20+%2B",
    "?q=http://x/y",
    "?a?b",
    "?\u{fc}=`\\",
    "?a=1;b=2",
    "?&&=",
    "#fragment",
];

/// Well-formed fields that ask for nothing special.
const PLAIN: [&str; 35] = [
    "X-A: b",
    "x-a:b",
    "X-A: \t b \t",
    "x-a:",
    "X-Empty: ",
    "X-Obs: \u{ff}\u{fe}",
    "x-utf8: \u{fc}",
    "Accept: */*",
    "accept-encoding: gzip, br",
    "User-Agent: fuzz/1 (x; y)",
    "Cookie: a=1; b=2",
    "cookie: c=\"q\"",
    "Content-Type: text/plain",
    "Range: bytes=0-1",
    "If-None-Match: \"x\"",
    "Cache-Control: no-cache",
    "Via: 1.0 a",
    "Authorization: Basic eDp5",
    "Origin: null",
    "Pragma: no-cache",
    "X-Dup: 1",
    "X-Dup: 2",
    "x-dup: 3",
    "Date: Thu, 01 Jan 1970 00:00:00 GMT",
    "Max-Forwards: 0",
    "X-Request-Id: 1",
    "x-request-id: a.b_c-2",
    "x-request-id: not good",
    "X_Request_Id: odd",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Traceparent: 00-0",
    "!#$%&'*+-.^_`|~: odd",
    "CONTENT-LANGUAGE: de",
    "If-Modified-Since: x",
    "Server: client",
];

const HOP_BY_HOP: [&str; 24] = [
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Keep-Alive, X-A",
    "connection: x-a, x-dup",
    "Connection: TE",
    "Connection:",
    "Connection: ,",
    "Connection: upgrade",
    "Connection: close, keep-alive",
    "Connection: \"close\"",
    "Connection: cookie, x-forwarded-for, x-cellgate-tenant",
    "Connection: x-tenant-id",
    "Connection: content-length",
    "Connection: host",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Connection: close",
    "TE: trailers",
    "TE: gzip;q=0.5",
    "Trailer: x-sum",
    "Proxy-Authorization: x",
    "HTTP2-Settings: AAA",
    "Upgrade: h2c",
    "Upgrade: websocket",
];

const FORWARDING: [&str; 26] = [
    "X-Forwarded-For: 192.0.2.7",
    "x-forwarded-for: 192.0.2.7, 127.0.0.5",
    "X-Forwarded-For: unknown, 192.0.2.8",
    "X-Forwarded-For: \"[2001:db8::1]:47011\"",
    "X-Forwarded-For: <script>, 192.0.2.9",
    "X-Forwarded-For: ,,",
    "X-Forwarded-For:",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Host: shop.example",
    "X-Forwarded-Host: a, b",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Port: x",
    "X-Forwarded-Prefix: /p",
    "X-Forwarded-Anything: 1",
    "Forwarded: for=192.0.2.7;proto=https",
    "forwarded: for=\"[2001:db8::1]\", for=_x",
    "Forwarded: garbage=",
    "X-Real-Ip: 192.0.2.7",
    "X-Real-IP: nobody",
    "X-Client-Ip: 192.0.2.7",
    "True-Client-Ip: 192.0.2.7",
    "X-Original-Url: /admin",
    "X-Rewrite-Url: /admin",
    "X_Forwarded_For: 192.0.2.6",
    "x-forwarded_proto: https",
];

const LOOKALIKES: [&str; 9] = [
    "X-Cellgate-Tenant: forged",
    "x-cellgate-tenant: forged",
    "x_cellgate_cell: forged",
    "X-Cellgate-Generation: 9",
    "X-Cellgate-Anything: 1",
    "x-cellgate-: 1",
    "XCellgate-Tenant: 1",
    "X-Cellgate_Reason: 1",
    "x-cellgate: 1",
];

/// What the gate refuses, and what it may.
const BROKEN: [&str; 23] = [
    "X A: b",
    " folded: 1",
    "no colon",
    ": empty",
    "X-B : b",
    "x-b: c\nx-c: d",
    "x-b: c\rd",
    "x-b: \0",
    "x-\u{fc}: b",
    "content_length: 5",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding: identity",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 1e1",
    "Host: other",
    "Expect: 100-continue",
    "Expect: a-miracle",
    "Transfer-Encoding : chunked",
    "Content-Length: 99999999999999999999",
    "X-Tenant_Id: x",
    "x_tenant_id: x",
    "Content-Length: 0",
];

const HOSTS: [&str; 12] = [
    "Host: test",
    "host: test",
    "HOST:test",
    "Host: Test",
    "Host: test:8080",
    "Host: test.",
    "Host: [::1]:80",
    "Host:",
    "Host: te st",
    "Host: te_st",
    "Host: test:99999",
    "Host: user@test",
];

/// Bytes of a body that look like nothing else.
pub(in crate::differential) fn filling(length: usize) -> Vec<u8> {
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
    letters.iter().copied().cycle().take(length).collect()
}

/// Text of which each character is one byte.
pub(super) fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?'))
        .collect()
}

impl Maker<'_> {
    pub(super) fn request(&mut self, at: usize) -> Text {
        let letter = self.pick(&["a", "a", "a", "b"]);
        let mut method = self.pick(&METHODS).to_owned();
        if self.one_in(25) {
            self.pick(&ODD_METHODS).clone_into(&mut method);
        }
        if self.one_in(150) {
            method = "M".repeat(self.pick(&[20, 40, 300]));
        }
        let version = match self.rng.usize(..100) {
            0..7 => "HTTP/1.0",
            7 => self.pick(&[
                "HTTP/1.2",
                "HTTP/2.0",
                "http/1.1",
                "HTTP/1.1 ",
                "HTTP/1",
                "HTTP/0.9",
            ]),
            _ => "HTTP/1.1",
        };
        let mut path = self.path(at);
        let query = self.pick(&QUERIES).to_owned();
        let (fields, query) = self.tenant(letter, &mut path, query);
        let mut request = Text {
            fields,
            ..Text::default()
        };
        let target = self.target(&method, &path, &query, &mut request.fields);
        let space = if self.one_in(200) { "  " } else { " " };
        let line = format!("{method}{space}{target} {version}");
        // Targets are sent in UTF-8.
        request.line = line.into_bytes();
        if self.one_in(60) {
            // RFC 9112, section 2.2: one empty line is ignored.
            request.line.splice(..0, *b"\r\n");
        }
        self.add_odd_fields(&mut request.fields);
        self.add_body(&method, &mut request);
        request
    }

    fn path(&mut self, at: usize) -> String {
        let number = self.number;
        let behind = match self.rng.usize(..40) {
            0 => self.pick(&ODD_PATHS),
            1..20 => self.pick(&PATHS),
            _ => "",
        };
        let mut path = format!("/~{number}-{at}{behind}");
        if self.one_in(150) {
            path.push_str(&"p".repeat(self.pick(&[3_000, 16_000, 17_000])));
        }
        path
    }

    /// Names the tenant, or fails to.
    fn tenant(&mut self, letter: &str, path: &mut String, query: String) -> (Vec<Vec<u8>>, String) {
        let mut tenant = format!("tn-{letter}-000");
        if self.one_in(12) {
            let others = [
                "evil",
                "gone",
                "unhealthy",
                "nobody-knows",
                "",
                " ",
                "old-name",
                "\u{fc}ber",
            ];
            self.pick(&others).clone_into(&mut tenant);
        }
        let mut host = self.pick(&HOSTS[..4]).to_owned();
        if self.one_in(25) {
            self.pick(&HOSTS).clone_into(&mut host);
        }
        let mut fields = Vec::new();
        let name = self.pick(&[TENANT, TENANT, "X-Tenant-ID", "X-TENANT-ID"]);
        let mut query = query;
        match self.profile.naming {
            Naming::Header => fields.push(format!("{name}: {tenant}")),
            Naming::Any => match self.rng.usize(..6) {
                0 => *path = format!("/t/{tenant}{path}"),
                1 => query = format!("?x=1&tenant={tenant}{}", query.replacen('?', "&", 1)),
                2 => fields.push(format!("Cookie: x=1; tenant={tenant}; y=2")),
                3 => {}
                _ => fields.push(format!("{name}: {tenant}")),
            },
            Naming::Host => {
                let case = if self.one_in(6) {
                    tenant.to_uppercase()
                } else {
                    tenant.clone()
                };
                let port = if self.one_in(6) { ":8080" } else { "" };
                host = format!("Host: {case}.example.com{port}");
            }
        }
        if self.one_in(60) {
            fields.push(format!("{TENANT}: {tenant}"));
        }
        if !self.one_in(50) {
            fields.insert(self.rng.usize(..=fields.len()), host);
        }
        (fields.iter().map(|field| latin1(field)).collect(), query)
    }

    /// The target in one of its forms.
    fn target(&mut self, method: &str, path: &str, query: &str, fields: &mut [Vec<u8>]) -> String {
        match self.rng.usize(..100) {
            0..8 => {
                let host = fields
                    .iter()
                    .find(|field| field.to_ascii_lowercase().starts_with(b"host:"));
                let host = host.map_or_else(
                    || "test".to_owned(),
                    |host| String::from_utf8_lossy(&host[5..]).trim().to_owned(),
                );
                let host = match self.rng.usize(..6) {
                    0 => host.to_uppercase(),
                    1 => format!("{host}:80"),
                    _ => host,
                };
                let scheme = self.pick(&["http", "http", "http", "HTTP", "https", "ftp"]);
                let path = if self.one_in(6) { "" } else { path };
                format!("{scheme}://{host}{path}{query}")
            }
            8..10 if method == "OPTIONS" => "*".to_owned(),
            10 => self
                .pick(&[
                    "*",
                    "nothing",
                    "",
                    "/a b",
                    "//a",
                    "?x",
                    "http:///x",
                    "test:80",
                ])
                .to_owned(),
            _ => format!("{path}{query}"),
        }
    }

    fn add_odd_fields(&mut self, fields: &mut Vec<Vec<u8>>) {
        let count = self.pick(&[0, 1, 1, 2, 3, 6]);
        for _ in 0..count {
            let field = match self.rng.usize(..100) {
                0..47 => self.pick(&PLAIN),
                47..67 => self.pick(&HOP_BY_HOP),
                67..87 => self.pick(&FORWARDING),
                87..98 => self.pick(&LOOKALIKES),
                _ => self.pick(&BROKEN),
            };
            let at = self.rng.usize(..=fields.len());
            fields.insert(at, latin1(field));
        }
        if self.one_in(60) {
            let many = self.pick(&[30, 60, 95, 110]);
            fields.extend((0..many).map(|number| format!("X-N-{number}: v{number}").into_bytes()));
        }
        if self.one_in(60) {
            let long = "y".repeat(self.pick(&[1_000, 5_000, 20_000, 33_000]));
            fields.push(format!("X-Long: {long}").into_bytes());
        }
    }

    fn add_body(&mut self, method: &str, request: &mut Text) {
        let usually = matches!(method, "POST" | "PUT" | "PATCH");
        if !usually && !self.one_in(10) {
            return;
        }
        let limit = self.profile.body_buffered_bytes_max;
        let length = match self.rng.usize(..24) {
            0..3 => 0,
            3..10 => self.rng.usize(1..100),
            10 => limit,
            11 => limit + 1,
            12 => limit.saturating_sub(1),
            13 => self.profile.body_bytes_max,
            14 => self.profile.body_bytes_max + 1,
            15 => limit + self.rng.usize(..10_000),
            _ => 5,
        };
        if self.one_in(3) {
            let field = match self.rng.usize(..10) {
                0 => "Transfer-Encoding: gzip, chunked",
                1 => "transfer-encoding: Chunked",
                2 => "Transfer-Encoding: x-gzip\r\nTransfer-Encoding: chunked",
                _ => "Transfer-Encoding: chunked",
            };
            request.fields.push(latin1(field));
            request.body = self.chunked(length.min(30_000));
        } else {
            request
                .fields
                .push(format!("Content-Length: {length}").into_bytes());
            request.body = filling(length);
        }
    }

    /// A body in chunks, now and then a malformed one.
    pub(super) fn chunked(&mut self, length: usize) -> Vec<u8> {
        let content = filling(length);
        let mut body = Vec::new();
        let mut rest = &content[..];
        while !rest.is_empty() {
            let size = if self.one_in(3) {
                rest.len()
            } else {
                1 + self.rng.usize(..rest.len().min(4_000))
            };
            let digits = match self.rng.usize(..6) {
                0 => format!("{size:X}"),
                1 => format!("000{size:x}"),
                _ => format!("{size:x}"),
            };
            let extension = if self.one_in(8) {
                self.pick(&[";a=b", ";a", ";a=\"b;c\"", " ; a = b", ";"])
            } else {
                ""
            };
            let end = if self.one_in(300) {
                self.pick(&["", "\n", "x\r\n"])
            } else {
                "\r\n"
            };
            body.extend(format!("{digits}{extension}\r\n").into_bytes());
            body.extend(&rest[..size]);
            body.extend(end.as_bytes());
            rest = &rest[size..];
        }
        let last = if self.one_in(100) {
            self.pick(&["0x0", "-1", "", "fffffffffffffffff"])
        } else {
            "0"
        };
        let trailers = if self.one_in(8) {
            self.pick(&[
                "X-Sum: 1\r\n",
                "X-Sum: 1\r\nx-b: 2\r\n",
                "Content-Length: 5\r\n",
                "X-Cellgate-Tenant: t\r\n",
                " x\r\n",
            ])
        } else {
            ""
        };
        body.extend(format!("{last}\r\n{trailers}\r\n").into_bytes());
        body
    }
}
