//! Why a key leads where it leads: the same words on the command line and from the admin address.

use std::fmt;

use cellgate_table::{Generation, Owner, Table};
use serde::Serialize;

/// The way from a key to its cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The key that was asked for; bytes that are not UTF-8 are shown as replacement characters.
    pub key: String,
    /// The tenant that it means: the key itself, or what it is an alias of.
    pub tenant: String,
    pub is_alias: bool,
    /// XXH3 of the tenant's bytes, as 16 hex digits.
    pub hash: String,
    pub slot: u32,
    /// What decided: `override` or `slot`.
    pub owner: &'static str,
    pub cell: String,
    pub endpoints: Vec<String>,
    /// The tenant is answered 403.
    pub rejected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// Explains a key by a table. It is the canonical key ([`tenant_key`](crate::tenant_key)), not its spelling in a request.
pub fn explain(table: &Table, generation: Option<Generation>, key: &[u8]) -> Explanation {
    let home = table.home_of(key);
    let cell = table.cell(home.cell);
    Explanation {
        key: String::from_utf8_lossy(key).into_owned(),
        tenant: String::from_utf8_lossy(home.tenant).into_owned(),
        is_alias: home.is_alias,
        hash: format!("{:016x}", home.hash),
        slot: home.slot.get(),
        owner: match home.owner {
            Owner::Override => "override",
            Owner::Slot => "slot",
        },
        cell: cell.id().to_string(),
        endpoints: cell
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.address.to_string())
            .collect(),
        rejected: home.is_rejected,
        generation: generation.map(Generation::get),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key:       {}", self.key)?;
        if self.is_alias {
            writeln!(f, "tenant:    {} (the key is its alias)", self.tenant)?;
        } else {
            writeln!(f, "tenant:    {}", self.tenant)?;
        }
        writeln!(f, "hash:      {}", self.hash)?;
        writeln!(f, "slot:      {}", self.slot)?;
        writeln!(f, "owner:     {}", self.owner)?;
        writeln!(f, "cell:      {}", self.cell)?;
        write!(f, "endpoints: {}", self.endpoints.join(", "))?;
        if self.rejected {
            write!(f, "\nrejected:  yes, answered 403 at the edge")?;
        }
        Ok(())
    }
}
