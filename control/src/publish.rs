//! The only writer of the table file.
//!
//! A table is rendered, read back and compared, judged by the rules of the proxies, recorded, and only then put into its
//! place: written whole to a new file in the same folder, synced, renamed, and the folder synced. A crash anywhere leaves
//! the old table or the new one, and what is in the folder shows the next run which.

pub mod file;
mod folder;
pub mod place;
mod standing;
mod status;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cellgate_table::{
    Digest, Generation, Step, Table,
    accept::{self, MoveLimits},
    diff::diff,
    limits::HISTORY_STEPS_MAX,
};
use tracing::{error, info};

use self::{
    file::{Stamp, WriteError},
    place::Place,
};
use crate::{
    clock,
    model::table::{NoTable, Parts, Rendered, render},
    refusal::{Refusal, StorageError},
    store::{Meta, Read, Request, Store},
};

pub use self::status::{Blocked, PublishStatus};

/// What the configuration says about the table.
#[derive(Clone, Debug)]
pub struct TableRules {
    pub path: PathBuf,
    pub move_limits: MoveLimits,
    /// How many published tables are kept.
    pub kept_max: usize,
    /// Every registered tenant is named, not only those that live away from their slot.
    pub names_all_tenants: bool,
}

/// Publishes. One at a time holds the table's lock.
#[derive(Debug)]
pub struct Publisher {
    rules: TableRules,
    store: Arc<Store>,
    place: Place,
    inner: Mutex<Inner>,
    status: Mutex<PublishStatus>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What stands in the file, as far as this daemon wrote it.
    published: Option<Published>,
    /// The last change that was considered.
    considered: u64,
    /// The file has been compared with the records.
    has_reconciled: bool,
    /// The file as it stood when it was last read and found to be what was published, and when that was.
    verified: Option<(Stamp, Instant)>,
    /// The digest of a table of somebody else that may be written over.
    may_overwrite: Option<String>,
    /// Tables of proxies up to this generation may be overruled.
    may_overrule: u64,
}

#[derive(Clone, Debug)]
struct Published {
    generation: u64,
    digest: String,
    bytes: Arc<[u8]>,
    table: Arc<Table>,
}

/// A table that a proxy was seen to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedTable {
    pub proxy: String,
    pub generation: u64,
    pub digest: String,
}

/// How an attempt to publish ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The table says what is intended.
    Current,
    /// A new table is in its place, on disk.
    Published(u64),
    /// It waits for permission or for a repair; the status says which.
    Blocked,
}

/// SHA-256 in hexadecimal: how the proxies name a table's bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

impl Publisher {
    pub fn new(rules: TableRules, store: Arc<Store>, place: Place) -> Self {
        Self {
            rules,
            store,
            place,
            inner: Mutex::default(),
            status: Mutex::default(),
        }
    }

    pub fn status(&self) -> PublishStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// True once another daemon has taken the table over; this one must not publish any more.
    pub fn is_overtaken(&self) -> bool {
        !self.place.is_held()
    }

    /// The operator's permission that a table of somebody else may be written over: the one of this digest and no other.
    ///
    /// To be called outside of a change: a publish under way waits for the database while it holds what this needs.
    ///
    /// Tables that proxies have from elsewhere may be overruled too, up to the generation `overruled`.
    pub fn allow_overwrite(&self, digest: Option<String>, overruled: u64) {
        let mut inner = self.inner();
        inner.may_overwrite = digest;
        inner.may_overrule = overruled;
        inner.considered = 0;
    }

    /// The bytes of the table in force, with its generation.
    pub fn published(&self) -> Option<(u64, Arc<[u8]>)> {
        let inner = self.inner();
        let published = inner.published.as_ref()?;
        Some((published.generation, Arc::clone(&published.bytes)))
    }

