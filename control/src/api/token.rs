//! The bearer token: made at the first start, in a file that only its owner can read.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tracing::{info, warn};

use crate::publish::file::replace_private;

/// Random bytes of a token, which is written in hexadecimal.
const RANDOM_BYTES: usize = 32;
/// Shorter ones could be guessed.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_CHARS_MAX: usize = 512;

/// Why there is no token to use.
#[derive(Debug)]
pub enum TokenError {
    Io { path: PathBuf, error: io::Error },
    NoToken { path: PathBuf },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "token file {}: {error}", path.display()),
            Self::NoToken { path } => write!(
                f,
                "token file {} does not hold one word of {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} printable characters; \
                 remove it to have a new one made",
                path.display()
            ),
        }
    }
}

impl std::error::Error for TokenError {}

/// Reads the token, or makes one.
///
/// # Errors
/// The file can be neither read nor made, or holds no token.
pub fn load_or_make(path: &Path) -> Result<String, TokenError> {
    let failed = |error| TokenError::Io {
        path: path.to_owned(),
        error,
    };
    match fs::read_to_string(path) {
        Ok(text) => {
            warn_if_open(path);
            let token = text.trim();
            let is_good = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len())
                && token.bytes().all(|byte| byte.is_ascii_graphic());
            if is_good {
                Ok(token.to_owned())
            } else {
                Err(TokenError::NoToken {
                    path: path.to_owned(),
                })
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = random_token().map_err(failed)?;
            replace_private(path, format!("{token}\n").as_bytes()).map_err(failed)?;
            info!(path = %path.display(), "token made");
            Ok(token)
        }
        Err(error) => Err(failed(error)),
    }
}

fn warn_if_open(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let path = path.display();
        warn!(%path, mode = format!("{:o}", mode & 0o777), "others than its owner can read the token file");
    }
}

fn random_token() -> io::Result<String> {
    use fmt::Write as _;
    let mut bytes = [0; RANDOM_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut token = String::with_capacity(2 * RANDOM_BYTES);
    for byte in bytes {
        write!(token, "{byte:02x}").expect("writing to a string never fails");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = load_or_make(&path).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(load_or_make(&path).unwrap(), token);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "short\n").unwrap();
        assert!(load_or_make(&path).is_err());
    }
}
