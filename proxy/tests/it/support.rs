//! What the tests stand on: the running proxy, an origin that follows a script, a client that sends exactly its bytes.
//!
//! Everything panics where it fails and says what was waited for. Nothing leaves this machine.

mod client;
mod origin;
mod proxy;

use std::{
    thread,
    time::{Duration, Instant},
};

pub(crate) use client::{Answer, Client};
pub(crate) use origin::{Origin, OriginConnection};
pub(crate) use proxy::{Proxy, binary};

/// How long a test waits for what should happen at once. Only a failing test uses it up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `look` finds something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
