//! The state directory on a real disk: what the process finds there after a restart.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

struct Scene {
    folder: TempDir,
    state: StateDir,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let state = StateDir::new(folder.path().join("state"));
        Self { folder, state }
    }

    fn keep(&self, generation: u64, text: &str) -> Digest {
        let digest = Digest::of(text.as_bytes());
        self.state
            .keep(number(generation), digest, text.as_bytes())
            .unwrap();
        digest
    }

    fn kept(&self) -> Vec<(u64, String)> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        self.state
            .kept()
            .map(|kept| (kept.generation.get(), text(kept.bytes)))
            .collect()
    }

    /// A file in the directory, put there by somebody else.
    fn put(&self, name: &str, text: &str) {
        fs::create_dir_all(self.state.path()).unwrap();
        fs::write(self.state.path().join(name), text).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }
}

fn number(generation: u64) -> Generation {
    Generation::new(generation).unwrap()
}

fn named(generation: u64, text: &str) -> String {
    file_name(number(generation), Digest::of(text.as_bytes()))
}

#[test]
fn the_newest_five_are_kept() {
    let scene = Scene::new();
    assert!(
        scene.kept().is_empty(),
        "a directory that is not there keeps nothing"
    );
    // 9 and 10 have names of the same length, so they sort as numbers do.
    for generation in 4..=12 {
        scene.keep(generation, &format!("table {generation}"));
    }
    let expected: Vec<_> = (8..=12).rev().map(|n| (n, format!("table {n}"))).collect();
    assert_eq!(scene.kept(), expected);
    assert_eq!(scene.files().len(), 5);
}

#[test]
fn keeping_the_same_table_again_changes_nothing() {
    let scene = Scene::new();
    scene.keep(1, "table");
    scene.keep(1, "table");
    assert_eq!(scene.kept(), [(1, "table".to_owned())]);
}

/// The table in force is kept even where broken files with higher generations stand in its way.
#[test]
fn a_new_table_outruns_broken_ones() {
    let scene = Scene::new();
    for generation in 10..20 {
        scene.put(&named(generation, "what it was"), "what became of it");
    }
    scene.keep(3, "good");
    assert_eq!(scene.kept(), [(3, "good".to_owned())]);
}

#[test]
fn what_is_no_kept_table_is_passed_over() {
    let scene = Scene::new();
    scene.keep(1, "good");
    let digest = "0".repeat(64);
    for name in [
        named(2, "other bytes"),
        named(2, "bad").to_uppercase(),
        "table.yaml".to_owned(),
        format!("table-2-{digest}.yaml"),
        format!("table-00000000000000000000-{digest}.yaml"),
        format!("table-99999999999999999999-{digest}.yaml"),
        format!("table-00000000000000000002-{}.yaml", "x".repeat(64)),
        format!("{}.tmp-1", named(2, "bad")),
        format!("{}~", named(2, "bad")),
    ] {
        scene.put(&name, "bad");
    }
    fs::create_dir(scene.state.path().join(named(3, "a directory"))).unwrap();
    assert_eq!(scene.kept(), [(1, "good".to_owned())]);
}

#[test]
fn remains_of_a_crash_are_removed() {
    let scene = Scene::new();
    let remains = [
        format!("{}.tmp-1", named(2, "half")),
        "starting.tmp-1".to_owned(),
        "startup_crashes.tmp-4194304".to_owned(),
    ];
    let others = ["notes.tmp-1", "starting.tmp-", "starting.tmp-x"];
    for name in remains.iter().map(String::as_str).chain(others) {
        scene.put(name, "half");
    }
    scene.keep(1, "good");
    let mut expected = others.map(str::to_owned).to_vec();
    expected.push(named(1, "good"));
    expected.sort_unstable();
    assert_eq!(scene.files(), expected);
}

#[test]
fn a_directory_that_cannot_be_used() {
    let scene = Scene::new();
    let digest = Digest::of(b"table");
    fs::write(scene.folder.path().join("state"), "a file").unwrap();
    let error = scene.state.keep(number(1), digest, b"table").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(scene.kept().is_empty());
    assert!(scene.state.mark_start(digest).is_err());
    assert_eq!(scene.state.startup_crashes(), StartupCrashes::default());
}

