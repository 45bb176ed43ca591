//! What is refused, cannot be reached, or is said wrongly.

use std::{
    fs,
    net::TcpListener,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
};

use crate::daemon::{Daemon, Listener, answer, bare, read_head, run, until};

#[test]
fn refusals_say_what_to_do() {
    let daemon = Daemon::with_two_cells("");
    let check = |line: &str, parts: &[&str]| {
        let reported = daemon.refused(line);
        for part in parts {
            assert!(
                reported.contains(part),
                "{line}: {part} is not in:\n{reported}"
            );
        }
    };
    check(
        "cell show nowhere",
        &["error: there is no cell `nowhere` (no_such_cell)\n"],
    );
    check("cell show ..", &["(bad_input)"]);
    check(
        "cell add x --endpoint host:1 --endpoint 1.2.3.4:5=0",
        &["  endpoints[0].address: `host:1` is not an IP address with a port; `host` is a name"],
    );
    check(
        "cell activate eu-1 --if-revision 1",
        &["(stale_revision)", "hint: read again"],
    );
    check(
        "cell retry eu-1",
        &["(illegal_transition)", "it can become draining"],
    );
    check("table get 4711", &["(no_such_table)"]);
    check("table rollback 4711", &["(no_such_table)"]);
    check("slots spread", &["(slots_assigned)"]);
    check("audit --limit 5000", &["limit is 5000, not 1 to 1000"]);
    let revision = daemon.json("table show")["revision"].as_u64().unwrap();
    daemon.ok(&format!("tenant add acme --if-revision {revision}"));
    for line in [
        "cell add",
        "tenants",
        "cell update eu-1",
        "proxies --server https://h",
        "slots --timeout x",
    ] {
        assert_eq!(daemon.run(line).code, Some(2), "{line}");
    }
}

#[test]
fn a_token_is_needed_for_changes_only() {
    let daemon = Daemon::with_two_cells("");
    let token = fs::read_to_string(daemon.folder.path().join("state/token")).unwrap();
    let with = |line: &str, variable: &str, value: &str| {
        let words = line.split(' ');
        run(bare()
            .args(["--server", &daemon.server])
            .args(words)
            .env(variable, value))
    };
    let ran = with("slots", "CELLCTL_TOKEN_FILE", "/nowhere/token");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = with("tenant add a", "CELLCTL_TOKEN_FILE", "/nowhere/token");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in [
        "the token file /nowhere/token cannot be read",
        "--token-file or CELLCTL_TOKEN_FILE",
        "CELLCTL_TOKEN\n",
    ] {
        assert!(ran.err.contains(part), "{part} is not in: {ran:?}");
    }
    let ran = with(
        "tenant add a",
        "CELLCTL_TOKEN",
        "not-the-token-of-the-daemon",
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("(unauthorized)") && ran.err.contains("state/token"),
        "{ran:?}"
    );
    let ran = with("tenant add a", "CELLCTL_TOKEN", &token);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let socket = daemon.folder.path().join("api.sock");
    let ran = run(bare()
        .args(["tenant", "add", "b", "--actor", "a script"])
        .env("CELLCTL_SOCKET", socket)
        .env("CELLCTL_TOKEN", &token));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        daemon.json("audit --subject b")["entries"][0]["actor"],
        "a script"
    );
}

#[test]
fn who_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let ran = run(bare().args(["--server", &format!("http://{address}"), "status"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let place = format!("no connection to http://{address}: Connection refused");
    assert!(
        ran.err.contains(&place) && ran.err.contains("--server"),
        "{ran:?}"
    );
    let ran = run(bare().args(["--socket", "/nowhere.sock", "status"]));
    assert!(
        ran.err
            .contains("no connection to /nowhere.sock: No such file"),
        "{ran:?}"
    );

    let other = Listener::new(|mut stream| {
        read_head(&mut stream);
        answer(&mut stream, "200 OK", "<html>");
    });
    let ran = run(bare().args(["--server", &format!("http://{}", other.address), "slots"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("does not answer as it should"), "{ran:?}");
}

#[test]
fn a_change_whose_answer_is_lost_is_sent_once_more_under_the_same_key() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let server = Listener::new(move |mut stream| {
        let mut heads = seen.lock().unwrap();
        heads.push(read_head(&mut stream));
        if heads.len() > 1 {
            answer(&mut stream, "200 OK", "{}");
        }
    });
    let ran = run(bare()
        .args([
            "--server",
            &format!("http://{}", server.address),
            "-o",
            "json",
            "slots",
            "spread",
        ])
        .env("CELLCTL_TOKEN", "a-token"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "{}\n"), "{ran:?}");
    let heads = heads.lock().unwrap();
    let keys: Vec<&str> = heads
        .iter()
        .filter_map(|head| {
            head.lines()
                .find(|line| line.starts_with("idempotency-key: "))
        })
        .collect();
    assert_eq!(
        (keys.len(), keys[0].len()),
        (2, "idempotency-key: ".len() + 32)
    );
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn a_table_of_somebody_else_is_written_over_with_a_word() {
    let daemon = Daemon::with_two_cells("");
    fs::write(
        daemon.folder.path().join("table.yaml"),
        "format: 1 # by hand\n",
    )
    .unwrap();
    until("the daemon sees it", || {
        daemon.json("table show")["blocked"]["code"] == "foreign_table"
    });
    let status = daemon.ok("status");
    assert!(
        status.starts_with("ATTENTION: no table can be published: the table file was written by"),
        "{status}"
    );
    assert!(
        status.contains("cellctl table publish --overwrite"),
        "{status}"
    );
    let waited = daemon.run("tenant add a --rejected --wait");
    assert_eq!(waited.code, Some(1), "{waited:?}");
    assert!(
        waited.err.contains("written by somebody else"),
        "{waited:?}"
    );
    let published = daemon.ok("table publish --overwrite --wait");
    assert!(
        published.contains(", so nobody confirmed it\n"),
        "{published}"
    );
}

#[test]
fn waiting_goes_on_over_a_restart() {
    // The cell is healthy only once somebody says so.
    let is_healthy = Arc::new(AtomicU64::new(0));
    let says = Arc::clone(&is_healthy);
    let cell = Listener::new(move |mut stream| {
        read_head(&mut stream);
        let status = if says.load(Ordering::SeqCst) == 1 {
            "200 OK"
        } else {
            "503 Not Yet"
        };
        answer(&mut stream, status, "");
    });
    let mut daemon = Daemon::start();
    let line = format!(
        "cell add eu-1 --endpoint {} --health-path /h --socket api.sock --wait",
        cell.address
    );
    let adding = daemon
        .command(&line)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("the cell is there", || {
        daemon.run("cell show eu-1").code == Some(0)
    });
    daemon.restart();
    is_healthy.store(1, Ordering::SeqCst);
    let output = adding.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        output.stdout.ends_with(b"cell eu-1 is active\n"),
        "{output:?}"
    );
}
