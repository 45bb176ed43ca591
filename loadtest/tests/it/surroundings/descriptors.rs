//! Clients that use up what sockets are made of take nothing from those that are served, nor from what serves them.

use std::{
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    clients::Clients,
    fleet::Fleet,
    heavy::{allows_clients, alone, amount, figure, is_acceptance},
    proxy::{Proxy, TENANT},
    wait_until,
    wire::{Connection, Request},
};

const IDLE_CLIENTS: usize = 1_500;
const CHECK: &str =
    "health_check: { type: http, path: /healthz, interval_ms: 100, unhealthy_after: 1 }";

/// How long each test watches.
fn time() -> Duration {
    let usual = if is_acceptance() { 60 } else { 3 };
    Duration::from_secs(amount("CELLGATE_FAULT_SECONDS", usual))
}

#[track_caller]
fn start(fleet: &Fleet, soft: u32, hard: u32) -> Proxy {
    let table = fleet
        .table()
        .generation(1)
        .pin("acme", "cell-1")
        .pin("globex", "cell-2")
        .cell_line("cell-1", CHECK)
        .cell_line("cell-2", CHECK);
    Proxy::plan().open_files(soft, hard).table(table).start()
}

/// What is to hold while idle clients crowd the edge: requests of others pass, no endpoint is blamed, the admin address
/// answers, a new table is taken.
#[track_caller]
fn watch(proxy: &Proxy, fleet: &Fleet, clients: &[Clients]) -> usize {
    let began = Instant::now();
    let mut generation = 1;
    while began.elapsed() < time() {
        generation += 1;
        let table = fleet.table().generation(generation);
        let table = table.pin("acme", "cell-1").pin("globex", "cell-2");
        let table = table.cell_line("cell-1", CHECK).cell_line("cell-2", CHECK);
        proxy.write_table(table);
        let written = Instant::now();
        proxy.wait_for_generation(generation);
        assert!(
            written.elapsed() < Duration::from_secs(1),
            "{:?}",
            written.elapsed()
        );
        for path in ["/livez", "/readyz"] {
            assert_eq!(proxy.admin_get(path).status, 200);
        }
        let status = proxy.status();
        for cell in ["cell-1", "cell-2"] {
            assert_eq!(status["cells"][cell]["healthy"], 1, "{status}");
            assert_eq!(
                proxy.metric("endpoint_ejections_total", &[("cell", cell)]),
                Some(0.0)
            );
        }
        thread::sleep(Duration::from_millis(200));
    }
    let mut answered = 0;
    for clients in clients {
        let tally = clients.take();
        assert!(tally.failed.is_empty(), "{:?}", tally.failed.first());
        answered += tally.answered.len();
    }
    answered
}

fn load(proxy: &Proxy) -> [Clients; 2] {
    let clients = ["acme", "globex"].map(|tenant| Clients::start(proxy.address(), tenant, 8));
    wait_until("each of them has a connection", PATIENCE, || {
        proxy.status()["client_connections"].as_u64() >= Some(16)
    });
    clients
}