#[test]
fn a_directory_without_permission() {
    let scene = Scene::new();
    scene.keep(1, "table");
    let mode = |mode| fs::set_permissions(scene.state.path(), fs::Permissions::from_mode(mode));
    mode(0o000).unwrap();
    let is_root = fs::read_dir(scene.state.path()).is_ok();
    if !is_root {
        assert!(scene.kept().is_empty());
        let error = scene
            .state
            .keep(number(2), Digest::of(b""), b"")
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    mode(0o700).unwrap();
    assert_eq!(scene.kept().len(), 1);
}

/// Runs of a process, each of which takes a table and crashes early or does not.
#[test]
fn startup_crashes_quarantine_a_table() {
    let check = |runs: &[(&str, bool)], quarantined: &[&str]| {
        let scene = Scene::new();
        for (table, crashes) in runs {
            let digest = Digest::of(table.as_bytes());
            scene.state.startup_crashes();
            if scene.state.is_proven(digest) {
                continue;
            }
            scene.state.mark_start(digest).unwrap();
            if !crashes {
                scene.state.proved(digest).unwrap();
            }
        }
        let crashes = scene.state.startup_crashes();
        for table in ["a", "b"] {
            let is_quarantined = crashes.is_quarantined(Digest::of(table.as_bytes()));
            assert_eq!(
                is_quarantined,
                quarantined.contains(&table),
                "{table} after {runs:?}"
            );
        }
        // Asking does not count.
        assert_eq!(scene.state.startup_crashes(), crashes, "{runs:?}");
    };
    check(&[], &[]);
    check(&[("a", false)], &[]);
    check(&[("a", true)], &[]);
    check(&[("a", true), ("a", true)], &["a"]);
    check(&[("a", true), ("b", true)], &[]);
    // What was quarantined stays so while another table serves.
    check(&[("a", true), ("a", true), ("b", false)], &["a"]);
    check(
        &[("a", true), ("b", true), ("a", true), ("b", true)],
        &["a", "b"],
    );
    check(&[("a", true), ("a", false), ("a", true)], &[]);
    // Whatever happens once it has proved itself.
    check(&[("a", false), ("a", true), ("a", true), ("a", true)], &[]);
}

#[test]
fn what_is_remembered_of_crashes_is_bounded() {
    let scene = Scene::new();
    for number in 0..100 {
        scene
            .state
            .mark_start(Digest::of(format!("{number}").as_bytes()))
            .unwrap();
        scene.state.startup_crashes();
    }
    let text = fs::read_to_string(scene.state.path().join(CRASHES)).unwrap();
    assert_eq!(text.lines().count(), TABLES_REMEMBERED);
}

#[test]
fn garbage_in_the_files_about_crashes_is_no_crash() {
    let scene = Scene::new();
    scene.put(CRASHES, "\0\0\nnonsense\nx y z\n");
    assert_eq!(scene.state.startup_crashes(), StartupCrashes::default());
}

#[test]
fn one_process_at_a_time_uses_it() {
    let scene = Scene::new();
    let table = scene.folder.path().join("table.yaml");
    let first = scene.state.claim(&table).unwrap();
    let refused = scene.state.claim(&table).unwrap_err().to_string();
    let holder = format!("process {}, a proxy with the table", std::process::id());
    assert!(refused.contains(&holder), "{refused}");
    assert!(scene.state.adopt(&table).is_err());
    drop(first);
    scene.state.claim(&table).unwrap();
}

#[test]
fn it_belongs_to_one_table() {
    let scene = Scene::new();
    let at = |name: &str| scene.folder.path().join(name);
    for folder in ["release-1", "release-2", "other"] {
        fs::create_dir(at(folder)).unwrap();
    }
    let link = |target: &str| {
        let _ = fs::remove_file(at("current"));
        std::os::unix::fs::symlink(at(target), at("current")).unwrap();
    };
    let claim = |table: &str| scene.state.claim(&at(table)).map(drop);
    link("release-1");
    claim("current/table.yaml").unwrap();
    // The same file in other words, and the same words for a folder that was swapped.
    claim("release-1/table.yaml").unwrap();
    claim("current/table.yaml").unwrap();
    link("release-2");
    claim("current/table.yaml").unwrap();

    let refused = claim("other/table.yaml").unwrap_err();
    assert!(refused.hint().contains("cellgate-proxy state adopt"));
    let refused = refused.to_string();
    assert!(refused.contains("current/table.yaml"), "{refused}");
    let judged = scene.state.check_owner(&at("other/table.yaml")).unwrap();
    assert_eq!(judged.unwrap_err().to_string(), refused);

    let adopted = scene.state.adopt(&at("other/table.yaml")).unwrap();
    let before = adopted.before.unwrap();
    assert_eq!(before.configured, at("current/table.yaml"));
    claim("other/table.yaml").unwrap();
    assert!(claim("current/table.yaml").is_err());
}

/// A file in its place, or nobody's permission: that is no reason not to serve.
#[test]
fn what_cannot_be_locked_or_noted_is_claimed_all_the_same() {
    let scene = Scene::new();
    let table = scene.folder.path().join("table.yaml");
    fs::write(scene.folder.path().join("state"), "a file").unwrap();
    scene.state.claim(&table).unwrap();
    assert!(scene.state.adopt(&table).is_err());
    fs::remove_file(scene.folder.path().join("state")).unwrap();
    scene.state.claim(&table).unwrap();
}

/// It was overwritten with a warning, and whoever came next served another proxy's tables.
#[test]
fn an_owner_that_cannot_be_read_is_nobodys_to_overwrite() {
    for garbage in ["garbage", "", "{}", "{\"table\":\"/a\"}"] {
        let scene = Scene::new();
        let table = scene.folder.path().join("table.yaml");
        scene.put(OWNER, garbage);
        let refused = scene.state.claim(&table).unwrap_err();
        assert!(refused.hint().contains("state adopt"), "{}", refused.hint());
        let refused = refused.to_string();
        assert!(refused.contains("cannot be read"), "{refused}");
        let checked = scene.state.check_owner(&table).unwrap().unwrap_err();
        assert_eq!(checked.to_string(), refused);
        let left = fs::read_to_string(scene.state.path().join(OWNER)).unwrap();
        assert_eq!(left, garbage);
        scene.state.adopt(&table).unwrap();
        scene.state.claim(&table).unwrap();
    }
    // No permission, a bad disk: the file is there all the same.
    let scene = Scene::new();
    fs::create_dir_all(scene.state.path().join(OWNER)).unwrap();
    assert!(matches!(
        scene.state.claim(&scene.folder.path().join("table.yaml")),
        Err(ClaimError::OwnerUnreadable { .. })
    ));
}

/// For whoever only checks: nothing is written, and the mark of a process that may still run is not a crash.
#[test]
fn the_crashes_are_known_without_counting_them() {
    let scene = Scene::new();
    let digest = Digest::of(b"table");
    let now = SystemTime::now();
    let first_seconds = Duration::from_secs(3);
    let known = |now| scene.state.known_crashes(first_seconds, now).unwrap();
    assert_eq!(known(now), StartupCrashes::default());
    scene.state.mark_start(digest).unwrap();
    scene.state.startup_crashes();
    scene.state.mark_start(digest).unwrap();
    let files = scene.files();
    assert!(!known(now).is_quarantined(digest));
    let later = now + Duration::from_secs(60);
    assert!(known(later).is_quarantined(digest));
    assert_eq!(scene.files(), files);
    assert_eq!(known(later), scene.state.startup_crashes());
    // Only where another table is in force.
    let crashes = known(later);
    assert!(
        crashes
            .refusal_of(digest, Some(Digest::of(b"other")))
            .is_some()
    );
    assert!(crashes.refusal_of(digest, Some(digest)).is_none());
    assert!(crashes.refusal_of(digest, None).is_none());
}
