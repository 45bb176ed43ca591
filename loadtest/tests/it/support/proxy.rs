//! Proxies under test.

mod launch;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use rustls::{ClientConfig, version::TLS13};
use tempfile::TempDir;

pub(crate) use launch::command;
use launch::{Start, Variable, give_to, serve};

use super::{
    PATIENCE,
    process::{Process, Signal},
    table::TableText,
    tls::{Authority, Pem, client},
    wait_for, wait_until,
    ways::{Way, way},
    wire::{Answer, Connection, Request},
};

/// The header that names the tenant, unless `tenant_key` is set otherwise.
pub(crate) const TENANT: &str = "x-tenant-id";

/// The cell of [`Proxy::in_front_of`].
pub(crate) const ONLY: &str = "only";

/// For which a proxy with TLS has a certificate.
const NAME: &str = "one.example.com";

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

/// A running proxy in a scratch directory of its own: `proxy.yaml`, `tables/table.yaml`, `state/`.
/// It listens on free ports, which change when it is started again.
pub(crate) struct Proxy {
    // Before the directory, so that it ends before that is gone.
    process: Process,
    directory: TempDir,
    start: Start,
    address: SocketAddr,
    admin: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

/// How to start a proxy.
pub(crate) struct Plan {
    directory: TempDir,
    /// The top-level keys of `proxy.yaml`, with their values in YAML.
    config: BTreeMap<String, String>,
    start: Start,
    /// What its clients go by where they speak TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl Plan {
    /// Sets a top-level key of `proxy.yaml`, in the place of the default there may be:
    /// `.set("timeouts", "{ shutdown_ms: 500 }")`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The table that it starts with.
    pub(crate) fn table(self, table: impl ToString) -> Self {
        fs::write(self.table_path(), table.to_string()).expect("the scratch directory is ours");
        self
    }

    /// To put other things there before the start.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn table_path(&self) -> PathBuf {
        table_path(self.directory())
    }

    /// Runs it as the user `nobody` if the test runs as root, whom no permission stops.
    pub(crate) fn without_privileges(mut self) -> Self {
        if rustix::process::geteuid().is_root() {
            self.start.user = Some(NOBODY);
        }
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn environment(mut self, variable: Variable) -> Self {
        self.start.environment = Some(variable);
        self
    }

    /// Starts it with these limits of open files.
    pub(crate) fn open_files(mut self, soft: u32, hard: u32) -> Self {
        self.start.open_files = Some((soft, hard));
        self
    }

    /// Starts the proxy, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Proxy {
        let proxy = self.start_unready();
        proxy.wait_ready();
        proxy
    }

    /// Starts the proxy, and waits until its ports are known.
    #[track_caller]
    pub(crate) fn start_unready(self) -> Proxy {
        self.write_config();
        let Self {
            directory,
            start,
            tls,
            ..
        } = self;
        if let Some(user) = start.user {
            give_to(user, directory.path());
        }
        let process = Process::start("the proxy", &mut serve(directory.path(), start));
        let (address, admin) = ports(&process);
        Proxy {
            process,
            directory,
            start,
            address,
            admin,
            tls,
        }
    }

    /// Starts a proxy that ends by itself; returns how, and what it said.
    #[track_caller]
    pub(crate) fn run_to_end(self) -> (ExitStatus, String) {
        self.write_config();
        let mut process = Process::start("the proxy", &mut serve(self.directory(), self.start));
        let status = process.wait(PATIENCE);
        (status, process.output())
    }

