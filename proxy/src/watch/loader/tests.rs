//! The loader over real files in a scratch folder.

use std::fs;

use tempfile::TempDir;

use super::*;
use cellgate_table::Generation;

struct Scene {
    folder: TempDir,
    metrics: Arc<Metrics>,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            metrics: Arc::new(Metrics::new()),
        }
    }

    /// A loader as a restarted process makes it.
    fn loader(&self) -> Loader {
        let config = TableConfig {
            path: self.folder.path().join("table.yaml"),
            move_limits: accept::MoveLimits::default(),
            unready_when_behind: false,
            poll_interval: Duration::from_secs(1),
        };
        let state_dir = StateDir::new(self.folder.path().join("state"));
        Loader::new(config, state_dir, Arc::default(), Arc::clone(&self.metrics))
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("table.yaml"), text).unwrap();
    }

    /// Which table a crash would count against.
    fn mark(&self) -> Option<String> {
        let mark = fs::read_to_string(self.folder.path().join("state/starting"));
        mark.ok().map(|text| text.trim().to_owned())
    }

    fn kept(&self) -> Vec<u64> {
        let state_dir = StateDir::new(self.folder.path().join("state"));
        state_dir.kept().map(|kept| kept.generation.get()).collect()
    }

    fn series(&self, cell: &str) -> usize {
        let text = String::from_utf8(self.metrics.render()).unwrap();
        text.matches(&format!("cell=\"{cell}\"")).count()
    }
}

/// Fails as late as it can, with the metrics of the table's cells made.
fn build_and_panic(accepted: Accepted, previous: Option<&Snapshot>, metrics: &Metrics) -> Snapshot {
    let snapshot = Snapshot::build(accepted, previous, metrics);
    panic!("no snapshot of generation {}", snapshot.generation.get());
}

fn panic_on_generation_2(
    accepted: Accepted,
    previous: Option<&Snapshot>,
    metrics: &Metrics,
) -> Snapshot {
    assert_ne!(accepted.generation.get(), 2);
    Snapshot::build(accepted, previous, metrics)
}

/// A table whose tenant `acme` lives in `cell`.
fn table(generation: &str, cell: &str) -> String {
    format!(
        "format: 1\n{generation}\nhash: {{ seed: 0, slots: 4 }}\ncells:\n  \
         a: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}] }}\n  \
         b: {{ endpoints: [{{ address: \"127.0.0.1:2\" }}] }}\n\
         slots: {{ a: [\"0-1\"], b: [\"2-3\"] }}\noverrides: {{ acme: {cell} }}\n"
    )
}

fn home_of_acme(loader: &Loader) -> Option<(u64, Source, String)> {
    let snapshot = loader.current.load()?;
    let cell = snapshot.routes.route(b"acme").cell;
    let cell = snapshot.cell(cell).state.id.to_string();
    Some((snapshot.generation.get(), snapshot.source, cell))
}

fn expect(loader: &Loader, generation: u64, source: Source, cell: &str) {
    assert_eq!(
        home_of_acme(loader),
        Some((generation, source, cell.to_owned()))
    );
}

#[test]
fn each_change_by_hand_takes_the_next_generation() {
    let scene = Scene::new();
    let loader = scene.loader();
    scene.write(&table("", "a"));
    loader.start();
    expect(&loader, 1, Source::File, "a");
    scene.write(&table("", "b"));
    assert_eq!(
        loader.poll(),
        Outcome::Accepted(Generation::new(2).unwrap())
    );
    expect(&loader, 2, Source::File, "b");
    scene.write(&format!("# a comment\n{}", table("", "b")));
    assert_eq!(loader.poll(), Outcome::Unchanged);
    expect(&loader, 2, Source::File, "b");
}

