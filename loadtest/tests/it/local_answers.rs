//! What a listener answers by itself: checks of its health, redirects to HTTPS, challenges of ACME. And preflights of CORS,
//! which one tenant answers for all.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    origin::{OK, Origin, ok},
    process::Signal,
    proxy::{ONLY, Plan, Proxy, TENANT},
    table::TableText,
    wait_for, wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    a_load_balancer_asks_for_the_health_of_a_listener,
    what_is_no_check_is_routed_as_usual,
    a_check_fails_without_a_table_and_while_leaving,
    a_check_behind_the_proxy_protocol,
    plain_http_is_sent_to_https,
    a_foreign_host_in_the_target_is_not_followed,
    every_answer_has_a_date,
    challenges_go_to_whoever_waits_for_them,
    an_acme_client_that_fails_costs_little,
    preflights_go_to_their_tenant,
    what_is_no_preflight_needs_a_tenant,
);

fn with_options(plan: Plan, options: &str) -> Plan {
    let listener = format!(r#"[{{ name: edge, address: "127.0.0.1:0", {options} }}]"#);
    plan.set("listeners", &listener)
        .set("access_log", "{ path: access.log }")
}

/// All lines of the access log so far.
fn lines(proxy: &Proxy) -> Vec<Value> {
    let text = fs::read_to_string(proxy.directory().join("access.log")).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How many requests the listener has answered by itself.
fn answered(proxy: &Proxy, kind: &str, class: &str) -> Option<f64> {
    let labels = [("listener", "edge"), ("kind", kind), ("class", class)];
    proxy.metric("local_responses_total", &labels)
}

#[track_caller]
fn wait_for_line(proxy: &Proxy, target: &str) -> Value {
    wait_for(&format!("a line for {target}"), PATIENCE, || {
        lines(proxy)
            .into_iter()
            .find(|line| line["target"] == *target)
    })
}

fn a_load_balancer_asks_for_the_health_of_a_listener() {
    let cell = Origin::well_behaved();
    let proxy = with_options(Proxy::in_front_of(cell.address()), "health_path: /healthz").start();
    let mut connection = Connection::open(proxy.address());
    for (method, body) in [("GET", "ok\n"), ("HEAD", ""), ("GET", "ok\n")] {
        let answer = connection.exchange(&Request::new(method, "/healthz"));
        assert_eq!((answer.status, answer.text()), (200, body), "{method}");
        assert_eq!(answer.header("content-length"), Some("3"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    }
    // A request follows on the same connection, and only that is logged.
    let answer = connection.exchange(&Request::get(&format!("{OK}7")).header(TENANT, "a"));
    assert_eq!((answer.status, answer.text()), (200, "7"));
    drop(connection);
    wait_for_line(&proxy, "/ok/7");
    assert_eq!(lines(&proxy).len(), 1);
    // As HAProxy asks, and as one that wants no more.
    for request in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    ] {
        let mut connection = Connection::open(proxy.address());
        connection.send(request).unwrap();
        let rest = connection.rest().unwrap();
        let text = String::from_utf8(rest).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nok\n"), "{text}");
    }
    // Many at once in one connection.
    let mut connection = Connection::open(proxy.address());
    connection
        .send(Request::get("/healthz").bytes().repeat(50))
        .unwrap();
    for _ in 0..50 {
        assert_eq!(connection.answer("GET").unwrap().status, 200);
    }
    drop(connection);
    assert_eq!(cell.connections(), 1);
    wait_until_idle(&proxy);
}

fn what_is_no_check_is_routed_as_usual() {
    let cell = Origin::well_behaved();
    let proxy = with_options(Proxy::in_front_of(cell.address()), "health_path: /healthz").start();
    for request in [
        Request::new("POST", "/healthz").body("x"),
        Request::new("DELETE", "/healthz"),
        Request::get("/healthz").body("x"),
        Request::get("/healthz?x"),
        Request::get("/healthz/x"),
    ] {
        let answer = request.send(proxy.address());
        assert_eq!(answer.verdict(), (400, Some("no_tenant_key")));
        let answer = request.header(TENANT, "a").send(proxy.address());
        assert_eq!(answer.verdict(), (200, None));
    }
    // Without the option it is a path like any other.
    let proxy = Proxy::in_front_of(cell.address()).start();
    let answer = Request::get("/healthz").send(proxy.address());
    assert_eq!(answer.verdict(), (400, Some("no_tenant_key")));
}

fn a_check_fails_without_a_table_and_while_leaving() {
    let cell = Origin::well_behaved();
    let mut proxy = with_options(Proxy::plan(), "health_path: /healthz")
        .set("timeouts", "{ shutdown_delay_ms: 60000, drain_idle_ms: 0 }")
        .start_unready();
    let check = |proxy: &Proxy| {
        let answer = Request::get("/healthz").send(proxy.address());
        // No details, for anybody may ask.
        let text = answer.text().to_owned();
        assert!(["ok\n", "not ready\n"].contains(&&*text), "{text}");
        assert_eq!(answer.verdict().1, None);
        answer.status
    };
    assert_eq!(check(&proxy), 503);
    proxy.write_table(TableText::new([(ONLY, vec![cell.address()])]));
    wait_until("it is ready", PATIENCE, || check(&proxy) == 200);
    proxy.signal(Signal::TERM);
    wait_until("it is leaving", PATIENCE, || check(&proxy) == 503);
    assert_eq!(proxy.admin_get("/readyz").status, 503);
    assert_eq!(proxy.get("a", &format!("{OK}7")).status, 200);
    proxy.kill();
}

fn a_check_behind_the_proxy_protocol() {
    let cell = Origin::well_behaved();
    let options = "health_path: /healthz, proxy_protocol: { from: [127.0.0.1] }";
    let proxy = with_options(Proxy::in_front_of(cell.address()), options).start();
    for header in [
        "PROXY TCP4 192.0.2.7 192.0.2.8 1000 80\r\n",
        "PROXY UNKNOWN\r\n",
    ] {
        let mut connection = Connection::open(proxy.address());
        connection.send(header).unwrap();
        let answer = connection.exchange(&Request::get("/healthz"));
        assert_eq!((answer.status, answer.text()), (200, "ok\n"));
    }
}

fn plain_http_is_sent_to_https() {
    let cell = Origin::well_behaved();
    let proxy = with_options(
        Proxy::in_front_of(cell.address()),
        "redirect_https: {}, health_path: /healthz",
    )
    .start();
    let port = proxy.address().port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--resolve"])
        .arg(format!("shop.example:{port}:127.0.0.1"))
        .args(["--write-out", "%{http_code} %{redirect_url}"])
        .arg(format!("http://shop.example:{port}/a/b?c=d%20e"))
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "308 https://shop.example/a/b?c=d%20e", "{output:?}");

    let mut connection = Connection::open(proxy.address());
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let request = Request::new(method, "/x?y").header(TENANT, "a");
        let answer = connection.exchange(&request);
        assert_eq!(answer.status, 308);
        assert_eq!(answer.header("location"), Some("https://localhost/x?y"));
        assert_eq!(answer.header("content-length"), Some("0"));
        assert!(answer.header("x-request-id").is_some());
    }
    // The health is asked for in plain HTTP.
    assert_eq!(connection.exchange(&Request::get("/healthz")).status, 200);
    assert_eq!(answered(&proxy, "health", "2xx"), Some(1.0));
    // That of curl too.
    assert_eq!(answered(&proxy, "redirect_https", "3xx"), Some(5.0));
    // What it wanted to send is not read, and so the connection ends.
    let request = Request::new("POST", "/posted").body("x".repeat(100_000));
    let answer = connection.exchange(&request);
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(connection.until_broken(), b"");
    let line = wait_for_line(&proxy, "/posted");
    let said = (
        &line["status"],
        &line["method"],
        &line["tenant"],
        &line["reason"],
    );
    assert_eq!(
        said,
        (&json!(308), &json!("POST"), &Value::Null, &Value::Null)
    );

    let proxy = with_options(
        Proxy::in_front_of(cell.address()),
        "redirect_https: { port: 8443 }",
    )
    .start();
    let answer = Request::get("/").send(proxy.address());
    assert_eq!(answer.header("location"), Some("https://localhost:8443/"));
    assert_eq!(cell.connections(), 0);
    wait_until_idle(&proxy);
}

fn a_foreign_host_in_the_target_is_not_followed() {
    let cell = Origin::well_behaved();
    let options = "redirect_https: {}";
    let proxy = with_options(Proxy::in_front_of(cell.address()), options).start();
    let exchange = |head: &str| {
        let mut connection = Connection::open(proxy.address());
        let answer = connection.exchange_bytes("GET", head);
        let location = answer.header("location").map(str::to_owned);
        (answer.status, location)
    };
    let head = "GET http://evil.example/x HTTP/1.1\r\nhost: shop.example\r\n\r\n";
    assert_eq!(exchange(head), (400, None));
    let head = "GET http://shop.example/x HTTP/1.1\r\nhost: shop.example\r\n\r\n";
    let location = "https://shop.example/x".to_owned();
    assert_eq!(exchange(head), (308, Some(location)));
    for bad in [
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.0\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a/b\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: u@evil.example\r\n\r\n",
    ] {
        assert_eq!(exchange(bad), (400, None), "{bad}");
    }
}

/// Answers challenges in every shape.
fn acme_client() -> Origin {
    Origin::start(|visit| {
        while let Some(head) = visit.request() {
            let answer = match (head.method(), head.id()) {
                ("HEAD", _) => "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n".into(),
                (_, "missing") => "HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno\n".into(),
                (_, "chunks") => {
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nkey.\r\n5\r\nproof\r\n0\r\n\r\n".into()
                }
                (_, "old") => {
                    visit.send("HTTP/1.0 200 OK\r\nserver: x\r\n\r\nkey.proof");
                    return;
                }
                _ => format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nset-cookie: a=b\r\n\
                     content-length: {}\r\n\r\n{}",
                    "key.proof".len(),
                    "key.proof"
                ),
            };
            visit.send(answer);
        }
    })
}

