//! What of the head of a cell's answer reaches the client, and which heads are too large for it.

use std::fs;

use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    origin::{OK, Origin, Visit, ok},
    proxy::{ONLY, Proxy, TENANT},
    table::TableText,
    wait_for,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    what_has_no_body_has_no_framing,
    one_length_arrives_once,
    a_registered_coding_passes_where_the_client_knows_codings,
    a_head_as_large_as_it_may_be_passes,
    a_head_that_is_too_large_is_refused_and_does_not_count_against_its_endpoint,
);

/// Of an answer's head, from its first byte to the blank line's last.
const HEAD_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 256;

/// A proxy whose cell answers all paths but those of [`OK`] with these bytes, and closes afterwards.
fn in_front_of(answer: impl Into<Vec<u8>>) -> (Origin, Proxy) {
    let answer = answer.into();
    let cell = Origin::start(move |visit| {
        visit.head();
        visit.send(&answer);
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    (cell, proxy)
}

/// All that a client gets that asks once, as escaped text with the names of fields in lower case.
#[track_caller]
fn seen_by(version: &str, answer: &str) -> String {
    let (_cell, proxy) = in_front_of(answer);
    let mut connection = Connection::open(proxy.address());
    let close = match version {
        "HTTP/1.0" => "",
        _ => "connection: close\r\n",
    };
    let request = format!("GET /x {version}\r\nhost: test\r\nx-tenant-id: a\r\n{close}\r\n");
    connection.send(request).expect("the proxy listens");
    let seen = connection.until_broken();
    drop(connection);
    wait_until_idle(&proxy);
    seen.escape_ascii().to_string().to_ascii_lowercase()
}

/// The final answer has this status, and these parts as often as is said.
#[track_caller]
fn check(version: &str, answer: &str, status: u16, parts: &[(&str, usize)]) -> String {
    let seen = seen_by(version, answer);
    let last = seen.rsplit("http/1.1 ").next().unwrap_or_default();
    let has_status = last.starts_with(&status.to_string());
    assert!(has_status, "{version}, {answer:?}: {seen}");
    for (part, times) in parts {
        let found = seen.matches(part).count();
        assert_eq!(found, *times, "{part} in {seen} after {answer:?}");
    }
    seen
}

fn what_has_no_body_has_no_framing() {
    const NONE: [(&str, usize); 2] = [("content-length", 0), ("transfer-encoding", 0)];
    for fields in [
        "content-length: 5\r\n",
        "content-length: 0\r\n",
        "transfer-encoding: chunked\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 4\r\ncontent-length: five\r\ntransfer-encoding: x\r\n",
    ] {
        let answer = format!("HTTP/1.1 204 No Content\r\nx-a: b\r\n{fields}\r\n");
        let seen = check("HTTP/1.1", &answer, 204, &NONE);
        assert!(seen.contains("x-a: b"), "{seen}");
        let end = "HTTP/1.1 204 No Content\r\n\r\n";
        let answer = format!("HTTP/1.1 103 Early Hints\r\nx-a: b\r\n{fields}\r\n{end}");
        let seen = check("HTTP/1.1", &answer, 204, &NONE);
        assert!(seen.starts_with("http/1.1 103 "), "{seen}");
        assert!(seen.contains("x-a: b"), "{seen}");
    }
}

fn one_length_arrives_once() {
    for lengths in [
        "content-length: 3",
        "content-length: 3\r\ncontent-length: 3",
        "content-length: 3, 3",
        "content-length: 3,3\r\nx-a: b\r\nContent-Length: 3",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nall");
        let parts = [("content-length", 1), (r"\r\ncontent-length: 3\r\n", 1)];
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let seen = check(version, &answer, 200, &parts);
            assert!(seen.ends_with(r"\r\n\r\nall"), "{seen}");
            assert!(seen.contains(r"\r\nconnection: close\r\n"), "{seen}");
        }
    }
    for lengths in ["3, 4", "3\r\ncontent-length: 4", "3,", ", 3", "+3", "3;a"] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {lengths}\r\n\r\nallx");
        check("HTTP/1.1", &answer, 502, &[("allx", 0)]);
    }
}

