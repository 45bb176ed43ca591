use std::{
    future::poll_fn,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::time::timeout;

use super::*;
use crate::tls::testing::certificate;

const PATIENCE: Duration = Duration::from_secs(20);

type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A socket of ours after its handshake, and the client's end, which blocks.
async fn pair() -> (TlsSocket, Client) {
    let pem = certificate(&["one.example.com"]);
    let der = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    accepted.set_nonblocking(true).unwrap();
    let shaking = std::thread::spawn(move || {
        let name = "one.example.com".try_into().unwrap();
        let tls = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut client = StreamOwned::new(tls, peer);
        while client.conn.is_handshaking() {
            client.conn.complete_io(&mut client.sock).unwrap();
        }
        client
    });
    let tls = ServerConnection::new(Arc::new(server)).unwrap();
    let socket = TcpStream::from_std(accepted).unwrap();
    let mut socket = TlsSocket::new(socket, tls, Buffer::new());
    loop {
        let step = timeout(PATIENCE, poll_fn(|cx| socket.poll_handshake(cx)));
        match step.await.expect("both are there").unwrap() {
            Step::Done => break,
            Step::Work => socket.work_on_handshake().unwrap(),
        }
    }
    (socket, shaking.join().unwrap())
}

async fn receive(socket: &mut TlsSocket, buffer: &mut Buffer) -> io::Result<usize> {
    let receiving = poll_fn(|cx| {
        buffer.reserve_for_reading();
        socket.poll_receive(cx, buffer)
    });
    timeout(PATIENCE, receiving).await.expect("it was sent")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sizes_come_through_both_ways_and_then_the_end() {
    let (mut socket, mut client) = pair().await;
    let mut buffer = Buffer::new();
    let mut expected = Vec::new();
    let bytes = |count: usize| -> Vec<u8> { (0..count).map(|at| at.to_le_bytes()[0]).collect() };
    let sizes = [1, 100, 4_096, 16_384, 16_385, 300_000];
    for size in sizes {
        let piece = bytes(size);
        expected.extend_from_slice(&piece);
        let sending = std::thread::spawn(move || {
            client.write_all(&piece).unwrap();
            client.flush().unwrap();
            client
        });
        while buffer.len() < expected.len() {
            assert!(receive(&mut socket, &mut buffer).await.unwrap() > 0);
        }
        client = sending.join().unwrap();
        buffer.reserve_for_reading();
        let nothing = poll_fn(|cx| Poll::Ready(socket.poll_receive(cx, &mut buffer))).await;
        assert!(nothing.is_pending());
        assert!(!socket.received.has_memory(), "an idle one holds none");
    }
    assert!(*buffer == *expected);

    let all: usize = sizes.iter().sum();
    let reading = std::thread::spawn(move || {
        let mut came = vec![0; all];
        client.read_exact(&mut came).unwrap();
        (client, came)
    });
    let mut sent = 0;
    while sent < all {
        let (first, second) = expected[sent..].split_at((all - sent).min(100));
        let sending = poll_fn(|cx| socket.poll_send(cx, first, second));
        sent += timeout(PATIENCE, sending)
            .await
            .expect("it is read")
            .unwrap();
    }
    let (mut client, came) = reading.join().unwrap();
    assert!(came == expected);

    client.conn.send_close_notify();
    client.conn.complete_io(&mut client.sock).unwrap();
    assert_eq!(receive(&mut socket, &mut buffer).await.unwrap(), 0);
    // The other direction is still open.
    assert_eq!(
        poll_fn(|cx| socket.poll_send(cx, b"last", b""))
            .await
            .unwrap(),
        4
    );
    poll_fn(|cx| socket.poll_end(cx)).await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_has_to_wait_is_told_so_and_goes_on_later() {
    const BYTES: usize = 32 * 1024 * 1024;
    let (mut socket, mut client) = pair().await;
    let bytes: Vec<u8> = (0..BYTES).map(|at| at.to_le_bytes()[1]).collect();
    let mut sent = 0;
    // Nobody reads: after a while it takes no more.
    loop {
        let piece = &bytes[sent..sent + 100_000];
        let sending = poll_fn(|cx| Poll::Ready(socket.poll_send(cx, piece, &[])));
        let Poll::Ready(count) = sending.await else {
            break;
        };
        sent += count.unwrap();
        assert!(sent + 100_000 < BYTES);
    }
    let reading = std::thread::spawn(move || {
        let mut came = Vec::new();
        client.read_to_end(&mut came).map(|_| came)
    });
    while sent < BYTES {
        // It may have other pieces by now, but they are the same bytes.
        let (first, second) = bytes[sent..].split_at(1);
        let sending = poll_fn(|cx| socket.poll_send(cx, first, second));
        sent += timeout(PATIENCE, sending)
            .await
            .expect("it is read")
            .unwrap();
    }
    poll_fn(|cx| socket.poll_end(cx)).await.unwrap();
    assert!(reading.join().unwrap().unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_the_peer_did_not_say_is_an_error() {
    let (mut socket, client) = pair().await;
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let mut buffer = Buffer::new();
    let error = receive(&mut socket, &mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// Whoever watches how fast a peer takes what it is sent has to see less than a buffer of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_peer_takes_is_seen_in_small_steps() {
    let (mut socket, mut client) = pair().await;
    let piece = vec![7; 64 * 1024];
    let mut sent = 0;
    loop {
        let sending = poll_fn(|cx| Poll::Ready(socket.poll_send(cx, &piece, &[])));
        let Poll::Ready(count) = sending.await else {
            break;
        };
        sent += count.unwrap();
    }
    let reading = std::thread::spawn(move || {
        let mut came = vec![0; sent];
        client.read_exact(&mut came).unwrap();
        (client, came)
    });
    let sending = poll_fn(|cx| socket.poll_send(cx, &piece, &[]));
    let count = timeout(PATIENCE, sending)
        .await
        .expect("it is read")
        .unwrap();
    assert!(
        count > 0 && count < piece.len(),
        "{count} of what was waiting"
    );
    let (_, came) = reading.join().unwrap();
    assert!(came.iter().all(|byte| *byte == 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_cut_is_not_said() {
    let (mut socket, mut client) = pair().await;
    let sending = poll_fn(|cx| socket.poll_send(cx, b"half", b""));
    assert_eq!(sending.await.unwrap(), 4);
    socket.note_cut();
    poll_fn(|cx| socket.poll_end(cx)).await.unwrap();
    let error = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
