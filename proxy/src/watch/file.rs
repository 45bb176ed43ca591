//! Reading the table file without being hurt by what stands in its place.

use std::{
    fmt,
    fs::{self, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use cellgate_table::{Problems, limits::FILE_BYTES_MAX};

/// What distinguishes one state of a file from another; also one reason for a missing file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Result<FileStamp, io::ErrorKind>);

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
    pub(super) fn of(path: &Path) -> Self {
        let stamp = fs::metadata(path).map(|meta| FileStamp::of(&meta));
        Self(stamp.map_err(|error| error.kind()))
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

/// Why the table file cannot be read.
#[derive(Debug)]
pub enum FileError {
    Missing,
    Open(io::Error),
    /// What stands there instead of a file.
    NotAFile(&'static str),
    TooLarge {
        bytes: u64,
    },
    Read(io::Error),
    /// It changed while it was read; the next poll will see it whole.
    Torn,
}

/// Reads the table file: opened once, never through a FIFO or a device, never more than the limit.
pub fn read_table_file(path: &Path) -> Result<Vec<u8>, FileError> {
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
    let limit = FILE_BYTES_MAX as u64;
    if before.len() > limit {
        return Err(FileError::TooLarge {
            bytes: before.len(),
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
    file.by_ref()
        .take(limit + 1)
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

impl FileError {
    /// The error in the form of a problem with the file, as all other problems are reported.
    pub fn into_problems(self, path: &Path) -> Problems {
        let hint = match &self {
            Self::Missing => {
                "put the table there, or mend `table.path` in the proxy's configuration"
            }
            Self::Open(_) => "let the proxy's user read it, and enter the directories above it",
            Self::NotAFile(_) => "put a regular file there",
            Self::TooLarge { .. } => "a table this large is not one; check what wrote it",
            Self::Read(_) => "check the disk",
            Self::Torn => "replace the file with a rename instead of writing into it",
        };
        Problems::whole_file(self.to_string(), hint).in_file(path.display())
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is not there"),
            Self::Open(error) => write!(f, "the file cannot be opened: {error}"),
            Self::NotAFile(kind) => write!(f, "is {kind}, not a file"),
            Self::TooLarge { bytes } => {
                write!(f, "the file has {bytes} bytes, more than {FILE_BYTES_MAX}")
            }
            Self::Read(error) => write!(f, "the file cannot be read: {error}"),
            Self::Torn => f.write_str("the file changed while it was read"),
        }
    }
}

impl std::error::Error for FileError {}
