//! Who changed what, when and why. Nothing is changed without a line here.

use rusqlite::{ToSql, params};
use serde_json::Value;

use super::{Read, Write, as_sql, from_sql};
use crate::refusal::StorageError;

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    pub id: u64,
    /// The generation of the change.
    pub generation: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub actor: String,
    /// What was done, such as `cell.drain`.
    pub action: String,
    /// To what: a cell's id, a tenant's key, or a word for what there is one of.
    pub subject: String,
    pub reason: Option<String>,
    pub detail: Value,
}

/// Which lines to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub subject: Option<String>,
    /// Only lines older than this one.
    pub before: Option<u64>,
    /// Only lines newer than this one.
    pub after: Option<u64>,
}

impl Read<'_> {
    /// The newest lines that the filter lets through, newest first; with `after` the next ones, oldest first.
    pub fn audit(
        self,
        filter: &AuditFilter,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StorageError> {
        let before = filter.before.map_or(i64::MAX, as_sql);
        let after = filter.after.map_or(-1, as_sql);
        let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(before), Box::new(after)];
        let subject = filter.subject.as_ref().map_or("", |subject| {
            values.push(Box::new(subject.clone()));
            "AND subject = ?"
        });
        let order = if filter.after.is_some() {
            "ASC"
        } else {
            "DESC"
        };
        let sql = format!(
            "SELECT id, generation, at_ms, actor, action, subject, reason, detail FROM audit
             WHERE id < ? AND id > ? {subject} ORDER BY id {order} LIMIT {limit}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let detail: String = row.get(7)?;
            entries.push(AuditEntry {
                id: from_sql(row.get(0)?),
                generation: from_sql(row.get(1)?),
                at_ms: row.get(2)?,
                actor: row.get(3)?,
                action: row.get(4)?,
                subject: row.get(5)?,
                reason: row.get(6)?,
                detail: serde_json::from_str(&detail)
                    .map_err(|error| StorageError::Corrupt(format!("an audit line: {error}")))?,
            });
        }
        Ok(entries)
    }

    /// The id of the newest line; 0 before the first.
    pub fn newest_audit_id(self) -> Result<u64, StorageError> {
        let sql = "SELECT coalesce(max(id), 0) FROM audit";
        Ok(from_sql(
            self.connection.query_row(sql, [], |row| row.get(0))?,
        ))
    }
}

impl Write<'_> {
    /// Notes what this change does. A change without a note is none.
    pub fn note(
        &mut self,
        action: &str,
        subject: &str,
        detail: &Value,
    ) -> Result<(), StorageError> {
        let sql = "INSERT INTO audit (generation, at_ms, actor, action, subject, reason, detail)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.transaction.execute(
            sql,
            params![
                as_sql(self.generation),
                self.now_ms,
                self.actor,
                action,
                subject,
                self.reason,
                detail.to_string(),
            ],
        )?;
        self.notes += 1;
        Ok(())
    }
}
