//! Which clients are let in: versions, certificates, tickets.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, sync::Arc};

use rustls::{
    ClientConfig, HandshakeKind,
    version::{TLS12, TLS13},
};

use super::{NAME, World, programs::s_client};
use crate::support::{
    PATIENCE,
    origin::Origin,
    proxy::{Proxy, TENANT, rename_over},
    tls::{Authority, Pem, client},
    wait_until,
    wire::{Connection, Request},
};

/// Sends a request over a new connection; its status, and what kind of handshake it was.
fn visit(proxy: &Proxy, config: &Arc<ClientConfig>) -> std::io::Result<(u16, HandshakeKind)> {
    let mut connection = Connection::try_open_tls(proxy.address(), client(config, NAME))?;
    connection.send(Request::get("/ok/1").header(TENANT, "a").bytes())?;
    let answer = connection.answer("GET")?;
    let kind = connection.tls().handshake_kind();
    Ok((answer.status, kind.expect("the handshake is over")))
}

#[test]
fn only_the_offered_versions_and_protocols_are_spoken() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let both = world.plan(cell.address(), "").start();
    let newer = world.plan(cell.address(), r#"min_version: "1.3""#).start();
    let tls12 = world.authority.client_config(&[&TLS12], None);
    let tls13 = world.authority.client_config(&[&TLS13], None);
    assert_eq!(visit(&both, &tls12).unwrap().0, 200);
    assert_eq!(visit(&both, &tls13).unwrap().0, 200);
    visit(&newer, &tls12).unwrap_err();
    assert_eq!(visit(&newer, &tls13).unwrap().0, 200);
    let said = s_client(both.address(), &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(!said.contains("HTTP/1.1 200"), "{said}");
    // Whoever is refused gets to know why, every time.
    for _ in 0..20 {
        let error = visit(&newer, &tls12).unwrap_err().to_string();
        assert!(error.contains("ProtocolVersion"), "{error}");
    }
    for (offered, expected) in [
        ("h2,http/1.1", "ALPN protocol: http/1.1"),
        ("h2", "no application protocol"),
    ] {
        let said = s_client(both.address(), &["-alpn", offered]);
        assert!(
            said.to_lowercase().contains(&expected.to_lowercase()),
            "{said}"
        );
    }
    let labels = [("listener", "edge"), ("reason", "failed")];
    assert_eq!(
        newer.metric("tls_handshake_failures_total", &labels),
        Some(21.0)
    );
}

/// Clients with a good certificate, none, another authority's and a revoked one.
#[test]
fn clients_need_certificates_where_they_are_asked_for_them() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let clients = Authority::new();
    let (good, revoked) = (clients.client("good", 7), clients.client("revoked", 8));
    let stranger = Authority::new().client("good", 7);
    world.certificates.write("clients.ca", &clients.pem());
    world
        .certificates
        .write("clients.crl", &clients.revoked(&[8]));
    let auth = |mode: &str, crl: &str| {
        let path = |name: &str| world.certificates.path(name).display().to_string();
        let crl = if crl.is_empty() {
            String::new()
        } else {
            format!(", crl: {}", path(crl))
        };
        let auth = format!(
            "client_auth: {{ mode: {mode}, ca: {}{crl} }}",
            path("clients.ca")
        );
        world.plan(cell.address(), &auth).start()
    };
    let check = |proxy: &Proxy, identity: Option<&Pem>, is_served: bool| {
        for version in [&TLS12, &TLS13] {
            let config = world.authority.client_config(&[version], identity);
            let outcome = visit(proxy, &config);
            assert_eq!(
                outcome.as_ref().is_ok_and(|(status, _)| *status == 200),
                is_served,
                "{outcome:?}"
            );
        }
    };
    let required = auth("required", "clients.crl");
    check(&required, Some(&good), true);
    check(&required, None, false);
    check(&required, Some(&stranger), false);
    check(&required, Some(&revoked), false);
    let optional = auth("optional", "clients.crl");
    check(&optional, Some(&good), true);
    check(&optional, None, true);
    check(&optional, Some(&stranger), false);
    check(&optional, Some(&revoked), false);
    let without_list = auth("required", "");
    check(&without_list, Some(&revoked), true);
    // The cell saw only those who were let in.
    assert_eq!(cell.received().concat().matches("GET /ok/1").count(), 2 * 4);
}

