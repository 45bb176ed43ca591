//! The PROXY protocol: load balancers that say whose connection they pass on, and whoever only says so.

mod balancers;

use std::{
    net::{IpAddr, Shutdown},
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    origin::Origin,
    process::Signal,
    proxy::{Plan, Proxy, TENANT},
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(the_address_in_the_header_is_the_peer);

/// Where the tests' own connections come from, as a load balancer's.
const FROM_HERE: &str = "from: [127.0.0.0/8]";
const FROM_ELSEWHERE: &str = "from: [192.0.2.0/24]";

const V1: &[u8] = b"PROXY TCP4 192.0.2.9 198.51.100.7 4711 80\r\n";
/// Of a client at 192.0.2.9, with a name and a checksum.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x17\xc0\x00\x02\x09\xc6\x33\x64\x07\x12\x67\x00\x50\
    \x02\x00\x01a\x03\x00\x04";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// A proxy whose one listener has this rule.
fn plan(cell: &Origin, rule: &str) -> Plan {
    let listener =
        format!("[{{ name: edge, address: \"127.0.0.1:0\", proxy_protocol: {{ {rule} }} }}]");
    Proxy::in_front_of(cell.address()).set("listeners", &listener)
}

fn get() -> Request {
    Request::get("/x").header(TENANT, "a")
}

/// A header of version 2 with its checksum.
fn v2() -> Vec<u8> {
    let mut header = V2.to_vec();
    let sum = crc32c(&[V2, &[0; 4]].concat());
    header.extend(sum.to_be_bytes());
    header
}

/// Bit by bit: nothing of the program under test.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0x82f6_3b78
            } else {
                sum >> 1
            }
        })
    })
}

fn closed(proxy: &Proxy, reason: &str) -> f64 {
    let labels = [("reason", reason)];
    let count = proxy.metric("client_connections_closed_total", &labels);
    count.expect("each reason has a series from the start")
}

fn the_address_in_the_header_is_the_peer() {
    for header in [V1, &v2()] {
        let cell = Origin::well_behaved();
        // The load balancer may even speak for others in HTTP: the client behind it may not.
        let proxy = plan(&cell, FROM_HERE)
            .set("trusted_proxies", "[127.0.0.0/8]")
            .set("tenant_key", "[{ source_ip: true }]")
            .set("access_log", "{ path: access.log }")
            .start();
        let request = Request::get("/x").header("x-forwarded-for", "203.0.113.66");
        let mut client = Connection::open(proxy.address());
        client.send(header).unwrap();
        for _ in 0..2 {
            assert_eq!(client.exchange(&request).status, 200);
        }
        let received = cell.received().concat();
        assert_eq!(
            received.matches(r"x-forwarded-for: 192.0.2.9\r\n").count(),
            2
        );
        assert_eq!(received.matches("x-cellgate-tenant: 192.0.2.9").count(), 2);
        assert!(!received.contains("203.0.113.66"), "{received}");
        let log = proxy.directory().join("access.log");
        wait_until("two lines are logged", PATIENCE, || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.matches(r#""client":"192.0.2.9""#).count() == 2
        });
    }
}

/// A trusted proxy may stand before the load balancer.
#[test]
fn a_trusted_proxy_in_the_header_is_trusted() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, FROM_HERE)
        .set("trusted_proxies", "[192.0.2.9]")
        .start();
    let request = get().header("x-forwarded-for", "203.0.113.66");
    let bytes = [V1, &request.bytes()].concat();
    let answer = Connection::open(proxy.address()).exchange_bytes("GET", bytes);
    assert_eq!(answer.status, 200);
    assert!(cell.has_received(r"x-forwarded-for: 203.0.113.66, 192.0.2.9\r\n"));
}

#[test]
fn a_header_may_come_in_pieces() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, FROM_HERE).start();
    for header in [V1, &v2(), LOCAL] {
        let all = [header, &get().bytes()].concat();
        // Two pieces, cut anywhere; and each byte by itself.
        for end in 1..=header.len() + 1 {
            let mut client = Connection::open(proxy.address());
            client.send(&all[..end]).unwrap();
            assert_eq!(
                client.exchange_bytes("GET", &all[end..]).status,
                200,
                "{end}"
            );
        }
        let mut client = Connection::open(proxy.address());
        let (last, others) = all.split_last().unwrap();
        for byte in others {
            client.send([*byte]).unwrap();
        }
        assert_eq!(client.exchange_bytes("GET", [*last]).status, 200);
    }
    wait_until_idle(&proxy);
}

