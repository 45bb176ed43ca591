//! What the daemon sees of its cells, and what it does not do because of it.

use std::net::SocketAddr;

use serde_json::Value;

use super::world::{World, tenants};
use crate::support::{PATIENCE, fleet::set_health, wait_until};

/// Two signals make a suspect; nothing is moved, and the cell stays what it was.
#[test]
fn an_unhealthy_cell_is_reported_and_left_where_it_is() {
    let world = World::start(3);
    let cells = world.register(&tenants("tenant", 30));
    world.wait_until_routed(&cells);
    let generation = world.control.wait_until_published();
    let suspicion = || world.control.get("/v1/cells/cell-2")["health"]["suspicion"].clone();
    assert_eq!(suspicion(), Value::Array(Vec::new()));

    set_health(address_of(&world, "cell-2"), "fail");
    wait_until("the cell is suspected", PATIENCE, || {
        suspicion()
            .as_array()
            .is_some_and(|signals| signals.len() >= 2)
    });
    let cell = world.control.get("/v1/cells/cell-2");
    assert_eq!(cell["state"], "active");
    assert_eq!(cell["health"]["endpoints"][0]["ok"], false);
    let other = world.control.get("/v1/cells/cell-1");
    assert_eq!(other["health"]["suspicion"], Value::Array(Vec::new()));

    set_health(address_of(&world, "cell-2"), "ok");
    wait_until("the suspicion is gone", PATIENCE, || {
        suspicion() == Value::Array(Vec::new())
    });
    wait_until("the proxy finds it healthy too", PATIENCE, || {
        world.control.get("/v1/cells/cell-2")["health"]["proxies"]["proxy-0"]["healthy"] == 1
    });
    let events = world.control.get("/v1/events?limit=1000");
    let kinds: Vec<&str> = events["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|event| event["subject"] == "cell-2")
        .filter_map(|event| event["kind"].as_str())
        .collect();
    assert!(
        kinds.ends_with(&["cell.suspect", "cell.recovered"]),
        "{kinds:?}"
    );
    let table = world.control.get("/v1/table");
    assert_eq!(table["generation"], generation, "nothing was published");
    for (tenant, cell) in &cells {
        assert_eq!(world.proxy.cell_of(tenant), *cell, "{tenant}");
    }
}

#[track_caller]
fn address_of(world: &World, cell: &str) -> SocketAddr {
    let shown = world.control.get(&format!("/v1/cells/{cell}"));
    let address = shown["endpoints"][0]["address"].as_str();
    let address = address.expect("the cell has an address");
    address.parse().expect("an address of the API is one")
}
