//! Whose a state directory is: one process at a time, and the tables of one path.
//!
//! What is kept there outranks the configuration at the next start, so a second proxy with another table would serve the
//! first one's cells.

use std::{
    fmt, io,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use cellgate_process::{
    folder_of,
    lock::{Lock, LockError},
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{OWNER, StateDir};

/// The file that is locked. It is never removed: another process may have it open already.
const LOCK: &str = "lock";

/// The table that a state directory belongs to.
///
/// Either name may change without the table becoming another one: folders that are swapped with a link have a new
/// canonical path after each deployment, and a configuration may name the same file in other words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The table's path without links in its folders. The last part may be one, as in Kubernetes, where it changes with
    /// each table.
    pub table: PathBuf,
    /// The same as the configuration has it, from the root on.
    pub configured: PathBuf,
}

impl Owner {
    /// The owner that a configuration with this table is.
    pub fn of(table: &Path) -> Self {
        let configured = std::path::absolute(table).unwrap_or_else(|_| table.to_owned());
        let name = configured.file_name().unwrap_or_default();
        let canonical = folder_of(&configured).canonicalize();
        Self {
            table: canonical.map_or_else(|_| configured.clone(), |folder| folder.join(name)),
            configured,
        }
    }

    fn is_same_table(&self, other: &Self) -> bool {
        self.table == other.table || self.configured == other.configured
    }
}

/// A state directory that this process may use, as long as this value lives.
#[derive(Debug)]
pub struct Claim {
    /// `None` where nothing can be locked. That stops no proxy from serving.
    lock: Option<Lock>,
    /// To be written once this process may write.
    owner: Option<Owner>,
}

impl Claim {
    /// Says in an inherited directory whose it is from here on. Whoever has passed it on writes nothing any more.
    pub fn note(&self, state_dir: &StateDir) {
        if let Some(owner) = &self.owner {
            if let Some(lock) = &self.lock {
                lock.write_note(&note(&owner.configured));
            }
            state_dir.note_owner(owner);
        }
    }

    /// To be passed on to a successor.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(Lock::descriptor)
    }
}

/// Why a state directory may not be used.
#[derive(Debug)]
pub enum ClaimError {
    /// Another process uses it.
    InUse { folder: PathBuf, by: String },
    /// It holds the tables of another path.
    OtherTable {
        folder: PathBuf,
        owner: PathBuf,
        configured: PathBuf,
    },
    /// Whose it is cannot be read. That does not make it this proxy's.
    OwnerUnreadable { path: PathBuf, error: io::Error },
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { folder, by } => write!(
                f,
                "the state directory {} is in use by {by}",
                folder.display()
            ),
            Self::OtherTable {
                folder,
                owner,
                configured,
            } => write!(
                f,
                "the state directory {} holds the last good tables of {}, and this configuration names {}",
                folder.display(),
                owner.display(),
                configured.display()
            ),
            Self::OwnerUnreadable { path, error } => write!(
                f,
                "which table the state directory belongs to cannot be read from {}: {error}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ClaimError {}

impl ClaimError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InUse { .. } => {
                "stop that process, take over from it with --upgrade, or give this one a `state_dir` of its own"
            }
            Self::OtherTable { .. } => {
                "give this proxy a `state_dir` of its own; or, if the table was renamed, run `cellgate-proxy state adopt --config FILE`"
            }
            Self::OwnerUnreadable { .. } => {
                "let this user read the file; or, if the kept tables are this proxy's, run `cellgate-proxy state adopt --config FILE`"
            }
        }
    }
}

/// What an adoption changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub before: Option<Owner>,
    pub now: Owner,
}

impl StateDir {
    /// Claims the directory for the proxy of this table. A directory that cannot be used at all is warned of: a proxy
    /// serves without one, too.
    ///
    /// # Errors
    /// The directory is another process's, or another table's, or may be.
    pub fn claim(&self, table: &Path) -> Result<Claim, ClaimError> {
        let lock = self.lock(table).or_else(|error| match error {
            LockError::Held { by, .. } => Err(ClaimError::InUse {
                folder: self.folder.clone(),
                by,
            }),
            LockError::Io { error, .. } => {
                warn!(
                    directory = %self.folder.display(), %error,
                    "the state directory cannot be locked: a second process that uses it would go unnoticed"
                );
                Ok(None)
            }
        })?;
        self.claim_with(lock, table)
    }

