//! How the new table takes the place of the old one.

use std::{fs, io, path::Path};

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the table is published: the file is synced before, its folder after"
)]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}
