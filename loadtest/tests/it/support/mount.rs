//! File systems of a test's own, which can fill up and lose their power. Only root may mount them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A file system in memory or in an image file, mounted until it is dropped.
pub(crate) struct Mount {
    folder: PathBuf,
    /// How it is mounted again.
    arguments: Vec<String>,
}

/// What to make in an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// XFS makes none that is smaller.
    fn image_bytes(self) -> u64 {
        match self {
            Self::Ext4 => 64 << 20,
            Self::Xfs => 320 << 20,
        }
    }
}

impl Mount {
    /// One in memory, of so many bytes, on a folder that is made for it.
    ///
    /// # Errors
    /// Why it cannot be had here.
    pub(crate) fn in_memory(folder: &Path, bytes: u64) -> Result<Self, String> {
        let size = format!("size={bytes}");
        Self::new(folder, &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// One in a new image file beside the folder, which is made for it.
    ///
    /// # Errors
    /// Why it cannot be had here.
    pub(crate) fn of_image(folder: &Path, kind: Kind) -> Result<Self, String> {
        let image = folder.with_extension("image");
        File::create(&image)
            .and_then(|file| file.set_len(kind.image_bytes()))
            .map_err(|error| format!("{}: {error}", image.display()))?;
        let image = image.to_string_lossy();
        let make = format!("mkfs.{}", kind.name());
        run(&make, &["-q", &image])?;
        Self::new(folder, &["-t", kind.name(), "-o", "loop", &image])
    }

    fn new(folder: &Path, arguments: &[&str]) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mount = Self {
            folder: folder.to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        };
        mount.mount()?;
        Ok(mount)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Cuts the power: nothing that is not on disk by now comes there any more. Whoever uses it meets errors.
    ///
    /// # Errors
    /// Why it cannot be done here.
    pub(crate) fn cut_power(&self) -> Result<(), String> {
        run("xfs_io", &["-x", "-c", "shutdown", &self.path()])
    }

    /// The power is back: mounts again what is on disk. Nobody may use it meanwhile.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn power_up(&self) -> Result<(), String> {
        run("umount", &[&self.path()])?;
        self.mount()
    }

    fn mount(&self) -> Result<(), String> {
        let path = self.path();
        let mut words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        words.push(&path);
        run("mount", &words)
    }

    fn path(&self) -> String {
        self.folder.to_string_lossy().into_owned()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Somebody may still be in there when a test has failed; then it goes once they do.
        let _ = run("umount", &[&self.path()]).or_else(|_| run("umount", &["-l", &self.path()]));
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}
