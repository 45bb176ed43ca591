//! The last good tables, kept on disk so that a restart in an outage goes on where the proxy was.
//!
//! Each accepted table becomes a file of its own, named by its generation and the digest of its bytes, and is never
//! written again; the newest few are kept. So a table that turns out bad minutes later cannot have taken the place of
//! the good one before it, and a file that rotted on disk is noticed.

mod crashes;
mod gate;
mod owner;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cellgate_table::{Digest, Generation};
use tracing::warn;

use self::{crashes::TABLES_REMEMBERED, gate::Gate};

pub use self::{
    crashes::StartupCrashes,
    owner::{Adopted, Claim, ClaimError, Owner},
};

/// Between the name of a file that is being written and the number of the process that writes it.
const TEMPORARY: &str = ".tmp-";
/// How many tables are kept.
const TABLES_KEPT: usize = 5;
/// Names the table that is in force and has yet to prove itself.
const MARK: &str = "starting";
/// Counts the crashes under such a table, one table a line. Removing the file forgives all.
const CRASHES: &str = "startup_crashes";
/// Lists the tables that have served beyond their first seconds, one a line, the latest first.
const PROVEN: &str = "proven";
/// Names the table that the directory belongs to.
const OWNER: &str = "owner";
/// The files that are written whole, besides the tables.
const NOTES: [&str; 4] = [MARK, CRASHES, PROVEN, OWNER];

/// The directory of the last good tables.
#[derive(Clone, Debug)]
pub struct StateDir {
    folder: PathBuf,
    gate: Gate,
}

