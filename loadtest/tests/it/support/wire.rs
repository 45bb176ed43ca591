//! HTTP/1.1 byte by byte: a test sends exactly the bytes it names and sees exactly what came back.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
};

use rustix::net::{AddressFamily, SocketType};
use rustls::ClientConnection;

use super::PATIENCE;

/// Header fields in one answer.
const HEADERS_MAX: usize = 128;

/// A client's connection. Reads and writes that take longer than [`PATIENCE`] fail.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Between the stream and what the test sees.
    tls: Option<Box<ClientConnection>>,
    /// Received, but not yet part of an answer.
    received: Vec<u8>,
}

/// A well-formed request. For the others there is [`Connection::send`].
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    head: Vec<u8>,
    body: Option<Vec<u8>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the order and spelling in which they came.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// For an address where perhaps nobody listens.
    pub(crate) fn try_open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// From this address of the machine.
    #[track_caller]
    pub(crate) fn open_from(source: IpAddr, address: SocketAddr) -> Self {
        let family = match source {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let connected = || {
            let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
            rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
            rustix::net::connect(&socket, &address)?;
            Self::over(socket.into())
        };
        connected().unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            tls: None,
            received: Vec::new(),
        })
    }

    /// With TLS; the handshake is done.
    pub(crate) fn try_open_tls(address: SocketAddr, tls: ClientConnection) -> io::Result<Self> {
        Self::try_open(address)?.start_tls(tls)
    }

    /// Goes on with TLS; the handshake is done.
    pub(crate) fn start_tls(mut self, tls: ClientConnection) -> io::Result<Self> {
        let tls = self.tls.insert(Box::new(tls));
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        Ok(self)
    }

    /// What was agreed on in TLS.
    #[track_caller]
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("it was opened with TLS")
    }

    /// For what is not here: shutting one side down, other time limits.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends these bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.stream.write_all(bytes.as_ref());
        };
        let mut stream = rustls::Stream::new(&mut **tls, &mut self.stream);
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Says that nothing more is sent, and goes on receiving.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.send("")?;
        }
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads the answer to a request of this method. Interim answers (1xx) are skipped.
    pub(crate) fn answer(&mut self, method: &str) -> io::Result<Answer> {
        loop {
            let (mut answer, framing) = self.head()?;
            if matches!(answer.status, 100 | 102..200) {
                continue;
            }
            if method != "HEAD" && !matches!(answer.status, 101 | 204 | 304) {
                answer.body = self.body(framing)?;
            }
            return Ok(answer);
        }
    }

    /// The status of the next head, which may be an interim answer's.
    pub(crate) fn interim(&mut self) -> io::Result<u16> {
        self.head().map(|(answer, _)| answer.status)
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn exchange(&mut self, request: &Request) -> Answer {
        self.exchange_bytes(&request.method, request.bytes())
    }

    /// Sends these bytes, a request of this method, and reads its answer.
    #[track_caller]
    pub(crate) fn exchange_bytes(&mut self, method: &str, bytes: impl AsRef<[u8]>) -> Answer {
        let bytes = bytes.as_ref();
        self.send(bytes)
            .and_then(|()| self.answer(method))
            .unwrap_or_else(|error| panic!("no answer to {}: {error}", bytes.escape_ascii()))
    }

    /// Waits for the other side to close the connection, and returns what it sent until then.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.receive()? {}
        Ok(std::mem::take(&mut self.received))
    }

    /// The same where it may end by a reset.
    #[track_caller]
    pub(crate) fn until_broken(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the other side was to close the connection: {error}"),
            }
        }
        std::mem::take(&mut self.received)
    }

    fn head(&mut self) -> io::Result<(Answer, Framing)> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(head_bytes) =
                head.parse(&self.received).map_err(invalid)?
            {
                let headers: Vec<_> = head
                    .headers
                    .iter()
                    .map(|field| (field.name.to_owned(), field.value.to_vec()))
                    .collect();
                let answer = Answer {
                    status: head.code.unwrap_or_default(),
                    headers,
                    body: Vec::new(),
                };
                self.received.drain(..head_bytes);
                let framing = Framing::of(&answer)?;
                return Ok((answer, framing));
            }
            self.receive_more()?;
        }
    }

    fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        match framing {
            Framing::Length(bytes) => self.take(bytes),
            Framing::UntilClose => self.rest(),
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let chunk_bytes = self.chunk_size()?;
                    if chunk_bytes == 0 {
                        break;
                    }
                    body.extend(self.take(chunk_bytes)?);
                    self.line()?;
                }
                // Trailers, and the empty line after them.
                while !self.line()?.is_empty() {}
                Ok(body)
            }
        }
    }

    fn chunk_size(&mut self) -> io::Result<usize> {
        let line = self.line()?;
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let digits = str::from_utf8(digits).map_err(invalid)?;
        usize::from_str_radix(digits, 16).map_err(invalid)
    }

    /// The next line, without its CR LF.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let mut line = self.take(end + 2)?;
                line.truncate(end);
                return Ok(line);
            }
            self.receive_more()?;
        }
    }

    /// This many bytes, whatever they are.
    pub(crate) fn take(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        while self.received.len() < bytes {
            self.receive_more()?;
        }
        let rest = self.received.split_off(bytes);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    fn receive_more(&mut self) -> io::Result<()> {
        if self.receive()? {
            return Ok(());
        }
        let message = format!(
            "closed in the middle of an answer, after \"{}\"",
            self.received.escape_ascii()
        );
        Err(io::Error::new(ErrorKind::UnexpectedEof, message))
    }

    /// Whether there was something; nothing means that the other side has closed.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut buffer)?,
            None => self.stream.read(&mut buffer)?,
        };
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }
}

/// How the end of an answer's body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Framing {
    fn of(answer: &Answer) -> io::Result<Self> {
        if answer
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return Ok(Self::Chunked);
        }
        let Some(length) = answer.header("content-length") else {
            return Ok(Self::UntilClose);
        };
        length.parse().map(Self::Length).map_err(invalid)
    }
}

impl Request {
    /// `target` goes out as it is.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
        Self {
            method: method.to_owned(),
            head,
            body: None,
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head
            .extend([name.as_bytes(), b": ", value.as_ref(), b"\r\n"].concat());
        self
    }

    /// With a content-length.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it on a connection of its own.
    #[track_caller]
    pub(crate) fn send(&self, address: SocketAddr) -> Answer {
        Connection::open(address).exchange(self)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if let Some(body) = &self.body {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

impl Answer {
    /// The first header of this name, in any spelling, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// The status, and why the proxy answered by itself if it did.
    pub(crate) fn verdict(&self) -> (u16, Option<&str>) {
        (self.status, self.header("x-cellgate-reason"))
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body)
            .unwrap_or_else(|_| panic!("not text: {}", self.body.escape_ascii()))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body.escape_ascii()))
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
