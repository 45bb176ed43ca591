use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path};

use cellgate_process::lock::Lock;
use cellgate_table::{self as table, CellId, HashSpec, TenantKey};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    change::{
        Rules,
        cells::{self, NewCell},
        slots,
        tenants::{self, NewTenant},
    },
    model::{SlotMap, cell::EndpointSpec},
    store::{Request, TableState, Write},
};

mod crash;
mod files;
mod permission;

/// Tenants that may move in one table without permission.
const TENANTS_MAX: usize = 3;
const SLOTS: u32 = 100;

/// A daemon's database and its table's folder.
struct Home {
    folder: TempDir,
    store: Arc<Store>,
}

impl Home {
    /// Nothing but a hash.
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("control.db")).unwrap();
        let home = Self {
            folder,
            store: Arc::new(store),
        };
        home.change(|write| Ok(write.put_hash(HashSpec::new(0, SLOTS).unwrap())?));
        home
    }

    /// Two cells, each with half of the slots.
    fn new() -> Self {
        let home = Self::empty();
        home.change(|write| {
            for name in ["a", "b"] {
                cells::add(write, &new_cell(name), &rules())?;
                cells::warmed(write, &id(name), Ok(()))?;
            }
            slots::spread_first(write).map(drop)
        });
        home
    }

    fn table(&self) -> PathBuf {
        self.folder.path().join("table.yaml")
    }

    fn place_at(&self, path: &Path) -> Place {
        let lock = Lock::take(&self.folder.path().join("table.lock"), "a test").unwrap();
        Place::new(path, place::target_of(path).unwrap(), lock)
    }

    fn publisher(&self) -> Publisher {
        let rules = TableRules {
            path: self.table(),
            move_limits: rules().move_limits,
            kept_max: 5,
            names_all_tenants: false,
        };
        let place = self.place_at(&rules.path);
        Publisher::new(rules, Arc::clone(&self.store), place)
    }

    fn change(&self, work: impl FnOnce(&mut Write<'_>) -> Result<(), Refusal>) -> u64 {
        let request = Request::of_daemon("test");
        let done = self.store.change(&request, clock::now_ms(), |write| {
            work(write)?;
            Ok(write.note("test", "test", &json!({}))?)
        });
        done.unwrap().revision
    }

    fn reject(&self, name: &str, is_rejected: bool) -> u64 {
        self.change(|write| tenants::set_rejected(write, &key(name), is_rejected).map(drop))
    }

    fn register(&self, batch: &[NewTenant]) -> u64 {
        self.change(|write| {
            let registered = tenants::register(write, batch, &rules());
            registered.map(drop).map_err(|(_, refusal)| refusal)
        })
    }

    /// The slots before this one are a's, the others b's.
    fn cut_at(&self, border: u32) -> u64 {
        self.change(|write| {
            let (a, b) = (id("a"), id("b"));
            let owners = (0..SLOTS).map(|slot| if slot < border { &a } else { &b });
            let map = SlotMap::of_owners(HashSpec::new(0, SLOTS).unwrap(), owners);
            Ok(write.put_slots(&map)?)
        })
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.table()).unwrap()
    }

    fn parsed(&self) -> Table {
        table::parse(&self.bytes()).unwrap()
    }

    /// The tables on record, newest first, with whether their file is known to be in its place.
    fn recorded(&self) -> Vec<(u64, bool)> {
        let kept = self.store.read(|read| read.tables()).unwrap();
        kept.iter()
            .map(|table| (table.generation, table.state == TableState::Published))
            .collect()
    }
}

fn rules() -> Rules {
    Rules {
        move_limits: MoveLimits {
            moved_percent_max: 25.0,
            moved_overrides_max: TENANTS_MAX,
            ..MoveLimits::default()
        },
        names_all_tenants: false,
        providers: vec!["static".to_owned()],
    }
}

fn id(text: &str) -> CellId {
    CellId::new(text).unwrap()
}

fn key(text: &str) -> TenantKey {
    TenantKey::new(text).unwrap()
}