fn every_answer_has_a_date() {
    let cell = Origin::well_behaved();
    let options = "health_path: /healthz, redirect_https: {}";
    let redirecting = with_options(Proxy::in_front_of(cell.address()), options).start();
    let proxy = Proxy::in_front_of(cell.address()).start();
    let malformed = Request::get("/").header("content-length", "x");
    for (proxy, request, status) in [
        (&redirecting, Request::get("/healthz"), 200),
        (&redirecting, Request::get("/"), 308),
        (&proxy, Request::get("/"), 400),
        (&proxy, malformed, 400),
    ] {
        let answer = request.send(proxy.address());
        assert_eq!(answer.status, status);
        let date = answer.header("date").expect("it has a date");
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    }
}

fn challenges_go_to_whoever_waits_for_them() {
    const TOKEN: &str = "/.well-known/acme-challenge/aB0_-token";
    let cell = Origin::well_behaved();
    let acme = acme_client();
    let options = format!(
        "redirect_https: {{}}, acme: {{ address: \"{}\" }}",
        acme.address()
    );
    let proxy = with_options(Proxy::in_front_of(cell.address()), &options).start();
    let mut connection = Connection::open(proxy.address());
    let request = Request::get(TOKEN).header("cookie", "secret=1");
    let request = request.header("authorization", "Bearer secret");
    let answer = connection.exchange(&request.header("x-secret", "1"));
    assert_eq!((answer.status, answer.text()), (200, "key.proof"));
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/octet-stream"));
    assert_eq!(answer.header("set-cookie"), None);
    let received = acme.received().concat();
    assert!(
        received.starts_with(&format!("GET {TOKEN} HTTP/1.1")),
        "{received}"
    );
    assert!(received.contains("host: localhost"), "{received}");
    assert!(!received.contains("secret"), "{received}");
    for (id, expected) in [
        ("chunks", (200, "key.proof")),
        ("old", (200, "key.proof")),
        ("missing", (404, "no\n")),
    ] {
        let request = Request::get(&format!("/.well-known/acme-challenge/{id}"));
        let answer = connection.exchange(&request);
        assert_eq!((answer.status, answer.text()), expected, "{id}");
    }
    let answer = connection.exchange(&Request::new("HEAD", TOKEN));
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, None)
    );
    assert_eq!(wait_for_line(&proxy, TOKEN)["status"], 200);
    assert_eq!(answered(&proxy, "acme", "2xx"), Some(4.0));
    assert_eq!(answered(&proxy, "acme", "4xx"), Some(1.0));
    // All else is redirected.
    for request in [
        Request::new("POST", TOKEN),
        Request::get("/.well-known/acme-challenge/"),
        Request::get("/.well-known/acme-challenge/a/b"),
        Request::get("/.well-known/acme-challenge/.."),
        Request::get(&format!("{TOKEN}?x")),
        Request::get(&format!("{TOKEN}%20")),
    ] {
        assert_eq!(connection.exchange(&request).status, 308);
    }
    drop(connection);
    assert_eq!(acme.connections(), 5);
    assert_eq!(cell.connections(), 0);
    wait_until_idle(&proxy);
}

