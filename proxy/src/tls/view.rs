//! Everything that one handshake needs, made from the same reading of the files.

use std::sync::Arc;

use cellgate_table::{Digest, Problem, Problems};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use super::{
    certificates::Certificates,
    client_verifier::ClientVerifier,
    material::{FileBytes, Material},
    settings::{MinVersion, TlsSettings},
    tickets::{Tickets, file},
};

/// What is in force on a listener. Replaced as a whole.
#[derive(Debug)]
pub struct View {
    pub config: Arc<ServerConfig>,
    pub certificates: Arc<Certificates>,
    verifier: Made<ClientVerifier>,
    /// None where clients show certificates: a resumed session would not look at them again, so an expired or revoked one
    /// would come back without end.
    tickets: Made<Option<Arc<Tickets>>>,
}

/// Something made of files, and the digest of them.
type Made<T> = (Digest, T);

impl View {
    /// Makes a view of what was read. What is refused of it comes beside it: there `previous` goes on, as
    /// [`Certificates::load`] says. `now` is in seconds since 1970. `own_tickets` are for a listener without keys of a fleet.
    pub fn build(
        material: Material,
        settings: &TlsSettings,
        now: i64,
        previous: Option<&Self>,
        own_tickets: &Arc<Tickets>,
    ) -> Result<(Self, Vec<Problems>), Vec<Problems>> {
        let provider = Arc::new(ring::default_provider());
        let verifier = ClientVerifier::of(&material, settings, &provider);
        let tickets = tickets(&material, settings, own_tickets);
        let certificates = Certificates::load(
            material.pairs,
            settings.default.as_deref(),
            now,
            previous.map(|previous| &*previous.certificates),
        );
        let mut refused = Vec::new();
        let certificates = certificates.map(|(certificates, problems)| {
            refused.extend(problems);
            Arc::new(certificates)
        });
        let certificates = or_before(
            certificates,
            previous.map(|view| &view.certificates),
            &mut refused,
        );
        let verifier = verifier
            .map(|verifier| (digest_of([&material.ca, &material.crl]), verifier))
            .map_err(|problem| vec![problem]);
        let verifier = or_before(verifier, previous.map(|view| &view.verifier), &mut refused);
        let tickets = tickets
            .map(|tickets| (digest_of([&material.ticket_keys, &None]), tickets))
            .map_err(|problem| vec![problem]);
        let tickets = or_before(tickets, previous.map(|view| &view.tickets), &mut refused);
        let (Some(certificates), Some(verifier), Some(tickets)) = (certificates, verifier, tickets)
        else {
            return Err(refused);
        };
        let versions: &[&SupportedProtocolVersion] = match settings.min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("ring has suites for both versions")
            .with_client_cert_verifier(verifier.1.verifier())
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = settings.alpn.names();
        match &tickets.1 {
            Some(tickets) => config.ticketer = Arc::clone(tickets) as _,
            None => config.send_tls13_tickets = 0,
        }
        // Sessions are resumed by tickets, which cost no memory here, or not at all.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // A request that came with a handshake could be sent again by somebody else.
        config.max_early_data_size = 0;
        let view = Self {
            config: Arc::new(config),
            certificates,
            verifier,
            tickets,
        };
        Ok((view, refused))
    }
}

impl View {
    /// When the first of the lists of revoked certificates is out of date, in seconds since 1970.
    pub fn lists_end(&self) -> Option<i64> {
        self.verifier.1.lists_end()
    }

    /// What is expired, out of date or not valid yet, each under its file's name.
    pub fn untimely(&self, now: i64) -> Vec<Problems> {
        let mut found = self.certificates.untimely(now);
        found.extend(self.verifier.1.untimely(now));
        found
    }

    /// The keys of session tickets, where there are any.
    pub fn tickets(&self) -> Option<&Tickets> {
        self.tickets.1.as_deref()
    }

    /// Whether anything is in force here that is not there.
    pub fn differs_from(&self, other: &Self) -> bool {
        self.verifier.0 != other.verifier.0
            || self.tickets.0 != other.tickets.0
            || !self.certificates.are_as(&other.certificates)
    }
}

fn digest_of(files: [&Option<Result<FileBytes, Problems>>; 2]) -> Digest {
    let bytes = files.map(|file| match file {
        Some(Ok(file)) => &file.bytes[..],
        Some(Err(_)) | None => &[],
    });
    Digest::of(&bytes.join(&b"\0"[..]))
}

/// What is good, or what was there `before`; what is refused is noted.
fn or_before<T: Clone>(
    made: Result<T, Vec<Problems>>,
    before: Option<&T>,
    refused: &mut Vec<Problems>,
) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(problems) => {
            refused.extend(problems);
            before.cloned()
        }
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
    let keys = keys.as_ref().map_err(Clone::clone)?;
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
