//! What load balancers say in the PROXY header, one of them real.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use tempfile::TempDir;

use super::check_tenant;
use crate::support::{
    PATIENCE,
    heavy::skip,
    origin::Origin,
    process::Process,
    proxy::{Proxy, TENANT},
    tls::Authority,
    wait_until,
    ways::both_ways,
    wire::{Answer, Connection, Request},
};

both_ways!(
    private_links_are_tenants,
    what_nobody_says_is_nobody,
    what_a_client_says_of_its_address_is_ignored_behind_a_balancer,
);

const FROM_HERE: &str = "from: [127.0.0.0/8]";
const FROM_ELSEWHERE: &str = "from: [192.0.2.0/24]";
/// Debian keeps servers where not everybody looks.
const HAPROXY: [&str; 2] = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];

fn start(cell: &Origin, from: &str, rules: &str) -> Proxy {
    let listener =
        format!("[{{ name: edge, address: \"127.0.0.1:0\", proxy_protocol: {{ {from} }} }}]");
    Proxy::in_front_of(cell.address())
        .set("listeners", &listener)
        .set("tenant_key", rules)
        .set("trusted_proxies", "[127.0.0.0/8]")
        .start()
}

/// A header of version 2 for a client at 192.0.2.9, with these extensions.
fn header(extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut block = b"\xc0\x00\x02\x09\xc6\x33\x64\x07\x12\x67\x00\x50".to_vec();
    for (kind, value) in extensions {
        block.push(*kind);
        block.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend(*value);
    }
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &block].concat()
}

fn get() -> Request {
    Request::get("/ok/7")
        .header(TENANT, "other")
        .header("x-forwarded-for", "203.0.113.66")
}

#[track_caller]
fn ask(proxy: &Proxy, header: &[u8]) -> Answer {
    let bytes = [header, &get().bytes()].concat();
    Connection::open(proxy.address()).exchange_bytes("GET", bytes)
}

/// In the form in which each of three providers documents it.
fn private_links_are_tenants() {
    let aws = "{ proxy_tlv: 0xea, subtype: 0x01 }";
    let azure = "{ proxy_tlv: 0xee, subtype: 0x01 }";
    let google = "{ proxy_tlv: 0xe0 }";
    let vpce: &[u8] = b"\x01vpce-08d2bf15fac5001c9";
    for (rule, kind, value, tenant) in [
        (aws, 0xea, vpce, "vpce-08d2bf15fac5001c9"),
        (azure, 0xee, b"\x01\x44\x33\x22\x11", "287454020"),
        (azure, 0xee, b"\x01\x01\x00\x00\x00", "1"),
        (
            google,
            0xe0,
            b"\xff\xff\xff\xff\xc0\xa8\x64\x02",
            "18446744072646845442",
        ),
    ] {
        let cell = Origin::well_behaved();
        let proxy = start(&cell, FROM_HERE, &format!("[{rule}]"));
        // Among others, of which one is of the same type but says something else.
        let among: &[(u8, &[u8])] = &[(0x05, b"id"), (kind, value), (0x04, b"\0\0")];
        check_tenant(&cell, &ask(&proxy, &header(&[(kind, value)])), tenant);
        check_tenant(&cell, &ask(&proxy, &header(among)), tenant);
        let before = cell.received().len();
        let twice = ask(&proxy, &header(&[(kind, value), (kind, value)]));
        assert_eq!(twice.verdict(), (400, Some("bad_tenant_key")));
        assert_eq!(cell.received().len(), before);
    }
}