fn an_acme_client_that_fails_costs_little() {
    const PLACES: usize = 8;
    const TOKEN: &str = "/.well-known/acme-challenge/a";
    let acme = Origin::start(|visit| {
        let head = visit.request().map(|head| head.id().to_owned());
        let answer = match head.as_deref() {
            Some("nonsense") => b"SSH-2.0\r\n".to_vec(),
            Some("cut") => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nkey".to_vec(),
            Some("switch") => b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(),
            Some("large") => ok(&"x".repeat(100_000)),
            Some("a") => return visit.wait_for_end(),
            _ => return,
        };
        visit.send(answer);
    });
    let options = format!(
        "redirect_https: {{}}, acme: {{ address: \"{}\" }}",
        acme.address()
    );
    let cell = Origin::well_behaved();
    let proxy = with_options(Proxy::in_front_of(cell.address()), &options).start();
    for id in ["nonsense", "cut", "switch", "large", "gone"] {
        let request = Request::get(&format!("/.well-known/acme-challenge/{id}"));
        let answer = request.send(proxy.address());
        assert_eq!(answer.verdict(), (502, Some("acme_failed")), "{id}");
    }
    let mut head = Connection::open(proxy.address());
    head.send(Request::new("HEAD", "/.well-known/acme-challenge/nonsense").bytes())
        .unwrap();
    let rest = String::from_utf8(head.rest().unwrap()).unwrap();
    assert!(
        rest.starts_with("HTTP/1.1 502 ") && rest.ends_with("\r\n\r\n"),
        "{rest}"
    );
    let mut waiting: Vec<Connection> = (0..PLACES)
        .map(|_| {
            let mut connection = Connection::open(proxy.address());
            connection.send(Request::get(TOKEN).bytes()).unwrap();
            connection
        })
        .collect();
    wait_until("all places are taken", PATIENCE, || {
        acme.connections() == 6 + PLACES
    });
    let answer = Request::get(TOKEN).send(proxy.address());
    assert_eq!(answer.verdict(), (503, Some("overloaded")));
    // Other requests go on, and the places come back.
    assert_eq!(Request::get("/").send(proxy.address()).status, 308);
    for connection in &mut waiting {
        let answer = connection.answer("GET").unwrap();
        assert_eq!(answer.verdict(), (502, Some("acme_failed")));
    }
    assert_eq!(answered(&proxy, "acme", "5xx"), Some(15.0));
    let answer = Request::get("/.well-known/acme-challenge/cut").send(proxy.address());
    assert_eq!(answer.verdict(), (502, Some("acme_failed")));
    let rejected = [("cell", ""), ("reason", "acme_failed")];
    assert_eq!(
        proxy
            .metric("rejected_total", &rejected)
            .map(|count| count >= 15.0),
        Some(true)
    );
    wait_until_idle(&proxy);
}

