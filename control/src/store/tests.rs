use std::collections::BTreeMap;

use cellgate_table::{CellId, HashSpec, TenantKey};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::model::{Amounts, Cell, CellState, PlacedBy, Settings, SlotMap, Tenant};

fn opened() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("control.db")).unwrap();
    (folder, store)
}

fn id(text: &str) -> CellId {
    CellId::new(text).unwrap()
}

fn key(text: &str) -> TenantKey {
    TenantKey::new(text).unwrap()
}

fn cell(name: &str) -> Cell {
    Cell {
        id: id(name),
        state: CellState::Active,
        state_reason: None,
        state_since_ms: 1,
        provider: "static".to_owned(),
        params: json!({}),
        settings: Settings {
            endpoints: Vec::new(),
            in_flight_max: 10,
            tunnels_max: 10_000,
            connections_max: 10_000,
            share: None,
            health_check: None,
            tls: None,
        },
        labels: BTreeMap::new(),
        is_stateless: false,
        capacity: Amounts::default(),
        usage: Amounts::default(),
        was_in_table: false,
        tenants: 0,
    }
}

fn tenant(name: &str, cell: &str, placed_by: PlacedBy) -> Tenant {
    Tenant {
        key: key(name),
        cell: id(cell),
        placed_by,
        is_rejected: false,
        since: 1,
        why: "a test".to_owned(),
        registered_ms: 1,
    }
}

fn by(actor: &str) -> Request {
    Request {
        actor: actor.to_owned(),
        ..Request::default()
    }
}

fn revision(store: &Store) -> u64 {
    store.read(|read| read.meta()).unwrap().revision
}

fn audit(store: &Store) -> Vec<AuditEntry> {
    store
        .read(|read| read.audit(&AuditFilter::default(), 1_000))
        .unwrap()
}

/// A change that puts one cell.
fn put_cell(store: &Store, request: &Request, name: &str) -> Result<Done, Refusal> {
    store.change(request, 7, |write| {
        write.put_cell(&cell(name))?;
        write.note("cell.add", name, &json!({ "by": "test" }))?;
        Ok(json!({ "cell": name }))
    })
}

fn cell_names(store: &Store) -> Vec<String> {
    let cells = store.read(|read| read.cells()).unwrap();
    cells.into_iter().map(|cell| cell.id.to_string()).collect()
}

#[test]
fn a_change_is_one_revision_and_one_line() {
    let (_folder, store) = opened();
    assert_eq!((revision(&store), audit(&store).len()), (0, 0));
    let request = Request {
        reason: Some("growth".to_owned()),
        ..by("ann")
    };
    let done = put_cell(&store, &request, "a").unwrap();
    assert_eq!((done.revision, done.is_change), (1, true));
    assert_eq!(revision(&store), 1);
    put_cell(&store, &by("bob"), "b").unwrap();
    let reported: Vec<_> = audit(&store)
        .into_iter()
        .map(|line| (line.revision, line.actor, line.subject, line.reason))
        .collect();
    let line = |revision, actor: &str, subject: &str, reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        (revision, actor.to_owned(), subject.to_owned(), reason)
    };
    assert_eq!(
        reported,
        [
            line(2, "bob", "b", None),
            line(1, "ann", "a", Some("growth"))
        ]
    );
    assert_eq!(cell_names(&store), ["a", "b"]);
}

#[test]
fn the_log_is_read_both_ways() {
    let (_folder, store) = opened();
    for name in ["a", "b", "a", "c", "a"] {
        put_cell(&store, &by("ann"), name).unwrap();
    }
    let check =
        |subject: Option<&str>, before: Option<u64>, after: Option<u64>, expected: &[u64]| {
            let filter = AuditFilter {
                subject: subject.map(str::to_owned),
                before,
                after,
            };
            let lines = store.read(|read| read.audit(&filter, 2)).unwrap();
            let ids: Vec<u64> = lines.iter().map(|line| line.id).collect();
            assert_eq!(ids, expected, "{filter:?}");
        };
    check(None, None, None, &[5, 4]);
    check(None, Some(4), None, &[3, 2]);
    check(None, None, Some(0), &[1, 2]);
    check(None, None, Some(5), &[]);
    check(Some("a"), None, None, &[5, 3]);
    check(Some("a"), Some(3), None, &[1]);
    check(Some("a"), None, Some(1), &[3, 5]);
    let newest = store.read(|read| read.newest_audit_id()).unwrap();
    assert_eq!(newest, 5);
}

