//! Unusual requests that are right, and what clients may not say.

use serde_json::Value;

use crate::support::{
    fleet::Fleet,
    gauges::wait_until_idle,
    origin::{OK, Origin, ok},
    proxy::{Proxy, TENANT},
    ways::{Way, every_way, way},
    wire::{Answer, Request},
};

every_way!(
    pipelined_requests_are_answered_in_order_each_by_its_cell,
    clients_cannot_speak_in_the_proxys_name,
    trailers_of_a_request_forge_nothing,
    a_body_is_sent_once_the_cell_asks_for_it,
    a_refused_expectation_cannot_smuggle,
    old_clients_are_served,
    answers_without_a_body_have_none,
    a_target_with_a_host_agrees_with_host_in_other_bytes,
    only_listed_protocols_are_offered,
);

fn pipelined_requests_are_answered_in_order_each_by_its_cell() {
    let fleet = Fleet::start(3);
    let table = ["a", "b", "c"]
        .iter()
        .zip(["cell-1", "cell-2", "cell-3"])
        .fold(fleet.table(), |table, (tenant, cell)| {
            table.pin(tenant, cell)
        });
    let proxy = Proxy::start(table);
    let requests: Vec<_> = (0..60)
        .map(|number| {
            let tenant = ["a", "b", "c"][number * 7 % 3];
            // The first ones take longest.
            let path = format!("/slow/{}", 60 - number);
            let body = (number % 4 == 0).then(|| vec![b'x'; number * 100]);
            let path = if body.is_some() {
                "/echo/x".to_owned()
            } else {
                path
            };
            let method = if body.is_some() { "POST" } else { "GET" };
            let request = Request::new(method, &path).header(TENANT, tenant);
            (
                tenant,
                body.map_or(request.clone(), |body| request.body(body)),
                number,
            )
        })
        .collect();
    let mut connection = proxy.open();
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(|(_, request, _)| request.bytes())
        .collect();
    connection.send(bytes).expect("the proxy listens");
    for (tenant, _, number) in &requests {
        let answer = connection.answer("GET").expect("each is answered");
        assert_eq!(answer.header("x-tenant"), Some(*tenant), "request {number}");
        let cell = format!("cell-{}", tenant.as_bytes()[0] - b'a' + 1);
        assert_eq!(answer.header("x-cell"), Some(&*cell), "request {number}");
        if number % 4 == 0 {
            assert_eq!(answer.body.len(), number * 100, "request {number}");
        }
    }
    drop(connection);
    wait_until_idle(&proxy);
}

/// What the demo cell received in its headers, names in lower case and with `-` for `_`.
#[track_caller]
fn received(proxy: &Proxy, fields: &str, body: &str) -> Vec<(String, String)> {
    try_received(proxy, fields, body).unwrap_or_else(|answer| panic!("{fields}: {answer:?}"))
}

fn try_received(proxy: &Proxy, fields: &str, body: &str) -> Result<Vec<(String, String)>, Answer> {
    let mut connection = proxy.open();
    let head =
        format!("POST /whoami HTTP/1.1\r\nhost: test\r\nx-tenant-id: real\r\n{fields}\r\n{body}");
    connection.send(head).expect("the proxy listens");
    let answer = connection.answer("POST").expect("it answers");
    if answer.status != 200 {
        return Err(answer);
    }
    let pairs = answer.json()["headers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(pairs
        .iter()
        .map(|pair| (text(&pair[0]).replace('_', "-"), text(&pair[1])))
        .collect())
}

fn clients_cannot_speak_in_the_proxys_name() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    let ours = [
        "x-cellgate-tenant",
        "x-cellgate-cell",
        "x-cellgate-generation",
        "x-cellgate-more",
    ];
    let ways = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-client-cert",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-original-url",
        "x-rewrite-url",
    ];
    for name in ours.iter().chain(&ways) {
        let spellings = [
            (*name).to_owned(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1).to_uppercase(),
        ];
        for spelling in spellings {
            let length = "content-length: 0\r\n";
            let plain = received(&proxy, &format!("{spelling}: forged\r\n{length}"), "");
            is_not_forged(&plain, &spelling);
            let named = format!("{spelling}: forged\r\nconnection: {spelling}\r\n{length}");
            // Refused is as good: a field that names the way of a request is no hop-by-hop field.
            match try_received(&proxy, &named, "") {
                Ok(received) => is_not_forged(&received, &spelling),
                Err(answer) => assert_eq!(answer.status, 400, "{spelling}"),
            }
            let trailer = format!("0\r\n{spelling}: forged\r\n\r\n");
            let chunked = format!("transfer-encoding: chunked\r\ntrailer: {spelling}\r\n");
            is_not_forged(&received(&proxy, &chunked, &trailer), &spelling);
        }
    }
    wait_until_idle(&proxy);
}

