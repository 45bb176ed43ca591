//! A daemon by itself, without proxies: its state and its table, what is written to it, and whether all of it agrees.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    PATIENCE,
    control::{Control, Plan},
    origin::Origin,
    process::Signal,
    strace::PROCESS,
    wait_for,
};

/// Tenants that make the table large enough to be torn: it takes many pages of a disk.
const TENANTS: usize = 900;
/// The cell where every tenant is pinned, so that the table names each.
const CELL: &str = "cell-1";

/// The folder that a daemon keeps everything in.
pub(super) struct Home {
    folder: PathBuf,
}

/// Cells that take connections, which is all that the daemon asks of them.
pub(super) struct Cells([Origin; 2]);

impl Cells {
    pub(super) fn start() -> Self {
        Self([Origin::start(|_| {}), Origin::start(|_| {})])
    }

    /// Makes them known to a daemon, which may be killed meanwhile and may know them already.
    pub(super) fn add_to(&self, control: &Control) -> io::Result<()> {
        for (number, cell) in (1..).zip(&self.0) {
            let address = cell.address().to_string();
            let body =
                json!({ "id": format!("cell-{number}"), "endpoints": [{ "address": address }] });
            let answer = control.ask("POST", "/v1/cells", &body)?;
            assert!(matches!(answer.status, 201 | 409), "{}", answer.text());
        }
        Ok(())
    }
}

impl Home {
    /// Whatever is in the folder is taken up.
    pub(super) fn at(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("table")).expect("the scratch directory is ours");
        Self {
            folder: folder.to_owned(),
        }
    }

    /// One with a published table that names many tenants. The daemon has ended in peace.
    pub(super) fn furnished(folder: &Path, cells: &Cells) -> Self {
        let home = Self::at(folder);
        let mut control = home.plan().start();
        cells.add_to(&control).expect("the daemon runs");
        wait_until_current(&control).expect("the daemon runs");
        let mut lines = String::new();
        for number in 0..TENANTS {
            let key = format!("{}-{number:04}", "a-tenant-of-before".repeat(8));
            let tenant = tenant(&key);
            writeln!(lines, "{tenant}").expect("a String takes whatever is written");
        }
        let import = control
            .request("POST", "/v1/import/tenants")
            .body(lines)
            .send(control.address());
        assert_eq!(import.status, 200, "{}", import.text());
        wait_until_current(&control).expect("the daemon runs");
        stop(&mut control);
        home
    }

    /// A copy of a daemon's things, for another daemon.
    pub(super) fn copy_to(&self, folder: &Path) -> Self {
        let copy = Self::at(folder);
        for inner in ["state", "table"] {
            let to = folder.join(inner);
            fs::create_dir_all(&to).expect("the scratch directory is ours");
            for entry in fs::read_dir(self.folder.join(inner)).expect("it is there") {
                let entry = entry.expect("it can be read");
                fs::copy(entry.path(), to.join(entry.file_name())).expect("it is a file");
            }
        }
        copy
    }

    pub(super) fn plan(&self) -> Plan {
        Control::plan(&self.folder, &self.table())
    }

    pub(super) fn table(&self) -> PathBuf {
        self.table_folder().join("table.yaml")
    }

    pub(super) fn table_folder(&self) -> PathBuf {
        self.folder.join("table")
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Where a table is written before it is renamed, as strace has it.
    pub(super) fn temporary(&self) -> PathBuf {
        self.table_folder()
            .join(format!(".table.yaml.new-{PROCESS}"))
    }

    pub(super) fn database(&self) -> PathBuf {
        self.state_dir().join("control.sqlite")
    }

    /// The log of changes that SQLite appends to.
    pub(super) fn wal(&self) -> PathBuf {
        self.state_dir().join("control.sqlite-wal")
    }

    pub(super) fn strace_log(&self) -> PathBuf {
        self.folder.join("strace.log")
    }

    /// What stands in the table's place, if something does.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        fs::read(self.table()).ok()
    }

    /// Half-written tables that lie in the folder.
    pub(super) fn leftovers(&self) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.table_folder()).expect("the folder is there");
        entries
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".table.yaml.new-")
            })
            .map(|entry| fs::read(entry.path()).expect("it is a file"))
            .collect()
    }

    /// The newest table in the database: its generation, and how far it came. Reads a copy, since reading repairs what a
    /// crash has left.
    pub(super) fn newest_record(&self) -> (u64, String) {
        let copy = tempfile::tempdir().expect("the temporary directory can be written to");
        for path in [self.database(), self.wal()] {
            let to = copy.path().join(path.file_name().expect("it is a file"));
            fs::copy(path, to).expect("the daemon has made it");
        }
        let database = rusqlite::Connection::open(copy.path().join("control.sqlite"))
            .expect("it can be opened");
        let sql = "SELECT generation, state FROM tables ORDER BY generation DESC LIMIT 1";
        database
            .query_row(sql, [], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            })
            .expect("it can be read")
    }

    /// Starts the daemon after whatever has happened, and shows that nothing was lost: it comes up, it publishes, the
    /// table that was `found` in the file was one of its own, whole, and everything acknowledged is there. Returns
    /// the table that stands in the end. The daemon has ended in peace then.
    #[track_caller]
    pub(super) fn recover(
        &self,
        found: Option<&[u8]>,
        cells: &Cells,
        acknowledged: &[String],
    ) -> Vec<u8> {
        let found = found.map(|bytes| (generation(bytes), bytes));
        let mut control = self.plan().start();
        // Those of a life that was cut off before it had any.
        cells.add_to(&control).expect("the daemon runs");
        let table = wait_until_current(&control).expect("the daemon runs");
        let bytes = self.bytes().expect("a table was published");
        let text = str::from_utf8(&bytes).expect("a table is text");
        assert_eq!(table["digest"], digest(&bytes), "{table}");
        assert_eq!(table["generation"], generation(&bytes), "{table}");
        if let Some((generation, found)) = found {
            let path = format!("/v1/table/{generation}");
            let kept = control.try_change("GET", &path, &Value::Null);
            assert_eq!(kept.status, 200, "{path}: {}", kept.text());
            assert!(
                kept.body == found,
                "a torn table of generation {generation}"
            );
        }
        for tenant in acknowledged {
            let known = control.get(&format!("/v1/tenants/{tenant}"));
            assert_eq!(known["cell"], CELL, "{known}");
            assert!(
                text.contains(&format!("\n  {tenant}: {CELL}\n")),
                "{tenant} is not in the table"
            );
        }
        assert_eq!(self.leftovers().len(), 0);
        stop(&mut control);
        self.check_database();
        bytes
    }

    fn check_database(&self) {
        let database = rusqlite::Connection::open(self.database()).expect("it is there");
        let verdict: String = database
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("it can be read");
        assert_eq!(verdict, "ok");
    }
}