#[test]
fn a_load_balancer_without_a_good_header_is_closed() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, FROM_HERE)
        .set("timeouts", "{ head_ms: 300 }")
        .start();
    let mut damaged = v2();
    damaged[19] ^= 1;
    let beginning = &V2[..12];
    let too_large = [beginning, b"\x21\x11\xff\xff"].concat();
    let endless_line = [&V1[..V1.len() - 2], &[b' '; 100]].concat();
    let cases: [(&[u8], &str); 9] = [
        (
            b"GET /x HTTP/1.1\r\nhost: h\r\nx-tenant-id: a\r\n\r\n",
            "proxy_header_missing",
        ),
        (b"\x16\x03\x01\x02\x00", "proxy_header_missing"),
        (b"PROXY TCP4 192.0.2.9\r\n", "proxy_header_malformed"),
        (&damaged, "proxy_header_checksum"),
        (&too_large, "proxy_header_too_large"),
        (&endless_line, "proxy_header_too_large"),
        (&V1[..20], "proxy_header_late"),
        (&v2()[..20], "proxy_header_late"),
        (
            &[b"\r\n\r\n\0\r\nQUIT\n\x31".as_slice()].concat(),
            "proxy_header_malformed",
        ),
    ];
    for (bytes, reason) in cases {
        let before = closed(&proxy, reason);
        let mut client = Connection::open(proxy.address());
        client.send(bytes).unwrap();
        let name = bytes.escape_ascii();
        assert_eq!(client.until_broken(), b"", "{name}");
        wait_until(&format!("{name} counts as {reason}"), PATIENCE, || {
            closed(&proxy, reason) == before + 1.0
        });
        proxy.wait_for_log(&["WARN", "connection closed", "127.0.0.1", reason]);
    }
    // One that ends in the middle, and one that is reset there.
    for is_reset in [false, true] {
        let before = closed(&proxy, "proxy_header_malformed");
        let mut client = Connection::open(proxy.address());
        client.send(&V1[..20]).unwrap();
        if is_reset {
            rustix::net::sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO)).unwrap();
            drop(client);
        } else {
            client.stream().shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.until_broken(), b"");
        }
        wait_until(&format!("it counts, reset: {is_reset}"), PATIENCE, || {
            closed(&proxy, "proxy_header_malformed") == before + 1.0
        });
    }
    assert_eq!(cell.connections(), 0);
    wait_until_idle(&proxy);
}

#[test]
fn nobody_else_may_send_a_header() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, FROM_ELSEWHERE).start();
    for header in [V1, &v2(), LOCAL] {
        let before = closed(&proxy, "proxy_header_unexpected");
        let mut client = Connection::open(proxy.address());
        let bytes = [header, &get().bytes()].concat();
        client.send(bytes).unwrap();
        assert_eq!(client.until_broken(), b"");
        wait_until("it is counted", PATIENCE, || {
            closed(&proxy, "proxy_header_unexpected") == before + 1.0
        });
    }
    assert_eq!(cell.connections(), 0);
    // What only begins alike is not a header.
    let post = Request::new("POST", "/x")
        .header(TENANT, "a")
        .body("abc")
        .bytes();
    let after_blank_line = [b"\r\n", &get().bytes()[..]].concat();
    for request in [get().bytes(), post, after_blank_line] {
        for end in [1, 2, 5] {
            let mut client = Connection::open(proxy.address());
            client.send(&request[..end]).unwrap();
            // Only so the proxy sees the pieces one by one; either way the answer is the same.
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(client.exchange_bytes("GET", &request[end..]).status, 200);
        }
    }
    assert!(cell.has_received(r"x-forwarded-for: 127.0.0.1\r\n"));
}

#[test]
fn nobody_else_may_connect_if_it_is_required() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, &format!("{FROM_ELSEWHERE}, required: true")).start();
    let mut client = Connection::open(proxy.address());
    assert_eq!(client.until_broken(), b"");
    wait_until("it is counted", PATIENCE, || {
        closed(&proxy, "proxy_required") == 1.0
    });
    proxy.wait_for_log(&["connection closed", "proxy_required"]);
}

