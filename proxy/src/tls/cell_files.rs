//! The identities of all cells of a table, read from their files.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use cellgate_table::{CellId, Table};

use super::{
    cell_identity::{CellIdentity, Fault, Reader},
    material::Stamps,
};

/// How each cell with TLS is met. It belongs to one table.
#[derive(Clone, Debug, Default)]
pub struct CellIdentities(BTreeMap<CellId, Arc<CellIdentity>>);

/// What came of reading.
#[derive(Debug)]
pub struct LoadedIdentities {
    /// Of all cells; one whose files cannot be used keeps what it had, or has nothing that could be used.
    pub identities: CellIdentities,
    pub faults: Vec<CellFault>,
}

/// What is wrong with the files of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellFault {
    pub cell: CellId,
    pub fault: Fault,
    /// The cell goes on with what it had under the same words of the table.
    pub has_previous: bool,
}

impl fmt::Display for CellFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            keys,
            message,
            hint,
        } = &self.fault;
        let keys = keys.join(".");
        write!(f, "cells.{}.tls.{keys}: {message}; {hint}", self.cell)
    }
}

/// Whether a certificate of ours may be expired, or not valid yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// It is better than none: at a start. Those of all other times are faults.
    Ignored,
    /// What would be new has to be valid at this time, in seconds since 1970.
    ValidAt(i64),
}

impl CellIdentities {
    /// Reads the files that a table names, relative to this folder. It waits for the disk.
    pub fn load(
        table: &Table,
        folder: &Path,
        dates: Dates,
        previous: Option<&Self>,
    ) -> LoadedIdentities {
        let mut reader = Reader::new(folder);
        let (mut identities, mut faults) = (BTreeMap::new(), Vec::new());
        for cell in table.cells() {
            let Some(settings) = cell.tls() else {
                continue;
            };
            let previous = previous.and_then(|previous| previous.0.get(cell.id()));
            let previous = previous.filter(|previous| previous.settings == *settings);
            let loaded = CellIdentity::load(settings, &mut reader, previous);
            let loaded = loaded.and_then(|loaded| match untimely(&loaded, dates, previous) {
                Some(fault) => Err(fault),
                None => Ok(loaded),
            });
            let identity = loaded.unwrap_or_else(|fault| {
                faults.push(CellFault {
                    cell: cell.id().clone(),
                    fault,
                    has_previous: previous.is_some(),
                });
                previous.map_or_else(|| CellIdentity::unusable(settings), Arc::clone)
            });
            identities.insert(cell.id().clone(), identity);
        }
        LoadedIdentities {
            identities: Self(identities),
            faults,
        }
    }

    pub fn of(&self, cell: &CellId) -> Option<&Arc<CellIdentity>> {
        self.0.get(cell)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each cell is met as by the other ones.
    pub fn are_same(&self, other: &Self) -> bool {
        let digests = |identities: &Self| -> Vec<_> {
            let identities = identities.0.iter();
            identities
                .map(|(cell, identity)| (cell.clone(), identity.digest()))
                .collect()
        };
        digests(self) == digests(other)
    }

    /// What of that which is shown to cells is expired, or not valid yet.
    pub fn untimely(&self, now: i64) -> Vec<CellFault> {
        let found = self.0.iter().filter_map(|(cell, identity)| {
            Some(CellFault {
                cell: cell.clone(),
                fault: identity.untimely(now)?,
                has_previous: true,
            })
        });
        found.collect()
    }

    /// The authorities that may vouch for cells and whose certificates are expired. They are trusted all the same.
    pub fn expired_authorities(table: &Table, folder: &Path, now: i64) -> Vec<CellFault> {
        let mut reader = Reader::new(folder);
        let mut faults = Vec::new();
        for cell in table.cells() {
            let Some(settings) = cell.tls() else {
                continue;
            };
            let expired = reader.expired_authorities(settings, now).into_iter();
            faults.extend(expired.map(|fault| CellFault {
                cell: cell.id().clone(),
                fault,
                has_previous: false,
            }));
        }
        faults
    }

    /// The state of all files that a table names.
    pub fn stamps(table: &Table, folder: &Path) -> Stamps {
        let settings = table.cells().iter().filter_map(|cell| cell.tls());
        let named = settings.flat_map(|tls| {
            let shown = tls.client_cert.iter();
            let shown = shown.flat_map(|cert| [&cert.certificate, &cert.key]);
            shown.chain([&tls.ca])
        });
        let mut paths: Vec<PathBuf> = named.map(|path| folder.join(&**path)).collect();
        Stamps::of_paths(&mut paths)
    }
}

fn untimely(
    loaded: &Arc<CellIdentity>,
    dates: Dates,
    previous: Option<&Arc<CellIdentity>>,
) -> Option<Fault> {
    let Dates::ValidAt(now) = dates else {
        return None;
    };
    if previous.is_some_and(|previous| Arc::ptr_eq(previous, loaded)) {
        return None;
    }
    loaded.untimely(now)
}
