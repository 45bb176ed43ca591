//! Places for what takes long, such as an export: a limited number, and callers without the token cannot use up those
//! that an operator needs.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whether a caller has shown the token, or where it is without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    WithToken,
    /// At the Unix socket, which only the daemon's own user can open: likely an operator.
    AtSocket,
    WithoutToken,
}

tokio::task_local! {
    /// The place of the request that this task answers. Work that goes on when its caller has hung up keeps it.
    pub static TURN: Arc<OwnedSemaphorePermit>;
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Turns {
    with_token: Arc<Semaphore>,
    at_socket: Arc<Semaphore>,
    without_token: Arc<Semaphore>,
}

impl Turns {
    pub fn new(with_token_max: usize, at_socket_max: usize, without_token_max: usize) -> Self {
        Self {
            with_token: Arc::new(Semaphore::new(with_token_max)),
            at_socket: Arc::new(Semaphore::new(at_socket_max)),
            without_token: Arc::new(Semaphore::new(without_token_max)),
        }
    }

    /// A place until the permit is dropped; `None` if all are taken.
    pub fn try_take(&self, standing: Standing) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.of(standing)).try_acquire_owned().ok()
    }

    /// Waits for a place, in the order of asking.
    pub async fn take(&self, standing: Standing) -> OwnedSemaphorePermit {
        Arc::clone(self.of(standing))
            .acquire_owned()
            .await
            .expect("nobody closes these semaphores")
    }

    fn of(&self, standing: Standing) -> &Arc<Semaphore> {
        match standing {
            Standing::WithToken => &self.with_token,
            Standing::AtSocket => &self.at_socket,
            Standing::WithoutToken => &self.without_token,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_operators_places() {
        let turns = Turns::new(2, 1, 1);
        let taken = turns.try_take(Standing::WithoutToken);
        assert!(taken.is_some());
        assert!(turns.try_take(Standing::WithoutToken).is_none());
        let operator: Vec<_> = (0..3)
            .filter_map(|_| turns.try_take(Standing::WithToken))
            .collect();
        assert_eq!(operator.len(), 2);
        let at_socket = turns.try_take(Standing::AtSocket);
        assert!(at_socket.is_some());
        assert!(turns.try_take(Standing::AtSocket).is_none());
        drop(taken);
        assert!(turns.try_take(Standing::WithoutToken).is_some());
    }
}
