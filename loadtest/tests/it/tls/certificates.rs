//! Which certificate is used, and what becomes of changed files.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rcgen::KeyPair;
use rustls::version::TLS13;

use super::{NAME, World, listener};
use crate::support::{
    PATIENCE,
    origin::Origin,
    proxy::{Proxy, TENANT},
    tls::{Authority, client},
    wait_until,
    wire::{Connection, Request},
};

/// What `openssl` shows of the certificate that a client gets.
fn certificate_for(address: SocketAddr, arguments: &[&str]) -> String {
    let script = r#"openssl s_client -connect "$0" "$@" </dev/null 2>/dev/null \
        | openssl x509 -noout -text"#;
    let output = Command::new("sh")
        .args(["-c", script, &address.to_string()])
        .args(arguments)
        .output()
        .expect("openssl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn names_for(address: SocketAddr, arguments: &[&str]) -> String {
    let text = certificate_for(address, arguments);
    let mut lines = text
        .lines()
        .skip_while(|line| !line.contains("Alternative Name"));
    lines.nth(1).unwrap_or_default().trim().to_owned()
}

#[test]
fn clients_get_the_certificate_for_the_name_that_they_ask_for() {
    let world = World::new();
    let authority = &world.authority;
    let files = &world.certificates;
    files.write_pair("wild", &authority.server(&["*.example.com"]));
    let other = authority.server(&["example.net"]);
    files.write("both.pem", &(other.certificate + &other.key));
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "default: example.net").start();
    let check = |arguments: &[&str], expected: &str| {
        let found = names_for(proxy.address(), arguments);
        assert_eq!(found, format!("DNS:{expected}"), "{arguments:?}");
    };
    check(&["-servername", NAME], NAME);
    check(&["-servername", "ONE.Example.COM"], NAME);
    check(&["-servername", "two.example.com"], "*.example.com");
    check(&["-servername", "example.net"], "example.net");
    check(&["-servername", "a.b.example.com"], "example.net");
    check(&["-servername", "unknown.example"], "example.net");
    check(&["-noservername"], "example.net");
    assert_eq!(proxy.status()["tls"]["edge"]["certificates"], 3);
}

#[test]
fn check_says_whose_default_has_no_certificate() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let (is_good, said) = world.plan(cell.address(), "default: example.net").check();
    let expected = "listener `edge`: no certificate has the name `example.net`";
    assert!(!is_good && said.contains(expected), "{said}");
}

#[test]
fn a_client_gets_the_kind_of_key_that_it_can_check() {
    let world = World::new();
    let rsa = world.certificates.path("rsa.pem.txt");
    let made = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
        ])
        .arg(&rsa)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let key = KeyPair::from_pem(&std::fs::read_to_string(&rsa).unwrap()).unwrap();
    world
        .certificates
        .write_pair("rsa", &world.authority.server_for(&[NAME], 4096, key));
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    for (schemes, expected) in [
        ("ECDSA+SHA256:RSA-PSS+SHA256", "id-ecPublicKey"),
        ("RSA-PSS+SHA256:ECDSA+SHA256", "id-ecPublicKey"),
        ("RSA-PSS+SHA256", "rsaEncryption"),
        ("ECDSA+SHA256", "id-ecPublicKey"),
    ] {
        for name in [&["-servername", NAME][..], &["-noservername"]] {
            let text = certificate_for(proxy.address(), &[&["-sigalgs", schemes], name].concat());
            assert!(text.contains(expected), "{schemes} {name:?}: {text}");
        }
    }
}

fn expiry(proxy: &Proxy, file: &Path) -> Option<f64> {
    let labels = [("listener", "edge"), ("file", file.to_str().unwrap())];
    proxy.metric("certificate_expiry_timestamp_seconds", &labels)
}

/// The beginnings of two years, in seconds since 1970.
const IN_2050: f64 = 2_524_608_000.0;
const IN_2060: f64 = 2_840_140_800.0;

