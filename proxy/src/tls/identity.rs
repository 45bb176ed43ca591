//! The names in a client's certificate. What they mean is for others to say.

use rustls::{ServerConnection, pki_types::CertificateDer};
use x509_parser::{
    der_parser::asn1_rs::Tag, extensions::GeneralName, prelude::FromDer as _,
    prelude::X509Certificate,
};

use crate::tenant_key::{CertificateNames, NameKind};

/// Of each kind of alternative names. Real certificates have a few.
const NAMES_MAX: usize = 256;

/// The names of these kinds in the certificate that the client has shown and that was verified in the handshake. `None`
/// where there is none, or where nobody asks.
pub fn verified_names(tls: &ServerConnection, kinds: &[NameKind]) -> Option<CertificateNames> {
    if kinds.is_empty() {
        return None;
    }
    // There are some only on a listener that asks for them, and then they are good.
    let certificate = tls.peer_certificates()?.first()?;
    Some(names_of(certificate, kinds))
}

fn names_of(certificate: &CertificateDer<'_>, kinds: &[NameKind]) -> CertificateNames {
    let mut names = CertificateNames::default();
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        for kind in kinds {
            names.add(*kind, None);
        }
        return names;
    };
    for &kind in kinds {
        if kind == NameKind::Cn {
            for name in parsed.subject().iter_common_name() {
                // Texts of other kinds need a table of their own to be read; nobody issues them any more.
                let is_read = matches!(
                    name.attr_value().tag(),
                    Tag::Utf8String | Tag::PrintableString | Tag::Ia5String
                );
                let text = name.as_str().ok().filter(|_| is_read);
                names.add(kind, text.map(str::as_bytes));
            }
            continue;
        }
        match parsed.subject_alternative_name() {
            Ok(None) => {}
            // A kind of name that is there too often is not searched for the right one.
            Ok(Some(found)) if found.value.general_names.len() > NAMES_MAX => names.add(kind, None),
            Ok(Some(found)) => {
                for name in &found.value.general_names {
                    add_alternative(&mut names, kind, name);
                }
            }
            Err(_) => names.add(kind, None),
        }
    }
    names
}

fn add_alternative(names: &mut CertificateNames, kind: NameKind, name: &GeneralName<'_>) {
    match (kind, name) {
        (NameKind::Uri, GeneralName::URI(text))
        | (NameKind::Dns, GeneralName::DNSName(text))
        | (NameKind::Email, GeneralName::RFC822Name(text)) => {
            names.add(kind, Some(text.as_bytes()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
