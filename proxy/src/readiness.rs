//! Whether the proxy should be sent requests: one answer for the admin address and for the health paths of listeners.
//!
//! It must be cheap to ask: nothing here waits for a disk or for the watcher of the table.

use std::sync::Arc;

use crate::{
    lifecycle::{Lifecycle, Phase},
    snapshot::Current,
    watch::Loader,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Readiness {
    current: Arc<Current>,
    loader: Arc<Loader>,
    lifecycle: Arc<Lifecycle>,
}

impl Readiness {
    pub fn new(current: Arc<Current>, loader: Arc<Loader>, lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            current,
            loader,
            lifecycle,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.not_ready_because().is_none()
    }

    /// `None` while requests are welcome.
    pub fn not_ready_because(&self) -> Option<String> {
        // Whoever asks wants to know about the address, and there a successor would answer. Only a connection from before
        // still leads here.
        if self.lifecycle.has_reached(Phase::Leaving) && !self.lifecycle.is_handed_over() {
            return Some("shutting down".to_owned());
        }
        if self.current.peek().is_some() {
            let behind = self.loader.behind().filter(|behind| behind.is_unready)?;
            let others = if behind.others_moved_on {
                "others have moved on to a table that is refused here"
            } else {
                "the table file is refused"
            };
            return Some(format!(
                "{others}, and generation {} is served: {}",
                behind.generation, behind.why
            ));
        }
        let refused = self
            .loader
            .status()
            .last_reload
            .and_then(|reload| reload.error);
        Some(match refused {
            Some(why) => format!("no table: {}: {why}", self.loader.table_path().display()),
            None => "no table yet".to_owned(),
        })
    }
}
