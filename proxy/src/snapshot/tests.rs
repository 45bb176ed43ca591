//! What outlives a change of the table, and what does not.

use std::{thread, time::Duration};

use cellgate_table::parse;

use super::*;

struct Scene {
    metrics: Metrics,
    current: Option<Snapshot>,
    generation: u64,
}

impl Scene {
    fn new() -> Self {
        Self {
            metrics: Metrics::new(),
            current: None,
            generation: 0,
        }
    }

    /// Puts a table with these cells in force: `(id, more of the cell, ports)`.
    fn take(&mut self, cells: &[(&str, &str, &[u16])]) -> &Snapshot {
        let cell = |(id, more, ports): &(&str, &str, &[u16])| {
            let endpoint = |port: &u16| format!("{{ address: \"127.0.0.1:{port}\" }}");
            let endpoints: Vec<String> = ports.iter().map(endpoint).collect();
            let endpoints = endpoints.join(", ");
            format!("  {id}: {{ {more} endpoints: [{endpoints}] }}\n")
        };
        let text = format!(
            "format: 1\nhash: {{ slots: 1 }}\ncells:\n{}slots: {{ {}: [\"0\"] }}\n",
            cells.iter().map(cell).collect::<Vec<_>>().concat(),
            cells[0].0,
        );
        self.generation += 1;
        let accepted = Accepted {
            table: parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}")),
            generation: Generation::new(self.generation).unwrap(),
            digest: Digest::of(text.as_bytes()),
            other_digests: Vec::new(),
            source: Source::File,
            cell_tls: CellIdentities::default(),
        };
        let next = Snapshot::build(accepted, self.current.as_ref(), &self.metrics);
        next.forget_ended_checks();
        self.current.insert(next)
    }
}

fn cell<'s>(snapshot: &'s Snapshot, id: &str) -> &'s Arc<CellRuntime> {
    snapshot
        .cells()
        .iter()
        .find(|cell| cell.state.id.as_str() == id)
        .unwrap()
}

const RULES: Ejection = Ejection {
    after_failures: 1,
    base: Duration::from_millis(100),
    max: Duration::from_secs(1),
    percent_max: 100,
};

#[test]
fn counts_and_health_outlive_a_change() {
    let mut scene = Scene::new();
    let before = scene.take(&[("a", "", &[1, 2]), ("b", "", &[1])]);
    let in_flight = cell(before, "a").admit().unwrap();
    let used = cell(before, "a").endpoints[1].state.enter();
    used.endpoint().health.failed(0, &RULES);
    used.endpoint().health.eject(0, &RULES);

    let after = scene.take(&[("a", "max_in_flight: 1,", &[3, 2]), ("b", "", &[2])]);
    let a = cell(after, "a");
    assert_eq!(a.state.in_flight(), 1);
    assert!(
        a.admit().is_none(),
        "the new limit counts who is in already"
    );
    let state = |at: usize| &a.endpoints[at].state;
    assert_eq!((state(0).in_flight(), state(1).in_flight()), (0, 1));
    assert!(state(0).health.is_usable(0) && !state(1).health.is_usable(0));
    // The same address in another cell is another endpoint.
    let in_b = &cell(after, "b").endpoints[0].state;
    assert!(in_b.in_flight() == 0 && in_b.health.is_usable(0));

    drop((in_flight, used));
    let a = cell(scene.current.as_ref().unwrap(), "a");
    assert_eq!(
        (a.state.in_flight(), a.endpoints[1].state.in_flight()),
        (0, 0)
    );
    assert_eq!(a.state.metrics.in_flight.get(), 0);
}

#[test]
fn a_cell_that_left_is_forgotten() {
    let mut scene = Scene::new();
    let in_flight = cell(scene.take(&[("a", "", &[1]), ("b", "", &[2])]), "b")
        .admit()
        .unwrap();
    scene.take(&[("a", "", &[1])]);
    let back = scene.take(&[("a", "", &[1]), ("b", "", &[2])]);
    assert_eq!(cell(back, "b").state.in_flight(), 0);
    // What is in flight since then ends on the old count.
    drop(in_flight);
    assert_eq!(cell(back, "b").state.in_flight(), 0);
}

#[test]
fn without_a_check_an_endpoint_counts_as_well() {
    const CHECK: &str = "health_check: { type: tcp },";
    let mut scene = Scene::new();
    let health = |snapshot: &Snapshot| Arc::clone(&cell(snapshot, "a").endpoints[0].state);
    let endpoint = health(scene.take(&[("a", CHECK, &[1])]));
    endpoint.health.checked(false, 1, 1);
    assert!(
        !health(scene.take(&[("a", CHECK, &[1])]))
            .health
            .is_usable(0)
    );
    assert!(health(scene.take(&[("a", "", &[1])])).health.is_usable(0));
}