fn new_cell(name: &str) -> NewCell {
    let address = "127.0.0.1:9001".to_owned();
    NewCell {
        id: name.to_owned(),
        provider: "static".to_owned(),
        params: BTreeMap::new(),
        endpoints: vec![EndpointSpec { address, weight: 1 }],
        max_in_flight: None,
        tunnels_max: None,
        connections_max: None,
        share: None,
        health_check: None,
        tls: None,
        labels: BTreeMap::new(),
        stateless: true,
        capacity: BTreeMap::new(),
    }
}

/// Tenants that live away from their slots, and who each live in the other cell than their slot would say.
fn away(names: impl IntoIterator<Item = String>) -> Vec<NewTenant> {
    let hash = HashSpec::new(0, SLOTS).unwrap();
    let new = |name: String| {
        let is_at_home_in_a = hash.slot(name.as_bytes()).get() < SLOTS / 2;
        NewTenant {
            key: name,
            cell: Some(if is_at_home_in_a { "b" } else { "a" }.to_owned()),
            ..NewTenant::default()
        }
    };
    names.into_iter().map(new).collect()
}

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|at| format!("tenant-{at}"))
}

/// Checks that the file, the records and the status say the same.
fn check_agreement(home: &Home, publisher: &Publisher, generation: u64) {
    let bytes = home.bytes();
    let table = table::parse(&bytes).unwrap();
    assert_eq!(table.generation().unwrap().get(), generation);
    let kept = home.store.read(|read| read.tables()).unwrap();
    assert_eq!(
        (kept[0].generation, kept[0].state),
        (generation, TableState::Published)
    );
    assert_eq!(kept[0].digest, digest_of(&bytes));
    let content = home.store.read(|read| read.table_content(generation));
    assert_eq!(content.unwrap(), bytes);
    let status = publisher.status();
    assert_eq!(status.generation, Some(generation));
    assert_eq!(status.digest, Some(digest_of(&bytes)));
    assert_eq!(status.blocked, None);
    let (in_force, content) = publisher.published().unwrap();
    assert_eq!((in_force, &content[..]), (generation, &bytes[..]));
    let (_, parts) = home.store.read(|read| publisher.gather(read)).unwrap();
    let intended = render(&parts, Generation::FIRST, false).unwrap();
    assert!(table.same_content(&intended.table), "it says what is meant");
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().display().to_string())
        .filter(|name| !name.starts_with("control.db"))
        .collect();
    names.sort();
    names
}

#[test]
fn the_first_table() {
    let home = Home::empty();
    let publisher = home.publisher();
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    assert_eq!(publisher.status().blocked, Some(Blocked::NoTable));
    assert_eq!(names_in(home.folder.path()), ["table.lock"]);
    let generation = home.change(|write| {
        cells::add(write, &new_cell("a"), &rules())?;
        cells::warmed(write, &id("a"), Ok(()))?;
        slots::spread_first(write).map(drop)
    });
    assert_eq!(publisher.publish(&[]), Outcome::Published(generation));
    check_agreement(&home, &publisher, generation);
    assert!(!home.parsed().allow_move());
    assert_eq!(names_in(home.folder.path()), ["table.lock", "table.yaml"]);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let home = Home::new();
    let publisher = home.publisher();
    home.register(&away(["acme".to_owned()]));
    let Outcome::Published(generation) = publisher.publish(&[]) else {
        panic!("{:?}", publisher.status());
    };
    let inode = || fs::metadata(home.table()).unwrap().ino();
    let before = inode();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    // A change that the table does not speak of.
    home.change(|_| Ok(()));
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    // A change that might have been one of the table.
    let touched = home.change(|write| {
        write.touch_table();
        Ok(())
    });
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    assert_eq!(publisher.status().considered, touched);
    // There and back before anybody read it.
    home.reject("acme", true);
    home.reject("acme", false);
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    assert_eq!(inode(), before);
    check_agreement(&home, &publisher, generation);
    let rejected = home.reject("acme", true);
    assert_eq!(publisher.publish(&[]), Outcome::Published(rejected));
    assert_ne!(inode(), before, "a table is never changed in its place");
    check_agreement(&home, &publisher, rejected);
}

