//! The demo cell alone, without a proxy.

use std::{
    fs,
    io::Write,
    net::Shutdown,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    PATIENCE,
    cell::DemoCell,
    process::{Process, Signal},
    wait_until,
    wire::{Answer, Connection, Request},
};

const TENANT: &str = "x-cellgate-tenant";

fn put(cell: &DemoCell, tenant: impl AsRef<[u8]>, key: &str, value: impl Into<Vec<u8>>) -> Answer {
    Request::new("PUT", &format!("/kv/{key}"))
        .header(TENANT, tenant)
        .body(value)
        .send(cell.address())
}

fn get(cell: &DemoCell, tenant: impl AsRef<[u8]>, target: &str) -> Answer {
    Request::get(target)
        .header(TENANT, tenant)
        .send(cell.address())
}

/// A request in flight: the first chunk of its body has come back, the last is not sent yet.
#[track_caller]
fn half_an_echo(cell: &DemoCell) -> Connection {
    let request = Request::new("POST", "/echo/x")
        .header(TENANT, "acme")
        .header("transfer-encoding", "chunked");
    let mut connection = Connection::open(cell.address());
    connection.send(request.bytes()).unwrap();
    connection.send("5\r\nfirst\r\n").unwrap();

    let mut peeked = [0; 4096];
    wait_until("the first chunk comes back", PATIENCE, || {
        let count = connection.stream().peek(&mut peeked).unwrap();
        peeked[..count].windows(5).any(|window| window == b"first")
    });
    connection
}

#[track_caller]
fn other_half(connection: &mut Connection) -> Answer {
    connection.send("4\r\nlast\r\n0\r\n\r\n").unwrap();
    connection.answer("POST").unwrap()
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(status), &json!(code)),
        "{problem}"
    );
}

#[test]
fn values_are_kept() {
    let cell = DemoCell::start("eu-1");

    assert_problem(&get(&cell, "acme", "/kv/colour"), 404, "no_such_key");
    assert_eq!(put(&cell, "acme", "colour", "blue").status, 204);
    assert_eq!(put(&cell, "acme", "colour", *b"gr\0\xff\n").status, 204);
    assert_eq!(get(&cell, "acme", "/kv/colour").body, b"gr\0\xff\n");

    let delete = Request::new("DELETE", "/kv/colour").header(TENANT, "acme");
    assert_eq!(delete.send(cell.address()).status, 204);
    assert_problem(&delete.send(cell.address()), 404, "no_such_key");
    assert_problem(&get(&cell, "acme", "/kv/colour"), 404, "no_such_key");
}

#[test]
fn keys_are_listed_page_by_page() {
    let cell = DemoCell::start("eu-1");
    assert_eq!(
        get(&cell, "acme", "/kv").json(),
        json!({ "keys": [], "more": false })
    );

    for key in ["b", "a%2fb", "a/c", "%C3%A9"] {
        assert_eq!(put(&cell, "acme", key, "").status, 204);
    }
    assert_eq!(
        get(&cell, "acme", "/kv").json(),
        json!({ "keys": ["a/b", "a/c", "b", "é"], "more": false })
    );
    assert_eq!(
        get(&cell, "acme", "/kv?after=a/c").json(),
        json!({ "keys": ["b", "é"], "more": false })
    );
    assert_problem(&get(&cell, "acme", "/kv?before=b"), 400, "bad_query");
}

#[test]
fn tenants_share_nothing() {
    let cell = DemoCell::start("eu-1");
    let tenants: [&[u8]; 6] = [
        b"acme",
        b"Acme",
        b"../acme",
        b"acme.sqlite",
        b"\xff\xfe",
        &[b'a'; 256],
    ];

    for tenant in tenants {
        assert_eq!(put(&cell, tenant, "name", tenant).status, 204);
    }
    for tenant in tenants {
        assert_eq!(get(&cell, tenant, "/kv/name").body, tenant);
    }
    let files = fs::read_dir(cell.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        files.filter(|name| name.ends_with(".sqlite")).count(),
        tenants.len()
    );
}

#[test]
fn data_outlives_the_process() {
    let data = TempDir::new().unwrap();
    let mut first = DemoCell::plan("eu-1").data(data.path()).start();
    put(&first, "acme", "colour", "blue");
    let address = first.address();
    first.process().kill();

    let second = DemoCell::plan("eu-1")
        .data(data.path())
        .listen(address)
        .start();
    assert_eq!(second.address(), address);
    assert_eq!(get(&second, "acme", "/kv/colour").body, b"blue");
}