/// The lists are asked about each authority between the client's certificate and a trusted one, too.
#[test]
fn an_authority_that_was_revoked_vouches_for_nobody() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let root = Authority::new();
    let (good, revoked) = (root.below("good", 7), root.below("revoked", 8));
    let unlisted = root.below("unlisted", 9);
    let lists = [root.revoked(&[8]), good.revoked(&[]), revoked.revoked(&[])];
    let ca = world.certificates.write("clients.ca", &root.pem());
    let crl = world.certificates.write("clients.crl", &lists.concat());
    let auth = format!(
        "client_auth: {{ mode: required, ca: {}, crl: {} }}",
        ca.display(),
        crl.display()
    );
    let proxy = world.plan(cell.address(), &auth).start();
    for (authority, is_served) in [(&good, true), (&revoked, false), (&unlisted, false)] {
        let Pem { certificate, key } = authority.client("a", 1);
        let certificate = certificate + &authority.pem();
        let identity = Pem { certificate, key };
        for version in [&TLS12, &TLS13] {
            let config = world.authority.client_config(&[version], Some(&identity));
            let outcome = visit(&proxy, &config);
            assert_eq!(outcome.is_ok(), is_served, "{outcome:?}");
        }
    }
}

/// Also while it reads why it is refused.
#[test]
fn a_client_without_tls_keeps_its_place_among_those_of_its_source() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let plan = world.plan(cell.address(), "");
    let proxy = plan
        .set("limits", "{ connections_per_source_max: 1 }")
        .start();
    let mut plain = Connection::open(proxy.address());
    assert_eq!(plain.exchange(&Request::get("/")).status, 400);
    visit(&proxy, &world.client()).unwrap_err();
    drop(plain);
    wait_until("its place is free again", PATIENCE, || {
        visit(&proxy, &world.client()).is_ok()
    });
}

/// It is used all the same, and whoever looks finds out.
#[test]
fn a_revocation_list_that_is_out_of_date_shows() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let clients = Authority::new();
    let ca = world.certificates.write("clients.ca", &clients.pem());
    let list = clients.revoked_until(&[8], 2025);
    let crl = world.certificates.write("clients.crl", &list);
    let auth = format!(
        "client_auth: {{ mode: required, ca: {}, crl: {} }}",
        ca.display(),
        crl.display()
    );
    let plan = world.plan(cell.address(), &auth);
    let (is_good, said) = plan.check();
    assert!(!is_good, "{said}");
    let expected = "clients.crl: a revocation list is out of date: there was to be a newer one by 2025-01-01T00:00:00";
    assert!(said.contains(expected), "{said}");
    let proxy = plan.start();
    proxy.wait_for_log(&["a revocation list is out of date", "clients.crl"]);
    let good = clients.client("good", 7);
    let good = world.authority.client_config(&[&TLS13], Some(&good));
    assert_eq!(visit(&proxy, &good).unwrap().0, 200);
    let end = || {
        proxy.metric(
            "revocation_list_expiry_timestamp_seconds",
            &[("listener", "edge")],
        )
    };
    assert_eq!(end(), Some(1_735_689_600.0));
    world
        .certificates
        .write("clients.crl", &clients.revoked(&[8]));
    wait_until("the new list is in force", PATIENCE, || {
        end() > Some(1_735_689_600.0)
    });
}

/// A resumed session would not look at the client's certificate again.
#[test]
fn who_shows_a_certificate_shows_it_on_every_connection() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let clients = Authority::new();
    world.certificates.write("clients.ca", &clients.pem());
    let list = world
        .certificates
        .write("clients.crl", &clients.revoked(&[8]));
    let session = world.certificates.path("session");
    for mode in ["required", "optional"] {
        world
            .certificates
            .write("clients.crl", &clients.revoked(&[8]));
        let auth = format!(
            "client_auth: {{ mode: {mode}, ca: {}, crl: {} }}",
            world.certificates.path("clients.ca").display(),
            list.display()
        );
        let proxy = world.plan(cell.address(), &auth).start();
        let client = clients.client("good", 7);
        let mut configs = Vec::new();
        for version in [&TLS12, &TLS13] {
            let config = world.authority.client_config(&[version], Some(&client));
            for _ in 0..3 {
                assert_eq!(visit(&proxy, &config).unwrap(), (200, HandshakeKind::Full));
            }
            configs.push(config);
        }
        if mode == "optional" {
            for version in ["-tls1_2", "-tls1_3"] {
                let said = s_client(
                    proxy.address(),
                    &[version, "-sess_out", session.to_str().unwrap()],
                );
                assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
                assert!(!said.contains("TLS session ticket:"), "{said}");
            }
        }
        let before = proxy.status()["tls"]["edge"]["loaded_at"].clone();
        world
            .certificates
            .write("clients.crl", &clients.revoked(&[7, 8]));
        wait_until("the new list is in force", PATIENCE, || {
            proxy.status()["tls"]["edge"]["loaded_at"] != before
        });
        for config in &configs {
            visit(&proxy, config).unwrap_err();
        }
        let resumed = [("listener", "edge"), ("kind", "resumed")];
        assert_eq!(proxy.metric("tls_handshakes_total", &resumed), Some(0.0));
    }
}

