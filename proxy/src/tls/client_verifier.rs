//! Which clients' certificates are good: by whose authority, and none that was revoked. Pure: bytes in, a verifier or what is
//! wrong with them out.

use std::{path::Path, sync::Arc};

use cellgate_table::Problems;
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateRevocationListDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::{
    material::{FileBytes, Material},
    roots::roots,
    settings::{ClientAuthMode, TlsSettings},
};
use crate::clock;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct ClientVerifier {
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the first list of a file is out of date, in seconds since 1970.
    lists_end: Option<(Arc<Path>, i64)>,
}

impl ClientVerifier {
    /// What was read of a listener's files for it, as its settings want it.
    pub(super) fn of(
        material: &Material,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Problems> {
        let (Some(auth), Some(ca)) = (&settings.client_auth, &material.ca) else {
            return Ok(Self {
                verifier: WebPkiClientVerifier::no_client_auth(),
                lists_end: None,
            });
        };
        let ca = ca.as_ref().map_err(Clone::clone)?;
        let crl = material.crl.as_ref();
        let crl = crl
            .map(|crl| crl.as_ref().map_err(Clone::clone))
            .transpose()?;
        let roots = roots(ca)?;
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let mut lists_end = None;
        if let Some(file) = crl {
            let lists = lists_of(file)?;
            let ends = lists.iter().filter_map(|list| next_update(list)).min();
            lists_end = ends.map(|at| (Arc::from(&*file.path), at));
            // Of the authorities between, too: one that was revoked vouches for nobody.
            builder = builder.with_crls(lists);
        }
        if auth.mode == ClientAuthMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| {
            let hint = "check the CAs and their revocation lists";
            refuse(crl.unwrap_or(ca), format!("cannot be used: {error}"), hint)
        })?;
        Ok(Self {
            verifier,
            lists_end,
        })
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// When the first list is out of date, in seconds since 1970.
    pub(super) fn lists_end(&self) -> Option<i64> {
        self.lists_end.as_ref().map(|(_, at)| *at)
    }

    /// That a list is out of date. It is used all the same: without a newer one, nobody could come in.
    pub(super) fn untimely(&self, now: i64) -> Option<Problems> {
        let (file, end) = self.lists_end.as_ref().filter(|(_, end)| now > *end)?;
        let end = clock::rfc3339(clock::of_unix(*end));
        let message =
            format!("a revocation list is out of date: there was to be a newer one by {end}");
        let hint =
            "fetch the CAs' newest lists; those that they have revoked since are still let in";
        Some(Problems::whole_file(message, hint).in_file(file.display()))
    }
}

fn refuse(file: &FileBytes, message: String, hint: &str) -> Problems {
    Problems::whole_file(message, hint).in_file(file.path.display())
}

fn lists_of(file: &FileBytes) -> Result<Vec<CertificateRevocationListDer<'static>>, Problems> {
    let lists: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(&file.bytes).collect();
    let hint = "put the CAs' revocation lists there in PEM (BEGIN X509 CRL)";
    let lists = lists.map_err(|error| refuse(file, format!("is not PEM: {error}"), hint))?;
    if lists.is_empty() {
        return Err(refuse(file, "holds no revocation list".to_owned(), hint));
    }
    Ok(lists)
}

/// `None` where the list does not say. Whether it can be read at all is for the verifier to say.
fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
    Some(parsed.next_update()?.timestamp())
}
