//! One cell hangs: it accepts and never answers. Nobody but its own tenants may notice.

use std::{thread, time::Duration};

use crate::support::{
    PATIENCE,
    clients::{Clients, Tally},
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::{alone, figure, is_acceptance},
    process::Signal,
    proxy::Proxy,
    wait_until,
    ways::both_ways,
};

both_ways!(a_hung_cell_is_refused_at_its_bulkhead_and_costs_the_others_nothing);

/// Requests that a cell may have in flight.
const MAX_IN_FLIGHT: usize = 24;
/// Clients of a cell that works: no more than it may have in flight.
const CLIENTS: usize = 8;
/// Clients of the cell that hangs: more than that.
const CLIENTS_OF_HUNG: usize = MAX_IN_FLIGHT + 8;

const EVERY_DAY: Duration = Duration::from_secs(2);
const ACCEPTANCE: Duration = Duration::from_secs(10);

fn a_hung_cell_is_refused_at_its_bulkhead_and_costs_the_others_nothing() {
    let _alone = alone();
    let time = if is_acceptance() {
        ACCEPTANCE
    } else {
        EVERY_DAY
    };
    let mut fleet = Fleet::start(3);
    let table = ["cell-1", "cell-2", "cell-3"]
        .iter()
        .fold(fleet.table(), |table, cell| {
            table.cell_line(cell, &format!("max_in_flight: {MAX_IN_FLIGHT}"))
        })
        .pin("one", "cell-1")
        .pin("two", "cell-2")
        .pin("three", "cell-3");
    let proxy = Proxy::start(table);
    let in_flight = |cell: &str| proxy.status()["cells"][cell]["in_flight"].clone();

    let well = ["one", "two"].map(|tenant| Clients::start(proxy.address(), tenant, CLIENTS));
    let hung = Clients::start(proxy.address(), "three", CLIENTS_OF_HUNG);
    let before = watch(&well, time);

    fleet.cell(3).process().signal(Signal::STOP);
    wait_until("the bulkhead is full", PATIENCE, || {
        in_flight("cell-3") == MAX_IN_FLIGHT
    });
    let refused = proxy.get("three", "/");
    assert_eq!(refused.verdict(), (503, Some("cell_overloaded")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let labels = [("cell", "cell-3"), ("reason", "cell_overloaded")];
    assert!(proxy.metric("rejected_total", &labels) >= Some(1.0));
    let refusals = thread::scope(|scope| {
        let refusals = scope.spawn(|| hung.watch(time));
        let during = watch(&well, time);
        report_and_compare(&before, &during, time);
        refusals.join().expect("it only watches")
    });
    assert_eq!(in_flight("cell-3"), MAX_IN_FLIGHT);
    figure(format!("the hung cell: refused after {}", refusals.refused));
    let quickly = Duration::from_millis(if is_acceptance() { 100 } else { 1_000 });
    assert!(refusals.refused.percentile(99) < quickly);
    assert_eq!(refusals.failed, [""; 0]);

    fleet.cell(3).process().signal(Signal::CONT);
    wait_until("the cell answers again", PATIENCE, || {
        !hung.watch(Duration::from_millis(100)).answered.is_empty()
    });
    for clients in well {
        assert_eq!(clients.stop().failed, [""; 0]);
    }
    assert_eq!(hung.stop().failed, [""; 0]);
    assert_eq!(proxy.cell_of("three"), "cell-3");
    wait_until_idle(&proxy);
}

fn watch(clients: &[Clients; 2], time: Duration) -> [Tally; 2] {
    let [one, two] = clients;
    thread::scope(|scope| {
        let other = scope.spawn(|| two.watch(time));
        let this = one.watch(time);
        [this, other.join().expect("it only watches")]
    })
}

#[track_caller]
fn report_and_compare(before: &[Tally; 2], during: &[Tally; 2], time: Duration) {
    for (number, (before, during)) in (1..).zip(before.iter().zip(during)) {
        let per_second = |tally: &Tally| tally.answered.len() as u64 / time.as_secs();
        let (then, now) = (per_second(before), per_second(during));
        figure(format!(
            "cell {number} of 3, cell 3 hanging: {then}/s with {} before, {now}/s with {} during",
            before.answered, during.answered
        ));
        assert_eq!(during.failed, [""; 0]);
        assert!(during.refused.is_empty());
        assert!(now * 2 > then, "cell {number}: {then}/s, then {now}/s");
        during.answered.are_about_as_good_as(&before.answered);
    }
}
