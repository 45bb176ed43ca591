//! Whoever should read logs does not, or callers use up what there is of connections: that costs lines, or these callers,
//! and nothing else.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    PATIENCE,
    cell::DemoCell,
    clients::Clients,
    control::Control,
    heavy::{amount, figure, is_acceptance},
    process::Signal,
    proxy::{Plan, Proxy},
    wait_until,
    wire::Request,
};

/// What an edit, or a change, may take at most, from its beginning until it is in force.
const SOON: Duration = Duration::from_secs(1);
/// `shutdown_ms` of the proxies here.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// A thing that reports, and what is wrong with whoever listens.
struct Fault {
    name: &'static str,
    /// Sets the proxy up.
    proxy: fn(Plan) -> Plan,
    /// Breaks something while all runs.
    strike: fn(&mut Scene),
}

const FAULTS: [Fault; 10] = [
    Fault {
        name: "nobody reads the proxy's standard error (closed)",
        proxy: talkative,
        strike: |scene| scene.proxy.process().close_outputs(),
    },
    Fault {
        name: "nobody reads the proxy's standard error (full)",
        proxy: talkative,
        strike: |scene| scene.proxy.process().stop_reading(),
    },
    Fault {
        name: "nobody reads the proxy's access log (standard output, full)",
        proxy: |plan| plan.set("access_log", "{ path: stdout, queue_lines_max: 100 }"),
        strike: |scene| scene.proxy.process().stop_reading(),
    },
    Fault {
        name: "the proxy's access log is a pipe without a reader",
        proxy: |plan| {
            make_pipe(&plan.directory().join("pipe"));
            plan.set("access_log", "{ path: pipe }")
        },
        strike: |_| {},
    },
    Fault {
        name: "the proxy's access log is on a full disk",
        proxy: |plan| plan.set("access_log", "{ path: /dev/full }"),
        strike: |_| {},
    },
    Fault {
        name: "nobody reads the daemon's standard error (closed)",
        proxy: |plan| plan,
        strike: |scene| scene.control.process().close_outputs(),
    },
    Fault {
        name: "nobody reads the daemon's standard error (full)",
        proxy: |plan| plan,
        strike: |scene| scene.control.process().stop_reading(),
    },
    Fault {
        name: "1,500 idle clients of a proxy that may have 1,024 open files",
        proxy: |plan| plan.open_files(1_024, 1_024),
        strike: |scene| scene.hold(scene.proxy.address(), 1_500, b""),
    },
    Fault {
        name: "1,100 callers of the daemon that never end their request's head",
        proxy: |plan| plan,
        strike: |scene| scene.hold(scene.control.address(), 1_100, b"GET / HTTP/1.1\r\nhost:"),
    },
    Fault {
        name: "100 callers of the daemon that follow its events and read nothing",
        proxy: |plan| plan,
        strike: |scene| {
            let follow =
                b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
            scene.hold(scene.control.address(), 100, follow);
        },
    },
];

/// A line for each request, so that a log that nobody reads is full soon.
fn talkative(plan: Plan) -> Plan {
    plan.environment(("RUST_LOG", "debug"))
}

/// Two cells, a proxy, and a daemon that writes its table.
struct Scene {
    control: Control,
    proxy: Proxy,
    /// Open as long as the fault lasts.
    held: Vec<TcpStream>,
    _cells: [DemoCell; 2],
    _folder: TempDir,
}

impl Scene {
    #[track_caller]
    fn start(set_up: fn(Plan) -> Plan) -> Self {
        let folder = TempDir::new().expect("the temporary directory can be written to");
        let shutdown = format!("{{ shutdown_ms: {} }}", SHUTDOWN.as_millis());
        let plan = Proxy::plan().set("timeouts", &shutdown);
        let proxy = set_up(plan).start_unready();
        let control = Control::plan(folder.path(), &proxy.table_path())
            .proxy(proxy.admin())
            .environment("RUST_LOG", "debug")
            .start();
        let cells = ["cell-1", "cell-2"].map(DemoCell::start);
        for cell in &cells {
            control.add_static_cell(cell.name(), cell.address());
        }
        for (tenant, cell) in [("acme", "cell-1"), ("globex", "cell-2")] {
            control.wait_for_state(cell, "active");
            let body = json!({ "key": tenant, "cell": cell, "pin": true });
            control.change("POST", "/v1/tenants", &body);
        }
        control.wait_until_published();
        proxy.wait_ready();
        Self {
            control,
            proxy,
            held: Vec::new(),
            _cells: cells,
            _folder: folder,
        }
    }

