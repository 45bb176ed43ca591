//! The part of a table file that says how a cell is reached over TLS.

use std::net::IpAddr;

use crate::{
    limits,
    problem::Quoted,
    table::{ClientCert, TlsClient},
    yaml::{Findings, Value},
};

/// The keys of `tls`, and of `client_cert` in it.
pub(crate) const TLS_KEYS: [&str; 3] = ["server_name", "ca", "client_cert"];
pub(crate) const CLIENT_CERT_KEYS: [&str; 2] = ["certificate", "key"];

/// Reads `tls` of a cell. There is no way to leave out whom the certificate has to be for, or who is trusted.
pub(super) fn read(value: &Value<'_>, findings: &mut Findings) -> Option<TlsClient> {
    let fields = value.fields(&TLS_KEYS, findings)?;
    let server_name = fields
        .required("server_name", findings)
        .and_then(|value| read_server_name(&value, findings));
    let ca = fields
        .required("ca", findings)
        .and_then(|value| read_path(&value, findings));
    let client_cert = match fields.optional("client_cert") {
        Some(value) => read_client_cert(&value, findings).map(Some),
        None => Some(None),
    };
    Some(TlsClient {
        server_name: server_name?,
        ca: ca?,
        client_cert: client_cert?,
    })
}

fn read_client_cert(value: &Value<'_>, findings: &mut Findings) -> Option<ClientCert> {
    let fields = value.fields(&CLIENT_CERT_KEYS, findings)?;
    let certificate = fields
        .required("certificate", findings)
        .and_then(|value| read_path(&value, findings));
    let key = match fields.optional("key") {
        Some(value) => read_path(&value, findings),
        // One file with both.
        None => certificate.clone(),
    };
    Some(ClientCert {
        certificate: certificate?,
        key: key?,
    })
}

fn read_server_name(value: &Value<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let text = value.text(findings)?;
    let Some(hint) = objection_to_name(text) else {
        return Some(text.into());
    };
    value.refuse_with(findings, || {
        let message = format!("{} is not a server's name", Quoted(text));
        (message, hint.to_owned())
    });
    None
}

/// What to write in the place of something that no certificate can be asked for.
fn objection_to_name(text: &str) -> Option<&'static str> {
    if text.parse::<IpAddr>().is_ok() || is_dns_name(text) {
        return None;
    }
    let unbracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    Some(match text {
        _ if text.contains('*') => {
            "write one name that the certificate is good for, such as cell.example.com for *.example.com"
        }
        _ if unbracketed.is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok()) => {
            "write the IP address without brackets and port"
        }
        _ if text.contains("://") || text.contains(':') => {
            "write the name alone, without scheme and port"
        }
        _ if text.ends_with('.') => "write it without the dot at its end",
        _ => {
            "write a name that the cell's certificate has, such as cell.example.com, or an IP address that it has"
        }
    })
}

/// A name without a wildcard and a final dot (RFC 9525, section 6.3): labels of letters, digits, `-` and `_`, of which the
/// last is not a number, or it would be an IP address gone wrong.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len())
            && label.bytes().all(is_good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| {
        let is_hex = label.starts_with("0x") || label.starts_with("0X");
        is_hex || label.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.len() <= limits::TLS_NAME_BYTES_MAX
        && text.split('.').all(is_label)
        && text.rsplit('.').next().is_some_and(|last| !is_number(last))
}

fn read_path(value: &Value<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let text = value.text(findings)?;
    let is_good =
        (1..=limits::PATH_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_good {
        return Some(text.into());
    }
    value.refuse_with(findings, || {
        let hint = format!(
            "write the path of a PEM file, relative to the table file, of at most {} bytes and without control characters",
            limits::PATH_BYTES_MAX
        );
        (format!("{} is not a path", Quoted(text)), hint)
    });
    None
}
