//! How many files a process may have open, sockets included, and what it looks like when there are no more.

use std::{error::Error, io, sync::OnceLock};

use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit},
};
use tracing::{debug, warn};

/// The limits as the process was started with them.
static AT_START: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one. Returns how many descriptors the process may have from now on; `None` without
/// a limit.
pub fn raise_limit() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let before = AT_START.get_or_init(|| before);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if before.current == before.maximum {
        return before.current;
    }
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => {
            debug!(
                before = before.current,
                now = before.maximum,
                "limit of open files raised"
            );
            before.maximum
        }
        Err(error) => {
            let error = io::Error::from(error);
            warn!(%error, limit = before.current, "the limit of open files cannot be raised");
            before.current
        }
    }
}

/// Puts the soft limit of a child back to what this process was started with: programs that use `select` break with
/// descriptors above 1,024, which is why the soft limit usually is not higher.
pub fn restore_limit_of(child: u32) {
    let (Some(limit), Some(child)) = (AT_START.get(), pid(child)) else {
        return;
    };
    let limit = Rlimit {
        current: limit.current,
        maximum: limit.maximum,
    };
    if let Err(error) = prlimit(Some(child), Resource::Nofile, limit) {
        // It has ended already, or runs as another user.
        debug!(%error, "the limit of open files of a child cannot be put back");
    }
}

/// Whether something failed because this machine, or this process, ran out of files, ports or memory. Of a connection
/// that says nothing about the other end.
pub fn is_exhaustion(error: &io::Error) -> bool {
    const EXHAUSTION: [Errno; 5] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::ADDRNOTAVAIL,
        Errno::NOMEM,
        Errno::NOBUFS,
    ];
    EXHAUSTION
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The same for an error that may have such a one as its cause.
pub fn is_caused_by_exhaustion(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let error_of_system = error.downcast_ref::<io::Error>();
        if error_of_system.is_some_and(is_exhaustion) {
            return true;
        }
        // An `io::Error` that wraps another error names that one's source as its own, and would hide it.
        cause = match error_of_system.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

/// Whether accepting failed for the one connection only, which ended before it was accepted.
pub fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_ran_out_here_is_known_by_its_cause() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::ADDRNOTAVAIL,
            Errno::NOMEM,
        ] {
            let error = io::Error::from(errno);
            assert!(is_exhaustion(&error));
            let wrapped = io::Error::other(error);
            assert!(!is_exhaustion(&wrapped));
            assert!(is_caused_by_exhaustion(&wrapped));
        }
        assert!(!is_caused_by_exhaustion(&io::Error::from(
            Errno::CONNREFUSED
        )));
    }

    #[test]
    fn the_limit_is_raised_for_us_and_not_for_our_children() {
        let before = getrlimit(Resource::Nofile);
        let raised = raise_limit();
        assert_eq!(raised, before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        let mut child = Command::new("sh")
            .args(["-c", "read line && ulimit -S -n"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        restore_limit_of(child.id());
        drop(child.stdin.take());
        // `read` fails at the end of its input, so ask the system instead of the child.
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
        let _ = child.wait();
        let Ok(limits) = limits else { return };
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().nth(3));
        let expected = before.current.map(|limit| limit.to_string());
        assert_eq!(soft, expected.as_deref().or(Some("unlimited")));
    }
}