#[test]
fn cells_share_no_pooled_connection() {
    let mut scene = Scene::new();
    let snapshot = scene.take(&[("a", "", &[1, 2]), ("b", "", &[1, 2]), ("ab", "", &[1])]);
    let transports: std::collections::HashSet<&Transport> = snapshot
        .cells()
        .iter()
        .flat_map(|cell| cell.endpoints.iter().map(|endpoint| &*endpoint.transport))
        .collect();
    assert_eq!(transports.len(), 5);
}

#[test]
fn an_endpoint_is_chosen_among_the_untried() {
    let mut scene = Scene::new();
    let snapshot = scene.take(&[("a", "", &[1, 2, 3])]);
    let a = cell(snapshot, "a");
    let address = |at: usize| a.endpoints[at].state.address;
    let chosen = |tried: &[SocketAddr]| -> Vec<SocketAddr> {
        let mut chosen: Vec<SocketAddr> = (0..100_u32)
            .filter_map(|step| {
                a.choose_endpoint(tried, 0, [step * 42_949_672, step.wrapping_mul(99_999_989)])
            })
            .map(address)
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    };
    assert_eq!(chosen(&[]), [address(0), address(1), address(2)]);
    assert_eq!(chosen(&[address(0)]), [address(1), address(2)]);
    a.endpoints[1].state.health.eject(0, &RULES);
    assert_eq!(chosen(&[address(0)]), [address(2)]);
    assert_eq!(chosen(&[address(0), address(2)]), []);
    assert_eq!(a.usable_endpoints(0), 2);
}

/// However the failures fall together, at least one endpoint stays in.
#[test]
fn a_cell_is_never_ejected_whole() {
    let mut scene = Scene::new();
    for (count, percent_max, stay) in [
        (1_u16, 100, 1),
        (2, 50, 1),
        (2, 100, 1),
        (3, 50, 2),
        (5, 100, 1),
    ] {
        let rules = Ejection {
            percent_max,
            ..RULES
        };
        for round in 0..20 {
            // Other ports each time: states that nothing has happened to.
            let ports: Vec<u16> = (1..=count).map(|n| 100 * (round + 1) + n).collect();
            let a = cell(scene.take(&[("a", "", &ports)]), "a");
            thread::scope(|scope| {
                for endpoint in &a.endpoints {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            a.endpoint_failed(&endpoint.state, 0, &rules);
                        }
                    });
                }
            });
            assert_eq!(
                a.usable_endpoints(0),
                stay,
                "{count} endpoints, {percent_max} %"
            );
        }
    }
}

#[test]
fn an_unhealthy_endpoint_is_not_ejected_as_well() {
    let mut scene = Scene::new();
    let a = cell(scene.take(&[("a", "", &[1, 2])]), "a");
    a.endpoints[0].state.health.checked(false, 1, 1);
    assert_eq!(a.endpoint_failed(&a.endpoints[0].state, 0, &RULES), None);
    assert_eq!(
        a.endpoint_failed(&a.endpoints[1].state, 0, &RULES),
        Some(Change::EjectionSuppressed),
        "the other one is all that is left"
    );
}

/// A stream that stays open over many changes of the table keeps its cell alive, not each table that it has seen.
#[test]
fn a_request_under_way_does_not_hold_its_snapshot() {
    let mut scene = Scene::new();
    scene.take(&[("a", "", &[1])]);
    let snapshot = Arc::new(scene.current.take().unwrap());
    let under_way = Arc::clone(cell(&snapshot, "a"));
    let gone = Arc::downgrade(&snapshot);
    drop(snapshot);
    assert!(gone.upgrade().is_none());
    assert_eq!(under_way.endpoints.len(), 1);
}

#[test]
fn the_current_view_is_swapped_whole() {
    let mut scene = Scene::new();
    let current = Current::default();
    assert!(current.load().is_none());
    scene.take(&[("a", "", &[1])]);
    current.store(Arc::new(scene.current.take().unwrap()));
    let before = current.load().unwrap();
    scene.take(&[("b", "", &[1])]);
    current.store(Arc::new(scene.current.take().unwrap()));
    assert_eq!(before.generation_header, "1");
    assert_eq!(before.cells()[0].id_header, "a");
    assert_eq!(current.load().unwrap().cells()[0].id_header, "b");
}
