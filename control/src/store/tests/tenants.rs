//! Tenants are listed and counted, and slots know since when they have their owner.

use super::*;

/// Registers tenants, each with the slot that its key has.
fn register(store: &Store, tenants: &[Tenant]) {
    store
        .change(&by("ann"), 7, |write| {
            let hash = write.read().meta()?.hash;
            for tenant in tenants {
                write.add_tenant(tenant, hash.slot(tenant.key.as_bytes()).get())?;
            }
            write.note("tenant.register", "tenants", &json!({}))?;
            Ok(())
        })
        .unwrap();
}

/// Every tenant that a filter lets through, by pages of `limit`.
fn paged(store: &Store, filter: &TenantFilter, limit: usize) -> Vec<String> {
    let mut filter = filter.clone();
    let mut found = Vec::new();
    loop {
        let page = store.read(|read| read.tenants(&filter, limit)).unwrap();
        assert!(page.tenants.len() <= limit);
        found.extend(page.tenants.iter().map(|tenant| tenant.key.to_string()));
        if !page.has_more {
            return found;
        }
        assert_eq!(page.tenants.len(), limit, "a page with more behind is full");
        filter.after = found.last().cloned();
    }
}

/// Keys that sort, cut and compare in ways of their own: composed and decomposed letters, ligatures, the last code
/// points, signs of `LIKE` and `GLOB`, spaces.
const ODD_KEYS: [&str; 22] = [
    "a",
    "A",
    "a%",
    "a_b",
    "a*",
    "a'b",
    "acme",
    "acme ",
    "acme-2",
    "acme\u{301}",
    "acmé",
    "acm\u{e9}2",
    " acme",
    "ﬁ",
    "ß",
    "İ",
    "語",
    "語\u{10ffff}",
    "語\u{10ffff}\u{10ffff}",
    "語\u{10ffff}\u{10ffff}\u{10ffff}a",
    "\u{fffd}",
    "🏢",
];

#[test]
fn pages_hold_what_the_filter_lets_through() {
    let (_folder, store) = opened();
    let placed = [PlacedBy::Slot, PlacedBy::Override, PlacedBy::Pin];
    let longest = "\u{10ffff}".repeat(64);
    let keys = ODD_KEYS.iter().copied().chain([longest.as_str()]);
    let mut tenants: Vec<Tenant> = keys
        .enumerate()
        .map(|(at, key)| Tenant {
            is_rejected: at % 4 == 0,
            ..tenant(key, ["x", "y"][at % 2], placed[at % 3])
        })
        .collect();
    register(&store, &tenants);
    tenants.sort_by(|left, right| left.key.cmp(&right.key));
    let check = |filter: TenantFilter| {
        let expected: Vec<String> = tenants
            .iter()
            .filter(|tenant| filter.cell.as_ref().is_none_or(|cell| *cell == tenant.cell))
            .filter(|tenant| {
                let prefix = filter.prefix.as_deref().unwrap_or_default();
                tenant.key.as_str().starts_with(prefix)
            })
            .filter(|tenant| filter.placed_by.is_none_or(|it| it == tenant.placed_by))
            .filter(|tenant| filter.is_rejected.is_none_or(|it| it == tenant.is_rejected))
            .filter(|tenant| {
                let after = filter.after.as_deref();
                after.is_none_or(|after| tenant.key.as_str() > after)
            })
            .map(|tenant| tenant.key.to_string())
            .collect();
        for limit in [1, 2, 7, 100] {
            assert_eq!(paged(&store, &filter, limit), expected, "{filter:?}");
        }
        expected.len()
    };
    let prefixes = [None, Some("")].into_iter().chain(
        [
            "a",
            "A",
            "acme",
            "acme ",
            "a%",
            "a_",
            "語",
            "\u{10ffff}",
            "x",
        ]
        .into_iter()
        .map(Some),
    );
    let mut found = 0;
    for prefix in prefixes {
        for after in [None, Some("acme"), Some("語\u{10ffff}")] {
            for (cell, placed_by, is_rejected) in [
                (None, None, None),
                (Some("x"), None, None),
                (None, Some(PlacedBy::Override), None),
                (None, None, Some(true)),
                (Some("y"), Some(PlacedBy::Pin), Some(false)),
            ] {
                found += check(TenantFilter {
                    cell: cell.map(id),
                    prefix: prefix.map(str::to_owned),
                    placed_by,
                    is_rejected,
                    after: after.map(str::to_owned),
                });
            }
        }
    }
    assert!(found > 200, "the filters let only {found} through");
}

