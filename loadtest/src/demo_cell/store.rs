//! The tenants' databases: one `SQLite` file each, opened when first needed. The only database
//! code.
//!
//! All calls block, and must not run on the threads that serve requests.

use std::{
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{limits::DATABASE_BUSY_TIMEOUT, tenant::TenantKey};

/// The owner's key is kept inside, so that a file copied to another tenant's name is noticed and
/// not served.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS owner (tenant BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    COMMIT;
";

/// All tenants' data in one cell.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    /// The most recently used databases. Held only to find or add an entry, never over a file
    /// access; one that falls out closes when the request that uses it ends.
    databases: Mutex<LruCache<TenantKey, Arc<Database>>>,
}

/// One tenant's connection; `None` until the first use that finds or makes the file.
type Database = Mutex<Option<Connection>>;

/// Some keys of a tenant, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    pub keys: Vec<String>,
    /// Whether keys follow the last one here.
    pub more: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot look for the database of tenant {tenant}")]
    Find {
        tenant: TenantKey,
        source: io::Error,
    },
    #[error("cannot open the database of tenant {tenant}")]
    Open {
        tenant: TenantKey,
        source: rusqlite::Error,
    },
    #[error("the database file of tenant {tenant} holds the data of another tenant")]
    ForeignFile { tenant: TenantKey },
    #[error("a statement failed in the database of tenant {tenant}")]
    Statement {
        tenant: TenantKey,
        source: rusqlite::Error,
    },
}

/// What to do for a tenant that has no file yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfAbsent {
    Create,
    Leave,
}

impl Store {
    /// Keeps the data in `directory`, which is created if missing, with at most `open_max`
    /// databases open besides those in use.
    pub fn open(directory: &Path, open_max: usize) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let open_max = NonZeroUsize::new(open_max).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            directory: directory.to_owned(),
            databases: Mutex::new(LruCache::new(open_max)),
        })
    }

    pub fn put(&self, tenant: &TenantKey, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.with_database(tenant, IfAbsent::Create, |database| {
            database
                .prepare_cached(
                    "INSERT INTO kv (key, value) VALUES (?1, ?2)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![key, value])?;
            Ok(())
        })
    }

    pub fn value(&self, tenant: &TenantKey, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.with_database(tenant, IfAbsent::Leave, |database| {
            database
                .prepare_cached("SELECT value FROM kv WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()
        })
    }

    /// Says whether the key was there.
    pub fn delete(&self, tenant: &TenantKey, key: &str) -> Result<bool, StoreError> {
        self.with_database(tenant, IfAbsent::Leave, |database| {
            let deleted = database
                .prepare_cached("DELETE FROM kv WHERE key = ?1")?
                .execute([key])?;
            Ok(deleted > 0)
        })
    }

    /// The first `keys_max` keys after `after`, which need not exist; with an empty `after`, from
    /// the start.
    pub fn keys(
        &self,
        tenant: &TenantKey,
        after: &str,
        keys_max: u32,
    ) -> Result<KeyPage, StoreError> {
        self.with_database(tenant, IfAbsent::Leave, |database| {
            let mut keys = database
                .prepare_cached("SELECT key FROM kv WHERE key > ?1 ORDER BY key LIMIT ?2")?
                .query_map(params![after, keys_max + 1], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            let keys_max = keys_max as usize;
            let more = keys.len() > keys_max;
            keys.truncate(keys_max);
            Ok(KeyPage { keys, more })
        })
    }

    /// Runs `work` on the tenant's database, alone. A tenant without a file, if it is left so, has
    /// the default of whatever was asked: nothing.
    fn with_database<T: Default>(
        &self,
        tenant: &TenantKey,
        if_absent: IfAbsent,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let database = self.database(tenant);
        let mut connection = lock(&database);
        if connection.is_none() {
            *connection = self.connect(tenant, if_absent)?;
        }
        let Some(connection) = connection.as_ref() else {
            return Ok(T::default());
        };
        work(connection).map_err(|source| StoreError::Statement {
            tenant: tenant.clone(),
            source,
        })
    }

    fn database(&self, tenant: &TenantKey) -> Arc<Database> {
        Arc::clone(lock(&self.databases).get_or_insert_ref(tenant, Arc::default))
    }

    fn connect(
        &self,
        tenant: &TenantKey,
        if_absent: IfAbsent,
    ) -> Result<Option<Connection>, StoreError> {
        let path = self.directory.join(tenant.file_name());
        if if_absent == IfAbsent::Leave {
            let exists = path.try_exists().map_err(|source| StoreError::Find {
                tenant: tenant.clone(),
                source,
            })?;
            if !exists {
                return Ok(None);
            }
        }

        let (connection, owner) = open(&path, tenant).map_err(|source| StoreError::Open {
            tenant: tenant.clone(),
            source,
        })?;
        if owner != tenant.as_bytes() {
            return Err(StoreError::ForeignFile {
                tenant: tenant.clone(),
            });
        }
        Ok(Some(connection))
    }
}

/// Opens or makes the file at `path` and says whose it is; a new one is `tenant`'s.
fn open(path: &Path, tenant: &TenantKey) -> rusqlite::Result<(Connection, Vec<u8>)> {
    // SQLite's own lock is not needed: ours is held around each use.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(DATABASE_BUSY_TIMEOUT)?;
    connection.execute_batch(SCHEMA)?;
    connection.execute(
        "INSERT INTO owner (tenant) SELECT ?1 WHERE NOT EXISTS (SELECT * FROM owner)",
        [tenant.as_bytes()],
    )?;
    let owner = connection.query_row("SELECT tenant FROM owner", [], |row| row.get(0))?;
    Ok((connection, owner))
}

/// A panic in another thread leaves nothing half done: `SQLite` rolls its statement back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
