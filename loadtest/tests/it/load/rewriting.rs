//! The table is rewritten ten times a second, in all the ways there are, under load.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{PINNED_EVERY, explained, tenants};
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::{alone, amount, figure, skip},
    proxy::{Proxy, rename_over},
    table::TableText,
    wait_until,
    ways::both_ways,
    wrk,
};

both_ways!(every_answer_is_right_while_the_table_is_rewritten);

const TENANTS: usize = 1_000;
const CELLS: usize = 3;
const BETWEEN_WRITES: Duration = Duration::from_millis(100);
/// One in so many is garbage.
const GARBAGE_EVERY: usize = 5;

fn every_answer_is_right_while_the_table_is_rewritten() {
    if !wrk::is_here() {
        return skip("wrk is missing");
    }
    let _alone = alone();
    let time = Duration::from_secs(amount("CELLGATE_LOAD_SECONDS", 5));
    let fleet = Fleet::start(CELLS);
    let tenants = tenants(TENANTS);
    let table = tenants
        .iter()
        .step_by(PINNED_EVERY)
        .enumerate()
        .fold(fleet.table(), |table, (at, tenant)| {
            table.pin(tenant, &format!("cell-{}", at % CELLS + 1))
        });
    let proxy = Proxy::start(&table);
    let expect = proxy.directory().join("expect.tsv");
    fs::write(&expect, explained(&proxy, &tenants)).expect("the scratch directory is ours");

    let run = |connections, is_ordered| {
        let expect = expect.clone();
        let verify = wrk::Verify {
            expect,
            connections,
            is_ordered,
        };
        verify.start(proxy.address(), time)
    };
    let runs = [run(32, false), run(2, true)];
    let writes = Writer::new(&proxy, table).write_for(time);
    let found = runs.map(|run| run.join().expect("wrk runs"));

    let status = proxy.status();
    let taken = status["generation"].as_u64().unwrap_or(0);
    let refused = proxy
        .metric("table_reload_failures_total", &[])
        .unwrap_or(0.0);
    figure(format!(
        "{} s, {writes} writes of the table, {taken} taken, {refused} refused: \
         {} answers right, {} wrong, {} failed",
        time.as_secs(),
        found[0].right + found[1].right,
        found[0].wrong + found[1].wrong,
        found[0].failed + found[1].failed,
    ));
    for found in found {
        assert!(found.right > 0, "{found:?}");
        assert_eq!((found.wrong, found.failed), (0, 0), "{found:?}");
    }
    // The other writes came too close upon each other for some to be seen, or the load lies.
    assert!(
        taken > writes as u64 / 4,
        "only {taken} of {writes} tables were taken"
    );
    assert!(refused > 0.0, "no garbage was seen");
    wait_until_idle(&proxy);
}

/// Writes tables that all send the used tenants to the same cells.
struct Writer<'p> {
    proxy: &'p Proxy,
    table: TableText,
    directory: PathBuf,
    written: usize,
}

impl<'p> Writer<'p> {
    fn new(proxy: &'p Proxy, table: TableText) -> Self {
        let directory = proxy.table_path().with_file_name("");
        Self {
            proxy,
            table,
            directory,
            written: 0,
        }
    }

    /// Returns how many were written.
    #[track_caller]
    fn write_for(mut self, time: Duration) -> usize {
        let started = Instant::now();
        while started.elapsed() < time {
            let content = self.content();
            match self.written % 3 {
                0 => self.rename(&content),
                1 => self.edit(&content),
                _ => self.swap_link(&content),
            }
            self.written += 1;
            let next = BETWEEN_WRITES * u32::try_from(self.written).expect("it is a small number");
            thread::sleep(next.saturating_sub(started.elapsed()));
        }
        let last = self.variant();
        self.rename(last.as_bytes());
        wait_until("the last table is taken", PATIENCE, || {
            let reload = &self.proxy.status()["last_reload"];
            reload["ok"] == true && self.proxy.explain("unused-last")["owner"] == "override"
        });
        self.written
    }

    fn content(&self) -> Vec<u8> {
        let good = self.variant().into_bytes();
        if self.written % GARBAGE_EVERY != GARBAGE_EVERY - 1 {
            return good;
        }
        match self.written / GARBAGE_EVERY % 4 {
            0 => good[..good.len() / 3].to_vec(),
            1 => (0..5_000)
                .map(|at| u8::try_from(at * 7 % 256).expect("a byte"))
                .collect(),
            2 => Vec::new(),
            _ => [&good[..], b"\noverrides: [broken"].concat(),
        }
    }

    /// A table that differs from the one before in something that concerns no used tenant.
    fn variant(&self) -> String {
        let table = self.table.clone().pin("unused-last", "cell-1");
        let number = self.written;
        let table = match number % 4 {
            0 => table.cell_line("cell-1", &format!("max_in_flight: {}", 5_000 + number)),
            1 => table.pin(&format!("unused-{number}"), "cell-2"),
            2 => table.alias(&format!("other-{number}"), "tenant-0"),
            _ => table.reject(&format!("unwelcome-{number}")),
        };
        format!("# table {number}\n{table}")
    }

    fn rename(&self, content: &[u8]) {
        let new = self.directory.join("table.new");
        fs::write(&new, content).expect("the scratch directory is ours");
        rename_over(&new, &self.proxy.table_path());
    }

    /// As a slow editor does: emptied, then written in two pieces. Half of it would be a good table,
    /// which sends pinned tenants elsewhere.
    fn edit(&self, content: &[u8]) {
        let open = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.proxy.table_path());
        let mut file = open.expect("the scratch directory is ours");
        let (first, second) = content.split_at(content.len() * 3 / 4);
        file.write_all(first)
            .expect("the scratch directory is ours");
        thread::sleep(Duration::from_millis(10));
        file.write_all(second)
            .expect("the scratch directory is ours");
    }

    /// As Kubernetes mounts: `table.yaml` leads through `..data` to a directory that is never
    /// changed, and `..data` is swapped.
    fn swap_link(&self, content: &[u8]) {
        let version = format!("..v{}", self.written);
        let folder = self.directory.join(&version);
        fs::create_dir(&folder).expect("the scratch directory is ours");
        fs::write(folder.join("table.yaml"), content).expect("the scratch directory is ours");
        let table = self.proxy.table_path();
        let mounted = fs::symlink_metadata(&table).is_ok_and(|meta| meta.is_symlink());
        self.link(Path::new(&version), &self.directory.join("..data"));
        if !mounted {
            // A rename has taken the place of the link.
            self.link(Path::new("..data/table.yaml"), &table);
        }
    }

    fn link(&self, to: &Path, at: &Path) {
        let new = self.directory.join("link.new");
        symlink(to, &new).expect("the scratch directory is ours");
        rename_over(&new, at);
    }
}
