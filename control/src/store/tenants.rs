//! The rows of tenants and their aliases.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cellgate_table::{CellId, TenantKey, limits::TENANT_KEY_BYTES_MAX, slots::SlotRange};
use rusqlite::{OptionalExtension as _, Row, ToSql, params};

use super::{
    Write, as_sql, from_sql,
    read::{Read, cell_id, tenant_key, text},
};
use crate::{
    model::{PlacedBy, SlotMap, Tenant},
    refusal::{Refusal, StorageError},
};

const COLUMNS: &str = "key, cell, placed_by, is_rejected, since, why, registered_ms";

/// Which tenants to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantFilter {
    pub cell: Option<CellId>,
    pub prefix: Option<String>,
    pub placed_by: Option<PlacedBy>,
    pub is_rejected: Option<bool>,
    /// Only keys behind this one.
    pub after: Option<String>,
}

/// A page of tenants, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPage {
    pub tenants: Vec<Tenant>,
    pub has_more: bool,
}

impl Read<'_> {
    /// # Errors
    /// It is not registered, or the database failed.
    pub fn tenant(self, key: &TenantKey) -> Result<Tenant, Refusal> {
        self.find_tenant(key)?
            .ok_or_else(|| Refusal::NoSuchTenant(key.clone()))
    }

    pub fn find_tenant(self, key: &TenantKey) -> Result<Option<Tenant>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM tenants WHERE key = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement
            .query_row([key.as_str()], |row| Ok(tenant(row)))
            .optional()?
            .transpose()
    }

    /// A page of the tenants that the filter lets through, in the order of their keys.
    pub fn tenants(self, filter: &TenantFilter, limit: usize) -> Result<TenantPage, StorageError> {
        let mut conditions: Vec<&str> = Vec::new();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut add = |condition: &'static str, value: Box<dyn ToSql>| {
            conditions.push(condition);
            values.push(value);
        };
        if let Some(cell) = &filter.cell {
            add("cell = ?", Box::new(cell.to_string()));
        }
        if let Some(prefix) = &filter.prefix {
            add("key >= ?", Box::new(prefix.clone()));
            // The largest code point, more often than a key can hold it: every key with the prefix sorts before this.
            let beyond = "\u{10ffff}".repeat(TENANT_KEY_BYTES_MAX / 4 + 1);
            add("key < ?", Box::new(format!("{prefix}{beyond}")));
        }
        if let Some(placed_by) = filter.placed_by {
            // The second half says nothing new, but lets the index be used that has only those.
            let condition = match placed_by {
                PlacedBy::Slot => "placed_by = ?",
                PlacedBy::Override | PlacedBy::Pin => "placed_by = ? AND placed_by <> 'slot'",
            };
            add(condition, Box::new(placed_by.as_str()));
        }
        if let Some(is_rejected) = filter.is_rejected {
            add("is_rejected = ?", Box::new(is_rejected));
        }
        if let Some(after) = &filter.after {
            add("key > ?", Box::new(after.clone()));
        }
        let wanted = if conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", conditions.join(" AND "))
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM tenants {wanted} ORDER BY key LIMIT {}",
            limit + 1
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut tenants = Vec::new();
        while let Some(row) = rows.next()? {
            tenants.push(tenant(row)?);
        }
        let has_more = tenants.len() > limit;
        tenants.truncate(limit);
        Ok(TenantPage { tenants, has_more })
    }

    /// The tenant that a key is an alias of.
    pub fn alias_of(self, alias: &TenantKey) -> Result<Option<TenantKey>, StorageError> {
        let sql = "SELECT tenant FROM aliases WHERE alias = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found: Option<String> = statement
            .query_row([alias.as_str()], |row| row.get(0))
            .optional()?;
        found.map(|tenant| tenant_key(&tenant)).transpose()
    }

    pub fn aliases_of(self, tenant: &TenantKey) -> Result<Vec<TenantKey>, StorageError> {
        let sql = "SELECT alias FROM aliases WHERE tenant = ?1 ORDER BY alias";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([tenant.as_str()], |row| row.get::<_, String>(0))?;
        rows.map(|alias| tenant_key(&alias?)).collect()
    }

    /// Every alias, with its tenant.
    pub fn aliases(self) -> Result<BTreeMap<TenantKey, TenantKey>, StorageError> {
        self.pairs("SELECT alias, tenant FROM aliases", tenant_key)
    }

    /// Every tenant that the table has to name, with its cell.
    pub fn named_tenants(self) -> Result<BTreeMap<TenantKey, CellId>, StorageError> {
        self.pairs(
            "SELECT key, cell FROM tenants WHERE placed_by <> 'slot'",
            cell_id,
        )
    }

    /// Every tenant, with its cell.
    pub fn all_tenants(self) -> Result<BTreeMap<TenantKey, CellId>, StorageError> {
        self.pairs("SELECT key, cell FROM tenants", cell_id)
    }

    pub fn alias_count(self) -> Result<u64, StorageError> {
        let sql = "SELECT count(*) FROM aliases";
        Ok(from_sql(
            self.connection.query_row(sql, [], |row| row.get(0))?,
        ))
    }

    fn pairs<T>(
        self,
        sql: &str,
        read: impl Fn(&str) -> Result<T, StorageError>,
    ) -> Result<BTreeMap<TenantKey, T>, StorageError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut pairs = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let key = tenant_key(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
            let value = read(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
            pairs.insert(key, value);
        }
        Ok(pairs)
    }

    /// Every rejected tenant, by key.
    pub fn rejected_tenants(self) -> Result<Vec<TenantKey>, StorageError> {
        let sql = "SELECT key FROM tenants WHERE is_rejected = 1 ORDER BY key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.map(|key| tenant_key(&key?)).collect()
    }

    /// How many keys the table has to name for tenants that were registered by a change behind this one: those of tenants
    /// away from their slot, and aliases.
    pub fn new_keys_since(self, revision: u64) -> Result<u64, StorageError> {
        let sql = "SELECT (SELECT count(*) FROM tenants WHERE placed_by <> 'slot' AND registered > ?1)
                        + (SELECT count(*) FROM aliases JOIN tenants ON key = tenant WHERE registered > ?1)";
        let count = self
            .connection
            .query_row(sql, [as_sql(revision)], |row| row.get(0))?;
        Ok(from_sql(count))
    }

    /// The tenants that were registered by a change behind this one.
    pub fn registered_since(self, revision: u64) -> Result<BTreeSet<TenantKey>, StorageError> {
        let sql = "SELECT key FROM tenants WHERE registered > ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([as_sql(revision)], |row| row.get::<_, String>(0))?;
        rows.map(|key| tenant_key(&key?)).collect()
    }

    /// The tenants in a cell that a placement put there away from their slot.
    pub fn overrides_in(self, cell: &CellId) -> Result<Vec<TenantKey>, StorageError> {
        let sql = "SELECT key FROM tenants WHERE cell = ?1 AND placed_by = 'override' ORDER BY key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([cell.as_str()], |row| row.get::<_, String>(0))?;
        rows.map(|key| tenant_key(&key?)).collect()
    }
}

