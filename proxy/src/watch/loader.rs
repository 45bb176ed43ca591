//! From the file's bytes to the snapshot in force: judge, build, keep, swap.
//!
//! The code for that is long and its input comes from outside, so all of it runs under one guard: if it panics, what was
//! in force stays, and nothing that was begun for the table is left behind.

mod cell_tls;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use cellgate_process::{descriptors::is_exhaustion, file_in_the_way};
use cellgate_table::{
    Cell, CellId, Digest, Problems,
    accept::{self, Allowance, Rejection},
    diff::diff,
    parse,
};
use tracing::{debug, error, info, warn};

use super::{
    cell_files::CellFiles,
    file::read_table_file,
    outcome::{Behind, LastReload, Outcome, TableStatus},
    trial::{Marked, Trial},
};
use crate::{
    clock,
    config::TableConfig,
    metrics::Metrics,
    regular_file::FileError,
    snapshot::{Accepted, Current, Snapshot, Source},
    state_dir::{Kept, StartupCrashes, StateDir},
    tls::CellIdentities,
};

/// How often one poll tries to read a file that is being written all the time.
const TORN_READS_MAX: usize = 3;

/// How many files are remembered that said what is in force in other words.
const OTHER_DIGESTS_MAX: usize = 8;

/// Judges table files and puts the good ones in force. The only writer of the snapshot.
#[derive(Debug)]
pub struct Loader {
    config: TableConfig,
    state_dir: StateDir,
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    status: Mutex<TableStatus>,
    startup_crashes: StartupCrashes,
    /// One poll at a time; also what the last one found, so that a refusal is logged once.
    last_poll: Mutex<LastPoll>,
    trial: Trial,
    cell_files: CellFiles,
    build: Build,
}

/// Makes a snapshot of a table: [`Snapshot::build`].
type Build = fn(Accepted, Option<&Snapshot>, &Metrics) -> Snapshot;

#[derive(Debug, Default)]
struct LastPoll {
    /// The bytes that were good.
    good: Option<Digest>,
    /// The bytes that were not, if they could be read, and the first problem.
    refused: Option<(Option<Digest>, String)>,
}

/// A file that may be taken.
enum Judged {
    New(Box<Accepted>, Allowance),
    /// It says what is in force already; and whether it allows more to be moved than the limits do.
    InForce {
        allow_move: bool,
    },
}

impl Loader {
    pub fn new(
        config: TableConfig,
        state_dir: StateDir,
        current: Arc<Current>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let startup_crashes = state_dir.startup_crashes();
        let trial = Trial::new(state_dir.clone());
        Self {
            cell_files: CellFiles::new(&config.path),
            config,
            state_dir,
            current,
            metrics,
            status: Mutex::default(),
            startup_crashes,
            last_poll: Mutex::default(),
            trial,
            build: Snapshot::build,
        }
    }

    pub fn table_path(&self) -> &Path {
        &self.config.path
    }

    pub fn status(&self) -> TableStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// `None` while the table in force is what the file says, or no table is in force.
    ///
    /// A file that is refused says nothing yet about other proxies: they refuse it too. Taking each of them out of its
    /// load balancer would turn a bad edit into an outage. So a proxy stays ready, unless the file proves that others
    /// have moved on, or the configuration wants it otherwise.
    pub fn behind(&self) -> Option<Behind> {
        let generation = self.current.load()?.generation;
        let status = self.status();
        let why = status.last_reload?.error?;
        Some(Behind {
            generation,
            why,
            others_moved_on: status.others_moved_on,
            is_unready: status.others_moved_on || self.config.unready_when_behind,
        })
    }

    /// The first poll: the file if it is good, else the newest last good table, else none. What the file says is judged
    /// against the last good table, as at any other time: a restart is no side door around the rules.
    pub fn start(&self) {
        self.serve_last_good();
        self.poll();
        if self.current.load().is_none() {
            warn!("there is no table to serve by: not ready until the table file is good");
        }
    }

    /// Notes that a new table has been in force for its first seconds: from here on no crash counts against it, in this
    /// run or any other. Returns how long until there is something to note.
    pub fn prove(&self, first_seconds: Duration) -> Option<Duration> {
        self.trial.prove(first_seconds)
    }

    /// From here on this process writes the state directory, and not the one before it.
    pub fn take_over_state(&self) {
        self.state_dir.resume();
        self.trial.mark_again();
    }

    /// The process ends in good order, which no table is to blame for.
    pub fn end(&self) {
        self.trial.end();
    }

