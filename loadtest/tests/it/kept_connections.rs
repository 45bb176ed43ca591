//! Connections to cells that wait for their next request: whose requests follow each other on them, how many, and how
//! many of them wait.

mod keys;

use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier},
    thread,
};

use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    origin::{OK, Origin, ok},
    proxy::{ONLY, Proxy, TENANT},
    table::TableText,
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    tenants_of_a_cell_follow_each_other,
    tenants_are_kept_apart_where_that_is_wanted,
    a_connection_carries_no_more_requests_than_it_may,
    no_more_connections_wait_than_may,
    a_new_address_is_asked_over_new_connections,
    the_connections_of_a_removed_cell_are_closed,
);

const CLIENTS: usize = 4;
const TENANTS: usize = 30;
const REQUESTS: usize = 2_000;

fn request(tenant: &str, id: &str) -> Request {
    Request::get(&format!("{OK}{id}")).header(TENANT, tenant)
}

/// The tenants of the requests on each of a cell's connections, in their order.
fn tenants_by_connection(cell: &Origin) -> Vec<Vec<String>> {
    let received = cell.received();
    let tenants = received.iter().map(|text| {
        let lines = text.split(r"\r\n");
        let tenants = lines.filter_map(|line| line.strip_prefix("x-cellgate-tenant: "));
        tenants.map(str::to_owned).collect()
    });
    tenants.collect()
}

/// One request after the other on one client's connection, so that each finds what the one before has left.
#[track_caller]
fn ask_in_turn<'t>(proxy: &Proxy, tenants: impl IntoIterator<Item = &'t str>) {
    let mut connection = Connection::open(proxy.address());
    for tenant in tenants {
        let answer = connection.exchange(&request(tenant, tenant));
        assert_eq!((answer.status, answer.text()), (200, tenant));
    }
}

/// Waits until the proxy says that this many connections wait, which it does now and then.
#[track_caller]
fn wait_for_waiting(proxy: &Proxy, count: u32) {
    wait_until(&format!("{count} connections wait"), PATIENCE, || {
        proxy.metric("upstream_idle_connections", &[]) == Some(f64::from(count))
    });
}

fn tenants_of_a_cell_follow_each_other() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    ask_in_turn(&proxy, ["a", "b", "a"]);
    assert_eq!(tenants_by_connection(&cell), [["a", "b", "a"]]);
}

/// Clients of many tenants. Returns the tenants on each connection.
#[track_caller]
fn ask_for_many_tenants(upstream: &str, cell_line: Option<&str>) -> Vec<Vec<String>> {
    let cell = Origin::well_behaved();
    let mut table = TableText::new([(ONLY, vec![cell.address()])]);
    if let Some(line) = cell_line {
        table = table.cell_line(ONLY, line);
    }
    let proxy = Proxy::plan().set("upstream", upstream).table(table).start();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client as u64);
                let tenants: Vec<String> = (0..REQUESTS / CLIENTS)
                    .map(|_| format!("tenant-{}", random.usize(..TENANTS)))
                    .collect();
                ask_in_turn(proxy, tenants.iter().map(String::as_str));
            });
        }
    });
    wait_until_idle(&proxy);
    let tenants = tenants_by_connection(&cell);
    assert_eq!(tenants.iter().map(Vec::len).sum::<usize>(), REQUESTS);
    tenants
}

fn tenants_are_kept_apart_where_that_is_wanted() {
    for (upstream, cell_line) in [
        ("{ share: tenant }", None),
        ("{ share: cell }", Some("share: tenant")),
        ("{}", Some("share: tenant")),
    ] {
        let connections = ask_for_many_tenants(upstream, cell_line);
        for tenants in &connections {
            let tenants: BTreeSet<_> = tenants.iter().collect();
            assert!(tenants.len() <= 1, "{upstream} {cell_line:?}: {tenants:?}");
        }
        // Each tenant has as many connections as it had requests at once.
        assert!(
            connections.len() <= REQUESTS / 4,
            "{upstream} {cell_line:?}: {} connections",
            connections.len()
        );
    }
    let connections = ask_for_many_tenants("{ share: tenant }", Some("share: cell"));
    assert!(connections.len() < TENANTS, "{}", connections.len());
}

fn a_connection_carries_no_more_requests_than_it_may() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("upstream", "{ requests_per_connection_max: 3 }")
        .start();
    ask_in_turn(&proxy, ["a"; 20]);
    let requests: Vec<usize> = tenants_by_connection(&cell).iter().map(Vec::len).collect();
    assert_eq!(requests, [3, 3, 3, 3, 3, 3, 2]);
}

fn no_more_connections_wait_than_may() {
    const AT_ONCE: usize = 12;
    const IDLE_MAX: u32 = 4;
    let all_are_here = Arc::new(Barrier::new(AT_ONCE));
    let cell = Origin::start(move |visit| {
        while let Some(head) = visit.head() {
            all_are_here.wait();
            visit.send(ok(head.id()));
        }
    });
    let proxy = Proxy::in_front_of(cell.address())
        .set("upstream", &format!("{{ idle_per_cell_max: {IDLE_MAX} }}"))
        .start();
    for _ in 0..2 {
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| ask_in_turn(&proxy, ["a"]));
            }
        });
        wait_until_idle(&proxy);
        wait_for_waiting(&proxy, IDLE_MAX);
    }
    // Those that waited were used the second time. The proxy's threads do not wait for each other's connections.
    let connections = cell.connections();
    let expected = 2 * AT_ONCE - IDLE_MAX as usize..=2 * AT_ONCE;
    assert!(expected.contains(&connections), "{connections}");
}

/// What is kept belongs to an endpoint's address, not to its cell.
fn a_new_address_is_asked_over_new_connections() {
    let (before, after) = (Origin::well_behaved(), Origin::well_behaved());
    let table_of = |cell: &Origin| TableText::new([(ONLY, vec![cell.address()])]);
    let proxy = Proxy::start(table_of(&before));
    let mut connection = Connection::open(proxy.address());
    let mut ask = |id: &str| {
        let answer = connection.exchange(&request("a", id));
        assert_eq!((answer.status, answer.text()), (200, id));
    };
    ask("first");
    proxy.write_table(table_of(&after));
    proxy.wait_for_generation(2);
    for _ in 0..20 {
        ask("later");
    }
    assert!(!before.has_received("later"), "{:?}", before.received());
    assert_eq!((before.connections(), after.connections()), (1, 1));
}

/// A cell that has left the table is not kept connected.
fn the_connections_of_a_removed_cell_are_closed() {
    let (stays, leaves) = (Origin::well_behaved(), Origin::well_behaved());
    let both = TableText::new([
        ("stays", vec![stays.address()]),
        ("leaves", vec![leaves.address()]),
    ]);
    let proxy = Proxy::start(both.pin("a", "leaves").pin("b", "stays"));
    ask_in_turn(&proxy, ["a", "b"]);
    wait_until_idle(&proxy);
    wait_for_waiting(&proxy, 2);
    let one = TableText::new([("stays", vec![stays.address()])]);
    proxy.write_table(one.pin("b", "stays").allow_move());
    wait_for_waiting(&proxy, 1);
    ask_in_turn(&proxy, ["b"]);
    assert_eq!(stays.connections(), 1);
}
