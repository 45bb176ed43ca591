//! The bearer token: made at the first start, in a file that only its owner can read. For a change of tokens the file
//! may hold two, the old one and the new one.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use crate::publish::file::replace_private;

/// Random bytes of a token, which is written in hexadecimal.
const RANDOM_BYTES: usize = 32;
/// Shorter ones could be guessed.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_CHARS_MAX: usize = 512;
/// The old one and the new one.
const TOKENS_MAX: usize = 2;
const FILE_BYTES_MAX: u64 = 4 * 1024;
/// Permissions with which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// Permissions with which others than the owner may read.
const OTHERS_READ: u32 = 0o044;

/// Why there is no token to use.
#[derive(Debug)]
pub enum TokenError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    NoToken {
        path: PathBuf,
    },
    /// Others than its owner may write the file.
    OthersWrite {
        path: PathBuf,
        mode: u32,
    },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "token file {}: {error}", path.display()),
            Self::NoToken { path } => write!(
                f,
                "token file {} does not hold one token of {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} printable characters, \
                 or {TOKENS_MAX} of them, each on a line of its own; remove it to have a new one made",
                path.display()
            ),
            Self::OthersWrite { path, mode } => write!(
                f,
                "token file {path} can be written by others than its owner (mode {mode:o}), who could set a token of \
                 their own; run `chmod 600 {path}`, and replace the token if you do not know who wrote it",
                path = path.display()
            ),
        }
    }
}

impl std::error::Error for TokenError {}

/// The tokens that are good at the moment.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    /// Digests, so that comparing takes the same time wherever two differ.
    digests: RwLock<Vec<[u8; 32]>>,
}

impl Tokens {
    /// Reads the file, or makes one with a new token.
    ///
    /// # Errors
    /// The file can be neither read nor made, holds no token, or others may write it.
    pub fn load_or_make(path: &Path) -> Result<Self, TokenError> {
        let digests = match read(path) {
            Err(TokenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                vec![digest(&make(path)?)]
            }
            found => found?,
        };
        Ok(Self {
            path: path.to_owned(),
            digests: RwLock::new(digests),
        })
    }

    /// Reads the file again. Returns how many tokens are good now.
    ///
    /// # Errors
    /// It cannot be read, holds no token, or others may write it. Then the tokens stay what they were.
    pub fn reload(&self) -> Result<usize, TokenError> {
        let digests = read(&self.path)?;
        let count = digests.len();
        *self.digests.write().unwrap_or_else(PoisonError::into_inner) = digests;
        Ok(count)
    }

    /// Whether this is one of them.
    pub fn knows(&self, token: &str) -> bool {
        let digest = digest(token);
        let digests = self.digests.read().unwrap_or_else(PoisonError::into_inner);
        digests.contains(&digest)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The digests of the tokens in the file. A link is followed: mounted secrets are links.
fn read(path: &Path) -> Result<Vec<[u8; 32]>, TokenError> {
    let failed = |error| TokenError::Io {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(failed)?;
    // Of the file that was opened, whatever stands there meanwhile.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS_WRITE != 0 {
        let path = path.to_owned();
        return Err(TokenError::OthersWrite { path, mode });
    }
    if mode & OTHERS_READ != 0 {
        let mode = format!("{mode:o}");
        warn!(path = %path.display(), mode, "others than its owner can read the token file; run `chmod 600`");
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    tokens_of(&text)
        .map(|tokens| tokens.into_iter().map(digest).collect())
        .ok_or_else(|| TokenError::NoToken {
            path: path.to_owned(),
        })
}

/// One or two tokens, a line each.
fn tokens_of(text: &str) -> Option<Vec<&str>> {
    let lines = text.lines().map(str::trim);
    let tokens: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let is_good = |token: &&str| {
        (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let are_good = (1..=TOKENS_MAX).contains(&tokens.len()) && tokens.iter().all(is_good);
    are_good.then_some(tokens)
}

fn make(path: &Path) -> Result<String, TokenError> {
    let failed = |error| TokenError::Io {
        path: path.to_owned(),
        error,
    };
    let token = random_token().map_err(failed)?;
    replace_private(path, format!("{token}\n").as_bytes()).map_err(failed)?;
    info!(path = %path.display(), "token made");
    Ok(token)
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
    use std::fs;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_token_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let tokens = Tokens::load_or_make(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 64);
        assert!(tokens.knows(text.trim()) && !tokens.knows("") && !tokens.knows(&text));
        assert!(Tokens::load_or_make(&path).unwrap().knows(text.trim()));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "short\n").unwrap();
        assert!(Tokens::load_or_make(&path).is_err());
    }

    #[test]
    fn two_tokens_are_good_while_one_takes_the_place_of_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let (old, new) = ("an-old-token-of-24-chars", "a-newer-token-of-24-char");
        fs::write(&path, format!("{old}\n")).unwrap();
        set_mode(&path, 0o600);
        let tokens = Tokens::load_or_make(&path).unwrap();
        fs::write(&path, format!("{old}\n{new}\n")).unwrap();
        assert!(tokens.knows(old) && !tokens.knows(new));
        assert_eq!(tokens.reload().unwrap(), 2);
        assert!(tokens.knows(old) && tokens.knows(new));
        // A mistake costs nothing.
        for wrong in [
            "",
            "short",
            "with a space in it, and long",
            &format!("{old}\n{new}\n{old}"),
        ] {
            fs::write(&path, wrong).unwrap();
            assert!(tokens.reload().is_err(), "{wrong:?}");
            assert!(tokens.knows(old) && tokens.knows(new));
        }
        fs::write(&path, format!("\n{new}\r\n\n")).unwrap();
        assert_eq!(tokens.reload().unwrap(), 1);
        assert!(!tokens.knows(old) && tokens.knows(new));
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("secret"), folder.path().join("token"));
        fs::write(&path, "a-token-of-24-characters\n").unwrap();
        std::os::unix::fs::symlink("secret", &link).unwrap();
        for (mode, is_good) in [
            (0o600, true),
            (0o644, true),
            (0o440, true),
            (0o620, false),
            (0o666, false),
        ] {
            set_mode(&path, mode);
            assert_eq!(Tokens::load_or_make(&link).is_ok(), is_good, "{mode:o}");
        }
    }
}
