//! A cell of which the test writes every byte.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::PATIENCE;

/// Where answers to a well-behaved request are found, followed by an id that the answer repeats.
pub(crate) const OK: &str = "/ok/";

/// Listens on a free port until it is dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    stopping: AtomicBool,
    connections: AtomicUsize,
    is_forgetful: bool,
    /// All bytes received, by connection.
    received: Mutex<Vec<Vec<u8>>>,
}

/// A connection of the proxy to the origin.
pub(crate) struct Visit {
    number: usize,
    stream: TcpStream,
    /// Received, but not yet part of a head or body.
    ahead: Vec<u8>,
    record: Arc<Record>,
}

/// The head of a request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Head(String);

impl Origin {
    /// Each connection is handed to `serve` on a thread of its own, and closed when that returns.
    pub(crate) fn start(serve: impl Fn(&mut Visit) + Send + Sync + 'static) -> Self {
        Self::start_with(Record::default(), serve)
    }

    /// The same without [`Origin::received`], for more connections than it could remember.
    pub(crate) fn start_without_record(serve: impl Fn(&mut Visit) + Send + Sync + 'static) -> Self {
        let record = Record {
            is_forgetful: true,
            ..Record::default()
        };
        Self::start_with(record, serve)
    }

    fn start_with(record: Record, serve: impl Fn(&mut Visit) + Send + Sync + 'static) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is always a free port");
        let address = listener.local_addr().expect("the socket is bound");
        let record = Arc::new(record);
        let (serve, shared) = (Arc::new(serve), Arc::clone(&record));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                let mut visit = Visit::new(stream, &shared);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(&mut visit));
            }
        });
        Self { address, record }
    }

    /// One that answers each request, its body read, with the id at the end of its path.
    pub(crate) fn well_behaved() -> Self {
        Self::start(|visit| {
            while let Some(head) = visit.request() {
                visit.send(ok(head.id()));
            }
        })
    }

    /// One that answers each request, its body read, with these bytes.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |visit| {
            while visit.request().is_some() {
                visit.send(&answer);
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.record.connections.load(Ordering::Acquire)
    }

    /// Everything received so far, one text for each connection.
    pub(crate) fn received(&self) -> Vec<String> {
        let received = lock(&self.record.received);
        received
            .iter()
            .map(|bytes| bytes.escape_ascii().to_string())
            .collect()
    }

    /// Whether these bytes were received on any connection.
    pub(crate) fn has_received(&self, part: &str) -> bool {
        self.received().iter().any(|bytes| bytes.contains(part))
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.record.stopping.store(true, Ordering::Release);
        // Wakes the thread that accepts; if that is gone already, so much the better.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }
}

impl Visit {
    fn new(stream: TcpStream, record: &Arc<Record>) -> Self {
        // Fails for a connection that is over already, which the first read will show.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        let number = record.connections.fetch_add(1, Ordering::AcqRel);
        if !record.is_forgetful {
            let mut received = lock(&record.received);
            let known = received.len();
            received.resize_with(known.max(number + 1), Vec::new);
        }
        Self {
            number,
            stream,
            ahead: Vec::new(),
            record: Arc::clone(record),
        }
    }

    /// The next request's head, or `None` once the proxy has closed the connection.
    pub(crate) fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self
                .ahead
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                return Some(Head(String::from_utf8_lossy(&head).into_owned()));
            }
            self.receive().ok()?;
        }
    }

    /// The next request's head, its body read; `None` once the proxy has closed the connection.
    pub(crate) fn request(&mut self) -> Option<Head> {
        let head = self.head()?;
        self.body_of(&head).ok()?;
        Some(head)
    }

    /// The body of that request.
    pub(crate) fn body_of(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if let Some(length) = head.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            return self.take(length);
        }
        if head.header("transfer-encoding").is_none() {
            return Ok(Vec::new());
        }
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend(chunk);
        }
    }

    /// The next chunk of a body; an empty one is the last, its trailers read.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let chunk = self.take(size)?;
        // After a chunk one empty line, after the last one its trailers.
        while !self.line()?.is_empty() {}
        Ok(chunk)
    }

    /// This many bytes, whatever they are.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            self.receive()?;
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// What has been received already, at most this many bytes.
    pub(crate) fn take_received(&mut self, max: usize) -> Vec<u8> {
        let count = self.ahead.len().min(max);
        self.ahead.drain(..count).collect()
    }

    /// The next line, without its end.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.receive()?;
        }
    }

    /// Whether all of it could be sent; an unruly cell does not care.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says nothing until the proxy has had enough.
    pub(crate) fn wait_for_end(&mut self) {
        while self.receive().is_ok() {}
    }

    /// Sends no more, but goes on reading.
    pub(crate) fn end_sending(&mut self) {
        // Over already is as good.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the answer without reading any more.
    pub(crate) fn close(&mut self) {
        // Over already is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The connection will end by a reset, with this visit.
    pub(crate) fn end_by_reset(&mut self) {
        let linger = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        linger.expect("the socket is there");
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ahead.extend_from_slice(&buffer[..count]);
        if !self.record.is_forgetful {
            lock(&self.record.received)[self.number].extend_from_slice(&buffer[..count]);
        }
        Ok(())
    }
}

impl Head {
    pub(crate) fn method(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    /// The last part of the path.
    pub(crate) fn id(&self) -> &str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A plain answer.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