    /// Puts the newest kept table in force that is still good. One on which previous runs crashed comes last of all:
    /// serving by it may kill this run too, but a proxy without any table serves nobody for certain.
    fn serve_last_good(&self) {
        let mut quarantined = Vec::new();
        for kept in self.state_dir.kept() {
            if !self.startup_crashes.is_quarantined(kept.digest) {
                if self.serve_kept(&kept) {
                    return;
                }
                continue;
            }
            error!(
                generation = kept.generation.get(),
                digest = %kept.digest,
                "a kept table is quarantined and skipped: the process crashed on it twice within its first seconds"
            );
            quarantined.push(kept);
        }
        // Stops at the first that can be served by.
        let _ = quarantined.iter().any(|kept| self.serve_kept(kept));
    }

    /// Whether the kept table is in force now.
    fn serve_kept(&self, kept: &Kept) -> bool {
        let served = guarded(|| {
            let table = parse(&kept.bytes)?;
            self.put_in_force(
                Accepted {
                    cell_tls: self.cell_tls_at_start(&table),
                    table,
                    generation: kept.generation,
                    digest: kept.digest,
                    other_digests: Vec::new(),
                    source: Source::LastGood,
                },
                None,
            );
            Ok::<_, Problems>(())
        });
        match served {
            Some(Ok(())) => return true,
            Some(Err(problems)) => warn!(
                generation = kept.generation.get(),
                problem = problems.summary(),
                "a kept table is not good any more"
            ),
            None => {
                self.metrics.table_reload_failures.inc();
                error!(
                    generation = kept.generation.get(),
                    "a kept table made the loader panic"
                );
            }
        }
        false
    }

    /// Reads the file once and puts in force what it finds, if it may.
    pub fn poll(&self) -> Outcome {
        let mut last = self
            .last_poll
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let bytes = match self.read() {
            Ok(bytes) => bytes,
            Err(FileError::Open(error) | FileError::Read(error)) if is_exhaustion(&error) => {
                warn!(%error, "the table file cannot be read: this machine has run out of something");
                let problems = FileError::Open(error).into_problems(&self.config.path);
                return Outcome::Unread(problems);
            }
            Err(error) => {
                let problems = error.into_problems(&self.config.path);
                self.refuse(&mut last, None, refused(problems.clone()));
                return Outcome::Unread(problems);
            }
        };
        let digest = Digest::of(&bytes);
        if last.good == Some(digest) {
            self.keep_at_last(digest, &bytes);
            return Outcome::Unchanged;
        }
        let before = self.current.load();
        let mut rejection = match guarded(|| self.take(&bytes, digest)) {
            Some(Ok((outcome, allowance))) => {
                if last.refused.is_some() {
                    self.report_good_again(before.as_deref(), allowance);
                }
                self.report_ok(&mut last, digest);
                return outcome;
            }
            Some(Err(rejection)) => rejection,
            None => refused(Problems::whole_file(
                "the loader failed on this table: a mistake in cellgate, not in the file",
                "please report it together with the file",
            )),
        };
        rejection.problems = rejection.problems.in_file(self.config.path.display());
        self.refuse(&mut last, Some(digest), rejection.clone());
        Outcome::Refused(rejection.problems)
    }

    /// Tries again to keep the table in force, if the state directory could not when it was accepted.
    fn keep_at_last(&self, digest: Digest, bytes: &[u8]) {
        if self.status().state_dir_error.is_some()
            && let Some(snapshot) = self.current.load()
            && snapshot.digest == digest
        {
            self.keep(&snapshot, bytes);
        }
    }

    /// Judges the file's bytes and puts in force what they say, if it is anything new.
    fn take(
        &self,
        bytes: &[u8],
        digest: Digest,
    ) -> Result<(Outcome, Option<Allowance>), Rejection> {
        let (mut accepted, allowance) = match self.judge(bytes, digest)? {
            Judged::New(accepted, allowance) => (*accepted, allowance),
            Judged::InForce { allow_move } => {
                self.accepted_again(digest, allow_move);
                return Ok((Outcome::Unchanged, None));
            }
        };
        accepted.cell_tls = self.cell_tls_of(&accepted.table, bytes).map_err(refused)?;
        let generation = accepted.generation;
        self.put_in_force(accepted, Some(bytes));
        Ok((Outcome::Accepted(generation), Some(allowance)))
    }

    fn read(&self) -> Result<Vec<u8>, FileError> {
        for _ in 1..TORN_READS_MAX {
            match read_table_file(&self.config.path) {
                Err(FileError::Torn) => std::thread::sleep(Duration::from_millis(5)),
                result => return result,
            }
        }
        read_table_file(&self.config.path)
    }

