//! Certificates for tests.

use std::path::Path;

use rcgen::{CertificateParams, CustomExtension, KeyPair, date_time_ymd};

use super::material::{Entry, FileBytes, Pair, Reading};
use crate::regular_file::Stamp;

/// A certificate and its key, in PEM.
pub(super) struct Pem {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Self-signed and valid until the year 4096.
pub(super) fn certificate(names: &[&str]) -> Pem {
    valid_in(names, 1975..4096)
}

/// Self-signed, with an extension that nobody knows and whoever does not know it must refuse.
pub(super) fn with_unknown_extension(names: &[&str]) -> Pem {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    let key = KeyPair::generate().unwrap();
    Pem {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// Self-signed and valid from the first to the second year's beginning.
pub(super) fn valid_in(names: &[&str], years: std::ops::Range<i32>) -> Pem {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    let key = KeyPair::generate().unwrap();
    Pem {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

impl Pem {
    /// As if read from `NAME.crt` and `NAME.key`.
    pub(super) fn pair(&self, name: &str) -> Pair {
        let file = |extension, text: &str| FileBytes {
            path: Path::new(name).with_extension(extension),
            bytes: text.into(),
        };
        Pair {
            certificate: file("crt", &self.certificate),
            key: file("key", &self.key),
        }
    }
}

/// As if just found in a folder, in which they do not really stand.
pub(super) fn found(pair: &Pair) -> Entry {
    let nowhere = Stamp::of(Path::new("/nonexistent"));
    let copy = |file: &FileBytes| file.clone();
    Entry {
        certificate: pair.certificate.path.clone(),
        is_named: false,
        stamps: (nowhere, nowhere),
        read: Ok(Reading::Read(Pair {
            certificate: copy(&pair.certificate),
            key: copy(&pair.key),
        })),
    }
}
