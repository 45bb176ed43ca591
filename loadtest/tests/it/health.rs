//! Endpoints that are not well: found out by requests and by checks, left out, taken back in. A
//! tenant never gets to another cell because of it.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    PATIENCE,
    cell::DemoCell,
    dead::DeadPort,
    fleet::{Fleet, set_health},
    proxy::{Proxy, TENANT},
    table::TableText,
    wait_until,
    ways::both_ways,
    wire::{Answer, Request},
};

both_ways!(
    requests_survive_a_dead_endpoint_and_then_leave_it_out,
    an_ejected_endpoint_comes_back,
    a_cell_without_a_healthy_endpoint_says_so_and_nobody_steps_in,
    the_only_endpoint_is_never_ejected,
    a_cell_that_answers_too_late_gets_504,
);

/// A tenant of the first cell, by its slot.
const ACME: &str = "acme";
/// A tenant of the second cell, by an override.
const OTHER: &str = "other";

const CHECK: &str = "health_check: { type: http, path: /healthz, interval_ms: 100, \
                     timeout_ms: 1000, unhealthy_after: 2, healthy_after: 2 }";

/// Two cells; the first one has two endpoints, which report different versions.
struct Pair {
    left: DemoCell,
    right: DemoCell,
    second: DemoCell,
}

impl Pair {
    fn start() -> Self {
        Self {
            left: DemoCell::plan("cell-1").version("left").start(),
            right: DemoCell::plan("cell-1").version("right").start(),
            second: DemoCell::start("cell-2"),
        }
    }

    fn table(&self) -> TableText {
        let first = vec![self.left.address(), self.right.address()];
        let second = vec![self.second.address()];
        TableText::new([("cell-1", first), ("cell-2", second)]).pin(OTHER, "cell-2")
    }
}

fn cell_metric(proxy: &Proxy, name: &str, cell: &str) -> f64 {
    let value = proxy.metric(name, &[("cell", cell)]);
    value.unwrap_or_else(|| panic!("{cell} has no metric {name}"))
}

fn failures(proxy: &Proxy, reason: &str) -> f64 {
    let labels = [("cell", "cell-1"), ("reason", reason)];
    proxy
        .metric("upstream_errors_total", &labels)
        .expect("each cell has all reasons")
}

fn state_of(proxy: &Proxy, endpoint: SocketAddr) -> String {
    let status = proxy.status();
    let endpoints = status["cells"]["cell-1"]["endpoint_states"].as_array();
    let endpoints = endpoints.expect("the cell has endpoints");
    let state = endpoints
        .iter()
        .find(|state| state["address"] == endpoint.to_string());
    let state = state.and_then(|state| state["state"].as_str());
    state.expect("the endpoint is in the table").to_owned()
}

/// The version that the endpoint which answers reports.
#[track_caller]
fn version(proxy: &Proxy) -> Value {
    let answer = proxy.get(ACME, "/whoami");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-cell"), Some("cell-1"));
    answer.json()["version"].clone()
}

#[track_caller]
fn assert_reason(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("x-cellgate-reason"), Some(reason));
    assert_eq!(answer.header("x-cell"), None, "no cell has answered");
}

