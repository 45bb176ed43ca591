//! The folder that the table and its lock lie in, and how one file in it takes the place of another.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the table is published: the file is synced before, its folder after"
)]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}
