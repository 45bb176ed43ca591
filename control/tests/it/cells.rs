//! Cells: what may follow on what, and why something is refused.

use std::collections::BTreeMap;

use cellgate_control::{
    change::{
        MovePermission, Rules,
        cells::{self, CellPatch, NewCell},
        slots,
    },
    model::{CellState, PlacedBy},
    refusal::Refusal,
    store::{AuditFilter, OperationState, Request, Write},
};
use cellgate_table::CellId;

use crate::support::{World, id, key, new_cell, new_tenant_in};

/// Brings a cell of a provider into a state, by the ways that lead there.
fn brought_to(state: CellState) -> World {
    let world = World::new();
    let new = NewCell {
        provider: "exec".to_owned(),
        endpoints: Vec::new(),
        stateless: true,
        ..new_cell("x")
    };
    let operation = |verb: &str| format!("x-{verb}-{}", world.intent().revision);
    let step = |work: fn(&mut Write<'_>, &CellId, &Rules) -> Result<(), Refusal>| {
        world.change(|write| work(write, &id("x"), &world.rules));
    };
    world.change(|write| cells::add(write, &new, &world.rules).map(drop));
    let provision = operation("provision");
    if state == CellState::Provisioning {
        return world;
    }
    if state == CellState::Failed {
        world.change(|write| cells::provider_failed(write, &provision, "", "out of luck"));
        return world;
    }
    let endpoints = new_cell("x").endpoints;
    world.change(|write| cells::provisioned(write, &provision, endpoints, ""));
    if state == CellState::Warming {
        return world;
    }
    step(|write, id, _| cells::warmed(write, id, Ok(())));
    step(|write, _, _| slots::spread_first(write).map(drop));
    if state == CellState::Active {
        return world;
    }
    step(|write, id, rules| cells::drain(write, id, MovePermission::Allowed, rules).map(drop));
    if state == CellState::Draining {
        return world;
    }
    world.add_active("y");
    step(|write, id, rules| cells::drain(write, id, MovePermission::Allowed, rules).map(drop));
    if state == CellState::Drained {
        return world;
    }
    step(|write, id, _| cells::remove(write, id).map(drop));
    let remove = operation("remove");
    world.change(|write| cells::taken_down(write, &remove, ""));
    world
}

