//! Cells that speak TLS.

use rustls::version::{TLS12, TLS13};

use super::*;
use crate::support::{
    tls::{Authority, Certificates},
    tls_cell::{Terms, TlsCell},
};

const NAME: &str = "a.example";

/// The cell answers in plain text, too, and says so: nothing may go there around TLS, such as by way of a pipe.
#[test]
fn a_cell_with_tls_gets_tls() {
    let (authority, folder) = (Authority::new(), Certificates::new());
    let ca = folder.write("ca.pem", &authority.pem());
    let start = |name: &str| {
        TlsCell::start(&Terms {
            certificates: &[(name, &authority.server(&[name]))],
            versions: rustls::DEFAULT_VERSIONS,
            clients: None,
        })
    };
    let to = |cell: &TlsCell| {
        let tls = format!("tls: {{ server_name: {NAME}, ca: {} }}", ca.display());
        let table = TableText::new([(ONLY, vec![cell.address()])]).cell_line(ONLY, &tls);
        plan(table, "").start()
    };
    let cell = start(NAME);
    let proxy = to(&cell);
    let mut client = open(&proxy);
    for size in [1, 20_000, 3_000_000] {
        let body: Vec<u8> = (0..size).map(|at: usize| at.to_le_bytes()[1]).collect();
        let head = format!("POST / HTTP/1.1\r\ncontent-length: {size}\r\n\r\n");
        let mut sender = client.try_clone().unwrap();
        let bytes = [head.as_bytes(), &body].concat();
        let sending = std::thread::spawn(move || sender.write_all(&bytes));
        let content = [format!("tls 1 {NAME}\n{size}\n").as_bytes(), &body].concat();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            content.len()
        );
        let expected = [head.as_bytes(), &content].concat();
        let mut answer = vec![0; expected.len()];
        client.read_exact(&mut answer).unwrap();
        assert!(answer == expected, "{size}");
        sending.join().unwrap().unwrap();
    }
    drop(client);
    wait_for_entry(&proxy, "finished");

    let somebody_else = start("b.example");
    let proxy = to(&somebody_else);
    assert!(is_closed(open(&proxy)));
    wait_for_entry(&proxy, "connect_failed");
}

/// Over TLS 1.3 a cell says so when the handshake is over, and the connection seems to be made.
#[test]
fn a_cell_that_wants_a_certificate_is_named_as_the_one_that_refuses() {
    let (authority, folder) = (Authority::new(), Certificates::new());
    let ca = folder.write("ca.pem", &authority.pem());
    let tls = format!("tls: {{ server_name: {NAME}, ca: {} }}", ca.display());
    for (versions, reason) in [
        (&[&TLS13], "cell_refused_certificate"),
        (&[&TLS12], "connect_failed"),
    ] {
        let cell = TlsCell::start(&Terms {
            certificates: &[(NAME, &authority.server(&[NAME]))],
            versions,
            clients: Some(authority.pem()),
        });
        let table = TableText::new([(ONLY, vec![cell.address()])]).cell_line(ONLY, &tls);
        let proxy = plan(table, "").start();
        // Those that wait for their server to speak, and those that have begun already.
        for sends in [false, true] {
            let mut client = open(&proxy);
            while sends && client.write_all(&[0; 10_000]).is_ok() {}
            assert!(is_closed(client));
        }
        wait_until("both are logged", PATIENCE, || {
            let entries = entries(&proxy);
            entries.len() == 2 && entries.iter().all(|entry| entry["reason"] == reason)
        });
        let labels = [("cell", ONLY), ("reason", "alert")];
        let failures = proxy.metric("upstream_tls_failures_total", &labels);
        assert!(failures >= Some(2.0), "{reason}: {failures:?}");
        proxy.wait_for_log(&["no TLS connection to an endpoint", "alert"]);
    }
}
