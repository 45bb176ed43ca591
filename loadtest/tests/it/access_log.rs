//! The access log: a line of JSON for each request, if it is wanted.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    origin::Origin,
    process::Signal,
    proxy::{Plan, Proxy, TENANT, rename_over},
    tls::{Authority, Certificates, client},
    wait_for, wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    a_request_is_logged_with_its_way,
    a_request_that_is_refused_is_logged_with_the_reason,
    odd_bytes_stay_inside_their_field,
    what_is_queued_is_written_before_the_end,
    a_full_disk_costs_lines_and_nothing_else,
    who_asked_and_how_long_the_cell_took_is_logged,
    over_tls_the_log_says_what_was_agreed_on,
    the_combined_format_is_what_other_programs_read,
);

fn logging_plan() -> Plan {
    Proxy::plan().set("access_log", "{ path: access.log }")
}

fn log_path(proxy: &Proxy) -> PathBuf {
    proxy.directory().join("access.log")
}

/// All whole lines of a log.
#[track_caller]
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[track_caller]
fn wait_for_lines(path: &Path, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} lines in the log"), PATIENCE, || {
        Some(lines(path)).filter(|lines| lines.len() >= count)
    })
}

/// Of these fields the line says this, or nothing where that is null.
#[track_caller]
fn assert_says(line: &Value, expected: &Value) {
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(line[field], *value, "{field} in {line}");
    }
}

#[test]
fn it_is_off_by_default() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::start(fleet.table());
    assert_eq!(proxy.get("acme", "/").status, 200);
    // Nothing to be opened anew.
    proxy.signal(Signal::USR1);
    assert_eq!(proxy.get("acme", "/").status, 200);
    proxy.stop();

    let entries = fs::read_dir(proxy.directory()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["proxy.yaml", "state", "tables"]);
    assert!(!proxy.log().contains("acme"), "{}", proxy.log());
}

fn a_request_is_logged_with_its_way() {
    let fleet = Fleet::start(2);
    let table = fleet
        .table()
        .pin("acme", "cell-2")
        .alias("acme-corp", "acme");
    let mut proxy = logging_plan().table(table.generation(7)).start();

    let request = Request::new("POST", "/echo/a?b=c").header(TENANT, "acme-corp");
    let answer = request.body("twelve bytes").send(proxy.address());
    assert_eq!(answer.status, 200);

    let line = wait_for_lines(&log_path(&proxy), 1).remove(0);
    let expected = json!({
        "listener": "edge",
        "client": "127.0.0.1",
        "protocol": "HTTP/1.1",
        "tls_version": null,
        "sni": null,
        "user_agent": null,
        "method": "POST",
        "host": "localhost",
        "target": "/echo/a?b=c",
        "status": 200,
        "reason": null,
        "request_body_bytes": 12,
        "response_body_bytes": 12,
        "tenant": "acme",
        "cell": "cell-2",
        "endpoint": fleet.address(2).to_string(),
        "generation": 7,
        "attempts": 1,
    });
    assert_says(&line, &expected);
    let took = line["duration_ms"].as_f64().expect("a number");
    assert!(took > 0.0 && took < 20_000.0, "{line}");
    let time = line["time"].as_str().expect("a date");
    assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
    proxy.stop();
    assert_eq!(lines(&log_path(&proxy)).len(), 1);
}

