use std::{
    future::poll_fn,
    io::{Read as _, Write as _},
    net::Shutdown,
    thread,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A socket of ours, and the peer's, which blocks.
async fn pair() -> (TcpStream, std::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_nodelay(true).unwrap();
    (listener.accept().await.unwrap().0, peer)
}

struct Scene {
    relaying: tokio::task::JoinHandle<(End, (u64, u64), usize)>,
    client: std::net::TcpStream,
    cell: std::net::TcpStream,
}

/// Each test with pipes, and without.
async fn scene(pipes_max: usize, ahead: &'static [u8]) -> Scene {
    let ((ours, client), (cells, cell)) = (pair().await, pair().await);
    let pipes = Arc::new(Pipes::new(pipes_max));
    let mut relay = Relay::new(ours, cells, ahead, &pipes);
    let relaying = tokio::spawn(async move {
        let mut polls = 0;
        let end = poll_fn(|cx| {
            polls += 1;
            relay.poll(cx, false)
        });
        let end = tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap();
        (end, relay.carried(), polls)
    });
    Scene {
        relaying,
        client,
        cell,
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_writes_and_a_slow_reader_lose_nothing() {
    for pipes_max in [8, 0] {
        let Scene {
            relaying,
            mut client,
            mut cell,
        } = scene(pipes_max, b"ahead").await;
        let expected = [b"ahead", &pattern(200_000)[..]].concat();
        let sent = expected[5..].to_vec();
        let received = in_thread(move || {
            let writer = thread::spawn(move || {
                for piece in sent.chunks(10) {
                    client.write_all(piece).unwrap();
                }
                client.shutdown(Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).unwrap();
                answer
            });
            thread::sleep(Duration::from_millis(100));
            let mut all = Vec::new();
            cell.read_to_end(&mut all).unwrap();
            // The other way goes on after the first one's end.
            cell.write_all(&pattern(3_000_000)).unwrap();
            drop(cell);
            (all, writer.join().unwrap())
        });
        let (all, answer) = received.await;
        assert!(all == expected, "{} bytes", all.len());
        assert!(answer == pattern(3_000_000), "{} bytes", answer.len());
        let (end, carried, polls) = relaying.await.unwrap();
        assert_eq!((end, carried), (End::Finished, (200_005, 3_000_000)));
        // Nobody asks in vain.
        assert!(polls < 50_000, "{polls}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_may_end_first() {
    for pipes_max in [8, 0] {
        let Scene {
            relaying,
            mut client,
            mut cell,
        } = scene(pipes_max, b"").await;
        in_thread(move || {
            cell.write_all(b"hello").unwrap();
            cell.shutdown(Shutdown::Write).unwrap();
            let mut greeting = Vec::new();
            client.read_to_end(&mut greeting).unwrap();
            assert_eq!(greeting, b"hello");
            client.write_all(b"bye").unwrap();
            drop(client);
            let mut rest = Vec::new();
            cell.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"bye");
        })
        .await;
        assert_eq!(relaying.await.unwrap().0, End::Finished);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_ends_the_other_side() {
    let Scene {
        relaying,
        client,
        mut cell,
    } = scene(8, b"").await;
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(relaying.await.unwrap().0, End::ClientBroke);
    let ended = in_thread(move || cell.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pipe_goes_back_empty_or_not_at_all() {
    let pipes = Arc::new(Pipes::new(1));
    let (socket, mut peer) = pair().await;
    let mut lent = pipes.lend().unwrap();
    assert!(pipes.lend().is_none());
    peer.write_all(b"secret").unwrap();
    socket.readable().await.unwrap();
    assert_eq!(lent.fill(&socket).unwrap(), 6);
    drop(lent);
    // Another one, without the bytes of the first.
    let lent = pipes.lend().unwrap();
    assert_eq!(lent.held(), 0);
    drop(lent);
    assert!(pipes.lend().is_some());
}

/// What the client says first is held back as long as it could be a PROXY header, and the cell speaks meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_is_refused_and_its_like_is_passed_on() {
    type Case = (&'static [&'static [u8]], &'static [u8], End);
    const CASES: [Case; 7] = [
        (&[b"PROXY "], b"", End::ProxyHeader),
        (&[b"PRO", b"XY "], b"", End::ProxyHeader),
        (&[b"\nQUIT\n!"], b"\r\n\r\n\0\r", End::ProxyHeader),
        (&[b"PRO", b"XX"], b"", End::Finished),
        (&[b"\r\n"], b"", End::Finished),
        (&[], b"PRO", End::Finished),
        (&[], b"", End::Finished),
    ];
    for (pieces, ahead, end) in CASES {
        let ((ours, mut client), (cells, mut cell)) = (pair().await, pair().await);
        let relay = Relay::new(ours, cells, ahead, &Arc::new(Pipes::new(8)));
        let mut relay = relay.refusing_header();
        let relaying = tokio::spawn(async move {
            let end = poll_fn(|cx| relay.poll(cx, false));
            tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap()
        });
        let came = in_thread(move || {
            cell.write_all(b"ready").unwrap();
            client.read_exact(&mut [0; 5]).unwrap();
            for piece in pieces {
                client.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(10));
            }
            client.shutdown(Shutdown::Write).unwrap();
            let mut came = Vec::new();
            cell.read_to_end(&mut came).unwrap();
            came
        });
        let came = came.await;
        let sent = [ahead, &pieces.concat()].concat();
        assert_eq!(relaying.await.unwrap(), end, "{sent:?}");
        let passed_on = if end == End::Finished {
            sent
        } else {
            Vec::new()
        };
        assert_eq!(came, passed_on);
    }
}
