//! A successor that is asked to end before it serves ends immediately: it has written nothing, has accepted nobody, and
//! nobody relies on it.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use cellgate_process::log;
use tokio::{
    runtime, select,
    sync::{Mutex, oneshot},
};

use crate::signals::StopSignals;

const LOADING: u8 = 0;
const PLEDGED: u8 = 1;
const ASKED: u8 = 2;

/// Heeds SIGTERM and SIGINT until the process serves. Dropping it ends that, and from then on the server heeds them.
#[derive(Debug)]
pub(super) struct Loading {
    state: Arc<AtomicU8>,
    heeding: Option<(thread::JoinHandle<()>, oneshot::Sender<()>)>,
}

impl Loading {
    /// For a successor. Any other process takes its time, for the state directory is its own: there the server finds the
    /// signals that came meanwhile.
    pub(super) fn begin(signals: &Arc<Mutex<StopSignals>>, is_upgrade: bool) -> io::Result<Self> {
        let state = Arc::new(AtomicU8::new(LOADING));
        if !is_upgrade {
            let heeding = None;
            return Ok(Self { state, heeding });
        }
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let taken = Arc::clone(signals).try_lock_owned();
        let mut signals = taken.map_err(io::Error::other)?;
        let (over, mut is_over) = oneshot::channel();
        let of_thread = Arc::clone(&state);
        let heed = move || {
            let is_asked = runtime.block_on(async {
                select! {
                    biased;
                    () = signals.asked() => true,
                    _ = &mut is_over => false,
                }
            });
            if !is_asked {
                return;
            }
            if change(&of_thread, LOADING, ASKED) {
                leave();
            }
            // The process before may rely on this one by now. If it does, the server ends in good order.
            signals.pass_on();
            of_thread.store(ASKED, Ordering::Release);
            // The server gets them no sooner: it would say that the service stops.
            let _ = runtime.block_on(is_over);
        };
        let thread = thread::Builder::new().name("loading".to_owned());
        let heeding = Some((thread.spawn(heed)?, over));
        Ok(Self { state, heeding })
    }

    /// From here on the process before may rely on this one: it does not end before that is known.
    pub(super) fn pledge(&self) {
        if !change(&self.state, LOADING, PLEDGED) {
            // The process is about to end.
            loop {
                thread::park();
            }
        }
    }

    /// Whether it was asked to end after its pledge.
    pub(super) fn is_asked(&self) -> bool {
        self.state.load(Ordering::Acquire) == ASKED
    }

    /// The process before does not rely on this one.
    pub(super) fn leave_if_asked(&self) {
        if self.is_asked() {
            leave();
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Some((thread, over)) = self.heeding.take() {
            drop(over);
            // The signals are free once it has ended.
            let _ = thread.join();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing has been begun that would have to end first"
)]
fn leave() -> ! {
    // Not through the log, whose thread may not come to it any more.
    log::last_words("asked to end before it served; the process before goes on".to_owned());
    process::exit(0)
}

fn change(state: &AtomicU8, from: u8, to: u8) -> bool {
    let changed = state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    changed.is_ok()
}
