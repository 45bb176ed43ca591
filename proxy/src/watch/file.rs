//! Reading the table file.

use std::path::Path;

use cellgate_table::{Problems, limits::FILE_BYTES_MAX};

use crate::regular_file::{self, FileError};

/// Reads the table file, unless it is larger than a table may be.
pub fn read_table_file(path: &Path) -> Result<Vec<u8>, FileError> {
    regular_file::read(path, FILE_BYTES_MAX as u64)
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
            Self::Exposed { .. } => "change its mode",
            Self::Torn => "replace the file with a rename instead of writing into it",
        };
        Problems::whole_file(self.to_string(), hint).in_file(path.display())
    }
}
