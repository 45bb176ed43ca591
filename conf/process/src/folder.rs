//! The folder that a file lies in.

use std::path::{Path, PathBuf};

/// The folder that a file lies in: `.` for a name without one.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