fn a_request_that_is_refused_is_logged_with_the_reason() {
    let fleet = Fleet::start(2);
    let proxy = logging_plan()
        .table(fleet.table().reject("evil-corp"))
        .start();
    let log = log_path(&proxy);

    Request::get("/nobody").send(proxy.address());
    let line = wait_for_lines(&log, 1).remove(0);
    let expected = json!({
        "target": "/nobody", "status": 400, "reason": "no_tenant_key",
        "tenant": null, "cell": null, "endpoint": null,
    });
    assert_says(&line, &expected);

    proxy.get("evil-corp", "/evil");
    let line = wait_for_lines(&log, 2).remove(1);
    let expected = json!({
        "target": "/evil", "status": 403, "reason": "rejected", "tenant": "evil-corp",
        "endpoint": null,
    });
    assert_says(&line, &expected);

    // Not read as a request at all.
    let mut connection = Connection::open(proxy.address());
    connection.send("GET / HTTP/1.1\r\n\r\n").unwrap();
    connection.rest().unwrap();
    let line = wait_for_lines(&log, 3).remove(2);
    let expected = json!({
        "client": "127.0.0.1", "status": 400, "reason": "bad_request", "refusal": "missing_host",
        "target": null,
    });
    assert_says(&line, &expected);

    // Only its body cannot be read.
    let mut connection = Connection::open(proxy.address());
    let head = "POST /echo/x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n";
    let body = "transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n";
    connection.send([head, body].concat()).unwrap();
    connection.rest().unwrap();
    let line = wait_for_lines(&log, 4).remove(3);
    let expected = json!({
        "status": 400, "reason": "bad_request", "refusal": "bad_chunk_end", "target": "/echo/x",
        "tenant": "a",
    });
    assert_says(&line, &expected);
    for (code, count) in [
        ("missing_host", 1.0),
        ("bad_chunk_end", 1.0),
        ("bare_lf", 0.0),
    ] {
        let counted = proxy.metric("gate_refusals_total", &[("code", code)]);
        assert_eq!(counted, Some(count), "{code}");
    }
}

/// Bytes of a request cannot forge a line or break one.
fn odd_bytes_stay_inside_their_field() {
    let fleet = Fleet::start(2);
    let proxy = logging_plan().table(fleet.table()).start();

    let tenant = *b"a\",\"status\":999,\"x\":\"\xff\xc3\xa9";
    assert_eq!(proxy.get(tenant, "/").status, 200);
    let line = wait_for_lines(&log_path(&proxy), 1).remove(0);
    let expected = json!({
        "status": 200, "x": null, "tenant": "a\",\"status\":999,\"x\":\"\u{fffd}é",
    });
    assert_says(&line, &expected);
}

#[test]
fn sigusr1_opens_it_anew() {
    let fleet = Fleet::start(2);
    let mut proxy = logging_plan().table(fleet.table()).start();
    let log = log_path(&proxy);
    let rotated = proxy.directory().join("access.log.1");

    proxy.get("acme", "/first");
    wait_for_lines(&log, 1);
    rename_over(&log, &rotated);
    // Until the signal, it goes on with the file that it has.
    proxy.get("acme", "/second");
    wait_for_lines(&rotated, 2);
    assert!(!log.exists());

    proxy.signal(Signal::USR1);
    wait_until("there is a new file", PATIENCE, || log.exists());
    proxy.get("acme", "/third");
    wait_for_lines(&log, 1);

    proxy.stop();
    let targets = |path: &Path| -> Vec<Value> {
        lines(path)
            .iter()
            .map(|line| line["target"].clone())
            .collect()
    };
    assert_eq!(targets(&rotated), ["/first", "/second"]);
    assert_eq!(targets(&log), ["/third"]);
    assert_eq!(proxy.count_in_log("log opened anew"), 1);
}

fn what_is_queued_is_written_before_the_end() {
    const COUNT: usize = 200;
    let fleet = Fleet::start(2);
    let mut proxy = logging_plan().table(fleet.table()).start();
    let mut connection = Connection::open(proxy.address());
    for _ in 0..COUNT {
        connection.exchange(&Request::get("/").header(TENANT, "acme"));
    }
    proxy.stop();
    assert_eq!(lines(&log_path(&proxy)).len(), COUNT);
}

