//! Whether the database's files still stand where they were opened.
//!
//! SQLite goes on in a file that was deleted or replaced as if nothing had happened, and all that it stores there is lost
//! with the process.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::refusal::StorageError;

/// What SQLite adds to the database's name: the log of changes, and its index.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Place {
    files: Vec<(PathBuf, FileId)>,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl Place {
    /// Of a database that has just been opened and read.
    pub(super) fn of(database: &Path) -> Result<Self, StorageError> {
        let id = file_id(database).map_err(StorageError::File)?;
        let mut files = vec![(database.to_owned(), id)];
        for companion in COMPANIONS {
            let mut name = database.file_name().unwrap_or_default().to_owned();
            name.push(companion);
            let path = database.with_file_name(name);
            if let Ok(id) = file_id(&path) {
                files.push((path, id));
            }
        }
        Ok(Self { files })
    }

    /// # Errors
    /// Which file is gone, or is another one.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        for (path, id) in &self.files {
            let is_there = match file_id(path) {
                Ok(found) if found == *id => continue,
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(StorageError::File(error)),
            };
            let path = path.clone();
            return Err(StorageError::Displaced { path, is_there });
        }
        Ok(())
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    Ok(FileId(metadata.dev(), metadata.ino()))
}
