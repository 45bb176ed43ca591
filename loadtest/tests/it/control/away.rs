//! A proxy that was away while the daemon went on publishing.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::world::World;
use crate::support::{PATIENCE, wait_until, wire::Request};

/// Tenants of one import. About half of them live away from their slot, which is fewer than one table may move.
const TENANTS: usize = 1_500;
/// How long a proxy may serve by what it knew before it went away.
const RETURN_LIMIT: Duration = Duration::from_secs(5);

/// Registers tenants with one import, and waits until the table says so.
#[track_caller]
fn import(world: &World, prefix: &str) {
    let before = world.control.get("/v1/table")["generation"].clone();
    let lines = (0..TENANTS).fold(String::new(), |mut lines, number| {
        let cell = format!("cell-{}", number % 2 + 1);
        let tenant = json!({ "key": format!("{prefix}-{number}"), "cell": cell, "pin": true });
        writeln!(lines, "{tenant}").expect("a String takes whatever is written");
        lines
    });
    let import = world.control.import("application/x-ndjson", &lines);
    let answer = import.send(world.control.address());
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_until("the import is published", PATIENCE, || {
        let table = world.control.get("/v1/table");
        table["current"] == true && table["generation"] != before
    });
}

/// Every registered tenant and its cell.
fn homes(world: &World) -> BTreeMap<String, String> {
    let export = Request::get("/v1/export/tenants").send(world.control.address());
    assert_eq!(export.status, 200, "{}", export.text());
    let lines = export.text();
    let lines = lines.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let tenant: Value = serde_json::from_str(line).expect("a line is JSON");
            let text = |name: &str| tenant[name].as_str().expect("it has one").to_owned();
            (text("key"), text("cell"))
        })
        .collect()
}

/// The tenants whom the proxy would send elsewhere.
fn misrouted(world: &World, homes: &BTreeMap<String, String>) -> usize {
    let is_elsewhere =
        |(tenant, cell): &(&String, &String)| world.proxy.explain(tenant)["cell"] != ***cell;
    homes.iter().filter(is_elsewhere).count()
}

/// Each import was legal, all three are more than one table may move; the proxy sees only the last.
#[test]
fn a_proxy_that_was_away_accepts_what_came_in_legal_steps() {
    let mut world = World::start(2);
    import(&world, "before");
    world.control.wait_until_published();
    world.proxy.stop();
    for prefix in ["first", "second", "third"] {
        import(&world, prefix);
    }
    let table = world.control.get("/v1/table");
    assert!(
        table["move_allowed_at"].is_null(),
        "each step is legal: {table}"
    );

    world.proxy.restart();
    let back = Instant::now();
    let generation = table["generation"].as_u64().expect("a table is published");
    world.proxy.wait_for_generation(generation);
    let took = back.elapsed();
    assert!(took < RETURN_LIMIT, "{took:?}");
    world
        .proxy
        .wait_for_log(&["accepted because it came in steps", "steps=3"]);
    let homes = homes(&world);
    assert_eq!(homes.len(), 4 * TENANTS);
    assert_eq!(misrouted(&world, &homes), 0);
    assert_eq!(world.proxy.admin_get("/readyz").text(), "ok\n");
}

/// Where the file proves that others have moved on, and the steps are more than this proxy may accept, another proxy
/// serves better; until somebody says that it may move, which is always written.
#[test]
fn a_proxy_that_is_left_behind_says_so_and_waits_for_permission() {
    let mut world = World::start(2);
    import(&world, "before");
    world.control.wait_until_published();
    world.proxy.stop();
    for prefix in ["first", "second", "third"] {
        import(&world, prefix);
    }
    let config = world.proxy.directory().join("proxy.yaml");
    let text = fs::read_to_string(&config).expect("the proxy was configured");
    let strict = text.replace("table: {", "table: { max_moved_overrides: 100, ");
    assert_ne!(text, strict);
    fs::write(&config, strict).expect("the scratch directory is ours");

    world.proxy.restart_unready();
    world.proxy.wait_for_refusal("named tenants would move");
    let ready = world.proxy.admin_get("/readyz");
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(
        ready.text().starts_with("not ready: others have moved on"),
        "{}",
        ready.text()
    );
    assert_eq!(world.proxy.metric("table_behind", &[]), Some(1.0));
    let status = world.proxy.status();
    assert_eq!(status["table_behind"], true, "{status}");
    let problems = status["last_reload"]["problems"].to_string();
    let expected = "nor can the steps since then be accepted: the one from generation";
    assert!(problems.contains(expected), "{status}");

    let before = world.control.get("/v1/table")["generation"].as_u64();
    let body = json!({ "allow_move": true });
    let permitted = world.control.change("POST", "/v1/table/publish", &body);
    let revision = permitted["revision"].as_u64().expect("it has a number");
    assert!(Some(revision) > before, "{permitted}");
    world.proxy.wait_for_generation(revision);
    world.proxy.wait_ready();
    assert_eq!(misrouted(&world, &homes(&world)), 0);
    assert_eq!(world.proxy.metric("table_behind", &[]), Some(0.0));
}
