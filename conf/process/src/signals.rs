//! Handlers of signals, set up before there is a runtime that waits for them.

use std::io;

use tokio::runtime;

/// Calls `make`, which makes tokio's listeners. From then on none of their signals does what it does by default, which for
/// most is to end the process; one that comes before somebody waits for it is found by whoever waits first.
///
/// # Errors
/// Those of `make`, or there is no runtime to be had.
pub fn listen<T>(make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // Tokio wants a runtime to set the handlers up in. What they notice reaches the listeners in every other one, too.
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    make()
}