#[test]
fn a_refusal_leaves_the_table_in_force_and_is_counted_once() {
    let scene = Scene::new();
    let loader = scene.loader();
    scene.write(&table("generation: 7", "a"));
    loader.start();
    for bad in [
        "",
        "format: 2",
        "\0",
        &table("generation: 6", "b"),
        &table("generation: 7", "b"),
    ] {
        scene.write(bad);
        let before = scene.metrics.table_reload_failures.get();
        for _ in 0..3 {
            assert!(matches!(loader.poll(), Outcome::Refused(_)), "{bad:?}");
        }
        assert_eq!(
            scene.metrics.table_reload_failures.get(),
            before + 1,
            "{bad:?}"
        );
        assert_eq!(scene.metrics.table_last_reload_success.get(), 0);
        assert!(!loader.status().last_reload.unwrap().ok);
        expect(&loader, 7, Source::File, "a");
    }
    scene.write(&table("generation: 8", "b"));
    loader.poll();
    expect(&loader, 8, Source::File, "b");
    assert_eq!(scene.metrics.table_last_reload_success.get(), 1);
}

#[test]
fn after_a_restart_the_last_good_table_is_served() {
    let scene = Scene::new();
    scene.write(&table("generation: 3", "b"));
    scene.loader().start();
    // The file is older than what was in force: tenants that moved must not be sent back.
    for bad in ["garbage: [", &table("generation: 2", "a")] {
        scene.write(bad);
        let loader = scene.loader();
        loader.start();
        expect(&loader, 3, Source::LastGood, "b");
        assert_eq!(scene.metrics.table_from_last_good.get(), 1);
    }
    fs::remove_file(scene.folder.path().join("table.yaml")).unwrap();
    let loader = scene.loader();
    loader.start();
    expect(&loader, 3, Source::LastGood, "b");
    // The same table put back where it was: in force again as the file's.
    scene.write(&table("generation: 3", "b"));
    loader.poll();
    expect(&loader, 3, Source::File, "b");
    assert_eq!(scene.metrics.table_from_last_good.get(), 0);
}

#[test]
fn without_any_table_there_is_no_half_way_answer() {
    let scene = Scene::new();
    let loader = scene.loader();
    loader.start();
    assert_eq!(home_of_acme(&loader), None);
    let why = loader.status().last_reload.unwrap().error.unwrap();
    assert!(why.contains("not there"), "{why}");
}

#[test]
fn a_table_on_which_the_process_crashed_twice_is_quarantined() {
    let scene = Scene::new();
    scene.write(&table("generation: 1", "a"));
    let loader = scene.loader();
    loader.start();
    loader.prove(Duration::ZERO);
    scene.write(&table("generation: 2", "b"));
    // Each run crashes: the mark of its start stands.
    for _ in 0..2 {
        let loader = scene.loader();
        loader.start();
        expect(&loader, 2, Source::File, "b");
    }
    for _ in 0..2 {
        let loader = scene.loader();
        loader.start();
        expect(&loader, 1, Source::LastGood, "a");
        let why = loader.status().last_reload.unwrap().error.unwrap();
        assert!(why.contains("quarantined"), "{why}");
        loader.prove(Duration::ZERO);
    }
    // A changed file is another table.
    scene.write(&table("generation: 3", "b"));
    let loader = scene.loader();
    loader.start();
    expect(&loader, 3, Source::File, "b");
}

/// A daemon's history names the table by the bytes that the daemon wrote. A comment that was added by hand made the
/// proxy forget those, so it was left behind until a restart.
#[test]
fn a_comment_does_not_hide_the_table_from_a_history() {
    let scene = Scene::new();
    let published = table("generation: 1", "a");
    scene.write(&published);
    let loader = scene.loader();
    loader.start();
    for number in 0..20 {
        scene.write(&format!("# comment {number}\n{published}"));
        assert_eq!(loader.poll(), Outcome::Unchanged);
    }
    let known = loader.current.load().unwrap().other_digests.clone();
    assert_eq!(known.len(), OTHER_DIGESTS_MAX);
    assert_eq!(known[0], Digest::of(published.as_bytes()));

    let moved = format!(
        "{}history:\n- generation: 1\n  digest: {}\n  moved_slots_percent: 25.0\n  moved_overrides: 0\n\
         - generation: 2\n  digest: {}\n  moved_slots_percent: 25.0\n  moved_overrides: 0\n",
        table("generation: 3", "a").replace("a: [\"0-1\"], b: [\"2-3\"]", "b: [\"0-3\"]"),
        Digest::of(published.as_bytes()),
        Digest::of(b"missed"),
    );
    scene.write(&moved);
    assert_eq!(
        loader.poll(),
        Outcome::Accepted(Generation::new(3).unwrap())
    );
    let known = loader.current.load().unwrap().other_digests.clone();
    assert_eq!(known, [], "another generation has other files");
}