/// A table file in the state directory whose bytes are what its name says.
#[derive(Clone, Debug)]
pub struct Kept {
    pub generation: Generation,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

impl StateDir {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            gate: Gate::default(),
        }
    }

    /// Writes nothing from here on, since another process may: waits until what is being written is whole.
    pub fn pause(&self) {
        self.gate.close();
    }

    /// Writes again, first of all what was put off.
    pub fn resume(&self) {
        if let Some((generation, digest, bytes)) = self.gate.open()
            && let Err(error) = self.keep(generation, digest, &bytes)
        {
            warn!(%error, "a table that was accepted during a hand-over cannot be kept");
        }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The kept tables, newest first. What cannot be read is left out, with a warning.
    pub fn kept(&self) -> impl Iterator<Item = Kept> {
        let names = self.names().unwrap_or_else(|error| {
            warn!(path = %self.folder.display(), %error, "the state directory cannot be read");
            Vec::new()
        });
        names.into_iter().filter_map(|(generation, name)| {
            let path = self.folder.join(&name);
            match self.read(generation, &name) {
                Ok(None) => warn!(path = %path.display(), "a kept table does not match its digest and is left out"),
                Ok(kept) => return kept,
                Err(error) => warn!(path = %path.display(), %error, "a kept table cannot be read"),
            }
            None
        })
    }

    /// The newest kept table of which this makes something.
    ///
    /// # Errors
    /// It cannot be read, or what is kept cannot be listed; so which one it is is not known.
    pub fn newest<T>(&self, make: impl Fn(Kept) -> Option<T>) -> io::Result<Option<T>> {
        for (generation, name) in self.names()? {
            if let Some(made) = self.read(generation, &name)?.and_then(&make) {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }

    /// `None` when the bytes are not what the name says.
    fn read(&self, generation: Generation, name: &str) -> io::Result<Option<Kept>> {
        let bytes = fs::read(self.folder.join(name))?;
        let digest = Digest::of(&bytes);
        Ok((name == file_name(generation, digest)).then_some(Kept {
            generation,
            digest,
            bytes,
        }))
    }

    /// Names of kept tables, newest first.
    fn names(&self) -> io::Result<Vec<(Generation, String)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names: Vec<(Generation, String)> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some((generation_of(&name)?, name)))
            .collect();
        names.sort_unstable_by(|left, right| right.cmp(left));
        Ok(names)
    }

    /// Keeps a table that was accepted, crash-safe, and lets go of the oldest.
    ///
    /// # Errors
    /// Those of the file system. The table is in force all the same; only a restart would miss it.
    pub fn keep(&self, generation: Generation, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let mut writing = self.gate.enter();
        if writing.is_closed() {
            writing.put_off(generation, digest, bytes);
            return Ok(());
        }
        let name = file_name(generation, digest);
        self.write_whole(&name, bytes)?;
        self.remove_remains();
        // This one stays even if others have higher generations: those may be broken files that nothing came of.
        let others = self
            .names()?
            .into_iter()
            .filter(|(_, other)| *other != name);
        for (_, other) in others.skip(TABLES_KEPT - 1) {
            fs::remove_file(self.folder.join(other))?;
        }
        Ok(())
    }

    /// Removes the temporary files of runs that ended while they wrote one. No other process writes here.
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
            // What a table names is nobody else's business, and a link in its place is never followed.
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
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

    /// Marks the first seconds under a new table. A mark that is still there after a restart is a crash under it.
    pub fn mark_start(&self, digest: Digest) -> io::Result<()> {
        let writing = self.gate.enter();
        if writing.is_closed() {
            return Ok(());
        }
        self.write_whole(MARK, format!("{digest}\n").as_bytes())
    }

    /// Takes the mark back: no new table is in force, or the process ends in good order.
    pub fn unmark(&self) -> io::Result<()> {
        let writing = self.gate.enter();
        if writing.is_closed() {
            return Ok(());
        }
        self.remove(MARK)
    }

    /// The first seconds under a table went well. From here on no crash counts against it.
    pub fn proved(&self, digest: Digest) -> io::Result<()> {
        let writing = self.gate.enter();
        if writing.is_closed() {
            return Ok(());
        }
        self.remove(MARK)?;
        let digest = digest.to_string();
        let mut proven = vec![digest.clone()];
        proven.extend(self.proven().into_iter().filter(|other| *other != digest));
        proven.truncate(TABLES_REMEMBERED);
        self.write_whole(PROVEN, (proven.join("\n") + "\n").as_bytes())?;
        let mut crashes = self.read_crashes();
        if crashes.forget(&digest) == 0 {
            return Ok(());
        }
        self.write_whole(CRASHES, crashes.to_string().as_bytes())
    }

    /// Whether a table has served beyond its first seconds before.
    pub fn is_proven(&self, digest: Digest) -> bool {
        self.proven().contains(&digest.to_string())
    }

    fn proven(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(PROVEN)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The crashes of all previous runs; that of the last one is counted now, from the mark that it left behind.
    pub fn startup_crashes(&self) -> StartupCrashes {
        let writing = self.gate.enter();
        let mut crashes = self.read_crashes();
        if writing.is_closed() {
            // The mark is that of a process that runs.
            return crashes;
        }
        if let Ok(mark) = fs::read_to_string(self.folder.join(MARK)) {
            crashes.count(mark.trim());
            let written = self.write_whole(CRASHES, crashes.to_string().as_bytes());
            if let Err(error) = written.and_then(|()| self.remove(MARK)) {
                warn!(%error, "a crash within the first seconds cannot be noted in the state directory");
            }
        }
        crashes
    }

    /// The crashes of all previous runs, for whoever changes nothing here. A mark that is younger than `first_seconds`
    /// is not a crash yet: it may be that of a process that still runs.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn known_crashes(
        &self,
        first_seconds: Duration,
        now: SystemTime,
    ) -> io::Result<StartupCrashes> {
        let mut crashes = StartupCrashes::parse(&self.read_note(CRASHES)?.unwrap_or_default());
        if let Some(mark) = self.read_note(MARK)? {
            let since = fs::metadata(self.folder.join(MARK)).and_then(|meta| meta.modified());
            let age = since.ok().and_then(|since| now.duration_since(since).ok());
            if age.is_some_and(|age| age > first_seconds) {
                crashes.count(mark.trim());
            }
        }
        Ok(crashes)
    }

    fn read_note(&self, name: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_crashes(&self) -> StartupCrashes {
        let text = fs::read_to_string(self.folder.join(CRASHES)).unwrap_or_default();
        StartupCrashes::parse(&text)
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
    let is_known = NOTES.contains(&name) || generation_of(name).is_some();
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
