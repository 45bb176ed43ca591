//! Who changed what, when and why. Nothing is changed without a line here.

use rusqlite::{OptionalExtension as _, Rows, ToSql, params};
use serde_json::Value;

use super::{Read, Write, as_sql, from_sql};
use crate::refusal::StorageError;

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    pub id: u64,
    /// The revision of the change.
    pub revision: u64,
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

const COLUMNS: &str = "id, revision, at_ms, actor, action, subject, reason, detail";

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
            "SELECT {COLUMNS} FROM audit
             WHERE id < ? AND id > ? {subject} ORDER BY id {order} LIMIT {limit}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        entries(statement.query(rusqlite::params_from_iter(values))?)
    }

    /// How many lines belong to the changes behind `after` up to `to`, and the newest of them.
    pub fn changes_between(
        self,
        after: u64,
        to: u64,
        limit: usize,
    ) -> Result<(u64, Vec<AuditEntry>), StorageError> {
        let range = params![as_sql(after), as_sql(to)];
        let sql = "SELECT count(*) FROM audit WHERE revision > ?1 AND revision <= ?2";
        let count: i64 = self.connection.query_row(sql, range, |row| row.get(0))?;
        let sql = format!(
            "SELECT {COLUMNS} FROM audit WHERE revision > ?1 AND revision <= ?2
             ORDER BY revision DESC, id DESC LIMIT {limit}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok((from_sql(count), entries(statement.query(range)?)?))
    }

    /// The reason that was given when a tenant was pinned where it lives now, or registered with a pin. `since` is the
    /// revision since which it lives there; what is older is about another pin.
    pub fn reason_of_pin(self, tenant: &str, since: u64) -> Result<Option<String>, StorageError> {
        let sql = "SELECT reason FROM audit
                   WHERE subject = ?1 AND action = 'tenant.pin' AND revision >= ?2
                   ORDER BY id DESC LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let of_pin: Option<Option<String>> = statement
            .query_row(params![tenant, as_sql(since)], |row| row.get(0))
            .optional()?;
        if let Some(reason) = of_pin {
            return Ok(reason);
        }
        // Tenants that were registered together have one line for all of them.
        let sql = "SELECT reason FROM audit
                   WHERE revision = ?2 AND action = 'tenant.register' AND subject IN (?1, 'tenants')";
        let mut statement = self.connection.prepare_cached(sql)?;
        let of_registration: Option<Option<String>> = statement
            .query_row(params![tenant, as_sql(since)], |row| row.get(0))
            .optional()?;
        Ok(of_registration.flatten())
    }

    /// When a change was made, in milliseconds since 1970.
    pub fn time_of_change(self, revision: u64) -> Result<Option<i64>, StorageError> {
        let sql = "SELECT max(at_ms) FROM audit WHERE revision = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([as_sql(revision)], |row| row.get(0))?)
    }

    /// The id of the newest line; 0 before the first.
    pub fn newest_audit_id(self) -> Result<u64, StorageError> {
        let sql = "SELECT coalesce(max(id), 0) FROM audit";
        Ok(from_sql(
            self.connection.query_row(sql, [], |row| row.get(0))?,
        ))
    }
}

fn entries(mut rows: Rows<'_>) -> Result<Vec<AuditEntry>, StorageError> {
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let detail: String = row.get("detail")?;
        entries.push(AuditEntry {
            id: from_sql(row.get("id")?),
            revision: from_sql(row.get("revision")?),
            at_ms: row.get("at_ms")?,
            actor: row.get("actor")?,
            action: row.get("action")?,
            subject: row.get("subject")?,
            reason: row.get("reason")?,
            detail: serde_json::from_str(&detail)
                .map_err(|error| StorageError::Corrupt(format!("an audit line: {error}")))?,
        });
    }
    Ok(entries)
}

impl Write<'_> {
    /// Notes what this change does. A change without a note counts as no change.
    pub fn note(
        &mut self,
        action: &str,
        subject: &str,
        detail: &Value,
    ) -> Result<(), StorageError> {
        let sql = "INSERT INTO audit (revision, at_ms, actor, action, subject, reason, detail)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.transaction.execute(
            sql,
            params![
                as_sql(self.revision),
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
