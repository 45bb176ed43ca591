//! What a health check asks, and what it makes of the answer: the proxy's and the daemon's alike.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use crate::support::{
    PATIENCE,
    control::Control,
    origin::{Head, Origin, ok},
    proxy::Proxy,
    table::TableText,
    wait_until,
};

const HOST: &str = "shop.example.com";

/// What comes before the answer of some frameworks: it is not the answer yet.
const INTERIM: &str =
    "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";

/// Frameworks such as Django and Rails answer only to a host that they know.
fn is_known(head: &Head) -> bool {
    head.header("host") == Some(HOST)
        && head
            .header("user-agent")
            .is_some_and(|agent| agent.starts_with("cellgate-health/"))
}

/// A cell that is healthy as long as the switch says so, for checks that name its host; each answer after interim ones.
fn picky_cell(is_healthy: &Arc<AtomicBool>) -> Origin {
    let is_healthy = Arc::clone(is_healthy);
    Origin::start(move |visit| {
        while let Some(head) = visit.request() {
            if head.path() != "/up" {
                visit.send(ok("served"));
            } else if !is_known(&head) {
                visit.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            } else if is_healthy.load(Ordering::Acquire) {
                visit.send(INTERIM);
                // The final answer comes in a piece of its own, as it does from a framework that has to think.
                thread::sleep(Duration::from_millis(10));
                visit.send(ok("well"));
            } else {
                visit.send(INTERIM);
                visit.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
            }
        }
    })
}

fn is_served(proxy: &Proxy) -> bool {
    proxy.get("acme", "/").status == 200
}

#[test]
fn a_health_check_names_its_host_and_waits_for_the_final_answer() {
    let is_healthy = Arc::new(AtomicBool::new(true));
    let cell = picky_cell(&is_healthy);
    let check = |host: &str| {
        format!(
            "health_check: {{ type: http, path: /up{host}, interval_ms: 100, timeout_ms: 1000, unhealthy_after: 2, \
             healthy_after: 1 }}"
        )
    };
    let table = |host: &str| {
        TableText::new([("cell-1", vec![cell.address()])]).cell_line("cell-1", &check(host))
    };
    let proxy = Proxy::start(table(""));
    wait_until("the cell refuses an unknown host", PATIENCE, || {
        !is_served(&proxy)
    });
    proxy.write_table(table(&format!(", host: {HOST}")));
    wait_until("it answers to its own", PATIENCE, || is_served(&proxy));
    is_healthy.store(false, Ordering::Release);
    wait_until("a final 503 counts", PATIENCE, || !is_served(&proxy));
    is_healthy.store(true, Ordering::Release);
    wait_until("so does a final 200", PATIENCE, || is_served(&proxy));
}

#[test]
fn the_daemon_checks_as_the_proxies_do() {
    let is_healthy = Arc::new(AtomicBool::new(true));
    let cell = picky_cell(&is_healthy);
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml")).start();
    let endpoint = cell.address().to_string();
    let body = |host: &str| {
        json!({
            "id": "shop", "endpoints": [{ "address": endpoint }],
            "health_check": { "type": "http", "path": "/up", "host": host, "interval_ms": 100 },
        })
    };
    control.change("POST", "/v1/cells", &body("other.example.com"));
    wait_until("the daemon sees the refusal", PATIENCE, || {
        let cell = control.get("/v1/cells/shop");
        cell["health"]["endpoints"][0]["error"] == "/up is answered with 400"
    });
    let patch = json!({ "health_check": body(HOST)["health_check"] });
    control.change("PATCH", "/v1/cells/shop", &patch);
    control.wait_for_state("shop", "active");
    wait_until("the table has the host", PATIENCE, || {
        std::fs::read_to_string(scratch.path().join("table.yaml"))
            .is_ok_and(|table| table.contains(&format!("\n      host: {HOST}\n")))
    });
}

#[test]
fn endpoints_at_which_nobody_is_reached_are_refused() {
    let cell = Origin::well_behaved();
    let good = TableText::new([("cell-1", vec![cell.address()])]);
    let proxy = Proxy::start(&good);
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml")).start();
    for (address, why) in [
        ("0.0.0.0:9001", "means every address of a machine"),
        ("[::]:9001", "means every address of a machine"),
        ("224.0.0.1:9001", "is a multicast address"),
        ("[ff02::1]:9001", "is a multicast address"),
        ("255.255.255.255:9001", "is the broadcast address"),
    ] {
        let bad = good
            .to_string()
            .replace(&cell.address().to_string(), address);
        proxy.write_table(bad);
        proxy.wait_for_refusal(&format!("`{address}` {why}"));
        let body = json!({ "id": "bad", "endpoints": [{ "address": address }] });
        let answer = control.try_change("POST", "/v1/cells", &body);
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(why), "{}", answer.text());
    }
}