#[test]
fn what_is_refused() {
    #[track_caller]
    fn check(cell: &DemoCell, request: &Request, status: u16, code: &str) {
        let answer = request.send(cell.address());
        assert_problem(&answer, status, code);
        assert_eq!(answer.header("x-cell"), Some(cell.name()));
    }

    let cell = DemoCell::start("eu-1");
    let acme = |method, target: &str| Request::new(method, target).header(TENANT, "acme");

    check(&cell, &Request::get("/"), 400, "no_tenant");
    check(&cell, &Request::get("/kv/a"), 400, "no_tenant");
    check(&cell, &Request::get("/whoami"), 400, "no_tenant");
    check(
        &cell,
        &Request::get("/").header(TENANT, ""),
        400,
        "bad_tenant",
    );
    check(
        &cell,
        &Request::get("/").header(TENANT, [b'a'; 257]),
        400,
        "bad_tenant",
    );
    check(
        &cell,
        &acme("GET", "/").header(TENANT, "globex"),
        400,
        "bad_tenant",
    );
    check(&cell, &acme("GET", "/kv/%ff"), 400, "bad_path");
    check(
        &cell,
        &acme("GET", &format!("/kv/{}", "k".repeat(1025))),
        400,
        "key_too_long",
    );
    let too_long = vec![0; 1024 * 1024 + 1];
    check(
        &cell,
        &acme("PUT", "/kv/a").body(too_long),
        413,
        "value_too_long",
    );
    check(&cell, &acme("POST", "/kv/a"), 405, "bad_method");
    check(&cell, &acme("GET", "/bytes/many"), 400, "bad_number");
    check(&cell, &acme("GET", "/bytes/1073741825"), 400, "bad_number");
    check(&cell, &acme("GET", "/slow/60001"), 400, "bad_number");
    check(&cell, &acme("GET", "/slow/-1"), 400, "bad_number");

    assert_eq!(
        put(&cell, "acme", "largest", vec![0; 1024 * 1024]).status,
        204
    );
    assert_eq!(put(&cell, "acme", &"k".repeat(1024), "").status, 204);
}

#[test]
fn every_answer_names_cell_and_tenant() {
    #[track_caller]
    fn check(cell: &DemoCell, target: &str, status: u16) {
        let answer = get(cell, b"acme \xe9", target);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-cell"), Some(cell.name()));
        let tenant = answer
            .headers
            .iter()
            .find(|(name, _)| name == "x-tenant")
            .map(|(_, value)| value.as_slice());
        assert_eq!(tenant, Some(b"acme \xe9".as_slice()));
    }

    let cell = DemoCell::start("eu-1");
    check(&cell, "/", 200);
    check(&cell, "/kv/a", 404);
    check(&cell, "/healthz", 200);
    check(&cell, "/bytes/x", 400);
    check(&cell, "/echo/x", 200);
    assert_eq!(
        get(&cell, b"acme \xe9", "/any/path?q").text(),
        "cell eu-1 tenant acme \\xe9\n"
    );
}

#[test]
fn whoami_shows_what_arrived() {
    let cell = DemoCell::plan("eu-1").version("v2").start();
    let answer = Request::new("PATCH", "/whoami/a%20b?c=d")
        .header(TENANT, b"acme\xe9")
        .header("x-cellgate-generation", "42")
        .header("X-Twice", "1")
        .header("x-twice", "2")
        .send(cell.address());

    assert_eq!(
        answer.json(),
        json!({
            "cell": "eu-1",
            "version": "v2",
            "tenant": "acmeé",
            "generation": 42,
            "method": "PATCH",
            "path": "/whoami/a%20b",
            "query": "c=d",
            "headers": [
                ["host", "localhost"],
                ["x-cellgate-tenant", "acmeé"],
                ["x-cellgate-generation", "42"],
                ["x-twice", "1"],
                ["x-twice", "2"],
            ],
        })
    );
    let bare = get(&cell, "acme", "/whoami").json();
    assert_eq!(
        (&bare["generation"], &bare["query"]),
        (&json!(null), &json!(null))
    );
}

#[test]
fn echo_streams() {
    let cell = DemoCell::start("eu-1");
    let answer = Request::new("POST", "/echo/a/b")
        .header(TENANT, "acme")
        .body("hello")
        .send(cell.address());
    assert_eq!((answer.status, answer.text()), (200, "hello"));

    let mut connection = half_an_echo(&cell);
    assert_eq!(other_half(&mut connection).text(), "firstlast");

    // The connection is good for another request.
    assert_eq!(
        connection
            .exchange(&Request::get("/").header(TENANT, "acme"))
            .status,
        200
    );
}

#[test]
fn bytes_are_counted() {
    let cell = DemoCell::start("eu-1");
    let mut connection = Connection::open(cell.address());
    for count in [0, 1, 17, 64 * 1024, 64 * 1024 + 1, 1_000_000] {
        let answer =
            connection.exchange(&Request::get(&format!("/bytes/{count}")).header(TENANT, "acme"));
        assert_eq!(
            answer.header("content-length"),
            Some(count.to_string().as_str())
        );
        assert_eq!(answer.body.len(), count);
        assert!(
            answer
                .body
                .iter()
                .enumerate()
                .all(|(at, &byte)| byte == b"abcdefghijklmnop"[at % 16])
        );
    }

    let head = Request::new("HEAD", "/bytes/1073741824").header(TENANT, "acme");
    assert_eq!(
        connection.exchange(&head).header("content-length"),
        Some("1073741824")
    );
}

