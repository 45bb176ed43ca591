use std::{fs, os::unix::fs::symlink};

use tempfile::TempDir;

use super::*;
use crate::tls::{
    CertificateFiles, MinVersion,
    testing::{certificate, valid_in},
};

fn settings(folder: &Path) -> TlsSettings {
    TlsSettings {
        certificates: Vec::new(),
        directory: Some(folder.to_owned()),
        default: None,
        min_version: MinVersion::Tls12,
        client_auth: None,
        ticket_keys: None,
        handshake: Duration::from_secs(1),
        handshakes_at_once_max: 1,
        alpn: crate::tls::Alpn::Http,
    }
}

#[test]
fn a_folder_has_pairs_and_files_with_both() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["one", "two", "three"] {
        let pem = certificate(&[&format!("{name}.example.com")]);
        match name {
            "one" => {
                fs::write(at("one.crt"), pem.certificate).unwrap();
                fs::write(at("one.key"), pem.key).unwrap();
            }
            "two" => fs::write(at("two.pem"), pem.certificate + &pem.key).unwrap(),
            _ => {
                fs::write(at("three.pem"), pem.certificate).unwrap();
                fs::write(at("three.key"), pem.key).unwrap();
            }
        }
    }
    for other in [".hidden.pem", "README", "notes.txt"] {
        fs::write(at(other), "not a certificate").unwrap();
    }
    let (view, untimely) = load(&settings(folder.path()), clock::unix_now()).unwrap();
    let files: Vec<_> = expiries(&view)
        .map(|(file, _)| file.file_name().unwrap())
        .collect();
    assert_eq!(files, ["one.crt", "three.pem", "two.pem"]);
    assert!(untimely.is_empty());
    // One whose key is still to come, or an authority's.
    let four = certificate(&["four.example.com"]);
    fs::write(at("four.crt"), four.certificate).unwrap();
    let (view, refused) = load(&settings(folder.path()), clock::unix_now()).unwrap();
    assert_eq!(expiries(&view).count(), 3);
    assert!(refused.is_empty());
}

#[test]
fn a_bad_pair_stops_neither_the_start_nor_the_renewal_of_others() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, pem: crate::tls::testing::Pem| {
        fs::write(
            folder.path().join(name).with_extension("crt"),
            pem.certificate,
        )
        .unwrap();
        fs::write(folder.path().join(name).with_extension("key"), pem.key).unwrap();
    };
    write("bad", certificate(&["bad.example.com"]));
    fs::write(folder.path().join("bad.key"), "").unwrap();
    write("good", valid_in(&["good.example.com"], 2020..2040));
    let terminator =
        Terminator::start("edge", settings(folder.path()), &Metrics::new(), None).unwrap();
    assert_eq!(terminator.status().certificates, 1);
    let error = terminator.error().unwrap();
    assert!(error.contains("bad.key: holds no private key"), "{error}");
    write("good", valid_in(&["good.example.com"], 2020..2041));
    assert_eq!(terminator.poll_files(), POLL_INTERVAL);
    let expiry = || terminator.status().next_expiry.unwrap().at;
    assert_eq!(expiry(), "2041-01-01T00:00:00Z");
    assert_eq!(terminator.error().unwrap(), error);
    // Its key is gone: what it had stays.
    fs::remove_file(folder.path().join("good.key")).unwrap();
    assert_eq!(terminator.poll_files(), RETRY_INTERVAL);
    assert_eq!(expiry(), "2041-01-01T00:00:00Z");
    write("bad", certificate(&["bad.example.com"]));
    write("good", certificate(&["good.example.com"]));
    assert_eq!(terminator.poll_files(), POLL_INTERVAL);
    assert_eq!(terminator.status().certificates, 2);
    assert_eq!(terminator.error(), None);
}

/// As Kubernetes replaces a secret: the files lead through a link, which is replaced.
#[test]
fn files_behind_a_link_that_is_replaced_are_read_anew() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |version: &str, pem: crate::tls::testing::Pem| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("tls.crt"), pem.certificate).unwrap();
        fs::write(at(version).join("tls.key"), pem.key).unwrap();
        symlink(version, at("..new")).unwrap();
        rustix::fs::rename(at("..new"), at("..data")).unwrap();
    };
    write("..1", valid_in(&["one.example.com"], 2020..2040));
    symlink("..data/tls.crt", at("tls.crt")).unwrap();
    symlink("..data/tls.key", at("tls.key")).unwrap();
    let settings = TlsSettings {
        certificates: vec![CertificateFiles {
            certificate: at("tls.crt"),
            key: at("tls.key"),
        }],
        directory: None,
        ..settings(folder.path())
    };
    let terminator = Terminator::start("edge", settings, &Metrics::new(), None).unwrap();
    let expiry = || terminator.status().next_expiry.unwrap().at;
    assert_eq!(expiry(), "2040-01-01T00:00:00Z");
    assert_eq!(terminator.poll_files(), POLL_INTERVAL);
    write("..2", valid_in(&["one.example.com"], 2020..2041));
    assert_eq!(terminator.poll_files(), POLL_INTERVAL);
    assert_eq!(expiry(), "2041-01-01T00:00:00Z");
    assert_eq!(terminator.error(), None);
    // A bad one changes nothing, and is looked into soon.
    fs::write(
        at("..2").join("tls.key"),
        certificate(&["one.example.com"]).key,
    )
    .unwrap();
    assert_eq!(terminator.poll_files(), RETRY_INTERVAL);
    assert_eq!(expiry(), "2041-01-01T00:00:00Z");
    assert_eq!(
        terminator.error(),
        None,
        "it may be in the middle of a change"
    );
}

/// It is served all the same, and whoever looks finds out.
#[test]
fn an_expired_certificate_in_force_is_shown() {
    let folder = TempDir::new().unwrap();
    let write = |pem: crate::tls::testing::Pem| {
        fs::write(folder.path().join("one.pem"), pem.certificate + &pem.key).unwrap();
    };
    write(valid_in(&["one.example.com"], 2020..2021));
    let terminator =
        Terminator::start("edge", settings(folder.path()), &Metrics::new(), None).unwrap();
    let untimely = terminator.untimely().unwrap();
    assert!(
        untimely.contains("one.pem: the certificate expired on 2021"),
        "{untimely}"
    );
    assert_eq!(terminator.error(), None);
    write(certificate(&["one.example.com"]));
    terminator.poll_files();
    assert_eq!(terminator.untimely(), None);
}
