//! A cell that speaks TLS and plain HTTP on the same port, with certificates by the name that it is called.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ResolvesServerCertUsingSni, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use super::{PATIENCE, tls::Pem};

/// What a record of a handshake begins with.
const HANDSHAKE: u8 = 22;

/// Listens on a free port until it is dropped.
pub(crate) struct TlsCell {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    connections: AtomicUsize,
    resumed: AtomicUsize,
    config: Mutex<Option<Arc<ServerConfig>>>,
}

impl Shared {
    fn config(&self) -> Arc<ServerConfig> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            config
                .as_ref()
                .expect("it is set before there is a connection"),
        )
    }
}

/// How a cell does its handshakes.
pub(crate) struct Terms<'t> {
    /// By name.
    pub(crate) certificates: &'t [(&'t str, &'t Pem)],
    pub(crate) versions: &'t [&'static SupportedProtocolVersion],
    /// Whose certificates clients have to show.
    pub(crate) clients: Option<String>,
}

impl Terms<'_> {
    fn config(&self) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let mut by_name = ResolvesServerCertUsingSni::new();
        for (name, pem) in self.certificates {
            let chain = CertificateDer::from_pem_slice(pem.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes());
            let pair = CertifiedKey::from_der(vec![chain.unwrap()], key.unwrap(), &provider);
            by_name.add(name, pair.unwrap()).unwrap();
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                let ca = CertificateDer::from_pem_slice(ca.as_bytes());
                roots.add(ca.unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(by_name));
        config.ticketer = ring::Ticketer::new().unwrap();
        config
    }
}

impl TlsCell {
    pub(crate) fn start(terms: &Terms<'_>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let cell = Self {
            address,
            shared: Arc::clone(&shared),
        };
        cell.set(terms);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(socket, &shared));
            }
        });
        cell
    }

    /// For connections that are made from now on.
    pub(crate) fn set(&self, terms: &Terms<'_>) {
        let config = Some(Arc::new(terms.config()));
        *self
            .shared
            .config
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// How many of them resumed a session.
    pub(crate) fn resumed(&self) -> usize {
        self.shared.resumed.load(Ordering::Acquire)
    }
}

impl Drop for TlsCell {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the thread that accepts; if that is gone already, so much the better.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }
}

fn serve(mut socket: TcpStream, shared: &Shared) {
    let number = shared.connections.fetch_add(1, Ordering::AcqRel) + 1;
    let _ = socket.set_nodelay(true);
    let _ = socket.set_read_timeout(Some(PATIENCE));
    let _ = socket.set_write_timeout(Some(PATIENCE));
    let mut first = [0];
    if !matches!(socket.peek(&mut first), Ok(1)) {
        return;
    }
    if first != [HANDSHAKE] {
        let _ = answer_all(&mut socket, &format!("plain {number}"));
        return;
    }
    let mut tls = ServerConnection::new(shared.config()).unwrap();
    if tls.complete_io(&mut socket).is_err() {
        return;
    }
    if tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        shared.resumed.fetch_add(1, Ordering::AcqRel);
    }
    let name = tls.server_name().unwrap_or("-").to_owned();
    let mut stream = StreamOwned::new(tls, socket);
    let _ = answer_all(&mut stream, &format!("tls {number} {name}"));
    stream.conn.send_close_notify();
    let _ = stream.conn.complete_io(&mut stream.sock);
}

/// Answers each request with a line about the connection, and what it was sent.
fn answer_all(stream: &mut (impl Read + Write), about: &str) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        let head = until(stream, &mut received, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let field = |name: &str| {
            let lines = head.lines().find_map(|line| line.strip_prefix(name));
            lines.map(str::trim).map(ToOwned::to_owned)
        };
        if field("upgrade:").is_some() {
            stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
            )?;
            stream.flush()?;
            return echo(stream, received);
        }
        let body = if let Some(length) = field("content-length:") {
            let length = length.parse().map_err(io::Error::other)?;
            exactly(stream, &mut received, length)?
        } else if field("transfer-encoding:").is_some() {
            chunks(stream, &mut received)?
        } else {
            Vec::new()
        };
        let answer = match path.strip_prefix("/stream/") {
            None => {
                let text = format!("{about}\n{}\n", body.len());
                let content = [text.as_bytes(), &body].concat();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    content.len()
                );
                [head.as_bytes(), &content].concat()
            }
            Some(count) => {
                let count: usize = count.parse().map_err(io::Error::other)?;
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                for at in 0..count {
                    let piece = vec![b'a' + at.to_le_bytes()[0] % 26; 1_000];
                    stream.write_all(&[b"3e8\r\n", &piece[..], b"\r\n"].concat())?;
                    stream.flush()?;
                }
                b"0\r\n\r\n".to_vec()
            }
        };
        stream.write_all(&answer)?;
        stream.flush()?;
    }
}

fn echo(stream: &mut (impl Read + Write), mut received: Vec<u8>) -> io::Result<()> {
    loop {
        stream.write_all(&received)?;
        stream.flush()?;
        received.clear();
        more(stream, &mut received)?;
    }
}

fn more(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            received.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}

fn until(stream: &mut impl Read, received: &mut Vec<u8>, end: &[u8]) -> io::Result<Vec<u8>> {
    loop {
        if let Some(at) = received.windows(end.len()).position(|part| part == end) {
            return Ok(received.drain(..at + end.len()).collect());
        }
        more(stream, received)?;
    }
}

fn exactly(stream: &mut impl Read, received: &mut Vec<u8>, count: usize) -> io::Result<Vec<u8>> {
    while received.len() < count {
        more(stream, received)?;
    }
    Ok(received.drain(..count).collect())
}

fn chunks(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = until(stream, received, b"\r\n")?;
        let line = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let chunk = exactly(stream, received, size + 2)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
