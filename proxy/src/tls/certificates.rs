//! Certificates by the names that clients ask for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cellgate_table::{Digest, Problems};
use hashbrown::HashMap;
use rustls::{
    Error, InconsistentKeys, SignatureAlgorithm, SignatureScheme,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _, prelude::X509Certificate};

use super::material::{Entry, Pair, PairStamps, Reading};
use crate::clock;

/// One certificate with its chain and its key.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub file: PathBuf,
    /// DNS names, lower-cased; `*.` begins one that holds for any one label there.
    names: Vec<Box<str>>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// Of both files' bytes.
    digest: Digest,
    /// The state of both files when they were read.
    stamps: PairStamps,
    pub(super) certified: Arc<CertifiedKey>,
}

/// Certificates for one name, the one to prefer first: others are for clients that cannot check its signature.
type Choices = Vec<Arc<Loaded>>;

/// All certificates of a listener, by name. There is at least one.
#[derive(Debug)]
pub struct Certificates {
    exact: HashMap<Box<str>, Choices>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Choices>,
    default: Choices,
    pub loaded: Vec<Arc<Loaded>>,
    /// Their places in `loaded`, by the certificate's file.
    by_file: HashMap<PathBuf, usize>,
}

impl Certificates {
    /// Judges each pair by itself. One that is refused comes with what is wrong with it, and the certificate that `previous`
    /// has of that path stays in its place, if there is one. Fails if none is left, and at the start, without `previous`, for
    /// a pair that the configuration names.
    ///
    /// A certificate that is not valid at `now` (seconds since 1970) is refused only where there are `previous` ones: it is
    /// better than having none, and [`untimely`](Self::untimely) lists it.
    pub fn load(
        entries: Vec<Entry>,
        default: Option<&str>,
        now: i64,
        previous: Option<&Self>,
    ) -> Result<(Self, Vec<Problems>), Vec<Problems>> {
        let (mut loaded, mut refused) = (Vec::new(), Vec::new());
        let mut is_fatal = false;
        for entry in entries {
            let known = previous.and_then(|previous| previous.of_file(&entry.certificate));
            let is_named = entry.is_named;
            match judge(entry, now, previous.is_some(), known) {
                Ok(certificate) => loaded.push(certificate),
                Err(problem) => {
                    refused.push(problem);
                    is_fatal |= is_named && previous.is_none();
                    loaded.extend(known.map(Arc::clone));
                }
            }
        }
        if is_fatal || loaded.is_empty() {
            return Err(refused);
        }
        let by_name = Self::by_name(loaded, default, &mut refused)?;
        Ok((by_name, refused))
    }

    /// Whether these are the same as others.
    pub fn are_as(&self, others: &Self) -> bool {
        let of = |all: &Self| -> Vec<_> {
            let loaded = all.loaded.iter();
            loaded
                .map(|loaded| (loaded.file.clone(), loaded.digest))
                .collect()
        };
        self.loaded.len() == others.loaded.len() && of(self) == of(others)
    }

    /// In which state the files of a certificate were when it was read.
    pub fn stamps_of(&self, file: &Path) -> Option<&PairStamps> {
        self.of_file(file).map(|loaded| &loaded.stamps)
    }

    fn of_file(&self, file: &Path) -> Option<&Arc<Loaded>> {
        self.by_file.get(file).map(|index| &self.loaded[*index])
    }

