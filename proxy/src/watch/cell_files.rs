//! The files for TLS to cells: when they are read anew, and what is said of those that cannot be used.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cellgate_table::{
    Problems, Table,
    yaml::{Findings, Value, parse_tree},
};
use tracing::warn;

use crate::{
    metrics::CellTlsFamilies,
    tls::{CellFault, CellIdentities, RETRY_INTERVAL, Readings, Stamps},
};

/// The state of the files that the table in force names, and of those that a refused one does.
#[derive(Debug)]
pub(super) struct CellFiles {
    folder: PathBuf,
    watched: Mutex<Watched>,
    /// Never held while a disk is waited for.
    error: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Watched {
    stamps: Stamps,
    readings: Readings,
    awaited: Option<Awaited>,
}

/// Files for which a table was refused, and how they were then.
#[derive(Debug)]
struct Awaited {
    table: Box<Table>,
    stamps: Stamps,
}

impl CellFiles {
    /// Of a table in this file.
    pub(super) fn new(table: &Path) -> Self {
        Self {
            folder: folder_of(table),
            watched: Mutex::default(),
            error: Mutex::default(),
        }
    }

    /// Where relative paths begin.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether to read now what this table in force names.
    pub(super) fn are_due(&self, table: &Table, now: Instant) -> bool {
        // Stamped before they are read: a change during that makes the next look see others.
        let stamps = CellIdentities::stamps(table, &self.folder);
        let mut watched = self.watched();
        let has_changed = stamps != watched.stamps;
        watched.stamps = stamps;
        watched.readings.are_due(has_changed, now)
    }

    /// What came of reading. A fault is logged and counted once, and only if it does not pass within a moment.
    pub(super) fn were_read(&self, faults: &[CellFault], metrics: &CellTlsFamilies, now: Instant) {
        let mut watched = self.watched();
        let faults = faults.iter().map(ToString::to_string).collect();
        for what in watched.readings.note(faults, now) {
            metrics.reload_failures.inc();
            warn!("files for TLS to cells are refused: {what}");
        }
        let error = summary(&watched.readings.reported());
        if watched.readings.are_good() {
            metrics.last_reload_success.set(1);
        } else if error.is_some() {
            metrics.last_reload_success.set(0);
        }
        *self.shown() = error;
    }

    /// When to look again, if that is sooner than usual.
    pub(super) fn pause(&self) -> Option<Duration> {
        let is_settling = self.watched().readings.are_settling();
        is_settling.then_some(RETRY_INTERVAL)
    }

    /// Why some files are not in force.
    pub(super) fn error(&self) -> Option<String> {
        self.shown().clone()
    }

    /// A table was refused for its files. It is judged again when one of them changes.
    pub(super) fn wait_for(&self, table: Table) {
        let stamps = CellIdentities::stamps(&table, &self.folder);
        self.watched().awaited = Some(Awaited {
            table: Box::new(table),
            stamps,
        });
    }

    /// A table was accepted, so none is waited for.
    pub(super) fn wait_no_more(&self) {
        self.watched().awaited = None;
    }

    /// Whether a file has changed for which a table was refused.
    pub(super) fn have_awaited_changed(&self) -> bool {
        let mut watched = self.watched();
        let Some(awaited) = &mut watched.awaited else {
            return false;
        };
        let stamps = CellIdentities::stamps(&awaited.table, &self.folder);
        let has_changed = stamps != awaited.stamps;
        awaited.stamps = stamps;
        has_changed
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the relative paths of a table begin that is in this file.
pub fn folder_of(table: &Path) -> PathBuf {
    table.parent().unwrap_or(Path::new("")).to_owned()
}

/// The faults as problems of the table that names the files, with their places there.
pub fn problems_of(bytes: &[u8], faults: &[CellFault]) -> Problems {
    let (Ok(tree), Ok(text)) = (parse_tree(bytes), std::str::from_utf8(bytes)) else {
        return Problems::default();
    };
    let mut findings = Findings::default();
    let root = Value::root(&tree);
    for fault in faults {
        let cell = fault.cell.as_str();
        let keys = ["cells", cell, "tls"];
        let keys: Vec<&str> = keys
            .into_iter()
            .chain(fault.fault.keys.iter().copied())
            .collect();
        refuse_at(&root, &keys, fault, &mut findings);
    }
    findings.into_problems(text)
}

/// Notes the fault at the last of these keys that is there: one may be left out for its default.
fn refuse_at(value: &Value<'_>, keys: &[&str], fault: &CellFault, findings: &mut Findings) {
    if let Some((key, rest)) = keys.split_first()
        && let Some(mut entries) = value.entries(&mut Findings::default())
        && let Some((_, inner)) = entries.find(|(name, _)| name == key)
    {
        return refuse_at(&inner, rest, fault, findings);
    }
    value.refuse(findings, &*fault.fault.message, &*fault.fault.hint);
}

/// The first fault, and how many others there are.
fn summary(faults: &[&str]) -> Option<String> {
    let first = faults.first()?;
    Some(match faults.len() {
        1 => (*first).to_owned(),
        count => format!("{first} (and {} more)", count - 1),
    })
}
