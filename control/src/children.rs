//! The processes that providers start, and, where the daemon is process 1, those that they leave behind.
//!
//! Process 1 of a container inherits every process there whose parent has ended, and has to take note of their ends, or
//! they fill up the table of processes. The ends of the daemon's own children are the runtime's to note: whoever noted
//! them for it would have it wait for ever. So own children are started in one place, which knows them.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};
use tracing::{debug, warn};

/// From one search to the next, where no signal comes before.
const REAP_INTERVAL: Duration = Duration::from_secs(5);
/// For the ends that come with the first one.
const GATHER: Duration = Duration::from_millis(50);

/// The numbers of the daemon's own children. A process has only one set of these.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// An own child's number, known as such until the runtime has noted its end.
#[derive(Debug)]
pub struct Own(Option<u32>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            own().remove(&id);
        }
    }
}

fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child. Hold on to its number until it has been waited for.
///
/// # Errors
/// It cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<(Child, Own)> {
    // Held from before the start: one that ends immediately must not be taken for somebody else's.
    let mut own = own();
    let child = command.spawn()?;
    let id = child.id();
    own.extend(id);
    Ok((child, Own(id)))
}

/// Notes the ends of processes that came to the daemon as process 1, until it stops. Elsewhere there is nothing to do.
pub async fn reaping(mut stop: watch::Receiver<bool>) {
    let id = std::process::id();
    if id != 1 {
        return;
    }
    let own_number = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if own_number.split(' ').next() != Some("1") {
        warn!(
            "cellgate-control is process 1 and cannot see the processes here in /proc: those that providers leave behind \
             will not be cleaned up; start it under an init, such as `docker run --init`"
        );
        return;
    }
    let Ok(mut ended) = signal(SignalKind::child()) else {
        warn!("ends of processes are not signalled; start cellgate-control under an init");
        return;
    };
    loop {
        let count = tokio::task::block_in_place(|| reap(id));
        if count > 0 {
            debug!(count, "processes that were left behind have ended");
        }
        tokio::select! {
            _ = ended.recv() => {}
            () = sleep(REAP_INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        sleep(GATHER).await;
    }
}

/// Notes the ends of adopted children of this process; returns how many.
fn reap(parent: u32) -> usize {
    let own = own();
    let adopted = ended_children(parent)
        .into_iter()
        .filter(|id| !own.contains(id));
    adopted
        .filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .filter(|id| matches!(waitpid(Some(*id), WaitOptions::NOHANG), Ok(Some(_))))
        .count()
}

/// Children that have ended and whose end nobody has noted.
fn ended_children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            is_ended_child(&stat, parent).then_some(id)
        })
        .collect()
}

/// Whether a line of `/proc/PID/stat` is that of a process which has ended and whose parent this is.
fn is_ended_child(stat: &str, parent: u32) -> bool {
    // The name may hold anything, parentheses too; fields are counted from behind it.
    let mut fields = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' '))
        .into_iter()
        .flatten();
    fields.next() == Some("Z") && fields.next().and_then(|id| id.parse().ok()) == Some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_child_in_what_the_system_says() {
        let check =
            |stat: &str, expected: bool| assert_eq!(is_ended_child(stat, 1), expected, "{stat}");
        check("7 (sleep) Z 1 7 7 0 -1", true);
        check("7 (a) Z 9 (b) Z 1 7 7 0 -1", true);
        check("7 (sleep) S 1 7 7 0 -1", false);
        check("7 (sleep) Z 12 7 7 0 -1", false);
        check("7 (a) Z 1) S 12 7", false);
        check("", false);
    }

    /// Under the real system: an own child is left for the runtime.
    #[tokio::test]
    async fn own_children_are_left_to_the_runtime() {
        let (mut child, _own) = spawn(&mut Command::new("true")).unwrap();
        let me = std::process::id();
        while ended_children(me).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(reap(me), 0);
        assert!(child.wait().await.unwrap().success());
    }
}
