//! What providers were asked to do, and what they said.

use cellgate_table::CellId;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{
    Read, Store, Write, from_sql,
    read::{cell_id, text},
};
use crate::refusal::StorageError;

/// Operations kept for each cell.
const KEPT_PER_CELL: u32 = 20;

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationState {
    Pending,
    Running,
    Done,
    Failed,
}

/// Something that a provider was asked to do with a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name towards the provider: asked twice with the same id, it does the work once.
    pub id: String,
    pub cell: CellId,
    /// `provision` or `remove`.
    pub verb: String,
    pub state: OperationState,
    pub asked_ms: i64,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    /// How often it was begun; more than once after a crash of the daemon.
    pub attempts: u64,
    /// The end of what it wrote.
    pub output: String,
    pub error: Option<String>,
}

impl OperationState {
    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

const COLUMNS: &str =
    "id, cell, verb, state, asked_ms, started_ms, ended_ms, attempts, output, error";

impl Read<'_> {
    /// The operations of a cell, newest first.
    pub fn operations_of(self, cell: &CellId) -> Result<Vec<Operation>, StorageError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM operations WHERE cell = ?1 ORDER BY asked_ms DESC, rowid DESC"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([cell.as_str()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(operation(row)?);
        }
        Ok(found)
    }

    /// The operations that have not ended, oldest first.
    pub fn open_operations(self) -> Result<Vec<Operation>, StorageError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM operations WHERE state IN ('pending', 'running') ORDER BY asked_ms, rowid"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(operation(row)?);
        }
        Ok(found)
    }

    pub fn operation(self, id: &str) -> Result<Option<Operation>, StorageError> {
        let sql = format!("SELECT {COLUMNS} FROM operations WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement
            .query_row([id], |row| Ok(operation(row)))
            .optional()?
            .transpose()
    }
}

impl Write<'_> {
    /// Asks a provider to do something. An open operation on the same cell is overtaken by it.
    pub fn ask(&mut self, cell: &CellId, verb: &str) -> Result<String, StorageError> {
        self.asks_provider = true;
        let id = format!("{cell}-{verb}-{}", self.revision);
        let sql =
            "UPDATE operations SET state = 'failed', ended_ms = ?2, error = 'overtaken by another'
                   WHERE cell = ?1 AND state IN ('pending', 'running')";
        self.transaction
            .execute(sql, params![cell.as_str(), self.now_ms])?;
        let sql = "INSERT INTO operations (id, cell, verb, state, asked_ms, attempts, output)
                   VALUES (?1, ?2, ?3, 'pending', ?4, 0, '')";
        self.transaction
            .execute(sql, params![id, cell.as_str(), verb, self.now_ms])?;
        let sql = "DELETE FROM operations WHERE cell = ?1 AND id NOT IN
                   (SELECT id FROM operations WHERE cell = ?1 ORDER BY asked_ms DESC, rowid DESC LIMIT ?2)";
        self.transaction
            .execute(sql, params![cell.as_str(), KEPT_PER_CELL])?;
        Ok(id)
    }

    /// Gives up what was asked of the provider of a cell and has not ended.
    pub fn abandon_operations(&self, cell: &CellId) -> Result<(), StorageError> {
        let sql = "UPDATE operations SET state = 'failed', ended_ms = ?2, error = 'the cell was forgotten'
                   WHERE cell = ?1 AND state IN ('pending', 'running')";
        self.transaction
            .execute(sql, params![cell.as_str(), self.now_ms])?;
        Ok(())
    }

    /// Notes the end of an operation, together with what the change makes of it.
    pub fn end_operation(
        &self,
        id: &str,
        output: &str,
        error: Option<&str>,
    ) -> Result<(), StorageError> {
        let state = if error.is_none() { "done" } else { "failed" };
        let sql = "UPDATE operations SET state = ?2, ended_ms = ?3, output = ?4, error = ?5 WHERE id = ?1";
        self.transaction
            .execute(sql, params![id, state, self.now_ms, output, error])?;
        Ok(())
    }
}

impl Store {
    /// Records that an operation begins; false if it has ended already.
    pub fn begin_operation(&self, id: &str, now_ms: i64) -> Result<bool, StorageError> {
        let sql =
            "UPDATE operations SET state = 'running', started_ms = ?2, attempts = attempts + 1
                   WHERE id = ?1 AND state IN ('pending', 'running')";
        self.record(|connection| Ok(connection.execute(sql, params![id, now_ms])? > 0))
    }
}

fn operation(row: &Row<'_>) -> Result<Operation, StorageError> {
    let state = text(row, "state")?;
    Ok(Operation {
        id: row.get("id")?,
        cell: cell_id(&text(row, "cell")?)?,
        verb: row.get("verb")?,
        state: OperationState::of(&state)
            .ok_or_else(|| StorageError::Corrupt(format!("an operation that is {state}")))?,
        asked_ms: row.get("asked_ms")?,
        started_ms: row.get("started_ms")?,
        ended_ms: row.get("ended_ms")?,
        attempts: from_sql(row.get("attempts")?),
        output: row.get("output")?,
        error: row.get("error")?,
    })
}
