//! TLS to cells, as the loader sees to it: files are read when a table names them and when they change, and never for a
//! request.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use cellgate_table::{Problems, Table};
use tracing::{info, warn};

use super::{super::cell_files::problems_of, Loader, guarded};
use crate::{
    clock,
    snapshot::{Accepted, Snapshot},
    tls::{CellFault, CellIdentities, Dates, Meanwhile},
};

impl Loader {
    /// How the cells of a new table are met. A cell whose `tls` is as in the table in force goes on with what it has if its
    /// files cannot be used now: they are no fault of this table. Any other one is.
    pub(super) fn cell_tls_of(
        &self,
        table: &Table,
        bytes: &[u8],
    ) -> Result<CellIdentities, Problems> {
        let in_force = self.current.load();
        let previous = in_force.as_ref().map(|snapshot| &snapshot.cell_tls);
        let dates = Dates::ValidAt(clock::unix_now());
        let loaded = CellIdentities::load(table, self.cell_files.folder(), dates, previous);
        let mut faults = loaded.faults;
        faults.retain(|fault| fault.meanwhile == Meanwhile::Nothing);
        if faults.is_empty() {
            return Ok(loaded.identities);
        }
        self.cell_files.wait_for(table.clone());
        Err(problems_of(bytes, &faults))
    }

    /// How the cells of a kept table are met. A cell whose files cannot be used must not take the others down.
    pub(super) fn cell_tls_at_start(&self, table: &Table) -> CellIdentities {
        let loaded = CellIdentities::load(table, self.cell_files.folder(), Dates::Ignored, None);
        for fault in &loaded.faults {
            warn!("a cell's file cannot be used: {fault}");
        }
        for fault in loaded.identities.untimely(clock::unix_now()) {
            warn!("{fault}");
        }
        loaded.identities
    }

    /// Puts in force what has changed of the files for TLS to cells. The answer is when to look again, if that is sooner
    /// than usual. It waits for the disk.
    pub fn poll_cell_files(&self) -> Option<Duration> {
        // Nothing else puts a table in force meanwhile.
        let _poll = self
            .last_poll
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.current.load()?;
        if self.cell_files.are_due(&snapshot.table, Instant::now()) {
            // What has panicked is logged, and what was in force stays.
            let _ = guarded(|| self.renew_cell_tls(&snapshot));
        }
        self.cell_files.pause()
    }

    /// Whether a file has changed for which a table was refused.
    pub fn have_awaited_files_changed(&self) -> bool {
        self.cell_files.have_awaited_changed()
    }

    /// Why files for TLS to cells are not in force as they are.
    pub fn cell_files_error(&self) -> Option<String> {
        self.cell_files.error()
    }

    fn renew_cell_tls(&self, in_force: &Arc<Snapshot>) {
        let dates = Dates::ValidAt(clock::unix_now());
        let folder = self.cell_files.folder();
        let previous = Some(&in_force.cell_tls);
        let loaded = CellIdentities::load(&in_force.table, folder, dates, previous);
        if !loaded.identities.are_same(&in_force.cell_tls) {
            let accepted = Accepted {
                table: in_force.table.clone(),
                generation: in_force.generation,
                digest: in_force.digest,
                other_digests: in_force.other_digests.clone(),
                source: in_force.source,
                cell_tls: loaded.identities,
            };
            let mut snapshot = (self.build)(accepted, Some(in_force), &self.metrics);
            // The table is no newer for that.
            snapshot.loaded_at = in_force.loaded_at;
            self.publish_cell_tls(&snapshot, Some(in_force));
            self.current.store(Arc::new(snapshot));
            info!("the files for TLS to cells are in force as they are now");
        }
        // Cells that cannot be reached at all are shown like any other fault.
        let faults: Vec<CellFault> = loaded.faults;
        self.cell_files
            .were_read(&faults, &self.metrics.cell_tls, Instant::now());
    }

    pub(super) fn publish_cell_tls(&self, snapshot: &Snapshot, previous: Option<&Snapshot>) {
        let metrics = &self.metrics.cell_tls;
        for cell in snapshot.table.cells() {
            let id = cell.id();
            let had_tls = previous.is_some_and(|it| it.cell_tls.of(id).is_some());
            match snapshot.cell_tls.of(id) {
                Some(identity) => {
                    let expiry = identity.expiry().map(|(_, not_after)| not_after);
                    metrics.publish_expiry(id.as_str(), expiry);
                }
                None if had_tls => metrics.forget(id.as_str()),
                None => {}
            }
        }
    }
}
