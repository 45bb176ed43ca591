//! Back to a table of old.

use cellgate_control::{
    change::{MovePermission, cells, restore, slots, tenants},
    model::{CellState, PlacedBy},
    store::Write,
};
use cellgate_table::{Table, diff::diff};

use crate::support::{World, id, key, new_tenant, new_tenant_in, register};

fn roll_back(world: &World, to: &Table) -> String {
    world.reported(|write| {
        let restored = restore::roll_back(write, to, MovePermission::Allowed, &world.rules)?;
        Ok(restored.moved_tenants)
    })
}

#[test]
fn the_table_is_what_it_was() {
    let world = World::of_cells(&["a:stateless", "b:stateless"]);
    let batch: Vec<_> = (0..6).map(|at| new_tenant(&format!("old-{at}"))).collect();
    world.register(&batch);
    world.register(&[new_tenant_in("acme", "a"), new_tenant_in("globex", "b")]);
    world.change(|write| tenants::add_alias(write, &key("acme"), &key("www")).map(drop));
    world.change(|write| tenants::set_rejected(write, &key("globex"), true).map(drop));
    let (old, was) = (world.published(), world.intent());
    let step = |work: &dyn Fn(&mut Write<'_>)| {
        world.change(|write| {
            work(write);
            Ok(())
        });
    };
    step(&|write| drop(tenants::pin(write, &key("acme"), &id("b"), false).unwrap()));
    step(&|write| drop(tenants::remove_alias(write, &key("acme"), &key("www")).unwrap()));
    step(&|write| drop(tenants::add_alias(write, &key("globex"), &key("other")).unwrap()));
    step(&|write| drop(tenants::set_rejected(write, &key("globex"), false).unwrap()));
    step(&|write| {
        drop(cells::drain(write, &id("a"), MovePermission::Allowed, &world.rules).unwrap());
    });
    world.add_active("c");
    let now = world.published();
    assert!(!diff(&old, &now).tenant_moves.is_empty());
    assert_eq!(roll_back(&world, &old), "done");
    let intent = world.intent();
    assert_eq!(intent.state_of(&id("a")), CellState::Active);
    assert_eq!((&intent.slots, &intent.aliases), (&was.slots, &was.aliases));
    for (key, tenant) in &was.tenants {
        assert_eq!(intent.tenants[key].cell, tenant.cell, "{key}");
        assert_eq!(intent.tenants[key].is_rejected, tenant.is_rejected, "{key}");
    }
    let back = world.published();
    let changes = diff(&old, &back);
    assert_eq!((changes.moved_slots(), changes.tenant_moves.len()), (0, 0));
    assert_eq!(changes.cells_added, [id("c")], "what was added since stays");
    assert!(back.generation() > now.generation());
}

/// They went along with their slots, and their data did not.
#[test]
fn who_came_later_stays() {
    let world = World::of_cells(&["a:stateless"]);
    world.register(&[new_tenant("old")]);
    let old = world.published();
    world.add_active("b");
    let plan = world.reported(|write| {
        slots::apply_plan(write, MovePermission::Allowed, &world.rules).map(drop)
    });
    assert_eq!(plan, "done");
    // As many as it takes for some to live by their slot in the new cell, which has data.
    let batch: Vec<_> = (0..12).map(|at| new_tenant(&format!("new-{at}"))).collect();
    world.register(&batch);
    world.published();
    let before = world.intent();
    let by_slot = before
        .tenants
        .values()
        .filter(|it| it.cell == id("b") && it.placed_by == PlacedBy::Slot);
    assert!(by_slot.count() > 2);
    assert_eq!(roll_back(&world, &old), "done");
    let after = world.intent();
    assert_eq!(after.slots.count_of(&id("a")), 64);
    for (key, tenant) in &after.tenants {
        if key.as_str().starts_with("new") {
            assert_eq!(tenant.cell, before.tenants[key].cell, "{key}");
            let expected = if tenant.cell == id("a") {
                PlacedBy::Slot
            } else {
                PlacedBy::Override
            };
            assert_eq!(tenant.placed_by, expected, "{key}");
        }
    }
    assert_eq!(after.tenants[&key("old")].cell, id("a"));
    let table = world.published();
    for (key, tenant) in &after.tenants {
        assert_eq!(
            table.cell(table.home_of(key.as_bytes()).cell).id(),
            &tenant.cell
        );
    }
}

