//! Certificates by the names that clients ask for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cellgate_table::{Digest, Problems};
use hashbrown::HashMap;
use rustls::{
    Error, InconsistentKeys, SignatureAlgorithm,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _, prelude::X509Certificate};

use super::material::Pair;
use crate::clock;

/// One certificate with its chain and its key.
#[derive(Debug)]
pub struct Loaded {
    pub file: PathBuf,
    /// DNS names, lower-cased; `*.` begins one that holds for any one label there.
    names: Vec<Box<str>>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// Of both files' bytes.
    digest: Digest,
    certified: Arc<CertifiedKey>,
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
}

impl Certificates {
    /// Reads all pairs, or says of each file what is wrong with it. What is in `previous` unchanged is taken from there. A
    /// certificate that is not valid at `now` (seconds since 1970) is a problem only where it would replace `previous`
    /// ones: it is better than having none, and [`untimely`](Self::untimely) lists it.
    pub fn load(
        pairs: &[Pair],
        default: Option<&str>,
        now: i64,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Problems>> {
        let known: HashMap<Digest, &Arc<Loaded>> = previous
            .iter()
            .flat_map(|previous| &previous.loaded)
            .map(|loaded| (loaded.digest, loaded))
            .collect();
        let (mut loaded, mut problems) = (Vec::new(), Vec::new());
        for pair in pairs {
            let digest = digest_of(pair);
            if let Some(known) = known.get(&digest)
                && known.file == pair.certificate.path
            {
                loaded.push(Arc::clone(known));
                continue;
            }
            match load_pair(pair, digest) {
                Ok(new) => {
                    problems.extend(previous.and_then(|_| new.untimely(now)));
                    loaded.push(Arc::new(new));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::by_name(loaded, default)
    }

    fn by_name(loaded: Vec<Arc<Loaded>>, default: Option<&str>) -> Result<Self, Vec<Problems>> {
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
            .expect("whoever reads the settings wants at least one");
        let mut by_name = Self {
            exact,
            wildcard,
            default: vec![Arc::clone(first)],
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
                return Err(vec![Problems::whole_file(message, hint)]);
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
        let schemes = hello.signature_schemes();
        let fits = |loaded: &&Arc<Loaded>| loaded.certified.key.choose_scheme(schemes).is_some();
        // Where none fits, the handshake fails for just that reason.
        let chosen = choices.iter().find(fits).or(choices.first())?;
        Some(Arc::clone(&chosen.certified))
    }
}

impl Loaded {
    /// What is cheaper to sign with comes first, and of the same kind what is valid longest.
    fn preference(&self) -> (bool, i64) {
        let is_rsa = self.certified.key.algorithm() == SignatureAlgorithm::RSA;
        (is_rsa, -self.not_after)
    }

    fn untimely(&self, now: i64) -> Option<Problems> {
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

fn digest_of(pair: &Pair) -> Digest {
    let both = [&pair.certificate.bytes[..], b"\0", &pair.key.bytes[..]];
    Digest::of(&both.concat())
}

fn load_pair(pair: &Pair, digest: Digest) -> Result<Loaded, Problems> {
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
        let hint =
            "put the server's certificate there in PEM (BEGIN CERTIFICATE), and its chain after it";
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
