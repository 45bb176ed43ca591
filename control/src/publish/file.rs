//! The table's file: found, replaced.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{
        FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
    },
    path::Path,
};

use cellgate_process::folder_of;
use cellgate_table::limits::FILE_BYTES_MAX;
use tracing::warn;

use super::{
    folder::rename,
    place::{Place, PlaceError},
};

/// Opening a pipe that nobody writes to must not wait.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// What stands in the table's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundTable {
    Missing,
    Bytes(Vec<u8>),
    Unreadable(String),
}

/// A step of the replacement that failed. The table in its place is the old one, but for the last step: then it may be
/// either, and is whole.
#[derive(Debug)]
pub enum WriteError {
    /// The lock is another daemon's now.
    Overtaken,
    /// The table's path leads to no place where it may be written.
    Place(PlaceError),
    Step {
        step: &'static str,
        error: io::Error,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overtaken => f.write_str("another daemon holds the table's lock"),
            Self::Place(error) => error.fmt(f),
            Self::Step { step, error } => write!(f, "the table could not be {step}: {error}"),
        }
    }
}

impl std::error::Error for WriteError {}

/// What distinguishes one content of a file from another without reading it: device, inode, size, and the two times.
pub type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// The stamp of what stands in the table's place; `None` if nothing does.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let m = fs::metadata(path).ok()?;
    Some((
        m.dev(),
        m.ino(),
        m.len(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec(),
    ))
}

/// Reads what stands in the table's place, without waiting on what is not a file.
pub fn find(path: &Path) -> FoundTable {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(NONBLOCK)
        .open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return FoundTable::Missing,
        Err(error) => return FoundTable::Unreadable(error.to_string()),
    };
    let kind = match file.metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(error) => return FoundTable::Unreadable(error.to_string()),
    };
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() || !kind.is_file() {
        return FoundTable::Unreadable("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    match file.take(limit).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() > FILE_BYTES_MAX => {
            FoundTable::Unreadable(format!("it has more than {FILE_BYTES_MAX} bytes"))
        }
        Ok(_) => FoundTable::Bytes(bytes),
        Err(error) => FoundTable::Unreadable(error.to_string()),
    }
}

/// Puts new bytes into the table's place, in one step for every reader, and lasting when this returns. Who may read the
/// old table may read the new one: it keeps mode and group, and its owner where this process may give files away.
///
/// # Errors
/// A step failed. A file whose sync failed is thrown away: a second sync of the same file could succeed without the bytes
/// being on disk (fsyncgate, 2018).
pub fn replace(place: &Place, bytes: &[u8]) -> Result<(), WriteError> {
    let target = place.checked_target().map_err(WriteError::Place)?;
    put(target, bytes, Readers::OfTheOldFile, || place.is_held())
}

/// The same for a file that is nobody else's business and has no lock.
///
/// # Errors
/// A step failed.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, Readers::Nobody, || true).map_err(|error| match error {
        WriteError::Step { error, .. } => error,
        WriteError::Overtaken | WriteError::Place(_) => io::Error::other(error.to_string()),
    })
}

/// Who but its owner may read a new file.
#[derive(Clone, Copy, Debug)]
enum Readers {
    Nobody,
    /// Those of the file that it replaces; everybody if there is no old file, as far as the umask lets them.
    OfTheOldFile,
}

fn put(
    path: &Path,
    bytes: &[u8],
    readers: Readers,
    may_rename: impl FnOnce() -> bool,
) -> Result<(), WriteError> {
    let folder = folder_of(path);
    let temporary = folder.join(temporary_name(path, std::process::id()));
    // A leftover of a previous run that had the same process number.
    let _ = fs::remove_file(&temporary);
    let old = match readers {
        Readers::Nobody => None,
        Readers::OfTheOldFile => fs::symlink_metadata(path).ok().filter(Metadata::is_file),
    };
    let mode = match (readers, &old) {
        (Readers::OfTheOldFile, None) => 0o644,
        _ => 0o600,
    };
    let renamed = write_new(&temporary, bytes, mode, old.as_ref()).and_then(|()| {
        if may_rename() {
            rename(&temporary, path).map_err(at("renamed"))
        } else {
            Err(WriteError::Overtaken)
        }
    });
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(at("made to last (its folder)"))
}

fn write_new(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    old: Option<&Metadata>,
) -> Result<(), WriteError> {
    // A link that somebody put there is never followed.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(at("created"))?;
    file.write_all(bytes).map_err(at("written"))?;
    if let Some(old) = old {
        keep_readers(&file, old)?;
    }
    file.sync_all().map_err(at("made to last"))
}

/// Gives a new file the group, the mode and, if this process may, the owner of the old one. The owner comes last: who has
/// given a file away may not change it any more.
fn keep_readers(file: &File, old: &Metadata) -> Result<(), WriteError> {
    let mode = old.permissions().mode() & 0o777;
    let new = file.metadata().map_err(at("read"))?;
    if new.gid() != old.gid()
        && let Err(error) = fchown(file, None, Some(old.gid()))
    {
        // The group matters only where it may do other things than everybody.
        let is_missed = (mode >> 3) & 0o7 != mode & 0o7;
        if is_missed {
            return Err(at("given the group of the one before")(error));
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(at("given the mode of the one before"))?;
    if new.uid() != old.uid() {
        // Only root may; the daemon's own file is as good, to all that the mode lets read it.
        let _ = fchown(file, Some(old.uid()), None);
    }
    Ok(())
}

fn at(step: &'static str) -> impl Fn(io::Error) -> WriteError {
    move |error| WriteError::Step { step, error }
}

/// Removes what earlier lives began to write and did not finish.
pub fn remove_leftovers(path: &Path) {
    let prefix = prefix_of(path);
    let Ok(entries) = fs::read_dir(folder_of(path)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name
            .as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes())
        {
            match fs::remove_file(entry.path()) {
                Ok(()) => warn!(file = %entry.path().display(), "leftover removed"),
                Err(error) => {
                    warn!(file = %entry.path().display(), %error, "leftover cannot be removed");
                }
            }
        }
    }
}

fn prefix_of(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new-");
    name
}

fn temporary_name(path: &Path, process: u32) -> OsString {
    let mut name = prefix_of(path);
    name.push(process.to_string());
    name
}
