//! Tenants: where they may go, and why something is refused.

use std::collections::BTreeMap;

use cellgate_control::{
    change::{
        MovePermission,
        cells::{self, CellPatch},
        tenants::{self, NewTenant},
    },
    model::{CellState, PlacedBy},
};

use cellgate_table::TenantKey;

use crate::support::{World, id, key, new_tenant, new_tenant_in, register};

fn with_aliases(name: &str, aliases: &[&str]) -> NewTenant {
    NewTenant {
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        ..new_tenant(name)
    }
}

fn pinned(name: &str, cell: &str) -> NewTenant {
    NewTenant {
        pin: true,
        ..new_tenant_in(name, cell)
    }
}

/// Two cells with data, one that drains, and three tenants.
fn world() -> World {
    let world = World::of_cells(&["a", "b", "c"]);
    world.drain("c");
    world.register(&[
        with_aliases("acme", &["www.acme", "shop.acme"]),
        pinned("globex", "a"),
        new_tenant_in("initech", "b"),
    ]);
    assert_eq!(world.intent().state_of(&id("c")), CellState::Draining);
    world
}

/// Checks what is answered when a tenant is registered behind one that has nothing wrong with it.
fn check_second(world: &World, second: NewTenant, expected: &str) {
    let mut number = None;
    let batch = [new_tenant("fine"), second];
    let reported = world.reported(|write| {
        tenants::register(write, &batch, &world.rules)
            .map(drop)
            .map_err(|(at, refusal)| {
                number = Some(at);
                refusal
            })
    });
    assert!(reported.contains(expected), "{reported}");
    assert_eq!(number, (expected != "done").then_some(1), "{reported}");
}

#[test]
fn a_batch_is_registered_whole_or_not() {
    let world = world();
    let check = |second: NewTenant, expected: &str| check_second(&world, second, expected);
    check(new_tenant(""), "a tenant key is empty");
    check(new_tenant("a\nb"), "control character");
    check(new_tenant("fine"), "is duplicated");
    check(
        new_tenant("www.acme"),
        "`www.acme` is an alias of tenant `acme`",
    );
    check(new_tenant_in("new", "x"), "there is no cell `x`");
    check(
        new_tenant_in("new", "c"),
        "cell `c` is draining and takes no tenants",
    );
    check(
        new_tenant_in("globex", "b"),
        "tenant `globex` is registered and lives in cell `a` (by pin)",
    );
    let placed_by = world.intent().tenants[&key("initech")].placed_by;
    let reported = format!("tenant `initech` is registered and lives in cell `b` (by {placed_by})");
    check(pinned("initech", "b"), &reported);
    let homeless = NewTenant {
        pin: true,
        ..new_tenant("new")
    };
    check(homeless, "has no cell");
}