impl Write<'_> {
    /// Registers a tenant. Whether the table has to name it is for the caller to say by
    /// [`touch_table`](Write::touch_table).
    pub fn add_tenant(&self, tenant: &Tenant, slot: u32) -> Result<(), StorageError> {
        let sql = "INSERT INTO tenants (key, cell, placed_by, slot, is_rejected, since, why, registered, registered_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        statement.execute(params![
            tenant.key.as_str(),
            tenant.cell.as_str(),
            tenant.placed_by.as_str(),
            slot,
            tenant.is_rejected,
            as_sql(tenant.since),
            tenant.why,
            as_sql(self.revision),
            tenant.registered_ms,
        ])?;
        Ok(())
    }

    /// Puts a registered tenant somewhere.
    pub fn place_tenant(&self, tenant: &Tenant) -> Result<(), StorageError> {
        let sql =
            "UPDATE tenants SET cell = ?2, placed_by = ?3, since = ?4, why = ?5 WHERE key = ?1";
        let mut statement = self.transaction.prepare_cached(sql)?;
        statement.execute(params![
            tenant.key.as_str(),
            tenant.cell.as_str(),
            tenant.placed_by.as_str(),
            as_sql(tenant.since),
            tenant.why,
        ])?;
        Ok(())
    }

    pub fn set_rejected(&self, key: &TenantKey, is_rejected: bool) -> Result<(), StorageError> {
        let sql = "UPDATE tenants SET is_rejected = ?2 WHERE key = ?1";
        self.transaction
            .execute(sql, params![key.as_str(), is_rejected])?;
        Ok(())
    }

    /// Forgets a tenant and its aliases.
    pub fn remove_tenant(&self, key: &TenantKey) -> Result<(), StorageError> {
        let sql = "DELETE FROM tenants WHERE key = ?1";
        self.transaction.execute(sql, [key.as_str()])?;
        Ok(())
    }

    pub fn add_alias(&self, alias: &TenantKey, tenant: &TenantKey) -> Result<(), StorageError> {
        let sql = "INSERT INTO aliases (alias, tenant, since) VALUES (?1, ?2, ?3)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        statement.execute(params![
            alias.as_str(),
            tenant.as_str(),
            as_sql(self.revision)
        ])?;
        Ok(())
    }

    pub fn remove_alias(&self, alias: &TenantKey) -> Result<(), StorageError> {
        let sql = "DELETE FROM aliases WHERE alias = ?1";
        self.transaction.execute(sql, [alias.as_str()])?;
        Ok(())
    }

    pub fn remove_all_aliases(&self) -> Result<(), StorageError> {
        self.transaction.execute("DELETE FROM aliases", [])?;
        Ok(())
    }

    /// Takes the tenants that live where their slot does along to its owner, for slots whose owner changes from `before`
    /// to `after`. Returns how many went.
    pub fn follow_slots(&self, before: &SlotMap, after: &SlotMap) -> Result<u64, StorageError> {
        let sql = "UPDATE tenants SET cell = ?3, since = ?4, why = ?5
                   WHERE placed_by = 'slot' AND slot BETWEEN ?1 AND ?2 AND cell <> ?3";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let mut gone = 0;
        let known: HashSet<&(SlotRange, CellId)> = before.runs().iter().collect();
        for run in after.runs() {
            let (range, owner) = run;
            if !known.contains(run) {
                gone += statement.execute(params![
                    range.first(),
                    range.last(),
                    owner.as_str(),
                    as_sql(self.revision),
                    "its slot moved",
                ])?;
            }
        }
        Ok(gone as u64)
    }
}

