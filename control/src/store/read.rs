//! What is read of the database, within a transaction.

use std::collections::BTreeMap;

use cellgate_table::{CellId, HashSpec, TenantKey};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::from_sql;
use crate::refusal::StorageError;

/// A moment of the database.
#[derive(Clone, Copy, Debug)]
pub struct Read<'c> {
    pub(super) connection: &'c Connection,
}

/// What the database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The number of the last change.
    pub revision: u64,
    pub hash: HashSpec,
    /// The last change that may have changed the table.
    pub table_wanted: u64,
    /// The last change whose table may move more than the limits allow; 0 for none.
    pub move_allowed: u64,
}

/// How many registered tenants live in a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub tenants: u64,
    /// Of these: placed by the planner, away from their slot.
    pub overrides: u64,
    /// Of these: put here by an operator.
    pub pins: u64,
    /// Bytes of the keys of both.
    pub key_bytes: u64,
}

impl<'c> Read<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    pub fn meta(self) -> Result<Meta, StorageError> {
        let sql = "SELECT revision, hash_seed, hash_slots, table_wanted, move_allowed FROM meta";
        let (revision, seed, slots, table_wanted, move_allowed): (i64, i64, u32, i64, i64) =
            self.connection.query_row(sql, [], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })?;
        // Bit for bit: a seed may be beyond what SQLite counts to.
        let hash = HashSpec::new(seed.cast_unsigned(), slots)
            .ok_or_else(|| StorageError::Corrupt(format!("{slots} slots")))?;
        Ok(Meta {
            revision: from_sql(revision),
            hash,
            table_wanted: from_sql(table_wanted),
            move_allowed: from_sql(move_allowed),
        })
    }

    /// How many tenants live in a cell.
    pub fn counts_of(self, cell: &CellId) -> Result<Counts, StorageError> {
        let sql = "SELECT tenants, overrides, pins, key_bytes FROM cell_tenants WHERE cell = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement
            .query_row([cell.as_str()], |row| {
                Ok(Counts {
                    tenants: from_sql(row.get(0)?),
                    overrides: from_sql(row.get(1)?),
                    pins: from_sql(row.get(2)?),
                    key_bytes: from_sql(row.get(3)?),
                })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }

    /// How many tenants live in each cell that has or had some.
    pub fn counts(self) -> Result<BTreeMap<CellId, Counts>, StorageError> {
        let sql = "SELECT cell, tenants, overrides, pins, key_bytes FROM cell_tenants";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                Counts {
                    tenants: from_sql(row.get(1)?),
                    overrides: from_sql(row.get(2)?),
                    pins: from_sql(row.get(3)?),
                    key_bytes: from_sql(row.get(4)?),
                },
            ))
        })?;
        let mut counts = BTreeMap::new();
        for row in rows {
            let (cell, count) = row?;
            counts.insert(cell_id(&cell)?, count);
        }
        Ok(counts)
    }
}

/// A cell's id out of the database.
pub(super) fn cell_id(text: &str) -> Result<CellId, StorageError> {
    CellId::new(text).map_err(|error| StorageError::Corrupt(error.to_string()))
}

/// A tenant's key out of the database.
pub(super) fn tenant_key(text: &str) -> Result<TenantKey, StorageError> {
    TenantKey::new(text).map_err(|error| StorageError::Corrupt(error.to_string()))
}

/// A column of text.
pub(super) fn text(row: &Row<'_>, column: &str) -> rusqlite::Result<String> {
    row.get(column)
}
