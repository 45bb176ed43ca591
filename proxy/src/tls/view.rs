//! Everything that one handshake needs, made from the same reading of the files.

use std::sync::Arc;

use cellgate_table::{Problem, Problems};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

use super::{
    certificates::Certificates,
    material::{FileBytes, Material},
    settings::{ClientAuthMode, MinVersion, TlsSettings},
    tickets::{Tickets, file},
};

/// What is in force on a listener. Replaced as a whole.
#[derive(Debug)]
pub struct View {
    pub config: Arc<ServerConfig>,
    pub certificates: Arc<Certificates>,
    /// None where clients show certificates: a resumed session would not look at them again, so an expired or revoked one
    /// would come back without end.
    pub tickets: Option<Arc<Tickets>>,
}

impl View {
    /// Makes a view of what was read, or says of each file what is wrong with it. `now` is in seconds since 1970; see
    /// [`Certificates::load`] for the part of `previous`. `own_tickets` are for a listener without keys of a fleet.
    pub fn build(
        material: &Material,
        settings: &TlsSettings,
        now: i64,
        previous: Option<&Self>,
        own_tickets: &Arc<Tickets>,
    ) -> Result<Self, Vec<Problems>> {
        let provider = Arc::new(ring::default_provider());
        let certificates = Certificates::load(
            &material.pairs,
            settings.default.as_deref(),
            now,
            previous.map(|previous| &*previous.certificates),
        );
        let verifier = client_verifier(material, settings, &provider);
        let tickets = tickets(material, settings, own_tickets);
        let (certificates, verifier, tickets) = match (certificates, verifier, tickets) {
            (Ok(certificates), Ok(verifier), Ok(tickets)) => {
                (Arc::new(certificates), verifier, tickets)
            }
            (certificates, verifier, tickets) => {
                let mut problems = certificates.err().unwrap_or_default();
                problems.extend(verifier.err());
                problems.extend(tickets.err());
                return Err(problems);
            }
        };
        let versions: &[&SupportedProtocolVersion] = match settings.min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("ring has suites for both versions")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        match &tickets {
            Some(tickets) => config.ticketer = Arc::clone(tickets) as _,
            None => config.send_tls13_tickets = 0,
        }
        // Sessions are resumed by tickets, which cost no memory here, or not at all.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // A request that came with a handshake could be sent again by somebody else.
        config.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(config),
            certificates,
            tickets,
        })
    }
}

fn tickets(
    material: &Material,
    settings: &TlsSettings,
    own: &Arc<Tickets>,
) -> Result<Option<Arc<Tickets>>, Problems> {
    if settings.client_auth.is_some() {
        return Ok(None);
    }
    let Some(keys) = &material.ticket_keys else {
        return Ok(Some(Arc::clone(own)));
    };
    let secrets = file::parse(&keys.bytes).map_err(|mistake| {
        let hint = "put one key on each line, as `openssl rand -hex 32` makes them";
        let problem = Problem {
            line: mistake.line,
            column: None,
            path: String::new(),
            message: mistake.message,
            hint: hint.to_owned(),
        };
        Problems::one(problem).in_file(keys.path.display())
    })?;
    Ok(Some(Arc::new(Tickets::of_fleet(own.listener(), secrets))))
}

fn client_verifier(
    material: &Material,
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Problems> {
    let (Some(auth), Some(ca)) = (&settings.client_auth, &material.ca) else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let refuse = |file: &FileBytes, message: String, hint: &str| {
        Problems::whole_file(message, hint).in_file(file.path.display())
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&ca.bytes) {
        let added = root
            .map_err(|error| format!("is not PEM: {error}"))
            .and_then(|root| {
                let added = roots.add(root);
                added.map_err(|error| format!("holds a certificate that cannot be used: {error}"))
            });
        let hint = "put the certificates of the CAs there in PEM";
        added.map_err(|message| refuse(ca, message, hint))?;
    }
    if roots.is_empty() {
        let hint = "put the certificates of the CAs there in PEM (BEGIN CERTIFICATE)";
        return Err(refuse(ca, "holds no certificate".to_owned(), hint));
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(file) = &material.crl {
        let lists: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(&file.bytes).collect();
        let hint = "put the CAs' revocation lists there in PEM (BEGIN X509 CRL)";
        let lists = lists.map_err(|error| refuse(file, format!("is not PEM: {error}"), hint))?;
        if lists.is_empty() {
            return Err(refuse(file, "holds no revocation list".to_owned(), hint));
        }
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    if auth.mode == ClientAuthMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| {
        let file = material.crl.as_ref().unwrap_or(ca);
        refuse(
            file,
            format!("cannot be used: {error}"),
            "check the CAs and their revocation lists",
        )
    })
}
