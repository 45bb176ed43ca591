//! Whatever stands in the table's place, the proxy says what it is, once, and goes on.

use std::{
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::Signal,
    proxy::{Plan, Proxy, rename_over},
    traffic::Traffic,
    wait_until,
};

const POLL: Duration = Duration::from_millis(50);

fn plan() -> Plan {
    Proxy::plan().set("table", "{ path: tables/table.yaml, poll_interval_ms: 50 }")
}

/// `place` puts something at a path that is free. It is then moved to where the table was.
#[track_caller]
fn check(plan: Plan, place: impl FnOnce(&Path), why: &str) {
    let fleet = Fleet::start(2);
    let mut proxy = plan.table(fleet.table()).start();
    let traffic = Traffic::start(&proxy, &[("acme", "cell-1")]);

    let aside = proxy.directory().join("tables/aside");
    place(&aside);
    fs::remove_file(proxy.table_path()).unwrap();
    proxy.wait_for_refusal("the file is not there");
    rename_over(&aside, &proxy.table_path());
    let problem = proxy.wait_for_refusal(why);
    poll_again(&mut proxy);
    assert_eq!(
        proxy.metric("table_reload_failures_total", &[]),
        Some(2.0),
        "{}",
        proxy.log()
    );
    assert_eq!(
        proxy.count_in_log(&format!("problem=\"{problem}\"")),
        1,
        "{}",
        proxy.log()
    );
    assert_eq!(proxy.metric("table_last_reload_success", &[]), Some(0.0));
    assert_eq!(proxy.generation(), 1);

    if proxy.table_path().is_dir() {
        fs::remove_dir(proxy.table_path()).unwrap();
    }
    proxy.write_table(fleet.table().pin("movable", "cell-2"));
    proxy.wait_for_generation(2);
    wait_until("the last reload was fine", PATIENCE, || {
        proxy.metric("table_last_reload_success", &[]) == Some(1.0)
    });
    traffic.stop();
}

/// What is seen again, by the timer or because somebody asks, is not logged again.
fn poll_again(proxy: &mut Proxy) {
    for times in 1..=2 {
        proxy.signal(Signal::HUP);
        wait_until("the signal arrives", PATIENCE, || {
            proxy.count_in_log("SIGHUP") == times
        });
        thread::sleep(2 * POLL);
    }
}

#[test]
fn empty_file() {
    check(
        plan(),
        |path| fs::write(path, "").unwrap(),
        "the file is empty",
    );
}

#[test]
fn only_comments() {
    check(
        plan(),
        |path| fs::write(path, "# soon\n").unwrap(),
        "the file says nothing",
    );
}

#[test]
fn file_of_a_gigabyte() {
    check(
        plan(),
        |path| File::create(path).unwrap().set_len(1 << 30).unwrap(),
        "the file has 1073741824 bytes, more than",
    );
}

#[test]
fn binary_file() {
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    check(
        plan(),
        |path| fs::write(path, bytes).unwrap(),
        "is not UTF-8 text",
    );
}

#[test]
fn not_yaml() {
    check(
        plan(),
        |path| fs::write(path, "format: [1\n").unwrap(),
        "1:",
    );
}

#[test]
fn fifo() {
    let make = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success(), "{made}");
    };
    check(plan(), make, "is a FIFO, not a file");
}

#[test]
fn directory() {
    check(
        plan(),
        |path| fs::create_dir(path).unwrap(),
        "is a directory, not a file",
    );
}

#[test]
fn socket() {
    let listen = |path: &Path| drop(UnixListener::bind(path).unwrap());
    check(plan(), listen, "is a socket, not a file");
}

#[test]
fn device_without_end() {
    check(
        plan(),
        |path| symlink("/dev/zero", path).unwrap(),
        "is a device, not a file",
    );
}

#[test]
fn link_to_itself() {
    let place = |path: &Path| symlink("table.yaml", path).unwrap();
    check(plan(), place, "the file cannot be opened");
}

#[test]
fn no_permission() {
    let place = |path: &Path| {
        fs::write(path, "format: 1\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o0)).unwrap();
    };
    check(
        plan().without_privileges(),
        place,
        "the file cannot be opened: Permission denied",
    );
}

/// For the proxy nothing changes: a link that leads nowhere and no link are the same to it.
#[test]
fn dangling_link() {
    let fleet = Fleet::start(2);
    let mut proxy = plan().table(fleet.table()).start();
    let traffic = Traffic::start(&proxy, &[("acme", "cell-1")]);

    let link = proxy.directory().join("tables/link");
    symlink("nowhere", &link).unwrap();
    rename_over(&link, &proxy.table_path());
    proxy.wait_for_refusal("the file is not there");
    poll_again(&mut proxy);
    assert_eq!(
        proxy.metric("table_reload_failures_total", &[]),
        Some(1.0),
        "{}",
        proxy.log()
    );
    traffic.stop();
}
