//! A registered tenant, and what put it where it is.

use std::fmt;

use cellgate_table::{CellId, TenantKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What decides a tenant's cell.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PlacedBy {
    /// It lives where its slot does; the table need not name it.
    Slot,
    /// The planner chose another cell than its slot's; the table names it.
    Override,
    /// An operator chose; no plan moves it.
    Pin,
}

impl PlacedBy {
    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Override => "override",
            Self::Pin => "pin",
        }
    }

    /// The one of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Slot, Self::Override, Self::Pin]
            .into_iter()
            .find(|placed_by| placed_by.as_str() == word)
    }
}

impl fmt::Display for PlacedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub key: TenantKey,
    pub cell: CellId,
    pub placed_by: PlacedBy,
    pub is_rejected: bool,
    /// The revision since which it lives in this cell.
    pub since: u64,
    /// Why it was put there.
    pub why: String,
    /// When it was registered, in milliseconds since 1970.
    pub registered_ms: i64,
}
