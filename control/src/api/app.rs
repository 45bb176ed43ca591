//! What handlers know.

use std::sync::Arc;

use crate::daemon::Daemon;

/// All that the daemon shares.
pub(super) type App = Arc<Daemon>;