#[test]
fn bad_files_are_refused_and_the_ones_before_stay() {
    let world = World::new();
    let files = &world.certificates;
    let good = world.authority.server_until(&[NAME], 2050);
    files.write_pair("one", &good);
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let file = files.path("one.crt");
    assert_eq!(expiry(&proxy, &file), Some(IN_2050));
    let visit = || {
        let mut connection = world.connect(&proxy);
        let answer = connection.exchange(&Request::get("/ok/1").header(TENANT, "a"));
        assert_eq!(answer.status, 200);
    };
    let edge = [("listener", "edge")];
    let failures = || proxy.metric("certificate_reload_failures_total", &edge);
    let expired = world.authority.server_until(&[NAME], 2020);
    let other_key = world.authority.server(&[NAME]).key;
    for (count, (name, text, expected)) in [
        (
            "one.key",
            &*other_key,
            "one.key: the key does not fit the certificate in",
        ),
        ("one.key", "", "one.key: holds no private key"),
        ("one.crt", &expired.certificate, "expired on 2020-01-01"),
    ]
    .into_iter()
    .enumerate()
    {
        if name == "one.crt" {
            files.write("one.key", &expired.key);
        }
        files.write(name, text);
        wait_until(expected, PATIENCE, || {
            let status = proxy.status();
            let error = &status["tls"]["edge"]["error"];
            error.as_str().is_some_and(|error| error.contains(expected))
        });
        assert_eq!(failures(), Some((count + 1).to_string().parse().unwrap()));
        assert_eq!(
            proxy.metric("certificate_last_reload_success", &edge),
            Some(0.0)
        );
        assert_eq!(expiry(&proxy, &file), Some(IN_2050));
        let degraded = proxy.admin_get("/readyz");
        assert_eq!(degraded.status, 200);
        assert!(
            degraded
                .text()
                .contains("certificate files of listener edge"),
            "{}",
            degraded.text()
        );
        visit();
    }
    assert_eq!(
        proxy.count_in_log("files of the certificates are refused"),
        3
    );
    files.write_pair("one", &world.authority.server_until(&[NAME], 2060));
    wait_until("the good one is in force", PATIENCE, || {
        expiry(&proxy, &file) == Some(IN_2060)
    });
    assert_eq!(
        proxy.metric("certificate_last_reload_success", &edge),
        Some(1.0)
    );
    assert_eq!(failures(), Some(3.0));
    assert!(proxy.status()["tls"]["edge"]["error"].is_null());
    visit();
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Names come and go in a folder, and files that do not fit for a moment are not a failure.
#[test]
fn reloads_under_load_fail_no_request() {
    let reloads = if std::env::var_os("CELLGATE_ACCEPTANCE").is_some() {
        100
    } else {
        5
    };
    let world = World::new();
    let cell = Origin::start_without_record(|visit| {
        while let Some(head) = visit.request() {
            visit.send(crate::support::origin::ok(head.id()));
        }
    });
    let proxy = world.plan(cell.address(), "").start();
    let config = world.authority.client_config(&[&TLS13], None);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for kept in [1, 5, 50, 500] {
            let (config, proxy, stop, served) = (&config, &proxy, &stop, &served);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let tls = client(config, NAME);
                    let mut connection = Connection::try_open_tls(proxy.address(), tls).unwrap();
                    for _ in 0..kept {
                        let request = Request::new("POST", "/ok/1").header(TENANT, "a");
                        let answer = connection.exchange(&request.body("body"));
                        assert_eq!(answer.status, 200);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Also where a condition fails: the clients have to end.
        let _stop = SetOnDrop(&stop);
        let loaded_at = || proxy.status()["tls"]["edge"]["loaded_at"].clone();
        for _ in 0..reloads {
            let before = loaded_at();
            let pem = world.authority.server(&[NAME]);
            world.certificates.write("one.crt", &pem.certificate);
            // The proxy meets the moment in which the key is that of another certificate.
            wait_until("it has met that moment", PATIENCE, || {
                proxy.status()["tls"]["edge"]["settling"] == true
            });
            world.certificates.write("one.key", &pem.key);
            wait_until("they are in force", PATIENCE, || loaded_at() != before);
        }
    });
    assert!(served.into_inner() > 1_000);
    let edge = [("listener", "edge")];
    assert_eq!(
        proxy.metric("certificate_reload_failures_total", &edge),
        Some(0.0)
    );
}

/// As many as a platform with its customers' domains has: it starts soon, and one that is renewed is in force soon.
#[test]
fn a_folder_with_thousands_of_names() {
    const NAMES: usize = 3_000;
    let world = World::new();
    let files = &world.certificates;
    let pem = world.authority.server_until(&["shared.example"], 2050);
    for number in 0..NAMES {
        let path = files.path(&format!("c{number}.pem"));
        fs::write(path, format!("{}{}", pem.certificate, pem.key)).unwrap();
    }
    let cell = Origin::well_behaved();
    let began = Instant::now();
    let proxy = world.plan(cell.address(), "").start();
    let start = began.elapsed();
    assert!(start < Duration::from_secs(20), "{start:?}");
    assert_eq!(proxy.status()["tls"]["edge"]["certificates"], NAMES + 1);
    let renewed = world.authority.server_until(&["new.example"], 2060);
    let began = Instant::now();
    let path = files.write(
        "c1500.pem",
        &format!("{}{}", renewed.certificate, renewed.key),
    );
    wait_until("the renewed one is in force", PATIENCE, || {
        expiry(&proxy, &path) == Some(IN_2060)
    });
    let reload = began.elapsed();
    assert!(reload < Duration::from_secs(8), "{reload:?}");
    eprintln!("3,000 certificates: start {start:?}, one changed {reload:?}");
    assert_eq!(
        names_for(proxy.address(), &["-servername", "new.example"]),
        "DNS:new.example"
    );
}

/// `check` and the start judge by the same code; only dates do not keep a proxy from starting.
/// It vouches for clients all the same, so it is no mistake.
#[test]
fn check_warns_of_an_authority_of_clients_that_is_expired() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let check = |authority: &Authority| {
        let ca = (world.certificates).write("clients.ca", &authority.pem());
        let auth = format!("client_auth: {{ mode: required, ca: {} }}", ca.display());
        let (is_good, said) = world.plan(cell.address(), &auth).check();
        assert!(is_good, "{said}");
        said
    };
    assert!(!check(&Authority::new()).contains("warning"));
    let said = check(&Authority::until(2020));
    let expected = "clients.ca: the certificate of the CA `CN=authority of the test";
    assert!(
        said.contains("warning: ") && said.contains(expected),
        "{said}"
    );
    assert!(said.contains("expired on 2020-01-01T00:00:00"), "{said}");
}

