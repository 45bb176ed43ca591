//! Which tables the process crashed on while they were new.

use std::fmt;

use cellgate_table::{Digest, Problems};

/// Crashes within the first seconds under a table that was new, after which it is quarantined.
const CRASHES_MAX: u32 = 2;
/// How many tables are remembered.
pub(super) const TABLES_REMEMBERED: usize = 8;

/// How often the process crashed within the first seconds under a table that had yet to prove itself, by table; the
/// latest first. A table that has served for longer once is not among them, however runs under it end later on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupCrashes {
    counts: Vec<(String, u32)>,
}

impl StartupCrashes {
    /// True for a table on which the process crashed too often.
    pub fn is_quarantined(&self, digest: Digest) -> bool {
        let digest = digest.to_string();
        self.counts
            .iter()
            .any(|(name, crashes)| *name == digest && *crashes >= CRASHES_MAX)
    }

    /// Why a file with these bytes is refused while another table is in force, if it is quarantined. Without any other,
    /// serving by it may crash the process once more, and serving by none serves nobody for certain.
    pub fn refusal_of(&self, digest: Digest, in_force: Option<Digest>) -> Option<Problems> {
        let is_refused =
            self.is_quarantined(digest) && in_force.is_some_and(|in_force| in_force != digest);
        is_refused.then(|| {
            Problems::whole_file(
                "this table is quarantined: the process crashed on it twice within its first seconds",
                "change the file, or remove the file `startup_crashes` from the state directory and restart",
            )
        })
    }

    pub(super) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (digest, crashes) = line.split_once(' ')?;
            Some((digest.to_owned(), crashes.trim().parse().ok()?))
        };
        Self {
            counts: text
                .lines()
                .filter_map(line)
                .take(TABLES_REMEMBERED)
                .collect(),
        }
    }

    pub(super) fn count(&mut self, digest: &str) {
        let before = self.forget(digest);
        self.counts
            .insert(0, (digest.to_owned(), before.saturating_add(1)));
        self.counts.truncate(TABLES_REMEMBERED);
    }

    /// Returns how many crashes are forgotten.
    pub(super) fn forget(&mut self, digest: &str) -> u32 {
        let at = self.counts.iter().position(|(name, _)| name == digest);
        at.map_or(0, |at| self.counts.remove(at).1)
    }
}

impl fmt::Display for StartupCrashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts
            .iter()
            .try_for_each(|(digest, crashes)| writeln!(f, "{digest} {crashes}"))
    }
}