fn a_full_disk_costs_lines_and_nothing_else() {
    const FULL: &str = "/dev/full";
    if !Path::new(FULL).exists() {
        eprintln!("SKIPPED: this system has no {FULL}");
        return;
    }
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::plan()
        .set("access_log", &format!("{{ path: {FULL} }}"))
        .table(fleet.table())
        .start();

    assert_eq!(proxy.get("acme", "/").status, 200);
    proxy.wait_for_log(&["ERROR", "the log cannot be written"]);
    for _ in 0..10 {
        assert_eq!(proxy.get("acme", "/").status, 200);
    }
    wait_until("dropped lines are counted", PATIENCE, || {
        proxy.metric("access_log_dropped_total", &[]) >= Some(10.0)
    });
    proxy.stop();
}

#[test]
fn a_log_that_cannot_be_opened_costs_its_lines_only() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::plan()
        .set("access_log", "{ path: missing/access.log }")
        .table(fleet.table())
        .start();
    proxy.wait_for_log(&["ERROR", "the log cannot be written", "missing/access.log"]);
    assert_eq!(proxy.get("acme", "/").status, 200);
    wait_until("its line is counted", PATIENCE, || {
        proxy.metric("access_log_dropped_total", &[]) == Some(1.0)
    });
    // It is opened once somebody has made the folder.
    fs::create_dir(proxy.directory().join("missing")).expect("the scratch directory is ours");
    wait_until("lines are written", PATIENCE, || {
        proxy.get("acme", "/");
        proxy.directory().join("missing/access.log").exists()
    });
    proxy.stop();
}

#[test]
fn it_can_go_to_standard_output() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::plan()
        .set("access_log", "{ path: stdout }")
        .table(fleet.table())
        .start();
    assert_eq!(proxy.get("acme", "/somewhere").status, 200);
    let line = proxy.wait_for_log(&["\"target\":\"/somewhere\""]);
    let line: Value = serde_json::from_str(&line).expect("a line of its own");
    assert_says(&line, &json!({ "status": 200, "tenant": "acme" }));
    proxy.signal(Signal::USR1);
    proxy.stop();
    assert!(!proxy.directory().join("stdout").exists());
}

/// Milliseconds that the line says.
fn ms(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or_else(|| panic!("{line}"))
}

fn who_asked_and_how_long_the_cell_took_is_logged() {
    const UNTIL_FIRST_BYTE: Duration = Duration::from_millis(60);
    const UNTIL_END: Duration = Duration::from_millis(80);
    let cell = Origin::start(|visit| {
        while let Some(head) = visit.request() {
            if head.id() == "never" {
                return;
            }
            thread::sleep(UNTIL_FIRST_BYTE);
            visit.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n");
            if head.method() == "HEAD" {
                continue;
            }
            visit.send("12345");
            thread::sleep(UNTIL_END);
            visit.send("67890");
        }
    });
    let proxy = Proxy::in_front_of(cell.address())
        .set("access_log", "{ path: access.log }")
        .start();
    let long = "x".repeat(1_000);
    // Lines of one connection are in order.
    let mut connection = Connection::open(proxy.address());
    let mut asked = |method: &str, path: &str| {
        let request = Request::new(method, path).header(TENANT, "a");
        let request = request
            .header("user-agent", format!("a\"b {long}"))
            .header("user-agent", "second");
        connection.exchange(&request).status
    };
    assert_eq!(asked("GET", "/"), 200);
    assert_eq!(asked("HEAD", "/"), 200);
    assert_eq!(asked("GET", "/never"), 502);
    let lines = wait_for_lines(&log_path(&proxy), 3);
    for (line, bytes) in lines[..2].iter().zip([10, 0]) {
        let expected = json!({
            "protocol": "HTTP/1.1",
            "user_agent": format!("a\"b {}", &long[..252]),
            "request_body_bytes": 0,
            "response_body_bytes": bytes,
        });
        assert_says(line, &expected);
        let first_byte = ms(line, "upstream_first_byte_ms");
        assert!(first_byte >= 60.0, "{line}");
        assert!(first_byte <= ms(line, "duration_ms"), "{line}");
    }
    let took = ms(&lines[0], "duration_ms");
    assert!(took >= 140.0, "{}", lines[0]);
    // The proxy may notice the first byte late, but not as late as the last one.
    let rest = took - ms(&lines[0], "upstream_first_byte_ms");
    assert!(rest >= 40.0, "{}", lines[0]);
    assert_says(
        &lines[2],
        &json!({ "status": 502, "upstream_first_byte_ms": null }),
    );

    let mut old = Connection::open(proxy.address());
    old.send("GET / HTTP/1.0\r\nhost: test\r\nx-tenant-id: a\r\n\r\n")
        .unwrap();
    old.rest().unwrap();
    let line = wait_for_lines(&log_path(&proxy), 4).remove(3);
    assert_says(&line, &json!({ "protocol": "HTTP/1.0", "status": 200 }));
}

