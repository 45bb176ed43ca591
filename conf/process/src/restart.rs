//! Background work that goes on after a panic.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    time::Duration,
};

use tokio::time::sleep;
use tracing::error;

/// Work that panicked is started again after this long.
const PAUSE: Duration = Duration::from_secs(1);

/// Does `work` until it ends by itself. When it panics, `panicked` gets what it said, and it is started again a second
/// later. What it had taken out of shared state must come back by guards.
pub async fn until_done<F: Future<Output = ()>>(
    name: &'static str,
    mut panicked: impl FnMut(&str),
    mut work: impl FnMut() -> F,
) {
    while let Err(payload) = caught(work()).await {
        error!(task = name, "the task panicked and is started again");
        panicked(message(&*payload));
        sleep(PAUSE).await;
    }
}

/// What a panic said.
pub fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // A future that panicked is never polled again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => std::task::Poll::Ready(Err(payload)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_is_started_again_until_it_ends() {
        let (starts, said) = (Cell::new(0), RefCell::new(Vec::new()));
        let work = || async {
            starts.set(starts.get() + 1);
            tokio::task::yield_now().await;
            assert!(starts.get() == 3, "start {} failed", starts.get());
        };
        until_done(
            "test",
            |message| said.borrow_mut().push(message.to_owned()),
            work,
        )
        .await;
        assert_eq!(starts.get(), 3);
        assert_eq!(*said.borrow(), ["start 1 failed", "start 2 failed"]);
    }
}
