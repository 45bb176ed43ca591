//! What stands in the table's file: whether it is what was published last, and what is done if it is not. Whatever this
//! daemon wrote is mended without permission; a table of somebody else is left alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cellgate_table::{self as table, Generation};
use tracing::{info, warn};

use super::{
    Blocked, Inner, Published, Publisher, digest_of,
    file::{self, FoundTable},
    published_generation,
};
use crate::{
    refusal::Refusal,
    store::{KeptTable, TableState},
};

/// The file is read anew after so long even if it looks untouched.
const VERIFY_PERIOD: Duration = Duration::from_secs(30);

impl Publisher {
    /// The digest of what stands in the table's file, and the generation that it names: 0 if it names none.
    pub fn standing(&self) -> Option<(String, u64)> {
        let FoundTable::Bytes(bytes) = file::find(&self.rules.path) else {
            return None;
        };
        let table = table::parse(&bytes).ok();
        let generation = table.and_then(|table| table.generation());
        Some((digest_of(&bytes), generation.map_or(0, Generation::get)))
    }

    /// Finds out, at the start, what the previous run published. Whether it came further than it could record is for the
    /// file to say.
    pub(super) fn reconcile(&self, inner: &mut Inner) -> Result<(), Blocked> {
        file::remove_leftovers(self.place.target());
        let kept = self.store.read(|read| read.tables())?;
        let is_published = |table: &&KeptTable| table.state == TableState::Published;
        if let Some(newest) = kept.iter().find(is_published) {
            inner.published = Some(self.load(newest)?);
        }
        Ok(())
    }

    pub(super) fn load(&self, kept: &KeptTable) -> Result<Published, Blocked> {
        let content: Result<Vec<u8>, Refusal> =
            self.store.read(|read| read.table_content(kept.generation));
        let bytes = content.map_err(|error| Blocked::Storage(error.to_string()))?;
        let table = table::parse(&bytes).map_err(|problems| {
            Blocked::Storage(format!("a kept table: {}", problems.summary()))
        })?;
        Ok(Published {
            generation: kept.generation,
            digest: kept.digest.clone(),
            bytes: bytes.into(),
            table: Arc::new(table),
        })
    }

    /// Checks whether the file says what was published last, and mends what can be mended without permission: a file that is
    /// gone, an older table of our own that a slow daemon put back, or a newer one that is not known to last.
    pub(super) fn check_file(&self, inner: &mut Inner) -> Result<(), Blocked> {
        let stamp = file::stamp(&self.rules.path);
        if let (Some(stamp), Some((verified, at))) = (stamp, inner.verified)
            && stamp == verified
            && at.elapsed() < VERIFY_PERIOD
        {
            return Ok(());
        }
        inner.verified = None;
        let bytes = match file::find(&self.rules.path) {
            FoundTable::Bytes(bytes) => bytes,
            FoundTable::Missing => return self.put_back(inner, "the table file was missing"),
            FoundTable::Unreadable(error) => return Err(Blocked::Unreadable(error)),
        };
        let digest = digest_of(&bytes);
        if inner
            .published
            .as_ref()
            .is_some_and(|published| published.digest == digest)
        {
            inner.verified = stamp.map(|stamp| (stamp, Instant::now()));
            return Ok(());
        }
        let kept = self.store.read(|read| read.tables())?;
        if let Some(standing) = kept.iter().find(|table| table.digest == digest) {
            if standing.generation > published_generation(inner) {
                return self.adopt(inner, standing);
            }
            return self.put_back(inner, "an older table stood in the file");
        }
        if inner.may_overwrite.as_deref() == Some(&digest) {
            // The proxies have it, if it is a table at all, so what comes next is judged against it.
            inner.considered = 0;
            if let Ok(table) = table::parse(&bytes) {
                inner.published = Some(Published {
                    generation: table.generation().map_or(1, Generation::get),
                    digest,
                    bytes: bytes.into(),
                    table: Arc::new(table),
                });
            }
            return Ok(());
        }
        Err(Blocked::ForeignTable { digest })
    }

    /// Takes over a table that was put into its place, but not recorded as published: its folder could not be synced, or
    /// the previous run ended right there. The proxies may have it, so what comes next is judged against it.
    fn adopt(&self, inner: &mut Inner, standing: &KeptTable) -> Result<(), Blocked> {
        let adopted = self.load(standing)?;
        // Once more, whole: the rename may not last.
        file::replace(&self.place, &adopted.bytes)?;
        let generation = standing.generation;
        self.store.end_table(generation, self.rules.kept_max)?;
        info!(generation, "table adopted that was in its place already");
        inner.considered = 0;
        inner.published = Some(adopted);
        Ok(())
    }

    fn put_back(&self, inner: &Inner, why: &str) -> Result<(), Blocked> {
        let Some(published) = &inner.published else {
            return Ok(());
        };
        warn!(generation = published.generation, why, "table put back");
        file::replace(&self.place, &published.bytes)?;
        Ok(())
    }
}
