//! What a request is called: by its cell, its client, the access log, and the proxy's own answers.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::{
    PATIENCE,
    dead::DeadPort,
    fleet::Fleet,
    origin::Origin,
    proxy::{Plan, Proxy, TENANT},
    table::TableText,
    wait_for,
    ways::both_ways,
    wire::{Answer, Connection, Request},
};

both_ways!(
    cell_client_and_log_call_a_request_the_same,
    only_a_trusted_proxy_names_requests,
    the_name_replaces_that_of_the_cell,
    every_answer_of_the_proxy_says_it,
    switched_off_it_is_a_header_like_any_other,
    a_trace_is_logged,
);

const ID: &str = "x-request-id";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn plan(origin: &Origin) -> Plan {
    Proxy::in_front_of(origin.address()).set("access_log", "{ path: access.log }")
}

fn request(path: &str) -> Request {
    Request::get(path).header(TENANT, "acme")
}

/// What the cell received under this name, with its only request.
fn received(origin: &Origin, name: &str) -> Vec<String> {
    let received = origin.received().concat();
    let mut values = Vec::new();
    for line in received.split("\\r\\n") {
        if let Some((field, value)) = line.split_once(": ")
            && field.eq_ignore_ascii_case(name)
        {
            values.push(value.to_owned());
        }
    }
    values
}

/// The one name that an answer gives its request.
#[track_caller]
fn name_in(answer: &Answer) -> String {
    let named = |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case(ID);
    let names: Vec<_> = answer.headers.iter().filter(named).collect();
    let [(_, name)] = names[..] else {
        panic!("not one name: {answer:?}");
    };
    String::from_utf8(name.clone()).unwrap()
}

#[track_caller]
fn assert_made(name: &str) {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    assert!(name.len() == 32 && name.bytes().all(is_digit), "{name}");
}

#[track_caller]
fn logged(proxy: &Proxy, count: usize) -> Vec<Value> {
    let path: PathBuf = proxy.directory().join("access.log");
    wait_for("the lines are in the log", PATIENCE, || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<Value> = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn cell_client_and_log_call_a_request_the_same() {
    let origin = Origin::well_behaved();
    let proxy = plan(&origin).start();
    let mut connection = Connection::open(proxy.address());
    let mut names = Vec::new();
    for number in 0..3 {
        let answer = connection.exchange(&request(&format!("/ok/{number}")));
        assert_eq!(answer.status, 200);
        names.push(name_in(&answer));
        assert_made(&names[number]);
    }
    assert_eq!(received(&origin, ID), names);
    let lines = logged(&proxy, 3);
    let in_log: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["request_id"].as_str())
        .collect();
    assert_eq!(in_log, names);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3, "each its own");
}

fn only_a_trusted_proxy_names_requests() {
    // What clients send, and whether a trusted one is believed.
    let longest = "x".repeat(128);
    let too_long = "x".repeat(129);
    let cases: [(&[(&str, &str)], bool); 8] = [
        (&[(ID, "5b0c1f6e-8c0a.A_9")], true),
        (&[("X-Request-ID", &longest)], true),
        (&[(ID, &too_long)], false),
        (&[(ID, "a b")], false),
        (&[(ID, "")], false),
        (&[(ID, "a"), (ID, "a")], false),
        (&[("x_request_id", "a")], false),
        (&[], false),
    ];
    for (trusted, is_trusted) in [("[127.0.0.1]", true), ("[192.0.2.1]", false)] {
        for (fields, is_good) in cases {
            let origin = Origin::well_behaved();
            let proxy = plan(&origin).set("trusted_proxies", trusted).start();
            let mut asked = request("/ok/1");
            for (name, value) in fields {
                asked = asked.header(name, value);
            }
            let name = name_in(&asked.send(proxy.address()));
            if is_trusted && is_good {
                assert_eq!(name, fields[0].1);
            } else {
                assert_made(&name);
            }
            assert_eq!(received(&origin, ID), [name], "{fields:?}");
            assert!(received(&origin, "x_request_id").is_empty());
        }
    }
}