fn preflight() -> Request {
    let request = Request::new("OPTIONS", &format!("{OK}7"));
    request
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PUT")
}

fn preflights_go_to_their_tenant() {
    let cells = [Origin::well_behaved(), Origin::well_behaved()];
    let table = TableText::new([
        ("cell-1", vec![cells[0].address()]),
        ("cell-2", vec![cells[1].address()]),
    ]);
    let table = table.pin("front", "cell-2").alias("web", "front");
    let proxy = Proxy::plan()
        .set("cors", "{ preflight_tenant: web }")
        .table(table.generation(7))
        .start();
    let mut connection = Connection::open(proxy.address());
    for _ in 0..3 {
        let answer = connection.exchange(&preflight());
        assert_eq!((answer.status, answer.text()), (200, "7"));
    }
    let received = cells[1].received().concat();
    assert_eq!(
        received.matches("x-cellgate-tenant: front").count(),
        3,
        "{received}"
    );
    assert_eq!(received.matches("origin: https://app.example").count(), 3);
    assert_eq!(cells[0].connections(), 0);
    // A rule that finds a tenant comes first.
    let answer = connection.exchange(&preflight().header(TENANT, "other"));
    assert_eq!(answer.status, 200);
    let received = [cells[0].received(), cells[1].received()].concat().concat();
    assert!(received.contains("x-cellgate-tenant: other"), "{received}");
    // Rejects hold for it as for any other.
    proxy.write_table(
        TableText::new([
            ("cell-1", vec![cells[0].address()]),
            ("cell-2", vec![cells[1].address()]),
        ])
        .pin("front", "cell-2")
        .reject("web")
        .generation(8),
    );
    proxy.wait_for_generation(8);
    let answer = connection.exchange(&preflight());
    assert_eq!(answer.verdict(), (403, Some("rejected")));
}

