//! Each step of a hand-over at which one of the two may fail, or be asked to end.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Clients, upgrade, upgrade_from, wait_until_taken_over};
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::{Process, Signal},
    proxy::{Proxy, TENANT},
    tls::{Authority, Certificates},
    wait_until,
    wire::Request,
};

/// A process that offers no sockets and passes its lock on, and from then on says nothing; or nothing at all.
const GIVER: &str = r#"
import fcntl, json, socket, sys
place = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
place.bind("handover.sock")
place.listen()
lock = open("lock", "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
print("offers", flush=True)
peer, _ = place.accept()
def reply(message, descriptors):
    peer.recv(65536)
    socket.send_fds(peer, [b"\0" + json.dumps(message).encode()], descriptors)
if sys.argv[1] == "pledges":
    offer = dict(say="offer", version=1, process=1, sockets=[], ticket_keys={}, generation=None)
    reply(offer, [place.fileno()])
    reply(dict(say="lock"), [lock.fileno()])
while peer.recv(65536):
    print("asked", flush=True)
print("gone", flush=True)
"#;

fn giver(state_dir: &Path, mode: &str) -> Process {
    let _ = fs::remove_file(state_dir.join("handover.sock"));
    let mut command = Command::new("python3");
    command.args(["-c", GIVER, mode]).current_dir(state_dir);
    let giver = Process::start("the giver", &mut command);
    giver.wait_for_line("offers", PATIENCE, |line| (line == "offers").then_some(()));
    giver
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_successor_writes_nothing_until_the_process_before_says_so() {
    let fleet = Fleet::start(1);
    let plan = Proxy::plan().set("timeouts", "{ upgrade_ms: 1500, shutdown_ms: 1000 }");
    let mut proxy = plan.table(fleet.table()).start();
    proxy.stop();
    let state_dir = proxy.state_dir();
    proxy.write_table(fleet.table().generation(9));
    let giver = giver(&state_dir, "pledges");
    let before = files(&state_dir);
    let mut successor = upgrade_from(proxy.directory());
    // It has said that it serves by then.
    giver.wait_for_line("asked", PATIENCE, |line| (line == "asked").then_some(()));
    assert_eq!(files(&state_dir), before);
    assert_eq!(successor.wait(PATIENCE).code(), Some(1));
    let said = successor.output();
    assert!(
        said.contains("the process before goes on serving"),
        "{said}"
    );
    assert_eq!(files(&state_dir), before);
    giver.wait_for_line("gone", PATIENCE, |line| (line == "gone").then_some(()));
}

#[test]
fn a_successor_that_loads_ends_when_it_is_asked_to() {
    let fleet = Fleet::start(1);
    let mut proxy = Proxy::start(fleet.table());
    proxy.stop();
    let _giver = giver(&proxy.state_dir(), "is silent");
    let mut successor = upgrade_from(proxy.directory());
    // It listens to signals before it reads its configuration, and then waits for the offer.
    thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    successor.signal(Signal::TERM);
    assert!(successor.wait(PATIENCE).success());
    assert!(asked.elapsed() < Duration::from_secs(5));
    let said = successor.output();
    assert!(said.contains("asked to end before it served"), "{said}");
}

/// What a successor has said before it is killed.
const STEPS: [&str; 4] = [
    "",
    "say('hello', version=1, process=1)",
    "say('hello', version=1, process=1); hear()",
    "say('hello', version=1, process=1); hear(); say('ready'); hear()",
];

const SUCCESSOR: &str = r"
import json, os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect('handover.sock')
def say(what, **more):
    s.send(b'\0' + json.dumps(dict(say=what, **more)).encode())
def hear():
    return socket.recv_fds(s, 65536, 64)
";

#[test]
fn successors_that_are_killed_at_any_step_cost_nothing() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan().set("timeouts", "{ drain_idle_ms: 5000, shutdown_ms: 10000 }");
    let mut proxy = plan.table(fleet.table()).start();
    let clients = Clients::start(&proxy, 8);
    for round in 0..20 {
        let step = STEPS[round % STEPS.len()];
        let script = format!("{SUCCESSOR}{step}\nos.kill(os.getpid(), 9)\n");
        let killed = Command::new("python3")
            .args(["-c", &script])
            .current_dir(proxy.state_dir())
            .stdin(Stdio::null())
            .status();
        assert!(!killed.expect("python3 is there").success());
        wait_until("the proxy has noticed", PATIENCE, || {
            proxy.count_in_log("nothing is handed over") == round + 1
        });
    }
    proxy.write_table(fleet.table().generation(9));
    proxy.wait_for_generation(9);
    wait_until("it writes again", PATIENCE, || {
        files(&proxy.state_dir())
            .keys()
            .any(|name| name.starts_with("table-00000000000000000009"))
    });
    let successor = upgrade(&proxy);
    wait_until_taken_over(&proxy, &successor);
    assert!(clients.stop() > 100);
    assert!(proxy.wait(PATIENCE).success());
}

#[test]
fn a_successor_gives_up_on_a_process_that_hangs_and_that_one_goes_on() {
    let fleet = Fleet::start(1);
    let plan = Proxy::plan().set("timeouts", "{ upgrade_ms: 1000 }");
    let mut proxy = plan.table(fleet.table()).start();
    proxy.signal(Signal::STOP);
    let mut successor = upgrade_from(proxy.directory());
    assert_eq!(successor.wait(PATIENCE).code(), Some(1));
    proxy.signal(Signal::CONT);
    assert_eq!(proxy.get("acme", "/").status, 200);
    wait_until("the next one is taken", PATIENCE, || {
        let mut successor = upgrade(&proxy);
        let is_next = || {
            proxy
                .log()
                .contains(&format!("drains process={}", successor.id()))
        };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) && !is_next() {
            thread::sleep(Duration::from_millis(10));
        }
        let is_next = is_next();
        if is_next {
            assert_eq!(proxy.get("acme", "/").status, 200);
        }
        successor.kill();
        is_next
    });
}

