//! File events as wake-ups.
//!
//! The *parent directory* is watched: a watch on the file itself dies with the first rename over it, and never fires when
//! Kubernetes swaps its `..data` link. The watch is set up anew when the directory itself was replaced.

use std::{
    ffi::OsString,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tracing::{debug, info, warn};

use super::wake::{Wake, Waker};

pub(super) struct DirectoryWatch {
    folder: PathBuf,
    file_name: Option<OsString>,
    waker: Waker,
    armed: Option<Armed>,
    /// A failure is logged once, not every second.
    warned: bool,
}

struct Armed {
    folder_id: (u64, u64),
    /// Dropping it ends the watch.
    _watcher: RecommendedWatcher,
}

impl DirectoryWatch {
    pub(super) fn new(file: &Path, waker: Waker) -> Self {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let file_name = file.file_name().map(ToOwned::to_owned);
        Self {
            folder,
            file_name,
            waker,
            armed: None,
            warned: false,
        }
    }

    /// Sets the watch up if it is not there, or if the directory is another one than was watched. Called before every
    /// poll, so a directory that appears later is watched from then on; until then the timer alone does the work.
    pub(super) fn arm(&mut self) {
        let folder_id = std::fs::metadata(&self.folder)
            .ok()
            .map(|meta| (meta.dev(), meta.ino()));
        if let (Some(armed), Some(folder_id)) = (&self.armed, folder_id)
            && armed.folder_id == folder_id
        {
            return;
        }
        self.armed = None;
        let Some(folder_id) = folder_id else {
            self.warn("the table's directory is not there");
            return;
        };
        match self.watch() {
            Ok(watcher) => {
                info!(directory = %self.folder.display(), "watching the table's directory");
                self.armed = Some(Armed {
                    folder_id,
                    _watcher: watcher,
                });
                self.warned = false;
                // What happened before the watch was set up gave no event.
                self.waker.wake(Wake::Touched);
            }
            Err(error) => self.warn(&format!("file events cannot be had: {error}")),
        }
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let waker = self.waker.clone();
        let file_name = self.file_name.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            match event {
                Ok(event) => {
                    if let Some(wake) = wake_for(&event, file_name.as_ref()) {
                        waker.wake(wake);
                    }
                }
                // An overflow of the kernel's queue, say: something happened, nobody knows what.
                Err(error) => {
                    debug!(%error, "file events were lost");
                    waker.wake(Wake::Touched);
                }
            }
        })?;
        watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }

    fn warn(&mut self, why: &str) {
        if !self.warned {
            warn!(directory = %self.folder.display(), why, "file events are not available; the table is polled");
            self.warned = true;
        }
    }
}

/// `None` for events that cannot concern the table. A rename concerns it whatever its name: the table's path may lead
/// through a link in the same directory.
fn wake_for(event: &Event, file_name: Option<&OsString>) -> Option<Wake> {
    let concerns_file = event.need_rescan()
        || event
            .paths
            .iter()
            .any(|path| path.file_name() == file_name.map(OsString::as_os_str));
    match event.kind {
        EventKind::Modify(ModifyKind::Name(_)) => Some(Wake::Finished),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) if concerns_file => {
            Some(Wake::Finished)
        }
        EventKind::Access(_) => None,
        EventKind::Create(_) | EventKind::Remove(_) => Some(Wake::Touched),
        _ => concerns_file.then_some(Wake::Touched),
    }
}
