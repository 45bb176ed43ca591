//! The state directory on a real disk: what a later life of the process finds there.

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
fn a_new_table_outlives_broken_ones() {
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
        "early-deaths.tmp-4194304".to_owned(),
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
    assert_eq!(scene.state.early_deaths(), EarlyDeaths::default());
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

/// Lives of a process, each of which takes a table and dies early or does not.
#[test]
fn early_deaths_condemn_a_table() {
    let check = |lives: &[(&str, bool)], condemned: &[&str]| {
        let scene = Scene::new();
        for (table, dies) in lives {
            let digest = Digest::of(table.as_bytes());
            scene.state.early_deaths();
            scene.state.mark_start(digest).unwrap();
            if !dies {
                scene.state.survived(digest).unwrap();
            }
        }
        let deaths = scene.state.early_deaths();
        for table in ["a", "b"] {
            let is_condemned = deaths.condemn(Digest::of(table.as_bytes()));
            assert_eq!(
                is_condemned,
                condemned.contains(&table),
                "{table} after {lives:?}"
            );
        }
        // Looking does not count.
        assert_eq!(scene.state.early_deaths(), deaths, "{lives:?}");
    };
    check(&[], &[]);
    check(&[("a", false)], &[]);
    check(&[("a", true)], &[]);
    check(&[("a", true), ("a", true)], &["a"]);
    check(&[("a", true), ("b", true)], &[]);
    // What was condemned stays so while another table serves.
    check(&[("a", true), ("a", true), ("b", false)], &["a"]);
    check(
        &[("a", true), ("b", true), ("a", true), ("b", true)],
        &["a", "b"],
    );
    check(&[("a", true), ("a", false), ("a", true)], &[]);
}

#[test]
fn what_is_remembered_of_deaths_is_bounded() {
    let scene = Scene::new();
    for number in 0..100 {
        scene
            .state
            .mark_start(Digest::of(format!("{number}").as_bytes()))
            .unwrap();
        scene.state.early_deaths();
    }
    let text = fs::read_to_string(scene.state.path().join(DEATHS)).unwrap();
    assert_eq!(text.lines().count(), DEATHS_REMEMBERED);
}

#[test]
fn garbage_in_the_files_about_deaths_is_no_death() {
    let scene = Scene::new();
    scene.put(DEATHS, "\0\0\nnonsense\nx y z\n");
    assert_eq!(scene.state.early_deaths(), EarlyDeaths::default());
}