#[test]
fn a_connection_without_a_byte_is_a_probe() {
    let cell = Origin::well_behaved();
    for rule in [FROM_HERE, FROM_ELSEWHERE] {
        let proxy = plan(&cell, rule)
            .set("timeouts", "{ head_ms: 200 }")
            .start();
        drop(Connection::open(proxy.address()));
        let half = Connection::open(proxy.address());
        half.stream().shutdown(Shutdown::Write).unwrap();
        for mut quiet in [half, Connection::open(proxy.address())] {
            assert_eq!(quiet.until_broken(), b"");
        }
        wait_until_idle(&proxy);
        assert_eq!(
            proxy.count_in_log("connection closed"),
            0,
            "{}",
            proxy.log()
        );
        let metrics = proxy.admin_get("/metrics");
        let counted = metrics.text().lines().find(|line| {
            line.starts_with("cellgate_proxy_client_connections_closed_total")
                && !line.ends_with(" 0")
        });
        assert_eq!(counted, None);
    }
}

/// Without an address in the header the peer is the load balancer. What it asks on its own behalf comes so, as `HAProxy`'s
/// checks by HTTP do, and so do others' checks and the clients of a Unix socket. Fields could be such a client's own.
#[test]
fn without_an_address_the_peer_is_the_load_balancer() {
    let beginning = &V2[..12];
    let unix = [beginning, b"\x21\x31\x00\xd8", &[0; 216]].concat();
    let unspecified = [beginning, b"\x21\x00\x00\x00"].concat();
    let unknown = b"PROXY UNKNOWN\r\n";
    for header in [LOCAL, &unix, &unspecified, unknown] {
        let cell = Origin::well_behaved();
        let proxy = plan(&cell, FROM_HERE)
            .set("trusted_proxies", "[127.0.0.0/8]")
            .set("tenant_key", "[{ source_ip: true }]")
            .start();
        let request = get().header("x-forwarded-for", "203.0.113.66");
        let bytes = [header, &request.bytes()].concat();
        let answer = Connection::open(proxy.address()).exchange_bytes("GET", bytes);
        assert_eq!(answer.status, 200);
        assert!(cell.has_received(r"x-forwarded-for: 127.0.0.1\r\n"));
        assert!(cell.has_received(r"x-cellgate-tenant: 127.0.0.1\r\n"));
        // Without a request it is a probe.
        let mut probe = Connection::open(proxy.address());
        probe.send(header).unwrap();
        probe.stream().shutdown(Shutdown::Write).unwrap();
        assert_eq!(probe.until_broken(), b"");
        wait_until_idle(&proxy);
        let log = proxy.log();
        assert_eq!(proxy.count_in_log("connection closed"), 0, "{log}");
    }
}

/// A trusted load balancer has as many connections as it wants, and others' whom it does not name do not.
#[test]
fn without_an_address_the_limit_per_source_holds() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, FROM_HERE)
        .set("limits", "{ connections_per_source_max: 1 }")
        .set("trusted_proxies", "[127.0.0.1]")
        .start();
    let ask = |header: &[u8]| {
        let mut client = Connection::open(proxy.address());
        client.send([header, &get().bytes()].concat()).unwrap();
        client
    };
    let mut first = ask(b"PROXY UNKNOWN\r\n");
    assert_eq!(first.answer("GET").unwrap().status, 200);
    assert_eq!(ask(b"PROXY UNKNOWN\r\n").until_broken(), b"");
    wait_until("it is counted", PATIENCE, || {
        closed(&proxy, "source_connections") == 1.0
    });
    assert_eq!(ask(LOCAL).answer("GET").unwrap().status, 200);
}

/// Whoever says nothing would otherwise have as many places as it wants for as long as a head may take.
#[test]
fn silent_connections_from_elsewhere_are_checked_and_counted() {
    let cell = Origin::well_behaved();
    let options = format!("proxy_protocol: {{ {FROM_ELSEWHERE} }}, allow: [127.0.0.1]");
    let listener = format!("[{{ name: edge, address: \"127.0.0.1:0\", {options} }}]");
    let proxy = Proxy::in_front_of(cell.address())
        .set("listeners", &listener)
        .set("limits", "{ connections_per_source_max: 1 }")
        .set("timeouts", "{ head_ms: 60000 }")
        .start();
    // Either may come first.
    let _silent = [(); 2].map(|()| Connection::open(proxy.address()));
    wait_until("one is counted", PATIENCE, || {
        closed(&proxy, "source_connections") == 1.0
    });
    let stranger = IpAddr::from([127, 0, 0, 2]);
    let mut silent = Connection::open_from(stranger, proxy.address());
    assert_eq!(silent.until_broken(), b"");
    wait_until("it is counted", PATIENCE, || {
        closed(&proxy, "not_allowed") == 1.0
    });
}

