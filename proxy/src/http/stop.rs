//! How an idle connection learns that the process wants to end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pingora::server::ShutdownWatch;
use tokio::task::unconstrained;

use crate::lifecycle::{Lifecycle, Phase};

/// One connection's wait for the end. Whoever polls it has to be the same task each time.
pub(super) struct Stop {
    lifecycle: Arc<Lifecycle>,
    notice: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The task will be woken. Asking again would cost more than looking at the phase.
    is_listening: bool,
}

impl Stop {
    pub(super) fn new(lifecycle: &Arc<Lifecycle>, shutdown: &ShutdownWatch) -> Self {
        let mut shutdown = shutdown.clone();
        Self {
            lifecycle: Arc::clone(lifecycle),
            notice: Box::pin(async move {
                // Whoever would say so is gone: that is the end too.
                let _ = shutdown.wait_for(|stop| *stop).await;
            }),
            is_listening: false,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The phase changes before the notice is given.
        if self.lifecycle.has_reached(Phase::Draining) {
            return Poll::Ready(());
        }
        if self.is_listening {
            return Poll::Pending;
        }
        self.is_listening = true;
        // It has to take note of the task, even if that one's turn is over.
        std::pin::pin!(unconstrained(self.notice.as_mut())).poll(cx)
    }
}
