//! Many tenants together.

use std::{fmt::Write as _, fs, io::Write as _, process::Stdio};

use crate::daemon::{Daemon, run};

#[test]
fn a_file_goes_in_and_comes_out() {
    let daemon = Daemon::with_two_cells("");
    let mut file = "key,cell,aliases\n".to_owned();
    for number in 0..20_001 {
        let _ = writeln!(file, "t{number},,");
    }
    file.push_str("\"o, \"\"p\"\"\",eu-2,x|y\n");
    fs::write(daemon.folder.path().join("many.csv"), &file).unwrap();
    let ran = daemon.run("tenant import many.csv --reason first --wait");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out
            .starts_with("20002 tenants imported, 20002 of them new"),
        "{ran:?}"
    );
    let nobody = "no proxies are listed in the daemon's configuration, so nobody confirmed it\n";
    assert!(
        ran.out.contains(nobody) && !ran.out.contains("in force"),
        "{ran:?}"
    );
    assert!(ran.err.contains("20000 tenants, "), "{ran:?}");
    // Three pieces, each a change with its reason.
    let audit = daemon.json("audit --limit 3 --subject tenants");
    assert_eq!(audit["entries"][1]["reason"], "first");
    let again = daemon.json("tenant import many.csv");
    assert_eq!(
        (&again["tenants"], &again["new"]),
        (&20_002.into(), &0.into())
    );

    let all = daemon.json("tenant list --all --limit 999");
    assert_eq!(all["tenants"].as_array().unwrap().len(), 20_002);
    let listed = daemon.ok("tenant list --all --prefix t1999");
    assert_eq!(listed.lines().count(), 1 + 11, "{listed}");
    let page = daemon.run("tenant list --limit 2");
    assert!(page.err.contains("--after 't0'"), "{page:?}");

    let exported = daemon.ok("tenant export --format csv");
    assert_eq!(exported.lines().count(), 20_003);
    assert!(exported.contains("\"o, \"\"p\"\"\",eu-2,false,false,x|y\n"));
    fs::write(
        daemon.folder.path().join("export.ndjson"),
        daemon.ok("tenant export"),
    )
    .unwrap();
    let other = Daemon::with_two_cells("");
    let path = daemon.folder.path().join("export.ndjson");
    let imported = other.json(&format!("tenant import {}", path.display()));
    assert_eq!(imported["new"], 20_002);
    assert_eq!(other.ok("tenant export"), daemon.ok("tenant export"));
}

#[test]
fn a_wrong_line_is_named_as_in_the_file() {
    let daemon = Daemon::with_two_cells("");
    let import = |name: &str, text: &str| {
        fs::write(daemon.folder.path().join(name), text).unwrap();
        daemon.refused(&format!("tenant import {name}"))
    };
    let mut file = "key,cell\n\n".to_owned();
    for number in 0..10_000 {
        let _ = writeln!(file, "t{number},");
    }
    let reported = import("a.csv", &format!("{file}\nx,nowhere\n"));
    for part in [
        "10000 tenants were taken",
        "  line 10004: there is no cell `nowhere`",
        "running it again is safe",
    ] {
        assert!(reported.contains(part), "{part} is not in:\n{reported}");
    }
    let reported = import("b.csv", &format!("{file}a,b,c\n"));
    assert!(
        reported.contains("  line 10003: it has 3 fields, and the first line 2\n"),
        "{reported}"
    );
    let reported = import("c.csv", "key\n\"open\nx\n");
    assert!(
        reported.contains("line 2: a field holds the end of a line"),
        "{reported}"
    );
    let reported = import("d.ndjson", "\n{\"key\":\"x\"}\n{\"key\":\"y\",\"z\":1}\n");
    assert!(
        reported.contains("  line 3: unknown field `z`"),
        "{reported}"
    );
    let reported = import("e.csv", "key\n");
    assert!(
        reported.contains("e.csv: there is no tenant in it"),
        "{reported}"
    );
    assert_eq!(
        daemon.json("tenant list --prefix x")["tenants"],
        serde_json::json!([])
    );
    assert_eq!(daemon.run("tenant import -").code, Some(2));
    assert_eq!(daemon.run("tenant import nothing.csv").code, Some(1));
}

#[test]
fn standard_input_and_a_closed_pipe_are_files_too() {
    let daemon = Daemon::with_two_cells("");
    let mut child = daemon
        .command("tenant import - --format ndjson")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = (0..3_000).fold(String::new(), |text, number| {
        text + &format!("{{\"key\":\"t{number}\"}}\n")
    });
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");

    for line in [
        "tenant list --all",
        "tenant list --all -o json",
        "tenant export",
    ] {
        let mut child = daemon
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        assert_eq!(output.stderr, b"", "{line}");
    }
    let ran = run(daemon
        .command("man")
        .env("CELLCTL_SERVER", "http://secret:1"));
    assert!(
        ran.out.contains(".TH cellctl 1") && !ran.out.contains("secret"),
        "{ran:?}"
    );
    daemon.ok("man --dir pages");
    assert!(
        daemon
            .folder
            .path()
            .join("pages/cellctl-tenant-import.1")
            .exists()
    );
    assert!(daemon.ok("completions bash").contains("cellctl"));
}
