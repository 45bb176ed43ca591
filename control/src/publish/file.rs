//! The table's file: found, replaced.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use cellgate_process::{folder_of, lock::Lock};
use cellgate_table::limits::FILE_BYTES_MAX;
use tracing::warn;

use super::folder::rename;

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
    Step {
        step: &'static str,
        error: io::Error,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overtaken => f.write_str("another daemon holds the table's lock"),
            Self::Step { step, error } => write!(f, "the table could not be {step}: {error}"),
        }
    }
}

impl std::error::Error for WriteError {}

/// What tells one content of a file from another without reading it: device, inode, size, and the two times.
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

/// Reads what stands in the table's place, without waiting on what is no file.
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

/// Puts new bytes into the table's place, in one step for every reader, and lasting when this returns.
///
/// # Errors
/// A step failed. A file whose sync failed is thrown away: a second sync of the same file could succeed without the bytes
/// being on disk (fsyncgate, 2018).
pub fn replace(path: &Path, bytes: &[u8], lock: &Lock) -> Result<(), WriteError> {
    put(path, bytes, 0o644, || lock.is_held())
}

/// The same for a file that is nobody else's business and has no lock.
///
/// # Errors
/// A step failed.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, 0o600, || true).map_err(|error| match error {
        WriteError::Step { error, .. } => error,
        WriteError::Overtaken => io::Error::other(error.to_string()),
    })
}

fn put(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    may_rename: impl FnOnce() -> bool,
) -> Result<(), WriteError> {
    let folder = folder_of(path);
    let temporary = folder.join(temporary_name(path, std::process::id()));
    // A leftover of a life that had the same process number.
    let _ = fs::remove_file(&temporary);
    let renamed = write_new(&temporary, bytes, mode).and_then(|()| {
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

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(at("created"))?;
    file.write_all(bytes).map_err(at("written"))?;
    file.sync_all().map_err(at("made to last"))
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
