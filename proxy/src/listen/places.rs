//! How many connections may be open at once.

use std::{collections::VecDeque, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, JoinHandle},
};

/// A place for each connection at once.
pub(super) struct Places {
    semaphore: Arc<Semaphore>,
    /// The connections that have one, the oldest first, where they can be cut.
    held: Option<VecDeque<AbortHandle>>,
}

impl Places {
    pub(super) fn new(semaphore: Arc<Semaphore>, cuts_oldest: bool) -> Self {
        Self {
            semaphore,
            held: cuts_oldest.then(VecDeque::new),
        }
    }

    /// A place. `None` where no place is free, and a connection that comes can have that of the oldest.
    pub(super) async fn before_accepting(&self) -> Option<OwnedSemaphorePermit> {
        let semaphore = Arc::clone(&self.semaphore);
        if self.held.is_some() {
            return semaphore.try_acquire_owned().ok();
        }
        semaphore.acquire_owned().await.ok()
    }

    pub(super) async fn at_the_cost_of_the_oldest(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.semaphore).try_acquire_owned() {
            return Some(place);
        }
        let held = self.held.iter_mut().flatten();
        if let Some(oldest) = held.into_iter().find(|handle| !handle.is_finished()) {
            oldest.abort();
        }
        Arc::clone(&self.semaphore).acquire_owned().await.ok()
    }

    pub(super) fn note(&mut self, serving: &JoinHandle<()>) {
        if let Some(held) = &mut self.held {
            held.retain(|handle| !handle.is_finished());
            held.push_back(serving.abort_handle());
        }
    }
}