#[test]
fn a_tenant_goes_with_its_aliases() {
    let (_folder, store) = opened();
    register(&store, &[tenant("acme", "x", PlacedBy::Slot)]);
    let change = |work: &dyn Fn(&mut Write<'_>) -> Result<(), StorageError>| {
        store
            .change(&by("ann"), 7, |write| {
                work(write)?;
                write.note("test", "acme", &json!({}))?;
                Ok(())
            })
            .unwrap();
    };
    change(&|write| write.add_alias(&key("www"), &key("acme")));
    change(&|write| write.add_alias(&key("shop"), &key("acme")));
    let aliases = || store.read(|read| read.aliases_of(&key("acme"))).unwrap();
    assert_eq!(aliases(), [key("shop"), key("www")]);
    let of = |alias: &str| store.read(|read| read.alias_of(&key(alias))).unwrap();
    assert_eq!((of("www"), of("acme")), (Some(key("acme")), None));
    change(&|write| write.remove_tenant(&key("acme")));
    assert_eq!((aliases(), of("www")), (Vec::new(), None));
    assert_eq!(store.read(|read| read.alias_count()).unwrap(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8, usize, PlacedBy),
    Place(u8, usize, PlacedBy),
    Remove(u8),
    Slots(Vec<usize>),
}

const CELLS: [&str; 3] = ["x", "y", "z"];
const SLOTS: u32 = 8;

fn step() -> impl Strategy<Value = Step> {
    let placed = prop_oneof![
        Just(PlacedBy::Slot),
        Just(PlacedBy::Override),
        Just(PlacedBy::Pin)
    ];
    let at = 0..CELLS.len();
    let spot = (0..12_u8, at.clone(), placed);
    prop_oneof![
        spot.clone()
            .prop_map(|(key, cell, by)| Step::Add(key, cell, by)),
        spot.prop_map(|(key, cell, by)| Step::Place(key, cell, by)),
        (0..12_u8).prop_map(Step::Remove),
        prop::collection::vec(at, SLOTS as usize).prop_map(Step::Slots),
    ]
}

fn map_of(owners: &[usize]) -> SlotMap {
    let ids: Vec<CellId> = owners.iter().map(|at| id(CELLS[*at])).collect();
    SlotMap::of_owners(HashSpec::new(0, SLOTS).unwrap(), &ids)
}

fn carry_out(write: &mut Write<'_>, step: &Step) -> Result<(), Refusal> {
    let spot = |name: u8, cell: usize, placed_by| tenant(&name.to_string(), CELLS[cell], placed_by);
    match step {
        Step::Add(name, cell, placed_by) => {
            let tenant = spot(*name, *cell, *placed_by);
            if write.read().find_tenant(&tenant.key)?.is_none() {
                let hash = write.read().meta()?.hash;
                write.add_tenant(&tenant, hash.slot(tenant.key.as_bytes()).get())?;
            }
        }
        Step::Place(name, cell, placed_by) => {
            write.place_tenant(&spot(*name, *cell, *placed_by))?;
        }
        Step::Remove(name) => write.remove_tenant(&key(&name.to_string()))?,
        Step::Slots(owners) => {
            let (before, after) = (write.read().slots()?, map_of(owners));
            write.put_slots(&after)?;
            write.follow_slots(&before, &after)?;
            write.settle_overrides(&before, &after)?;
        }
    }
    Ok(write.note("test", "test", &json!({}))?)
}

/// What the triggers counted, without the cells that have nobody.
fn counted(store: &Store) -> BTreeMap<CellId, Counts> {
    let mut counts = store.read(|read| read.counts()).unwrap();
    counts.retain(|_, counts| *counts != Counts::default());
    counts
}

fn recounted(store: &Store) -> BTreeMap<CellId, Counts> {
    let page = store.read(|read| read.tenants(&TenantFilter::default(), 1_000));
    let mut counts: BTreeMap<CellId, Counts> = BTreeMap::new();
    for tenant in page.unwrap().tenants {
        let count = counts.entry(tenant.cell).or_default();
        count.tenants += 1;
        if tenant.placed_by != PlacedBy::Slot {
            count.key_bytes += tenant.key.as_bytes().len() as u64;
        }
        match tenant.placed_by {
            PlacedBy::Slot => {}
            PlacedBy::Override => count.overrides += 1,
            PlacedBy::Pin => count.pins += 1,
        }
    }
    counts
}

fn small() -> (TempDir, Store) {
    let (folder, store) = opened();
    store
        .change(&by("ann"), 7, |write| {
            write.put_hash(HashSpec::new(0, SLOTS).unwrap())?;
            write.note("test", "test", &json!({}))?;
            Ok(())
        })
        .unwrap();
    (folder, store)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_counts_are_right(steps in prop::collection::vec(step(), 1..60)) {
        let (_folder, store) = small();
        store.change(&by("ann"), 7, |write| {
            for step in &steps {
                carry_out(write, step)?;
            }
            Ok(())
        }).unwrap();
        prop_assert_eq!(counted(&store), recounted(&store));
    }

    #[test]
    fn a_slot_knows_since_when(maps in prop::collection::vec(prop::collection::vec(0..CELLS.len(), SLOTS as usize), 1..8)) {
        let (_folder, store) = small();
        let mut expected: Vec<Option<(usize, u64)>> = vec![None; SLOTS as usize];
        for owners in &maps {
            let step = Step::Slots(owners.clone());
            let done = store.change(&by("ann"), 7, |write| carry_out(write, &step)).unwrap();
            for (slot, owner) in expected.iter_mut().zip(owners) {
                if slot.is_none_or(|(before, _)| before != *owner) {
                    *slot = Some((*owner, done.revision));
                }
            }
            prop_assert_eq!(store.read(|read| read.slots()).unwrap(), map_of(owners));
            for (slot, expected) in (0..).zip(&expected) {
                let since = store.read(|read| read.slot_since(slot)).unwrap();
                prop_assert_eq!(since, expected.map(|(_, since)| since), "slot {}", slot);
            }
        }
    }
}

#[test]
fn tenants_follow_their_slots() {
    let (_folder, store) = small();
    let names: Vec<String> = (0..40).map(|at| format!("tenant-{at}")).collect();
    let change = |step: Step| store.change(&by("ann"), 7, |write| carry_out(write, &step));
    change(Step::Slots(vec![0; SLOTS as usize])).unwrap();
    let placed = [PlacedBy::Slot, PlacedBy::Override, PlacedBy::Pin];
    let tenants: Vec<Tenant> = (0..)
        .zip(&names)
        .map(|(at, name)| tenant(name, if at % 3 == 0 { "x" } else { "y" }, placed[at % 3]))
        .collect();
    register(&store, &tenants);
    let owners = [0, 1, 1, 0, 2, 2, 0, 1];
    let done = change(Step::Slots(owners.to_vec())).unwrap();
    let mut seen = [0; 4];
    for before in tenants {
        let after = store.read(|read| read.tenant(&before.key)).unwrap();
        let owner = map_of(&owners)
            .owner(HashSpec::new(0, SLOTS).unwrap().slot(before.key.as_bytes()))
            .cloned()
            .unwrap();
        match before.placed_by {
            PlacedBy::Slot => {
                assert_eq!((&after.cell, after.placed_by), (&owner, PlacedBy::Slot));
                let since = if owner == before.cell {
                    1
                } else {
                    done.revision
                };
                assert_eq!(after.since, since);
                seen[0] += usize::from(owner != before.cell);
            }
            PlacedBy::Override => {
                let placed_by = if owner == before.cell {
                    PlacedBy::Slot
                } else {
                    PlacedBy::Override
                };
                assert_eq!((after.cell, after.placed_by), (before.cell, placed_by));
                seen[1] += usize::from(placed_by == PlacedBy::Slot);
                seen[2] += usize::from(placed_by == PlacedBy::Override);
            }
            PlacedBy::Pin => {
                seen[3] += usize::from(owner == before.cell);
                assert_eq!(after, before);
            }
        }
    }
    assert!(
        seen.iter().all(|count| *count > 0),
        "each case occurs: {seen:?}"
    );
}

#[test]
fn the_reason_of_a_pin_is_that_of_the_present_one() {
    let (_folder, store) = opened();
    let note = |action: &str, subject: &str, reason: Option<&str>| {
        let request = Request {
            reason: reason.map(str::to_owned),
            ..by("ann")
        };
        let done = store.change(&request, 7, |write| {
            Ok::<_, Refusal>(write.note(action, subject, &json!({}))?)
        });
        done.unwrap().revision
    };
    let check = |since: u64, expected: Option<&str>| {
        let found = store.read(|read| read.reason_of_pin("acme", since));
        assert_eq!(found.unwrap().as_deref(), expected, "since {since}");
    };
    let first = note("tenant.register", "acme", Some("registered with a pin"));
    check(first, Some("registered with a pin"));
    note("tenant.unpin", "acme", None);
    note("tenant.pin", "acme", Some("a contract"));
    check(first, Some("a contract"));
    // Further aliases are registered too, and are no pin.
    note("tenant.register", "acme", Some("a new name"));
    check(first, Some("a contract"));
    note("tenant.remove", "acme", Some("has left"));
    let many = note("tenant.register", "tenants", None);
    check(many, None);
    let rolled_back = note("table.roll_back", "table", Some("a mistake"));
    check(rolled_back, None);
}
