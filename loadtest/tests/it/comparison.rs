//! `make compare` from end to end, as short as it can be: that it runs, not how fast anything is.

use std::{fs, path::Path, process::Command, thread};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    built_program,
    heavy::{alone, skip},
};

/// Of what the harness needs to run at all. Debian keeps servers where not everybody looks.
const PROGRAMS: [&str; 4] = ["taskset", "wrk", "nginx", "haproxy"];
const FOLDERS: &str = "/usr/bin:/usr/local/bin:/usr/sbin:/usr/local/sbin";

#[test]
fn a_comparison_gives_figures_for_every_proxy() {
    if let Some(why) = cannot_run() {
        return skip(why);
    }
    let _alone = alone();
    let out = TempDir::new().expect("a folder");
    let output = Command::new("python3")
        .args([
            "-B",
            "-m",
            "compare",
            "--rounds",
            "1",
            "--only",
            "small,head-log",
        ])
        .args(["--peers", "nginx,haproxy,cellgate,cellgate-direct-off"])
        .arg("--binary")
        .arg(built_program("cellgate-proxy"))
        .arg("--out")
        .arg(out.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("python3 is here");
    let report = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}{complaints}");

    let results = fs::read(out.path().join("results.json")).expect("results");
    let results: Value = serde_json::from_slice(&results).expect("JSON");
    for (workload, peers) in [("small", 4), ("head-log", 3)] {
        let round = results["rounds"][workload][0].as_object();
        let round = round.expect("a round");
        assert_eq!(round.len(), peers, "{workload}");
        for (peer, figures) in round {
            let cpu = &figures["cpu_us"];
            assert!(cpu.as_f64() > Some(0.1), "{workload}, {peer}: {cpu}");
        }
    }
    let tables = fs::read_to_string(out.path().join("results.md")).expect("tables");
    assert!(tables.contains("| HAProxy | "), "{tables}");
    for text in [tables, results.to_string()] {
        let folder = out.path().to_str().expect("UTF-8");
        assert!(!text.contains(folder), "a folder of this machine: {text}");
    }
}

fn cannot_run() -> Option<String> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cfg!(not(target_os = "linux")) || cores < 2 {
        return Some("it needs Linux and two cores".to_owned());
    }
    let python = Command::new("python3")
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"])
        .status();
    if !python.is_ok_and(|status| status.success()) {
        return Some("it needs Python 3.11".to_owned());
    }
    let is_there = |program: &&str| {
        let mut folders = FOLDERS.split(':');
        folders.any(|folder| Path::new(folder).join(program).exists())
    };
    let missing = PROGRAMS.iter().find(|program| !is_there(program))?;
    Some(format!("{missing} is missing"))
}
