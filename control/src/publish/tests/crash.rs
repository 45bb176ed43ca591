//! Whatever step the previous run ended at, the next one makes file and records agree.

use super::*;

/// The next table, as the daemon would write it.
fn next(home: &Home, publisher: &Publisher) -> (u64, Vec<u8>) {
    let (meta, parts) = home.store.read(|read| publisher.gather(read)).unwrap();
    let generation = Generation::new(meta.revision).unwrap();
    let rendered = render(&parts, generation, false).unwrap();
    let inner = publisher.inner();
    let history = publisher.history(inner.published.as_ref(), &rendered.table);
    let rendered = rendered.with_history(history.unwrap()).unwrap();
    (meta.revision, rendered.bytes)
}

fn record(home: &Home, generation: u64, bytes: &[u8]) {
    home.store
        .begin_table(
            generation,
            &digest_of(bytes),
            bytes,
            table::parse(bytes).unwrap().history().last(),
            1,
        )
        .unwrap();
}

/// A home whose previous run published one table and was about to publish another.
fn about_to_publish() -> (Home, u64, u64, Vec<u8>) {
    let home = Home::new();
    let publisher = home.publisher();
    home.register(&away(["acme".to_owned()]));
    let Outcome::Published(old) = publisher.publish(&[]) else {
        panic!("{:?}", publisher.status());
    };
    home.reject("acme", true);
    let (new, bytes) = next(&home, &publisher);
    (home, old, new, bytes)
}

#[test]
fn before_the_first_file_was_written() {
    let home = Home::new();
    let publisher = home.publisher();
    let (generation, bytes) = next(&home, &publisher);
    record(&home, generation, &bytes);
    assert_eq!(publisher.publish(&[]), Outcome::Published(generation));
    assert_eq!(home.bytes(), bytes);
    check_agreement(&home, &publisher, generation);
}

#[test]
fn before_the_file_was_written() {
    let (home, old, new, bytes) = about_to_publish();
    record(&home, new, &bytes);
    assert_eq!(home.recorded(), [(new, false), (old, true)]);
    let publisher = home.publisher();
    assert_eq!(publisher.publish(&[]), Outcome::Published(new));
    assert_eq!(home.bytes(), bytes);
    check_agreement(&home, &publisher, new);
    assert_eq!(home.recorded(), [(new, true), (old, true)]);
}

/// What was about to be published is no longer meant: the record of it goes when something newer is published.
#[test]
fn before_a_file_that_nobody_wants_any_more() {
    let (home, old, new, bytes) = about_to_publish();
    record(&home, new, &bytes);
    home.reject("acme", false);
    let publisher = home.publisher();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    assert_eq!(publisher.status().generation, Some(old));
    assert_eq!(home.parsed().generation().unwrap().get(), old);
    let newest = home.cut_at(51);
    assert_eq!(publisher.publish(&[]), Outcome::Published(newest));
    check_agreement(&home, &publisher, newest);
    assert_eq!(home.recorded(), [(newest, true), (old, true)]);
}

#[test]
fn right_after_the_file_was_written() {
    let (home, old, new, bytes) = about_to_publish();
    record(&home, new, &bytes);
    fs::write(home.table(), &bytes).unwrap();
    let publisher = home.publisher();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    assert_eq!(home.bytes(), bytes);
    check_agreement(&home, &publisher, new);
    assert_eq!(home.recorded(), [(new, true), (old, true)]);
}

#[test]
fn right_after_the_first_file_was_written() {
    let home = Home::new();
    let publisher = home.publisher();
    let (generation, bytes) = next(&home, &publisher);
    record(&home, generation, &bytes);
    fs::write(home.table(), &bytes).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    check_agreement(&home, &publisher, generation);
}

/// The proxies may have taken the table that was written last: the next one is newer, even if it says what the one
/// before said.
#[test]
fn after_a_file_that_nobody_wants_any_more() {
    let (home, _, new, bytes) = about_to_publish();
    record(&home, new, &bytes);
    fs::write(home.table(), &bytes).unwrap();
    let back = home.reject("acme", false);
    let publisher = home.publisher();
    assert_eq!(publisher.publish(&[]), Outcome::Published(back));
    check_agreement(&home, &publisher, back);
}

/// No crash, but the folder could not be synced after the rename: the file says it, this run does not rely on it.
#[test]
fn a_rename_that_may_not_last() {
    let check = |changes: &dyn Fn(&Home) -> u64| {
        let home = Home::new();
        let publisher = home.publisher();
        home.register(&away(["acme".to_owned()]));
        publisher.publish(&[]);
        home.reject("acme", true);
        let (new, bytes) = next(&home, &publisher);
        record(&home, new, &bytes);
        fs::write(home.table(), &bytes).unwrap();
        let expected = changes(&home);
        publisher.publish(&[]);
        check_agreement(&home, &publisher, expected);
        assert_eq!(publisher.publish(&[]), Outcome::Current);
        check_agreement(&home, &publisher, expected);
    };
    let current = |home: &Home| home.store.read(|read| read.meta()).unwrap().revision;
    check(&current);
    check(&|home| home.cut_at(51));
    check(&|home| home.reject("acme", false));
}

#[test]
fn leftovers_are_removed() {
    let home = Home::new();
    let leftovers = [
        ".table.yaml.new-1",
        ".table.yaml.new-4711",
        ".table.yaml.new-x",
    ];
    let others = [".other.yaml.new-1", "table.yaml.new-1", "table.yaml~"];
    for name in leftovers.iter().chain(&others) {
        fs::write(home.folder.path().join(name), "half a ta").unwrap();
    }
    let publisher = home.publisher();
    assert!(matches!(publisher.publish(&[]), Outcome::Published(_)));
    let mut expected: Vec<&str> = others.to_vec();
    expected.extend(["table.lock", "table.yaml"]);
    expected.sort_unstable();
    assert_eq!(names_in(home.folder.path()), expected);
}

/// A previous run with this one's process number left its temporary file behind, and it cannot be removed: nothing is written.
#[test]
fn a_file_that_cannot_be_written_is_tried_again() {
    let home = Home::new();
    let publisher = home.publisher();
    let Outcome::Published(old) = publisher.publish(&[]) else {
        panic!("{:?}", publisher.status());
    };
    let in_the_way = format!(".table.yaml.new-{}", std::process::id());
    fs::create_dir(home.folder.path().join(&in_the_way)).unwrap();
    let new = home.cut_at(51);
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    let blocked = publisher.status().blocked;
    assert!(matches!(blocked, Some(Blocked::Write(_))), "{blocked:?}");
    assert_eq!(publisher.status().generation, Some(old));
    assert_eq!(home.recorded(), [(new, false), (old, true)]);
    fs::remove_dir(home.folder.path().join(&in_the_way)).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Published(new));
    check_agreement(&home, &publisher, new);
}