fn write_ticket_keys(world: &World, keys: &[&str], mode: u32) -> PathBuf {
    let path = world.certificates.path("tickets.txt");
    let new = world.certificates.path(".tickets.new");
    fs::write(&new, keys.concat()).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    rename_over(&new, &path);
    path
}

/// A key as the documentation says how to make one.
fn ticket_key() -> String {
    let output = Command::new("openssl")
        .args(["rand", "-hex", "32"])
        .output()
        .expect("openssl is installed");
    String::from_utf8(output.stdout).unwrap()
}

/// Which proxy of a fleet a client comes to makes no difference to its session, and keys are replaced while it goes on.
#[test]
fn proxies_that_share_ticket_keys_resume_each_others_sessions() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let (old, new) = (ticket_key(), ticket_key());
    let file = write_ticket_keys(&world, &[&old], 0o640);
    let keys = format!("ticket_keys: {}", file.display());
    let first = world.plan(cell.address(), &keys).start();
    let second = world.plan(cell.address(), &keys).start();
    let stranger = world.plan(cell.address(), "").start();
    let resumed = (200, HandshakeKind::Resumed);
    for version in [&TLS12, &TLS13] {
        let config = world.authority.client_config(&[version], None);
        assert_eq!(visit(&first, &config).unwrap().1, HandshakeKind::Full);
        assert_eq!(visit(&second, &config).unwrap(), resumed);
        assert_eq!(visit(&first, &config).unwrap(), resumed);
        assert_eq!(visit(&stranger, &config).unwrap().1, HandshakeKind::Full);
    }
    let old_only = world.client();
    visit(&first, &old_only).unwrap();
    let reload = |keys: &[&str]| {
        let before =
            [&first, &second].map(|proxy| proxy.status()["tls"]["edge"]["loaded_at"].clone());
        write_ticket_keys(&world, keys, 0o600);
        wait_until("the new keys are in force", PATIENCE, || {
            let now =
                [&first, &second].map(|proxy| proxy.status()["tls"]["edge"]["loaded_at"].clone());
            now[0] != before[0] && now[1] != before[1]
        });
    };
    reload(&[&new, &old]);
    let both = world.client();
    visit(&first, &both).unwrap();
    reload(&[&new]);
    assert_eq!(visit(&second, &both).unwrap(), resumed);
    assert_eq!(
        visit(&second, &old_only).unwrap(),
        (200, HandshakeKind::Full)
    );
    // A bad file leaves the keys as they are.
    write_ticket_keys(&world, &[&new, &new], 0o600);
    let expected = "line 2: is a key that stands further up";
    wait_until(expected, PATIENCE, || {
        let error = &second.status()["tls"]["edge"]["error"];
        error
            .as_str()
            .is_some_and(|error| error.contains("further up"))
    });
    assert_eq!(visit(&second, &both).unwrap(), resumed);
}

#[test]
fn check_refuses_ticket_keys_that_are_open_to_others_or_no_keys() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let key = ticket_key();
    for (keys, mode, expected) in [
        (&[&*key][..], 0o640, None),
        (&[&key], 0o644, Some("the file has mode 644, and is secret")),
        (&[&key], 0o660, Some("chmod 640")),
        (
            &["secret\n"],
            0o600,
            Some("is not a key of 64 hexadecimal digits"),
        ),
        (&[], 0o600, Some("holds no key")),
    ] {
        let file = write_ticket_keys(&world, keys, mode);
        let keys = format!("ticket_keys: {}", file.display());
        let (is_good, said) = world.plan(cell.address(), &keys).check();
        assert_eq!(is_good, expected.is_none(), "{said}");
        assert!(said.contains(expected.unwrap_or_default()), "{said}");
        assert!(
            !said.contains("secret\n") && !said.contains(key.trim()),
            "{said}"
        );
    }
}

/// New certificates of the server leave its clients' sessions as they are.
#[test]
fn a_session_is_resumed_after_the_certificate_changed() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let config = world.client();
    assert_eq!(visit(&proxy, &config).unwrap(), (200, HandshakeKind::Full));
    let before = proxy.status()["tls"]["edge"]["loaded_at"].clone();
    world
        .certificates
        .write_pair("one", &world.authority.server(&[NAME]));
    wait_until("the new certificate is in force", PATIENCE, || {
        proxy.status()["tls"]["edge"]["loaded_at"] != before
    });
    let again = visit(&proxy, &config).unwrap();
    assert_eq!(again, (200, HandshakeKind::Resumed));
}