fn the_name_replaces_that_of_the_cell() {
    for fields in [
        "X-Request-Id: of-the-cell\r\ncontent-length: 2",
        "content-length: 2\r\nx-request-id: a\r\nx-request-id: b",
        "content-length: 2\r\nconnection: x-request-id, keep-alive",
        "transfer-encoding: chunked\r\nx-request-id: a",
    ] {
        let body = if fields.contains("chunked") {
            "2\r\nok\r\n0\r\n\r\n"
        } else {
            "ok"
        };
        let origin = Origin::answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}"));
        let proxy = plan(&origin).start();
        let answer = request("/").send(proxy.address());
        assert_eq!(answer.text(), "ok");
        assert_eq!(received(&origin, ID), [name_in(&answer)], "{fields}");
    }
}

fn every_answer_of_the_proxy_says_it() {
    let (fleet, dead) = (Fleet::start(1), DeadPort::new());
    let cells = [
        ("cell-1", vec![fleet.address(1)]),
        ("dead", vec![dead.address()]),
    ];
    let table = TableText::new(cells)
        .reject("evil-corp")
        .pin("ghost", "dead");
    let proxy = Proxy::plan()
        .set("access_log", "{ path: access.log }")
        .set("timeouts", "{ head_ms: 300 }")
        .table(table)
        .start();
    let mut names = Vec::new();
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx-tenant-id: evil-corp\r\n\r\n",
            403,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx-tenant-id: ghost\r\n\r\n",
            502,
        ),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 405),
        ("GET / HT", 408),
    ] {
        let answer = Connection::open(proxy.address()).exchange_bytes("GET", bytes);
        assert_eq!(answer.status, status, "{bytes:?}");
        let name = name_in(&answer);
        assert_made(&name);
        assert_eq!(answer.json()["request_id"], *name, "{bytes:?}");
        names.push(name);
    }
    let lines = logged(&proxy, names.len());
    let in_log: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["request_id"].as_str())
        .collect();
    names.sort_unstable();
    let mut sorted = in_log;
    sorted.sort_unstable();
    assert_eq!(sorted, names);
}

fn switched_off_it_is_a_header_like_any_other() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nx-request-id: theirs\r\ncontent-length: 0\r\n\r\n");
    let proxy = plan(&origin).set("request_id", "off").start();
    let answer = request("/").header(ID, "a b").send(proxy.address());
    assert_eq!(name_in(&answer), "theirs");
    assert_eq!(received(&origin, ID), ["a b"]);
    assert_eq!(logged(&proxy, 1)[0]["request_id"], Value::Null);
    let refused = Request::get("/").send(proxy.address());
    assert_eq!((refused.status, refused.header(ID)), (400, None));
    assert_eq!(refused.json()["request_id"], Value::Null);
}

fn a_trace_is_logged() {
    let origin = Origin::well_behaved();
    let proxy = plan(&origin).start();
    let good = request("/ok/1").header("Traceparent", TRACEPARENT);
    assert_eq!(good.send(proxy.address()).status, 200);
    let bad = request("/ok/2").header("traceparent", "00-1-2-3");
    assert_eq!(bad.send(proxy.address()).status, 200);
    let twice = request("/ok/3")
        .header("traceparent", TRACEPARENT)
        .header("traceparent", TRACEPARENT);
    assert_eq!(twice.send(proxy.address()).status, 200);
    // It goes on as it came, whatever it is.
    assert_eq!(
        received(&origin, "traceparent"),
        [TRACEPARENT, "00-1-2-3", TRACEPARENT, TRACEPARENT]
    );
    let mut lines = logged(&proxy, 3);
    // Those of different connections are in any order.
    lines.sort_by_key(|line| line["target"].to_string());
    let ids: Vec<Value> = lines
        .into_iter()
        .map(|line| line["trace_id"].clone())
        .collect();
    let id = Value::from("4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(ids, [id, Value::Null, Value::Null]);
}
