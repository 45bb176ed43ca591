//! Reads the files of a listener's `tls`, and detects when they may have changed. It understands nothing of what is in them.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use cellgate_table::Problems;

use super::settings::{CertificateFiles, TlsSettings};
use crate::regular_file::{self, FileError, Stamp};

/// Size of one file. Some chains have many certificates, and a list of revoked ones grows.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// All that one reading reads of certificates, keys, CAs and revocation lists, of a listener or of all cells. What did not
/// change for a listener is not read.
const BYTES_READ_MAX: u64 = 256 * 1024 * 1024;
/// Size of the file of ticket keys. A key has one line.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Certificates of one listener.
pub const CERTIFICATES_MAX: usize = 20_000;

/// What was read. What is wrong with one file is kept apart from the others, which may be good.
#[derive(Debug)]
pub struct Material {
    pub pairs: Vec<Entry>,
    pub ca: Option<Result<FileBytes, Problems>>,
    pub crl: Option<Result<FileBytes, Problems>>,
    pub ticket_keys: Option<Result<FileBytes, Problems>>,
}

/// A certificate of the listener.
#[derive(Debug)]
pub struct Entry {
    pub certificate: PathBuf,
    /// The configuration names it; others are found in the folder.
    pub is_named: bool,
    pub stamps: PairStamps,
    pub read: Result<Reading, Problems>,
}

#[derive(Debug)]
pub enum Reading {
    /// The files are as they were when the certificate in force was read from them.
    Unchanged,
    Read(Pair),
}

/// The states of a certificate's file and of its key's.
pub type PairStamps = (Stamp, Stamp);

#[derive(Debug)]
pub struct Pair {
    pub certificate: FileBytes,
    pub key: FileBytes,
}

#[derive(Clone, Debug)]
pub struct FileBytes {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// Which files there are, and the state of each. Another value says that there may be something to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(Vec<(PathBuf, Stamp)>);

impl Stamps {
    pub fn of(settings: &TlsSettings) -> Self {
        // A folder that cannot be listed is met when it is read; its own stamp says when that may have changed.
        let listed = list(settings).unwrap_or_default();
        let pairs = listed
            .into_iter()
            .flat_map(|files| [files.certificate, files.key]);
        let auth = settings.client_auth.iter();
        let auth = auth.flat_map(|auth| [Some(auth.ca.clone()), auth.crl.clone()]);
        let mut paths: Vec<PathBuf> = pairs
            .chain(auth.flatten())
            .chain(settings.ticket_keys.clone())
            .chain(settings.directory.clone())
            .collect();
        Self::of_paths(&mut paths)
    }

    /// Of these files, whatever their order.
    pub fn of_paths(paths: &mut Vec<PathBuf>) -> Self {
        paths.sort_unstable();
        paths.dedup();
        let stamped = paths.drain(..).map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        });
        Self(stamped.collect())
    }
}

/// Reads what has changed. `in_force` says in which state a certificate's files were when that in force was read; what is
/// still in that state is not read again. Fails only where not even the files are known.
pub fn read<'s>(
    settings: &TlsSettings,
    in_force: impl Fn(&Path) -> Option<&'s PairStamps>,
) -> Result<Material, Vec<Problems>> {
    let listed = list(settings)?;
    let mut budget =
        Budget::new("check that they are certificates, and spread them over several listeners");
    let mut pairs = Vec::new();
    for (index, files) in listed.into_iter().enumerate() {
        // Stamped before they are read: a change during that is met by the next look.
        let stamps = (Stamp::of(&files.certificate), Stamp::of(&files.key));
        let is_named = index < settings.certificates.len();
        let before = in_force(&files.certificate);
        if !is_named && before.is_none() && stamps.1.is_missing() {
            // Its key is on its way, or it is not a certificate of a server.
            continue;
        }
        let read = if before == Some(&stamps) {
            Ok(Reading::Unchanged)
        } else {
            budget.read_pair(&files).map(Reading::Read)
        };
        pairs.push(Entry {
            certificate: files.certificate,
            is_named,
            stamps,
            read,
        });
    }
    if let (true, Some(folder)) = (pairs.is_empty(), &settings.directory) {
        return Err(vec![no_certificate(folder)]);
    }
    let auth = settings.client_auth.as_ref();
    let ca = auth.map(|auth| budget.read(&auth.ca));
    let crl = auth.and_then(|auth| auth.crl.as_ref());
    let crl = crl.map(|crl| budget.read(crl));
    let ticket_keys = settings.ticket_keys.as_ref().map(|path| {
        let read = regular_file::read_secret(path, SECRET_BYTES_MAX);
        file_bytes(path, read)
    });
    Ok(Material {
        pairs,
        ca,
        crl,
        ticket_keys,
    })
}