    /// Opens so many connections that send this and then nothing.
    #[track_caller]
    fn hold(&mut self, address: SocketAddr, count: usize, sent: &[u8]) {
        for _ in 0..count {
            let mut stream = TcpStream::connect(address).expect("the kernel accepts it");
            // Whoever is refused may be cut already.
            let _ = stream.write_all(sent);
            self.held.push(stream);
        }
    }

    /// Registers a tenant. Returns how long the answer took, and how long it took until the proxy had the table.
    #[track_caller]
    fn edit(&self, number: usize) -> (Duration, Duration) {
        let began = Instant::now();
        let key = format!("tenant-{number}");
        let body = json!({ "key": key, "cell": "cell-2", "pin": true });
        self.control.change("POST", "/v1/tenants", &body);
        let answered = began.elapsed();
        wait_until("the proxy has the change", SOON * 5, || {
            self.proxy.explain(&key)["owner"] == "override"
        });
        (answered, began.elapsed())
    }

    /// Ends both programs; returns how long each took.
    #[track_caller]
    fn end(mut self) -> (Duration, Duration) {
        let began = Instant::now();
        self.proxy.signal(Signal::TERM);
        assert!(self.proxy.process().wait_for_exit(SHUTDOWN * 5).success());
        let proxy = began.elapsed();
        let began = Instant::now();
        self.control.signal(Signal::TERM);
        assert!(
            self.control
                .process()
                .wait_for_exit(SHUTDOWN * 10)
                .success()
        );
        (proxy, began.elapsed())
    }
}

/// Prints the table of faults.
#[test]
fn what_only_reports_and_who_only_waits_stops_nothing() {
    let time = Duration::from_secs(amount(
        "CELLGATE_FAULT_SECONDS",
        if is_acceptance() { 60 } else { 1 },
    ));
    for fault in &FAULTS {
        let mut scene = Scene::start(fault.proxy);
        let load =
            ["acme", "globex"].map(|tenant| Clients::start(scene.proxy.address(), tenant, 4));
        wait_until("each client has a connection", PATIENCE, || {
            scene.proxy.status()["client_connections"].as_u64() >= Some(8)
        });
        (fault.strike)(&mut scene);
        let began = Instant::now();
        let (mut answered, mut taken, mut edits) = (Duration::ZERO, Duration::ZERO, 0);
        while began.elapsed() < time {
            let (answer, in_force) = scene.edit(edits);
            answered = answered.max(answer);
            taken = taken.max(in_force);
            edits += 1;
            for path in ["/livez", "/readyz"] {
                assert_eq!(scene.proxy.admin_get(path).status, 200, "{}", fault.name);
                let daemon = Request::get(path).send(scene.control.address());
                assert_eq!(daemon.status, 200, "{}: {}", fault.name, daemon.text());
            }
            thread::sleep(Duration::from_millis(200));
        }
        let tallies = load.map(Clients::stop);
        let requests: usize = tallies.iter().map(|tally| tally.answered.len()).sum();
        let failed: usize = tallies.iter().map(|tally| tally.failed.len()).sum();
        let (proxy, daemon) = scene.end();
        figure(format!(
            "{}: {failed} of {requests} requests failed; {edits} edits, answered within {answered:.0?}, in force within \
             {taken:.0?}; SIGTERM ended the proxy in {proxy:.0?}, the daemon in {daemon:.0?}",
            fault.name
        ));
        let first = tallies.iter().find_map(|tally| tally.failed.first());
        assert_eq!(failed, 0, "{}: {first:?}", fault.name);
        assert!(requests > 100, "{}: {requests}", fault.name);
        assert!(answered < SOON && taken < SOON, "{}", fault.name);
        assert!(proxy < SHUTDOWN + SOON, "{}", fault.name);
        assert!(daemon < SHUTDOWN + SOON, "{}", fault.name);
    }
}

fn make_pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .expect("the scratch directory is ours");
}