#[test]
fn a_refused_change_leaves_nothing() {
    let (_folder, store) = opened();
    let idempotency = Some(Idempotency {
        key: "k".to_owned(),
        fingerprint: vec![1],
    });
    let request = Request {
        idempotency,
        ..by("ann")
    };
    let refused = store.change(&request, 7, |write| {
        write.put_cell(&cell("a"))?;
        write.add_tenant(&tenant("acme", "a", PlacedBy::Pin), 0)?;
        write.note("cell.add", "a", &json!({}))?;
        write.allow_move();
        Err::<(), _>(Refusal::NoActiveCell)
    });
    assert!(matches!(refused, Err(Refusal::NoActiveCell)));
    let meta = store.read(|read| read.meta()).unwrap();
    assert_eq!(
        (meta.revision, meta.table_wanted, meta.move_allowed),
        (0, 0, 0)
    );
    assert_eq!(audit(&store), []);
    assert_eq!(cell_names(&store), Vec::<String>::new());
    assert!(store.read(|read| read.counts()).unwrap().is_empty());
    // Nor is the refusal kept as an answer.
    assert!(put_cell(&store, &request, "a").unwrap().is_change);
}

#[test]
fn a_change_without_a_note_is_none() {
    let (_folder, store) = opened();
    put_cell(&store, &by("ann"), "a").unwrap();
    let done = store
        .change(&by("ann"), 8, |write| {
            write.touch_table();
            Ok(json!("as it was"))
        })
        .unwrap();
    assert_eq!((done.revision, done.is_change), (1, false));
    assert_eq!(done.answer, json!("as it was"));
    let meta = store.read(|read| read.meta()).unwrap();
    assert_eq!((meta.revision, meta.table_wanted), (1, 0));
    assert_eq!(audit(&store).len(), 1);
}

#[test]
fn the_words_of_a_change_reach_the_table() {
    let (_folder, store) = opened();
    let check = |work: fn(&mut Write<'_>), expected: (u64, u64, u64)| {
        store
            .change(&by("ann"), 1, |write| {
                work(write);
                write.note("test", "table", &json!({}))?;
                Ok(())
            })
            .unwrap();
        let meta = store.read(|read| read.meta()).unwrap();
        let found = (meta.revision, meta.table_wanted, meta.move_allowed);
        assert_eq!(found, expected);
    };
    check(|_| {}, (1, 0, 0));
    check(|write| write.touch_table(), (2, 2, 0));
    check(|write| write.allow_move(), (3, 3, 3));
    check(|write| write.skip_to(40), (40, 3, 3));
    check(|write| write.skip_to(7), (41, 3, 3));
    store.end_allowed_move(2).unwrap();
    check(|write| write.touch_table(), (42, 42, 3));
    store.end_allowed_move(3).unwrap();
    check(|_| {}, (43, 42, 0));
}

#[test]
fn who_saw_something_older_is_refused() {
    let (_folder, store) = opened();
    put_cell(&store, &by("ann"), "a").unwrap();
    put_cell(&store, &by("ann"), "b").unwrap();
    for stale in [0, 1, 3] {
        let request = Request {
            seen: Some(stale),
            ..by("ann")
        };
        let refused = put_cell(&store, &request, "c").unwrap_err();
        assert!(
            matches!(refused, Refusal::Stale { seen, current: 2 } if seen == stale),
            "{refused}"
        );
    }
    assert_eq!(cell_names(&store), ["a", "b"]);
    let request = Request {
        seen: Some(2),
        ..by("ann")
    };
    assert_eq!(put_cell(&store, &request, "c").unwrap().revision, 3);
}

