//! Why the control plane does not do what it was asked to. How that is reported over HTTP is decided in `api::problem`.

use std::fmt;

use cellgate_table::{CellId, Problems, TenantKey};

use crate::{
    model::{CellState, PlacedBy},
    plan::NoCapacity,
};

/// Why a request is not carried out. Nothing has changed then; but for a failed sync, after which SQLite's log may still
/// hold the change, whole, when the process ends before another one is stored.
#[derive(Debug)]
pub enum Refusal {
    /// What was sent is wrong in itself.
    BadInput(Problems),
    NoSuchCell(CellId),
    NoSuchProvider {
        provider: String,
        known: Vec<String>,
    },
    NoSuchProxy(String),
    /// The proxy answers, so it is part of the fleet.
    ProxyAnswers(String),
    NoSuchTenant(TenantKey),
    NoSuchAlias(TenantKey),
    NoSuchTable(u64),
    CellExists {
        cell: CellId,
        state: CellState,
    },
    TooManyCells {
        max: usize,
    },
    /// The step is not one that follows on the cell's state.
    IllegalTransition {
        cell: CellId,
        from: CellState,
        to: CellState,
    },
    /// Its provider was asked to take the cell down, and has not answered yet.
    BeingRemoved(CellId),
    /// A cell is to be forgotten whose provider may still take it down.
    ProviderNotAsked {
        cell: CellId,
        provider: String,
    },
    /// Its provider names its endpoints.
    EndpointsFromProvider {
        cell: CellId,
        provider: String,
    },
    CellOwns {
        cell: CellId,
        slots: u32,
        tenants: u64,
    },
    /// The cell takes no tenants in its state.
    CellTakesNone {
        cell: CellId,
        state: CellState,
    },
    /// The tenant is registered, elsewhere than where it was asked to be.
    TenantElsewhere {
        tenant: TenantKey,
        cell: CellId,
        placed_by: PlacedBy,
    },
    /// The tenant would go to another cell, and its data would not.
    HasData {
        tenant: TenantKey,
        from: CellId,
        to: CellId,
    },
    /// The key is a tenant's alias, so it is not a tenant.
    IsAlias {
        key: TenantKey,
        tenant: TenantKey,
    },
    /// The alias is a tenant's own key.
    AliasIsTenant(TenantKey),
    AliasTaken {
        alias: TenantKey,
        tenant: TenantKey,
    },
    NoCapacity(NoCapacity),
    /// More would go to other cells than the limits allow without explicit permission.
    MovesTooMuch(String),
    SlotsUnassigned,
    SlotsAssigned,
    NoActiveCell,
    /// A reason is needed for what is forced.
    NoReason(&'static str),
    /// The caller saw an older revision than the current one.
    Stale {
        seen: u64,
        current: u64,
    },
    /// The key was used before, for another request.
    IdempotencyKeyReused,
    /// A table of old that does not fit what there is now.
    CannotRestore(String),
    Storage(StorageError),
}

/// The database failed; what was asked may or may not be possible later.
#[derive(Debug)]
pub enum StorageError {
    Sqlite(rusqlite::Error),
    /// Its file cannot be made.
    File(std::io::Error),
    /// The database holds what this version never writes.
    Corrupt(String),
    /// One of its files was deleted or replaced while it was open.
    Displaced {
        path: std::path::PathBuf,
        /// Another file stands there now.
        is_there: bool,
    },
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(StorageError::Sqlite(error))
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<NoCapacity> for Refusal {
    fn from(error: NoCapacity) -> Self {
        Self::NoCapacity(error)
    }
}

impl Refusal {
    /// One thing that is wrong with what was sent.
    pub fn bad_input(path: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::BadInput(Problems::one(cellgate_table::Problem {
            line: None,
            column: None,
            path: path.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }))
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "a flat list: one refusal after the other"
)]
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInput(problems) => write!(f, "{problems}"),
            Self::NoSuchCell(cell) => write!(f, "there is no cell `{cell}`"),
            Self::NoSuchProvider { provider, known } => write!(
                f,
                "there is no provider `{provider}`; known are {}",
                known.join(", ")
            ),
            Self::NoSuchProxy(proxy) => {
                write!(f, "the configuration lists no proxy `{proxy}`")
            }
            Self::ProxyAnswers(proxy) => {
                write!(f, "proxy `{proxy}` answers, so it is part of the fleet")
            }
            Self::NoSuchTenant(tenant) => write!(f, "no tenant `{tenant}` is registered"),
            Self::NoSuchAlias(alias) => write!(f, "`{alias}` is no alias of this tenant"),
            Self::NoSuchTable(generation) => {
                write!(f, "no table of generation {generation} is kept")
            }
            Self::CellExists { cell, state } => write!(f, "there is a cell `{cell}`, {state}"),
            Self::TooManyCells { max } => write!(f, "there are {max} cells, and no more may be"),
            Self::IllegalTransition { cell, from, to } => {
                let legal: Vec<&str> = from.followers().iter().map(|s| s.as_str()).collect();
                write!(
                    f,
                    "cell `{cell}` is {from} and cannot become {to}; it can become {}",
                    legal.join(" or ")
                )
            }
            Self::BeingRemoved(cell) => write!(
                f,
                "cell `{cell}` is being removed; its provider has not answered yet"
            ),
            Self::ProviderNotAsked { cell, provider } => write!(
                f,
                "provider `{provider}` of cell `{cell}` has not failed to remove it"
            ),
            Self::EndpointsFromProvider { cell, provider } => write!(
                f,
                "the endpoints of cell `{cell}` are named by its provider `{provider}`"
            ),
            Self::CellOwns {
                cell,
                slots,
                tenants,
            } => write!(
                f,
                "cell `{cell}` owns {slots} slots and {tenants} registered tenants"
            ),
            Self::CellTakesNone { cell, state } => {
                write!(f, "cell `{cell}` is {state} and takes no tenants")
            }
            Self::TenantElsewhere {
                tenant,
                cell,
                placed_by,
            } => write!(
                f,
                "tenant `{tenant}` is registered and lives in cell `{cell}` (by {placed_by})"
            ),
            Self::HasData { tenant, from, to } => write!(
                f,
                "tenant `{tenant}` may have data in cell `{from}`, which would not come along to `{to}`"
            ),
            Self::IsAlias { key, tenant } => write!(f, "`{key}` is an alias of tenant `{tenant}`"),
            Self::AliasIsTenant(alias) => write!(f, "`{alias}` is registered as a tenant itself"),
            Self::AliasTaken { alias, tenant } => {
                write!(f, "`{alias}` is an alias of tenant `{tenant}` already")
            }
            Self::NoCapacity(reasons) => write!(f, "{reasons}"),
            Self::MovesTooMuch(what) => f.write_str(what),
            Self::SlotsUnassigned => f.write_str("the slots have not been given to cells yet"),
            Self::SlotsAssigned => f.write_str("the slots have owners already"),
            Self::NoActiveCell => f.write_str("no cell is active"),
            Self::NoReason(what) => write!(f, "{what} needs a reason"),
            Self::Stale { seen, current } => write!(
                f,
                "the change was made for revision {seen}, and {current} is the current one"
            ),
            Self::IdempotencyKeyReused => {
                f.write_str("this idempotency-key was used for another request")
            }
            Self::CannotRestore(why) => write!(f, "the table cannot be restored: {why}"),
            Self::Storage(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => write!(f, "the database failed: {error}"),
            Self::File(error) => write!(f, "the database cannot be made: {error}"),
            Self::Corrupt(what) => write!(f, "the database holds what it should not: {what}"),
            Self::Displaced { path, is_there } => write!(
                f,
                "the database's file {} was {} while the daemon runs; what is stored now would be lost",
                path.display(),
                if *is_there { "replaced" } else { "deleted" }
            ),
        }
    }
}

impl std::error::Error for StorageError {}
