//! The database: one SQLite file, and the only code that speaks SQL.
//!
//! A change is one transaction and one revision. It is on disk before it is reported to anybody (`synchronous = FULL`). What
//! a change decides is not decided here.

mod audit;
mod cells;
mod number;
mod operations;
mod place;
mod proxies;
mod read;
mod schema;
mod slots;
mod tables;
mod tenants;

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params,
};
use serde::Serialize;
use serde_json::Value;

use self::{
    number::{as_sql, from_sql},
    place::Place,
};
use crate::refusal::{Refusal, StorageError};

pub use self::{
    audit::{AuditEntry, AuditFilter},
    operations::{Operation, OperationState},
    proxies::KnownProxy,
    read::{Counts, Meta, Read},
    tables::{KeptTable, TableState},
    tenants::{TenantFilter, TenantPage},
};

/// How long a connection waits for another one's lock.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// Connections for reading.
const READERS: usize = 3;
/// Memory for pages of the file, for each connection, in KiB.
const CACHE_KIB: u32 = 8 * 1024;
/// How long the answer to an idempotency key is kept.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

/// The open database.
#[derive(Debug)]
pub struct Store {
    writer: Mutex<Connection>,
    readers: [Mutex<Connection>; READERS],
    place: Place,
}

/// Who asks for a change, why, and what they saw.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub actor: String,
    pub reason: Option<String>,
    /// The revision that the caller saw; a change since then refuses the request.
    pub seen: Option<u64>,
    pub idempotency: Option<Idempotency>,
}

/// The caller's name for a request, so that it may be sent twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub key: String,
    /// A digest of the request itself.
    pub fingerprint: Vec<u8>,
}

impl Request {
    /// What the daemon does by itself.
    pub fn of_daemon(task: &str) -> Self {
        Self {
            actor: format!("cellgate-control/{task}"),
            ..Self::default()
        }
    }
}

/// A change that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The revision of the change, or the current one when there was nothing to change.
    pub revision: u64,
    pub answer: Value,
    /// Something was changed by this very call.
    pub is_change: bool,
    /// A provider was asked for something.
    pub asks_provider: bool,
}

/// A transaction under way.
#[derive(Debug)]
pub struct Write<'t> {
    transaction: &'t Transaction<'t>,
    revision: u64,
    now_ms: i64,
    actor: &'t str,
    reason: Option<&'t str>,
    notes: usize,
    /// Rows that the connection had changed before.
    rows_before: u64,
    touches_table: bool,
    allows_move: bool,
    asks_provider: bool,
}

impl Store {
    /// Opens the database, makes it if it is missing, and brings it up to this version's schema.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        make_private(path)?;
        let mut writer = connect(path)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        schema::migrate(&mut writer)?;
        let reader = || connect(path).map(Mutex::new);
        // The log of changes is there once something was read.
        Read::new(&writer).meta()?;
        Ok(Self {
            writer: Mutex::new(writer),
            readers: [reader()?, reader()?, reader()?],
            place: Place::of(path)?,
        })
    }

    /// Whether what is stored now lasts: the files are where they were opened.
    ///
    /// # Errors
    /// One of them was deleted or replaced.
    pub fn check_place(&self) -> Result<(), StorageError> {
        self.place.check()
    }

    /// Reads, all of it from the same moment.
    pub fn read<T, E: From<rusqlite::Error>>(
        &self,
        work: impl FnOnce(Read<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let free = self
            .readers
            .iter()
            .find_map(|reader| reader.try_lock().ok());
        let mut connection = free.unwrap_or_else(|| lock(&self.readers[0]));
        let transaction = connection.transaction()?;
        work(Read::new(&transaction))
    }

    /// Makes a change. Either all of it stands, on disk, under a revision of its own, or nothing of it.
    pub fn change<T: Serialize>(
        &self,
        request: &Request,
        now_ms: i64,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, Refusal>,
    ) -> Result<Done, Refusal> {
        let mut connection = lock(&self.writer);
        self.place.check()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let current = Read::new(&transaction).meta()?.revision;
        if let Some(idempotency) = &request.idempotency
            && let Some(answer) = replay(&transaction, idempotency)?
        {
            return Ok(Done {
                revision: current,
                answer,
                is_change: false,
                asks_provider: false,
            });
        }
        if let Some(seen) = request.seen
            && seen != current
        {
            return Err(Refusal::Stale { seen, current });
        }
        let mut write = Write {
            transaction: &transaction,
            revision: current + 1,
            now_ms,
            actor: &request.actor,
            reason: request.reason.as_deref(),
            notes: 0,
            rows_before: transaction.total_changes(),
            touches_table: false,
            allows_move: false,
            asks_provider: false,
        };
        let answer = work(&mut write)?;
        let answer = serde_json::to_value(answer).expect("an answer is plain data");
        let revision = write.finish()?;
        let asks_provider = write.asks_provider;
        if let Some(idempotency) = &request.idempotency {
            remember(&transaction, idempotency, &answer, now_ms)?;
        }
        transaction.commit()?;
        // Before anybody is answered: it may have gone where nobody finds it.
        self.place.check()?;
        Ok(Done {
            revision,
            answer,
            is_change: revision != current,
            asks_provider,
        })
    }

    /// Writes what is no change of intent, such as the outcome of a publish: no revision, no audit.
    pub fn record<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut connection = lock(&self.writer);
        self.place.check()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        self.place.check()?;
        Ok(result)
    }

    /// Whether anything can be stored: writes what is there already.
    pub fn probe(&self) -> Result<(), StorageError> {
        self.record(|connection| {
            connection.execute("UPDATE meta SET revision = revision", [])?;
            Ok(())
        })
    }

    /// Forgets the answers to idempotency keys of yesterday.
    pub fn forget_old_answers(&self, now_ms: i64) -> Result<usize, StorageError> {
        self.record(|connection| {
            let sql = "DELETE FROM idempotency WHERE at_ms < ?1";
            Ok(connection.execute(sql, [now_ms - IDEMPOTENCY_MS])?)
        })
    }

    /// Copies a database into a new file, as of now, while a daemon works on it. It is only read, whatever its version.
    pub fn back_up(from: &Path, to: &Path) -> Result<(), StorageError> {
        let connection = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
        Ok(())
    }
}

