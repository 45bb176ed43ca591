//! Reading a file without being hurt by what stands in its place: opened once, never through a FIFO or a device, never
//! more than a limit.

use std::{
    fmt,
    fs::{self, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// What distinguishes one state of a file from another; also one reason for a missing file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Result<FileStamp, io::ErrorKind>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of what the path leads to; a path that leads nowhere has a stamp too.
    pub fn of(path: &Path) -> Self {
        let stamp = fs::metadata(path).map(|meta| FileStamp::of(&meta));
        Self(stamp.map_err(|error| error.kind()))
    }

    /// The path leads nowhere.
    pub fn is_missing(self) -> bool {
        self.0 == Err(io::ErrorKind::NotFound)
    }
}

impl FileStamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Why a file cannot be read.
#[derive(Debug)]
pub enum FileError {
    Missing,
    Open(io::Error),
    /// What stands there instead of a file.
    NotAFile(&'static str),
    TooLarge {
        bytes: u64,
        bytes_max: u64,
    },
    Read(io::Error),
    /// Others could have read it, or written to it.
    Exposed {
        mode: u32,
    },
    /// It changed while it was read; the next poll will see it whole.
    Torn,
}

/// Reads a file of at most so many bytes.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    read_if(path, bytes_max, |_| Ok(()))
}

/// The same of one that holds secrets: it is refused if its mode lets others than its owner and group read it, or others
/// than its owner write to it.
pub fn read_secret(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    read_if(path, bytes_max, |meta| {
        let mode = meta.mode() & 0o777;
        if mode & 0o026 == 0 {
            Ok(())
        } else {
            Err(FileError::Exposed { mode })
        }
    })
}

fn read_if(
    path: &Path,
    bytes_max: u64,
    judge: impl FnOnce(&Metadata) -> Result<(), FileError>,
) -> Result<Vec<u8>, FileError> {
    // Without O_NONBLOCK the opening of a FIFO would wait for somebody to write to it.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::Missing,
            // A socket cannot be opened at all, and some devices neither.
            _ => match fs::metadata(path) {
                Ok(meta) if !meta.is_file() => FileError::NotAFile(kind_of(&meta)),
                _ => FileError::Open(error),
            },
        })?;
    let before = file.metadata().map_err(FileError::Read)?;
    if !before.is_file() {
        return Err(FileError::NotAFile(kind_of(&before)));
    }
    judge(&before)?;
    if before.len() > bytes_max {
        return Err(FileError::TooLarge {
            bytes: before.len(),
            bytes_max,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
    file.by_ref()
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(FileError::Read)?;
    let after = file.metadata().map_err(FileError::Read)?;
    let whole = bytes.len() as u64 == before.len();
    if !whole || FileStamp::of(&before) != FileStamp::of(&after) {
        return Err(FileError::Torn);
    }
    Ok(bytes)
}

fn kind_of(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is not there"),
            Self::Open(error) => write!(f, "the file cannot be opened: {error}"),
            Self::NotAFile(kind) => write!(f, "is {kind}, not a file"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "the file has {bytes} bytes, more than {bytes_max}")
            }
            Self::Read(error) => write!(f, "the file cannot be read: {error}"),
            Self::Exposed { mode } => write!(f, "the file has mode {mode:03o}, and is secret"),
            Self::Torn => f.write_str("the file changed while it was read"),
        }
    }
}

impl std::error::Error for FileError {}
