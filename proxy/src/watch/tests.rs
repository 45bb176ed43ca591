use std::os::unix::fs::symlink;

use cellgate_table::accept::MoveLimits;

use super::*;
use crate::{config::TableConfig, metrics::Metrics, snapshot::Current, state_dir::StateDir};

#[test]
fn the_strongest_wake_wins() {
    let check = |left, right, expected| {
        assert_eq!(strongest(left, right), expected);
        assert_eq!(strongest(right, left), expected);
    };
    check(None, Some(Wake::Touched), Some(Wake::Touched));
    check(
        Some(Wake::Touched),
        Some(Wake::Finished),
        Some(Wake::Finished),
    );
    check(Some(Wake::Reread), Some(Wake::Finished), Some(Wake::Reread));
    check(Some(Wake::Stop), Some(Wake::Reread), Some(Wake::Stop));
}

/// A table that was put in place after the first poll, but before the thread stamped the file, stayed unseen.
#[test]
fn a_change_before_the_thread_begins_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.yaml");
    let config = TableConfig {
        path: path.clone(),
        move_limits: MoveLimits::default(),
        unready_when_behind: false,
        poll_interval: Duration::from_millis(50),
    };
    let current = Arc::new(Current::default());
    let loader = Loader::new(
        config,
        StateDir::new(folder.path().join("state")),
        Arc::clone(&current),
        Arc::new(Metrics::new()),
    );
    let loader = Arc::new(loader);
    loader.start();
    assert!(current.load().is_none());
    let table = "{ format: 1, hash: { slots: 1 }, slots: { a: [\"0\"] },
                   cells: { a: { endpoints: [{ address: \"127.0.0.1:1\" }] } } }";
    std::fs::write(&path, table).unwrap();

    let channel = channel();
    let waker = channel.0.clone();
    let watcher = Watcher::new(loader, channel, Duration::from_millis(50));
    let thread = watcher.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while current.load().is_none() {
        assert!(Instant::now() < end, "the table was never read");
        thread::sleep(Duration::from_millis(5));
    }
    waker.wake(Wake::Stop);
    thread.join().unwrap();
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let check = |name: &str, expected: &str| {
        let error = read_table_file(&path(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    };
    std::fs::create_dir(path("directory")).unwrap();
    check("directory", "a directory");
    // Nobody ever writes to the FIFO: opening it in the common way would wait for ever.
    let made = std::process::Command::new("mkfifo")
        .arg(path("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    check("fifo", "a FIFO");
    symlink("/dev/zero", path("device")).unwrap();
    check("device", "a device");
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    check("socket", "a socket");
    symlink(path("nowhere"), path("dangling")).unwrap();
    check("dangling", "not there");
    check("missing", "not there");
    let huge = std::fs::File::create(path("huge")).unwrap();
    huge.set_len(1 << 30).unwrap();
    check("huge", "1073741824 bytes");
    std::fs::write(path("good"), "text").unwrap();
    assert_eq!(read_table_file(&path("good")).unwrap(), b"text");
}

#[test]
fn stamps_tell_states_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let missing = Stamp::of(&path);
    std::fs::write(&path, "a").unwrap();
    let first = Stamp::of(&path);
    assert_ne!(missing, first);
    assert_eq!(first, Stamp::of(&path));
    std::fs::write(folder.path().join("other"), "a").unwrap();
    std::process::Command::new("mv")
        .args([folder.path().join("other"), path.clone()])
        .status()
        .unwrap();
    assert_ne!(first, Stamp::of(&path));
}
