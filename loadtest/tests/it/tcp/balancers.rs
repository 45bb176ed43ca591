//! Real load balancers in front, which say in a PROXY header whose connection it is.

use rustls::StreamOwned;

use super::*;
use crate::support::{
    heavy::skip,
    programs::{free_address, haproxy, nginx_stream},
    tls::{Authority, Certificates, client},
};

/// Where the client is: another address than the load balancer's.
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 5));
const NAME: &str = "acme.example";

fn behind_balancers(cell: &Origin, rule: &str) -> Proxy {
    let listener = format!(
        "[{{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, tenant_key: [{rule}], \
         proxy_protocol: {{ from: [127.0.0.1], required: true }} }}]"
    );
    plan(table(cell), "").set("listeners", &listener).start()
}

/// Talks by way of a load balancer, and expects to be known.
#[track_caller]
fn check(proxy: &Proxy, balancer: SocketAddr, what: &str) {
    let before = known(proxy).len();
    let mut stream = open_from(CLIENT, balancer);
    for size in [1, 7_000, 300_000] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[1]).collect();
        let mut sender = stream.try_clone().unwrap();
        let sent = bytes.clone();
        let sending = std::thread::spawn(move || sender.write_all(&sent));
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == bytes, "{what}: {size}");
        sending.join().unwrap().unwrap();
    }
    drop(stream);
    let known = wait_for("its line", PATIENCE, || {
        let known = known(proxy);
        (known.len() > before).then_some(known)
    });
    assert_eq!(known[before]["client"], CLIENT.to_string(), "{what}");
    assert_eq!(known[before]["bytes_from_cell"], 307_001, "{what}");
}

/// The lines of connections of the client, whose address is the tenant.
fn known(proxy: &Proxy) -> Vec<Value> {
    let mut entries = entries(proxy);
    entries.retain(|entry| entry["tenant"] == CLIENT.to_string());
    entries
}

#[test]
fn haproxy_says_whose_connection_it_is() {
    let cell = echo();
    let proxy = behind_balancers(&cell, "{ source_ip: true }");
    let ways = [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl,cert-cn",
        // Its checks come on its own behalf.
        "send-proxy check inter 100",
        "send-proxy-v2 check inter 100 check-send-proxy",
    ];
    let addresses = ways.map(|_| free_address());
    let sections: Vec<_> = ways
        .iter()
        .zip(addresses)
        .map(|(way, address)| {
            format!(
                "listen at_{}\n  bind {address}\n  unique-id-format %{{+X}}o%Ts\n  server cellgate {} {way}\n",
                address.port(),
                proxy.address()
            )
        })
        .collect();
    let Some(_haproxy) = haproxy(&sections.concat(), &addresses) else {
        return skip("it needs haproxy");
    };
    for (way, address) in ways.into_iter().zip(addresses) {
        check(&proxy, address, way);
    }
    let log = proxy.log();
    assert!(!log.contains("connection closed"), "{log}");
}

#[test]
fn nginx_says_whose_connection_it_is() {
    let cell = echo();
    let proxy = behind_balancers(&cell, "{ source_ip: true }");
    let address = free_address();
    let server = format!(
        "server {{ listen {address}; proxy_pass {}; proxy_protocol on; }}",
        proxy.address()
    );
    let Some(_nginx) = nginx_stream(&server, &[address]) else {
        return skip("it needs nginx and its module for streams");
    };
    check(&proxy, address, "nginx");
    let log = proxy.log();
    assert!(!log.contains("connection closed"), "{log}");
}

/// By what it adds to the header: the name that its client asks for in TLS, and an id.
#[test]
fn haproxy_says_the_name_that_its_client_asks_for() {
    let (authority, folder) = (Authority::new(), Certificates::new());
    let pem = authority.server(&[NAME]);
    let both = folder.write("both.pem", &(pem.certificate + &pem.key));
    for (rule, tenant) in [
        (
            "{ proxy_tlv: authority, pattern: \"{tenant}.example\" }",
            "acme",
        ),
        ("{ proxy_tlv: unique_id }", "id-of-haproxy"),
    ] {
        let cell = echo();
        let proxy = behind_balancers(&cell, rule);
        let address = free_address();
        let section = format!(
            "listen edge\n  bind {address} ssl crt {}\n  unique-id-format id-of-haproxy\n\
             \x20 server cellgate {} send-proxy-v2 proxy-v2-options authority,unique-id,crc32c\n",
            both.display(),
            proxy.address()
        );
        let Some(_haproxy) = haproxy(&section, &[address]) else {
            return skip("it needs haproxy");
        };
        let config = authority.client_config(rustls::DEFAULT_VERSIONS, None);
        let socket = open_from(CLIENT, address);
        let mut stream = StreamOwned::new(client(&Arc::clone(&config), NAME), socket);
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        drop(stream);
        let entry = wait_for("its line", PATIENCE, || {
            (entries(&proxy).into_iter()).find(|entry| entry["tenant"] == tenant)
        });
        assert_eq!(entry["client"], CLIENT.to_string(), "{entry}");
    }
}
