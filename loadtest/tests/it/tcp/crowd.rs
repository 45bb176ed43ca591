//! Many connections at the same time, of a proxy that may do nothing special: the system gives such a user few pipes of full
//! size, and small ones beyond.

use std::{process::Command, time::Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::*;
use crate::support::{
    heavy::{allows_clients, figure, skip},
    process::Process,
};

const CLIENTS: u16 = 2_000;
const BYTES: usize = 100_000;
/// One more than the system's limit, at its default of 16,384 pages.
const PIPES: usize = 1_025;

/// What a client sends, which is nobody else's.
fn words(of: u16) -> Vec<u8> {
    let of = of.to_le_bytes();
    (0..BYTES)
        .map(|at| (at % 251).to_le_bytes()[0] ^ of[at % 2])
        .collect()
}

async fn echo_all(listener: tokio::net::TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        });
    }
}

/// A connection on which a byte went there and back.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    stream
}

/// Sends while it receives, and again; then stays until all have done so.
async fn talk(stream: TcpStream, number: u16, barrier: Arc<Barrier>) {
    let (mut reader, mut writer) = stream.into_split();
    let words = Arc::new(words(number));
    for _ in 0..2 {
        barrier.wait().await;
        let sent = Arc::clone(&words);
        let sending = tokio::spawn(async move {
            // In pieces that no buffer has the size of.
            for piece in sent.chunks(7_001) {
                writer.write_all(piece).await.unwrap();
            }
            writer
        });
        let mut back = vec![0; BYTES];
        reader.read_exact(&mut back).await.unwrap();
        assert!(back == *words, "{number}");
        writer = sending.await.unwrap();
    }
    barrier.wait().await;
    // The proxy's time is looked at between these two.
    barrier.wait().await;
    writer.shutdown().await.unwrap();
    assert_eq!(reader.read(&mut [0]).await.unwrap(), 0, "{number}");
}

/// Somebody of the same user who has all the pipes of full size that there are for one.
fn pipe_holder() -> Option<Process> {
    let script = format!(
        "import os, time\npipes = [os.pipe() for _ in range({PIPES})]\nprint('held', flush=True)\ntime.sleep(600)"
    );
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .args(["prlimit", "--nofile=4000:4000", "python3", "-c", &script]);
    let holder = Process::start("the holder of pipes", &mut command);
    let is_held = holder.find_line("all pipes", PATIENCE, |line| (line == "held").then_some(()));
    is_held.map(|()| holder)
}

/// One client that fails would have all others wait for it.
async fn within_time<T>(work: impl Future<Output = T>) -> T {
    let outcome = timeout(3 * PATIENCE, work).await;
    outcome.expect("all clients have talked in time")
}

fn check(what: &str) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        socket.listen(4_096).unwrap()
    });
    let cell = TableText::new([(ONLY, vec![listener.local_addr().unwrap()])]);
    runtime.spawn(echo_all(listener));
    let proxy = plan(cell, "").without_privileges().start();
    let began = Instant::now();
    let idle_cpu = runtime.block_on(within_time(async {
        let barrier = Arc::new(Barrier::new(usize::from(CLIENTS) + 1));
        let mut clients = JoinSet::new();
        let mut number = 0;
        while number < CLIENTS {
            let connecting: JoinSet<_> = (0..100).map(|_| connect(proxy.address())).collect();
            for stream in connecting.join_all().await {
                clients.spawn(talk(stream, number, Arc::clone(&barrier)));
                number += 1;
            }
        }
        for _ in 0..3 {
            barrier.wait().await;
        }
        assert_eq!(
            proxy.metric("tcp_connections", &[("cell", ONLY)]),
            Some(f64::from(CLIENTS))
        );
        let busy = proxy.cpu_time();
        sleep(Duration::from_secs(2)).await;
        let idle = proxy.cpu_time().saturating_sub(busy);
        figure(format!(
            "{what}: {CLIENTS} connections, {} MB each way: {busy:.2?} of CPU in {:.1?}, then {idle:.2?} in 2 s idle",
            2 * usize::from(CLIENTS) * BYTES / 1_000_000,
            began.elapsed(),
        ));
        barrier.wait().await;
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        idle
    }));
    assert!(idle_cpu < Duration::from_millis(500), "{idle_cpu:?}");
    let ended = wait_for("a line for each", PATIENCE, || {
        let entries = entries(&proxy);
        (entries.len() == usize::from(CLIENTS)).then_some(entries)
    });
    let bytes = 2 * BYTES as u64 + 1;
    for entry in ended {
        assert_eq!(entry["reason"], "finished", "{entry}");
        assert_eq!(entry["bytes_from_client"], bytes, "{entry}");
        assert_eq!(entry["bytes_from_cell"], bytes, "{entry}");
    }
}

#[test]
fn of_a_user_without_privileges() {
    if !allows_clients(CLIENTS.into()) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root may start programs of other users");
    }
    check("as nobody");
    let Some(_holder) = pipe_holder() else {
        return skip("it needs setpriv, prlimit and python3");
    };
    check("as nobody, who has used up its pipes");
}