fn requests_survive_a_dead_endpoint_and_then_leave_it_out() {
    let alive = DemoCell::start("cell-1");
    let dead = DeadPort::new();
    let table = TableText::new([("cell-1", vec![dead.address(), alive.address()])]);
    let proxy = Proxy::plan()
        .set(
            "upstream",
            "{ ejection: { after_failures: 3, base_ms: 60000 } }",
        )
        .table(table)
        .start();

    wait_until("the dead endpoint is ejected", PATIENCE, || {
        assert_eq!(proxy.cell_of(ACME), "cell-1");
        let upload = Request::new("POST", "/echo/x").header(TENANT, ACME);
        let answer = upload.body("once and only once").send(proxy.address());
        assert_eq!(answer.text(), "once and only once");
        state_of(&proxy, dead.address()) == "ejected"
    });

    assert_eq!(failures(&proxy, "connect_failed"), 3.0);
    assert_eq!(cell_metric(&proxy, "upstream_retries_total", "cell-1"), 3.0);
    assert_eq!(
        cell_metric(&proxy, "endpoint_ejections_total", "cell-1"),
        1.0
    );
    wait_until("the gauge shows it", PATIENCE, || {
        cell_metric(&proxy, "healthy_endpoints", "cell-1") == 1.0
    });
    let ejected = proxy.wait_for_log(&["WARN", "endpoint ejected", "cell-1"]);
    assert!(ejected.contains(&dead.address().to_string()), "{ejected}");
    for _ in 0..30 {
        assert_eq!(proxy.cell_of(ACME), "cell-1");
    }
    assert_eq!(
        failures(&proxy, "connect_failed"),
        3.0,
        "it is left alone now"
    );
}

fn an_ejected_endpoint_comes_back() {
    let mut pair = Pair::start();
    let proxy = Proxy::plan()
        .set(
            "upstream",
            "{ ejection: { after_failures: 1, base_ms: 300 } }",
        )
        .table(pair.table())
        .start();
    let right = pair.right.address();
    wait_until("both answer", PATIENCE, || version(&proxy) == "right");

    pair.right.process().kill();
    wait_until("it is ejected", PATIENCE, || {
        assert_eq!(version(&proxy), "left");
        state_of(&proxy, right) == "ejected"
    });
    pair.right = DemoCell::plan("cell-1")
        .version("new")
        .listen(right)
        .start();
    wait_until("it is back", PATIENCE, || version(&proxy) == "new");
}

#[test]
fn a_check_takes_an_endpoint_out_and_back_in() {
    let pair = Pair::start();
    let proxy = Proxy::start(pair.table().cell_line("cell-1", CHECK));
    let right = pair.right.address();

    set_health(right, "fail");
    let failed = Instant::now();
    wait_until("the check takes it out", PATIENCE, || {
        state_of(&proxy, right) == "unhealthy"
    });
    eprintln!("from failing to out: {:?}", failed.elapsed());
    proxy.wait_for_log(&["WARN", "endpoint unhealthy", &right.to_string()]);
    for _ in 0..30 {
        assert_eq!(version(&proxy), "left");
    }
    wait_until("the gauge shows it", PATIENCE, || {
        cell_metric(&proxy, "healthy_endpoints", "cell-1") == 1.0
    });

    set_health(right, "ok");
    wait_until("it gets requests again", PATIENCE, || {
        version(&proxy) == "right"
    });
    proxy.wait_for_log(&["endpoint healthy again", &right.to_string()]);
    assert_eq!(state_of(&proxy, right), "healthy");
}

#[test]
fn a_tcp_check_finds_a_dead_endpoint() {
    let alive = DemoCell::start("cell-1");
    let dead = DeadPort::new();
    let table = TableText::new([("cell-1", vec![dead.address(), alive.address()])]);
    let check = "health_check: { type: tcp, interval_ms: 100, unhealthy_after: 1 }";
    let proxy = Proxy::plan()
        .set("upstream", "{ ejection: { after_failures: 0 } }")
        .table(table.cell_line("cell-1", check))
        .start();

    wait_until("the check takes it out", PATIENCE, || {
        state_of(&proxy, dead.address()) == "unhealthy"
    });
    assert_eq!(state_of(&proxy, alive.address()), "healthy");
    let before = failures(&proxy, "connect_failed");
    for _ in 0..30 {
        assert_eq!(proxy.cell_of(ACME), "cell-1");
    }
    assert_eq!(failures(&proxy, "connect_failed"), before);
}

