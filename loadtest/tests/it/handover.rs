//! Restarts that nobody notices: a successor takes the sockets over, and one that cannot serve changes nothing.

mod activation;
mod steps;

use std::{
    fs,
    net::TcpStream,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
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

fn wait_until_taken_over(proxy: &Proxy, successor: &Process) {
    let id = successor.id();
    wait_until("the successor serves", PATIENCE, || {
        proxy.log().contains(&format!(
            "handed over: the successor serves, and this process drains process={id}"
        ))
    });
}

/// Clients on kept connections and on fresh ones, until they are stopped; the first request that fails is a panic.
struct Clients {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Clients {
    fn start(proxy: &Proxy, count: usize) -> Self {
        let address = proxy.address();
        let (is_over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..count).map(|number| {
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                let mut kept = None;
                while !is_over.load(Ordering::Relaxed) {
                    let mut open = kept.take().unwrap_or_else(|| Connection::open(address));
                    let request = if random.bool() {
                        Request::new("POST", "/echo/x").body("a body")
                    } else {
                        Request::get("/")
                    };
                    let answer = open.exchange(&request.header(TENANT, format!("tenant-{number}")));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.header("connection") != Some("close") && !number.is_multiple_of(4) {
                        kept = Some(open);
                    }
                    thread::sleep(Duration::from_millis(random.u64(..10)));
                }
            })
        });
        Self {
            threads: threads.collect(),
            is_over,
            answered,
        }
    }

    fn stop(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no request fails");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

#[test]
fn no_request_fails_across_hand_overs() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan().set("timeouts", "{ drain_idle_ms: 5000, shutdown_ms: 10000 }");
    let proxy = plan.table(fleet.table()).start();
    let hand_overs = if std::env::var_os("CELLGATE_ACCEPTANCE").is_some() {
        100
    } else {
        5
    };
    let clients = Clients::start(&proxy, 16);
    let mut processes = Vec::new();
    for _ in 0..hand_overs {
        let successor = upgrade(&proxy);
        let id = successor.id();
        wait_until("the successor serves", PATIENCE, || {
            let lock = fs::read_to_string(proxy.state_dir().join("lock")).unwrap();
            assert_eq!(proxy.admin_get("/readyz").status, 200);
            lock.contains(&format!("process {id},")) && successor.output().contains("taking over")
        });
        thread::sleep(Duration::from_millis(100));
        processes.push(successor);
    }
    assert!(clients.stop() > 100);
    let last = processes.last_mut().expect("there was one");
    last.signal(Signal::TERM);
    assert!(last.wait(PATIENCE).success());
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
    let successor = rustix::process::Pid::from_raw(id.parse().expect(&taken));
    rustix::process::kill_process(successor.expect("a process"), Signal::TERM).unwrap();
}

/// The signal runs what is at the path of the program by then, and the service manager hears who serves.
#[test]
fn a_signal_starts_the_successor() {
    let fleet = Fleet::start(1);
    let first = Proxy::start(fleet.table());
    let directory = tempfile::tempdir().unwrap();
    let (program, notify) = (
        directory.path().join("proxy"),
        directory.path().join("notify"),
    );
    let original = command().get_program().to_owned();
    fs::copy(&original, &program).unwrap();
    let heard = UnixDatagram::bind(&notify).unwrap();
    heard.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut bytes = [0; 256];
        let length = heard.recv(&mut bytes).expect("the message comes in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let config = fs::read_to_string(first.directory().join("proxy.yaml")).unwrap();
    fs::create_dir(directory.path().join("tables")).unwrap();
    fs::write(
        directory.path().join("tables/table.yaml"),
        fleet.table().to_string(),
    )
    .unwrap();
    fs::write(directory.path().join("proxy.yaml"), config).unwrap();
    let mut command = Command::new(&program);
    command
        .arg("--config")
        .arg(directory.path().join("proxy.yaml"))
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::null());
    let mut process = Process::start("the proxy", &mut command);
    assert_eq!(next(), "READY=1");
    // As a package manager does it: another file in its place.
    fs::remove_file(&program).unwrap();
    fs::copy(&original, &program).unwrap();
    process.signal(Signal::USR2);
    assert!(next().starts_with("RELOADING=1"));
    let main = next();
    let main: i32 = main.strip_prefix("MAINPID=").expect(&main).parse().unwrap();
    assert_eq!(next(), "READY=1");
    assert!(process.wait_for_exit(PATIENCE).success());
    let main = rustix::process::Pid::from_raw(main).expect("a process");
    rustix::process::kill_process(main, Signal::TERM).unwrap();
    assert_eq!(next(), "STOPPING=1");
}