pub(super) fn read_file(path: &Path) -> Result<FileBytes, Problems> {
    file_bytes(path, regular_file::read(path, FILE_BYTES_MAX))
}

/// How many bytes may still be read.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
    /// What to do once nothing is left.
    hint: &'static str,
}

impl Budget {
    pub(super) fn new(hint: &'static str) -> Self {
        Self {
            left: BYTES_READ_MAX,
            hint,
        }
    }

    /// Reads one file, or says why it cannot be read.
    pub(super) fn read(&mut self, path: &Path) -> Result<FileBytes, Problems> {
        if self.left == 0 {
            let mib = BYTES_READ_MAX / 1024 / 1024;
            let message = format!("is not read: the files before it have {mib} MiB");
            return Err(Problems::whole_file(message, self.hint).in_file(path.display()));
        }
        let file = read_file(path)?;
        self.left = self.left.saturating_sub(file.bytes.len() as u64);
        Ok(file)
    }

    fn read_pair(&mut self, files: &CertificateFiles) -> Result<Pair, Problems> {
        let certificate = self.read(&files.certificate)?;
        let key = if files.key == files.certificate {
            certificate.clone()
        } else {
            self.read(&files.key)?
        };
        Ok(Pair { certificate, key })
    }
}

fn file_bytes(path: &Path, read: Result<Vec<u8>, FileError>) -> Result<FileBytes, Problems> {
    match read {
        Ok(bytes) => Ok(FileBytes {
            path: path.to_owned(),
            bytes,
        }),
        Err(error) => Err(unreadable(&error, path)),
    }
}

fn no_certificate(folder: &Path) -> Problems {
    let hint = "put NAME.crt with NAME.key there, or NAME.pem with both";
    Problems::whole_file("there is no certificate in it", hint).in_file(folder.display())
}

/// The files of all certificates: those that are named, in their order, and then those of the folder, by name.
fn list(settings: &TlsSettings) -> Result<Vec<CertificateFiles>, Vec<Problems>> {
    let mut listed = settings.certificates.clone();
    if let Some(folder) = &settings.directory {
        let found = list_folder(folder).map_err(|error| {
            let message = format!("the directory cannot be read: {error}");
            let hint = "let the proxy's user read it, or correct `directory`";
            vec![Problems::whole_file(message, hint).in_file(folder.display())]
        })?;
        listed.extend(found);
        if listed.is_empty() {
            return Err(vec![no_certificate(folder)]);
        }
        if listed.len() > CERTIFICATES_MAX {
            let message = format!(
                "has {} certificates, more than {CERTIFICATES_MAX}",
                listed.len()
            );
            let problem = Problems::whole_file(message, "spread them over several listeners");
            return Err(vec![problem.in_file(folder.display())]);
        }
    }
    Ok(listed)
}

/// `NAME.crt` belongs to `NAME.key`; `NAME.pem` has its key inside, or beside it in `NAME.key`. Other files, and those whose
/// name begins with a dot, are somebody else's, and so are folders.
fn list_folder(folder: &Path) -> io::Result<Vec<CertificateFiles>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            continue;
        }
        let certificate = entry.path();
        let name = certificate.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let beside = certificate.with_extension("key");
        let key = match certificate.extension().and_then(OsStr::to_str) {
            Some("crt") => beside,
            Some("pem") if beside.exists() => beside,
            Some("pem") => certificate.clone(),
            _ => continue,
        };
        found.push(CertificateFiles { certificate, key });
    }
    found.sort_unstable_by(|left, right| left.certificate.cmp(&right.certificate));
    Ok(found)
}

fn unreadable(error: &FileError, path: &Path) -> Problems {
    let hint = match error {
        FileError::Missing => "put the file there, or correct the path in the configuration",
        FileError::Open(_) => "let the proxy's user read it, and enter the directories above it",
        FileError::NotAFile(_) => "put a regular file there",
        FileError::TooLarge { .. } => "check that the right file is named",
        FileError::Read(_) => "check the disk",
        FileError::Exposed { .. } => {
            "let nobody but its owner and group read it, and only its owner write it: chmod 640"
        }
        FileError::Torn => "replace the file with a rename instead of writing into it",
    };
    Problems::whole_file(error.to_string(), hint).in_file(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_pairs_and_what_is_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.crt", "b.key", "a.pem", "notes.txt", ".hidden.crt"] {
            fs::write(path(name), "").unwrap();
        }
        fs::create_dir(path("old.crt")).unwrap();
        let pair = |certificate: &str, key: &str| CertificateFiles {
            certificate: path(certificate),
            key: path(key),
        };
        let expected = [pair("a.pem", "a.pem"), pair("b.crt", "b.key")];
        assert_eq!(list_folder(folder.path()).unwrap(), expected);
    }
}
