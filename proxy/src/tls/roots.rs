//! Whom one trusts: the certificates of authorities, out of a file.

use cellgate_table::Problems;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::material::FileBytes;

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
