//! What signals do to a successor and to the process before it, and what the service manager hears of them.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixDatagram},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Orphan,
    steps::{files, giver},
    upgrade_from,
};
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::{Process, Signal},
    proxy::{Proxy, command, port},
    wire::{Connection, Request},
};

/// Listens in the place of a service manager.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { folder, socket }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// The next message.
    #[track_caller]
    fn next(&self) -> String {
        self.heard_within(PATIENCE)
            .expect("the message comes in time")
    }

    fn heard_within(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// A successor that says to it how it is.
    fn upgrade(&self, directory: &Path) -> Process {
        let mut command = command();
        command
            .arg("--config")
            .arg(directory.join("proxy.yaml"))
            .arg("--upgrade")
            .env("NOTIFY_SOCKET", self.path());
        Process::start("the successor", &mut command)
    }
}

/// The signal runs what is at the path of the program by then, and the service manager hears who serves.
#[test]
fn a_signal_starts_the_successor() {
    let fleet = Fleet::start(1);
    let mut stopped = Proxy::start(fleet.table());
    stopped.stop();
    let manager = Manager::new();
    let program = manager.folder.path().join("proxy");
    let original = command().get_program().to_owned();
    fs::copy(&original, &program).unwrap();
    let mut command = Command::new(&program);
    command
        .arg("--config")
        .arg(stopped.directory().join("proxy.yaml"))
        .env("NOTIFY_SOCKET", manager.path());
    let mut process = Process::start("the proxy", &mut command);
    assert_eq!(manager.next(), "READY=1");
    // As a package manager does it: another file in its place.
    fs::remove_file(&program).unwrap();
    symlink(&original, &program).unwrap();
    process.signal(Signal::USR2);
    assert!(manager.next().starts_with("RELOADING=1"));
    let main = manager.next();
    let main = main.strip_prefix("MAINPID=").expect(&main).parse().unwrap();
    let main = Orphan::new(main);
    assert_ne!(main.id(), process.id());
    assert_eq!(manager.next(), "READY=1");
    assert!(process.wait_for_exit(PATIENCE).success());
    main.terminate();
    assert_eq!(manager.next(), "STOPPING=1");
}

#[test]
fn a_successor_that_loads_ends_when_it_is_asked_to() {
    let fleet = Fleet::start(1);
    let mut proxy = Proxy::start(fleet.table());
    proxy.stop();
    let manager = Manager::new();
    let _giver = giver(&proxy.state_dir(), "is silent");
    let mut successor = manager.upgrade(proxy.directory());
    // It listens to signals before it reads its configuration, and then waits for the offer.
    thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    successor.signal(Signal::TERM);
    assert!(successor.wait(PATIENCE).success());
    assert!(asked.elapsed() < Duration::from_secs(5));
    let said = successor.output();
    assert!(said.contains("asked to end before it served"), "{said}");
    // Another process is the one that serves.
    assert_eq!(manager.heard_within(Duration::from_millis(1)), None);
}

/// However early it is asked, no signal is kept for the time when it serves, which here never comes.
#[test]
fn no_moment_is_too_early_to_ask_a_successor_to_end() {
    let fleet = Fleet::start(1);
    let mut proxy = Proxy::start(fleet.table());
    proxy.stop();
    let _giver = giver(&proxy.state_dir(), "is silent");
    for step in 0..60 {
        let mut successor = upgrade_from(proxy.directory());
        // It listens after some two milliseconds.
        thread::sleep(Duration::from_micros(step * 75));
        let asked = Instant::now();
        successor.signal(Signal::TERM);
        // By the signal itself, where it came before anything.
        successor.wait(PATIENCE);
        assert!(asked.elapsed() < Duration::from_secs(5), "step {step}");
    }
}

/// It could serve, and has said so: it ends all the same, and says to nobody that the service stops.
#[test]
fn a_successor_that_waits_for_its_confirmation_ends_when_it_is_asked_to() {
    let fleet = Fleet::start(1);
    let mut proxy = Proxy::start(fleet.table());
    proxy.stop();
    let manager = Manager::new();
    let giver = giver(&proxy.state_dir(), "pledges");
    let before = files(&proxy.state_dir());
    let mut successor = manager.upgrade(proxy.directory());
    giver.wait_for_line("asked", PATIENCE, |line| (line == "asked").then_some(()));
    let mut early = Connection::open(edge_of(&giver));
    early.send(Request::get("/").bytes()).unwrap();
    let asked = Instant::now();
    successor.signal(Signal::TERM);
    let status = successor.wait(PATIENCE);
    let said = successor.output();
    assert!(status.success(), "{status}: {said}");
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(said.contains("asked to end before it served"), "{said}");
    assert_eq!(manager.heard_within(Duration::from_millis(1)), None);
    assert_eq!(files(&proxy.state_dir()), before);
    // Whoever has connected meanwhile was not accepted by it, and so is not lost.
    assert_eq!(early.answer("GET").unwrap().text(), "giver");
}

/// From its confirmation on it is the one that serves: it says that it does, and that it stops.
#[test]
fn a_successor_that_is_confirmed_ends_like_any_other() {
    let fleet = Fleet::start(1);
    let mut proxy = Proxy::start(fleet.table());
    proxy.stop();
    let manager = Manager::new();
    let giver = giver(&proxy.state_dir(), "confirms");
    let mut successor = manager.upgrade(proxy.directory());
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(port(&successor, "edge"), edge_of(&giver));
    successor.signal(Signal::TERM);
    assert_eq!(manager.next(), "STOPPING=1");
    let status = successor.wait(PATIENCE);
    assert!(status.success(), "{status}: {}", successor.output());
}

fn edge_of(giver: &Process) -> std::net::SocketAddr {
    let before = "edge at ";
    giver.wait_for_line(before, PATIENCE, |line| {
        line.strip_prefix(before)?.parse().ok()
    })
}