#[test]
fn the_soft_limit_is_no_limit() {
    let _alone = alone();
    if !allows_clients(IDLE_CLIENTS) {
        return;
    }
    let fleet = Fleet::start(2);
    let proxy = start(&fleet, 1_024, 20_000);
    assert_eq!(proxy.process_metric("process_max_fds"), Some(20_000.0));
    let clients = load(&proxy);
    let mut idle: Vec<_> = (0..IDLE_CLIENTS)
        .map(|_| Connection::open(proxy.address()))
        .collect();
    // Every one of them is served; then it may stay for `keepalive_ms`.
    for connection in &mut idle {
        let answer = connection.exchange(&Request::get("/").header(TENANT, "acme"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let answered = watch(&proxy, &fleet, &clients);
    let open = proxy.status()["client_connections"].as_u64().unwrap();
    assert!(open >= IDLE_CLIENTS as u64, "{open}");
    for clients in clients {
        assert!(clients.stop().failed.is_empty());
    }
    figure(format!(
        "soft limit 1,024, hard limit 20,000: {IDLE_CLIENTS} idle clients, 0 of {answered} other requests failed, 0 \
         endpoints unhealthy"
    ));
}

#[test]
fn beyond_the_hard_limit_clients_are_refused_or_wait() {
    let _alone = alone();
    if !allows_clients(IDLE_CLIENTS) {
        return;
    }
    let fleet = Fleet::start(2);
    let proxy = start(&fleet, 1_024, 1_024);
    proxy.wait_for_log(&["WARN", "limits.connections_max is lowered", "LimitNOFILE"]);
    let most = proxy.status()["client_connections_max"].as_u64().unwrap();
    assert!((200..512).contains(&most), "{most}");
    let clients = load(&proxy);
    let idle: Vec<_> = (0..IDLE_CLIENTS)
        .map(|_| TcpStream::connect(proxy.address()).expect("the kernel takes it"))
        .collect();
    // A new client is refused, or waits; after 10 s those that have sent nothing are cut, and there is room.
    let mut late = Connection::open(proxy.address());
    let verdict = late.exchange(&Request::get("/").header(TENANT, "acme"));
    assert_eq!(verdict.verdict(), (503, Some("overloaded")));
    let answered = watch(&proxy, &fleet, &clients);
    let open = proxy.process_metric("process_open_fds").unwrap();
    assert!(open < 1_024.0, "{open}");
    assert!(proxy.metric("client_connections_refused_total", &[]) > Some(0.0));
    // Once they are gone, there is room.
    drop(idle);
    wait_until("new clients are served", PATIENCE, || {
        proxy.get("acme", "/").status == 200
    });
    for clients in clients {
        assert!(clients.stop().failed.is_empty());
    }
    figure(format!(
        "hard limit 1,024: at most {most} client connections, {open} open files, 0 of {answered} requests on live \
         connections failed, 0 endpoints unhealthy"
    ));
}

/// Each request leaves an idle connection behind; with as many of these as may be kept, clients still find room.
#[test]
fn idle_connections_to_cells_give_way_to_clients() {
    let _alone = alone();
    let fleet = Fleet::start(2);
    let proxy = start(&fleet, 1_024, 1_024);
    let most = usize::try_from(proxy.status()["client_connections_max"].as_u64().unwrap()).unwrap();
    let mut open: Vec<_> = (0..most)
        .map(|_| Connection::open(proxy.address()))
        .collect();
    for _ in 0..3 {
        // All at once, so that each needs a connection of its own.
        let request = Request::get("/slow/300").header(TENANT, "acme").bytes();
        for connection in &mut open {
            connection.send(&request).unwrap();
        }
        for connection in &mut open {
            assert_eq!(connection.answer("GET").unwrap().status, 200);
        }
        assert!(proxy.process_metric("process_open_fds") < Some(1_024.0));
    }
    assert_eq!(proxy.admin_get("/readyz").status, 200);
}

/// They gave way to clients of HTTP only.
#[test]
fn idle_connections_to_cells_give_way_to_connections_of_tcp_listeners() {
    let _alone = alone();
    let fleet = Fleet::start(1);
    let listeners = "[{ name: edge, address: \"127.0.0.1:0\", protocol: http }, \
                     { name: whole, address: \"127.0.0.1:0\", protocol: tcp, tenant_key: [{ tenant: acme }] }]";
    let proxy = Proxy::plan()
        .open_files(1_024, 1_024)
        .set("listeners", listeners)
        .table(fleet.table())
        .start();
    let beginning = "listening listener=\"whole\" address=";
    let line = proxy.wait_for_log(&[beginning]);
    let whole: SocketAddr = (line.split_once(beginning).unwrap().1.trim().parse()).unwrap();
    let most = proxy.status()["client_connections_max"].as_u64().unwrap();
    // As long as these are open, there is room for as many that wait.
    let mut open: Vec<_> = (0..most / 2)
        .map(|_| Connection::open(proxy.address()))
        .collect();
    let request = Request::get("/slow/300").header(TENANT, "acme").bytes();
    for connection in &mut open {
        connection.send(&request).unwrap();
    }
    for connection in &mut open {
        assert_eq!(connection.answer("GET").unwrap().status, 200);
    }
    drop(open);
    let idle = || proxy.metric("upstream_idle_connections", &[]).unwrap();
    wait_until("those to the cell wait", PATIENCE, || {
        proxy.status()["client_connections"] == 0 && idle() > 50.0
    });
    let _clients: Vec<_> = (0..most)
        .map(|_| TcpStream::connect(whole).unwrap())
        .collect();
    wait_until("they give way", PATIENCE, || idle() <= 1.0);
    assert_eq!(proxy.admin_get("/readyz").status, 200);
}

/// The limit is taken away from a process that runs, so that each new socket or file fails.
#[test]
fn running_out_of_descriptors_blames_no_endpoint_and_loses_no_table() {
    let fleet = Fleet::start(2);
    let proxy = start(&fleet, 1_024, 1_024);
    let mut connection = Connection::open(proxy.address());
    let request = Request::get("/").header(TENANT, "acme");
    assert_eq!(connection.exchange(&request).status, 200);
    proxy.limit_open_files(3);
    let table = fleet.table().generation(2).pin("acme", "cell-2");
    proxy.write_table(table.cell_line("cell-1", CHECK).cell_line("cell-2", CHECK));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        let answer = connection.exchange(&request);
        assert_eq!(
            answer.status,
            200,
            "the kept connection is there: {}",
            answer.text()
        );
        thread::sleep(Duration::from_millis(50));
    }
    proxy.wait_for_log(&["WARN", "endpoints cannot be checked"]);
    proxy.limit_open_files(1_024);
    let back = Instant::now();
    proxy.wait_for_generation(2);
    assert!(
        back.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        back.elapsed()
    );
    assert_eq!(proxy.cell_of("acme"), "cell-2");
    assert_eq!(
        proxy.count_in_log("endpoint unhealthy"),
        0,
        "{}",
        proxy.log()
    );
    assert_eq!(proxy.count_in_log("endpoint ejected"), 0, "{}", proxy.log());
}