#[test]
fn check_finds_what_is_wrong_with_certificates() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let check = |expected: &[&str]| {
        let (is_good, said) = world.plan(cell.address(), "").check();
        assert_eq!(is_good, expected.is_empty(), "{said}");
        for expected in expected {
            assert!(said.contains(expected), "{said}");
        }
    };
    check(&[]);
    world
        .certificates
        .write_pair("old", &world.authority.server_until(&["old.example"], 2020));
    check(&["old.crt: the certificate expired on 2020-01-01T00:00:00Z (for old.example)"]);
    let key = world.certificates.path("old.key");
    world
        .certificates
        .write("old.key", &world.authority.server(&[NAME]).key);
    let expected = format!("{}: the key does not fit the certificate in", key.display());
    check(&[&expected]);
    // It is one of many in a folder: the others are served.
    let proxy = world.plan(cell.address(), "").start();
    let status = proxy.status();
    let edge = &status["tls"]["edge"];
    assert_eq!(edge["certificates"], 1);
    assert!(
        edge["error"].as_str().unwrap().contains(&expected),
        "{edge}"
    );
    let missing = "{ certificates: [{ certificate: missing.pem }] }";
    let plan = Proxy::in_front_of(cell.address()).set("listeners", &listener(missing));
    let (status, said) = plan.run_to_end();
    assert!(!status.success());
    assert!(said.contains("listener `edge` cannot speak TLS"), "{said}");
    assert!(
        said.contains("missing.pem: the file is not there"),
        "{said}"
    );
}