    /// Where a pair was `refused`, it may be the one that has the name of `default`: then the first one stands in for it.
    fn by_name(
        loaded: Vec<Arc<Loaded>>,
        default: Option<&str>,
        refused: &mut Vec<Problems>,
    ) -> Result<Self, Vec<Problems>> {
        let (mut exact, mut wildcard) = (HashMap::<Box<str>, Choices>::new(), HashMap::new());
        for certificate in &loaded {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, &**name),
                };
                let choices: &mut Choices = map.entry(name.into()).or_default();
                choices.push(Arc::clone(certificate));
            }
        }
        for choices in exact.values_mut().chain(wildcard.values_mut()) {
            choices.sort_by_key(|certificate| certificate.preference());
        }
        let first = loaded
            .first()
            .expect("without one there is nothing to do by name");
        let by_file = loaded.iter().enumerate();
        let by_file = by_file.map(|(index, loaded)| (loaded.file.clone(), index));
        let mut by_name = Self {
            exact,
            wildcard,
            default: vec![Arc::clone(first)],
            by_file: by_file.collect(),
            loaded,
        };
        let wanted = default.or_else(|| by_name.default[0].names.first().map(|name| &**name));
        match wanted.map(|name| by_name.named(name)) {
            Some(Some(choices)) => by_name.default = choices.clone(),
            Some(None) => {
                let message = format!(
                    "no certificate has the name `{}` that `default` asks for",
                    wanted.unwrap_or_default()
                );
                let hint = "name one that a certificate has, or leave `default` out";
                let has_refused = !refused.is_empty();
                refused.push(Problems::whole_file(message, hint));
                if !has_refused {
                    return Err(std::mem::take(refused));
                }
            }
            None => {}
        }
        Ok(by_name)
    }

    /// The certificates for a name: exactly this one, or a wildcard.
    fn named(&self, name: &str) -> Option<&Choices> {
        let lower;
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &*lower
        } else {
            name
        };
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }

    /// What is expired or not valid yet, each under its file's name.
    pub fn untimely(&self, now: i64) -> Vec<Problems> {
        let loaded = self.loaded.iter();
        loaded.filter_map(|loaded| loaded.untimely(now)).collect()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.named(name));
        let choices = named.unwrap_or(&self.default);
        let chosen = choose(choices, hello.signature_schemes(), clock::unix_now())?;
        Some(Arc::clone(&chosen.certified))
    }
}

/// The first one that a client with these schemes can check, and that is valid at `now`: one of another kind is better than
/// one that has expired.
fn choose<'c>(
    choices: &'c [Arc<Loaded>],
    schemes: &[SignatureScheme],
    now: i64,
) -> Option<&'c Arc<Loaded>> {
    let fitting = choices
        .iter()
        .filter(|loaded| loaded.certified.key.choose_scheme(schemes).is_some());
    let is_valid = |loaded: &&Arc<Loaded>| (loaded.not_before..=loaded.not_after).contains(&now);
    let valid = fitting.clone().find(is_valid);
    // Where none fits, the handshake fails for just that reason.
    valid.or_else(|| fitting.clone().next()).or(choices.first())
}

impl Loaded {
    /// What is cheaper to sign with comes first, and of the same kind what is valid longest.
    fn preference(&self) -> (bool, i64) {
        let is_rsa = self.certified.key.algorithm() == SignatureAlgorithm::RSA;
        (is_rsa, -self.not_after)
    }

    /// What is wrong with its dates, under its file\'s name.
    pub(super) fn untimely(&self, now: i64) -> Option<Problems> {
        let (message, hint) = if now > self.not_after {
            let expired = clock::rfc3339(clock::of_unix(self.not_after));
            (
                format!("the certificate expired on {expired}"),
                "renew it, or remove it",
            )
        } else if now < self.not_before {
            let begins = clock::rfc3339(clock::of_unix(self.not_before));
            (
                format!("the certificate is not valid before {begins}"),
                "check this machine's clock, or wait with it until then",
            )
        } else {
            return None;
        };
        let names = match &self.names[..] {
            [] => String::new(),
            [name] => format!(" (for {name})"),
            [name, others @ ..] => format!(" (for {name} and {} more)", others.len()),
        };
        Some(Problems::whole_file(message + &names, hint).in_file(self.file.display()))
    }
}