fn over_tls_the_log_says_what_was_agreed_on() {
    const NAME: &str = "one.example.com";
    let authority = Authority::new();
    let certificates = Certificates::new();
    certificates.write_pair("one", &authority.server(&[NAME]));
    let folder = certificates.folder().display();
    let listener =
        format!(r#"[{{ name: edge, address: "127.0.0.1:0", tls: {{ directory: {folder} }} }}]"#);
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("listeners", &listener)
        .set("access_log", "{ path: access.log }")
        .start();
    let config = authority.client_config(&[&TLS13], None);
    let mut connection =
        Connection::try_open_tls(proxy.address(), client(&config, NAME)).expect("it may come in");
    let suite = connection
        .tls()
        .negotiated_cipher_suite()
        .expect("the handshake is done");
    let suite = format!("{:?}", suite.suite());
    let answer = connection.exchange(&Request::get("/ok/1").header(TENANT, "a"));
    assert_eq!(answer.status, 200);
    // Also where the request could not be read.
    connection.send("GET / HTTP/1.1\r\n\r\n").unwrap();
    for line in &wait_for_lines(&log_path(&proxy), 2) {
        let expected = json!({ "tls_version": "1.3", "tls_cipher": suite, "sni": NAME });
        assert_says(line, &expected);
    }
}

fn the_combined_format_is_what_other_programs_read() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("access_log", "{ path: access.log, format: combined }")
        .start();
    // Lines of one connection are in order.
    let mut connection = Connection::open(proxy.address());
    let request = Request::get("/ok/12?a=b").header(TENANT, "a");
    let request = request
        .header("referer", "http://example.com/")
        .header("user-agent", "curl/7.88.1");
    assert_eq!(connection.exchange(&request).status, 200);
    // What would be lines of its own.
    let forged = b"\" 200 0 \"-\" \"-\" \\ \xe9\t127.0.0.1 - - [";
    let request = Request::get("/ok/1").header(TENANT, "a");
    let request = request.header("user-agent", forged);
    assert_eq!(connection.exchange(&request).status, 200);
    connection.send("GET / HTTP/1.1\r\n\r\n").unwrap();
    connection.rest().unwrap();

    let text = wait_for("three lines", PATIENCE, || {
        let text = fs::read_to_string(log_path(&proxy)).ok()?;
        (text.lines().count() >= 3 && text.ends_with('\n')).then_some(text)
    });
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        r#""GET /ok/12?a=b HTTP/1.1" 200 6 "http://example.com/" "curl/7.88.1""#,
        r#""GET /ok/1 HTTP/1.1" 200 1 "-" "\x22 200 0 \x22-\x22 \x22-\x22 \x5C \xE9\x09127.0.0.1 - - [""#,
        r#""-" 400 0 "-" "-""#,
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.iter().zip(expected) {
        let (start, rest) = line.split_once("] ").expect(line);
        assert!(start.starts_with("127.0.0.1 - - ["), "{line}");
        assert!(start.ends_with(" +0000"), "{line}");
        assert_eq!(rest, expected);
    }
}
