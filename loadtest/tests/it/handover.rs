//! Restarts that nobody notices: a successor takes the sockets over, and one that cannot serve changes nothing.

mod activation;
mod beside;
mod chain;
mod clients;
mod mixed;
mod signals;
mod steps;

use std::{fs, net::TcpStream, path::Path, process::Command, thread, time::Duration};

use rustix::process::{Pid, kill_process};

use self::{
    chain::Chain,
    clients::{Clients, watching},
};
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::{Process, Signal},
    proxy::{Proxy, TENANT, command},
    wait_until,
    wire::{Connection, Request},
};

/// A successor that is started by hand.
fn upgrade(proxy: &Proxy) -> Process {
    upgrade_from(proxy.directory())
}

fn upgrade_from(directory: &Path) -> Process {
    let mut command = command();
    command
        .arg("--config")
        .arg(directory.join("proxy.yaml"))
        .arg("--upgrade");
    Process::start("the successor", &mut command)
}

/// The program at this path, which need not be the one that the tests have.
fn start_as(program: &Path, directory: &Path) -> Process {
    let mut command = Command::new(program);
    command.arg("--config").arg(directory.join("proxy.yaml"));
    Process::start("the proxy", &mut command)
}

/// A process that another one has started, and that ends with the test.
struct Orphan(Pid);

impl Orphan {
    fn new(id: u32) -> Self {
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        Self(id.expect("it is the number of a process"))
    }

    fn id(&self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }

    /// Asks it to end.
    fn terminate(self) {
        kill_process(self.0, Signal::TERM).expect("it runs");
        // It is gone soon, and its number may then be another's.
        std::mem::forget(self);
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn wait_until_taken_over(proxy: &Proxy, successor: &Process) {
    let id = successor.id();
    wait_until("the successor serves", PATIENCE, || {
        proxy.log().contains(&format!(
            "handed over: the successor serves, and this process drains process={id}"
        ))
    });
}

#[test]
fn no_request_fails_across_hand_overs() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan().set("timeouts", "{ drain_idle_ms: 5000, shutdown_ms: 10000 }");
    let proxy = plan.table(fleet.table()).start();
    let (mut clients, admin) = (Clients::start(&proxy, 16), proxy.admin());
    // Nor does whoever watches it see a moment in which it is not ready.
    clients.add("watching", 2, |_| watching(admin));
    let mut chain = Chain::new(proxy);
    for _ in 0..5 {
        chain.hand_over();
        thread::sleep(Duration::from_millis(100));
    }
    assert!(clients.stop() > 100);
    chain.end();
}

/// Load balancers and monitors that ask on a kept connection still ask the process before, about what is the successor's
/// now.
#[test]
fn whoever_watches_on_a_kept_connection_sees_no_end() {
    let fleet = Fleet::start(1);
    let mut proxy = Proxy::plan()
        .set(
            "listeners",
            "[{ name: edge, address: \"127.0.0.1:0\", health_path: /healthy }]",
        )
        .set("timeouts", "{ drain_idle_ms: 10000 }")
        .table(fleet.table())
        .start();
    let mut watching = [
        (Connection::open(proxy.admin()), Request::get("/readyz")),
        (Connection::open(proxy.address()), Request::get("/healthy")),
    ];
    for (connection, request) in &mut watching {
        let answer = connection.exchange(request);
        assert_eq!(answer.status, 200);
        assert_ne!(answer.header("connection"), Some("close"));
    }
    let successor = upgrade(&proxy);
    wait_until_taken_over(&proxy, &successor);
    for (connection, request) in &mut watching {
        let answer = connection.exchange(request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert!(proxy.wait(PATIENCE).success());
}

#[test]
fn the_successor_counts_what_is_in_flight_before_it() {
    let fleet = Fleet::start(1);
    let plan = Proxy::plan().set("timeouts", "{ shutdown_ms: 20000 }");
    let mut proxy = plan.table(fleet.table()).start();
    let mut connection = Connection::open(proxy.address());
    let request = Request::get("/slow/2500").header(TENANT, "acme");
    connection.send(request.bytes()).unwrap();
    wait_until("it is in flight", PATIENCE, || {
        proxy.status()["requests_in_flight"] == 1
    });
    let successor = upgrade(&proxy);
    wait_until_taken_over(&proxy, &successor);
    let status = proxy.status();
    assert_eq!(status["predecessor"]["process"], proxy.id(), "{status}");
    assert_eq!(status["predecessor"]["answers"], true, "{status}");
    assert_eq!(status["cells"]["cell-1"]["in_flight"], 1, "{status}");
    assert_eq!(status["requests_in_flight"], 1, "{status}");
    assert_eq!(connection.answer("GET").unwrap().status, 200);
    assert!(proxy.wait(PATIENCE).success());
    wait_until("it is gone", PATIENCE, || {
        proxy.status()["predecessor"].is_null()
    });
    assert_eq!(proxy.get("acme", "/").status, 200);
}

#[test]
fn successors_that_cannot_serve_change_nothing() {
    let fleet = Fleet::start(1);
    let plan = Proxy::plan().set("timeouts", "{ upgrade_ms: 1500 }");
    let mut proxy = plan.table(fleet.table()).start();
    let path = proxy.directory().join("proxy.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let goes_on = |proxy: &Proxy| {
        assert_eq!(proxy.get("acme", "/").status, 200);
        let status = proxy.status();
        assert!(
            status["predecessor"].is_null() && status["draining"] == false,
            "{status}"
        );
    };
    // A configuration that cannot be read, and a listener that cannot be had.
    for bad in [
        "listeners: 3\n".to_owned(),
        good.replace("127.0.0.1:0\"", "192.0.2.1:1\""),
    ] {
        fs::write(&path, bad).unwrap();
        let mut successor = upgrade(&proxy);
        assert_eq!(
            successor.wait(PATIENCE).code(),
            Some(1),
            "{}",
            successor.output()
        );
        goes_on(&proxy);
    }
    fs::write(&path, good).unwrap();
    // One that comes and says nothing, or anything; the next may come all the same.
    for says in [
        "",
        "s.send(b'garbage')",
        "s.send(b'\\0{\"say\":\"hello\",\"version\":1,\"process\":1}'); s.recv(65536)",
    ] {
        let script = format!(
            "import socket, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect('handover.sock')\n{says}\ntime.sleep(0.2)\n"
        );
        let run = Command::new("python3")
            .args(["-c", &script])
            .current_dir(proxy.state_dir())
            .status();
        assert!(run.expect("python3 is there").success());
        goes_on(&proxy);
    }
    wait_until("it said so", PATIENCE, || {
        proxy.count_in_log("nothing is handed over") == 4
    });
    // A table is kept by whoever may write, which is the first again.
    proxy.write_table(fleet.table().generation(9));
    proxy.wait_for_generation(9);
    let kept = fs::read_dir(proxy.state_dir()).unwrap();
    let kept = kept.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("table-")
    });
    assert_eq!(kept.count(), 2);
    // Two at once would be one too many; a plain second one says what to do.
    let mut second = Process::start("a second one", command().arg("--config").arg(&path));
    assert_eq!(second.wait(PATIENCE).code(), Some(1));
    assert!(second.output().contains("--upgrade"), "{}", second.output());
    let successor = upgrade(&proxy);
    wait_until_taken_over(&proxy, &successor);
    assert!(proxy.wait(PATIENCE).success());
    assert_eq!(proxy.get("acme", "/").status, 200);
}

#[test]
fn without_a_predecessor_there_is_nothing_to_upgrade() {
    let fleet = Fleet::start(1);
    let mut proxy = Proxy::start(fleet.table());
    proxy.stop();
    let mut successor = upgrade(&proxy);
    assert_eq!(successor.wait(PATIENCE).code(), Some(1));
    assert!(
        successor.output().contains("no process to take over from"),
        "{}",
        successor.output()
    );
}

/// Whoever waits for a tenant's connections to end must not believe that they have.
#[test]
fn the_successor_counts_the_connections_of_tcp_listeners_before_it() {
    let fleet = Fleet::start(1);
    let listeners = "[{ name: edge, address: \"127.0.0.1:0\", protocol: tcp }]";
    let mut proxy = Proxy::plan()
        .set("listeners", listeners)
        .set("tenant_key", "[{ source_ip: true }]")
        .set("timeouts", "{ shutdown_ms: 20000 }")
        .table(fleet.table())
        .start();
    let connections = |proxy: &Proxy| proxy.status()["cells"]["cell-1"]["connections"].clone();
    let client = TcpStream::connect(proxy.address()).unwrap();
    wait_until("it is open", PATIENCE, || connections(&proxy) == 1);
    let successor = upgrade(&proxy);
    wait_until_taken_over(&proxy, &successor);
    assert_eq!(connections(&proxy), 1);
    drop(client);
    assert!(proxy.wait(PATIENCE).success());
    wait_until("it is closed", PATIENCE, || connections(&proxy) == 0);
}

/// It took over from the first one, and was then killed for not having taken over from the oldest: nobody served.
#[test]
fn a_second_signal_starts_no_second_successor() {
    let fleet = Fleet::start(1);
    let plan = Proxy::plan().set("timeouts", "{ upgrade_ms: 2000, shutdown_ms: 20000 }");
    let mut proxy = plan.table(fleet.table()).start();
    // It keeps the first process there, beyond the time that a successor may take.
    let mut connection = Connection::open(proxy.address());
    let request = Request::get("/slow/5000").header(TENANT, "acme");
    connection.send(request.bytes()).unwrap();
    wait_until("it is in flight", PATIENCE, || {
        proxy.status()["requests_in_flight"] == 1
    });
    proxy.signal(Signal::USR2);
    wait_until("there is one", PATIENCE, || {
        proxy.count_in_log("a successor is started") > 0
    });
    proxy.signal(Signal::USR2);
    proxy.wait_for_log(&["a hand-over is under way already"]);
    let taken = proxy.wait_for_log(&["handed over: the successor serves"]);
    assert_eq!(connection.answer("GET").unwrap().status, 200);
    assert!(proxy.process().wait_for_exit(PATIENCE).success());
    assert_eq!(proxy.count_in_log("a successor is started"), 1);
    assert_eq!(proxy.get("acme", "/").status, 200);
    let id = taken.split_once("process=").expect(&taken).1.trim();
    Orphan::new(id.parse().expect(&taken)).terminate();
}
