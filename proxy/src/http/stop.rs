//! How an idle connection learns that the process wants to end, and how long it may stay.
//!
//! It is not closed immediately: its client may be sending the next request just now, and could not tell whether that was
//! acted on. So it may ask once more, and the answer says to come back on another connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pingora::server::ShutdownWatch;
use tokio::{task::unconstrained, time::Instant};

use crate::lifecycle::{Lifecycle, Phase};

/// One connection's wait for the end. Whoever polls it has to be the same task each time.
pub(super) struct Stop {
    lifecycle: Arc<Lifecycle>,
    /// How long it may be idle from the drain's beginning on.
    drain_idle: Duration,
    notice: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The task will be woken. Asking again would cost more than looking at the phase.
    is_listening: bool,
}

impl Stop {
    pub(super) fn new(
        lifecycle: &Arc<Lifecycle>,
        drain_idle: Duration,
        shutdown: &ShutdownWatch,
    ) -> Self {
        let mut shutdown = shutdown.clone();
        Self {
            lifecycle: Arc::clone(lifecycle),
            drain_idle,
            notice: Box::pin(async move {
                // Whoever would say so is gone: that is the end too.
                let _ = shutdown.wait_for(|stop| *stop).await;
            }),
            is_listening: false,
        }
    }

    /// Until when an idle connection may stay, once there is an end to it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        // The phase changes before the notice is given.
        if self.lifecycle.has_reached(Phase::Draining) {
            return Poll::Ready(self.end());
        }
        if self.is_listening {
            return Poll::Pending;
        }
        self.is_listening = true;
        // It has to take note of the task, even if that one's turn is over.
        let notice = std::pin::pin!(unconstrained(self.notice.as_mut())).poll(cx);
        notice.map(|()| self.end())
    }

    fn end(&self) -> Instant {
        let now = Instant::now();
        // Without a beginning nobody is left to say it: that is the end.
        self.lifecycle
            .drain_began()
            .map_or(now, |began| Instant::from_std(began) + self.drain_idle)
    }
}