/// What makes a tenant that the table names.
pub(super) fn tenant(key: &str) -> Value {
    json!({ "key": key, "cell": CELL, "pin": true })
}

/// Waits until the table says all that is intended; returns what the daemon reports of it.
///
/// # Errors
/// The daemon has ended.
#[track_caller]
pub(super) fn wait_until_current(control: &Control) -> io::Result<Value> {
    wait_for("the table is current", PATIENCE, || {
        let table = match control.ask("GET", "/v1/table", &Value::Null) {
            Ok(answer) if answer.status == 200 => answer.json(),
            Ok(_) => return None,
            Err(error) => return Some(Err(error)),
        };
        let is_current = table["current"] == true && table["generation"].is_u64();
        is_current.then_some(Ok(table))
    })
}

/// Ends a daemon as an operator does.
#[track_caller]
pub(super) fn stop(control: &mut Control) {
    control.signal(Signal::TERM);
    let status = control.wait(PATIENCE);
    assert!(status.success(), "{status}: {}", control.log());
}

/// The generation that a table names. A table that is cut off before it has none.
#[track_caller]
pub(super) fn generation(table: &[u8]) -> u64 {
    let text = str::from_utf8(table).expect("a table is text");
    text.lines()
        .find_map(|line| line.strip_prefix("generation: ")?.parse().ok())
        .unwrap_or_else(|| panic!("a table without a generation: {text}"))
}

fn digest(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a String takes whatever is written");
    }
    text
}