fn what_nobody_says_is_nobody() {
    let cell = Origin::well_behaved();
    let rules = "[{ proxy_tlv: 0xea, subtype: 0x01 }]";
    let proxy = start(&cell, FROM_HERE, rules);
    for header in [
        header(&[]),
        header(&[(0xea, b"\x02vpce-1"), (0xeb, b"\x01vpce-1")]),
        b"PROXY TCP4 192.0.2.9 198.51.100.7 4711 80\r\n".to_vec(),
        // Its own, which brings nobody.
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec(),
    ] {
        let answer = ask(&proxy, &header);
        assert_eq!(answer.verdict(), (403, Some("no_proxy_tlv")));
    }
    // Whoever is no load balancer cannot say it either: with a header it is closed.
    let proxy = start(&cell, FROM_ELSEWHERE, rules);
    let answer = ask(&proxy, b"");
    assert_eq!(answer.verdict(), (403, Some("no_proxy_tlv")));
    let mut liar = Connection::open(proxy.address());
    liar.send(header(&[(0xea, b"\x01vpce-1")])).unwrap();
    assert_eq!(liar.until_broken(), b"");
    assert_eq!(cell.connections(), 0);
    // Where the next rule may be asked, it is.
    let rules = "[{ proxy_tlv: 0xea, subtype: 0x01, required: false }, { header: x-tenant-id }]";
    let proxy = start(&cell, FROM_HERE, rules);
    check_tenant(&cell, &ask(&proxy, &header(&[])), "other");
}

/// The load balancer is in `trusted_proxies`, too. Its client is not.
fn what_a_client_says_of_its_address_is_ignored_behind_a_balancer() {
    let cell = Origin::well_behaved();
    let rules = "[{ source_network: { ipv4: 24, ipv6: 64 } }]";
    let proxy = start(&cell, FROM_HERE, rules);
    check_tenant(&cell, &ask(&proxy, &header(&[])), "192.0.2.0/24");
    assert!(!cell.has_received("203.0.113.66"));
}

/// What curl gets from the load balancer over TLS for this name: the status.
fn curl(balancer: SocketAddr, name: &str) -> String {
    let (port, at) = (balancer.port(), balancer.ip());
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "10"])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--resolve", &format!("{name}:{port}:{at}")])
        .args(["--header", "x-tenant-id: other"])
        .arg(format!("https://{name}:{port}/ok/7"))
        .output()
        .expect("curl is here");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn haproxy_says_the_name_and_the_id_of_a_connection() {
    let haproxy = HAPROXY.into_iter().find(|path| Path::new(path).exists());
    let (Some(haproxy), true) = (haproxy, Path::new("/usr/bin/curl").exists()) else {
        return skip("it needs haproxy and curl");
    };
    for (rule, tenant) in [
        (
            r#"{ proxy_tlv: authority, pattern: "{tenant}.example.com" }"#,
            "shop",
        ),
        (
            r#"{ proxy_tlv: unique_id, pattern: "tenant-{tenant}" }"#,
            "7-of-haproxy",
        ),
    ] {
        let cell = Origin::well_behaved();
        let proxy = start(&cell, FROM_HERE, &format!("[{rule}]"));
        let (_process, _folder, balancer) = start_haproxy(haproxy, &proxy);
        assert_eq!(curl(balancer, "shop.example.com"), "200", "{rule}");
        let received = cell.received().concat();
        let named = format!(r"x-cellgate-tenant: {tenant}\r\n");
        assert!(received.contains(&named), "{received}");
        if rule.contains("authority") {
            assert_eq!(curl(balancer, "shop.example.org"), "403");
        }
    }
}

/// With TLS, so that a client says a name.
fn start_haproxy(program: &str, proxy: &Proxy) -> (Process, TempDir, SocketAddr) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let folder = TempDir::new().expect("the temporary directory can be written to");
    let (pem, path) = (
        folder.path().join("both.pem"),
        folder.path().join("haproxy.cfg"),
    );
    let both = Authority::new().server(&["shop.example.com"]);
    fs::write(&pem, [both.certificate, both.key].concat()).expect("the scratch directory is ours");
    let config = format!(
        "global\n  maxconn 100\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
         listen edge\n  bind {address} ssl crt {}\n  unique-id-format tenant-7-of-haproxy\n\
         \x20 server cellgate {} send-proxy-v2 proxy-v2-options authority,unique-id\n",
        pem.display(),
        proxy.address()
    );
    fs::write(&path, config).expect("the scratch directory is ours");
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&path);
    let process = Process::start("haproxy", &mut command);
    wait_until("haproxy listens", PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
    (process, folder, address)
}