#[track_caller]
fn is_not_forged(received: &[(String, String)], spelling: &str) {
    let of = |name: &str| -> Vec<&str> {
        let all = received.iter().filter(|(field, _)| field == name);
        all.map(|(_, value)| &**value).collect()
    };
    assert_eq!(of("x-cellgate-tenant"), ["real"], "{spelling}");
    assert_eq!(of("x-cellgate-cell"), ["cell-1"], "{spelling}");
    assert_eq!(of("x-cellgate-generation"), ["1"], "{spelling}");
    assert_eq!(of("x-forwarded-for"), ["127.0.0.1"], "{spelling}");
    let scheme = if way() == Some(Way::Tls) {
        "https"
    } else {
        "http"
    };
    assert_eq!(of("x-forwarded-proto"), [scheme], "{spelling}");
    assert_eq!(of("x-forwarded-host"), ["test"], "{spelling}");
    let forged = received.iter().find(|(_, value)| value == "forged");
    assert_eq!(forged, None, "{spelling}");
}

fn trailers_of_a_request_forge_nothing() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = proxy.open();
    let head =
        "POST /ok/1 HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "3\r\nall\r\n0\r\nX_Cellgate-Tenant: forged\r\nx-sum: 1\r\n\r\n";
    connection
        .send([head, body].concat())
        .expect("the proxy listens");
    assert_eq!(connection.answer("POST").expect("it answers").text(), "1");
    let received = cell.received().concat();
    assert!(received.ends_with(r"3\r\nall\r\n0\r\n\r\n"), "{received}");
    // The connection stands where the next request begins.
    let next = Request::get(&format!("{OK}next")).header(TENANT, "a");
    assert_eq!(connection.exchange(&next).text(), "next");
    let received = cell.received().concat();
    assert!(!received.to_lowercase().contains("forged"), "{received}");
}

fn a_body_is_sent_once_the_cell_asks_for_it() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    let mut connection = proxy.open();
    let head = "PUT /kv/x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    connection.send(head).expect("the proxy listens");
    let interim = connection.interim().expect("it says to go on");
    assert_eq!(interim, 100);
    connection.send("hello").expect("the proxy listens");
    let answer = connection.answer("PUT").expect("it answers");
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(proxy.get("a", "/kv/x").text(), "hello");
}

/// Whoever is refused need not send the body; if it comes all the same, it is not a request.
fn a_refused_expectation_cannot_smuggle() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    let hidden = "GET /hidden HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n\r\n";
    let length = hidden.len();
    let head = format!(
        "POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
    );
    let mut connection = proxy.open();
    connection.send(head).expect("the proxy listens");
    assert_eq!(connection.answer("POST").expect("it answers").status, 400);
    let _ = connection.send(hidden);
    let rest = connection.rest().unwrap_or_default();
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    assert!(cell.received().is_empty(), "{:?}", cell.received());
}

fn old_clients_are_served() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    let ask = |fields: &str| {
        let mut connection = proxy.open();
        let head =
            format!("GET /bytes/10 HTTP/1.0\r\nhost: test\r\nx-tenant-id: a\r\n{fields}\r\n");
        connection.send(&head).expect("the proxy listens");
        let first = connection.answer("GET").expect("it answers");
        assert_eq!((first.status, first.body.len()), (200, 10));
        assert_eq!(first.header("transfer-encoding"), None);
        (connection, head)
    };
    let (mut connection, _) = ask("");
    assert!(connection.rest().expect("it closes in order").is_empty());

    let (mut connection, head) = ask("connection: keep-alive\r\n");
    connection.send(head).expect("it is still open");
    assert_eq!(connection.answer("GET").expect("it answers").status, 200);
}

