//! Cells that refuse what is shown to them after the handshake seemed done, which TLS 1.3 allows.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use super::*;
use crate::support::{
    PATIENCE,
    proxy::TENANT,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(a_body_of_which_the_beginning_is_gone_is_not_sent_again);

/// How long it lets the client go on before it refuses.
const PAUSE: Duration = Duration::from_millis(300);
const REQUESTS: usize = 12;

/// An endpoint that wants a certificate, and takes its time to say so. The count is of its connections.
fn slow_refuser(world: &World) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::<AtomicUsize>::default();
    let config = Arc::new(refusing(world));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::AcqRel);
            let config = Arc::clone(&config);
            thread::spawn(move || refuse(socket, config));
        }
    });
    (address, count)
}

fn refusing(world: &World) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    let ca = Authority::new().pem();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::from_pem_slice(world.server.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(world.server.key.as_bytes());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![chain.unwrap()], key.unwrap())
        .unwrap()
}

fn refuse(mut socket: TcpStream, config: Arc<ServerConfig>) {
    let _ = socket.set_read_timeout(Some(PATIENCE));
    let mut tls = ServerConnection::new(config).unwrap();
    while !tls.wants_write() {
        if !matches!(tls.read_tls(&mut socket), Ok(1..)) || tls.process_new_packets().is_err() {
            return;
        }
    }
    while tls.wants_write() {
        if tls.write_tls(&mut socket).is_err() {
            return;
        }
    }
    thread::sleep(PAUSE);
    // Its error is the point; the alert is sent along.
    let _ = tls.complete_io(&mut socket);
    let _ = socket.shutdown(std::net::Shutdown::Write);
    // A reset would take the alert away.
    while matches!(socket.read(&mut [0; 4_096]), Ok(1..)) {}
}

/// Another endpoint would take the rest of it for all.
fn a_body_of_which_the_beginning_is_gone_is_not_sent_again() {
    let world = World::new();
    let good = world.cell();
    let (bad, refused) = slow_refuser(&world);
    let table = TableText::new([(ONLY, vec![good.address(), bad])]);
    let proxy = Proxy::plan()
        .set("upstream", "{ ejection: { after_failures: 0 } }")
        .table(table.cell_line(ONLY, &world.tls("")))
        .start();
    let body: Vec<u8> = (0..1_000_000_usize).map(|at| at.to_le_bytes()[1]).collect();
    let mut chunked =
        b"POST / HTTP/1.1\r\nhost: a\r\nx-tenant-id: acme\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for piece in body.chunks(50_000) {
        write!(chunked, "{:x}\r\n", piece.len()).unwrap();
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for _ in 0..REQUESTS {
        let mut connection = Connection::open(proxy.address());
        let answer = connection.exchange_bytes("POST", &chunked);
        match answer.verdict() {
            (200, None) => assert!(answer.body.ends_with(&body), "{} bytes", answer.body.len()),
            verdict => assert_eq!(verdict, (502, Some("connect_failed"))),
        }
    }
    assert!(refused.load(Ordering::Acquire) > 0, "it was never met");
    // A small one is at hand, and goes to the other endpoint.
    for _ in 0..REQUESTS {
        let answer = proxy.answer_to(&Request::new("POST", "/").header(TENANT, "acme").body("x"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text().ends_with("\n1\nx"), "{answer:?}");
    }
}