#[test]
fn a_table_that_was_rendered_before_a_cell_was_taken_out_is_not_written() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    let before = home.bytes();
    home.change(|write| {
        cells::add(write, &new_cell("c"), &rules())?;
        cells::warmed(write, &id("c"), Ok(()))
    });
    let (meta, parts) = home
        .store
        .read(|read| publisher.gather(read))
        .expect("the database is there");
    let generation = Generation::new(meta.revision).unwrap();
    let rendered = render(&parts, generation, false).unwrap();
    let removed = home.change(|write| {
        let mut cell = write.read().cell(&id("c"))?;
        cell.state = crate::model::CellState::Drained;
        write.touch_table();
        Ok(write.put_cell(&cell)?)
    });
    let was_in_table = || {
        home.store
            .read(|read| read.cell(&id("c")))
            .unwrap()
            .was_in_table
    };
    let taken = publisher.take(&mut publisher.inner(), meta, generation, rendered, &parts);
    assert_eq!(taken, Ok(false));
    assert_eq!(home.bytes(), before);
    assert!(!was_in_table(), "its provider may be asked immediately");
    publisher.publish(&[]);
    assert_eq!(publisher.status().considered, removed);
    assert!(!was_in_table());
}

#[test]
fn a_file_that_is_gone_comes_back() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    let before = home.bytes();
    fs::remove_file(home.table()).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    assert_eq!(home.bytes(), before);
    // Also after a restart, and with something new to say.
    drop(publisher);
    fs::remove_file(home.table()).unwrap();
    home.register(&away(["acme".to_owned()]));
    let publisher = home.publisher();
    let rejected = home.reject("acme", true);
    assert_eq!(publisher.publish(&[]), Outcome::Published(rejected));
    check_agreement(&home, &publisher, rejected);
}

#[test]
fn an_older_table_of_our_own_is_replaced() {
    let home = Home::new();
    let publisher = home.publisher();
    home.register(&away(["acme".to_owned()]));
    publisher.publish(&[]);
    let old = home.bytes();
    let newer = home.reject("acme", true);
    publisher.publish(&[]);
    let new = home.bytes();
    fs::write(home.table(), &old).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    assert_eq!(home.bytes(), new);
    check_agreement(&home, &publisher, newer);
    drop(publisher);
    fs::write(home.table(), &old).unwrap();
    let publisher = home.publisher();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    assert_eq!(home.bytes(), new);
    check_agreement(&home, &publisher, newer);
}

