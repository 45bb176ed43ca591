//! Whatever is asked for, in whatever order: what stands is sound, and each table is one that proxies take after the one
//! before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use cellgate_control::{
    change::{
        MovePermission, Rules,
        cells::{self, CellPatch, NewCell},
        restore, slots,
        tenants::{self, NewTenant},
    },
    model::{CellState, PlacedBy, cell::EndpointSpec},
    publish::{Blocked, Outcome, Publisher},
    refusal::Refusal,
    store::{Counts, Write},
};
use cellgate_table::{
    CellId, Digest, Table, TenantKey, accept, diff::diff, limits::HISTORY_STEPS_MAX,
};
use proptest::{prelude::*, test_runner::RngSeed};

use crate::support::{Intent, World, id, key, new_cell, register};

/// Something that is asked for. Cells and keys are numbers, few enough to meet again.
#[derive(Clone, Debug)]
enum Step {
    Add {
        cell: u8,
        is_static: bool,
        is_stateless: bool,
        tenants_max: Option<u8>,
    },
    Provider {
        works: bool,
    },
    Warmed {
        cell: u8,
        is_healthy: bool,
    },
    Spread,
    Register(Vec<New>),
    Pin {
        tenant: u8,
        cell: u8,
        is_without_data: bool,
    },
    Unpin(u8),
    Reject(u8, bool),
    Alias(u8, u8),
    Unalias(u8, u8),
    Forget(u8),
    Update(u8, u16),
    Drain(u8, MovePermission),
    Activate(u8),
    Retry(u8),
    Remove(u8),
    ForceRemove(u8, MovePermission),
    Plan(MovePermission),
    RollBack(usize, MovePermission),
    Import,
    AllowMove,
    Restart,
}

#[derive(Clone, Debug)]
struct New {
    tenant: u8,
    cell: Option<u8>,
    is_pinned: bool,
    is_rejected: bool,
    aliases: Vec<u8>,
}

const CELLS: u8 = 4;
const KEYS: u8 = 14;

fn cell(number: u8) -> CellId {
    id(&format!("cell-{number}"))
}

fn name(number: u8) -> String {
    format!("key {number}")
}

fn named(number: u8) -> TenantKey {
    key(&name(number))
}

fn permission() -> impl Strategy<Value = MovePermission> {
    prop::bool::weighted(0.7).prop_map(MovePermission::of)
}