/// The certificate of an entry: that in force if it is `known` and its files have not changed, or else a new one.
fn judge(
    entry: Entry,
    now: i64,
    is_reload: bool,
    known: Option<&Arc<Loaded>>,
) -> Result<Arc<Loaded>, Problems> {
    let pair = match (entry.read?, known) {
        (Reading::Read(pair), _) => pair,
        (Reading::Unchanged, Some(known)) => return Ok(Arc::clone(known)),
        (Reading::Unchanged, None) => unreachable!("only what is in force is left unread"),
    };
    let digest = digest_of(&pair);
    if let Some(known) = known.filter(|known| known.digest == digest) {
        return Ok(Arc::new(Loaded {
            stamps: entry.stamps,
            ..Loaded::clone(known)
        }));
    }
    let new = load_pair(&pair, digest, entry.stamps)?;
    match new.untimely(now) {
        Some(problem) if is_reload => Err(problem),
        _ => Ok(Arc::new(new)),
    }
}

fn digest_of(pair: &Pair) -> Digest {
    let both = [&pair.certificate.bytes[..], b"\0", &pair.key.bytes[..]];
    Digest::of(&both.concat())
}

/// One certificate with its chain and its key, of a server or a client.
pub(super) fn load_pair(
    pair: &Pair,
    digest: Digest,
    stamps: PairStamps,
) -> Result<Loaded, Problems> {
    let (certificate, key) = (&pair.certificate, &pair.key);
    let refuse = |file: &Path, message: String, hint: &str| {
        Problems::whole_file(message, hint).in_file(file.display())
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate.bytes).collect();
    let chain = chain.map_err(|error| {
        let hint = "check that the whole PEM file was copied";
        refuse(&certificate.path, format!("is not PEM: {error}"), hint)
    })?;
    let Some(first) = chain.first() else {
        let hint = "put the certificate there in PEM (BEGIN CERTIFICATE), and its chain after it";
        return Err(refuse(
            &certificate.path,
            "holds no certificate".to_owned(),
            hint,
        ));
    };
    let facts = facts_of(first).map_err(|message| {
        let hint = "the first certificate of the file has to be the server's own";
        refuse(&certificate.path, message, hint)
    })?;
    let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|error| {
        let hint = "put the private key there in PEM (BEGIN PRIVATE KEY), without a passphrase";
        let message = format!("holds no private key that can be read: {error}");
        refuse(&key.path, message, hint)
    })?;
    let provider = ring::default_provider();
    let certified = CertifiedKey::from_der(chain, private, &provider).map_err(|error| {
        if error == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            let message = format!(
                "the key does not fit the certificate in {}",
                certificate.path.display()
            );
            let hint = "name the key that the certificate was made for; the server's own certificate comes first in its file";
            return refuse(&key.path, message, hint);
        }
        if let Error::InvalidCertificate(fault) = error {
            let hint = "the first certificate of the file has to be the server's own";
            let message = format!("holds a certificate that cannot be used: {fault:?}");
            return refuse(&certificate.path, message, hint);
        }
        let hint = "use an RSA key of 2,048 to 4,096 bits, ECDSA P-256 or P-384, or Ed25519";
        refuse(&key.path, format!("the key cannot be used: {error}"), hint)
    })?;
    Ok(Loaded {
        file: certificate.path.clone(),
        names: facts.names,
        not_before: facts.not_before,
        not_after: facts.not_after,
        digest,
        stamps,
        certified: Arc::new(certified),
    })
}

struct Facts {
    names: Vec<Box<str>>,
    not_before: i64,
    not_after: i64,
}

fn facts_of(der: &CertificateDer<'_>) -> Result<Facts, String> {
    let (_, parsed) = X509Certificate::from_der(der)
        .map_err(|error| format!("holds a certificate that cannot be read: {error}"))?;
    let alternative = parsed
        .subject_alternative_name()
        .map_err(|error| format!("holds a certificate whose names cannot be read: {error}"))?;
    let general = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    let names = general.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        _ => None,
    });
    let validity = parsed.validity();
    Ok(Facts {
        names: names.collect(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

#[cfg(test)]
mod tests;
