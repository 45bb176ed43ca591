//! Whom one trusts: the certificates of authorities, out of a file.

use cellgate_table::Problems;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use x509_parser::{prelude::FromDer as _, prelude::X509Certificate};

use super::material::FileBytes;
use crate::clock;

/// The authorities of a file. There is at least one.
pub(super) fn roots(file: &FileBytes) -> Result<RootCertStore, Problems> {
    let refuse = |message: String, hint: &str| {
        Problems::whole_file(message, hint).in_file(file.path.display())
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&file.bytes) {
        let added = root
            .map_err(|error| format!("is not PEM: {error}"))
            .and_then(|root| {
                let added = roots.add(root);
                added.map_err(|error| format!("holds a certificate that cannot be used: {error}"))
            });
        let hint = "put the certificates of the CAs there in PEM";
        added.map_err(|message| refuse(message, hint))?;
    }
    if roots.is_empty() {
        let hint = "put the certificates of the CAs there in PEM (BEGIN CERTIFICATE)";
        return Err(refuse("holds no certificate".to_owned(), hint));
    }
    Ok(roots)
}

/// The authorities of a file whose certificates are expired at `now`, in seconds since 1970. Who verifies does not look at
/// that: an authority is trusted for its key and name (RFC 5280, section 6.1.1).
pub(super) fn expired(file: &FileBytes, now: i64) -> Vec<Problems> {
    let roots = CertificateDer::pem_slice_iter(&file.bytes).flatten();
    roots
        .filter_map(|root| {
            let (_, root) = X509Certificate::from_der(&root).ok()?;
            let not_after = root.validity().not_after.timestamp();
            (now > not_after).then(|| {
                let (name, date) = (root.subject(), clock::rfc3339(clock::of_unix(not_after)));
                let message = format!("the certificate of the CA `{name}` expired on {date}");
                let hint = "replace it: the proxy goes on trusting it, but other programs do not";
                Problems::whole_file(message, hint).in_file(file.path.display())
            })
        })
        .collect()
}