fn new() -> impl Strategy<Value = New> {
    let cell = prop::option::weighted(0.4, 0..CELLS);
    let aliases = prop::collection::vec(0..KEYS, 0..2);
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (0..KEYS, cell, flags, aliases).prop_map(|(tenant, cell, (pin, is_rejected), aliases)| New {
        tenant,
        is_pinned: pin && cell.is_some(),
        cell,
        is_rejected,
        aliases,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (cell, tenant) = (0..CELLS, 0..KEYS);
    let add = (
        cell.clone(),
        prop::bool::weighted(0.7),
        any::<bool>(),
        prop::option::weighted(0.3, 0..6_u8),
    );
    prop_oneof![
        6 => add.prop_map(|(cell, is_static, is_stateless, tenants_max)| {
            Step::Add { cell, is_static, is_stateless, tenants_max }
        }),
        3 => prop::bool::weighted(0.8).prop_map(|works| Step::Provider { works }),
        6 => (cell.clone(), prop::bool::weighted(0.9))
            .prop_map(|(cell, is_healthy)| Step::Warmed { cell, is_healthy }),
        3 => Just(Step::Spread),
        9 => prop::collection::vec(new(), 1..6).prop_map(Step::Register),
        5 => (tenant.clone(), cell.clone(), any::<bool>()).prop_map(|(tenant, cell, is_without_data)| {
            Step::Pin { tenant, cell, is_without_data }
        }),
        2 => tenant.clone().prop_map(Step::Unpin),
        2 => (tenant.clone(), any::<bool>()).prop_map(|(tenant, yes)| Step::Reject(tenant, yes)),
        3 => (tenant.clone(), tenant.clone()).prop_map(|(tenant, alias)| Step::Alias(tenant, alias)),
        1 => (tenant.clone(), tenant.clone()).prop_map(|(tenant, alias)| Step::Unalias(tenant, alias)),
        2 => tenant.prop_map(Step::Forget),
        2 => (cell.clone(), 9_001..9_004_u16).prop_map(|(cell, port)| Step::Update(cell, port)),
        6 => (cell.clone(), permission()).prop_map(|(cell, permission)| Step::Drain(cell, permission)),
        3 => cell.clone().prop_map(Step::Activate),
        1 => cell.clone().prop_map(Step::Retry),
        3 => cell.clone().prop_map(Step::Remove),
        2 => (cell, permission()).prop_map(|(cell, permission)| Step::ForceRemove(cell, permission)),
        4 => permission().prop_map(Step::Plan),
        4 => (0..4_usize, permission()).prop_map(|(at, permission)| Step::RollBack(at, permission)),
        1 => Just(Step::Import),
        3 => Just(Step::AllowMove),
        2 => Just(Step::Restart),
    ]
}

/// Fleets are rarely built by chance alone, so each sequence begins with some way to get one, or with none.
fn sequence() -> impl Strategy<Value = Vec<Step>> {
    let built = |count: u8| {
        move |kinds: (bool, bool, bool)| {
            let mut steps = Vec::new();
            for cell in 0..count {
                let is_stateless = if cell % 2 == 0 { kinds.0 } else { kinds.1 };
                steps.push(Step::Add {
                    cell,
                    is_static: kinds.2,
                    is_stateless,
                    tenants_max: None,
                });
                steps.push(Step::Provider { works: true });
                steps.push(Step::Warmed {
                    cell,
                    is_healthy: true,
                });
            }
            steps.push(Step::Spread);
            steps
        }
    };
    let start = prop_oneof![
        1 => Just(Vec::new()),
        2 => Just(vec![Step::Import]),
        3 => any::<(bool, bool, bool)>().prop_map(built(2)),
        3 => any::<(bool, bool, bool)>().prop_map(built(3)),
    ];
    (start, prop::collection::vec(step(), 15..25)).prop_map(|(mut steps, more)| {
        steps.extend(more);
        steps
    })
}

const IMPORTED: &str = "\
format: 1
generation: 40
hash: { seed: 0, slots: 64 }
cells:
  cell-0: { endpoints: [{ address: \"127.0.0.1:9001\" }] }
  cell-1: { endpoints: [{ address: \"127.0.0.1:9002\" }], max_in_flight: 7 }
  cell-2: { endpoints: [{ address: \"127.0.0.1:9003\" }] }
slots:
  cell-0: [\"0-9\", \"30-39\"]
  cell-1: [\"10-29\", \"40-63\"]
overrides: { \"key 0\": cell-0, \"key 1\": cell-1, \"key 2\": cell-2 }
aliases: { \"key 3\": \"key 0\", \"key 4\": \"key 5\" }
rejects: [\"key 2\", \"key 6\"]
";

/// Carries a step out.
fn carry_out(world: &World, write: &mut Write<'_>, step: &Step) -> Result<(), Refusal> {
    let rules = &world.rules;
    match step {
        Step::Add {
            cell: number,
            is_static,
            is_stateless,
            tenants_max,
        } => {
            let mut new = NewCell {
                stateless: *is_stateless,
                ..new_cell(cell(*number).as_str())
            };
            if let Some(max) = tenants_max {
                new.capacity = BTreeMap::from([("tenants".to_owned(), f64::from(*max))]);
            }
            if !is_static {
                "exec".clone_into(&mut new.provider);
                new.endpoints.clear();
            }
            cells::add(write, &new, rules).map(drop)
        }
        Step::Provider { works } => answer(write, *works),
        Step::Warmed {
            cell: number,
            is_healthy,
        } => {
            let outcome = if *is_healthy {
                Ok(())
            } else {
                Err("ill".to_owned())
            };
            cells::warmed(write, &cell(*number), outcome)
        }
        Step::Spread => slots::spread_first(write).map(drop),
        Step::Update(number, port) => {
            let address = format!("127.0.0.1:{port}");
            let patch = CellPatch {
                endpoints: Some(vec![EndpointSpec { address, weight: 1 }]),
                stateless: Some(port % 2 == 0),
                ..CellPatch::default()
            };
            cells::update(write, &cell(*number), &patch).map(drop)
        }
        Step::Drain(number, limits) => {
            cells::drain(write, &cell(*number), *limits, rules).map(drop)
        }
        Step::Activate(number) => cells::activate(write, &cell(*number)).map(drop),
        Step::Retry(number) => cells::retry(write, &cell(*number)).map(drop),
        Step::Remove(number) => cells::remove(write, &cell(*number)).map(drop),
        Step::ForceRemove(number, limits) => {
            cells::force_remove(write, &cell(*number), *limits, rules).map(drop)
        }
        Step::Plan(limits) => slots::apply_plan(write, *limits, rules).map(drop),
        Step::RollBack(at, limits) => roll_back(write, *at, *limits, rules),
        Step::Import => {
            let table = cellgate_table::parse(IMPORTED.as_bytes()).unwrap();
            restore::import(write, &table)
        }
        Step::AllowMove => {
            write.allow_move();
            Ok(write.note("table.allow_move", "table", &serde_json::json!({}))?)
        }
        Step::Restart => Ok(()),
        _ => carry_out_for_tenants(world, write, step),
    }
}

fn carry_out_for_tenants(world: &World, write: &mut Write<'_>, step: &Step) -> Result<(), Refusal> {
    let rules = &world.rules;
    match step {
        Step::Register(batch) => {
            let batch: Vec<NewTenant> = batch.iter().map(new_tenant).collect();
            register(write, &batch, rules)
        }
        Step::Pin {
            tenant,
            cell: number,
            is_without_data,
        } => tenants::pin(write, &named(*tenant), &cell(*number), *is_without_data).map(drop),
        Step::Unpin(tenant) => tenants::unpin(write, &named(*tenant)).map(drop),
        Step::Reject(tenant, yes) => tenants::set_rejected(write, &named(*tenant), *yes).map(drop),
        Step::Alias(tenant, alias) => {
            tenants::add_alias(write, &named(*tenant), &named(*alias)).map(drop)
        }
        Step::Unalias(tenant, alias) => {
            tenants::remove_alias(write, &named(*tenant), &named(*alias)).map(drop)
        }
        Step::Forget(tenant) => tenants::remove(write, &named(*tenant), rules).map(drop),
        _ => unreachable!("{step:?} is not about a tenant"),
    }
}

/// What the oldest open operation of a provider comes to.
fn answer(write: &mut Write<'_>, works: bool) -> Result<(), Refusal> {
    let open = write.read().open_operations()?;
    let Some(operation) = open.first() else {
        return Ok(());
    };
    let endpoints = new_cell("any").endpoints;
    match (works, &*operation.verb) {
        (true, "provision") => cells::provisioned(write, &operation.id, endpoints, ""),
        (true, _) => cells::taken_down(write, &operation.id, ""),
        (false, _) => cells::provider_failed(write, &operation.id, "", "out of luck"),
    }
}

/// Back to a kept table, the newest being number 0.
fn roll_back(
    write: &mut Write<'_>,
    at: usize,
    permission: MovePermission,
    rules: &Rules,
) -> Result<(), Refusal> {
    let Some(kept) = write.read().tables()?.into_iter().nth(at) else {
        return Ok(());
    };
    let bytes = write.read().table_content(kept.generation)?;
    let table = cellgate_table::parse(&bytes).unwrap();
    restore::roll_back(write, &table, permission, rules).map(drop)
}

fn new_tenant(new: &New) -> NewTenant {
    NewTenant {
        key: name(new.tenant),
        cell: new.cell.map(|number| cell(number).to_string()),
        pin: new.is_pinned,
        rejected: new.is_rejected,
        aliases: new.aliases.iter().map(|alias| name(*alias)).collect(),
    }
}

/// What stands is sound in itself.
fn check_sound(world: &World, intent: &Intent) {
    for (owner, count) in intent.slots.counts() {
        let state = intent.state_of(owner);
        assert!(state.is_in_table(), "{owner}, {state}, owns {count} slots");
    }
    let mut counts: BTreeMap<CellId, Counts> = BTreeMap::new();
    for (key, tenant) in &intent.tenants {
        let state = intent.state_of(&tenant.cell);
        assert!(
            state.is_in_table(),
            "{key} lives in {}, {state}",
            tenant.cell
        );
        if tenant.placed_by == PlacedBy::Slot {
            assert_eq!(intent.slot_owner(key), Some(&tenant.cell), "{key}");
        }
        assert!(!intent.aliases.contains_key(key), "{key} is an alias too");
        let count = counts.entry(tenant.cell.clone()).or_default();
        count.tenants += 1;
        count.overrides += u64::from(tenant.placed_by == PlacedBy::Override);
        count.pins += u64::from(tenant.placed_by == PlacedBy::Pin);
        if tenant.placed_by != PlacedBy::Slot {
            count.key_bytes += key.as_bytes().len() as u64;
        }
    }
    for (alias, tenant) in &intent.aliases {
        assert!(intent.tenants.contains_key(tenant), "{alias} of {tenant}");
    }
    let mut counted = world.store.read(|read| read.counts()).unwrap();
    counted.retain(|_, count| *count != Counts::default());
    assert_eq!(counted, counts);
    for (cell, view) in &intent.cells {
        let tenants = counts.get(cell).map_or(0, |count| count.tenants);
        assert_eq!(view.tenants, tenants, "{cell}");
        let is_empty = tenants == 0 && intent.slots.count_of(cell) == 0;
        let is_draining = view.state == CellState::Draining;
        assert!(!(is_draining && is_empty), "{cell} drains, and is empty");
    }
}

/// What a step may move, and where to.
fn check_moves(step: &Step, before: &Intent, after: &Intent) {
    let is_import = matches!(step, Step::Import);
    let is_rollback = matches!(step, Step::RollBack(..));
    let takes = |cell: &CellId| {
        // Seen before the step or after it: a cell that a step takes back, or gives up, may take what it does then.
        let states = [before, after].map(|intent| intent.cells.get(cell).map(|cell| cell.state));
        states.contains(&Some(CellState::Active)) || is_rollback
    };
    let may_leave_data = match step {
        Step::Pin {
            is_without_data, ..
        } => *is_without_data,
        Step::ForceRemove(..) | Step::RollBack(..) => true,
        _ => false,
    };
    for (key, tenant) in &after.tenants {
        let was = before.tenants.get(key);
        let from = was
            .map(|was| &was.cell)
            .filter(|from| **from != tenant.cell);
        if was.is_none() || from.is_some() {
            assert!(takes(&tenant.cell), "{key} goes to {}", tenant.cell);
            assert_eq!(tenant.since, after.revision, "{key}");
        } else if let Some(was) = was {
            assert_eq!(tenant.since, was.since, "{key} stays");
        }
        if let Some(from) = from {
            let is_stateless = before.cells[from].is_stateless;
            assert!(is_stateless || may_leave_data, "{key} leaves {from}");
        }
    }
    if is_import || before.slots.is_unassigned() {
        return;
    }
    let owners = before.slots.owners().zip(after.slots.owners());
    let moved: BTreeSet<(&CellId, &CellId)> = owners.filter(|(from, to)| from != to).collect();
    for (from, to) in moved {
        assert!(takes(to), "slots go to {to}");
        let is_stateless = before.cells[from].is_stateless;
        assert!(is_stateless || may_leave_data, "slots leave {from}");
    }
}

/// The table says where everybody lives.
/// The newest step of a table's history leads from the table before it; the others are those of that table.
fn check_history(old: &Table, old_bytes: &[u8], new: &Table) {
    let (last, earlier) = new
        .history()
        .split_last()
        .expect("there was a table before");
    assert_eq!(last.digest, Digest::of(old_bytes));
    assert_eq!(Some(last.generation), old.generation());
    assert!(old.history().ends_with(earlier));
    assert!(earlier.len() == old.history().len() || earlier.len() == HISTORY_STEPS_MAX - 1);
    let diff = diff(old, new);
    assert!(last.moved_slots_percent + 1e-9 >= diff.moved_share * 100.0);
    assert!(last.moved_slots_percent <= diff.moved_share * 100.0 + 0.0001);
    assert_eq!(last.moved_overrides, diff.tenant_moves.len());
}

fn check_homes(intent: &Intent, table: &Table) {
    for (key, tenant) in &intent.tenants {
        let home = table.home_of(key.as_bytes());
        assert_eq!(table.cell(home.cell).id(), &tenant.cell, "{key}");
        assert_eq!(home.is_rejected, tenant.is_rejected, "{key}");
    }
    for (alias, tenant) in &intent.aliases {
        let home = table.home_of(alias.as_bytes());
        assert_eq!(home.tenant, tenant.as_bytes(), "{alias}");
        assert_eq!(table.cell(home.cell).id(), &intent.tenants[tenant].cell);
    }
}

struct Run {
    world: World,
    publisher: Option<Publisher>,
    intent: Intent,
    /// The bytes in the file, and what they say.
    file: Option<(Vec<u8>, Table)>,
}

impl Run {
    fn new(names_all_tenants: bool) -> Self {
        let mut world = World::new();
        world.rules.names_all_tenants = names_all_tenants;
        Self {
            publisher: Some(world.publisher()),
            intent: world.intent(),
            file: None,
            world,
        }
    }

    fn take(&mut self, step: &Step) {
        let done = self
            .world
            .try_change(|write| carry_out(&self.world, write, step));
        let before = std::mem::replace(&mut self.intent, self.world.intent());
        match done {
            Ok(done) if done.is_change => {
                assert!(self.intent.revision > before.revision);
                assert_eq!(done.revision, self.intent.revision);
            }
            Ok(_) => assert_eq!(self.intent, before, "what is no change changes nothing"),
            Err(Refusal::Storage(error)) => panic!("{error}"),
            Err(refusal) => assert_eq!(self.intent, before, "refused: {refusal}"),
        }
        check_sound(&self.world, &self.intent);
        check_moves(step, &before, &self.intent);
        if matches!(step, Step::Restart) {
            self.publisher = None;
        }
        self.publish();
    }

    fn publish(&mut self) {
        let world = &self.world;
        let publisher = self.publisher.get_or_insert_with(|| world.publisher());
        let outcome = publisher.publish(&[]);
        let status = publisher.status();
        let is_expected = matches!(
            status.blocked,
            None | Some(Blocked::NoTable | Blocked::MovesTooMuch(_))
        );
        assert!(is_expected, "{status:?}");
        assert_eq!(status.blocked.is_some(), outcome == Outcome::Blocked);
        let Ok(bytes) = fs::read(self.world.table()) else {
            assert_eq!(status.blocked, Some(Blocked::NoTable));
            return;
        };
        let table = cellgate_table::parse(&bytes).unwrap();
        let generation = table.generation().unwrap();
        if let Some((old_bytes, old)) = &self.file {
            let current = accept::Current {
                generation: old.generation().unwrap(),
                digest: Digest::of(old_bytes),
                other_digests: &[],
                table: old,
            };
            let judged = accept::judge(&table, Some(current), &self.world.rules.move_limits);
            let is_new = *old_bytes != bytes;
            let taken = judged.map(|verdict| verdict.map(|verdict| verdict.generation));
            assert_eq!(taken, Ok(is_new.then_some(generation)));
            if is_new {
                check_history(old, old_bytes, &table);
            }
            assert_eq!(matches!(outcome, Outcome::Published(_)), is_new);
        }
        if outcome != Outcome::Blocked {
            check_homes(&self.intent, &table);
        }
        self.file = Some((bytes, table));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_table_follows_on_the_one_before(names_all_tenants in any::<bool>(), steps in sequence()) {
        let mut run = Run::new(names_all_tenants);
        for step in &steps {
            run.take(step);
        }
    }
}
