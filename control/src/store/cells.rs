//! The cells' rows.

use std::collections::{BTreeMap, BTreeSet};

use cellgate_table::CellId;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{
    Store, Write,
    read::{Counts, Read, cell_id, text},
};
use crate::{
    model::{Amounts, Cell, CellState, cell::SettingsSpec},
    refusal::{Refusal, StorageError},
};

const COLUMNS: &str = "id, state, state_reason, state_since_ms, provider, params, settings, labels, is_stateless, \
                       capacity, usage, was_in_table";

impl Read<'_> {
    /// All cells, removed ones too, by id.
    pub fn cells(self) -> Result<Vec<Cell>, StorageError> {
        let counts = self.counts()?;
        let sql = format!("SELECT {COLUMNS} FROM cells ORDER BY id");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut cells = Vec::new();
        while let Some(row) = rows.next()? {
            cells.push(cell(row, &counts)?);
        }
        Ok(cells)
    }

    /// # Errors
    /// There is no such cell, or the database failed.
    pub fn cell(self, id: &CellId) -> Result<Cell, Refusal> {
        let counts = BTreeMap::from([(id.clone(), self.counts_of(id)?)]);
        let sql = format!("SELECT {COLUMNS} FROM cells WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement
            .query_row([id.as_str()], |row| Ok(cell(row, &counts)))
            .optional()?;
        match found {
            Some(cell) => Ok(cell?),
            None => Err(Refusal::NoSuchCell(id.clone())),
        }
    }
}

impl Store {
    /// Records what a provider says a cell holds. That is seen, not intended: no revision, no line in the audit log.
    pub fn record_usage(&self, id: &CellId, usage: &Amounts) -> Result<(), StorageError> {
        let sql = "UPDATE cells SET usage = ?2 WHERE id = ?1";
        self.record(|connection| {
            connection.execute(sql, params![id.as_str(), json(usage)])?;
            Ok(())
        })
    }
}

impl Store {
    /// Records that a table names these cells; before the table is written. Returns false, and records nothing, if one of
    /// them no longer belongs into a table: it left while the table was rendered, and its provider may be asked to take
    /// it down.
    pub fn mark_named(&self, cells: &BTreeSet<CellId>) -> Result<bool, StorageError> {
        self.record(|connection| {
            let known = Read::new(connection).cells()?;
            let in_table = known.iter().filter(|cell| cell.state.is_in_table());
            if in_table.filter(|cell| cells.contains(&cell.id)).count() < cells.len() {
                return Ok(false);
            }
            let sql = "UPDATE cells SET was_in_table = 1 WHERE id = ?1 AND was_in_table = 0";
            let mut mark = connection.prepare_cached(sql)?;
            for cell in cells {
                mark.execute([cell.as_str()])?;
            }
            Ok(true)
        })
    }
}

impl Write<'_> {
    /// Writes a cell's row, new or not. Its tenants are counted elsewhere.
    pub fn put_cell(&self, cell: &Cell) -> Result<(), StorageError> {
        let sql = format!(
            "INSERT OR REPLACE INTO cells ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
        );
        self.transaction.execute(
            &sql,
            params![
                cell.id.as_str(),
                cell.state.as_str(),
                cell.state_reason,
                cell.state_since_ms,
                cell.provider,
                json(&cell.params),
                json(&cell.settings.spec()),
                json(&cell.labels),
                cell.is_stateless,
                json(&cell.capacity),
                json(&cell.usage),
                cell.was_in_table,
            ],
        )?;
        Ok(())
    }
}

fn cell(row: &Row<'_>, counts: &BTreeMap<CellId, Counts>) -> Result<Cell, StorageError> {
    let id = cell_id(&text(row, "id")?)?;
    let state = text(row, "state")?;
    let corrupt = |what: String| StorageError::Corrupt(format!("cell {id}: {what}"));
    let settings: SettingsSpec = parsed(row, "settings")?;
    Ok(Cell {
        state: CellState::of(&state).ok_or_else(|| corrupt(format!("the state {state}")))?,
        state_reason: row.get("state_reason")?,
        state_since_ms: row.get("state_since_ms")?,
        provider: row.get("provider")?,
        params: parsed(row, "params")?,
        settings: settings
            .settings()
            .ok_or_else(|| corrupt("an invalid address".to_owned()))?,
        labels: parsed(row, "labels")?,
        is_stateless: row.get("is_stateless")?,
        capacity: amounts(row, "capacity")?,
        usage: amounts(row, "usage")?,
        was_in_table: row.get("was_in_table")?,
        tenants: counts.get(&id).map_or(0, |counts| counts.tenants),
        id,
    })
}

fn amounts(row: &Row<'_>, column: &str) -> Result<Amounts, StorageError> {
    Amounts::new(parsed(row, column)?).map_err(StorageError::Corrupt)
}

fn parsed<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StorageError> {
    serde_json::from_str(&text(row, column)?)
        .map_err(|error| StorageError::Corrupt(format!("{column}: {error}")))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data always serializes")
}