fn named(key: &str, fingerprint: u8) -> Request {
    Request {
        idempotency: Some(Idempotency {
            key: key.to_owned(),
            fingerprint: vec![fingerprint],
        }),
        ..by("ann")
    }
}

#[test]
fn a_request_sent_twice_is_done_once() {
    let (_folder, store) = opened();
    let first = put_cell(&store, &named("k", 1), "a").unwrap();
    put_cell(&store, &by("bob"), "b").unwrap();
    // The second one would do something else, were it done; and what it saw is no longer asked.
    let again = Request {
        seen: Some(0),
        ..named("k", 1)
    };
    let second = put_cell(&store, &again, "other").unwrap();
    assert_eq!(second.answer, first.answer);
    assert_eq!((second.revision, second.is_change), (2, false));
    assert_eq!(cell_names(&store), ["a", "b"]);
    assert_eq!(audit(&store).len(), 2);
    let reused = put_cell(&store, &named("k", 2), "c").unwrap_err();
    assert!(matches!(reused, Refusal::IdempotencyKeyReused), "{reused}");
    assert!(put_cell(&store, &named("l", 2), "c").unwrap().is_change);
}

#[test]
fn answers_are_forgotten_after_a_day() {
    let (_folder, store) = opened();
    put_cell(&store, &named("k", 1), "a").unwrap();
    let forgotten = |now_ms| store.forget_old_answers(now_ms).unwrap();
    assert_eq!(forgotten(7 + IDEMPOTENCY_MS), 0);
    assert!(!put_cell(&store, &named("k", 1), "a").unwrap().is_change);
    assert_eq!(forgotten(8 + IDEMPOTENCY_MS), 1);
    assert!(put_cell(&store, &named("k", 2), "a").unwrap().is_change);
}

#[test]
fn a_newer_database_is_left_alone() {
    let (folder, store) = opened();
    put_cell(&store, &by("ann"), "a").unwrap();
    let path = folder.path().join("control.db");
    let version = |version: u32| {
        let connection = Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    version(99);
    let refused = Store::open(&path).unwrap_err().to_string();
    let words = format!(
        "its schema has version 99, and this program knows versions up to {}; use a newer cellgate-control",
        schema::VERSION
    );
    assert!(refused.ends_with(&words), "{refused}");
    version(schema::VERSION);
    assert_eq!(cell_names(&Store::open(&path).unwrap()), ["a"]);
}

#[test]
fn a_database_is_opened_twice() {
    let (folder, store) = opened();
    put_cell(&store, &by("ann"), "a").unwrap();
    let second = Store::open(&folder.path().join("control.db")).unwrap();
    put_cell(&second, &by("bob"), "b").unwrap();
    put_cell(&store, &by("ann"), "c").unwrap();
    assert_eq!(cell_names(&second), ["a", "b", "c"]);
    assert_eq!((revision(&store), revision(&second)), (3, 3));
}

#[test]
fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    std::fs::write(&path, "format: 1\n".repeat(1_000)).unwrap();
    assert!(Store::open(&path).is_err());
    let missing = folder.path().join("no/such/folder/control.db");
    assert!(Store::open(&missing).is_err());
}

#[test]
fn a_copy_is_a_database_of_its_own() {
    let (folder, store) = opened();
    put_cell(&store, &by("ann"), "a").unwrap();
    let path = folder.path().join("control.db");
    let to = folder.path().join("copy.db");
    Store::back_up(&path, &to).unwrap();
    put_cell(&store, &by("ann"), "b").unwrap();
    assert!(
        Store::back_up(&path, &to).is_err(),
        "nothing is written over"
    );
    let copy = Store::open(&to).unwrap();
    assert_eq!((revision(&copy), audit(&copy).len()), (1, 1));
    put_cell(&copy, &by("ann"), "c").unwrap();
    assert_eq!(cell_names(&copy), ["a", "c"]);
    assert_eq!(cell_names(&store), ["a", "b"]);
}

