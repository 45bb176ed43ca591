//! The shape of the database, as numbered steps that are never changed once released.

use rusqlite::{Connection, TransactionBehavior};

use crate::refusal::StorageError;

/// Each step brings the database from the version of its place to the next.
const STEPS: [&str; VERSION as usize] = [FIRST, FLEET, HISTORY, REVISIONS];
/// The version that the steps lead to.
pub(super) const VERSION: u32 = 4;

const FIRST: &str = "
CREATE TABLE meta (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    -- Counts the changes of intent.
    generation   INTEGER NOT NULL,
    hash_seed    INTEGER NOT NULL,
    hash_slots   INTEGER NOT NULL,
    -- The last change that may have changed the table.
    table_wanted INTEGER NOT NULL,
    -- The last change that said that its table may move more than the limits allow; 0 for none in force.
    move_allowed INTEGER NOT NULL
) STRICT;

CREATE TABLE cells (
    id             TEXT PRIMARY KEY,
    state          TEXT NOT NULL,
    state_reason   TEXT,
    state_since_ms INTEGER NOT NULL,
    provider       TEXT NOT NULL,
    params         TEXT NOT NULL,
    settings       TEXT NOT NULL,
    labels         TEXT NOT NULL,
    is_stateless   INTEGER NOT NULL,
    capacity       TEXT NOT NULL,
    usage          TEXT NOT NULL
) STRICT;

