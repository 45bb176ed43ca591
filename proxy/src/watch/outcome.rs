//! How a poll of the table file ended, and what is said of it.

use cellgate_table::{Digest, Generation, Problems};
use serde::Serialize;

/// What `/status` and `/readyz` say of the table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableStatus {
    pub last_reload: Option<LastReload>,
    /// Why the state directory could not keep the table in force, if it could not.
    pub state_dir_error: Option<String>,
    /// The refused file proves that others have moved on from the table in force.
    #[serde(skip)]
    pub(super) others_moved_on: bool,
}

/// How the table in force differs from the file, which is refused or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The table in force.
    pub generation: Generation,
    /// Why the file is refused.
    pub why: String,
    /// The file proves that others have moved on from the table in force.
    pub others_moved_on: bool,
    /// Clients are better served by other proxies.
    pub is_unready: bool,
}

/// The last poll of the table file that changed something or failed.
#[derive(Clone, Debug, Serialize)]
pub struct LastReload {
    pub ok: bool,
    /// One line; `problems` has all of it.
    pub error: Option<String>,
    /// RFC 3339, UTC.
    pub at: String,
    /// SHA-256 of the bytes that were judged, if they could be read.
    pub digest: Option<Digest>,
    pub problems: Option<Problems>,
}

/// How a poll ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Unchanged,
    Accepted(Generation),
    Refused(Problems),
    /// The file could not be read, which says nothing about what stands in it: the next poll tries again.
    Unread(Problems),
}