    /// Whether `check` finds nothing wrong, and what it says.
    #[track_caller]
    pub(crate) fn check(&self) -> (bool, String) {
        self.write_config();
        let output = command()
            .args(["check", "--config"])
            .arg(self.directory().join("proxy.yaml"))
            .output()
            .expect("the program is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    }

    /// The listener speaks TLS, and so do the clients of [`Proxy::open`].
    fn over_tls(mut self) -> Self {
        let authority = Authority::new();
        let Pem { certificate, key } = authority.server(&[NAME]);
        let path = self.directory().join("server.pem");
        fs::write(path, certificate + &key).expect("the scratch directory is ours");
        self.tls = Some(authority.client_config(&[&TLS13], None));
        let tls = "{ certificates: [{ certificate: server.pem, key: server.pem }] }";
        let listener = format!(r#"[{{ name: edge, address: "127.0.0.1:0", tls: {tls} }}]"#);
        self.set("listeners", &listener)
    }

    fn write_config(&self) {
        let mut text = String::new();
        for (key, value) in &self.config {
            let value = match key.as_str() {
                "timeouts" => with_short_drain(value),
                _ => value.clone(),
            };
            writeln!(text, "{key}: {value}").expect("a String takes whatever is written");
        }
        fs::write(self.directory().join("proxy.yaml"), text)
            .expect("the scratch directory is ours");
    }
}

/// Timeouts with which a proxy does not wait for connections that a test still holds, unless it says so.
fn with_short_drain(timeouts: &str) -> String {
    if timeouts.contains("drain_idle_ms") {
        return timeouts.to_owned();
    }
    timeouts.replacen('{', "{ drain_idle_ms: 0, ", 1)
}

impl Proxy {
    /// With the tenant in the header [`TENANT`], free ports, an empty state directory and no table.
    pub(crate) fn plan() -> Plan {
        let directory = TempDir::new().expect("the temporary directory can be written to");
        fs::create_dir(directory.path().join("tables")).expect("the scratch directory is ours");
        let config = [
            (
                "listeners",
                r#"[{ name: edge, address: "127.0.0.1:0", protocol: http }]"#,
            ),
            ("tenant_key", "[{ header: x-tenant-id }]"),
            ("table", "{ path: tables/table.yaml }"),
            ("state_dir", "state"),
            ("admin", r#"{ address: "127.0.0.1:0" }"#),
            // Many tests run at once.
            ("threads", "2"),
            ("timeouts", "{}"),
        ];
        let plan = Plan {
            directory,
            config: config.map(|(key, value)| (key.into(), value.into())).into(),
            start: Start::default(),
            tls: None,
        };
        let Some(way) = way() else {
            return plan;
        };
        let plan = plan.set("direct", way.switch());
        if way == Way::Tls {
            return plan.over_tls();
        }
        plan
    }

    /// With a single cell of this one endpoint, to which all tenants belong.
    pub(crate) fn in_front_of(cell: SocketAddr) -> Plan {
        Self::plan().table(TableText::new([(ONLY, vec![cell])]))
    }

    /// A ready proxy with the defaults and this table.
    #[track_caller]
    pub(crate) fn start(table: impl ToString) -> Self {
        Self::plan().table(table).start()
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the clients of this listener connect.
    #[track_caller]
    pub(crate) fn address_of(&self, listener: &str) -> SocketAddr {
        port(&self.process, listener)
    }

    /// Where operators look.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn table_path(&self) -> PathBuf {
        table_path(self.directory())
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory().join("state")
    }

    /// A client's connection, with TLS where the way of the test is [`Way::Tls`].
    #[track_caller]
    pub(crate) fn open(&self) -> Connection {
        let connection = Connection::open(self.address);
        match &self.tls {
            None => connection,
            Some(config) => connection
                .start_tls(client(config, NAME))
                .unwrap_or_else(|error| panic!("no handshake with {}: {error}", self.address)),
        }
    }

    /// Sends a request on a connection of its own.
    #[track_caller]
    pub(crate) fn answer_to(&self, request: &Request) -> Answer {
        self.open().exchange(request)
    }

    /// Sends a GET for a tenant on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, tenant: impl AsRef<[u8]>, path: &str) -> Answer {
        self.answer_to(&Request::get(path).header(TENANT, tenant))
    }

    /// The cell that answers a tenant; panics if none does.
    #[track_caller]
    pub(crate) fn cell_of(&self, tenant: impl AsRef<[u8]>) -> String {
        let answer = self.get(tenant, "/");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
            .header("x-cell")
            .expect("demo cells name themselves")
            .to_owned()
    }

    /// An answer of the admin listener.
    #[track_caller]
    pub(crate) fn admin_get(&self, target: &str) -> Answer {
        Request::get(target).send(self.admin)
    }

    /// `/status`.
    #[track_caller]
    pub(crate) fn status(&self) -> serde_json::Value {
        self.admin_get("/status").json()
    }

    /// `/explain` for a key of any bytes.
    #[track_caller]
    pub(crate) fn explain(&self, key: impl AsRef<[u8]>) -> serde_json::Value {
        let escaped = key.as_ref().iter().fold(String::new(), |mut text, byte| {
            write!(text, "%{byte:02x}").expect("a String takes whatever is written");
            text
        });
        self.admin_get(&format!("/explain?tenant={escaped}")).json()
    }

    /// The value of a metric with exactly these labels; `name` is without `cellgate_proxy_`.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.full_metric(&format!("cellgate_proxy_{name}"), labels)
    }

    /// The value of a metric that all processes have.
    #[track_caller]
    pub(crate) fn process_metric(&self, name: &str) -> Option<f64> {
        self.full_metric(name, &[])
    }

    #[track_caller]
    fn full_metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let answer = self.admin_get("/metrics");
        let mut wanted: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        wanted.sort_unstable();
        let series = match wanted.len() {
            0 => format!("{name} "),
            _ => format!("{name}{{{}}} ", wanted.join(",")),
        };
        let value = answer
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(&series))?;
        Some(value.parse().expect("a metric is a number"))
    }

