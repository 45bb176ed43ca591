//! What is known of the table in force, and why nothing newer is.

use std::{collections::BTreeSet, fmt, sync::Arc};

use cellgate_table::CellId;
use serde::Serialize;
use utoipa::ToSchema;

/// How publishing stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishStatus {
    /// The generation of the table in the file.
    pub generation: Option<u64>,
    pub digest: Option<String>,
    /// The cells that it names; `None` until the daemon has checked for the first time.
    pub cells: Option<Arc<BTreeSet<CellId>>>,
    /// The last change that the table takes into account.
    pub considered: u64,
    pub blocked: Option<Blocked>,
    /// Since when it stands so, in milliseconds since 1970.
    pub since_ms: i64,
}

impl PublishStatus {
    /// Whether the file has been compared with the records since the start, or it is known why it cannot be.
    pub fn is_known(&self) -> bool {
        self.cells.is_some() || self.blocked.is_some()
    }

    /// Whether the table in the file names a cell, as far as is known.
    pub fn may_name(&self, cell: &CellId) -> bool {
        self.cells.as_ref().is_none_or(|cells| cells.contains(cell))
    }
}

/// Why nothing is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "code", content = "detail")]
pub enum Blocked {
    /// No cell owns the slots yet.
    NoTable,
    /// Another daemon took the table over.
    Overtaken,
    /// Somebody else wrote the table.
    ForeignTable {
        digest: String,
    },
    /// A proxy has a table that this daemon does not know, and newer than any of its own.
    ProxyAhead {
        proxy: String,
        generation: u64,
        digest: String,
    },
    /// What stands in the table's place cannot be read.
    Unreadable(String),
    /// More would move than the limits allow.
    MovesTooMuch(String),
    /// The proxies would refuse the table: a mistake of the daemon.
    Refused(String),
    /// The path of the table leads to no place where it may be written.
    TablePath(String),
    /// The file could not be written, or not be made to last.
    Write(String),
    Storage(String),
    /// The largest generation there is has been used.
    NoGeneration,
}

impl Blocked {
    /// What an operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoTable => "add cells; once they are active the slots are spread over them",
            Self::Overtaken => "check the other daemon; this one can be stopped",
            Self::ForeignTable { .. } => {
                "compare it with what `cellctl table get GENERATION` gives of the last one, with `cellgate-proxy diff`; \
                 then write over it with `cellctl table publish --overwrite`, or take it over into an empty database \
                 with `cellgate-control import-table`"
            }
            Self::ProxyAhead { .. } => {
                "find out where that table came from: was the database or the table file replaced by an older one? The \
                 proxy keeps it in its state directory; take it over with `cellgate-control import-table` into an empty \
                 database, or write over it with `cellctl table publish --overwrite`"
            }
            Self::Unreadable(_) => "repair or remove the file",
            Self::MovesTooMuch(_) => {
                "look for the change in `cellctl audit`; if it is intended, run `cellctl table publish --allow-move`"
            }
            Self::Refused(_) => "please report this",
            Self::TablePath(_) => {
                "repair the links or the folder that `table.path` leads over; it is tried again"
            }
            Self::Write(_) => {
                "check the disk and the permissions of the table's folder; it is tried again"
            }
            Self::Storage(_) => "check the disk of the state directory; it is tried again",
            Self::NoGeneration => {
                "restart the proxies with empty state directories, and begin with an empty database"
            }
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => f.write_str("no cell owns the slots yet"),
            Self::Overtaken => f.write_str("another daemon has taken the table over"),
            Self::ForeignTable { digest } => {
                write!(
                    f,
                    "the table file was written by somebody else (digest {digest})"
                )
            }
            Self::ProxyAhead {
                proxy,
                generation,
                digest,
            } => write!(
                f,
                "proxy {proxy} has a table of generation {generation} that is not known here (digest {digest})"
            ),
            Self::Unreadable(error) => write!(f, "the table file cannot be read: {error}"),
            Self::MovesTooMuch(what) => f.write_str(what),
            Self::Refused(why) => f.write_str(why),
            Self::TablePath(error) | Self::Write(error) | Self::Storage(error) => {
                f.write_str(error)
            }
            Self::NoGeneration => f.write_str("there is no generation left"),
        }
    }
}
