//! TLS of a listener.

use std::{path::Path, time::Duration};

use super::{good, listeners::with, problem};
use crate::tls::{Alpn, CertificateFiles, ClientAuth, ClientAuthMode, MinVersion, TlsSettings};

#[test]
fn tls_of_a_listener() {
    let with = |tls: &str| with(&format!("tls: {tls}"));
    let of = |tls: &str| good(&with(tls)).listeners[0].tls.clone().unwrap();
    let least = of("{ certificates: [{ certificate: both.pem }] }");
    let at = |name: &str| Path::new("/etc/cellgate").join(name);
    let files = CertificateFiles {
        certificate: at("both.pem"),
        key: at("both.pem"),
    };
    let expected = TlsSettings {
        certificates: vec![files],
        directory: None,
        default: None,
        min_version: MinVersion::Tls12,
        client_auth: None,
        ticket_keys: None,
        handshake: Duration::from_secs(10),
        handshakes_at_once_max: 1_024,
        alpn: Alpn::Http,
    };
    assert_eq!(least, expected);
    let all = of(
        "{ directory: /certs, default: a.example, min_version: \"1.3\", handshake_ms: 50, \
                  client_auth: { mode: required, ca: ca.pem, crl: crl.pem } }",
    );
    assert_eq!(all.min_version, MinVersion::Tls13);
    assert_eq!(all.directory.as_deref(), Some(Path::new("/certs")));
    let auth = ClientAuth {
        mode: ClientAuthMode::Required,
        ca: at("ca.pem"),
        crl: Some(at("crl.pem")),
    };
    assert_eq!(all.client_auth, Some(auth));
    let fleet = of("{ directory: x, ticket_keys: tickets.key }");
    assert_eq!(fleet.ticket_keys, Some(at("tickets.key")));
    for (tls, expected) in [
        ("{ }", "names no certificate"),
        ("{ certificates: [] }", "names no certificate"),
        ("{ directory: x, min_version: 1.2 }", "put it in quotes"),
        (
            "{ directory: x, min_version: \"1.1\" }",
            "known are `1.2`, `1.3`",
        ),
        (
            "{ directory: x, client_auth: { mode: off, ca: x } }",
            "`off`",
        ),
        ("{ directory: x, client_auth: { mode: optional } }", "ca"),
        ("{ certificates: [{ key: x }] }", "certificate"),
        (
            "{ directory: x, ticket_keys: x, client_auth: { mode: optional, ca: x } }",
            "would not be used",
        ),
    ] {
        let problem = problem(&with(tls));
        assert!(problem.contains(expected), "{tls}: {problem}");
    }
}
