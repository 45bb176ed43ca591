//! Where successors ask: a Unix socket in the state directory, for the same user and root only.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
    sockopt::{self, Timeout},
};

const NAME: &str = "handover.sock";
/// The system's limit of such a path, with the zero behind it.
const PATH_BYTES_MAX: usize = 107;
/// Successors that may wait; there should be one.
const BACKLOG: i32 = 16;
/// How often whoever accepts looks whether it should go on.
const ACCEPT_LIMIT: Duration = Duration::from_millis(200);

/// A socket that successors connect to.
#[derive(Debug)]
pub struct Place {
    pub(super) socket: OwnedFd,
}

impl Place {
    /// Whoever calls this holds the directory's lock: what is there already is of a process that is gone.
    pub fn bind(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let socket = new_socket()?;
        with_address(folder, |address| bind(&socket, address))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        Self::of(socket)
    }

    /// One that listens already.
    pub(super) fn of(socket: OwnedFd) -> io::Result<Self> {
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ACCEPT_LIMIT))?;
        Ok(Self { socket })
    }

    /// `None` if nobody came for a while.
    pub(super) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) => match io::Error::from(error) {
                // A signal was for somebody else.
                error
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    Ok(None)
                }
                error => Err(error),
            },
        }
    }
}

/// Nobody can come here any more, for the process ends. The next one removes what is left.
pub fn remove(folder: &Path) {
    let _ = fs::remove_file(path_in(folder));
}

/// Connects to the process that uses a state directory.
pub(super) fn reach(folder: &Path) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    with_address(folder, |address| connect(&socket, address))?;
    check_peer(&socket)?;
    Ok(socket)
}

pub(super) fn path_in(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// The other end is a process of the same user or of root.
pub(super) fn check_peer(socket: impl AsFd) -> io::Result<u32> {
    let peer = sockopt::socket_peercred(socket)?;
    if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
        let message = format!("the other process is of user {}", peer.uid.as_raw());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(u32::try_from(peer.pid.as_raw_pid()).unwrap_or_default())
}

fn new_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(socket)
}

/// Through the folder's descriptor where the path is too long for an address.
fn with_address(
    folder: &Path,
    act: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let path = folder.join(NAME);
    if path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
        return Ok(act(&SocketAddrUnix::new(path)?)?);
    }
    let folder = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd());
    Ok(act(&SocketAddrUnix::new(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_reached_and_only_the_owner_may() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("a".repeat(120));
        fs::create_dir(&long).unwrap();
        for folder in [folder.path(), &long] {
            assert!(reach(folder).is_err());
            let place = Place::bind(folder).unwrap();
            let mode = fs::metadata(path_in(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(place.accept().unwrap().is_none());
            let _client = reach(folder).unwrap();
            assert!(place.accept().unwrap().is_some());
            // What a process that was killed leaves behind is in nobody's way.
            drop(place);
            let place = Place::bind(folder).unwrap();
            remove(folder);
            drop(place);
            assert!(reach(folder).is_err());
        }
    }
}