fn a_cell_without_a_healthy_endpoint_says_so_and_nobody_steps_in() {
    let pair = Pair::start();
    let proxy = Proxy::start(pair.table().cell_line("cell-1", CHECK));
    assert_eq!(proxy.cell_of(ACME), "cell-1");
    assert_eq!(proxy.cell_of(OTHER), "cell-2");

    set_health(pair.left.address(), "fail");
    set_health(pair.right.address(), "fail");
    proxy.wait_for_log(&["ERROR", "no endpoint of the cell is healthy", "cell-1"]);
    for _ in 0..30 {
        let answer = proxy.get(ACME, "/");
        assert_reason(&answer, 503, "no_healthy_endpoint");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(proxy.cell_of(OTHER), "cell-2");
    }
    assert_eq!(cell_metric(&proxy, "healthy_endpoints", "cell-1"), 0.0);
    assert_eq!(cell_metric(&proxy, "healthy_endpoints", "cell-2"), 1.0);
    let labels = [("cell", "cell-1"), ("reason", "no_healthy_endpoint")];
    assert_eq!(proxy.metric("rejected_total", &labels), Some(30.0));
    assert_eq!(proxy.status()["cells"]["cell-1"]["healthy"], 0);
    // The proxy itself is healthy.
    assert_eq!(proxy.admin_get("/readyz").status, 200);

    set_health(pair.left.address(), "ok");
    proxy.wait_for_log(&["INFO", "has a healthy endpoint again", "cell-1"]);
    assert_eq!(version(&proxy), "left");
}

/// What requests find out leaves no cell without an endpoint.
fn the_only_endpoint_is_never_ejected() {
    let mut fleet = Fleet::start(2);
    let proxy = Proxy::plan()
        .set(
            "upstream",
            "{ retries: 2, ejection: { after_failures: 2, base_ms: 60000, percent_max: 100 } }",
        )
        .table(fleet.table().pin(OTHER, "cell-2"))
        .start();
    let address = fleet.address(1);
    assert_eq!(proxy.cell_of(ACME), "cell-1");

    fleet.cell(1).process().kill();
    for _ in 0..10 {
        assert_reason(&proxy.get(ACME, "/"), 502, "connect_failed");
        assert_eq!(proxy.cell_of(OTHER), "cell-2");
    }
    assert_eq!(state_of(&proxy, address), "healthy");
    assert_eq!(
        cell_metric(&proxy, "endpoint_ejections_total", "cell-1"),
        0.0
    );
    // Ten requests, each tried again twice.
    assert_eq!(
        cell_metric(&proxy, "upstream_retries_total", "cell-1"),
        20.0
    );
    assert_eq!(failures(&proxy, "connect_failed"), 30.0);
    proxy.wait_for_log(&["WARN", "too few others of its cell are left", "cell-1"]);

    let _back = DemoCell::plan("cell-1").listen(address).start();
    assert_eq!(
        proxy.cell_of(ACME),
        "cell-1",
        "nobody waits for an ejection to end"
    );
}

/// Health belongs to the endpoint, not to the table that names it.
#[test]
fn a_new_table_forgets_no_health() {
    let pair = Pair::start();
    let check = CHECK.replace("unhealthy_after: 2", "unhealthy_after: 1");
    let table = pair.table().cell_line("cell-1", &check);
    let proxy = Proxy::start(&table);
    let right = pair.right.address();
    set_health(right, "fail");
    wait_until("the check takes it out", PATIENCE, || {
        state_of(&proxy, right) == "unhealthy"
    });

    proxy.write_table(table.pin("movable", "cell-2"));
    proxy.wait_for_generation(2);
    assert_eq!(state_of(&proxy, right), "unhealthy");

    // Without checks there is nobody who could take it back in. One of them may still be under way.
    proxy.write_table(pair.table());
    proxy.wait_for_generation(3);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(state_of(&proxy, right), "healthy");
}

fn a_cell_that_answers_too_late_gets_504() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::plan()
        .set("timeouts", "{ upstream_read_ms: 200 }")
        .table(fleet.table())
        .start();

    let asked = Instant::now();
    assert_reason(&proxy.get(ACME, "/slow/5000"), 504, "upstream_timeout");
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(
        failures(&proxy, "upstream_timeout"),
        1.0,
        "slow requests are not repeated"
    );
}