fn answers_without_a_body_have_none() {
    let cell = Origin::start(|visit| {
        while let Some(head) = visit.head() {
            match (head.method(), head.id()) {
                ("HEAD", "chunked") => {
                    visit.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                }
                ("HEAD", _) => visit.send("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"),
                (_, "204") => visit.send("HTTP/1.1 204 No Content\r\n\r\n"),
                (_, "304") => visit.send("HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n"),
                (_, "304-long") => {
                    visit.send("HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\n\r\n")
                }
                (_, id) => visit.send(ok(id)),
            };
        }
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = proxy.open();
    for (method, path, status) in [
        ("HEAD", "/x", 200),
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("GET", "/304-long", 304),
        ("DELETE", "/204", 204),
        ("HEAD", "/chunked", 200),
        ("HEAD", "/x", 200),
    ] {
        let answer = connection.exchange(&Request::new(method, path).header(TENANT, "a"));
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.body.is_empty(), "{method} {path}");
        if path == "/x" {
            assert_eq!(answer.header("content-length"), Some("1234"));
        }
        // Had there been a body, this would not be the next answer.
        let next = Request::get(&format!("{OK}next")).header(TENANT, "a");
        assert_eq!(connection.exchange(&next).text(), "next", "{method} {path}");
    }
    assert_eq!(
        cell.connections(),
        1,
        "the connection to the cell was used again"
    );
}

/// The target's host counts, and Host may say the same in another case or with the scheme's port.
fn a_target_with_a_host_agrees_with_host_in_other_bytes() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    for (number, (target, host)) in [
        ("http://test", "test"),
        ("http://TEST", "test"),
        ("http://test", "Test"),
        ("http://test:80", "test"),
        ("http://test", "test:80"),
        ("http://test:", "test"),
        ("https://test:443", "test"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = proxy.open();
        let head =
            format!("GET {target}{OK}{number} HTTP/1.1\r\nHost: {host}\r\nx-tenant-id: a\r\n\r\n");
        connection.send(head).expect("the proxy listens");
        let answer = connection.answer("GET").expect("it answers");
        assert_eq!(answer.text(), number.to_string(), "{target} {host}");
        let received = cell.received().concat();
        // Not the last one of all: the proxy may have more than one connection.
        let of_this = format!("{OK}{number} ");
        let mut requests = received.split("GET ");
        let asked = requests.find(|request| request.starts_with(&of_this));
        let asked = asked.unwrap_or_default();
        let (_, authority) = target.split_once("//").expect("an absolute target");
        let has = |name: &str| asked.contains(&format!("\\r\\n{name}: {authority}\\r\\n"));
        assert!(has("Host") || has("host"), "{authority}: {asked}");
    }
    wait_until_idle(&proxy);
}

/// What is not allowed is not offered to the cell, and the request goes on without it.
fn only_listed_protocols_are_offered() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("limits", "{ upgrades: [websocket, foo/2] }")
        .start();
    for (number, (fields, expected)) in [
        ("upgrade: x", None),
        ("upgrade: h2c\r\nhttp2-settings: AAA", None),
        ("upgrade: websocket", Some("websocket")),
        (
            "upgrade: Foo/2, h2c\r\nupgrade: websocket",
            Some("Foo/2, websocket"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = proxy.open();
        let head = format!(
            "GET {OK}{number} HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nconnection: upgrade\r\n{fields}\r\n\r\n"
        );
        connection.send(head).expect("the proxy listens");
        let answer = connection.answer("GET").expect("it answers");
        assert_eq!(answer.text(), number.to_string(), "{fields}");
        let received = cell.received();
        let head = received.last().expect("the cell was asked").to_lowercase();
        let expected = expected.map(|offer| format!("upgrade: {}\\r\\n", offer.to_lowercase()));
        assert!(!head.contains("h2c") && !head.contains("http2"), "{head}");
        match expected {
            Some(offer) => assert!(head.contains(&offer), "{head}"),
            None => assert!(!head.contains("upgrade"), "{head}"),
        }
    }
    wait_until_idle(&proxy);
}