    /// The generation of the table in force, 0 without one.
    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap_or(0)
    }

    #[track_caller]
    pub(crate) fn wait_for_generation(&self, generation: u64) {
        wait_until(
            &format!("generation {generation} is in force"),
            PATIENCE,
            || self.generation() == generation,
        );
    }

    /// Waits until the table file is refused, with a reason that contains `why`; returns it.
    #[track_caller]
    pub(crate) fn wait_for_refusal(&self, why: &str) -> String {
        wait_for(&format!("a refusal because of {why:?}"), PATIENCE, || {
            let status = self.status();
            let error = status["last_reload"]["error"].as_str()?;
            error.contains(why).then(|| error.to_owned())
        })
    }

    /// Waits until `/readyz` says so.
    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        wait_until("the proxy is ready", PATIENCE, || {
            self.admin_get("/readyz").status == 200
        });
    }

    /// Puts a table in place the recommended way: a new file, renamed over the old one.
    pub(crate) fn write_table(&self, table: impl ToString) {
        let new = self.table_path().with_extension("new");
        fs::write(&new, table.to_string()).expect("the scratch directory is ours");
        rename_over(&new, &self.table_path());
    }

    /// Writes a table into the file that is there, as some editors do.
    pub(crate) fn write_table_in_place(&self, table: impl ToString) {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.table_path())
            .and_then(|mut file| file.write_all(table.to_string().as_bytes()))
            .expect("the scratch directory is ours");
    }

    #[track_caller]
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Takes descriptors above this number from it, while it runs, or gives them back.
    #[track_caller]
    pub(crate) fn limit_open_files(&self, soft: u64) {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit {
            current: Some(soft),
            maximum: hard_limit_of(pid),
        };
        prlimit(pid, Resource::Nofile, limit).expect("the process is ours");
    }

    /// CPU time that it has used, to a hundredth of a second.
    #[track_caller]
    pub(crate) fn cpu_time(&self) -> Duration {
        self.process.cpu_time()
    }

    /// Memory that it holds. 0 where that cannot be known.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit)
    }

    /// The program itself.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it in good order.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait(PATIENCE);
        assert!(status.success(), "{status}");
    }

    /// Starts it again in the same directory, after killing it if it still runs, and waits until it
    /// is ready.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.restart_unready();
        self.wait_ready();
    }

    /// Starts it again, and waits until its ports are known.
    #[track_caller]
    pub(crate) fn restart_unready(&mut self) {
        self.kill();
        let mut command = serve(self.directory.path(), self.start);
        self.process = Process::start("the proxy", &mut command);
        (self.address, self.admin) = ports(&self.process);
    }

    /// What it has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Waits for a line in the log that contains all of these; returns it.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, parts: &[&str]) -> String {
        self.process
            .wait_for_line(&format!("a line with {parts:?}"), PATIENCE, |line| {
                let found = parts.iter().all(|part| line.contains(part));
                found.then(|| line.to_owned())
            })
    }

    /// How many lines of the log contain this.
    pub(crate) fn count_in_log(&self, part: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(part))
            .count()
    }
}

/// The hard limit of open files of a process, which stays as it is.
fn hard_limit_of(pid: Option<Pid>) -> Option<u64> {
    let path = format!("/proc/{}/limits", pid?.as_raw_nonzero());
    let text = fs::read_to_string(path).expect("the process runs");
    let line = text
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

/// Renames a file, over another one if there is one.
#[expect(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a crash"
)]
pub(crate) fn rename_over(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap_or_else(|error| {
        panic!(
            "cannot rename {} to {}: {error}",
            from.display(),
            to.display()
        )
    });
}

fn table_path(directory: &Path) -> PathBuf {
    directory.join("tables/table.yaml")
}

/// The proxy says where it listens before anything else.
#[track_caller]
fn ports(process: &Process) -> (SocketAddr, SocketAddr) {
    (port(process, "edge"), port(process, "admin"))
}

/// Where a listener of a proxy listens, by its log.
#[track_caller]
pub(crate) fn port(process: &Process, listener: &str) -> SocketAddr {
    let name = format!("listening listener=\"{listener}\" address=");
    process.wait_for_line(&name, PATIENCE, |line| {
        let (_, address) = line.split_once(&name)?;
        address.trim().parse().ok()
    })
}
