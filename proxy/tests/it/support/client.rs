//! A client that sends exactly the bytes it is given.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lower-cased, from the status line to the empty line.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A field's value, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Why the proxy answered by itself.
    pub(crate) fn reason(&self) -> &str {
        self.header("x-cellgate-reason").unwrap_or_default()
    }
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        TcpStream::connect(address)
            .expect("the proxy listens")
            .into()
    }
    /// Sends bytes; a connection that the proxy has closed takes no more, which the answer tells.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends bytes that the proxy has to take, whether or not it wants them.
    #[track_caller]
    pub(crate) fn upload(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(bytes.as_ref());
        sent.expect("the proxy goes on reading");
    }

    /// The next head, interim ones included.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        self.try_head()
            .unwrap_or_else(|error| panic!("no answer ({error}), only {:?}", self.text()))
    }

    fn try_head(&mut self) -> io::Result<Answer> {
        let end = loop {
            let found = self.buffer.windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(at) = found {
                break at + 4;
            }
            if !self.receive()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head)
            .expect("a head is text")
            .to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status in {head:?}"));
        let body = String::new();
        Ok(Answer { status, head, body })
    }

    /// The answer to a request that is no HEAD, with its body.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if matches!(answer.status, 204 | 304) {
            return answer;
        }
        let length = answer
            .header("content-length")
            .map(|text| text.parse().unwrap());
        answer.body = match length {
            Some(length) => self.take(length),
            None if answer.header("transfer-encoding") == Some("chunked") => self.chunks(),
            None => self.rest(),
        };
        answer
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> String {
        while self.receive().expect("the connection ends in good order") {}
        let text = self.text();
        self.buffer.clear();
        text
    }

    /// Waits for the end of the connection, in whatever order.
    pub(crate) fn wait_for_end(&mut self) -> String {
        while self.receive().unwrap_or(false) {}
        self.text()
    }

    #[track_caller]
    pub(crate) fn take(&mut self, count: usize) -> String {
        while self.buffer.len() < count {
            let more = self.receive().expect("more comes");
            assert!(more, "closed after {:?} of {count} bytes", self.text());
        }
        let rest = self.buffer.split_off(count);
        let taken = std::mem::replace(&mut self.buffer, rest);
        String::from_utf8_lossy(&taken).into_owned()
    }

    fn chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let mut line = String::new();
            while !line.ends_with("\r\n") {
                line += &self.take(1);
            }
            let size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk has a size");
            body += self.take(size + 2).trim_end_matches("\r\n");
            if size == 0 {
                return body;
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    fn receive(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }
}
