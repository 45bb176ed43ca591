//! The story that the product is for: a fleet under load gets a sixth cell, and nobody notices but the new tenants.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::world::{World, tenants};
use crate::support::{
    gauges::wait_until_idle,
    heavy::{alone, amount, figure, skip},
    wrk,
};

/// Tenants registered once the sixth cell is there.
const NEW: usize = 50;
/// What each of the five cells has before the sixth one comes. Until that has as many, every new tenant goes there.
const EACH_OF_OLD: usize = 50;

#[test]
fn a_sixth_cell_takes_new_tenants_and_nobody_else() {
    if !wrk::is_here() {
        return skip("wrk is missing");
    }
    let _alone = alone();
    let time = Duration::from_secs(amount("CELLGATE_LOAD_SECONDS", 6));
    let world = World::start(5);
    let old = world.register(&tenants("old", 200));
    world.wait_until_routed(&old);
    let load = world.load(&old, time);

    // Tenants go on being registered while the cell is made.
    let meanwhile = world.register(&tenants("meanwhile", 50));
    let body = json!({ "id": "cell-6", "provider": "local", "health_check": { "type": "http" } });
    world.control.change("POST", "/v1/cells", &body);
    let early = world.register(&tenants("early", 20));
    world.control.wait_for_state("cell-6", "active");
    let new = world.register(&tenants("new", NEW));
    world.wait_until_routed(&new);

    let found = load.join().expect("wrk runs");
    figure(format!(
        "{} s of load on 200 tenants of 5 cells while a sixth cell came and 120 tenants were registered: \
         {} answers right, {} wrong, {} failed; {} of the {NEW} newest tenants live in the new cell",
        time.as_secs(),
        found.right,
        found.wrong,
        found.failed,
        count_in(&new, "cell-6"),
    ));
    assert!(found.right > 0, "{found:?}");
    assert_eq!((found.wrong, found.failed), (0, 0), "{found:?}");

    let came = count_in(&early, "cell-6") + count_in(&new, "cell-6");
    assert!(came >= EACH_OF_OLD, "{new:?}");
    for elsewhere in [&meanwhile, &old] {
        assert_eq!(count_in(elsewhere, "cell-6"), 0);
    }
    for (tenant, cell) in old.iter().chain(&meanwhile).chain(&early).chain(&new) {
        assert_eq!(world.proxy.cell_of(tenant), *cell, "{tenant}");
    }
    let slots = world.control.get("/v1/slots");
    let of_new = slots["cells"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|cell| cell["cell"] == "cell-6");
    assert_eq!(of_new.map(|cell| &cell["count"]), Some(&Value::from(0)));
    wait_until_idle(&world.proxy);
    world.control.change(
        "DELETE",
        "/v1/cells/cell-6?force=true&reason=end%20of%20test",
        &Value::Null,
    );
    world.control.wait_for_state("cell-6", "removed");
}

fn count_in(cells: &BTreeMap<String, String>, cell: &str) -> usize {
    cells.values().filter(|found| *found == cell).count()
}