    /// Publishes what is intended, if the table does not say it yet, and no proxy has a newer one from elsewhere.
    pub fn publish(&self, reported_tables: &[ReportedTable]) -> Outcome {
        let mut inner = self.inner();
        match self.step(&mut inner, reported_tables) {
            Ok(outcome) => {
                self.set_status(&inner, None);
                outcome
            }
            Err(blocked) => {
                self.set_status(&inner, Some(blocked));
                Outcome::Blocked
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A proxy whose table is newer than the published one, and none of those that are kept: this daemon has lost its
    /// memory, or somebody edited the table and took the edit away again. Either way an operator has to decide.
    fn ahead(
        &self,
        inner: &Inner,
        reported_tables: &[ReportedTable],
    ) -> Result<Option<Blocked>, Blocked> {
        let published = published_generation(inner);
        let digest = inner.published.as_ref().map(|it| &*it.digest);
        let is_ahead = |it: &&ReportedTable| {
            let is_newer = it.generation > published
                || (it.generation == published && digest != Some(&*it.digest));
            is_newer && it.generation > inner.may_overrule
        };
        let Some(found) = reported_tables.iter().find(is_ahead) else {
            return Ok(None);
        };
        let kept = self.store.read(|read| read.tables())?;
        if kept.iter().any(|table| table.digest == found.digest) {
            return Ok(None);
        }
        Ok(Some(Blocked::ProxyAhead {
            proxy: found.proxy.clone(),
            generation: found.generation,
            digest: found.digest.clone(),
        }))
    }

    fn step(
        &self,
        inner: &mut Inner,
        reported_tables: &[ReportedTable],
    ) -> Result<Outcome, Blocked> {
        if self.is_overtaken() {
            return Err(Blocked::Overtaken);
        }
        if !inner.has_reconciled {
            self.reconcile(inner)?;
            inner.has_reconciled = true;
        }
        self.check_file(inner)?;
        if let Some(blocked) = self.ahead(inner, reported_tables)? {
            return Err(blocked);
        }
        let meta = self.store.read(|read| read.meta())?;
        if inner.published.is_some() && meta.table_wanted <= inner.considered {
            return Ok(Outcome::Current);
        }
        let (meta, parts) = self.store.read(|read| self.gather(read))?;
        let generation = Generation::new(meta.revision.max(1)).ok_or(Blocked::NoGeneration)?;
        let rendered = render(&parts, generation, false)?;
        if let Some(published) = &inner.published {
            // A permission given since then has to reach the proxies: one that refuses what is published, because it was
            // away for too long, waits for it.
            let is_permitted_anew = meta.move_allowed > published.generation;
            if published.table.same_content(&rendered.table) && !is_permitted_anew {
                inner.considered = meta.revision;
                return Ok(Outcome::Current);
            }
            if published.generation >= meta.revision {
                self.take_next_generation(published.generation)?;
                return self.step(inner, reported_tables);
            }
        }
        if !self.take(inner, meta, generation, rendered, &parts)? {
            return self.step(inner, reported_tables);
        }
        inner.considered = meta.revision;
        Ok(Outcome::Published(meta.revision))
    }

    /// The same intent is to be written otherwise than before, because the configuration changed: that needs a generation of
    /// its own.
    fn take_next_generation(&self, published: u64) -> Result<(), Blocked> {
        let request = Request::of_daemon("publish");
        let counted = self.store.change(&request, clock::now_ms(), |write| {
            write.skip_to(published + 1);
            write.touch_table();
            write.note("table.render_anew", "table", &serde_json::json!({}))?;
            Ok::<(), Refusal>(())
        });
        counted
            .map(|_| ())
            .map_err(|refusal| Blocked::Storage(refusal.to_string()))
    }

    /// All that the table has to say, as of one moment.
    fn gather(&self, read: Read<'_>) -> Result<(Meta, Parts), StorageError> {
        let cells = read.cells()?;
        let overrides = if self.rules.names_all_tenants {
            read.all_tenants()?
        } else {
            read.named_tenants()?
        };
        let parts = Parts {
            cells: cells
                .into_iter()
                .filter(|cell| cell.state.is_in_table())
                .map(|cell| (cell.id, cell.settings))
                .collect(),
            slots: read.slots()?,
            overrides,
            aliases: read.aliases()?,
            rejects: read.rejected_tenants()?,
        };
        Ok((read.meta()?, parts))
    }

    /// Judges a rendered table as a proxy that has the last one would, and puts it into its place. False if it has become
    /// outdated meanwhile.
    ///
    /// A permission to move more stands in every table until each proxy has one of them: a proxy that slept through the
    /// first one has the same way to go.
    fn take(
        &self,
        inner: &mut Inner,
        meta: Meta,
        generation: Generation,
        mut rendered: Rendered,
        parts: &Parts,
    ) -> Result<bool, Blocked> {
        let mut is_permitted = meta.move_allowed > 0;
        if let Some(published) = &inner.published {
            let current = published
                .name()
                .map(|(generation, digest)| accept::Current {
                    generation,
                    digest,
                    other_digests: &[],
                    table: &published.table,
                });
            let refusals = accept::judge(&rendered.table, current, &self.rules.move_limits).err();
            if let Some(refusals) = refusals
                && meta.move_allowed <= published.generation
            {
                self.excuse(published, &refusals)?;
                self.store.allow_move_at(meta.revision)?;
                is_permitted = true;
            }
        }
        if is_permitted {
            rendered = render(parts, generation, true)?;
        }
        let history = self.history(inner.published.as_ref(), &rendered.table)?;
        let step = history.last().copied();
        let rendered = rendered.with_history(history)?;
        self.put(inner, meta.revision, rendered, step.as_ref())
    }

    /// The history of a table that takes the place of the published one.
    fn history(&self, published: Option<&Published>, new: &Table) -> Result<Vec<Step>, Blocked> {
        let Some((published, (generation, digest))) =
            published.and_then(|it| Some((it, it.name()?)))
        else {
            return Ok(Vec::new());
        };
        // One that was written by somebody else may have any number.
        if new.generation().is_none_or(|new| new <= generation) {
            return Ok(Vec::new());
        }
        let diff = diff(&published.table, new);
        let moved_overrides = diff.tenant_moves.len();
        let step = Step::new(generation, digest, diff.moved_share, moved_overrides);
        let mut steps = self.store.read(|read| read.steps_to(generation, digest))?;
        steps.push(step);
        steps.drain(..steps.len().saturating_sub(HISTORY_STEPS_MAX));
        Ok(steps)
    }

    /// Tenants that are new have nothing elsewhere, so placing many of them together is not a move, whatever it looks like to
    /// a proxy; nor are their aliases. Anything else beyond the limits needs permission.
    fn excuse(&self, published: &Published, refusals: &[accept::Refusal]) -> Result<(), Blocked> {
        let new = self
            .store
            .read(|read| read.new_keys_since(published.generation))?;
        let is_excused = |refusal: &accept::Refusal| match refusal {
            accept::Refusal::TooManyTenantsMoved { count, count_max } => {
                (*count as u64) <= new + *count_max as u64
            }
            _ => false,
        };
        let is_move = |refusal: &accept::Refusal| {
            matches!(
                refusal,
                accept::Refusal::TooManyTenantsMoved { .. }
                    | accept::Refusal::TooManySlotsMoved { .. }
            )
        };
        if refusals.iter().all(is_excused) {
            info!(
                new,
                "many new tenants in one table: it says that it may move"
            );
            return Ok(());
        }
        let words: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        let words = words.join("; ");
        Err(if refusals.iter().all(is_move) {
            Blocked::MovesTooMuch(words)
        } else {
            Blocked::Refused(words)
        })
    }

    /// The table in the bytes that were recorded for this generation before, if an earlier run came as far and meant the
    /// same: a proxy may have them already, and a generation has one content, whatever this version would write.
    fn as_recorded(&self, generation: u64, rendered: Rendered) -> Result<Rendered, Blocked> {
        let kept = self.store.read(|read| read.tables())?;
        let recorded = kept.iter().find(|table| table.generation == generation);
        let Some(Ok(recorded)) = recorded.map(|table| self.load(table)) else {
            return Ok(rendered);
        };
        let is_same = recorded.table.same_content(&rendered.table)
            && recorded.table.allow_move() == rendered.table.allow_move();
        Ok(if is_same {
            Rendered {
                bytes: recorded.bytes.to_vec(),
                ..rendered
            }
        } else {
            rendered
        })
    }

    /// Record, write, record. False, and nothing is written, if a cell has left the table since it was rendered.
    fn put(
        &self,
        inner: &mut Inner,
        generation: u64,
        rendered: Rendered,
        step: Option<&Step>,
    ) -> Result<bool, Blocked> {
        let rendered = self.as_recorded(generation, rendered)?;
        let digest = digest_of(&rendered.bytes);
        let cells = rendered.table.cells().iter();
        if !self
            .store
            .mark_named(&cells.map(|cell| cell.id().clone()).collect())?
        {
            return Ok(false);
        }
        self.store
            .begin_table(generation, &digest, &rendered.bytes, step, clock::now_ms())?;
        file::replace(&self.place, &rendered.bytes)?;
        self.store.end_table(generation, self.rules.kept_max)?;
        info!(
            generation,
            digest,
            cells = rendered.table.cells().len(),
            overrides = rendered.table.overrides().len(),
            "table published"
        );
        inner.may_overwrite = None;
        inner.published = Some(Published {
            generation,
            digest,
            bytes: rendered.bytes.into(),
            table: Arc::new(rendered.table),
        });
        Ok(true)
    }

    fn set_status(&self, inner: &Inner, blocked: Option<Blocked>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if blocked != status.blocked {
            match &blocked {
                Some(Blocked::NoTable) => info!("there is no table to publish yet"),
                Some(blocked) => error!(%blocked, "nothing can be published"),
                None => info!("the table says what is intended"),
            }
            status.since_ms = clock::now_ms();
        }
        status.blocked = blocked;
        status.generation = inner.published.as_ref().map(|it| it.generation);
        let digest = inner.published.as_ref().map(|it| it.digest.clone());
        if inner.has_reconciled && (status.cells.is_none() || status.digest != digest) {
            let cells = inner.published.iter().flat_map(|it| it.table.cells());
            status.cells = Some(Arc::new(cells.map(|cell| cell.id().clone()).collect()));
        }
        status.digest = digest;
        status.considered = inner.considered;
    }
}

impl Published {
    /// What a proxy that has this table calls it.
    fn name(&self) -> Option<(Generation, Digest)> {
        Some((
            Generation::new(self.generation)?,
            Digest::parse(&self.digest)?,
        ))
    }
}

fn published_generation(inner: &Inner) -> u64 {
    inner.published.as_ref().map_or(0, |it| it.generation)
}

impl From<NoTable> for Blocked {
    fn from(error: NoTable) -> Self {
        match error {
            NoTable::Unassigned => Self::NoTable,
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<StorageError> for Blocked {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<WriteError> for Blocked {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Overtaken => Self::Overtaken,
            WriteError::Place(error) => Self::TablePath(error.to_string()),
            WriteError::Step { .. } => Self::Write(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
