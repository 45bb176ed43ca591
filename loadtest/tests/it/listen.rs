//! Listeners: whose connections they take, how many of one source, and from which family of addresses.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    heavy::skip,
    origin::Origin,
    proxy::{Plan, Proxy, TENANT},
    wait_until,
    wire::{Connection, Request},
};

const CLOSED: &str = "client_connections_closed_total";

fn get() -> Request {
    Request::get("/x").header(TENANT, "a")
}

/// A proxy whose one listener has these options.
fn plan(cell: &Origin, address: &str, options: &str) -> Plan {
    let listener = format!("[{{ name: edge, address: \"{address}\", {options} }}]");
    Proxy::in_front_of(cell.address()).set("listeners", &listener)
}

/// A client's connection from this address of the loopback interface.
fn open_from(last: u8, proxy: &Proxy) -> Connection {
    Connection::open_from(Ipv4Addr::new(127, 0, 0, last).into(), proxy.address())
}

#[track_caller]
fn wait_for_closed(proxy: &Proxy, reason: &str, count: f64) {
    wait_until(&format!("{count} closed for {reason}"), PATIENCE, || {
        proxy.metric(CLOSED, &[("reason", reason)]) == Some(count)
    });
}

#[test]
fn only_the_networks_of_allow_are_served() {
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, "127.0.0.1:0", "allow: [127.0.0.2, 192.0.2.0/24]").start();
    let mut stranger = Connection::open(proxy.address());
    assert_eq!(stranger.until_broken(), b"");
    wait_for_closed(&proxy, "not_allowed", 1.0);
    proxy.wait_for_log(&["connection closed", "127.0.0.1", "not_allowed"]);
    let mut allowed = open_from(2, &proxy);
    assert_eq!(allowed.exchange(&get()).status, 200);
    assert_eq!(cell.connections(), 1);
    drop(allowed);
    wait_until_idle(&proxy);
}

#[test]
fn one_source_has_only_so_many_connections() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("limits", "{ connections_per_source_max: 2 }")
        .set("trusted_proxies", "[127.0.0.9]")
        .start();
    let open = |last: u8| open_from(last, &proxy);
    let mut kept = [open(1), open(1)];
    for connection in &mut kept {
        assert_eq!(connection.exchange(&get()).status, 200);
    }
    assert_eq!(open(1).until_broken(), b"");
    wait_for_closed(&proxy, "source_connections", 1.0);
    // Others have their own places, and those who bring many have as many as they want.
    let mut others = [open(2), open(2), open(9), open(9), open(9)];
    for connection in &mut others {
        assert_eq!(connection.exchange(&get()).status, 200);
    }
    for connection in &mut kept {
        assert_eq!(connection.exchange(&get()).status, 200);
    }
    let [first, _second] = kept;
    drop(first);
    wait_until("its place is free again", PATIENCE, || {
        let mut next = open(1);
        next.send(get().bytes()).is_ok() && next.answer("GET").is_ok()
    });
}

#[test]
fn a_listener_on_all_of_ipv6_takes_ipv4_too() {
    if let Err(error) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        return skip(format!("there is no IPv6 here: {error}"));
    }
    let cell = Origin::well_behaved();
    let ask = |address: IpAddr, proxy: &Proxy| {
        let mut client = Connection::open((address, proxy.address().port()).into());
        assert_eq!(client.exchange(&get()).status, 200, "{address}");
    };
    let proxy = plan(&cell, "[::]:0", "protocol: http").start();
    ask(Ipv4Addr::LOCALHOST.into(), &proxy);
    assert!(cell.has_received(r"x-forwarded-for: 127.0.0.1\r\n"));
    ask(Ipv6Addr::LOCALHOST.into(), &proxy);
    assert!(cell.has_received(r"x-forwarded-for: ::1\r\n"));

    let proxy = plan(&cell, "[::]:0", "ipv6_only: true").start();
    ask(Ipv6Addr::LOCALHOST.into(), &proxy);
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.address().port()));
    let refused = TcpStream::connect_timeout(&v4, Duration::from_secs(5));
    assert!(refused.is_err(), "IPv4 was to be refused");
}
