//! The newest tables, as they were published.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Read, Store, as_sql, from_sql};
use crate::refusal::{Refusal, StorageError};

/// Bytes of all kept tables together; the newest two are kept whatever their size.
const KEPT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How far a table came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// Recorded before its file was written. Whether it was is for the file to say.
    Writing,
    Published,
}

/// A table that was published, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTable {
    pub generation: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    pub state: TableState,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub bytes: u64,
}

impl Read<'_> {
    /// The kept tables, newest first.
    pub fn tables(self) -> Result<Vec<KeptTable>, StorageError> {
        let sql = "SELECT generation, digest, state, at_ms, bytes FROM tables
                   ORDER BY generation DESC";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], kept)?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// The bytes of a kept table.
    pub fn table_content(self, generation: u64) -> Result<Vec<u8>, Refusal> {
        let sql = "SELECT content FROM tables WHERE generation = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement
            .query_row([as_sql(generation)], |row| row.get(0))
            .optional()?
            .ok_or(Refusal::NoSuchTable(generation))
    }
}

impl Store {
    /// Records a table before its file is written.
    pub fn begin_table(
        &self,
        generation: u64,
        digest: &str,
        content: &[u8],
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let sql = "INSERT OR REPLACE INTO tables (generation, digest, state, at_ms, bytes, content)
                   VALUES (?1, ?2, 'writing', ?3, ?4, ?5)";
        self.record(|connection| {
            connection.execute(
                sql,
                params![
                    as_sql(generation),
                    digest,
                    now_ms,
                    as_sql(content.len() as u64),
                    content
                ],
            )?;
            Ok(())
        })
    }

    /// Records that a table's file is in its place, on disk.
    pub fn end_table(&self, generation: u64, kept_max: usize) -> Result<(), StorageError> {
        self.record(|connection| {
            let sql = "UPDATE tables SET state = 'published' WHERE generation = ?1";
            connection.execute(sql, [as_sql(generation)])?;
            // One that was recorded before this and never was published has been overtaken.
            let sql = "DELETE FROM tables WHERE state = 'writing' AND generation < ?1";
            connection.execute(sql, [as_sql(generation)])?;
            let mut bytes = 0;
            for (at, table) in Read::new(connection).tables()?.into_iter().enumerate() {
                bytes += table.bytes;
                if at >= kept_max.max(2) || (at >= 2 && bytes > KEPT_BYTES_MAX) {
                    let sql = "DELETE FROM tables WHERE generation = ?1";
                    connection.execute(sql, [as_sql(table.generation)])?;
                }
            }
            Ok(())
        })
    }

    /// Records that tables may move more than the limits allow from this one on.
    pub fn allow_move_at(&self, generation: u64) -> Result<(), StorageError> {
        self.record(|connection| {
            let sql = "UPDATE meta SET move_allowed = ?1";
            connection.execute(sql, [as_sql(generation)])?;
            Ok(())
        })
    }

    /// Every proxy has the table that was allowed to move more: from here on the limits hold again.
    pub fn end_allowed_move(&self, generation: u64) -> Result<(), StorageError> {
        self.record(|connection| {
            let sql = "UPDATE meta SET move_allowed = 0 WHERE move_allowed = ?1";
            connection.execute(sql, [as_sql(generation)])?;
            Ok(())
        })
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptTable> {
    let state: String = row.get(2)?;
    Ok(KeptTable {
        generation: from_sql(row.get(0)?),
        digest: row.get(1)?,
        state: if state == "published" {
            TableState::Published
        } else {
            TableState::Writing
        },
        at_ms: row.get(3)?,
        bytes: from_sql(row.get(4)?),
    })
}