fn what_is_no_preflight_needs_a_tenant() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("cors", "{ preflight_tenant: web }")
        .start();
    let origin = ("origin", "https://app.example");
    let asks = ("access-control-request-method", "PUT");
    for (method, fields) in [
        ("OPTIONS", &[origin][..]),
        ("OPTIONS", &[asks]),
        ("OPTIONS", &[]),
        ("OPTIONS", &[origin, asks, asks]),
        ("GET", &[origin, asks]),
        ("POST", &[origin, asks]),
    ] {
        let request = fields
            .iter()
            .fold(Request::new(method, "/"), |request, (name, value)| {
                request.header(name, value)
            });
        let answer = request.send(proxy.address());
        assert_eq!(
            answer.verdict(),
            (400, Some("no_tenant_key")),
            "{method} {fields:?}"
        );
    }
    let answer = preflight().body("x").send(proxy.address());
    assert_eq!(answer.verdict(), (400, Some("no_tenant_key")));
    // What names a tenant badly is refused, and made nobody else's.
    for bad in [
        preflight().header(TENANT, ""),
        preflight().header(TENANT, "a").header(TENANT, "b"),
    ] {
        let answer = bad.send(proxy.address());
        assert_eq!(answer.verdict(), (400, Some("bad_tenant_key")));
    }
    assert_eq!(cell.connections(), 0);
    assert_eq!(preflight().send(proxy.address()).status, 200);
    // Without the option there are no preflights.
    let proxy = Proxy::in_front_of(cell.address()).start();
    let answer = preflight().send(proxy.address());
    assert_eq!(answer.verdict(), (400, Some("no_tenant_key")));
}
