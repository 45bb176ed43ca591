//! Hand-overs and new certificates under clients of all kinds: none of them notices.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject as _},
    version::TLS13,
};

use super::{
    chain::Chain,
    clients::{Clients, Handshakes, fresh_each, kept, over_tls, stream, watching, websocket},
};
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    heavy::{figure, is_acceptance},
    origin::{Origin, Visit},
    proxy::Proxy,
    table::TableText,
    tls::{Authority, Certificates, client},
    wait_until,
    wire::Connection,
};

const NAME: &str = "edge.example.com";
/// All of it, also on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two hand-overs.
const PAUSE: Duration = Duration::from_millis(300);

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Sends back whatever comes.
fn echo(visit: &mut Visit) {
    while let Ok(mut came) = visit.take(1) {
        came.extend(visit.take_received(usize::MAX));
        if !visit.send(came) {
            return;
        }
    }
}

fn switch(visit: &mut Visit) {
    if visit.head().is_some() && visit.send(SWITCHING) {
        echo(visit);
    }
}

fn start(fleet: &Fleet, [sockets, raw]: [&Origin; 2], certificates: &Certificates) -> Proxy {
    let table = TableText::new([
        ("cell-1", vec![fleet.address(1)]),
        ("cell-2", vec![fleet.address(2)]),
        ("raw", vec![raw.address()]),
        ("sockets", vec![sockets.address()]),
    ]);
    let table = table.pin("raw", "raw").pin("sockets", "sockets");
    let table = (0..16).fold(table, |table, number| {
        table.pin(
            &format!("tenant-{number}"),
            ["cell-1", "cell-2"][number % 2],
        )
    });
    let listeners = format!(
        "[{{ name: edge, address: \"127.0.0.1:0\" }}, \
          {{ name: secure, address: \"127.0.0.1:0\", tls: {{ directory: {} }} }}, \
          {{ name: raw, address: \"127.0.0.1:0\", protocol: tcp, tenant_key: [{{ tenant: raw }}] }}]",
        certificates.folder().display()
    );
    Proxy::plan()
        .set("listeners", &listeners)
        .set("timeouts", "{ drain_idle_ms: 10000, shutdown_ms: 30000 }")
        .table(table)
        .start()
}

#[test]
fn nobody_notices_hand_overs_and_new_certificates() {
    let (hand_overs, reloads) = if is_acceptance() { (100, 100) } else { (4, 2) };
    let (authority, certificates) = (Authority::new(), Certificates::new());
    certificates.write_pair("edge", &authority.server(&[NAME]));
    let fleet = Fleet::start(2);
    let sockets = Origin::start_without_record(switch);
    let raw = Origin::start_without_record(echo);
    let proxy = start(&fleet, [&sockets, &raw], &certificates);
    let admin = proxy.admin();
    let [edge, secure, tcp] = ["edge", "secure", "raw"].map(|name| proxy.address_of(name));

    let resuming = authority.client_config(&[&TLS13], None);
    let mut full = (*authority.client_config(&[&TLS13], None)).clone();
    full.resumption = Resumption::disabled();
    let full = Arc::new(full);
    let handshakes = [(); 2].map(|()| Arc::new(Mutex::new(Handshakes::default())));
    let mut clients = Clients::new();
    clients.add("kept", 8, |number| kept(edge, number));
    clients.add("fresh", 2, |number| fresh_each(edge, number));
    clients.add("WebSocket", 4, |_| websocket(edge, "sockets"));
    clients.add("TCP", 4, |_| stream(tcp));
    clients.add("watching", 1, |_| watching(admin));
    for (kind, config, handshakes) in [
        ("TLS", &full, &handshakes[0]),
        ("TLS, resumed", &resuming, &handshakes[1]),
    ] {
        clients.add(kind, 3, |number| {
            let to = (Arc::clone(config), NAME);
            over_tls(secure, to, Arc::clone(handshakes), number)
        });
    }

    let began = Instant::now();
    let mut chain = Chain::new(proxy);
    // Half of the certificates change while processes do, and are mostly met by a successor at its start …
    thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            for _ in 0..reloads / 2 {
                reload(&authority, &certificates, secure);
            }
        });
        for _ in 0..hand_overs {
            chain.hand_over();
            thread::sleep(PAUSE);
        }
        reloading.join().expect("they take effect");
    });
    // … and the others while a process serves.
    for _ in reloads / 2..reloads {
        reload(&authority, &certificates, secure);
    }
    let took = began.elapsed();
    let tally = clients.finish();
    figure(format!(
        "{hand_overs} hand-overs and {reloads} new certificates in {took:.1?}: {} failed; rounds: {:?}; handshakes: {handshakes:?}",
        tally.failed.len(),
        tally.done
    ));
    tally.check();
    // Tickets of one process are good in the next.
    let resumed = handshakes[1].lock().unwrap_or_else(PoisonError::into_inner);
    assert!(resumed.full <= 3 + resumed.resumed / 10, "{resumed:?}");
    // Not one waited until somebody was cut off.
    chain.end();
    assert!(took < LIMIT, "{took:?}");
}

/// A new certificate is in force once a client meets it.
fn reload(authority: &Authority, certificates: &Certificates, address: std::net::SocketAddr) {
    let pem = authority.server(&[NAME]);
    let expected = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    certificates.write_pair("edge", &pem);
    let config = authority.client_config(&[&TLS13], None);
    wait_until("the new certificate is in force", PATIENCE, || {
        thread::sleep(Duration::from_millis(50));
        let tls = client(&config, NAME);
        let mut connection = Connection::try_open_tls(address, tls).expect("it is served");
        let shown = connection.tls().peer_certificates();
        shown.is_some_and(|shown| shown[0] == expected)
    });
}
