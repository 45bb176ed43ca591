//! Sockets that the service manager has opened.

use std::{fs, net::SocketAddr, process::Command};

use super::upgrade_from;
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::{Process, Signal},
    proxy::{Proxy, TENANT, command},
    wait_until,
    wire::Request,
};

/// Opens a socket for each name, and becomes the proxy.
const MANAGER: &str = r#"
import fcntl, os, socket, sys
names, program, config = sys.argv[1:]
for at, name in enumerate(names.split(":")):
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    print("opened %s at %s:%d" % ((name,) + s.getsockname()), flush=True)
    high = fcntl.fcntl(s, fcntl.F_DUPFD, 100)
    os.dup2(high, 3 + at)
    os.close(high)
    s.detach()
os.environ.update(LISTEN_FDS=str(names.count(":") + 1), LISTEN_FDNAMES=names, LISTEN_PID=str(os.getpid()))
os.execv(program, [program, "--config", config])
"#;

fn start(proxy: &Proxy, names: &str) -> Process {
    let mut manager = Command::new("python3");
    manager
        .args(["-c", MANAGER, names])
        .arg(command().get_program())
        .arg(proxy.directory().join("proxy.yaml"));
    Process::start("the proxy", &mut manager)
}

fn address_of(process: &Process, name: &str) -> SocketAddr {
    let before = format!("opened {name} at ");
    process.wait_for_line(&before, PATIENCE, |line| {
        line.strip_prefix(&before)?.trim().parse().ok()
    })
}

#[test]
fn a_cold_start_takes_the_sockets_of_the_service_manager() {
    let fleet = Fleet::start(1);
    let mut first = Proxy::start(fleet.table());
    first.stop();
    let mut proxy = start(&first, "edge:admin");
    let (edge, admin) = (address_of(&proxy, "edge"), address_of(&proxy, "admin"));
    // Clients may come before the process is there.
    let get = || Request::get("/").header(TENANT, "acme").send(edge).status;
    wait_until("it is ready", PATIENCE, || {
        Request::get("/readyz").send(admin).status == 200
    });
    assert_eq!(get(), 200);
    // They pass on to a successor as any others.
    let mut successor = upgrade_from(first.directory());
    assert!(proxy.wait_for_exit(PATIENCE).success());
    assert_eq!(get(), 200);
    successor.signal(Signal::TERM);
    assert!(successor.wait(PATIENCE).success());
}

#[test]
fn a_socket_without_a_listener_is_an_error() {
    let fleet = Fleet::start(1);
    let mut first = Proxy::start(fleet.table());
    first.stop();
    let mut proxy = start(&first, "edge:other");
    assert_eq!(proxy.wait(PATIENCE).code(), Some(1));
    let address = address_of(&proxy, "other");
    let expected =
        format!("the service manager's socket \"other\" on {address} belongs to no listener");
    let said = proxy.output();
    assert!(
        said.replace('\\', "").contains(&expected),
        "{expected}: {said}"
    );
    // Nor one whose listener is configured to listen elsewhere.
    let path = first.directory().join("proxy.yaml");
    let config = fs::read_to_string(&path).unwrap();
    let config = config.replace(
        "edge, address: \"127.0.0.1:0\"",
        "edge, address: \"127.0.0.1:1\"",
    );
    fs::write(&path, config).unwrap();
    let mut proxy = start(&first, "edge");
    assert_eq!(proxy.wait(PATIENCE).code(), Some(1));
    let said = proxy.output();
    assert!(said.contains("make both the same"), "{said}");
}
