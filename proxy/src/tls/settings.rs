//! What a listener's `tls` says.

use std::{path::PathBuf, time::Duration};

/// See `conf/README.md` for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub certificates: Vec<CertificateFiles>,
    /// A folder with further ones.
    pub directory: Option<PathBuf>,
    /// The name whose certificate is used for clients that ask for none, or for one that is not known.
    pub default: Option<String>,
    pub min_version: MinVersion,
    pub client_auth: Option<ClientAuth>,
    /// The keys of session tickets that a fleet shares. Without it the listener has its own.
    pub ticket_keys: Option<PathBuf>,
    /// For a whole handshake, from the accept.
    pub handshake: Duration,
    pub handshakes_at_once_max: usize,
    pub alpn: Alpn,
}

/// Which protocols clients may offer in the handshake (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    Http,
    PostgreSql,
    /// Nothing is answered: it is not known what is carried.
    Any,
}

impl Alpn {
    pub fn names(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http => vec![b"http/1.1".to_vec()],
            Self::PostgreSql => vec![b"postgresql".to_vec()],
            Self::Any => Vec::new(),
        }
    }
}

/// A certificate with its chain, and its private key; they may be one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    Tls12,
    Tls13,
}

/// Which clients have to show a certificate, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    pub mode: ClientAuthMode,
    pub ca: PathBuf,
    pub crl: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// A client without a certificate is served; one with a bad certificate is not.
    Optional,
    Required,
}
