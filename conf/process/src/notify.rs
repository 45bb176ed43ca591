//! Reports to the service manager how the process is, by the protocol of systemd (`sd_notify(3)`). Without one, nothing happens.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// How long a service manager may leave its queue full. It must not keep a process from its end.
const SEND_LIMIT: Duration = Duration::from_secs(2);

/// Sends assignments, one a line: `READY=1`, `STOPPING=1`, `MAINPID=` with a number.
pub fn send(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send_to(socket.as_bytes(), state) {
        warn!(%error, "the service manager cannot be notified: {state}");
    }
}

/// A reload has begun; `READY=1` ends it.
pub fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let us = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1_000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
}

fn send_to(socket: &[u8], state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(SEND_LIMIT))?;
    sender.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_abstract_names_are_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("@cellgate-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        for (receiver, socket) in [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.as_os_str().as_bytes(),
            ),
            (
                UnixDatagram::bind_addr(&abstract_address).unwrap(),
                name.as_bytes(),
            ),
        ] {
            send_to(socket, "READY=1").unwrap();
            let mut came = [0; 64];
            let length = receiver.recv(&mut came).unwrap();
            assert_eq!(&came[..length], b"READY=1");
        }
    }

    #[test]
    fn one_that_reads_nothing_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _hangs = UnixDatagram::bind(&path).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Until its queue is full.
            while send_to(path.as_os_str().as_bytes(), "STOPPING=1").is_ok() {}
            sender.send(()).unwrap();
        });
        receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