-- How many tenants live in each cell, kept by the triggers below.
CREATE TABLE cell_tenants (
    cell      TEXT PRIMARY KEY,
    tenants   INTEGER NOT NULL,
    overrides INTEGER NOT NULL,
    pins      INTEGER NOT NULL,
    -- Of the keys that the table has to name.
    key_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE slots (
    first INTEGER PRIMARY KEY,
    last  INTEGER NOT NULL,
    cell  TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;

CREATE TABLE tenants (
    key           TEXT PRIMARY KEY,
    cell          TEXT NOT NULL,
    placed_by     TEXT NOT NULL CHECK (placed_by IN ('slot', 'override', 'pin')),
    slot          INTEGER NOT NULL,
    is_rejected   INTEGER NOT NULL,
    since         INTEGER NOT NULL,
    why           TEXT NOT NULL,
    -- The change that registered it, and when that was.
    registered    INTEGER NOT NULL,
    registered_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tenants_by_cell ON tenants (cell, key);
CREATE INDEX tenants_by_slot ON tenants (slot) WHERE placed_by = 'slot';
CREATE INDEX tenants_named ON tenants (key) WHERE placed_by <> 'slot';
CREATE INDEX tenants_named_by_cell ON tenants (placed_by, cell, key) WHERE placed_by <> 'slot';
CREATE INDEX tenants_placed ON tenants (cell, slot) WHERE placed_by = 'override';
CREATE INDEX tenants_rejected ON tenants (key) WHERE is_rejected = 1;

CREATE TABLE aliases (
    alias  TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (key) ON DELETE CASCADE,
    since  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_by_tenant ON aliases (tenant);

CREATE TRIGGER tenant_comes AFTER INSERT ON tenants BEGIN
    INSERT INTO cell_tenants VALUES (new.cell, 1, new.placed_by = 'override', new.placed_by = 'pin',
        (new.placed_by <> 'slot') * octet_length(new.key))
    ON CONFLICT (cell) DO UPDATE SET tenants = tenants + 1,
        overrides = overrides + (new.placed_by = 'override'), pins = pins + (new.placed_by = 'pin'),
        key_bytes = key_bytes + (new.placed_by <> 'slot') * octet_length(new.key);
END;
CREATE TRIGGER tenant_goes AFTER DELETE ON tenants BEGIN
    UPDATE cell_tenants SET tenants = tenants - 1,
        overrides = overrides - (old.placed_by = 'override'), pins = pins - (old.placed_by = 'pin'),
        key_bytes = key_bytes - (old.placed_by <> 'slot') * octet_length(old.key)
    WHERE cell = old.cell;
END;
CREATE TRIGGER tenant_moves AFTER UPDATE OF cell, placed_by ON tenants BEGIN
    UPDATE cell_tenants SET tenants = tenants - 1,
        overrides = overrides - (old.placed_by = 'override'), pins = pins - (old.placed_by = 'pin'),
        key_bytes = key_bytes - (old.placed_by <> 'slot') * octet_length(old.key)
    WHERE cell = old.cell;
    INSERT INTO cell_tenants VALUES (new.cell, 1, new.placed_by = 'override', new.placed_by = 'pin',
        (new.placed_by <> 'slot') * octet_length(new.key))
    ON CONFLICT (cell) DO UPDATE SET tenants = tenants + 1,
        overrides = overrides + (new.placed_by = 'override'), pins = pins + (new.placed_by = 'pin'),
        key_bytes = key_bytes + (new.placed_by <> 'slot') * octet_length(new.key);
END;

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    generation INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    reason     TEXT,
    detail     TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, id);

-- What providers were asked to do.
CREATE TABLE operations (
    id          TEXT PRIMARY KEY,
    cell        TEXT NOT NULL,
    verb        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
    asked_ms    INTEGER NOT NULL,
    started_ms  INTEGER,
    ended_ms    INTEGER,
    attempts    INTEGER NOT NULL,
    output      TEXT NOT NULL,
    error       TEXT
) STRICT;
CREATE INDEX operations_by_cell ON operations (cell, asked_ms);
CREATE INDEX operations_open ON operations (asked_ms) WHERE state IN ('pending', 'running');

-- The newest tables that were published, or were about to be.
CREATE TABLE tables (
    generation INTEGER PRIMARY KEY,
    digest     TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('writing', 'published')),
    at_ms      INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    -- Last, so that the others are found without walking over it.
    content    BLOB NOT NULL
) STRICT;

CREATE TABLE idempotency (
    key         TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    answer      TEXT NOT NULL,
    at_ms       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (at_ms);

INSERT INTO meta VALUES (1, 0, 0, 65536, 0, 0);
";

const FLEET: &str = "
-- Whether a table that was published, or was about to be, has ever named the cell. Of the cells of earlier versions
-- this is not known: they count as named.
ALTER TABLE cells ADD COLUMN was_in_table INTEGER NOT NULL DEFAULT 1;

-- What each listed proxy was last seen with, for the time after a restart of the daemon.
CREATE TABLE proxies (
    name         TEXT PRIMARY KEY,
    -- NULL if it has never answered.
    seen_ms      INTEGER,
    generation   INTEGER,
    digest       TEXT,
    -- The ids of the cells that its table names, as a list of JSON.
    cells        TEXT NOT NULL,
    -- An operator has said that it is no longer part of the fleet, and it has not answered since.
    is_forgotten INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which changes each published table was made of.
CREATE INDEX audit_by_generation ON audit (generation);
";

const HISTORY: &str = "
-- The steps from one published table to the next, for longer than the tables are kept.
CREATE TABLE table_steps (
    -- The table that the step began with.
    generation          INTEGER PRIMARY KEY,
    digest              TEXT NOT NULL,
    -- The table that it led to.
    next_digest         TEXT NOT NULL,
    moved_slots_percent REAL NOT NULL,
    moved_overrides     INTEGER NOT NULL
) STRICT;
";

const REVISIONS: &str = "
-- The number of a change is its revision; a generation is the number of a table.
ALTER TABLE meta RENAME COLUMN generation TO revision;
ALTER TABLE audit RENAME COLUMN generation TO revision;
DROP INDEX audit_by_generation;
CREATE INDEX audit_by_revision ON audit (revision);
";

/// Brings the database up to the newest version. A newer one than this program knows is refused.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > VERSION {
        return Err(StorageError::Corrupt(format!(
            "its schema has version {version}, and this program knows versions up to {VERSION}; use a newer cellgate-control"
        )));
    }
    for step in &STEPS[version as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changes_of_an_older_database_keep_their_numbers() {
        let mut connection = Connection::open_in_memory().unwrap();
        for step in &STEPS[..3] {
            connection.execute_batch(step).unwrap();
        }
        let older = "
            UPDATE meta SET generation = 7;
            INSERT INTO audit (generation, at_ms, actor, action, subject, detail)
            VALUES (7, 1, 'ops', 'tenant.pin', 'acme', '{}');
            PRAGMA user_version = 3;";
        connection.execute_batch(older).unwrap();
        migrate(&mut connection).unwrap();
        let sql = "SELECT meta.revision, audit.revision, user_version
                   FROM meta, audit, pragma_user_version()";
        let found: (u32, u32, u32) = connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        assert_eq!(found, (7, 7, VERSION));
    }
}
