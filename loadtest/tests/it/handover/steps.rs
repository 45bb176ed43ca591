//! Each step of a hand-over at which one of the two may fail, or be asked to end.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Orphan, clients::Clients, start_as, upgrade, upgrade_from, wait_until_taken_over};
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::{Process, Signal},
    proxy::{Proxy, TENANT, command, port},
    tls::{Authority, Certificates},
    wait_until,
    wire::{Connection, Request},
};

/// A process that passes its sockets and its lock on, and from then on says nothing, or confirms; or that says nothing at
/// all. Once the other side is gone, it answers whoever has connected.
const GIVER: &str = r#"
import fcntl, json, socket, sys
place = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
place.bind("handover.sock")
place.listen()
lock = open("lock", "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
edge = socket.create_server(("127.0.0.1", 0))
edge.setblocking(False)
print("offers", flush=True)
print("edge at 127.0.0.1:%d" % edge.getsockname()[1], flush=True)
peer, _ = place.accept()
def reply(message, descriptors):
    peer.recv(65536)
    socket.send_fds(peer, [b"\0" + json.dumps(message).encode()], descriptors)
if sys.argv[1] != "is silent":
    offered = dict(role="edge", name="edge", configured="127.0.0.1:0", ipv6_only=True)
    offer = dict(say="offer", version=1, process=1, sockets=[offered], ticket_keys={}, generation=None)
    reply(offer, [edge.fileno(), place.fileno()])
    reply(dict(say="lock"), [lock.fileno()])
if sys.argv[1] == "confirms":
    reply(dict(say="committed"), [])
try:
    while peer.recv(65536):
        print("asked", flush=True)
except ConnectionError:
    pass
print("gone", flush=True)
edge.setblocking(True)
while True:
    client, _ = edge.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ngiver")
"#;

pub(super) fn giver(state_dir: &Path, mode: &str) -> Process {
    let _ = fs::remove_file(state_dir.join("handover.sock"));
    let mut command = Command::new("python3");
    command.args(["-c", GIVER, mode]).current_dir(state_dir);
    let giver = Process::start("the giver", &mut command);
    giver.wait_for_line("offers", PATIENCE, |line| (line == "offers").then_some(()));
    giver
}

pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
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

/// What a successor has said and heard before it is killed.
const STEPS: [&str; 7] = [
    "",
    "say('hello', version=1, process=1)",
    "say('hello', version=1, process=1); hear()",
    "say('hello', version=1, process=1); hear(); say('ready')",
    "say('hello', version=1, process=1); hear(); say('ready'); hear()",
    "say('hello', version=1, process=1); hear(); say('ready'); hear(); say('serving', kept=[0, 1])",
    // It may accept by then, and does not come to it.
    "say('hello', version=1, process=1); hear(); say('ready'); hear(); say('serving', kept=[0, 1]); hear()",
];

pub(super) const SUCCESSOR: &str = r"
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
    for (round, step) in STEPS.iter().cycle().take(20).enumerate() {
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

/// One that lives and takes too long, at each step that the process waits for.
#[test]
fn a_successor_that_takes_too_long_is_given_up() {
    let fleet = Fleet::start(1);
    let plan = Proxy::plan().set("timeouts", "{ upgrade_ms: 2500 }");
    let mut proxy = plan.table(fleet.table()).start();
    let until_gone =
        "print('waits', flush=True)\nwhile s.recv(65536): pass\nprint('gone', flush=True)";
    let steps = [STEPS[0], STEPS[2], STEPS[4]];
    for (round, step) in (0..).zip(steps) {
        let mut late = Command::new("python3");
        late.args(["-c", &format!("{SUCCESSOR}{step}\n{until_gone}")])
            .current_dir(proxy.state_dir());
        let mut late = Process::start("a slow successor", &mut late);
        late.wait_for_line("it waits", PATIENCE, |line| (line == "waits").then_some(()));
        let generation = 9 + round;
        // Whoever writes the state directory by then, the table is kept in the end.
        proxy.write_table(fleet.table().generation(generation));
        proxy.wait_for_generation(generation);
        late.wait_for_line("it is let go", PATIENCE, |line| {
            (line == "gone").then_some(())
        });
        assert!(late.wait(PATIENCE).success());
        proxy.wait_for_log(&["nothing is handed over", "timed out"]);
        wait_until("it writes again", PATIENCE, || {
            let name = format!("table-{generation:020}-");
            files(&proxy.state_dir())
                .keys()
                .any(|file| file.starts_with(&name))
        });
        assert_eq!(proxy.get("acme", "/").status, 200);
    }
    assert_eq!(proxy.count_in_log("nothing is handed over"), steps.len());
    let successor = upgrade(&proxy);
    wait_until_taken_over(&proxy, &successor);
    assert!(proxy.wait(PATIENCE).success());
    assert_eq!(proxy.get("acme", "/").status, 200);
}

/// The second one takes over from the first, and the process before both of them, which has started it, lets it.
#[test]
fn of_two_successors_one_takes_over_from_the_other() {
    let fleet = Fleet::start(1);
    let plan = Proxy::plan().set("timeouts", "{ upgrade_ms: 4000, shutdown_ms: 60000 }");
    let mut stopped = plan.table(fleet.table()).start();
    stopped.stop();
    let programs = tempfile::tempdir().unwrap();
    let program = programs.path().join("cellgate-proxy");
    let real = command().get_program().to_owned();
    symlink(&real, &program).unwrap();
    let mut first = start_as(&program, stopped.directory());
    let [edge, admin] = ["edge", "admin"].map(|listener| port(&first, listener));
    let status = || Request::get("/status").send(admin).json();
    let get = || Request::get("/").header(TENANT, "acme").send(edge).status;
    wait_until("it is ready", PATIENCE, || {
        Request::get("/readyz").send(admin).status == 200
    });
    let mut held = Connection::open(edge);
    let slow = Request::get("/slow/7000").header(TENANT, "acme");
    held.send(slow.bytes()).unwrap();
    wait_until("it is in flight", PATIENCE, || {
        status()["requests_in_flight"] == 1
    });
    // The one that the signal starts comes later than the one that is started by hand.
    fs::remove_file(&program).unwrap();
    let script = format!(
        "#!/bin/sh\nsleep 1.5\nexec {} \"$@\"\n",
        Path::new(&real).display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    first.signal(Signal::USR2);
    let started = "a successor is started process=";
    let third: u32 = first.wait_for_line(started, PATIENCE, |line| {
        let number = line.split_once(started)?.1.split(' ').next()?;
        number.parse().ok()
    });
    let third = Orphan::new(third);
    let second = upgrade_from(stopped.directory());
    let drains = |process: &Process, for_whom: u32| {
        let expected = format!("this process drains process={for_whom}");
        process.wait_for_line(&expected, PATIENCE, |line| {
            line.contains(&expected).then_some(())
        });
    };
    drains(&first, second.id());
    drains(&second, third.id());
    // Longer than it would wait for the one that it has started.
    assert_eq!(held.answer("GET").unwrap().status, 200);
    assert!(first.wait_for_exit(PATIENCE).success());
    assert_eq!(get(), 200);
    wait_until("those before have left", PATIENCE, || {
        status()["predecessor"].is_null()
    });
    third.terminate();
    wait_until("nobody listens any more", PATIENCE, || {
        Connection::try_open(edge).is_err()
    });
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
