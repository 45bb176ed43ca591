use super::*;
use crate::TlsClient;

/// What is read of `tls`, or what is said about it.
fn read(tls: &str) -> Result<TlsClient, String> {
    let text = good_but("max_in_flight: 2000", &format!("tls: {tls}"));
    match parse(text.as_bytes()) {
        Ok(table) => Ok(table.cells()[0].tls().expect("it is there").clone()),
        Err(problems) => Err(problems.to_string()),
    }
}

#[test]
fn a_cell_over_tls() {
    let tls = read("{ server_name: a.example, ca: ca.pem }").unwrap();
    assert_eq!((&*tls.server_name, &*tls.ca), ("a.example", "ca.pem"));
    assert_eq!(tls.client_cert, None);
    let both =
        "{ server_name: \"::1\", ca: /ca.pem, client_cert: { certificate: p.crt, key: p.key } }";
    let tls = read(both).unwrap();
    let cert = tls.client_cert.unwrap();
    assert_eq!((&*cert.certificate, &*cert.key), ("p.crt", "p.key"));
    // One file with both.
    let one = "{ server_name: a, ca: ca.pem, client_cert: { certificate: p.pem } }";
    let cert = read(one).unwrap().client_cert.unwrap();
    assert_eq!((&*cert.certificate, &*cert.key), ("p.pem", "p.pem"));
}

#[test]
fn mistakes() {
    let check = |tls: &str, expected: &[&str]| {
        let said = read(tls).unwrap_err();
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said, expected, "{tls}");
    };
    check(
        "{ ca: ca.pem }",
        &["9:5: cells.eu-1.tls: the key `server_name` is missing; add `server_name`"],
    );
    check(
        "{ server_name: a.example }",
        &["9:5: cells.eu-1.tls: the key `ca` is missing; add `ca`"],
    );
    check(
        "{ server_name: a, ca: ca.pem, verify: false }",
        &[
            "9:40: cells.eu-1.tls.verify: is not a known key; known here are server_name, ca, client_cert",
        ],
    );
    check(
        "{ server_name: a, ca: ca.pem, client_cert: p.pem }",
        &[
            "9:53: cells.eu-1.tls.client_cert: is the text `p.pem`, not a mapping; write a mapping with the keys certificate, key",
        ],
    );
    check(
        "{ server_name: a, ca: '', client_cert: { key: \"a\\nb\" } }",
        &[
            "9:32: cells.eu-1.tls.ca: `` is not a path; write the path of a PEM file, relative to the table file, of at most 4095 bytes and without control characters",
            "9:36: cells.eu-1.tls.client_cert: the key `certificate` is missing; add `certificate`",
            "9:56: cells.eu-1.tls.client_cert.key: `a\\nb` is not a path; write the path of a PEM file, relative to the table file, of at most 4095 bytes and without control characters",
        ],
    );
    let long = "a".repeat(4_096);
    let said = read(&format!("{{ server_name: a, ca: {long} }}")).unwrap_err();
    assert!(said.contains("…` is not a path; "), "{said}");
}

#[test]
fn names_of_servers() {
    let long_label = "a".repeat(64);
    let long_name = ["a"; 128].join(".");
    for (name, hint) in [
        ("cell.example.com", None),
        ("a", None),
        ("a_b-1.x", None),
        ("10.0.0.7", None),
        ("2001:db8::7", None),
        ("", Some("a name that the cell's certificate has")),
        ("*.example.com", Some("write one name that")),
        ("cell.example.com.", Some("without the dot")),
        ("https://cell.example.com", Some("without scheme and port")),
        ("cell.example.com:443", Some("without scheme and port")),
        ("[2001:db8::7]", Some("without brackets and port")),
        ("[2001:db8::7]:443", Some("without brackets and port")),
        ("10.0.0.256", Some("or an IP address that it has")),
        ("a.0x7f", Some("or an IP address that it has")),
        ("-a", Some("a name that")),
        ("a..b", Some("a name that")),
        ("a b", Some("a name that")),
        (&long_label, Some("a name that")),
        (&long_name, Some("a name that")),
    ] {
        let said = read(&format!("{{ server_name: \"{name}\", ca: ca.pem }}")).err();
        match (hint, said) {
            (None, None) => {}
            (Some(hint), Some(said)) => {
                let begin = "9:25: cells.eu-1.tls.server_name: `";
                assert!(said.starts_with(begin) && said.contains(hint), "{said}");
            }
            (hint, said) => panic!("{name}: {hint:?} {said:?}"),
        }
    }
}