#[test]
fn a_changed_configuration_takes_effect() {
    let fleet = Fleet::start(1);
    let (authority, certificates) = (Authority::new(), Certificates::new());
    certificates.write_pair("edge", &authority.server(&["localhost"]));
    let mut proxy = Proxy::plan().table(fleet.table()).start();
    let path = proxy.directory().join("proxy.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let with = |certificate: &Path| {
        let added = format!(
            "  - {{ name: added, address: \"127.0.0.1:0\", protocol: http, tls: {{ certificates: [{{ certificate: {}, key: {} }}] }} }}\n",
            certificate.display(),
            certificates.path("edge.key").display()
        );
        with_listener(&good, &added)
    };
    // A certificate that cannot be read ends the successor, and nothing else.
    fs::write(&path, with(&certificates.path("missing.pem"))).unwrap();
    let mut successor = upgrade(&proxy);
    assert_eq!(successor.wait(PATIENCE).code(), Some(1));
    let said = successor.output();
    assert!(said.contains("missing.pem"), "{said}");
    assert_eq!(proxy.get("acme", "/").status, 200);
    // Another listener, and other limits.
    let added = "  - { name: added, address: \"127.0.0.1:0\", protocol: http }\n";
    let config = with_listener(&good, added) + "\nlimits: { head_bytes_max: 2048 }\n";
    fs::write(&path, config).unwrap();
    let big = || {
        let request = Request::get("/").header(TENANT, "acme");
        request
            .header("x-big", "a".repeat(4_000))
            .send(proxy.address())
            .status
    };
    assert_eq!(big(), 200);
    let successor = upgrade(&proxy);
    wait_until_taken_over(&proxy, &successor);
    let before = "listening listener=\"added\" address=";
    let added = successor.wait_for_line(before, PATIENCE, |line| {
        line.split_once(before)?.1.trim().parse().ok()
    });
    assert_eq!(
        Request::get("/").header(TENANT, "acme").send(added).status,
        200
    );
    assert_eq!(big(), 431);
    // And without it again.
    fs::write(&path, &good).unwrap();
    let last = upgrade(&proxy);
    wait_until("nobody listens there", PATIENCE, || {
        std::net::TcpStream::connect(added).is_err()
    });
    assert_eq!(big(), 200);
    assert!(proxy.wait(PATIENCE).success());
    drop(last);
}

/// The configuration with one listener more.
fn with_listener(config: &str, added: &str) -> String {
    let lines = config.lines().map(|line| {
        if let Some(listeners) = line.strip_prefix("listeners: [")
            && let Some(listeners) = listeners.strip_suffix(']')
        {
            format!("listeners:\n  - {listeners}\n{added}")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}
