//! Whom a cell has to be, who is trusted to say so, and what is shown to it: a configuration of rustls, made once for what
//! the table says and what its files hold. All of them verify.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use cellgate_table::{Digest, Problems, TlsClient};
use rustls::{
    ClientConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::ring,
    pki_types::ServerName,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};

use super::{
    certificates::{Loaded, load_pair},
    material::{Budget, FileBytes, Pair},
    roots::{expired, roots},
};
use crate::regular_file::Stamp;

/// Sessions kept for one endpoint, to be resumed. A server gives out a few at a time.
const SESSIONS_MAX: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub struct CellIdentity {
    pub(super) settings: TlsClient,
    /// Of the name and of all files' content. What differs in it must not share connections.
    digest: Digest,
    /// `None` where the files could not be used: there is no connection then.
    usable: Option<Usable>,
}

#[derive(Debug)]
struct Usable {
    config: ClientConfig,
    name: ServerName<'static>,
    client_cert: Option<Arc<Loaded>>,
}

/// What is wrong with one of the files, and which key of `tls` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From `tls` on.
    pub keys: &'static [&'static str],
    /// With the file's name.
    pub message: String,
    pub hint: String,
}

const SERVER_NAME: &[&str] = &["server_name"];
const CA: &[&str] = &["ca"];
const CERTIFICATE: &[&str] = &["client_cert", "certificate"];
const KEY: &[&str] = &["client_cert", "key"];

impl Fault {
    fn new(keys: &'static [&'static str], problems: &Problems) -> Self {
        let problem = problems.problems.first();
        let [message, hint] = problem
            .map(|problem| [&*problem.message, &*problem.hint])
            .unwrap_or_default();
        Self {
            keys,
            message: format!("{}: {message}", problems.file),
            hint: hint.to_owned(),
        }
    }
}

/// Reads files for many cells, each file once.
#[derive(Debug)]
pub(super) struct Reader<'f> {
    /// Where relative paths begin.
    folder: &'f Path,
    budget: Budget,
    files: HashMap<PathBuf, Result<Arc<Read>, Problems>>,
    verifiers: HashMap<PathBuf, Result<Arc<WebPkiServerVerifier>, Problems>>,
}

#[derive(Debug)]
struct Read {
    file: FileBytes,
    digest: Digest,
}

impl<'f> Reader<'f> {
    pub(super) fn new(folder: &'f Path) -> Self {
        Self {
            folder,
            budget: Budget::new("check that they are certificates"),
            files: HashMap::new(),
            verifiers: HashMap::new(),
        }
    }

    /// What is wrong with the dates of the authorities that may vouch for a cell.
    pub(super) fn expired_authorities(&mut self, settings: &TlsClient, now: i64) -> Vec<Fault> {
        let Ok(ca) = self.file(&settings.ca) else {
            return Vec::new();
        };
        let expired = expired(&ca.file, now);
        expired.iter().map(|it| Fault::new(CA, it)).collect()
    }

    fn file(&mut self, path: &str) -> Result<Arc<Read>, Problems> {
        let path = self.folder.join(path);
        let budget = &mut self.budget;
        let read = self.files.entry(path).or_insert_with_key(|path| {
            let file = budget.read(path)?;
            let digest = Digest::of(&file.bytes);
            Ok(Arc::new(Read { file, digest }))
        });
        read.clone()
    }

    /// Who verifies for a file of authorities.
    fn verifier(&mut self, ca: &FileBytes) -> Result<Arc<WebPkiServerVerifier>, Problems> {
        let verifier = self.verifiers.entry(ca.path.clone());
        let verifier = verifier.or_insert_with(|| {
            let provider = Arc::new(ring::default_provider());
            let roots = Arc::new(roots(ca)?);
            let builder = WebPkiServerVerifier::builder_with_provider(roots, provider);
            builder.build().map_err(|error| {
                let problem =
                    Problems::whole_file(format!("cannot be used: {error}"), "check the CAs");
                problem.in_file(ca.path.display())
            })
        });
        verifier.clone()
    }
}

/// All files of an identity, as they were read.
struct Files {
    ca: Arc<Read>,
    client_cert: Option<(Arc<Read>, Arc<Read>)>,
}

impl Files {
    fn read(settings: &TlsClient, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut read = |keys, path: &str| {
            let read = reader.file(path);
            read.map_err(|problems| Fault::new(keys, &problems))
        };
        Ok(Self {
            ca: read(CA, &settings.ca)?,
            client_cert: match &settings.client_cert {
                None => None,
                Some(cert) => Some((read(CERTIFICATE, &cert.certificate)?, read(KEY, &cert.key)?)),
            },
        })
    }