#[test]
fn slots_with_gaps_are_reported() {
    let (_folder, store) = opened();
    store
        .record(|connection| {
            let sql = "INSERT INTO slots VALUES (0, 99, 'a', 1), (101, 65535, 'a', 1)";
            connection.execute(sql, [])?;
            Ok(())
        })
        .unwrap();
    let reported = store.read(|read| read.slots()).unwrap_err().to_string();
    assert!(
        reported.ends_with("the slots have gaps or overlap"),
        "{reported}"
    );
}

#[test]
fn the_newest_tables_are_kept() {
    let (_folder, store) = opened();
    let kept = || -> Vec<(u64, bool)> {
        let tables = store.read(|read| read.tables()).unwrap();
        tables
            .iter()
            .map(|table| (table.generation, table.state == TableState::Published))
            .collect()
    };
    for generation in [3, 5, 8] {
        let content = format!("table {generation}");
        let digest = format!("digest {generation}");
        store
            .begin_table(generation, &digest, content.as_bytes(), None, 1)
            .unwrap();
        assert_eq!(kept()[0], (generation, false));
        store.end_table(generation, 3).unwrap();
    }
    assert_eq!(kept(), [(8, true), (5, true), (3, true)]);
    let content = |generation| store.read(|read| read.table_content(generation));
    assert_eq!(content(5).unwrap(), b"table 5");
    assert!(matches!(content(4), Err(Refusal::NoSuchTable(4))));
    // The one begun before is overtaken by one that was published; the one begun behind it is not.
    store
        .begin_table(9, "digest 9", b"table 9", None, 1)
        .unwrap();
    store
        .begin_table(11, "digest 11", b"table 11", None, 1)
        .unwrap();
    store
        .begin_table(10, "digest 10", b"table 10", None, 1)
        .unwrap();
    store.end_table(10, 3).unwrap();
    assert_eq!(kept(), [(11, false), (10, true), (8, true)]);
    store.end_table(11, 0).unwrap();
    assert_eq!(kept(), [(11, true), (10, true)], "two are kept at least");
}

#[test]
fn operations_come_and_end() {
    let (_folder, store) = opened();
    let ask = |verb: &str| -> String {
        let done = store.change(&by("ann"), 5, |write| {
            write.note("cell.ask", "a", &json!({}))?;
            Ok(write.ask(&id("a"), verb)?)
        });
        done.unwrap().answer.as_str().unwrap().to_owned()
    };
    let (first, second) = (ask("provision"), ask("remove"));
    assert_eq!((&*first, &*second), ("a-provision-1", "a-remove-2"));
    store.begin_operation(&second, 6).unwrap();
    let found = store.read(|read| read.operations_of(&id("a"))).unwrap();
    let states: Vec<_> = found.iter().map(|it| (it.state, it.attempts)).collect();
    assert_eq!(
        states,
        [(OperationState::Running, 1), (OperationState::Failed, 0)]
    );
    assert_eq!(found[1].error.as_deref(), Some("overtaken by another"));
    let open = store.read(|read| read.open_operations()).unwrap();
    assert_eq!(open, found[..1]);
    store
        .change(&by("ann"), 9, |write| {
            write.end_operation(&second, "gone", None)?;
            write.note("cell.removed", "a", &json!({}))?;
            Ok(())
        })
        .unwrap();
    let ended = store.read(|read| read.operation(&second)).unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.ended_ms, &*ended.output),
        (OperationState::Done, Some(9), "gone")
    );
    assert!(
        store
            .read(|read| read.open_operations())
            .unwrap()
            .is_empty()
    );
    for _ in 0..30 {
        ask("provision");
    }
    let kept = store.read(|read| read.operations_of(&id("a"))).unwrap();
    assert_eq!(kept.len(), 20);
    assert_eq!(kept[0].id, "a-provision-33");
}

mod tenants;