/// Two kills soon after later starts, as an impatient supervisor does it, say nothing about a table that has served.
#[test]
fn a_table_that_has_served_is_not_given_up() {
    let scene = Scene::new();
    for (generation, cell) in [("generation: 1", "a"), ("generation: 2", "b")] {
        scene.write(&table(generation, cell));
        let loader = scene.loader();
        loader.start();
        loader.prove(Duration::ZERO);
    }
    for _ in 0..3 {
        let loader = scene.loader();
        loader.start();
        expect(&loader, 2, Source::File, "b");
        assert_eq!(scene.mark(), None);
    }
    // A new one is on trial in each run until it has served, however the others end.
    scene.write(&table("generation: 3", "a"));
    for ends_in_order in [false, true] {
        let loader = scene.loader();
        loader.start();
        expect(&loader, 3, Source::File, "a");
        assert!(scene.mark().is_some());
        if ends_in_order {
            loader.end();
        }
    }
    let loader = scene.loader();
    loader.start();
    expect(&loader, 3, Source::File, "a");
    let loader = scene.loader();
    loader.start();
    expect(&loader, 2, Source::LastGood, "b");
}

#[test]
fn the_only_table_is_served_even_if_runs_crashed_on_it() {
    let scene = Scene::new();
    scene.write(&table("generation: 1", "a"));
    for _ in 0..4 {
        let loader = scene.loader();
        loader.start();
        assert!(home_of_acme(&loader).is_some());
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_stops_no_change() {
    let scene = Scene::new();
    // A file stands where the directory should be; not even root can write into that.
    fs::write(scene.folder.path().join("state"), "").unwrap();
    scene.write(&table("", "a"));
    let loader = scene.loader();
    loader.start();
    expect(&loader, 1, Source::File, "a");
    assert!(loader.status().state_dir_error.is_some());
    assert_eq!(scene.metrics.state_write_failures.get(), 1);
}

#[test]
fn cells_that_leave_take_their_series_along() {
    let scene = Scene::new();
    scene.write(&table("", "a"));
    let loader = scene.loader();
    loader.start();
    assert!(scene.series("b") > 0);
    scene.write(
        "format: 1\nallow_move: true\nhash: { seed: 0, slots: 4 }\n\
         cells: { a: { endpoints: [{ address: \"127.0.0.1:1\" }] } }\nslots: { a: [\"0-3\"] }\n",
    );
    assert!(matches!(loader.poll(), Outcome::Accepted(_)));
    assert_eq!(scene.series("b"), 0);
    assert!(scene.series("a") > 0);
}

/// A table that cannot be built was kept before that showed, and its first seconds stayed marked: the next start would
/// have served by it.
#[test]
fn a_panic_while_a_table_is_built_leaves_nothing_of_it() {
    for has_proved in [true, false] {
        let scene = Scene::new();
        let mut loader = scene.loader();
        scene.write(&table("generation: 1", "a"));
        loader.start();
        if has_proved {
            loader.prove(Duration::ZERO);
        }
        let marked = scene.mark();
        assert_eq!(marked.is_none(), has_proved);

        loader.build = build_and_panic;
        let with_c = table("generation: 2", "b").replace(
            "cells:\n",
            "cells:\n  c: { endpoints: [{ address: \"127.0.0.1:3\" }] }\n",
        );
        scene.write(&with_c);
        for _ in 0..2 {
            assert!(matches!(loader.poll(), Outcome::Refused(_)));
        }
        expect(&loader, 1, Source::File, "a");
        assert_eq!(scene.metrics.table_reload_failures.get(), 1);
        assert_eq!(scene.metrics.table_last_reload_success.get(), 0);
        assert_eq!(scene.metrics.table_generation.get(), 1);
        let why = loader.status().last_reload.unwrap().error.unwrap();
        assert!(why.contains("a mistake in cellgate"), "{why}");
        assert_eq!(scene.mark(), marked);
        assert_eq!(scene.kept(), [1]);
        assert_eq!(scene.series("c"), 0);
        assert!(scene.series("b") > 0);

        loader.build = Snapshot::build;
        assert_eq!(
            loader.poll(),
            Outcome::Accepted(Generation::new(2).unwrap())
        );
        expect(&loader, 2, Source::File, "b");
        assert!(scene.series("c") > 0);
        assert_eq!(loader.prove(Duration::ZERO), None);
        assert_eq!(scene.mark(), None);
    }
}

#[test]
fn a_panic_while_the_same_table_is_taken_in_other_words_changes_nothing() {
    let scene = Scene::new();
    let mut loader = scene.loader();
    scene.write(&table("generation: 1", "a"));
    loader.start();
    let digest = loader.current.load().unwrap().digest;
    let marked = scene.mark();
    loader.build = build_and_panic;
    scene.write(&format!("# a comment\n{}", table("generation: 1", "a")));
    assert!(matches!(loader.poll(), Outcome::Refused(_)));
    expect(&loader, 1, Source::File, "a");
    assert_eq!(loader.current.load().unwrap().digest, digest);
    assert_eq!(scene.mark(), marked);
    assert_eq!(scene.metrics.table_reload_failures.get(), 1);
    loader.build = Snapshot::build;
    assert_eq!(loader.poll(), Outcome::Unchanged);
    assert_ne!(loader.current.load().unwrap().digest, digest);
}

/// The endpoints of both tables share their state.
#[test]
fn checks_are_forgotten_only_once_a_table_without_them_is_in_force() {
    let scene = Scene::new();
    let mut loader = scene.loader();
    let unchecked = table("generation: 2", "a");
    let checked = table("generation: 1", "a").replace(
        "endpoints: [{ address: \"127.0.0.1:1\" }]",
        "health_check: { type: tcp }, endpoints: [{ address: \"127.0.0.1:1\" }]",
    );
    scene.write(&checked);
    loader.start();
    let endpoint = Arc::clone(&loader.current.load().unwrap().cells()[0].endpoints[0].state);
    endpoint.health.checked(false, 1, 1);
    let healthy = || scene.metrics.of_cell("a").healthy_endpoints.get();

    loader.build = build_and_panic;
    scene.write(&unchecked);
    assert!(matches!(loader.poll(), Outcome::Refused(_)));
    assert!(endpoint.health.is_unhealthy());

    loader.build = Snapshot::build;
    assert_eq!(
        loader.poll(),
        Outcome::Accepted(Generation::new(2).unwrap())
    );
    assert!(!endpoint.health.is_unhealthy());
    assert_eq!(healthy(), 1);
}

#[test]
fn a_kept_table_that_cannot_be_built_is_passed_over_at_start() {
    let scene = Scene::new();
    for (generation, cell) in [("generation: 1", "a"), ("generation: 2", "b")] {
        scene.write(&table(generation, cell));
        let loader = scene.loader();
        loader.start();
        loader.prove(Duration::ZERO);
    }
    fs::remove_file(scene.folder.path().join("table.yaml")).unwrap();
    let before = scene.metrics.table_reload_failures.get();
    let mut loader = scene.loader();
    loader.build = panic_on_generation_2;
    loader.start();
    expect(&loader, 1, Source::LastGood, "a");
    // And the file that is not there.
    assert_eq!(scene.metrics.table_reload_failures.get(), before + 2);
    assert_eq!(scene.mark(), None, "it has proved itself before");

    let mut loader = scene.loader();
    loader.build = build_and_panic;
    loader.start();
    assert_eq!(home_of_acme(&loader), None);
    assert_eq!(scene.mark(), None);
}