    /// The same with the lock of the process before, which it has passed on. Writes nothing: see [`Claim::note`].
    ///
    /// # Errors
    /// The directory is another table's, or may be; or that is not its lock.
    pub fn inherit(&self, lock: Option<OwnedFd>, table: &Path) -> Result<Claim, ClaimError> {
        let path = self.folder.join(LOCK);
        let lock = lock.map(|file| Lock::inherit(&path, file));
        let lock = lock.transpose().map_err(|error| ClaimError::InUse {
            folder: self.folder.clone(),
            by: format!("another process: {error}"),
        })?;
        let (now, _) = self.owners(lock.is_some(), table)?;
        Ok(Claim {
            lock,
            owner: Some(now),
        })
    }

    fn claim_with(&self, lock: Option<Lock>, table: &Path) -> Result<Claim, ClaimError> {
        let (now, is_new) = self.owners(lock.is_some(), table)?;
        if is_new {
            self.note_owner(&now);
        }
        Ok(Claim { lock, owner: None })
    }

    /// The owner that there is from here on, and whether it is another than before.
    fn owners(&self, is_locked: bool, table: &Path) -> Result<(Owner, bool), ClaimError> {
        let now = Owner::of(table);
        let before = match self.owner() {
            Ok(before) => before,
            // Nothing can be used here, so nobody else's tables are served either.
            Err(error) if !is_locked && !is_garbage(&error) => {
                warn!(directory = %self.folder.display(), %error, "whose the state directory is cannot be read");
                None
            }
            Err(error) => return Err(self.owner_unreadable(error)),
        };
        if let Some(before) = &before
            && !before.is_same_table(&now)
        {
            return Err(self.other_table(before, &now));
        }
        let is_new = before.as_ref() != Some(&now);
        Ok((now, is_new))
    }

    fn note_owner(&self, owner: &Owner) {
        if let Err(error) = self.write_owner(owner) {
            warn!(directory = %self.folder.display(), %error, "the state directory cannot note which table it belongs to");
        }
    }

    /// Says whether the proxy of this table could claim the directory, as far as reading it shows.
    ///
    /// # Errors
    /// It belongs to another table, or may do so. The outer error is that of the file system: another user may be able
    /// to read it.
    pub fn check_owner(&self, table: &Path) -> io::Result<Result<(), ClaimError>> {
        let now = Owner::of(table);
        match self.owner() {
            Ok(Some(before)) if !before.is_same_table(&now) => {
                Ok(Err(self.other_table(&before, &now)))
            }
            Ok(_) => Ok(Ok(())),
            Err(error) if is_garbage(&error) => Ok(Err(self.owner_unreadable(error))),
            Err(error) => Err(error),
        }
    }

    /// Gives the directory, with what is kept in it, to the proxy of this table.
    ///
    /// # Errors
    /// It is in use, or cannot be written.
    pub fn adopt(&self, table: &Path) -> Result<Adopted, LockError> {
        let failed = |error| LockError::Io {
            path: self.folder.join(OWNER),
            error,
        };
        let _lock = self.lock(table)?;
        let before = self.owner().unwrap_or_default();
        let now = Owner::of(table);
        self.write_owner(&now).map_err(failed)?;
        Ok(Adopted { before, now })
    }

    fn lock(&self, table: &Path) -> Result<Option<Lock>, LockError> {
        let path = self.folder.join(LOCK);
        match std::fs::create_dir_all(&self.folder) {
            Ok(()) => Lock::take(&path, &note(table)).map(Some),
            Err(error) => Err(LockError::Io { path, error }),
        }
    }

    /// `None` where nobody has claimed it so far.
    fn owner(&self) -> io::Result<Option<Owner>> {
        match std::fs::read(self.folder.join(OWNER)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_owner(&self, owner: &Owner) -> io::Result<()> {
        let mut text = serde_json::to_vec(owner)?;
        text.push(b'\n');
        self.write_whole(OWNER, &text)
    }

    fn owner_unreadable(&self, error: io::Error) -> ClaimError {
        ClaimError::OwnerUnreadable {
            path: self.folder.join(OWNER),
            error,
        }
    }

    fn other_table(&self, before: &Owner, now: &Owner) -> ClaimError {
        ClaimError::OtherTable {
            folder: self.folder.clone(),
            owner: before.configured.clone(),
            configured: now.configured.clone(),
        }
    }
}

fn note(table: &Path) -> String {
    let process = std::process::id();
    format!(
        "process {process}, a proxy with the table {}",
        table.display()
    )
}

/// The file can be read, and says nothing.
fn is_garbage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}
