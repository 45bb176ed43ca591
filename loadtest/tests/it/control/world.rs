//! Demo cells made by the daemon, a proxy that routes by its table, and tenants under load.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    PATIENCE, built_program,
    cell::DemoCell,
    control::{Control, Plan},
    mount::Mount,
    proxy::Proxy,
    wait_until, wrk,
};

/// A fleet with a daemon in front of its table.
pub(super) struct World {
    pub(super) control: Control,
    pub(super) proxy: Proxy,
    /// Cells that the test runs itself; those of the daemon's process provider are not here.
    _cells: Vec<DemoCell>,
    /// What the daemon's state directory lies on, if it has a disk of its own.
    state_disk: Option<Mount>,
    scratch: TempDir,
}

impl World {
    /// Cells `cell-1` and so on, run by the test and known to the daemon as static ones, with their first table published
    /// and taken.
    #[track_caller]
    pub(super) fn start(cells: usize) -> Self {
        let scratch = TempDir::new().expect("the temporary directory can be written to");
        Self::start_in(scratch, None, cells)
    }

    /// The same, with the daemon's state on a small disk of its own.
    ///
    /// # Errors
    /// Why there can be none here.
    pub(super) fn start_on_small_disk(cells: usize, bytes: u64) -> Result<Self, String> {
        let scratch = TempDir::new().expect("the temporary directory can be written to");
        let disk = Mount::in_memory(&scratch.path().join("state"), bytes)?;
        Ok(Self::start_in(scratch, Some(disk), cells))
    }

    /// The folder of the small disk.
    pub(super) fn disk(&self) -> &Path {
        self.state_disk
            .as_ref()
            .expect("it was started on one")
            .folder()
    }

    #[track_caller]
    fn start_in(scratch: TempDir, state_disk: Option<Mount>, cells: usize) -> Self {
        let proxy = Proxy::plan().start_unready();
        let control = plan(&scratch, &proxy).start();
        let cells: Vec<DemoCell> = (1..=cells)
            .map(|number| DemoCell::start(&format!("cell-{number}")))
            .collect();
        for cell in &cells {
            control.add_static_cell(cell.name(), cell.address());
        }
        for cell in &cells {
            control.wait_for_state(cell.name(), "active");
        }
        control.wait_until_published();
        proxy.wait_ready();
        Self {
            control,
            proxy,
            _cells: cells,
            state_disk,
            scratch,
        }
    }

    /// How the daemon is started again.
    pub(super) fn plan(&self) -> Plan {
        plan(&self.scratch, &self.proxy)
    }

    /// Starts the daemon again, after killing it if it still runs.
    #[track_caller]
    pub(super) fn restart_control(&mut self) {
        self.control.kill();
        self.control = self.plan().start();
    }

    /// Registers tenants; returns the cell of each.
    #[track_caller]
    pub(super) fn register(&self, tenants: &[String]) -> BTreeMap<String, String> {
        tenants
            .iter()
            .map(|tenant| {
                let body = json!({ "key": tenant });
                let registered = self.control.change("POST", "/v1/tenants", &body);
                let cell = registered["cell"].as_str().expect("it has a cell");
                (tenant.clone(), cell.to_owned())
            })
            .collect()
    }

    /// A file for the load script.
    pub(super) fn expectations(&self, cells: &BTreeMap<String, String>) -> PathBuf {
        let text = cells
            .iter()
            .fold(String::new(), |mut text, (tenant, cell)| {
                writeln!(text, "{tenant}\t{cell}").expect("a String takes whatever is written");
                text
            });
        let path = self.scratch.path().join("expect.tsv");
        fs::write(&path, text).expect("the scratch directory is ours");
        path
    }

    /// Load for these tenants, each answer checked.
    pub(super) fn load(
        &self,
        cells: &BTreeMap<String, String>,
        time: Duration,
    ) -> std::thread::JoinHandle<wrk::Verified> {
        let verify = wrk::Verify {
            expect: self.expectations(cells),
            connections: 16,
            is_ordered: false,
        };
        verify.start(self.proxy.address(), time)
    }

    /// Waits until the proxy sends each tenant where the daemon says it lives.
    #[track_caller]
    pub(super) fn wait_until_routed(&self, cells: &BTreeMap<String, String>) {
        self.control.wait_until_published();
        wait_until("the proxy knows every tenant", PATIENCE, || {
            cells
                .iter()
                .all(|(tenant, cell)| self.proxy.explain(tenant)["cell"] == **cell)
        });
    }
}

impl Drop for World {
    /// Cells that the daemon made outlive it, as they should; a test must not leave them behind, even one that fails.
    fn drop(&mut self) {
        let cells = self.control.state_dir().join("cells");
        for folder in fs::read_dir(cells).into_iter().flatten().flatten() {
            let record = fs::read_to_string(folder.path().join("process.json"));
            let record: Value =
                serde_json::from_str(&record.unwrap_or_default()).unwrap_or_default();
            let pid = record["process"]["pid"].as_i64();
            if let Some(pid) = pid
                .and_then(|pid| i32::try_from(pid).ok())
                .and_then(Pid::from_raw)
            {
                // It may have ended already.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

pub(super) fn tenants(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}-{number}"))
        .collect()
}

fn plan(scratch: &TempDir, proxy: &Proxy) -> Plan {
    let cell = built_program("demo-cell");
    let command = json!([
        cell,
        "--name",
        "{cell}",
        "--listen",
        "{address}",
        "--data",
        "{dir}"
    ]);
    Control::plan(scratch.path(), &proxy.table_path())
        .proxy(proxy.admin())
        .line(&format!(
            "providers: {{ local: {{ type: process, command: {command} }} }}"
        ))
}
