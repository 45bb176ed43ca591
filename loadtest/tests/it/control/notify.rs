//! What the service manager hears of the daemon.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
};

use tempfile::TempDir;

use crate::support::{PATIENCE, control::Control, process::Signal};

/// Starts the daemon with a service manager that listens there.
fn check(listening: &UnixDatagram, name: &str) {
    listening.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut bytes = [0; 256];
        let length = listening
            .recv(&mut bytes)
            .expect("the message comes in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let scratch = TempDir::new().unwrap();
    // For as long as the test lasts.
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let mut control = Control::plan(scratch.path(), &scratch.path().join("table.yaml"))
        .environment("NOTIFY_SOCKET", name)
        .start();
    assert_eq!(next(), "READY=1");
    // It can be asked by then.
    control.get("/v1/table");
    control.signal(Signal::TERM);
    assert_eq!(next(), "STOPPING=1");
    assert!(control.wait(PATIENCE).success());
}

#[test]
fn the_daemon_says_that_it_is_ready_and_that_it_stops() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    check(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
    // Container runtimes and user sessions use names that are no files.
    let name = format!("cellgate-test-control-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listening = UnixDatagram::bind_addr(&address).unwrap();
    check(&listening, &format!("@{name}"));
}
