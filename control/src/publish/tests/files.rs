//! What becomes of the file that stands in the table's place: links, permissions, and bytes of another version.

use std::os::unix::fs::{PermissionsExt as _, fchown, symlink};

use super::*;

/// Two cells, and tenants whose rejection is a change.
fn inhabited() -> Home {
    let home = Home::new();
    home.register(&away(["acme".to_owned(), "other".to_owned()]));
    home
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let home = inhabited();
    let elsewhere = home.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink("elsewhere/real.yaml", home.table()).unwrap();
    // It dangles at first: the file is made where the link says.
    let publisher = home.publisher();
    let Outcome::Published(first) = publisher.publish(&[]) else {
        panic!("{:?}", publisher.status());
    };
    check_agreement(&home, &publisher, first);
    let generation = home.reject("acme", true);
    assert_eq!(publisher.publish(&[]), Outcome::Published(generation));
    check_agreement(&home, &publisher, generation);
    assert!(home.table().is_symlink());
    assert_eq!(names_in(&elsewhere), ["real.yaml"]);
    let expected = ["elsewhere", "table.lock", "table.yaml"];
    assert_eq!(names_in(home.folder.path()), expected);
    // A leftover beside the target is removed, as one beside a plain table is.
    fs::write(elsewhere.join(".real.yaml.new-1"), "half").unwrap();
    drop(publisher);
    assert_eq!(home.publisher().publish(&[]), Outcome::Current);
    assert_eq!(names_in(&elsewhere), ["real.yaml"]);
}

#[test]
fn a_link_that_leads_elsewhere_later_is_not_followed() {
    let home = inhabited();
    for name in ["one", "two"] {
        fs::create_dir(home.folder.path().join(name)).unwrap();
    }
    symlink("one/table.yaml", home.table()).unwrap();
    let publisher = home.publisher();
    assert!(matches!(publisher.publish(&[]), Outcome::Published(_)));
    fs::remove_file(home.table()).unwrap();
    symlink("two/table.yaml", home.table()).unwrap();
    let generation = home.reject("acme", true);
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    let blocked = publisher.status().blocked;
    assert!(
        matches!(&blocked, Some(Blocked::TablePath(why)) if why.contains("led to")),
        "{blocked:?}"
    );
    assert_eq!(
        names_in(&home.folder.path().join("two")),
        Vec::<String>::new()
    );
    drop(publisher);
    assert_eq!(
        home.publisher().publish(&[]),
        Outcome::Published(generation)
    );
}

#[test]
fn who_may_read_the_old_table_may_read_the_new_one() {
    let home = inhabited();
    let publisher = home.publisher();
    publisher.publish(&[]);
    for (wanted, is_rejected) in [(0o640, true), (0o600, false), (0o664, true), (0o444, false)] {
        set_mode(&home.table(), wanted);
        let generation = home.reject("acme", is_rejected);
        assert_eq!(publisher.publish(&[]), Outcome::Published(generation));
        assert_eq!(mode(&home.table()), wanted);
    }
    // Only root may give files away.
    if fs::metadata(home.folder.path()).unwrap().uid() != 0 {
        return;
    }
    let file = fs::File::open(home.table()).unwrap();
    fchown(&file, Some(12_345), Some(23_456)).unwrap();
    set_mode(&home.table(), 0o640);
    home.reject("other", true);
    assert!(matches!(publisher.publish(&[]), Outcome::Published(_)));
    let metadata = fs::metadata(home.table()).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (12_345, 23_456));
    assert_eq!(mode(&home.table()), 0o640);
}

/// The bytes that an older version wrote for the same table: another way to quote.
fn of_an_older_version(bytes: &[u8]) -> Vec<u8> {
    let text = str::from_utf8(bytes).unwrap();
    let older = text.replace("'127.0.0.1:9001'", "127.0.0.1:9001");
    assert_ne!(older, text);
    older.into_bytes()
}

/// A table has one content under its generation for ever, however this version would write it.
#[test]
fn a_generation_is_never_written_in_other_words() {
    let home = inhabited();
    let publisher = home.publisher();
    let Outcome::Published(generation) = publisher.publish(&[]) else {
        panic!("{:?}", publisher.status());
    };
    let older = of_an_older_version(&home.bytes());
    record(&home, generation, &older);
    home.store.end_table(generation, 5).unwrap();
    fs::write(home.table(), &older).unwrap();
    drop(publisher);
    let publisher = home.publisher();
    for _ in 0..2 {
        assert_eq!(publisher.publish(&[]), Outcome::Current);
        assert_eq!(home.bytes(), older);
        home.change(|write| {
            write.touch_table();
            Ok(())
        });
    }
    fs::remove_file(home.table()).unwrap();
    publisher.publish(&[]);
    assert_eq!(home.bytes(), older, "put back as it was");
}

/// Killed between the record and the file, and updated before the next start.
#[test]
fn what_was_recorded_is_written_as_it_was_recorded() {
    let home = inhabited();
    let publisher = home.publisher();
    publisher.publish(&[]);
    let generation = home.reject("acme", true);
    let (meta, parts) = home.store.read(|read| publisher.gather(read)).unwrap();
    assert_eq!(meta.revision, generation);
    let rendered = render(&parts, Generation::new(generation).unwrap(), false).unwrap();
    let older = of_an_older_version(&rendered.bytes);
    record(&home, generation, &older);
    drop(publisher);
    let publisher = home.publisher();
    assert_eq!(publisher.publish(&[]), Outcome::Published(generation));
    assert_eq!(home.bytes(), older);
    check_agreement(&home, &publisher, generation);
}

fn record(home: &Home, generation: u64, bytes: &[u8]) {
    home.store
        .begin_table(generation, &digest_of(bytes), bytes, None, 1)
        .unwrap();
}
