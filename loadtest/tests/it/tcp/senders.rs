//! Cells that want to know whose connection they get.

use super::*;
use crate::support::tls::{Authority, client};

#[test]
fn a_cell_gets_a_proxy_header() {
    for (version, beginning) in [
        ("v1", "PROXY TCP4 127.0.0.1 127.0.0.1 "),
        ("v2", r"\r\n\r\n\x00\r\nQUIT\n!\x11"),
    ] {
        let cell = Origin::start(|visit| {
            let _ = visit.take(1);
            visit.wait_for_end();
        });
        let proxy = plan(table(&cell), &format!("send_proxy: {version}")).start();
        let mut client = open(&proxy);
        client.write_all(b"hello").unwrap();
        wait_until("it arrives", PATIENCE, || {
            cell.received().concat().contains("hello")
        });
        let came = cell.received().concat();
        assert!(came.starts_with(beginning), "{came}");
        assert!(came.ends_with("hello"), "{came}");
        if version == "v1" {
            let ports = (client.local_addr().unwrap().port(), proxy.address().port());
            let expected = format!(r"{beginning}{} {}\r\nhello", ports.0, ports.1);
            assert_eq!(came, expected);
        }
    }
}

/// Of whom a load balancer brings, the port is known, too.
#[test]
fn the_port_of_a_client_behind_a_load_balancer_is_passed_on() {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\xc6\x33\x64\x07\x12\x67\0\x50";
    for header in [&b"PROXY TCP4 192.0.2.9 198.51.100.7 4711 80\r\n"[..], v2] {
        let cell = Origin::start(|visit| {
            let _ = visit.take(1);
            visit.wait_for_end();
        });
        let listener = "[{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, tcp: { send_proxy: v1 }, \
                        proxy_protocol: { from: [127.0.0.0/8] } }]";
        let proxy = plan(table(&cell), "").set("listeners", listener).start();
        let mut client = open(&proxy);
        client.write_all(&[header, b"hello"].concat()).unwrap();
        wait_until("it arrives", PATIENCE, || {
            cell.received().concat().contains("hello")
        });
        let port = proxy.address().port();
        let expected = format!(r"PROXY TCP4 192.0.2.9 127.0.0.1 4711 {port}\r\nhello");
        assert_eq!(cell.received().concat(), expected);
    }
}

/// One proxy behind another: the client's address and the name that it asks for arrive.
#[test]
fn ourselves_behind_ourselves() {
    let cell = echo();
    for (version, rule, tenant) in [
        ("v1", "source_ip: true", "127.0.0.1"),
        ("v2", "source_ip: true", "127.0.0.1"),
        ("v2", "proxy_tlv: authority", "acme.example"),
    ] {
        let inner = plan(table(&cell), "")
            .set(
                "listeners",
                &format!(
                    "[{{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, tenant_key: [{{ {rule} }}], \
                     proxy_protocol: {{ from: [127.0.0.0/8], required: true }} }}]"
                ),
            )
            .start();
        let address = TableText::new([(ONLY, vec![inner.address()])]);
        let outer = plan(address, &format!("send_proxy: {version}"))
            .set("tenant_key", "[{ sni: \"{tenant}.example\" }]")
            .start();
        let config = Authority::new().client_config(rustls::DEFAULT_VERSIONS, None);
        let mut hello = Vec::new();
        client(&config, "acme.example")
            .write_tls(&mut hello)
            .unwrap();
        let mut stream = open(&outer);
        exchange(&mut stream, &hello);
        drop(stream);
        assert_eq!(wait_for_entry(&inner, "finished")["tenant"], tenant);
    }
}
