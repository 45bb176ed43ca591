use std::os::unix::fs::symlink;

use super::*;

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