    /// What the file's bytes are, if they may be taken.
    fn judge(&self, bytes: &[u8], digest: Digest) -> Result<Judged, Rejection> {
        let snapshot = self.current.load();
        let in_force = snapshot.as_ref().map(|snapshot| snapshot.digest);
        if let Some(problems) = self.startup_crashes.refusal_of(digest, in_force) {
            return Err(refused(problems));
        }
        let current = snapshot.as_ref().map(|s| accept::Current {
            generation: s.generation,
            digest: s.digest,
            other_digests: &s.other_digests,
            table: &s.table,
        });
        let (table, verdict) = match accept::take(bytes, current, &self.config.move_limits)? {
            accept::Accepted::Unchanged { allow_move } => {
                return Ok(Judged::InForce { allow_move });
            }
            accept::Accepted::Changed { table, verdict } => (table, verdict),
        };
        if let Allowance::Steps(steps) = verdict.allowance {
            info!(
                steps,
                "the table moves more than one may, and is accepted because it came in steps within the limits"
            );
        }
        let accepted = Accepted {
            table,
            generation: verdict.generation,
            digest,
            other_digests: Vec::new(),
            source: Source::File,
            // Read once the table itself is found good.
            cell_tls: CellIdentities::default(),
        };
        Ok(Judged::New(Box::new(accepted), verdict.allowance))
    }

    fn keep(&self, snapshot: &Snapshot, bytes: &[u8]) {
        let kept = self
            .state_dir
            .keep(snapshot.generation, snapshot.digest, bytes);
        let error = kept.err().map(|error| match file_in_the_way(self.state_dir.path()) {
            Some(file) => format!(
                "{} is a file, and a folder is wanted; let `state_dir` name a folder, or move that file away",
                file.display()
            ),
            None => error.to_string(),
        });
        if let Some(error) = &error {
            self.metrics.state_write_failures.inc();
            error!(
                directory = %self.state_dir.path().display(), error,
                "the table cannot be kept for a restart; it is in force all the same, and this is tried again"
            );
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut status.state_dir_error, error);
        if before.is_some() && status.state_dir_error.is_none() {
            info!("the table is kept for a restart again");
        }
    }

    /// Marks, builds, keeps, swaps; in this order. A process that dies while it builds finds the table named in the mark,
    /// and a table that cannot be built is not kept: the next start would take it for a good one.
    fn put_in_force(&self, accepted: Accepted, bytes: Option<&[u8]>) {
        let attempt = Attempt::begin(self, &accepted);
        let previous = self.current.load();
        let snapshot = (self.build)(accepted, previous.as_deref(), &self.metrics);
        if let Some(bytes) = bytes {
            self.keep(&snapshot, bytes);
        }
        info!(
            generation = snapshot.generation.get(),
            digest = %snapshot.digest,
            source = ?snapshot.source,
            cells = snapshot.cells().len(),
            overrides = snapshot.table.overrides().len(),
            "table in force"
        );
        let snapshot = Arc::new(snapshot);
        self.current.store(Arc::clone(&snapshot));
        attempt.succeeded();
        snapshot.forget_ended_checks();
        self.publish_metrics(&snapshot);
        self.publish_cell_tls(&snapshot, previous.as_deref());
        if let Some(previous) = previous {
            self.forget_removed_cells(previous.table.cells().iter().map(Cell::id));
        }
    }

    fn publish_metrics(&self, snapshot: &Snapshot) {
        let seconds = snapshot
            .loaded_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let as_i64 = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics
            .table_generation
            .set(as_i64(snapshot.generation.get()));
        self.metrics
            .table_loaded_timestamp
            .set(as_i64(seconds.as_secs()));
        self.metrics
            .table_allow_move
            .set(i64::from(snapshot.table.allow_move()));
        self.metrics
            .table_from_last_good
            .set(i64::from(snapshot.source == Source::LastGood));
        let now = clock::now_ms();
        for cell in snapshot.cells() {
            let usable = i64::try_from(cell.usable_endpoints(now)).unwrap_or(i64::MAX);
            cell.state.metrics.healthy_endpoints.set(usable);
        }
    }

