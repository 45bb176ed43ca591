//! A successor that is asked to end before it serves ends immediately: it has written nothing, and nobody relies on it.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use cellgate_process::log;
use tokio::runtime;

use crate::signals::Signals;

const LOADING: u8 = 0;
const LOADED: u8 = 1;
const ASKED: u8 = 2;

/// Heeds SIGTERM and SIGINT for as long as nobody else does.
#[derive(Debug)]
pub(super) struct Loading(Arc<AtomicU8>);

impl Loading {
    /// For a successor. Any other process takes its time, for the state directory is its own.
    pub(super) fn begin(is_upgrade: bool) -> io::Result<Self> {
        let state = Arc::new(AtomicU8::new(LOADING));
        if is_upgrade {
            let mut stop = Signals::listen()?.stop;
            let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
            let state = Arc::clone(&state);
            let heed = move || {
                runtime.block_on(stop.asked());
                if change(&state, ASKED) {
                    // Not through the log, whose thread may not come to it any more.
                    let text = "asked to end before it served; the process before goes on";
                    log::last_words(text.to_owned());
                    leave();
                }
            };
            thread::Builder::new()
                .name("loading".to_owned())
                .spawn(heed)?;
        }
        Ok(Self(state))
    }

    /// From here on the server heeds them.
    pub(super) fn end(self) {
        if !change(&self.0, LOADED) {
            // The process is about to end.
            loop {
                thread::park();
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing has been begun that would have to end first"
)]
fn leave() -> ! {
    process::exit(0)
}

fn change(state: &AtomicU8, to: u8) -> bool {
    let changed = state.compare_exchange(LOADING, to, Ordering::AcqRel, Ordering::Acquire);
    changed.is_ok()
}
