//! One process at a time: a lock on an open file, which the system lets go when its holder ends, however it ends.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::folder_of;

/// Bytes read of the holder's note.
const NOTE_BYTES_MAX: u64 = 512;

/// A lock that is held as long as this value lives and nobody takes it away.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

/// Why a lock cannot be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it; what it wrote about itself.
    Held {
        path: PathBuf,
        by: String,
    },
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { path, by } => write!(f, "{} is held by {by}", path.display()),
            Self::Io { path, error } => write!(f, "{} cannot be locked: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

impl Lock {
    /// Takes the lock; others read in `note` who has it.
    ///
    /// # Errors
    /// Somebody else has it, or the file cannot be made.
    pub fn take(path: &Path, note: &str) -> Result<Self, LockError> {
        let failed = |error| LockError::Io {
            path: path.to_owned(),
            error,
        };
        loop {
            let mut file = options().truncate(false).open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut by = String::new();
                    let read = (&mut file).take(NOTE_BYTES_MAX).read_to_string(&mut by);
                    if read.is_err() || by.trim().is_empty() {
                        "another process".clone_into(&mut by);
                    }
                    return Err(LockError::Held {
                        path: path.to_owned(),
                        by: by.trim().to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            let lock = Self {
                path: path.to_owned(),
                file,
            };
            // A second name of another file would have that one overwritten; nor was it made by us.
            let found = lock.file.metadata().map_err(failed)?;
            if found.nlink() > 1 {
                return Err(failed(io::Error::other(
                    "it is a hard link to another file",
                )));
            }
            // Between opening and locking, another one may have been put into its place.
            if lock.is_held() {
                lock.write_note(note);
                return Ok(lock);
            }
        }
    }

    /// Takes the lock away from whoever has it. They find out before they publish.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn take_over(path: &Path, note: &str) -> Result<Self, LockError> {
        let failed = |error| LockError::Io {
            path: path.to_owned(),
            error,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let fresh = folder_of(path).join(format!("{name}.new-{}", std::process::id()));
        let file = options().truncate(true).open(&fresh).map_err(failed)?;
        if let Err(error) = file.try_lock() {
            return Err(failed(error.into()));
        }
        replace(&fresh, path).map_err(failed)?;
        let lock = Self {
            path: path.to_owned(),
            file,
        };
        lock.write_note(note);
        Ok(lock)
    }

    /// A lock that another process holds by the same open file, which it has passed on. Its note stays that one's until
    /// another is written.
    ///
    /// # Errors
    /// It is no lock of that path, or nobody holds it by this file.
    pub fn inherit(path: &Path, file: OwnedFd) -> Result<Self, LockError> {
        let failed = |error| LockError::Io {
            path: path.to_owned(),
            error,
        };
        let lock = Self {
            path: path.to_owned(),
            file: file.into(),
        };
        // Whoever has it by this file gets it once more.
        lock.file.try_lock().map_err(|error| failed(error.into()))?;
        if !lock.is_held() {
            return Err(failed(io::Error::other("another file is in its place")));
        }
        Ok(lock)
    }

    /// To be passed on to another process, which then holds the lock as long as it has this.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether the file in the lock's place is still the one that is locked here.
    pub fn is_held(&self) -> bool {
        let (Ok(mine), Ok(there)) = (self.file.metadata(), std::fs::metadata(&self.path)) else {
            return false;
        };
        (mine.dev(), mine.ino()) == (there.dev(), there.ino())
    }

    /// The lock holds without it, too: on a full disk others hear of "another process".
    pub fn write_note(&self, note: &str) {
        let mut file = &self.file;
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{note}"));
    }
}

/// Only the owner may read what a lock file says, and a link in its place is never followed: whoever can write to the
/// folder could have another file of ours overwritten with it.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lock file is no data: who holds it after a crash is decided anew"
)]
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_sees_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.lock");
        let first = Lock::take(&path, "process 1").unwrap();
        let refused = Lock::take(&path, "process 2").unwrap_err().to_string();
        assert!(refused.ends_with("is held by process 1"), "{refused}");
        drop(first);
        assert!(Lock::take(&path, "process 2").unwrap().is_held());
    }

    #[test]
    fn a_link_is_not_followed_and_only_the_owner_reads_the_note() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, precious) = (folder.path().join("lock"), folder.path().join("precious"));
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let refused = Lock::take(&path, "process 1").unwrap_err().to_string();
        assert!(refused.contains("cannot be locked"), "{refused}");
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
        let _lock = Lock::take(&path, "process 1").unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lock_that_is_passed_on_outlives_who_had_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path, "process 1").unwrap();
        let passed = first.descriptor().try_clone_to_owned().unwrap();
        let second = Lock::inherit(&path, passed).unwrap();
        second.write_note("process 2");
        drop(first);
        let refused = Lock::take(&path, "process 3").unwrap_err().to_string();
        assert!(refused.ends_with("is held by process 2"), "{refused}");
        drop(second);
        assert!(Lock::take(&path, "process 3").unwrap().is_held());
    }

    #[test]
    fn who_is_overtaken_finds_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.lock");
        let first = Lock::take(&path, "process 1").unwrap();
        let second = Lock::take_over(&path, "process 2").unwrap();
        assert!(!first.is_held() && second.is_held());
        drop(first);
        let refused = Lock::take(&path, "process 3").unwrap_err().to_string();
        assert!(refused.ends_with("is held by process 2"), "{refused}");
    }
}