    /// Drops the metrics of those of these cells that the table in force does not name.
    fn forget_removed_cells<'c>(&self, cells: impl Iterator<Item = &'c CellId>) {
        let current = self.current.load();
        for cell in cells {
            let is_served = |snapshot: &Arc<Snapshot>| snapshot.table.index_of(cell).is_some();
            if !current.as_ref().is_some_and(is_served) {
                self.metrics.forget_cell(cell.as_str());
            }
        }
    }

    /// The file says what is in force, in the same or in other words.
    fn accepted_again(&self, digest: Digest, allow_move: bool) {
        if let Some(snapshot) = self.current.load()
            && (snapshot.source == Source::LastGood || snapshot.digest != digest)
        {
            let accepted = Accepted {
                table: snapshot.table.clone().with_allow_move(allow_move),
                generation: snapshot.generation,
                digest,
                other_digests: digests_besides(digest, &snapshot),
                source: Source::File,
                cell_tls: snapshot.cell_tls.clone(),
            };
            self.put_in_force(accepted, None);
        }
    }

    /// Whoever was woken by the refusal wants to know what became of it. `allowance`: why the table may move what it
    /// moves; without one it moves nothing.
    fn report_good_again(&self, before: Option<&Snapshot>, allowance: Option<Allowance>) {
        let Some(now) = self.current.load() else {
            return;
        };
        let moved = before.map(|before| diff(&before.table, &now.table));
        let moved = moved.as_ref();
        let allowance = match allowance {
            None => "what was in force already",
            Some(Allowance::FirstTable) => "the first table",
            Some(Allowance::AllowMove) => "allow_move: true",
            Some(Allowance::Steps(_)) => "its history: it came in steps within the limits",
            Some(Allowance::Limits) => "within max_moved_percent and max_moved_overrides",
        };
        info!(
            generation = now.generation.get(),
            moved_slots_percent = moved.map_or(0.0, |moved| moved.moved_share * 100.0),
            moved_overrides = moved.map_or(0, |moved| moved.tenant_moves.len()),
            allowance,
            "the table file is good again"
        );
    }

    fn report_ok(&self, last: &mut LastPoll, digest: Digest) {
        self.cell_files.wait_no_more();
        *last = LastPoll {
            good: Some(digest),
            refused: None,
        };
        self.metrics.table_last_reload_success.set(1);
        let reload = LastReload {
            ok: true,
            error: None,
            at: clock::rfc3339(SystemTime::now()),
            digest: Some(digest),
            problems: None,
        };
        self.report(reload, false);
    }

    /// Logs and counts a refusal; the same file seen again on the timer is the same refusal.
    fn refuse(&self, last: &mut LastPoll, digest: Option<Digest>, rejection: Rejection) {
        let Rejection {
            problems,
            others_moved_on,
        } = rejection;
        let refused = (digest, problems.summary());
        if last.refused.as_ref() == Some(&refused) {
            debug!(problem = refused.1, "the table file is still refused");
            return;
        }
        let summary = refused.1.clone();
        *last = LastPoll {
            good: None,
            refused: Some(refused),
        };
        warn!(
            path = %self.config.path.display(),
            problem = summary,
            problems = problems.count(),
            in_force = self.current.load().map(|snapshot| snapshot.generation.get()),
            "the table file is refused; what is in force stays"
        );
        self.metrics.table_reload_failures.inc();
        self.metrics.table_last_reload_success.set(0);
        if others_moved_on {
            error!("others have moved on to a table that is refused here: not ready");
        }
        let reload = LastReload {
            ok: false,
            error: Some(summary),
            at: clock::rfc3339(SystemTime::now()),
            digest,
            problems: Some(problems),
        };
        self.report(reload, others_moved_on);
    }

    fn report(&self, last_reload: LastReload, others_moved_on: bool) {
        {
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            // Proven once, it holds until a table is accepted, whatever becomes of the file.
            status.others_moved_on = !last_reload.ok && (others_moved_on || status.others_moved_on);
            status.last_reload = Some(last_reload);
        }
        let is_behind = self.behind().is_some();
        self.metrics.table_behind.set(i64::from(is_behind));
    }
}

/// What was begun for a table on its way into force. Dropped before the end, that is by a panic, it takes all of it back.
struct Attempt<'l> {
    loader: &'l Loader,
    marked_before: Option<Marked>,
    cells: Vec<CellId>,
    is_over: bool,
}

impl<'l> Attempt<'l> {
    fn begin(loader: &'l Loader, accepted: &Accepted) -> Self {
        let ids = accepted.table.cells().iter().map(|cell| cell.id().clone());
        Self {
            loader,
            marked_before: loader.trial.mark(accepted.digest),
            cells: ids.collect(),
            is_over: false,
        }
    }

    fn succeeded(mut self) {
        self.is_over = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.loader.trial.restore_mark(self.marked_before);
            self.loader.forget_removed_cells(self.cells.iter());
        }
    }
}

/// The digests of all files that have said what is in force, but for this one. A daemon's history names the table by
/// the bytes that the daemon wrote, whatever comments were added to them by hand.
fn digests_besides(digest: Digest, in_force: &Snapshot) -> Vec<Digest> {
    let mut others = in_force.other_digests.clone();
    others.push(in_force.digest);
    others.retain(|other| *other != digest);
    if others.len() > OTHER_DIGESTS_MAX {
        // The first is that of the file as it was accepted, which is the writer's.
        others.remove(1);
    }
    others
}

/// A refusal that says nothing about other proxies.
fn refused(problems: Problems) -> Rejection {
    Rejection {
        problems,
        others_moved_on: false,
    }
}

/// `None` when it panicked. The loader's locks recover from that, and what else it shares is changed by single steps.
fn guarded<T>(step: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).ok()
}

#[cfg(test)]
mod tests;