fn a_registered_coding_passes_where_the_client_knows_codings() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n\
                  2;a=b\r\nzi\r\n1\r\np\r\n0\r\nx-sum: 1\r\n\r\n";
    let codings = [("transfer-encoding", 1), ("gzip, chunked", 1), ("a=b", 0)];
    let seen = check("HTTP/1.1", answer, 200, &codings);
    assert!(seen.ends_with(r"0\r\n\r\n"), "{seen}");
    check(
        "HTTP/1.0",
        answer,
        502,
        &[("zi", 0), ("connection: close", 1)],
    );

    let plain = answer.replace("gzip, ", "");
    let seen = check("HTTP/1.0", &plain, 200, &[("transfer-encoding", 0)]);
    assert!(seen.contains(r"\r\nconnection: close\r\n"), "{seen}");
    assert!(seen.ends_with(r"\r\n\r\nzip"), "{seen}");
}

/// An answer's head of this many fields and bytes, the length among them.
fn head(fields: usize, bytes: usize) -> String {
    let mut head = String::from("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n");
    head += &"x-a: b\r\n".repeat(fields - 2);
    head += "x-last: ";
    let padding = bytes.saturating_sub(head.len() + 4);
    head + &"x".repeat(padding) + "\r\n\r\n"
}

fn a_head_as_large_as_it_may_be_passes() {
    for head in [head(FIELDS_MAX, 0), head(3, HEAD_BYTES_MAX)] {
        let answer = format!("{head}all");
        let seen = check("HTTP/1.1", &answer, 200, &[("x-last: ", 1)]);
        assert!(seen.ends_with(r"\r\n\r\nall"), "{seen}");
    }
}

/// The application is the same on every endpoint, so none is to blame.
fn a_head_that_is_too_large_is_refused_and_does_not_count_against_its_endpoint() {
    for (head, size) in [
        (head(FIELDS_MAX + 1, 0), "(257)".to_owned()),
        (head(3, HEAD_BYTES_MAX + 1), "bytes)".to_owned()),
        (head(3, 65 << 10), "bytes)".to_owned()),
    ] {
        let serve = move |visit: &mut Visit| {
            while let Some(request) = visit.head() {
                if request.path().starts_with(OK) {
                    visit.send(ok(request.id()));
                } else {
                    visit.send(format!("{head}all"));
                }
            }
        };
        let cells = [Origin::start(serve.clone()), Origin::start(serve)];
        let addresses = cells.iter().map(Origin::address).collect();
        let proxy = Proxy::plan()
            .set("upstream", "{ ejection: { after_failures: 1 } }")
            .set("access_log", "{ path: access.log }")
            .table(TableText::new([(ONLY, addresses)]))
            .start();
        for _ in 0..4 {
            let refused = proxy.get("a", "/large");
            assert_eq!(refused.verdict(), (502, Some("upstream_head_too_large")));
            let request = Request::get(&format!("{OK}next")).header(TENANT, "a");
            let next = request.send(proxy.address());
            assert_eq!((next.status, next.text()), (200, "next"));
        }
        let ejections = proxy.metric("endpoint_ejections_total", &[("cell", ONLY)]);
        assert_eq!(ejections, Some(0.0));
        let log = proxy.directory().join("access.log");
        let line = wait_for("a line in the access log", PATIENCE, || {
            let log = fs::read_to_string(&log).ok()?;
            let mut lines = log
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            lines
                .find(|line| line.contains("/large"))
                .map(str::to_owned)
        });
        let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(line["reason"], "upstream_head_too_large", "{line}");
        let refusal = line["answer_refusal"].as_str().unwrap_or_default();
        assert!(refusal.contains(&size), "{line}");
    }
}
