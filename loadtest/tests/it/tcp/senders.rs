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
