//! A cell that does byte for byte what a test tells it to.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use super::PATIENCE;

/// Listens on a free port; what it received is kept, by connection.
pub(crate) struct Origin {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// One connection of the proxy to an origin. It closes when its script ends.
pub(crate) struct OriginConnection {
    /// From 0, in the order in which they were made.
    pub(crate) number: usize,
    stream: TcpStream,
    buffer: Vec<u8>,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Origin {
    /// Runs `script` on each connection.
    pub(crate) fn start(script: impl Fn(&mut OriginConnection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), Arc::clone(&received));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                log.lock().unwrap().push(Vec::new());
                let mut connection = OriginConnection {
                    number,
                    stream,
                    buffer: Vec::new(),
                    received: Arc::clone(&log),
                };
                // What a test sends in pieces is to arrive in pieces, and at once.
                connection
                    .stream
                    .set_nodelay(true)
                    .expect("the socket is open");
                let script = Arc::clone(&script);
                thread::spawn(move || script(&mut connection));
            }
        });
        Self { address, received }
    }

    /// Answers each request, its body read to the end, with the same bytes.
    pub(crate) fn answering(answer: &'static str) -> Self {
        Self::start(move |connection| {
            while connection.request().is_some() {
                connection.send(answer);
            }
        })
    }

    /// An address where nobody listens.
    pub(crate) fn nobody() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        listener
            .local_addr()
            .expect("a bound socket has an address")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came in, by connection.
    pub(crate) fn received(&self) -> Vec<String> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.received.lock().unwrap().iter().map(text).collect()
    }
}

impl OriginConnection {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The proxy may have hung up; the test sees that on its side.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The next request with its body; `None` when the proxy has closed.
    pub(crate) fn request(&mut self) -> Option<String> {
        let head = self.head()?;
        let lower = head.to_ascii_lowercase();
        let body = if lower.contains("transfer-encoding:") {
            self.until(b"0\r\n\r\n")?
        } else {
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            self.take(length.unwrap_or(0))?
        };
        Some(head + &String::from_utf8_lossy(&body))
    }

    /// The next head, to its empty line.
    pub(crate) fn head(&mut self) -> Option<String> {
        let head = self.until(b"\r\n\r\n")?;
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// All bytes up to and with `end`.
    pub(crate) fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|w| w == end);
            if let Some(at) = found {
                return self.take(at + end.len());
            }
            self.receive()?;
        }
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.receive()?;
        }
        let rest = self.buffer.split_off(count);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    /// Never answers; returns when the proxy hangs up.
    pub(crate) fn hang(&mut self) {
        while self.receive().is_some() {}
    }

    fn receive(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        self.stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let count = self
            .stream
            .read(&mut chunk)
            .ok()
            .filter(|count| *count > 0)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        self.received.lock().unwrap()[self.number].extend_from_slice(&chunk[..count]);
        Some(())
    }
}
