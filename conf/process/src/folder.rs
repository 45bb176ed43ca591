//! The folder that a file lies in, and what may stand where a folder is wanted.

use std::path::{Path, PathBuf};

/// The folder that a file lies in: `.` for a name without one.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What is not a folder and stands where this folder, or one above it, is wanted.
pub fn file_in_the_way(folder: &Path) -> Option<&Path> {
    let nearest = folder.ancestors().find_map(|part| {
        let found = part.metadata().ok()?;
        Some((part, found.is_dir()))
    });
    nearest.and_then(|(part, is_dir)| (!is_dir).then_some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_folder() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(file_in_the_way(&file), Some(&*file));
        assert_eq!(file_in_the_way(&file.join("a/b")), Some(&*file));
        assert_eq!(file_in_the_way(home.path()), None);
        assert_eq!(file_in_the_way(&home.path().join("a/b")), None);
        assert_eq!(file_in_the_way(Path::new("no/such/folder")), None);
    }
}
