//! The last good tables, kept on disk so that a restart in an outage goes on where the proxy was.
//!
//! Each accepted table becomes a file of its own, named by its generation and the digest of its bytes, and is never
//! written again; the newest few are kept. So a table that turns out bad minutes later cannot have taken the place of
//! the good one before it, and a file that rotted on disk is noticed.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use cellgate_table::{Digest, Generation};
use tracing::warn;

/// Between the name of a file that is being written and the number of the process that writes it.
const TEMPORARY: &str = ".tmp-";
/// How many tables are kept.
const TABLES_KEPT: usize = 5;
/// Deaths within the first seconds under a table after which it is skipped.
const DEATHS_MAX: u32 = 2;
/// How many tables' deaths are remembered.
const DEATHS_REMEMBERED: usize = 5;
/// Names the table under which the process has yet to survive its first seconds.
const MARK: &str = "starting";
/// Counts the deaths, one table a line. Removing the file forgives all.
const DEATHS: &str = "early-deaths";

/// The directory of the last good tables.
#[derive(Clone, Debug)]
pub struct StateDir {
    folder: PathBuf,
}

/// A table file in the state directory whose bytes are what its name says.
#[derive(Clone, Debug)]
pub struct Kept {
    pub generation: Generation,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// On which tables earlier lives of the process died within their first seconds, and how often; the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlyDeaths {
    counts: Vec<(String, u32)>,
}

impl EarlyDeaths {
    /// True for a table on which the process died too often.
    pub fn condemn(&self, digest: Digest) -> bool {
        let digest = digest.to_string();
        self.counts
            .iter()
            .any(|(name, deaths)| *name == digest && *deaths >= DEATHS_MAX)
    }

    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (digest, deaths) = line.split_once(' ')?;
            Some((digest.to_owned(), deaths.trim().parse().ok()?))
        };
        Self {
            counts: text
                .lines()
                .filter_map(line)
                .take(DEATHS_REMEMBERED)
                .collect(),
        }
    }

    fn count(&mut self, digest: &str) {
        let before = self.forget(digest);
        self.counts
            .insert(0, (digest.to_owned(), before.saturating_add(1)));
        self.counts.truncate(DEATHS_REMEMBERED);
    }

    /// Returns how many deaths are forgotten.
    fn forget(&mut self, digest: &str) -> u32 {
        let at = self.counts.iter().position(|(name, _)| name == digest);
        at.map_or(0, |at| self.counts.remove(at).1)
    }
}

impl fmt::Display for EarlyDeaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts
            .iter()
            .try_for_each(|(digest, deaths)| writeln!(f, "{digest} {deaths}"))
    }
}

impl StateDir {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The kept tables, newest first. What cannot be read is left out, with a warning.
    pub fn kept(&self) -> impl Iterator<Item = Kept> {
        self.names()
            .into_iter()
            .filter_map(|(generation, name)| self.read(generation, &name))
    }

    fn read(&self, generation: Generation, name: &str) -> Option<Kept> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => {
                let digest = Digest::of(&bytes);
                if name == file_name(generation, digest) {
                    return Some(Kept {
                        generation,
                        digest,
                        bytes,
                    });
                }
                warn!(path = %path.display(), "a kept table does not match its digest and is left out");
            }
            Err(error) => warn!(path = %path.display(), %error, "a kept table cannot be read"),
        }
        None
    }

    /// Names of kept tables, newest first.
    fn names(&self) -> Vec<(Generation, String)> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                warn!(path = %self.folder.display(), %error, "the state directory cannot be read");
                return Vec::new();
            }
        };
        let mut names: Vec<(Generation, String)> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some((generation_of(&name)?, name)))
            .collect();
        names.sort_unstable_by(|left, right| right.cmp(left));
        names
    }

    /// Keeps a table that was accepted, crash-safe, and lets go of the oldest.
    ///
    /// # Errors
    /// Those of the file system. The table is in force all the same; only a restart would miss it.
    pub fn keep(&self, generation: Generation, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let name = file_name(generation, digest);
        self.write_whole(&name, bytes)?;
        self.remove_remains();
        // This one stays even if others have higher generations: those may be broken files that nothing came of.
        let others = self.names().into_iter().filter(|(_, other)| *other != name);
        for (_, other) in others.skip(TABLES_KEPT - 1) {
            fs::remove_file(self.folder.join(other))?;
        }
        Ok(())
    }

    /// Removes the temporary files of lives that ended while they wrote one. No other process writes here.
    fn remove_remains(&self) {
        let ours = temporary_suffix();
        let names = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names {
            if is_temporary(&name) && !name.ends_with(&ours) {
                // It is in nobody's way but the disk's; the next table tries again.
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
    }

    /// Temporary file, fsync, rename, fsync of the directory: after a power cut there is the whole file or none. Without
    /// the first fsync some file systems leave an empty file, without the second the rename may be lost.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the proxy's only rename, with both fsyncs around it"
    )]
    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let temporary = self.folder.join(format!("{name}{}", temporary_suffix()));
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, self.folder.join(name))?;
            File::open(&self.folder)?.sync_all()
        })();
        if written.is_err() {
            // The error that counts is the one above.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Marks the first seconds under a table. A mark that a later life finds is a death that counts against it.
    pub fn mark_start(&self, digest: Digest) -> io::Result<()> {
        self.write_whole(MARK, format!("{digest}\n").as_bytes())
    }

    /// Takes the mark back: there is no table to watch after all.
    pub fn unmark(&self) -> io::Result<()> {
        self.remove(MARK)
    }

    /// The first seconds under a table went well, or the process ends in good order: the table is not to blame.
    pub fn survived(&self, digest: Digest) -> io::Result<()> {
        self.remove(MARK)?;
        let mut deaths = self.read_deaths();
        if deaths.forget(&digest.to_string()) == 0 {
            return Ok(());
        }
        self.write_whole(DEATHS, deaths.to_string().as_bytes())
    }

    /// The early deaths of all earlier lives; that of the last one is counted now, from the mark that it left behind.
    pub fn early_deaths(&self) -> EarlyDeaths {
        let mut deaths = self.read_deaths();
        if let Ok(mark) = fs::read_to_string(self.folder.join(MARK)) {
            deaths.count(mark.trim());
            let written = self.write_whole(DEATHS, deaths.to_string().as_bytes());
            if let Err(error) = written.and_then(|()| self.remove(MARK)) {
                warn!(%error, "an early death cannot be noted in the state directory");
            }
        }
        deaths
    }

    fn read_deaths(&self) -> EarlyDeaths {
        let text = fs::read_to_string(self.folder.join(DEATHS)).unwrap_or_default();
        EarlyDeaths::parse(&text)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn temporary_suffix() -> String {
    format!("{TEMPORARY}{}", std::process::id())
}

fn is_temporary(name: &str) -> bool {
    let Some((name, process)) = name.rsplit_once(TEMPORARY) else {
        return false;
    };
    let is_known = name == MARK || name == DEATHS || generation_of(name).is_some();
    is_known && !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit())
}

fn file_name(generation: Generation, digest: Digest) -> String {
    // Twenty digits hold the largest generation, so names sort as numbers do.
    format!("table-{:020}-{digest}.yaml", generation.get())
}

fn generation_of(name: &str) -> Option<Generation> {
    let (number, digest) = name
        .strip_prefix("table-")?
        .strip_suffix(".yaml")?
        .split_once('-')?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if number.len() != 20 || !is_digest {
        return None;
    }
    Generation::new(number.parse().ok()?)
}

#[cfg(test)]
mod tests;
