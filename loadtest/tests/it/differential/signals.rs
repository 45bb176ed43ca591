//! What client and cells of one scenario signal each other behind the proxy's back, so that what happens at the same
//! time is the same each time. Nobody sleeps.

use tokio::sync::watch;

/// Sets of exchanges, a bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// Its cell has its head.
    pub(super) received: u64,
    /// Its cell has closed the connection that it came on.
    pub(super) closed: u64,
    /// The client has a head of an answer to it.
    pub(super) begun: u64,
    /// The client has its answer.
    pub(super) answered: u64,
    /// The connection speaks another protocol now.
    pub(super) is_switched: bool,
    /// The cell that holds a request may answer.
    pub(super) is_released: bool,
    /// Nothing more will come to the client.
    pub(super) is_over: bool,
}

pub(super) struct Signals(watch::Sender<Marks>);

impl Signals {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Marks::default()))
    }

    pub(super) fn mark(&self, change: impl FnOnce(&mut Marks)) {
        self.0.send_modify(change);
    }

    pub(super) async fn wait(&self, mut is_met: impl FnMut(&Marks) -> bool) {
        let mut seen = self.0.subscribe();
        // It ends with its sender, which is this.
        let _ = seen.wait_for(|marks| is_met(marks)).await;
    }

    pub(super) fn marks(&self) -> Marks {
        *self.0.borrow()
    }
}

/// The bit of an exchange.
pub(super) fn bit(exchange: usize) -> u64 {
    1 << exchange.min(63)
}