#[test]
fn aliases_of_a_batch_are_free_ones() {
    let world = world();
    let check = |second: NewTenant, expected: &str| check_second(&world, second, expected);
    check(
        with_aliases("new", &["new"]),
        "`new` is registered as a tenant itself",
    );
    check(
        with_aliases("new", &["globex"]),
        "`globex` is registered as a tenant itself",
    );
    check(
        with_aliases("new", &["www.acme"]),
        "`www.acme` is an alias of tenant `acme` already",
    );
    check(
        with_aliases("\u{a0}new", &["x"]),
        "begins or ends with white space",
    );
    let many: Vec<String> = (0..101).map(|at| format!("alias-{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(with_aliases("new", &many), "are more than 100");
    check(pinned("globex", "a"), "done");
}

/// A key was both a tenant's own and another one's alias, and no table could be published any more.
#[test]
fn an_alias_is_no_tenant_of_the_same_batch() {
    let world = world();
    let batches = [
        [with_aliases("x", &["y"]), new_tenant("y")],
        [new_tenant("y"), with_aliases("x", &["y"])],
    ];
    for batch in &batches {
        let reported = world.reported(|write| register(write, batch, &world.rules));
        assert_eq!(reported, "`y` is registered as a tenant itself");
    }
    let batch = [with_aliases("x", &["z"]), with_aliases("y", &["z"])];
    let reported = world.reported(|write| register(write, &batch, &world.rules));
    assert_eq!(reported, "`z` is an alias of tenant `x` already");
}

#[test]
fn registered_twice_is_registered_once() {
    let world = world();
    let before = world.intent();
    let again = [with_aliases("acme", &["shop.acme"]), pinned("globex", "a")];
    let done = world.try_change(|write| register(write, &again, &world.rules));
    assert!(!done.unwrap().is_change);
    assert_eq!(world.intent(), before);
    let more = [with_aliases("acme", &["blog.acme"])];
    let done = world.try_change(|write| register(write, &more, &world.rules));
    assert!(done.unwrap().is_change);
    let home = world.published();
    assert_eq!(home.alias_of(b"blog.acme"), Some(&key("acme")));
}

#[test]
fn aliases_are_counted_however_they_come() {
    let world = world();
    let names = |from: usize, count: usize| -> Vec<String> {
        (from..from + count)
            .map(|at| format!("alias-{at}"))
            .collect()
    };
    let batch = |names: Vec<String>| {
        [NewTenant {
            aliases: names,
            ..new_tenant("globex")
        }]
    };
    world.register(&batch(names(0, 99)));
    let reported = world.reported(|write| register(write, &batch(names(99, 2)), &world.rules));
    assert!(
        reported.contains("are 100, and no more may be"),
        "{reported}"
    );
    world.register(&batch(names(99, 1)));
    let add = |alias: &str| {
        world.reported(|write| tenants::add_alias(write, &key("globex"), &key(alias)).map(drop))
    };
    assert!(add("one-more").contains("are 100, and no more may be"));
    assert_eq!(add("alias-0"), "done", "it is there already");
}

#[test]
fn aliases_lead_to_tenants() {
    let world = world();
    let check = |tenant: &str, alias: &str, expected: &str| {
        let reported =
            world.reported(|write| tenants::add_alias(write, &key(tenant), &key(alias)).map(drop));
        assert!(reported.contains(expected), "{reported}");
    };
    check("nobody", "x", "no tenant `nobody` is registered");
    check("www.acme", "x", "no tenant `www.acme` is registered");
    check("acme", "acme", "`acme` is registered as a tenant itself");
    check(
        "acme",
        "globex",
        "`globex` is registered as a tenant itself",
    );
    check(
        "globex",
        "www.acme",
        "`www.acme` is an alias of tenant `acme` already",
    );
    check("acme", "www.acme", "done");
    check("acme", "acme.example", "done");
    let remove = |tenant: &str, alias: &str| {
        world.reported(|write| tenants::remove_alias(write, &key(tenant), &key(alias)).map(drop))
    };
    assert_eq!(
        remove("globex", "www.acme"),
        "`www.acme` is no alias of this tenant"
    );
    assert_eq!(remove("acme", "acme"), "`acme` is no alias of this tenant");
    assert_eq!(remove("nobody", "x"), "no tenant `nobody` is registered");
    assert_eq!(remove("acme", "www.acme"), "done");
    assert_eq!(
        remove("acme", "www.acme"),
        "`www.acme` is no alias of this tenant"
    );
    let aliases = world.intent().aliases;
    let names: Vec<&str> = aliases.keys().map(TenantKey::as_str).collect();
    assert_eq!(names, ["acme.example", "shop.acme"]);
}

#[test]
fn a_pin_leaves_no_data_behind() {
    let world = world();
    let pin = |tenant: &str, cell: &str, is_without_data: bool| {
        let (tenant, cell) = (key(tenant), id(cell));
        world.reported(|write| tenants::pin(write, &tenant, &cell, is_without_data).map(drop))
    };
    let has_data = "tenant `globex` may have data in cell `a`, which would not come along to `b`";
    assert_eq!(pin("globex", "b", false), has_data);
    assert_eq!(pin("globex", "x", true), "there is no cell `x`");
    assert_eq!(pin("nobody", "b", true), "no tenant `nobody` is registered");
    assert_eq!(
        pin("globex", "c", true),
        "cell `c` is draining and takes no tenants"
    );
    assert_eq!(pin("globex", "b", true), "done");
    assert_eq!(world.intent().tenants[&key("globex")].cell, id("b"));
    // From a cell without data it may go anywhere; and where it is it may always stay.
    let patch = CellPatch {
        stateless: Some(true),
        ..CellPatch::default()
    };
    world.change(|write| cells::update(write, &id("b"), &patch).map(drop));
    assert_eq!(pin("globex", "a", false), "done");
    world.change(|write| {
        cells::drain(write, &id("a"), MovePermission::Allowed, &world.rules).map(drop)
    });
    let before = world.intent();
    assert_eq!(pin("globex", "a", false), "done");
    assert_eq!(world.intent(), before);
}

#[test]
fn an_unpinned_tenant_stays() {
    let world = world();
    world.published();
    for tenant in world.intent().tenants.values() {
        let home = tenant.cell.clone();
        world.change(|write| tenants::pin(write, &tenant.key, &home, false).map(drop));
        world.change(|write| tenants::unpin(write, &tenant.key).map(drop));
        let after = world.intent();
        let now = &after.tenants[&tenant.key];
        let expected = if after.slot_owner(&tenant.key) == Some(&home) {
            PlacedBy::Slot
        } else {
            PlacedBy::Override
        };
        assert_eq!((&now.cell, now.placed_by), (&home, expected));
        assert_eq!(now.since, tenant.since);
    }
    let reported = world.reported(|write| tenants::unpin(write, &key("nobody")).map(drop));
    assert_eq!(reported, "no tenant `nobody` is registered");
}

#[test]
fn rejected_and_forgotten() {
    let world = world();
    let reject = |yes: bool| {
        let done =
            world.try_change(|write| tenants::set_rejected(write, &key("acme"), yes).map(drop));
        done.unwrap().is_change
    };
    assert!(!reject(false));
    assert!(reject(true));
    assert!(!reject(true));
    assert!(world.published().home_of(b"www.acme").is_rejected);
    let forget = |tenant: &str| {
        world.reported(|write| tenants::remove(write, &key(tenant), &world.rules).map(drop))
    };
    assert_eq!(forget("www.acme"), "no tenant `www.acme` is registered");
    assert_eq!(forget("acme"), "done");
    let table = world.published();
    assert!(!table.home_of(b"acme").is_rejected);
    assert_eq!((table.aliases(), table.rejects()), (&[][..], &[][..]));
    assert_eq!(forget("acme"), "no tenant `acme` is registered");
}

#[test]
fn no_capacity_has_reasons() {
    let world = world();
    let limit = |cell: &str, tenants: f64| {
        let patch = CellPatch {
            capacity: Some(BTreeMap::from([("tenants".to_owned(), tenants)])),
            ..CellPatch::default()
        };
        world.change(|write| cells::update(write, &id(cell), &patch).map(drop));
    };
    let counts = |cell: &str| world.intent().cells[&id(cell)].tenants;
    let (in_a, in_b) = (counts("a"), counts("b"));
    limit("a", 4.0);
    limit("b", 0.0);
    let room = 4 - in_a;
    let batch = |count: u64| -> Vec<NewTenant> {
        (0..count)
            .map(|at| new_tenant(&format!("new-{at}")))
            .collect()
    };
    let reported = world.reported(|write| register(write, &batch(room + 1), &world.rules));
    assert_eq!(
        reported,
        format!(
            "no capacity: a is full (tenants 4 of 4), b is full (tenants {in_b} of 0), c is draining"
        )
    );
    world.register(&batch(room));
    assert_eq!((counts("a"), counts("b")), (4, in_b));
    // An operator's request overrides the limit.
    world.register(&[new_tenant_in("one-more", "b")]);
}