type Asked = fn(&mut Write<'_>, &Rules) -> Result<(), Refusal>;

const DRAIN: Asked =
    |write, rules| cells::drain(write, &id("x"), MovePermission::Allowed, rules).map(drop);
const ACTIVATE: Asked = |write, _| cells::activate(write, &id("x")).map(drop);
const RETRY: Asked = |write, _| cells::retry(write, &id("x")).map(drop);
const REMOVE: Asked = |write, _| cells::remove(write, &id("x")).map(drop);

/// What is answered when something is asked of a cell in a state; `from not to: legal` for a step that does not follow.
fn check_step(state: CellState, asked: Asked, expected: &str) {
    let world = brought_to(state);
    assert_eq!(world.intent().state_of(&id("x")), state);
    let reported = world.reported(|write| asked(write, &world.rules));
    let expected = match expected.split_once(" not ") {
        Some((from, rest)) => {
            let (to, legal) = rest.split_once(": ").unwrap();
            format!("cell `x` is {from} and cannot become {to}; it can become {legal}")
        }
        None => expected.to_owned(),
    };
    assert_eq!(reported, expected);
}

#[test]
fn a_cell_that_is_not_there_yet() {
    use CellState::{Failed, Provisioning, Warming};
    check_step(
        Provisioning,
        DRAIN,
        "provisioning not draining: warming or failed",
    );
    check_step(
        Provisioning,
        ACTIVATE,
        "provisioning not active: warming or failed",
    );
    check_step(
        Provisioning,
        RETRY,
        "provisioning not provisioning: warming or failed",
    );
    check_step(
        Provisioning,
        REMOVE,
        "provisioning not removed: warming or failed",
    );
    check_step(Warming, DRAIN, "warming not draining: active or failed");
    check_step(Warming, ACTIVATE, "warming not active: active or failed");
    check_step(Warming, REMOVE, "warming not removed: active or failed");
    check_step(
        Failed,
        DRAIN,
        "failed not draining: provisioning or removed",
    );
    check_step(
        Failed,
        ACTIVATE,
        "failed not active: provisioning or removed",
    );
    check_step(Failed, RETRY, "done");
    check_step(Failed, REMOVE, "done");
}

#[test]
fn a_cell_that_serves_or_has_served() {
    use CellState::{Active, Drained, Draining, Removed};
    check_step(Active, DRAIN, "done");
    check_step(Active, ACTIVATE, "done");
    check_step(Active, RETRY, "active not provisioning: draining");
    check_step(
        Active,
        REMOVE,
        "cell `x` owns 64 slots and 0 registered tenants",
    );
    check_step(Draining, DRAIN, "done");
    check_step(Draining, ACTIVATE, "done");
    check_step(
        Draining,
        REMOVE,
        "cell `x` owns 64 slots and 0 registered tenants",
    );
    check_step(Drained, DRAIN, "drained not draining: active or removed");
    check_step(Drained, ACTIVATE, "done");
    check_step(Drained, REMOVE, "done");
    check_step(Removed, DRAIN, "removed not draining: provisioning");
    check_step(Removed, ACTIVATE, "removed not active: provisioning");
    check_step(Removed, REMOVE, "removed not removed: provisioning");
}

#[test]
fn what_is_asked_of_a_new_cell_is_checked() {
    let world = World::of_cells(&["a"]);
    let check = |new: NewCell, expected: &str| {
        let reported = world.reported(|write| cells::add(write, &new, &world.rules).map(drop));
        assert!(reported.contains(expected), "{reported}");
    };
    check(new_cell("a"), "there is a cell `a`, active");
    let with = |change: fn(&mut NewCell)| {
        let mut new = new_cell("b");
        change(&mut new);
        new
    };
    check(
        with(|new| new.id = "-b".to_owned()),
        "neither a letter nor a digit",
    );
    check(
        with(|new| new.provider = "kubernetes".to_owned()),
        "there is no provider `kubernetes`; known are static, exec",
    );
    check(with(|new| new.endpoints.clear()), "endpoints");
    check(
        with(|new| new.provider = "exec".to_owned()),
        "the endpoints of cell `b` are named by its provider `exec`",
    );
    check(with(|new| new.max_in_flight = Some(0)), "max_in_flight");
    check(
        with(|new| new.labels = BTreeMap::from([("a b".to_owned(), String::new())])),
        "the label name `a b`",
    );
    check(
        with(|new| new.capacity = BTreeMap::from([("tenants".to_owned(), -1.0)])),
        "`tenants` is -1",
    );
    check(
        with(|new| new.params = BTreeMap::from([("x".to_owned(), "y".repeat(70_000).into())])),
        "have more than 65536 bytes",
    );
    check(new_cell("b"), "done");
}

#[test]
fn cells_that_are_not_there() {
    type Asked = fn(&mut Write<'_>, &CellId, &Rules) -> Result<(), Refusal>;
    let asked: [Asked; 8] = [
        |write, id, rules| cells::drain(write, id, MovePermission::Allowed, rules).map(drop),
        |write, id, _| cells::activate(write, id).map(drop),
        |write, id, _| cells::retry(write, id).map(drop),
        |write, id, _| cells::remove(write, id).map(drop),
        |write, id, rules| cells::force_remove(write, id, MovePermission::Allowed, rules).map(drop),
        |write, id, _| cells::update(write, id, &CellPatch::default()).map(drop),
        |write, id, _| cells::report_usage(write, id, &BTreeMap::new()).map(drop),
        |write, id, _| cells::warmed(write, id, Ok(())),
    ];
    let world = World::of_cells(&["a"]);
    for asked in asked {
        let reported = world.reported(|write| asked(write, &id("x"), &world.rules));
        assert_eq!(reported, "there is no cell `x`");
    }
}

#[test]
fn a_patch_changes_what_it_names() {
    let world = World::of_cells(&["a"]);
    let check = |patch: &str, expected: &str| {
        let patch: CellPatch = serde_json::from_str(patch).unwrap();
        let reported = world.reported(|write| cells::update(write, &id("a"), &patch).map(drop));
        assert!(reported.contains(expected), "{reported}");
    };
    check(r#"{"endpoints":[]}"#, "are empty");
    check(r#"{"max_in_flight":0}"#, "max_in_flight");
    check(r#"{"health_check":{"type":"http","path":"no"}}"#, "path");
    let before = world.intent();
    check("{}", "done");
    check(r#"{"max_in_flight":1024,"health_check":null}"#, "done");
    assert_eq!(world.intent(), before);
    check(
        r#"{"max_in_flight":7,"health_check":{"type":"tcp"}}"#,
        "done",
    );
    let settings = world.intent().cells[&id("a")].settings.clone();
    assert_eq!(settings.in_flight_max, 7);
    assert!(settings.health_check.is_some());
    assert_eq!(world.published().cells()[0].in_flight_max(), 7);
    check(r#"{"health_check":null}"#, "done");
    assert_eq!(world.published().cells()[0].health_check(), None);
    check(
        r#"{"tls":{"server_name":"a.example:443","ca":"ca.pem"}}"#,
        "without scheme and port",
    );
    check(
        r#"{"tls":{"server_name":"a.example","ca":"ca.pem","client_cert":{"certificate":"p.pem"}}}"#,
        "done",
    );
    let published = world.published();
    let tls = published.cells()[0].tls().unwrap();
    assert_eq!((&*tls.server_name, &*tls.ca), ("a.example", "ca.pem"));
    assert_eq!(&*tls.client_cert.as_ref().unwrap().key, "p.pem");
    // What a patch does not name stays.
    check(r#"{"max_in_flight":8}"#, "done");
    assert_eq!(world.published().cells()[0].tls(), Some(tls));
    check(r#"{"tls":null}"#, "done");
    assert_eq!(world.published().cells()[0].tls(), None);
}

#[test]
fn a_drain_takes_what_has_no_data() {
    let world = World::of_cells(&["a:stateless", "b"]);
    let batch = [new_tenant_in("p", "a"), new_tenant_in("q", "a")];
    world.register(&batch);
    let reported = world.reported(|write| {
        cells::drain(write, &id("a"), MovePermission::WithinLimits, &world.rules).map(drop)
    });
    assert_eq!(
        reported,
        "32 slots (50.00 %) would go to other cells, more than 25 %"
    );
    world.drain("a");
    let intent = world.intent();
    assert_eq!(intent.state_of(&id("a")), CellState::Drained);
    for tenant in intent.tenants.values() {
        assert_eq!((&tenant.cell, tenant.placed_by), (&id("b"), PlacedBy::Slot));
    }
    assert_eq!(intent.slots.count_of(&id("b")), 64);
    // What has data stays, and with it the cell.
    world.add_active("c");
    world.drain("b");
    let intent = world.intent();
    assert_eq!(intent.state_of(&id("b")), CellState::Draining);
    assert_eq!(intent.slots.count_of(&id("b")), 64);
}

/// A second drain moved slots and tenants without a note: no revision, no line in the log, and no table.
#[test]
fn a_drain_said_again_is_a_change() {
    let world = World::of_cells(&["a:stateless"]);
    world.published();
    let drain = || {
        let drained = world.try_change(|write| {
            cells::drain(write, &id("a"), MovePermission::Allowed, &world.rules).map(drop)
        });
        drained.unwrap()
    };
    assert!(
        drain().is_change,
        "it has begun, though nobody takes anything"
    );
    let before = world.intent();
    assert!(!drain().is_change);
    assert_eq!(world.intent(), before);
    world.add_active("b");
    let done = drain();
    assert!(done.is_change);
    let lines = world
        .store
        .read(|read| read.audit(&AuditFilter::default(), 1));
    let line = &lines.unwrap()[0];
    assert_eq!(
        (line.revision, &*line.action),
        (done.revision, "cell.drain")
    );
    let table = world.published();
    assert_eq!(table.generation().unwrap().get(), done.revision);
    assert_eq!(table.cells().len(), 1);
    assert_eq!(table.cells()[0].id(), &id("b"));
}

/// The provider took the cell down after it had come back, and the table named a cell that was not there any more.
#[test]
fn a_cell_that_is_being_removed_does_not_come_back() {
    let world = brought_to(CellState::Drained);
    world.published();
    world.change(|write| cells::remove(write, &id("x")).map(drop));
    let reported = world.reported(|write| cells::activate(write, &id("x")).map(drop));
    assert_eq!(
        reported,
        "cell `x` is being removed; its provider has not answered yet"
    );
    let open = world.store.read(|read| read.open_operations()).unwrap();
    assert_eq!(open.len(), 1);
    world.change(|write| cells::provider_failed(write, &open[0].id, "", "out of luck"));
    let operation = world.store.read(|read| read.operation(&open[0].id));
    assert_eq!(operation.unwrap().unwrap().state, OperationState::Failed);
    let reported = world.reported(|write| cells::activate(write, &id("x")).map(drop));
    assert_eq!(reported, "done", "it was not removed after all");
}

#[test]
fn a_forced_removal_needs_a_reason_and_an_heir() {
    let world = World::of_cells(&["a", "b"]);
    world.register(&[new_tenant_in("p", "a"), new_tenant_in("q", "b")]);
    let remove = |cell: &str, permission: MovePermission| {
        let cell = id(cell);
        world
            .reported(|write| cells::force_remove(write, &cell, permission, &world.rules).map(drop))
    };
    let request = Request::of_daemon("test");
    let refused = world.store.change(&request, 1, |write| {
        cells::force_remove(write, &id("a"), MovePermission::Allowed, &world.rules).map(drop)
    });
    let reported = refused.unwrap_err().to_string();
    assert_eq!(reported, "a forced removal needs a reason");
    assert_eq!(
        remove("a", MovePermission::WithinLimits),
        "32 slots (50.00 %) would go to other cells, more than 25 %"
    );
    assert_eq!(remove("a", MovePermission::Allowed), "done");
    let intent = world.intent();
    assert_eq!(intent.state_of(&id("a")), CellState::Removed);
    assert_eq!(intent.tenants[&key("p")].cell, id("b"));
    assert_eq!(intent.slots.count_of(&id("b")), 64);
    assert_eq!(remove("a", MovePermission::Allowed), "there is no cell `a`");
    assert_eq!(remove("b", MovePermission::Allowed), "no cell is active");
}

#[test]
fn slots_are_spread_once() {
    let world = World::new();
    let spread = || world.reported(|write| slots::spread_first(write).map(drop));
    let plan = || {
        world.reported(|write| {
            slots::apply_plan(write, MovePermission::Allowed, &world.rules).map(drop)
        })
    };
    assert_eq!(spread(), "no cell is active");
    assert_eq!(plan(), "the slots have not been given to cells yet");
    world.add_active("a:stateless");
    assert_eq!(spread(), "done");
    assert_eq!(spread(), "the slots have owners already");
    let before = world.intent();
    assert_eq!(plan(), "done");
    assert_eq!(world.intent(), before, "there is nothing to even out");
    world.add_active("b");
    assert_eq!(plan(), "done");
    assert_eq!(world.intent().slots.count_of(&id("b")), 32);
}
