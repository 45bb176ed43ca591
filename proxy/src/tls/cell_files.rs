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
    pub meanwhile: Meanwhile,
}

/// What a cell has as long as its files cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// It goes on with what it had under the same words of the table.
    Previous,
    /// The words of the table are as before, but under them the files could never be used.
    StillNothing,
    /// The words of the table are new.
    Nothing,
    /// It is used as it is.
    AsItIs,
}

impl fmt::Display for CellFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            keys,
            message,
            hint,
        } = &self.fault;
        let keys = keys.join(".");
        write!(f, "cells.{}.tls.{keys}: {message}; {hint}", self.cell)?;
        f.write_str(match self.meanwhile {
            Meanwhile::Previous => " (it goes on with what was there before)",
            Meanwhile::StillNothing | Meanwhile::Nothing => " (it cannot be reached until then)",
            Meanwhile::AsItIs => " (it is shown all the same)",
        })
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
                    meanwhile: match previous {
                        Some(previous) if previous.is_usable() => Meanwhile::Previous,
                        Some(_) => Meanwhile::StillNothing,
                        None => Meanwhile::Nothing,
                    },
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
                meanwhile: Meanwhile::AsItIs,
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
                meanwhile: Meanwhile::AsItIs,
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
    // What is shown already is no reason to keep a new authority out.
    if previous.is_some_and(|previous| previous.shows_as(loaded)) {
        return None;
    }
    loaded.untimely(now)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::tls::testing::{Pem, certificate, valid_in};

    /// 2026-11-28.
    const NOW: i64 = 1_795_824_000;

    fn table(tls: &str) -> Table {
        let text = format!(
            "format: 1\nhash: {{ slots: 1 }}\ncells:\n  a:\n    endpoints: [{{ address: \"127.0.0.1:1\" }}]\n    tls: {tls}\nslots: {{ a: [0] }}\n"
        );
        cellgate_table::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn shown() -> Table {
        table("{ server_name: a.example, ca: ca.pem, client_cert: { certificate: proxy.pem } }")
    }

    fn write(folder: &TempDir, name: &str, Pem { certificate, key }: Pem) {
        fs::write(folder.path().join(name), certificate + &key).unwrap();
    }

    fn load(folder: &TempDir, dates: Dates, previous: Option<&CellIdentities>) -> LoadedIdentities {
        CellIdentities::load(&shown(), folder.path(), dates, previous)
    }

    /// What is shown already is shown on; only what would be new has to be valid.
    #[test]
    fn an_expired_certificate_keeps_no_new_authority_out() {
        let folder = TempDir::new().unwrap();
        write(&folder, "ca.pem", certificate(&["one"]));
        write(&folder, "proxy.pem", valid_in(&["proxy"], 2020..2021));
        let before = load(&folder, Dates::Ignored, None);
        assert!(before.faults.is_empty());
        write(&folder, "ca.pem", certificate(&["two"]));
        let now = Dates::ValidAt(NOW);
        let after = load(&folder, now, Some(&before.identities));
        assert_eq!(after.faults, []);
        assert!(!after.identities.are_same(&before.identities));
        write(&folder, "proxy.pem", valid_in(&["proxy"], 2021..2022));
        let again = load(&folder, now, Some(&after.identities));
        assert!(
            again.faults[0]
                .to_string()
                .contains("expired on 2022-01-01")
        );
        assert!(again.identities.are_same(&after.identities));
    }

    #[test]
    fn a_fault_says_what_the_cell_has_meanwhile() {
        let folder = TempDir::new().unwrap();
        write(&folder, "ca.pem", certificate(&["one"]));
        let meanwhile = |loaded: &LoadedIdentities| loaded.faults[0].meanwhile;
        let never = load(&folder, Dates::Ignored, None);
        assert_eq!(meanwhile(&never), Meanwhile::Nothing);
        let still = load(&folder, Dates::Ignored, Some(&never.identities));
        assert_eq!(meanwhile(&still), Meanwhile::StillNothing);
        assert!(
            still.faults[0]
                .to_string()
                .ends_with("(it cannot be reached until then)")
        );
        write(&folder, "proxy.pem", certificate(&["proxy"]));
        let good = load(&folder, Dates::Ignored, Some(&still.identities));
        assert!(good.faults.is_empty());
        fs::remove_file(folder.path().join("proxy.pem")).unwrap();
        let gone = load(&folder, Dates::Ignored, Some(&good.identities));
        assert_eq!(meanwhile(&gone), Meanwhile::Previous);
        assert!(gone.identities.are_same(&good.identities));
    }

    /// However many cells name large files, not all of them are held at once.
    #[test]
    fn the_files_of_all_cells_have_a_limit_together() {
        let folder = TempDir::new().unwrap();
        let cells = (0..18).map(|number| {
            let file = fs::File::create(folder.path().join(format!("{number}.pem"))).unwrap();
            file.set_len(16 * 1024 * 1024).unwrap();
            format!(
                "  c{number}: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}], tls: {{ server_name: a, ca: {number}.pem }} }}\n"
            )
        });
        let cells = cells.collect::<Vec<_>>().concat();
        let text =
            format!("format: 1\nhash: {{ slots: 1 }}\ncells:\n{cells}slots: {{ c0: [0] }}\n");
        let table = cellgate_table::parse(text.as_bytes()).unwrap();
        let loaded = CellIdentities::load(&table, folder.path(), Dates::Ignored, None);
        let unread = loaded.faults.iter().map(ToString::to_string);
        let unread = unread.filter(|fault| fault.contains("is not read"));
        assert_eq!(unread.count(), 2);
    }
}
