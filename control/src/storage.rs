//! Whether changes can be stored: what is wrong with the database's files and with the disks, found out before a change
//! is lost or refused.

use std::path::Path;

use rustix::{fs::statvfs, process::geteuid};

/// With less than this left on a disk, nothing can be stored there, in bytes.
const DISK_BYTES_MIN: u64 = 128 * 1024;

/// What is wrong with the disk that a folder is on, if it is full.
pub fn full_disk(folder: &Path) -> Option<String> {
    let disk = statvfs(folder).ok()?;
    // A part of the disk may be reserved for root.
    let (blocks, files) = if geteuid().is_root() {
        (disk.f_bfree, disk.f_ffree)
    } else {
        (disk.f_bavail, disk.f_favail)
    };
    let left = blocks.saturating_mul(disk.f_frsize);
    // Some file systems do not count their files.
    let is_out_of_files = disk.f_files > 0 && files == 0;
    why_full(left, is_out_of_files)
        .map(|why| format!("the disk of {} is full: {why}", folder.display()))
}

fn why_full(bytes_left: u64, is_out_of_files: bool) -> Option<String> {
    if bytes_left < DISK_BYTES_MIN {
        return Some(format!("{bytes_left} bytes are left"));
    }
    is_out_of_files.then(|| "no more files can be made".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_without_bytes_or_without_files() {
        assert_eq!(why_full(DISK_BYTES_MIN, false), None);
        assert!(why_full(DISK_BYTES_MIN - 1, false).is_some());
        assert!(why_full(DISK_BYTES_MIN, true).is_some());
        assert_eq!(full_disk(Path::new("/nowhere/at/all")), None);
    }
}