/// The table of some other daemon, which has come further.
const FOREIGN: &str = "\
format: 1
generation: 500
hash: { seed: 0, slots: 4 }
cells:
  x: { endpoints: [{ address: \"127.0.0.1:9009\" }] }
slots:
  x: [\"0-3\"]
";

/// What a history says: generation, digest, percent of the slots, tenants.
fn steps(table: &Table) -> Vec<(u64, String, f64, usize)> {
    let step = |step: &Step| {
        (
            step.generation.get(),
            step.digest.to_string(),
            step.moved_slots_percent,
            step.moved_overrides,
        )
    };
    table.history().iter().map(step).collect()
}

#[test]
fn a_table_says_how_it_came_about() {
    let home = Home::new();
    let mut publisher = home.publisher();
    publisher.publish(&[]);
    assert_eq!(steps(&home.parsed()), []);
    let first = home.parsed().generation().unwrap().get();
    let mut expected = vec![(first, digest_of(&home.bytes()), 0.0, 2)];
    let second = home.register(&away(["acme".to_owned(), "globex".to_owned()]));
    assert_eq!(publisher.publish(&[]), Outcome::Published(second));
    assert_eq!(steps(&home.parsed()), expected);

    // After a restart, which knows it from its records only.
    expected.push((second, digest_of(&home.bytes()), 7.0, 0));
    drop(publisher);
    publisher = home.publisher();
    let third = home.cut_at(57);
    assert_eq!(publisher.publish(&[]), Outcome::Published(third));
    assert_eq!(steps(&home.parsed()), expected);

    // Longer than the tables are kept, and never longer than 64 steps.
    for at in 0..70_u32 {
        home.cut_at(50 + at % 2);
        publisher.publish(&[]);
    }
    let history = steps(&home.parsed());
    assert_eq!(history.len(), 64);
    assert!(!history.contains(&expected[1]));
    check_agreement(&home, &publisher, publisher.status().generation.unwrap());
}

/// What was written over was somebody else's: the way from our own table to theirs is not known.
#[test]
fn a_history_begins_anew_behind_a_table_of_somebody_else() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    home.cut_at(51);
    publisher.publish(&[]);
    fs::write(home.table(), FOREIGN).unwrap();
    let (standing, generation) = publisher.standing().unwrap();
    publisher.allow_overwrite(Some(standing.clone()), 0);
    home.change(|write| {
        write.skip_to(generation + 1);
        write.allow_move();
        Ok(())
    });
    assert_eq!(publisher.publish(&[]), Outcome::Published(501));
    assert_eq!(steps(&home.parsed()), [(500, standing, 100.0, 0)]);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let home = Home::new();
    let publisher = home.publisher();
    fs::create_dir(home.table()).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    let blocked = publisher.status().blocked;
    assert!(
        matches!(blocked, Some(Blocked::Unreadable(_))),
        "{blocked:?}"
    );
    fs::remove_dir(home.table()).unwrap();
    assert!(matches!(publisher.publish(&[]), Outcome::Published(_)));
}

#[test]
fn who_is_overtaken_writes_nothing() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    let before = home.bytes();
    home.cut_at(51);
    let _other = Lock::take_over(&home.folder.path().join("table.lock"), "another").unwrap();
    assert!(publisher.is_overtaken());
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    assert_eq!(publisher.status().blocked, Some(Blocked::Overtaken));
    assert_eq!(home.bytes(), before);
    // Nor when it finds out only right before the rename.
    let replaced = file::replace(&publisher.place, b"late");
    assert!(matches!(replaced, Err(WriteError::Overtaken)));
    assert_eq!(home.bytes(), before);
    assert_eq!(names_in(home.folder.path()), ["table.lock", "table.yaml"]);
}

#[test]
fn a_proxy_with_a_table_from_elsewhere_stops_the_daemon() {
    let home = Home::new();
    let publisher = home.publisher();
    let Outcome::Published(ours) = publisher.publish(&[]) else {
        panic!("nothing was published");
    };
    let reported_table = |generation: u64, digest: &str| ReportedTable {
        proxy: "edge".to_owned(),
        generation,
        digest: digest.to_owned(),
    };
    let own = publisher.status().digest.unwrap();
    for fine in [
        reported_table(ours, &own),
        reported_table(ours - 1, "an older one"),
        // A kept one, to which the proxy gave the next generation.
        reported_table(ours + 1, &own),
    ] {
        assert_eq!(publisher.publish(&[fine]), Outcome::Current);
    }
    let strange = [reported_table(ours + 30, "from elsewhere")];
    let blocked = Some(Blocked::ProxyAhead {
        proxy: "edge".to_owned(),
        generation: ours + 30,
        digest: "from elsewhere".to_owned(),
    });
    home.change(|write| {
        write.touch_table();
        Ok(())
    });
    assert_eq!(publisher.publish(&strange), Outcome::Blocked);
    assert_eq!(publisher.status().blocked, blocked);
    assert_eq!(
        publisher.publish(&[reported_table(ours, "other bytes")]),
        Outcome::Blocked
    );
    publisher.allow_overwrite(None, ours + 30);
    let next = home.change(|write| {
        write.skip_to(ours + 31);
        write.touch_table();
        Ok(())
    });
    assert_ne!(publisher.publish(&strange), Outcome::Blocked);
    assert!(next > ours + 30);
}