/// Whoever has not begun to ask for anything does not keep the process from ending, as long as a head might take.
#[test]
fn who_waits_with_its_header_does_not_hold_up_the_end() {
    for rule in [FROM_HERE, FROM_ELSEWHERE] {
        let cell = Origin::well_behaved();
        let mut proxy = plan(&cell, rule)
            .set(
                "timeouts",
                "{ head_ms: 60000, shutdown_ms: 60000, drain_idle_ms: 300 }",
            )
            .start();
        let silent = Connection::open(proxy.address());
        let mut begun = Connection::open(proxy.address());
        begun.send(&V1[..3]).unwrap();
        wait_until("both connections are open", PATIENCE, || {
            proxy.metric("client_connections", &[]) == Some(2.0)
        });
        let terminated = Instant::now();
        proxy.signal(Signal::TERM);
        let status = proxy.wait(PATIENCE);
        assert_eq!(status.code(), Some(0), "{rule}: {status}");
        let took = terminated.elapsed();
        assert!(took >= Duration::from_millis(300), "{rule}: {took:?}");
        for mut connection in [silent, begun] {
            assert_eq!(connection.until_broken(), b"", "{rule}");
        }
        assert_eq!(
            proxy.count_in_log("connection closed"),
            0,
            "{}",
            proxy.log()
        );
    }
}

/// It has claimed nothing yet: it is a slow client like any other, with one head's time in all.
#[test]
fn a_slow_client_from_elsewhere_is_answered_408() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, FROM_ELSEWHERE)
        .set("timeouts", "{ head_ms: 500 }")
        .start();
    for beginning in ["P", "\r\n", "POST /x HTTP/1.1\r\n"] {
        let since = Instant::now();
        let mut client = Connection::open(proxy.address());
        let answer = client.exchange_bytes("POST", beginning);
        assert_eq!(answer.status, 408, "{beginning:?}");
        let took = since.elapsed();
        assert!(
            took >= Duration::from_millis(500),
            "{beginning:?}: {took:?}"
        );
    }
    assert_eq!(closed(&proxy, "proxy_header_late"), 0.0);
}

#[test]
fn allow_and_the_limit_per_source_look_at_the_address_in_the_header() {
    let cell = Origin::well_behaved();
    let listener = format!(
        "[{{ name: edge, address: \"127.0.0.1:0\", proxy_protocol: {{ {FROM_HERE} }}, allow: [192.0.2.0/24] }}]"
    );
    let proxy = Proxy::in_front_of(cell.address())
        .set("listeners", &listener)
        .set("limits", "{ connections_per_source_max: 1 }")
        .set("trusted_proxies", "[127.0.0.1]")
        .start();
    let from = |client: &str| {
        let mut connection = Connection::open(proxy.address());
        let header = format!("PROXY TCP4 {client} 198.51.100.7 4711 80\r\n");
        connection.send(header).unwrap();
        connection
    };
    let mut first = from("192.0.2.1");
    assert_eq!(first.exchange(&get()).status, 200);
    assert_eq!(from("192.0.2.2").exchange(&get()).status, 200);
    assert_eq!(from("192.0.2.1").until_broken(), b"");
    assert_eq!(from("203.0.113.1").until_broken(), b"");
    // Nobody can say whether this one is allowed.
    let mut nameless = Connection::open(proxy.address());
    let bytes = [b"PROXY UNKNOWN\r\n", &get().bytes()[..]].concat();
    nameless.send(bytes).unwrap();
    assert_eq!(nameless.until_broken(), b"");
    // Without a request it is a check.
    let mut check = Connection::open(proxy.address());
    check.send("PROXY UNKNOWN\r\n").unwrap();
    check.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(check.until_broken(), b"");
    // The load balancer itself may see whether anybody is here.
    let mut own = Connection::open(proxy.address());
    let bytes = [LOCAL, &get().bytes()].concat();
    assert_eq!(own.exchange_bytes("GET", bytes).status, 200);
    let counted = || {
        (
            closed(&proxy, "source_connections"),
            closed(&proxy, "not_allowed"),
        )
    };
    wait_until("both are counted", PATIENCE, || counted() == (1.0, 2.0));
    // The log names whom the header is about, and who brought it.
    let refused = [
        ("192.0.2.1", "source_connections"),
        ("203.0.113.1", "not_allowed"),
    ];
    for (peer, reason) in refused {
        let peer = format!("peer={peer} balancer=127.0.0.1");
        proxy.wait_for_log(&["connection closed", &peer, reason]);
    }
    assert_eq!(first.exchange(&get()).status, 200);
}
