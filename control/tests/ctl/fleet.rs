//! Cells, tenants and tables, from the first cell to a rollback.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::daemon::{Daemon, Listener, Running, until};

#[test]
fn a_fleet_begins() {
    let daemon = Daemon::start();
    let status = daemon.ok("status");
    assert!(
        status.starts_with("ATTENTION: no table can be published: no cell owns"),
        "{status}"
    );
    assert_eq!(daemon.run("status --check").code, Some(1));

    let address = daemon.cell.address;
    let added = daemon.ok(&format!(
        "cell add eu-1 --endpoint {address} --label zone=a --wait"
    ));
    assert!(added.ends_with("cell eu-1 is active\n"), "{added}");
    let added = daemon.json(&format!("cell add eu-2 --endpoint {address}=3 --wait"));
    assert_eq!(
        (&added["state"], &added["endpoints"][0]["weight"]),
        (&"active".into(), &3.into())
    );
    until("the slots are spread", || {
        daemon.json("slots")["cells"][1]["count"] == 32768
    });
    let slots = daemon.ok("slots");
    assert!(slots.contains("eu-1  32768  50 %   32768  "), "{slots}");

    daemon.ok("cell update eu-1 --max-in-flight 77 --health-tcp --capacity tenants=9 --wait");
    let shown = daemon.ok("cell show eu-1");
    for part in [
        "labels           zone=a\n",
        "max in flight    77 ",
        "a TCP connection every 2000 ms",
        "tenants 0/9 (0 %)",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    daemon.ok("cell usage eu-1 gb=1.5");
    let listed = daemon.ok("cell list --state active");
    assert!(
        listed.contains("eu-1  active  static    0        32768  tenants 0/9 (0 %)"),
        "{listed}"
    );
    until("all is healthy", || {
        daemon.run("status --check").code == Some(0)
    });
    let status = daemon.ok("status");
    assert!(status.starts_with("OK\n\nTABLE  generation "), "{status}");
    let plan = daemon.ok("plan");
    assert_eq!(plan, "nothing would move\n");
}

#[test]
fn tenants_live_where_they_were_put() {
    let daemon = Daemon::with_two_cells("");
    let added = daemon
        .ok("tenant add acme --cell eu-1 --alias www.acme.example --reason a-contract --wait");
    assert!(
        added.contains("cell        eu-1, since revision"),
        "{added}"
    );
    // Said again it changes nothing.
    daemon.ok("tenant add acme");
    let refused = daemon.refused("tenant pin acme eu-2");
    assert!(
        refused.contains("(has_data)") && refused.contains("--without-data"),
        "{refused}"
    );
    daemon.ok("tenant pin acme eu-2 --without-data --wait");
    let explained = daemon.ok("explain www.acme.example");
    for part in [
        "alias of    acme\n",
        "cell        eu-2, since revision ",
        "by          a pin: ",
        "aliases     www.acme.example\n",
    ] {
        assert!(explained.contains(part), "{part} is not in:\n{explained}");
    }
    let audit = daemon.json("audit --subject acme");
    assert_eq!(audit["entries"].as_array().unwrap().len(), 2);
    assert_eq!(audit["entries"][1]["reason"], "a-contract");
    daemon.ok("tenant unpin acme");
    daemon.ok("tenant reject acme --wait");
    let rejected = daemon.json("tenant list --rejected");
    assert_eq!(rejected["tenants"][0]["key"], "acme");
    let diff = daemon.ok("table diff");
    assert!(diff.contains("rejects added: acme\n"), "{diff}");
    daemon.ok("tenant accept acme");
    daemon.ok("tenant alias add acme acme.old");
    daemon.ok("tenant alias remove acme www.acme.example");
    assert_eq!(
        daemon.json("tenant show acme")["aliases"],
        serde_json::json!(["acme.old"])
    );
    let forgotten = daemon.ok("tenant remove acme --wait");
    assert!(
        forgotten.starts_with("tenant acme is forgotten; it lived in cell eu-2"),
        "{forgotten}"
    );
    let refused = daemon.refused("tenant show acme");
    assert_eq!(
        refused,
        "error: no tenant `acme` is registered (no_such_tenant)\n"
    );
}

#[test]
fn any_key_can_be_named() {
    let daemon = Daemon::with_two_cells("");
    for key in [
        ".", "..", "a/b", "100%", "%2F", "a b", "what?#x", "grün", "a&b=c", "..//..", "-x",
    ] {
        daemon.ok_of(&["tenant", "add", "--", key]);
        daemon.ok_of(&["tenant", "alias", "add", "--", key, &format!("{key}/alias")]);
        let shown = daemon.ok_of(&["-o", "json", "tenant", "show", "--", key]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["key"], key);
        let explained = daemon.ok_of(&["explain", "--", &format!("{key}/alias")]);
        assert!(
            explained.contains(&format!("alias of    {key}\n")),
            "{explained}"
        );
        daemon.ok_of(&["tenant", "reject", "--", key]);
    }
    daemon.ok_of(&["tenant", "remove", "--", ".."]);
    let left = daemon.json("tenant list --all");
    assert_eq!(left["tenants"].as_array().unwrap().len(), 10);
    assert_eq!(left["tenants"][2]["key"], ".");
}

#[test]
fn a_cell_is_emptied_and_taken_back() {
    let daemon = Daemon::with_two_cells("--stateless");
    daemon.ok("tenant add acme --cell eu-2 --wait");
    let before = daemon.json("table show")["generation"].as_u64().unwrap();

    let refused = daemon.refused("cell drain eu-2");
    assert!(
        refused.contains("(moves_too_much)") && refused.contains("--allow-move"),
        "{refused}"
    );
    let drained = daemon.ok("cell drain eu-2 --allow-move --reason new-machines --wait");
    for part in [
        "32768 slots  eu-2 -> eu-1 ",
        "1 tenant     eu-2 -> where",
        "cell eu-2 is drained; table ",
    ] {
        assert!(drained.contains(part), "{part} is not in:\n{drained}");
    }
    let tables = daemon.ok("table list");
    assert!(tables.contains(&format!("\n{before} ")), "{tables}");
    let diff = daemon.ok(&format!("table diff {before}"));
    assert!(
        diff.contains("32768 slots move (50 %):\n") && diff.contains("cells removed: eu-2\n"),
        "{diff}"
    );
    let kept = daemon.ok(&format!("table get {before}"));
    assert_eq!(daemon.ok(&format!("table show {before}")), kept);
    assert!(
        kept.contains("eu-2") && kept.starts_with("format: 1"),
        "{kept}"
    );

    daemon.ok("cell activate eu-2 --wait");
    let refused = daemon.refused(&format!("table rollback {before}"));
    assert!(refused.contains("--allow-move"), "{refused}");
    let back = daemon.ok(&format!("table rollback {before} --allow-move --wait"));
    assert!(back.contains("32768 slots move, 1 tenant move"), "{back}");
    assert_eq!(daemon.json("explain acme")["cell"], "eu-2");

    let refused = daemon.refused("cell remove eu-2");
    assert!(refused.contains("(cell_owns)"), "{refused}");
    let refused = daemon.refused("cell remove eu-2 --force --allow-move");
    assert!(
        refused.contains("(no_reason)") && refused.contains("--reason TEXT"),
        "{refused}"
    );
    daemon.ok("cell drain eu-2 --allow-move --wait");
    let removed = daemon.ok("cell remove eu-2 --wait");
    assert!(removed.contains("cell eu-2 is removed"), "{removed}");
    assert!(daemon.ok("cell list --state removed").contains("eu-2"));
}

#[test]
fn a_plan_evens_out() {
    let daemon = Daemon::with_two_cells("--stateless");
    let address = daemon.cell.address;
    daemon.ok(&format!("cell add eu-3 --endpoint {address} --wait"));
    let plan = daemon.ok("plan");
    assert!(
        plan.contains("slots  eu-1 -> eu-3") && plan.contains("`cellctl plan apply`"),
        "{plan}"
    );
    let refused = daemon.refused("plan apply");
    assert!(refused.contains("(moves_too_much)"), "{refused}");
    let applied = daemon.ok("plan apply --allow-move --wait");
    assert!(
        applied.contains("moved:\n") && applied.contains(", so nobody confirmed it\n"),
        "{applied}"
    );
    assert_eq!(daemon.ok("plan"), "nothing would move\n");
    // What it keeps data in is left alone.
    daemon.ok("cell drain eu-3");
    let plan = daemon.ok("plan");
    assert!(
        plan.contains("left alone:\n  eu-3  ") && plan.contains("keeps data"),
        "{plan}"
    );
    let waited = daemon.run("cell drain eu-3 --wait --timeout 1");
    assert_eq!(waited.code, Some(1), "{waited:?}");
    assert!(
        waited.err.contains("cell eu-3 is draining, and owns "),
        "{waited:?}"
    );
}

#[test]
fn what_happened_is_listed_and_followed() {
    let daemon = Daemon::with_two_cells("");
    let listed = daemon.json("events --after 0 --limit 4");
    let listed = listed["events"].as_array().unwrap();
    assert_eq!(listed.len(), 4);
    assert!(listed.iter().any(|it| it["kind"] == "cell.add"));
    let reported = daemon.ok("events --follow --after 0 --limit 3 -o json");
    let first: serde_json::Value = serde_json::from_str(reported.lines().next().unwrap()).unwrap();
    assert_eq!((reported.lines().count(), &first["id"]), (3, &1.into()));
}

#[test]
fn a_stream_goes_on_after_a_restart() {
    let mut daemon = Daemon::with_two_cells("");
    // Over the socket, whose place stays the same when the daemon is started again.
    let stream = Stream::new(
        daemon
            .command("events --follow --socket api.sock")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    until("a first event", || {
        daemon.ok("tenant add a --cell eu-1");
        daemon.ok("tenant remove a");
        Stream::has(&stream.out, "  tenant.remove ")
    });
    daemon.restart();
    until("word of the restart", || {
        Stream::has(&stream.err, "connecting again")
    });
    // What happens before it is connected again is not shown: the daemon counts its events anew.
    until("an event after the restart", || {
        daemon.ok("tenant add b --cell eu-1 --rejected");
        daemon.ok("tenant accept b");
        daemon.ok("tenant remove b");
        Stream::has(&stream.out, "  tenant.accept ")
    });
}

/// A program whose lines are read as they come.
struct Stream {
    _child: Running,
    out: Lines,
    err: Lines,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl Stream {
    fn new(mut child: Child) -> Self {
        let out = Self::lines(child.stdout.take().unwrap());
        let err = Self::lines(child.stderr.take().unwrap());
        Self {
            _child: Running(child),
            out,
            err,
        }
    }

    fn lines(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        lines
    }

    fn has(lines: &Lines, word: &str) -> bool {
        lines.lock().unwrap().iter().any(|line| line.contains(word))
    }
}

#[test]
fn a_proxy_that_lags_is_waited_for() {
    let table = Arc::new(Mutex::new(None));
    let proxy = Listener::proxy(Arc::clone(&table));
    let daemon = Daemon::with(&format!(
        "cells: {{ first_table_settle_ms: 0 }}\nproxies: [{{ name: edge-1, admin: \"{}\" }}]",
        proxy.address
    ));
    let path = daemon.folder.path().join("table.yaml");
    let follow = |is_following: bool| *table.lock().unwrap() = is_following.then(|| path.clone());
    follow(true);
    let address = daemon.cell.address;
    daemon.ok(&format!("cell add eu-1 --endpoint {address} --wait"));
    until("all is healthy", || {
        daemon.run("status --check").code == Some(0)
    });
    let status = daemon.ok("status");
    assert!(status.contains("\n  edge-1  reachable  "), "{status}");

    follow(false);
    daemon.ok("tenant add acme --rejected");
    let waited = daemon.run("tenant alias add acme x --wait --timeout 1");
    assert_eq!(waited.code, Some(1), "{waited:?}");
    for part in [
        "; not confirmed by edge-1 (has generation ",
        "the change itself is stored",
    ] {
        assert!(waited.err.contains(part), "{part} is not in: {waited:?}");
    }
    let verdict = "ATTENTION: proxy edge-1 has an old table since ";
    until("it is late enough to need somebody", || {
        let status = daemon.run("status --check");
        status.code == Some(1) && status.out.starts_with(verdict)
    });
    let proxies = daemon.ok("proxies");
    assert!(proxies.contains("behind by "), "{proxies}");

    follow(true);
    daemon.ok("tenant alias add acme y --wait");
}
