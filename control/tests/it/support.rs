//! A daemon without its tasks: a database, and the publisher of its table.

use std::{cell::Cell as Counter, collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use cellgate_control::{
    change::{
        MovePermission, Rules,
        cells::{self, NewCell},
        slots,
        tenants::{self, NewTenant},
    },
    model::{Cell, CellState, SlotMap, Tenant, cell::EndpointSpec},
    publish::{
        Outcome, Publisher, TableRules,
        place::{self, Place},
    },
    refusal::Refusal,
    store::{Done, Request, Store, TenantFilter, Write},
};
use cellgate_process::lock::Lock;
use cellgate_table::{CellId, HashSpec, Table, TenantKey, accept::MoveLimits};
use serde::Serialize;
use tempfile::TempDir;

/// Slots of the tables here.
pub(crate) const SLOTS: u32 = 64;
/// Tenants that may move in one table without permission.
pub(crate) const TENANTS_MAX: usize = 3;

pub(crate) struct World {
    folder: TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) rules: Rules,
    /// Counts the changes that were asked for: the time of the next one.
    clock_ms: Counter<i64>,
}

/// All that is intended, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Intent {
    pub(crate) revision: u64,
    pub(crate) cells: BTreeMap<CellId, Cell>,
    pub(crate) slots: SlotMap,
    pub(crate) tenants: BTreeMap<TenantKey, Tenant>,
    pub(crate) aliases: BTreeMap<TenantKey, TenantKey>,
}

pub(crate) fn id(text: &str) -> CellId {
    CellId::new(text).unwrap()
}

pub(crate) fn key(text: &str) -> TenantKey {
    TenantKey::new(text).unwrap()
}

/// A cell to add: `static`, without limits, with data.
pub(crate) fn new_cell(name: &str) -> NewCell {
    let address = "127.0.0.1:9001".to_owned();
    NewCell {
        id: name.to_owned(),
        provider: cells::STATIC.to_owned(),
        params: BTreeMap::new(),
        endpoints: vec![EndpointSpec { address, weight: 1 }],
        max_in_flight: None,
        tunnels_max: None,
        connections_max: None,
        share: None,
        health_check: None,
        tls: None,
        labels: BTreeMap::new(),
        stateless: false,
        capacity: BTreeMap::new(),
    }
}

pub(crate) fn new_tenant(name: &str) -> NewTenant {
    NewTenant {
        key: name.to_owned(),
        ..NewTenant::default()
    }
}

pub(crate) fn new_tenant_in(name: &str, cell: &str) -> NewTenant {
    NewTenant {
        cell: Some(cell.to_owned()),
        ..new_tenant(name)
    }
}

impl World {
    /// An empty database, for a small table.
    pub(crate) fn new() -> Self {
        let world = Self::untouched();
        world.change(|write| Ok(write.put_hash(HashSpec::new(0, SLOTS).unwrap())?));
        world
    }

    /// A database in which nothing was ever changed.
    pub(crate) fn untouched() -> Self {
        // In memory where that can be: every change is synced, and disks are not what is tested here.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let store = Store::open(&folder.path().join("control.db")).unwrap();
        Self {
            folder,
            store: Arc::new(store),
            rules: Rules {
                move_limits: MoveLimits {
                    moved_percent_max: 25.0,
                    moved_overrides_max: TENANTS_MAX,
                    ..MoveLimits::default()
                },
                names_all_tenants: false,
                providers: vec![cells::STATIC.to_owned(), "exec".to_owned()],
            },
            clock_ms: Counter::new(1),
        }
    }

    /// Active cells, given as `name` or `name:stateless`, that share the slots.
    pub(crate) fn of_cells(names: &[&str]) -> Self {
        let world = Self::new();
        for name in names {
            world.add_active(name);
        }
        world.change(|write| slots::spread_first(write).map(drop));
        world
    }

    pub(crate) fn add_active(&self, name: &str) {
        let (name, kind) = name.split_once(':').unwrap_or((name, ""));
        let new = NewCell {
            stateless: kind == "stateless",
            ..new_cell(name)
        };
        self.change(|write| cells::add(write, &new, &self.rules).map(drop));
        self.change(|write| cells::warmed(write, &id(name), Ok(())));
    }

