//! Where the table lies: the file that the configured path leads to, and the lock beside it.
//!
//! A path that is a link stays one: what it leads to is replaced. It is followed anew for each write, and nothing is
//! written if it leads elsewhere than at the start, since the lock is held there.

use std::{
    fmt, fs, io,
    path::{Component, Path, PathBuf},
};

use cellgate_process::{folder_of, lock::Lock};

/// Links that are followed one after the other; Linux follows as many.
const LINKS_MAX: usize = 40;

/// How the names of Kubernetes begin in a volume that it fills from a config map or a secret: `..data` is a link to a folder
/// such as `..2026_01_01_12_00_00.123`, and is swapped as a whole. What anybody else wrote there is gone then.
const KUBERNETES_PREFIX: &str = "..";

/// Why there is no place to write the table to.
#[derive(Debug)]
pub enum PlaceError {
    /// The folder, or a link on the way to it, is not there or cannot be read.
    Folder {
        folder: PathBuf,
        error: io::Error,
    },
    /// The links lead through a folder that Kubernetes swaps.
    Kubernetes {
        link: PathBuf,
    },
    TooManyLinks {
        path: PathBuf,
    },
    /// The links lead elsewhere than when the lock was taken.
    Moved {
        from: PathBuf,
        to: PathBuf,
    },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { folder, error } => write!(
                f,
                "the table cannot be written into {}: {error}; make that folder, or let `table.path` name a file in one \
                 that is there",
                folder.display()
            ),
            Self::Kubernetes { link } => write!(
                f,
                "{} leads into a volume that Kubernetes fills from a ConfigMap or Secret (`..data`), where every change \
                 is lost; let `table.path` name a file in a volume that can be written, such as a \
                 persistentVolumeClaim",
                link.display()
            ),
            Self::TooManyLinks { path } => write!(
                f,
                "{} is a chain of more than {LINKS_MAX} links; let `table.path` name the file itself",
                path.display()
            ),
            Self::Moved { from, to } => write!(
                f,
                "the table's path leads to {} now, and led to {} when this daemon started; restart it if that is meant",
                to.display(),
                from.display()
            ),
        }
    }
}

impl std::error::Error for PlaceError {}

/// The table's place, locked.
#[derive(Debug)]
pub struct Place {
    /// As the configuration has it.
    path: PathBuf,
    target: PathBuf,
    lock: Lock,
}

impl Place {
    /// `target` is what `path` leads to, and what `lock` stands for.
    pub fn new(path: &Path, target: PathBuf, lock: Lock) -> Self {
        Self {
            path: path.to_owned(),
            target,
            lock,
        }
    }

    /// Whether nobody has taken the table away from this daemon.
    pub fn is_held(&self) -> bool {
        self.lock.is_held()
    }

    /// The file that is replaced.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The file to replace now.
    ///
    /// # Errors
    /// The path leads nowhere, or elsewhere than when the lock was taken.
    pub fn checked_target(&self) -> Result<&Path, PlaceError> {
        let now = target_of(&self.path)?;
        if now == self.target {
            return Ok(&self.target);
        }
        Err(PlaceError::Moved {
            from: self.target.clone(),
            to: now,
        })
    }
}

/// The file that a path leads to over whatever links, in a folder without any. The file itself need not be there: a link
/// that dangles says where it is to be.
///
/// # Errors
/// Its folder is not there, or no place for a table.
pub fn target_of(path: &Path) -> Result<PathBuf, PlaceError> {
    let mut target = path.to_owned();
    for _ in 0..LINKS_MAX {
        refuse_kubernetes(&target)?;
        let Ok(next) = fs::read_link(&target) else {
            return in_real_folder(&target);
        };
        // A link without a root starts at the folder that it lies in.
        target = folder_of(&target).join(next);
    }
    Err(PlaceError::TooManyLinks {
        path: path.to_owned(),
    })
}

fn refuse_kubernetes(path: &Path) -> Result<(), PlaceError> {
    let is_theirs = |part: Component<'_>| match part {
        Component::Normal(name) => name
            .as_encoded_bytes()
            .starts_with(KUBERNETES_PREFIX.as_bytes()),
        _ => false,
    };
    if path.components().any(is_theirs) {
        return Err(PlaceError::Kubernetes {
            link: path.to_owned(),
        });
    }
    Ok(())
}

fn in_real_folder(path: &Path) -> Result<PathBuf, PlaceError> {
    let folder = folder_of(path);
    match fs::canonicalize(&folder) {
        Ok(real) => {
            refuse_kubernetes(&real)?;
            Ok(real.join(path.file_name().unwrap_or_default()))
        }
        Err(error) => Err(PlaceError::Folder { folder, error }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_where_the_file_is_or_would_be() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("data/tables")).unwrap();
        let real = home.join("data/tables/table.yaml");
        symlink("data/tables", home.join("current")).unwrap();
        symlink("current/table.yaml", home.join("table.yaml")).unwrap();
        symlink(home.join("table.yaml"), home.join("other.yaml")).unwrap();
        for is_there in [false, true] {
            if is_there {
                fs::write(&real, "").unwrap();
            }
            for name in [
                "data/tables/table.yaml",
                "current/table.yaml",
                "table.yaml",
                "other.yaml",
                "data/../table.yaml",
            ] {
                assert_eq!(target_of(&home.join(name)).unwrap(), real, "{name}");
            }
        }
        assert!(home.join("table.yaml").is_symlink());
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let check = |name: &str, expected: &str| {
            let refused = target_of(&home.join(name)).unwrap_err().to_string();
            assert!(refused.contains(expected), "{name}: {refused}");
        };
        check("nowhere/table.yaml", "make that folder");
        symlink("nowhere/table.yaml", home.join("dangling")).unwrap();
        check("dangling", "make that folder");
        symlink("loop-b", home.join("loop-a")).unwrap();
        symlink("loop-a", home.join("loop-b")).unwrap();
        check("loop-a", "more than 40 links");
        // As Kubernetes lays out a volume.
        fs::create_dir(home.join("..2026_01_01")).unwrap();
        fs::write(home.join("..2026_01_01/table.yaml"), "").unwrap();
        symlink("..2026_01_01", home.join("..data")).unwrap();
        symlink("..data/table.yaml", home.join("table.yaml")).unwrap();
        check("table.yaml", "ConfigMap or Secret");
        check("..data/table.yaml", "ConfigMap or Secret");
        symlink("..data", home.join("tables")).unwrap();
        check("tables/table.yaml", "ConfigMap or Secret");
    }
}
