//! What names the tenant of a connection.

use rustls::StreamOwned;

use super::*;
use crate::support::tls::{Authority, Certificates, client};

const NAME: &str = "acme.example";

/// One cell for the tenant `acme`, and another for all others.
struct World {
    acmes: Origin,
    others: Origin,
}

impl World {
    fn new() -> Self {
        Self {
            acmes: named("acme's"),
            others: named("others'"),
        }
    }

    fn plan(&self, listener: &str, rules: &str) -> Plan {
        let listener = format!(
            "[{{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, {listener} tenant_key: {rules} }}]"
        );
        let table = table_of_two(self.acmes.address(), self.others.address());
        let table = table.pin("127.0.0.0/8", "mine");
        Proxy::plan()
            .table(table)
            .set("listeners", &listener)
            .set("access_log", "{ path: access.log }")
    }
}

/// A cell that says its name.
fn named(name: &'static str) -> Origin {
    Origin::start_without_record(move |visit| {
        visit.send(name);
    })
}

#[track_caller]
fn greeting(proxy: &Proxy, ahead: &[u8]) -> String {
    let mut stream = open(proxy);
    stream.write_all(ahead).unwrap();
    let mut greeting = String::new();
    // One that is refused may get a reset.
    let _ = stream.read_to_string(&mut greeting);
    greeting
}

#[test]
fn a_network_and_a_fixed_tenant() {
    let world = World::new();
    for (rules, expected) in [
        ("[{ tenant: acme }]", "acme's"),
        ("[{ tenant: other }]", "others'"),
        ("[{ source_network: { ipv4: 8, ipv6: 64 } }]", "acme's"),
        ("[{ source_ip: true }]", "others'"),
    ] {
        let proxy = world.plan("", rules).start();
        assert_eq!(greeting(&proxy, b""), expected, "{rules}");
    }
}

#[test]
fn what_a_load_balancer_says() {
    let world = World::new();
    let listener = "proxy_protocol: { from: [127.0.0.0/8], required: true },";
    let header = |tlv: &[u8]| {
        let length = u16::try_from(12 + tlv.len()).unwrap().to_be_bytes();
        let addresses = b"\xc0\x00\x02\x09\xc6\x33\x64\x07\x12\x67\x00\x50";
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], addresses, tlv].concat()
    };
    let rules = "[{ proxy_tlv: authority, pattern: \"{tenant}.example\" }]";
    let proxy = world.plan(listener, rules).start();
    assert_eq!(
        greeting(&proxy, &header(b"\x02\x00\x0cACME.example")),
        "acme's"
    );
    assert_eq!(
        greeting(&proxy, &header(b"\x02\x00\x09x.example")),
        "others'"
    );
    assert_eq!(greeting(&proxy, &header(b"")), "");
    wait_for_entry(&proxy, "no_proxy_tlv");
    // A private link's endpoint.
    let proxy = world
        .plan(listener, "[{ proxy_tlv: 0xea, subtype: 0x01 }]")
        .start();
    assert_eq!(greeting(&proxy, &header(b"\xea\x00\x05\x01acme")), "acme's");
    assert_eq!(greeting(&proxy, &header(b"\xea\x00\x05\x02acme")), "");
    // The address in the header.
    let proxy = world.plan(listener, "[{ source_ip: true }]").start();
    assert_eq!(greeting(&proxy, &header(b"")), "others'");
    assert_eq!(wait_for_entry(&proxy, "finished")["tenant"], "192.0.2.9");
}

#[test]
fn certificates_and_names_where_tls_ends_here() {
    let (world, authority, folder) = (World::new(), Authority::new(), Certificates::new());
    folder.write_pair("one", &authority.server(&[NAME, "b.example"]));
    let ca = folder.write("authority.ca", &authority.pem());
    let directory = folder.folder().display();
    let listener = format!(
        "tls: {{ directory: {directory}, client_auth: {{ mode: optional, ca: {} }} }},",
        ca.display()
    );
    let greeting = |proxy: &Proxy, name, identity: Option<&str>| {
        let pem = identity.map(|name| authority.client(name, 7));
        let config = authority.client_config(rustls::DEFAULT_VERSIONS, pem.as_ref());
        let mut stream = StreamOwned::new(client(&Arc::clone(&config), name), open(proxy));
        let mut greeting = String::new();
        let _ = stream.read_to_string(&mut greeting);
        greeting
    };
    let proxy = world.plan(&listener, "[{ client_cert: dns }]").start();
    assert_eq!(greeting(&proxy, NAME, Some("acme")), "acme's");
    assert_eq!(greeting(&proxy, NAME, Some("b")), "others'");
    assert_eq!(greeting(&proxy, NAME, None), "");
    wait_for_entry(&proxy, "no_certificate");

    let proxy = world
        .plan(&listener, "[{ sni: \"{tenant}.example\" }]")
        .start();
    assert_eq!(greeting(&proxy, NAME, None), "acme's");
    assert_eq!(greeting(&proxy, "b.example", None), "others'");
}
