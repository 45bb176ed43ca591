//! One timer for a whole connection. It is set anew only where it would ring too late; where it rings too early it is
//! looked at and set for the rest. So a connection that serves thousands of requests a second hardly touches it.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

/// Waits of one task, one after the other: whoever polls it has to be the same task each time.
#[derive(Debug, Default)]
pub(super) struct Timer {
    armed: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Whether `until` has passed. If not, the task is woken when it has, and possibly sooner.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let Some(armed) = &mut self.armed else {
            let armed = self.armed.insert(Box::pin(sleep_until(until)));
            return poll_set(armed.as_mut(), cx);
        };
        if armed.deadline() <= until && !armed.is_elapsed() {
            // It was polled when it was set, and the task has not changed.
            return Poll::Pending;
        }
        if armed.is_elapsed() && until <= Instant::now() {
            return Poll::Ready(());
        }
        armed.as_mut().reset(until);
        poll_set(armed.as_mut(), cx)
    }
}

/// Polls what was set just now. It has to take note of the task, and it would not if the task's turn were over: so tokio's
/// budget does not count here.
fn poll_set(armed: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    std::pin::pin!(unconstrained(armed)).poll(cx)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    /// So many milliseconds later; a busy machine may ring later, never sooner.
    #[track_caller]
    fn check(start: Instant, expected: u64) {
        let rang = start.elapsed();
        let expected = Duration::from_millis(expected);
        assert!(rang >= expected && rang < expected + Duration::from_secs(5));
    }

    #[tokio::test]
    async fn it_rings_in_time_whatever_it_was_set_for_before() {
        let mut timer = Timer::default();
        let start = Instant::now();
        for (until, expected) in [(50, 50), (60, 60), (30, 60), (90, 90), (0, 90)] {
            let until = start + Duration::from_millis(until);
            poll_fn(|cx| timer.poll_until(cx, until)).await;
            check(start, expected);
        }
    }

    #[tokio::test]
    async fn a_wait_that_ended_by_itself_leaves_it_set() {
        let mut timer = Timer::default();
        let start = Instant::now();
        for until in [60_000, 20, 40] {
            let until = start + Duration::from_millis(until);
            let is_over = poll_fn(|cx| Poll::Ready(timer.poll_until(cx, until).is_ready())).await;
            assert!(!is_over);
        }
        // It rings for the wait before, is set for the rest, and rings again.
        poll_fn(|cx| timer.poll_until(cx, start + Duration::from_millis(70))).await;
        check(start, 70);
    }

    /// A task that has used up its turn is not polled again by the timer's own doing.
    #[tokio::test]
    async fn it_rings_for_a_task_whose_turn_is_over() {
        for is_new in [true, false] {
            let mut timer = Timer::default();
            if !is_new {
                let soon = Instant::now() + Duration::from_millis(5);
                poll_fn(|cx| timer.poll_until(cx, soon)).await;
            }
            let until = Instant::now() + Duration::from_millis(50);
            let mut is_first = true;
            let rings = poll_fn(|cx| {
                if std::mem::take(&mut is_first) {
                    let mut spend = std::pin::pin!(async {
                        loop {
                            tokio::task::consume_budget().await;
                        }
                    });
                    assert!(spend.as_mut().poll(cx).is_pending());
                }
                timer.poll_until(cx, until)
            });
            let rang = tokio::time::timeout(Duration::from_secs(10), rings).await;
            assert!(rang.is_ok(), "new: {is_new}");
        }
    }
}
