//! What each listed proxy was last seen with. That is observed, not intended: except for an operator's statement that a proxy is
//! gone, nothing here is a change.

use rusqlite::{Connection, Row, params};

use super::{Read, Store, Write, as_sql, from_sql};
use crate::refusal::StorageError;

/// A proxy, as far as a restarted daemon has to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownProxy {
    pub name: String,
    /// When it answered last, in milliseconds since 1970; `None` if it never has.
    pub seen_ms: Option<i64>,
    pub generation: Option<u64>,
    pub digest: Option<String>,
    /// The cells that its table names.
    pub cells: Vec<String>,
    /// It is no longer part of the fleet, until it answers again.
    pub is_forgotten: bool,
}

impl Read<'_> {
    /// The proxies that were seen or forgotten, by name.
    pub fn known_proxies(self) -> Result<Vec<KnownProxy>, StorageError> {
        let sql = "SELECT name, seen_ms, generation, digest, cells, is_forgotten FROM proxies
                   ORDER BY name";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut known = Vec::new();
        while let Some(row) = rows.next()? {
            known.push(proxy(row)?);
        }
        Ok(known)
    }
}

impl Store {
    /// Records what a proxy was seen with.
    pub fn record_proxy(&self, proxy: &KnownProxy) -> Result<(), StorageError> {
        self.record(|connection| put(connection, proxy))
    }

    /// Drops proxies that the configuration no longer lists.
    pub fn drop_unlisted_proxies(&self, listed: &[&str]) -> Result<(), StorageError> {
        self.record(|connection| {
            let known = Read::new(connection).known_proxies()?;
            for proxy in known.iter().filter(|it| !listed.contains(&&*it.name)) {
                connection.execute("DELETE FROM proxies WHERE name = ?1", [&proxy.name])?;
            }
            Ok(())
        })
    }

    /// Forgets what was seen of proxies, and counts every cell as one that a table has named: what a backup says of either
    /// is of its own time.
    pub fn distrust_the_past(&self) -> Result<(), StorageError> {
        self.record(|connection| {
            connection.execute("DELETE FROM proxies", [])?;
            connection.execute("UPDATE cells SET was_in_table = 1", [])?;
            Ok(())
        })
    }
}

impl Write<'_> {
    /// Writes a proxy's row, new or not.
    pub fn put_proxy(&self, proxy: &KnownProxy) -> Result<(), StorageError> {
        put(self.transaction, proxy)
    }
}

fn put(connection: &Connection, proxy: &KnownProxy) -> Result<(), StorageError> {
    let sql =
        "INSERT OR REPLACE INTO proxies (name, seen_ms, generation, digest, cells, is_forgotten)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let cells = serde_json::to_string(&proxy.cells).expect("plain data always serializes");
    let generation = proxy.generation.map(as_sql);
    connection.prepare_cached(sql)?.execute(params![
        proxy.name,
        proxy.seen_ms,
        generation,
        proxy.digest,
        cells,
        proxy.is_forgotten
    ])?;
    Ok(())
}

fn proxy(row: &Row<'_>) -> Result<KnownProxy, StorageError> {
    let cells: String = row.get("cells")?;
    let generation: Option<i64> = row.get("generation")?;
    Ok(KnownProxy {
        name: row.get("name")?,
        seen_ms: row.get("seen_ms")?,
        generation: generation.map(from_sql),
        digest: row.get("digest")?,
        cells: serde_json::from_str(&cells)
            .map_err(|error| StorageError::Corrupt(format!("the cells of a proxy: {error}")))?,
        is_forgotten: row.get("is_forgotten")?,
    })
}