/// A new database is nobody else's to read; SQLite gives its other files the same permissions.
fn make_private(path: &Path) -> Result<(), StorageError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match path.metadata() {
            Ok(_) => Ok(()),
            // SQLite would make the file that a link dangles to, for everybody to read.
            Err(error) => Err(StorageError::File(error)),
        },
        Err(error) => Err(StorageError::File(error)),
    }
}

/// A panic while the lock was held has rolled its transaction back.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> Result<Connection, StorageError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    Ok(connection)
}

fn replay(connection: &Connection, idempotency: &Idempotency) -> Result<Option<Value>, Refusal> {
    let sql = "SELECT fingerprint, answer FROM idempotency WHERE key = ?1";
    let found: Option<(Vec<u8>, String)> = connection
        .query_row(sql, [&idempotency.key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((fingerprint, answer)) = found else {
        return Ok(None);
    };
    if fingerprint != idempotency.fingerprint {
        return Err(Refusal::IdempotencyKeyReused);
    }
    let answer = serde_json::from_str(&answer)
        .map_err(|error| StorageError::Corrupt(format!("a kept answer: {error}")))?;
    Ok(Some(answer))
}

fn remember(
    connection: &Connection,
    idempotency: &Idempotency,
    answer: &Value,
    now_ms: i64,
) -> Result<(), Refusal> {
    let sql = "INSERT INTO idempotency (key, fingerprint, answer, at_ms) VALUES (?1, ?2, ?3, ?4)";
    connection.execute(
        sql,
        params![
            idempotency.key,
            idempotency.fingerprint,
            answer.to_string(),
            now_ms
        ],
    )?;
    Ok(())
}

impl Write<'_> {
    /// What stands so far, this change included.
    pub fn read(&self) -> Read<'_> {
        Read::new(self.transaction)
    }

    /// The revision that this change will have.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub fn actor(&self) -> &str {
        self.actor
    }

    pub fn reason(&self) -> Option<&str> {
        self.reason
    }

    /// The table may say something else after this change.
    pub fn touch_table(&mut self) {
        self.touches_table = true;
    }

    /// The next table may move more than the limits allow.
    pub fn allow_move(&mut self) {
        self.allows_move = true;
        self.touches_table = true;
    }

    /// Takes a revision beyond one that somebody else has used for a table.
    pub fn skip_to(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    fn finish(&self) -> Result<u64, StorageError> {
        if self.notes == 0 {
            if self.transaction.total_changes() != self.rows_before {
                return Err(StorageError::Corrupt("a change without a note".to_owned()));
            }
            return Ok(self.read().meta()?.revision);
        }
        let revision = as_sql(self.revision);
        let sql = "UPDATE meta SET revision = ?1,
                   table_wanted = CASE WHEN ?2 THEN ?1 ELSE table_wanted END,
                   move_allowed = CASE WHEN ?3 THEN ?1 ELSE move_allowed END";
        self.transaction
            .execute(sql, params![revision, self.touches_table, self.allows_move])?;
        Ok(self.revision)
    }
}

#[cfg(test)]
mod tests;