    fn digest(&self, server_name: &str) -> Digest {
        let mut parts = vec![server_name.to_ascii_lowercase(), self.ca.digest.to_string()];
        if let Some((certificate, key)) = &self.client_cert {
            parts.extend([certificate.digest.to_string(), key.digest.to_string()]);
        }
        Digest::of(parts.join(" ").as_bytes())
    }
}

impl CellIdentity {
    /// Reads the files of a cell. One whose content is that of `previous` is `previous`, with its sessions.
    pub(super) fn load(
        settings: &TlsClient,
        reader: &mut Reader<'_>,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Fault> {
        let files = Files::read(settings, reader)?;
        let digest = files.digest(&settings.server_name);
        if let Some(previous) =
            previous.filter(|it| it.settings == *settings && it.digest == digest)
        {
            return Ok(Arc::clone(previous));
        }
        Ok(Arc::new(Self {
            settings: settings.clone(),
            digest,
            usable: Some(Usable::new(settings, &files, reader)?),
        }))
    }

    /// What a cell has whose files cannot be used, until they can.
    pub(super) fn unusable(settings: &TlsClient) -> Arc<Self> {
        let said = format!("unusable {} {}", settings.server_name, settings.ca);
        Arc::new(Self {
            settings: settings.clone(),
            digest: Digest::of(said.as_bytes()),
            usable: None,
        })
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whom the cell has to be.
    pub fn server_name(&self) -> &str {
        &self.settings.server_name
    }

    pub fn is_usable(&self) -> bool {
        self.usable.is_some()
    }

    /// Whether the same is shown to the cell.
    pub(super) fn shows_as(&self, other: &Self) -> bool {
        self.shown().map(|shown| &shown.certified.cert)
            == other.shown().map(|shown| &shown.certified.cert)
    }

    fn shown(&self) -> Option<&Arc<Loaded>> {
        self.usable.as_ref()?.client_cert.as_ref()
    }

    /// When what is shown to the cell expires, and of which file it is.
    pub fn expiry(&self) -> Option<(&Path, i64)> {
        let shown = self.shown()?;
        Some((&shown.file, shown.not_after))
    }

    /// What is wrong with the dates of what is shown to the cell.
    pub(super) fn untimely(&self, now: i64) -> Option<Fault> {
        let problems = self.shown()?.untimely(now)?;
        Some(Fault::new(CERTIFICATE, &problems))
    }

    pub(super) fn name(&self) -> Option<&ServerName<'static>> {
        Some(&self.usable.as_ref()?.name)
    }

    /// A configuration for one endpoint: it has sessions of its own, which another endpoint may not know.
    pub(super) fn config_for_endpoint(&self) -> Option<Arc<ClientConfig>> {
        let mut config = self.usable.as_ref()?.config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Some(Arc::new(config))
    }
}

impl Usable {
    fn new(settings: &TlsClient, files: &Files, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let name = ServerName::try_from(settings.server_name.to_string()).map_err(|error| {
            let problems =
                Problems::whole_file(error.to_string(), "write a name, or an IP address");
            Fault::new(SERVER_NAME, &problems.in_file(&settings.server_name))
        })?;
        let verifier = reader
            .verifier(&files.ca.file)
            .map_err(|problems| Fault::new(CA, &problems))?;
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring has suites for both versions")
            .with_webpki_verifier(verifier);
        let Some((certificate, key)) = &files.client_cert else {
            return Ok(Self {
                config: config.with_no_client_auth(),
                name,
                client_cert: None,
            });
        };
        let pair = Pair {
            certificate: certificate.file.clone(),
            key: key.file.clone(),
        };
        let stamps = (Stamp::of(&certificate.file.path), Stamp::of(&key.file.path));
        let is_of_key = |problems: &Problems| {
            let key = key.file.path.display().to_string();
            problems.file == key && key != certificate.file.path.display().to_string()
        };
        let shown = load_pair(&pair, certificate.digest, stamps).map_err(|problems| {
            let keys = if is_of_key(&problems) {
                KEY
            } else {
                CERTIFICATE
            };
            Fault::new(keys, &problems)
        })?;
        let resolver = SingleCertAndKey::from(Arc::clone(&shown.certified));
        Ok(Self {
            config: config.with_client_cert_resolver(Arc::new(resolver)),
            name,
            client_cert: Some(Arc::new(shown)),
        })
    }
}