#[test]
fn slow_waits() {
    let cell = DemoCell::start("eu-1");
    let start = Instant::now();
    assert_eq!(get(&cell, "acme", "/slow/150").text(), "waited 150 ms\n");
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn health_can_be_turned_off() {
    let cell = DemoCell::start("eu-1");
    let healthz = Request::get("/healthz");
    let set = |state: &str| Request::new("POST", &format!("/admin/health/{state}"));

    assert_eq!(healthz.send(cell.address()).text(), "ok");
    assert_eq!(set("fail").send(cell.address()).status, 204);
    assert_problem(&healthz.send(cell.address()), 503, "unhealthy");
    assert_eq!(
        get(&cell, "acme", "/").status,
        200,
        "only the report changes"
    );

    let from_outside = set("ok").header(TENANT, "acme").send(cell.address());
    assert_problem(&from_outside, 403, "admin_from_outside");
    assert_problem(&set("maybe").send(cell.address()), 400, "bad_health");
    assert_problem(&healthz.send(cell.address()), 503, "unhealthy");

    assert_eq!(set("ok").send(cell.address()).status, 204);
    assert_eq!(healthz.send(cell.address()).status, 200);
}

#[test]
fn signals_end_it_cleanly() {
    #[track_caller]
    fn check(signal: Signal) {
        let mut cell = DemoCell::start("eu-1");
        put(&cell, "acme", "colour", "blue");
        let mut idle = Connection::open(cell.address());
        idle.exchange(&Request::get("/").header(TENANT, "acme"));
        let mut in_flight = half_an_echo(&cell);

        cell.process().signal(signal);
        assert_eq!(
            idle.rest().unwrap(),
            b"",
            "idle connections are closed immediately"
        );
        assert_eq!(other_half(&mut in_flight).text(), "firstlast");
        assert!(cell.process().wait(PATIENCE).success());
        let files: Vec<_> = fs::read_dir(cell.data())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(files, ["t-acme.sqlite"], "the databases are closed");
    }

    check(Signal::TERM);
    check(Signal::INT);
}

#[test]
fn a_stopped_cell_accepts_and_does_not_answer() {
    let mut cell = DemoCell::start("eu-1");
    let request = Request::get("/").header(TENANT, "acme");
    cell.process().signal(Signal::STOP);

    let mut connection = Connection::open(cell.address());
    connection.send(request.bytes()).unwrap();
    connection
        .stream()
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    connection.answer("GET").unwrap_err();

    cell.process().signal(Signal::CONT);
    connection
        .stream()
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    assert_eq!(connection.answer("GET").unwrap().status, 200);
}

#[test]
fn clients_that_go_away_leave_it_well() {
    let cell = DemoCell::start("eu-1");
    for _ in 0..20 {
        let mut connection = Connection::open(cell.address());
        connection
            .send(
                Request::get("/bytes/100000000")
                    .header(TENANT, "acme")
                    .bytes(),
            )
            .unwrap();
        connection.stream().shutdown(Shutdown::Both).unwrap();

        let put = Request::new("PUT", "/kv/half")
            .header(TENANT, "acme")
            .header("content-length", "9");
        let mut half = Connection::open(cell.address());
        half.send(put.bytes()).unwrap();
        half.send("half").unwrap();
    }
    assert_problem(&get(&cell, "acme", "/kv/half"), 404, "no_such_key");
}

#[test]
fn what_it_does_not_start_with() {
    #[track_caller]
    fn check(args: &[&str], exit_code: i32, message: &str) {
        let mut process = Process::start(
            "demo-cell",
            Command::new(env!("CARGO_BIN_EXE_demo-cell")).args(args),
        );
        let status = process.wait(PATIENCE);
        assert_eq!(status.code(), Some(exit_code));
        assert!(process.output().contains(message), "{}", process.output());
    }
    let running = DemoCell::start("eu-1");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"not a directory").unwrap();
    let (taken, data) = (
        running.address().to_string(),
        running.data().to_str().unwrap(),
    );
    let file = file.path().to_str().unwrap();

    check(&[], 2, "--name");
    check(
        &["--name", "a b", "--listen", "127.0.0.1:0", "--data", data],
        2,
        "a cell name is",
    );
    check(
        &["--name", "eu-2", "--listen", "localhost", "--data", data],
        2,
        "invalid socket address",
    );
    check(
        &["--name", "eu-2", "--listen", &taken, "--data", data],
        1,
        "cannot listen on",
    );
    check(
        &["--name", "eu-2", "--listen", "127.0.0.1:0", "--data", file],
        1,
        "cannot use the data directory",
    );
}