impl Write<'_> {
    /// Lets tenants that were put away from their slot live by it, where it has come to be their cell's. Pinned ones stay
    /// pinned.
    pub fn settle_overrides(&self, before: &SlotMap, after: &SlotMap) -> Result<u64, StorageError> {
        let sql = "UPDATE tenants SET placed_by = 'slot'
                   WHERE placed_by = 'override' AND cell = ?3 AND slot BETWEEN ?1 AND ?2";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let mut settled = 0;
        let known: HashSet<&(SlotRange, CellId)> = before.runs().iter().collect();
        for run in after.runs() {
            let (range, owner) = run;
            if !known.contains(run) {
                settled +=
                    statement.execute(params![range.first(), range.last(), owner.as_str()])?;
            }
        }
        Ok(settled as u64)
    }
}

fn tenant(row: &Row<'_>) -> Result<Tenant, StorageError> {
    let placed_by = text(row, "placed_by")?;
    Ok(Tenant {
        key: tenant_key(&text(row, "key")?)?,
        cell: cell_id(&text(row, "cell")?)?,
        placed_by: PlacedBy::of(&placed_by)
            .ok_or_else(|| StorageError::Corrupt(format!("a tenant placed by {placed_by}")))?,
        is_rejected: row.get("is_rejected")?,
        since: from_sql(row.get("since")?),
        why: row.get("why")?,
        registered_ms: row.get("registered_ms")?,
    })
}