    pub(crate) fn table(&self) -> PathBuf {
        self.folder.path().join("table.yaml")
    }

    pub(crate) fn publisher(&self) -> Publisher {
        let lock = Lock::take(&self.folder.path().join("table.lock"), "a test").unwrap();
        let rules = TableRules {
            path: self.table(),
            move_limits: self.rules.move_limits,
            kept_max: 4,
            names_all_tenants: self.rules.names_all_tenants,
        };
        let target = place::target_of(&rules.path).unwrap();
        let place = Place::new(&rules.path, target, lock);
        Publisher::new(rules, Arc::clone(&self.store), place)
    }

    /// Publishes, which has to work, and reads the file.
    pub(crate) fn published(&self) -> Table {
        let publisher = self.publisher();
        let outcome = publisher.publish(&[]);
        assert_ne!(outcome, Outcome::Blocked, "{:?}", publisher.status());
        cellgate_table::parse(&fs::read(self.table()).unwrap()).unwrap()
    }

    /// A change with a reason, whether it notes what it does or not.
    pub(crate) fn try_change<T: Serialize>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, Refusal>,
    ) -> Result<Done, Refusal> {
        let request = Request {
            actor: "ann".to_owned(),
            reason: Some("a test".to_owned()),
            ..Request::default()
        };
        self.clock_ms.set(self.clock_ms.get() + 1);
        self.store.change(&request, self.clock_ms.get(), work)
    }

    /// A change that has to work. It is noted once more, so that steps that note nothing themselves count.
    pub(crate) fn change(&self, work: impl FnOnce(&mut Write<'_>) -> Result<(), Refusal>) {
        let done = self.try_change(|write| {
            work(write)?;
            Ok(write.note("test", "test", &serde_json::json!({}))?)
        });
        done.unwrap();
    }

    /// How a change ends, in words: `done` or why it was refused.
    pub(crate) fn reported<T: Serialize>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, Refusal>,
    ) -> String {
        let before = self.intent();
        match self.try_change(work) {
            Ok(_) => "done".to_owned(),
            Err(refusal) => {
                assert_eq!(self.intent(), before, "a refused change leaves nothing");
                refusal.to_string()
            }
        }
    }

    pub(crate) fn register(&self, batch: &[NewTenant]) {
        self.change(|write| register(write, batch, &self.rules));
    }

    pub(crate) fn drain(&self, cell: &str) {
        let cell = id(cell);
        self.change(|write| {
            cells::drain(write, &cell, MovePermission::Allowed, &self.rules).map(drop)
        });
    }

    pub(crate) fn intent(&self) -> Intent {
        let intent: Result<Intent, Refusal> = self.store.read(|read| {
            let page = read.tenants(&TenantFilter::default(), 1_000_000)?;
            assert!(!page.has_more);
            let cells = read.cells()?.into_iter();
            let tenants = page.tenants.into_iter();
            Ok(Intent {
                revision: read.meta()?.revision,
                // What a table has named is no intent: publishing notes it, not a change.
                cells: cells
                    .map(|cell| Cell {
                        was_in_table: false,
                        ..cell
                    })
                    .map(|cell| (cell.id.clone(), cell))
                    .collect(),
                slots: read.slots()?,
                tenants: tenants.map(|it| (it.key.clone(), it)).collect(),
                aliases: read.aliases()?,
            })
        });
        intent.unwrap()
    }
}

pub(crate) fn register(
    write: &mut Write<'_>,
    batch: &[NewTenant],
    rules: &Rules,
) -> Result<(), Refusal> {
    let registered = tenants::register(write, batch, rules);
    registered.map(drop).map_err(|(_, refusal)| refusal)
}

impl Intent {
    /// The owner of a tenant's slot.
    pub(crate) fn slot_owner(&self, tenant: &TenantKey) -> Option<&CellId> {
        self.slots.owner(self.slots.hash().slot(tenant.as_bytes()))
    }

    pub(crate) fn state_of(&self, cell: &CellId) -> CellState {
        self.cells[cell].state
    }
}