/// Registered anew, a tenant is another one than the one that the table names by this key.
#[test]
fn who_came_back_stays() {
    let world = World::of_cells(&["a", "b"]);
    world.register(&[new_tenant_in("acme", "a"), new_tenant_in("globex", "b")]);
    let old = world.published();
    let of = |tenant: &str| world.intent().tenants[&key(tenant)].clone();
    // Whichever the table names, as it lives away from its slot.
    let named = ["acme", "globex"]
        .into_iter()
        .find(|name| of(name).placed_by == PlacedBy::Override);
    let named = named.expect("with this hash, one of them does");
    let other = if of(named).cell == id("a") { "b" } else { "a" };
    world.change(|write| tenants::remove(write, &key(named), &world.rules).map(drop));
    world.register(&[new_tenant_in(named, other)]);
    world.published();
    assert_eq!(roll_back(&world, &old), "done");
    assert_eq!(of(named).cell, id(other));
}

#[test]
fn what_does_not_fit_is_refused() {
    let check = |changes: &dyn Fn(&World), expected: &str| {
        let world = World::of_cells(&["a:stateless", "b:stateless"]);
        world.register(&[new_tenant_in("acme", "a")]);
        world.change(|write| tenants::add_alias(write, &key("acme"), &key("www")).map(drop));
        let old = world.published();
        changes(&world);
        let reported = roll_back(&world, &old);
        let reported = reported.strip_prefix("the table cannot be restored: ");
        assert_eq!(reported, Some(expected));
    };
    let force = |world: &World| {
        let removed = world.reported(|write| {
            cells::force_remove(write, &id("a"), MovePermission::Allowed, &world.rules).map(drop)
        });
        assert_eq!(removed, "done");
    };
    check(&|world| force(world), "cell `a` is removed");
    check(
        &|world| {
            force(world);
            let added = world.reported(|write| {
                cells::add(write, &crate::support::new_cell("a"), &world.rules).map(drop)
            });
            assert_eq!(added, "done");
        },
        "cell `a` is warming",
    );
    check(
        &|world| {
            let removed = world
                .reported(|write| tenants::remove(write, &key("acme"), &world.rules).map(drop));
            assert_eq!(removed, "done");
        },
        "tenant `acme`, which has an alias there, is not registered any more",
    );
    check(
        &|world| {
            world.change(|write| tenants::remove_alias(write, &key("acme"), &key("www")).map(drop));
            world.change(|write| register(write, &[new_tenant("www")], &world.rules));
        },
        "`www`, an alias there, is a tenant today",
    );
}

#[test]
fn tables_that_are_not_ours_are_refused() {
    let world = World::of_cells(&["a", "b"]);
    let check = |text: &str, expected: &str| {
        let table = cellgate_table::parse(text.as_bytes()).unwrap();
        let reported = roll_back(&world, &table);
        assert_eq!(
            reported,
            format!("the table cannot be restored: {expected}")
        );
    };
    let text = |head: &str, cell: &str| {
        format!(
            "format: 1\n{head}\ncells: {{ {cell}: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}] }} }}\nslots: {{ {cell}: [\"0-63\"] }}\n"
        )
    };
    check(
        &text("hash: { seed: 0, slots: 64 }", "a"),
        "it has no generation",
    );
    let head = "generation: 1\nhash: { seed: 1, slots: 64 }";
    check(&text(head, "a"), "it hashes otherwise than today");
    let head = "generation: 1\nhash: { seed: 0, slots: 64 }";
    check(&text(head, "x"), "there is no cell `x` any more");
}
