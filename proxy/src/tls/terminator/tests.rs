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
    fs::write(
        at("four.crt"),
        certificate(&["four.example.com"]).certificate,
    )
    .unwrap();
    let problems = load(&settings(folder.path()), clock::unix_now()).unwrap_err();
    let expected = format!("{}: the file is not there", at("four.key").display());
    assert!(
        problems[0].to_string().starts_with(&expected),
        "{}",
        problems[0]
    );
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
