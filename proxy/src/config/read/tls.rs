//! The part of `proxy.yaml` that says how a listener speaks TLS.

use std::path::{Path, PathBuf};

use cellgate_table::yaml::{
    Fields, Findings, Node, Value,
    settings::{self, milliseconds, number},
};

use crate::tls::{Alpn, CertificateFiles, ClientAuth, ClientAuthMode, MinVersion, TlsSettings};

/// More come from a directory.
const CERTIFICATES_MAX: usize = 1_024;

pub(super) fn read(
    value: &Value<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<TlsSettings> {
    let known = [
        "certificates",
        "directory",
        "default",
        "min_version",
        "client_auth",
        "ticket_keys",
        "handshake_ms",
        "handshakes_at_once_max",
    ];
    let fields = value.fields(&known, findings)?;
    let certificates = match fields.optional("certificates") {
        Some(value) => read_certificates(&value, folder, findings),
        None => Some(Vec::new()),
    };
    let directory = optional_path(&fields, "directory", folder, findings);
    let default = match fields.optional("default") {
        Some(value) => value.text(findings).map(|name| Some(name.to_owned())),
        None => Some(None),
    };
    let min_version = match fields.optional("min_version") {
        Some(value) if matches!(value.node(), Node::Float(_)) => {
            value.refuse(findings, "is a number, not a text", "put it in quotes");
            None
        }
        Some(value) => {
            let choices = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
            value.choice(&choices, findings)
        }
        None => Some(MinVersion::Tls12),
    };
    let client_auth = match fields.optional("client_auth") {
        Some(value) => read_client_auth(&value, folder, findings).map(Some),
        None => Some(None),
    };
    let ticket_keys = read_ticket_keys(&fields, folder, findings);
    let handshake = milliseconds(Some(&fields), "handshake_ms", 10, 10_000, findings);
    let at_once = number(
        Some(&fields),
        "handshakes_at_once_max",
        1..=1_000_000_u32,
        1_024,
        findings,
    );
    let (certificates, directory) = (certificates?, directory?);
    if certificates.is_empty() && directory.is_none() {
        let hint = "list them under `certificates`, or name a `directory`";
        value.refuse_key(findings, "names no certificate", hint);
        return None;
    }
    Some(TlsSettings {
        certificates,
        directory,
        default: default?,
        min_version: min_version?,
        client_auth: client_auth?,
        ticket_keys: ticket_keys?,
        handshake: handshake?,
        handshakes_at_once_max: at_once? as usize,
        alpn: Alpn::Http,
    })
}

/// `None` for one that is wrong.
#[expect(
    clippy::option_option,
    reason = "as all readers here: the outer one is whether it is right"
)]
fn optional_path(
    fields: &Fields<'_>,
    key: &str,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Option<PathBuf>> {
    match fields.optional(key) {
        Some(value) => settings::path(&value, folder, findings).map(Some),
        None => Some(None),
    }
}

#[expect(clippy::option_option, reason = "see `optional_path`")]
fn read_ticket_keys(
    fields: &Fields<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Option<PathBuf>> {
    if let Some(value) = fields.optional("ticket_keys")
        && fields.optional("client_auth").is_some()
    {
        let hint = "leave it out: with `client_auth` there are no session tickets, for a resumed session would not \
                    look at the client's certificate again";
        value.refuse_key(findings, "would not be used", hint);
        return None;
    }
    optional_path(fields, "ticket_keys", folder, findings)
}

fn read_certificates(
    value: &Value<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Vec<CertificateFiles>> {
    let items = value.sequence(findings)?;
    if items.len() > CERTIFICATES_MAX {
        let message = format!("has {} entries", items.len());
        let hint = format!("list at most {CERTIFICATES_MAX}, and put more into a `directory`");
        value.refuse_key(findings, message, hint);
        return None;
    }
    let count = items.len();
    let mut certificates = Vec::new();
    for item in items {
        let Some(fields) = item.fields(&["certificate", "key"], findings) else {
            continue;
        };
        let certificate = fields
            .required("certificate", findings)
            .and_then(|value| settings::path(&value, folder, findings));
        let key = match fields.optional("key") {
            Some(value) => settings::path(&value, folder, findings),
            None => certificate.clone(),
        };
        if let (Some(certificate), Some(key)) = (certificate, key) {
            certificates.push(CertificateFiles { certificate, key });
        }
    }
    (certificates.len() == count).then_some(certificates)
}

fn read_client_auth(
    value: &Value<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<ClientAuth> {
    let fields = value.fields(&["mode", "ca", "crl"], findings)?;
    let mode = fields.required("mode", findings).and_then(|value| {
        let choices = [
            ("optional", ClientAuthMode::Optional),
            ("required", ClientAuthMode::Required),
        ];
        value.choice(&choices, findings)
    });
    let ca = fields
        .required("ca", findings)
        .and_then(|value| settings::path(&value, folder, findings));
    let crl = optional_path(&fields, "crl", folder, findings);
    Some(ClientAuth {
        mode: mode?,
        ca: ca?,
        crl: crl?,
    })
}
