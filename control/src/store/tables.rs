//! The newest tables, as they were published.

use cellgate_table::{Digest, Generation, Step, limits::HISTORY_STEPS_MAX};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

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

    /// The steps that led to the table of this digest and generation, the oldest first: as far back as each led to the
    /// beginning of the next. A table that came from elsewhere in between ends the chain.
    pub fn steps_to(
        self,
        generation: Generation,
        digest: Digest,
    ) -> Result<Vec<Step>, StorageError> {
        let sql = "SELECT generation, digest, next_digest, moved_slots_percent, moved_overrides FROM table_steps
                   WHERE generation < ?1 ORDER BY generation DESC";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([as_sql(generation.get())])?;
        let mut steps = Vec::new();
        let mut next = digest;
        while let Some(row) = rows.next()? {
            if digest_of(row, 2)? != next {
                break;
            }
            let step = Step {
                generation: Generation::new(from_sql(row.get(0)?))
                    .ok_or_else(|| StorageError::Corrupt("generation 0 in a step".to_owned()))?,
                digest: digest_of(row, 1)?,
                moved_slots_percent: row.get(3)?,
                moved_overrides: usize::try_from(from_sql(row.get(4)?)).unwrap_or(usize::MAX),
            };
            next = step.digest;
            steps.push(step);
        }
        steps.reverse();
        Ok(steps)
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
    /// Records a table before its file is written, and the step that leads to it.
    pub fn begin_table(
        &self,
        generation: u64,
        digest: &str,
        content: &[u8],
        step: Option<&Step>,
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
            step.map_or(Ok(()), |step| record_step(connection, step, digest))
        })
    }

    /// Records the steps that led to a table which somebody else wrote, as that table has them.
    pub fn adopt_steps(&self, steps: &[Step], digest: Digest) -> Result<(), StorageError> {
        let next = steps.iter().skip(1).map(|step| step.digest);
        let next = next.chain([digest]);
        self.record(|connection| {
            let mut pairs = steps.iter().zip(next);
            pairs.try_for_each(|(step, next)| record_step(connection, step, &next.to_string()))
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

/// A step from a table takes the place of another one from the same table, which led to one that was never published.
fn record_step(connection: &Connection, step: &Step, next: &str) -> Result<(), StorageError> {
    let sql = "INSERT OR REPLACE INTO table_steps VALUES (?1, ?2, ?3, ?4, ?5)";
    let moved_overrides = as_sql(step.moved_overrides as u64);
    connection.execute(
        sql,
        params![
            as_sql(step.generation.get()),
            step.digest.to_string(),
            next,
            step.moved_slots_percent,
            moved_overrides
        ],
    )?;
    let sql = "DELETE FROM table_steps WHERE generation NOT IN
               (SELECT generation FROM table_steps ORDER BY generation DESC LIMIT ?1)";
    connection.execute(sql, [as_sql(HISTORY_STEPS_MAX as u64)])?;
    Ok(())
}

fn digest_of(row: &Row<'_>, column: usize) -> Result<Digest, StorageError> {
    let text: String = row.get(column)?;
    Digest::parse(&text).ok_or_else(|| StorageError::Corrupt(format!("{text:?} as a digest")))
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
