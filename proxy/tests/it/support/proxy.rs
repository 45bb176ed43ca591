//! The real proxy as a process, on free ports, with a table of its own.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Client, wait_for, wait_until};

/// The name of the only cell.
pub(crate) const CELL: &str = "only";

/// The program under test.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cellgate-proxy"))
}

/// A running proxy; killed when dropped, and its log shown if the test fails.
pub(crate) struct Proxy {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    edge: SocketAddr,
    admin: SocketAddr,
    /// Held until the process is gone.
    _folder: TempDir,
}

impl Proxy {
    /// A proxy with defaults in front of one cell.
    #[track_caller]
    pub(crate) fn start(endpoints: &[SocketAddr]) -> Self {
        Self::with("", "", endpoints)
    }

    /// `config` is added to proxy.yaml, `cell` to the cell in table.yaml (as part of a flow mapping).
    #[track_caller]
    pub(crate) fn with(config: &str, cell: &str, endpoints: &[SocketAddr]) -> Self {
        let folder = TempDir::new().expect("the temporary directory can be written to");
        let mut list = String::new();
        for endpoint in endpoints {
            write!(list, "{{ address: \"{endpoint}\" }}, ").unwrap();
        }
        let table = format!(
            "format: 1\nhash: {{ slots: 16 }}\ncells:\n  {CELL}: {{ {cell} endpoints: [{list}] }}\n\
             slots: {{ {CELL}: [\"0-15\"] }}\naliases: {{ www: acme }}\nrejects: [evil]\n"
        );
        let config = format!(
            "listeners: [{{ name: edge, address: \"127.0.0.1:0\" }}]\n\
             admin: {{ address: \"127.0.0.1:0\" }}\nthreads: 2\nlog: {{ format: json }}\n\
             tenant_key: [{{ header: x-tenant-id }}, {{ host: \"{{tenant}}.example.com\" }}]\n\
             table: {{ path: table.yaml }}\nstate_dir: state\n{config}\n"
        );
        fs::write(folder.path().join("table.yaml"), table).unwrap();
        fs::write(folder.path().join("proxy.yaml"), config).unwrap();
        Self::spawn(folder)
    }

    #[track_caller]
    fn spawn(folder: TempDir) -> Self {
        let mut child = binary()
            .arg("--config")
            .arg(folder.path().join("proxy.yaml"))
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the proxy starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self {
            child,
            log,
            edge: unknown,
            admin: unknown,
            _folder: folder,
        };
        proxy.edge = proxy.address_of("edge");
        proxy.admin = proxy.address_of("admin");
        wait_until("the proxy is ready", || {
            proxy.admin("/readyz").status == 200
        });
        proxy
    }

    fn address_of(&self, listener: &str) -> SocketAddr {
        wait_for(&format!("{listener} listens"), || {
            let log = self.log.lock().unwrap();
            let mut entries = log
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let entry =
                entries.find(|e| e["message"] == "listening" && e["listener"] == listener)?;
            entry["address"].as_str()?.parse().ok()
        })
    }

    pub(crate) fn edge(&self) -> SocketAddr {
        self.edge
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.edge)
    }

    /// Sends one request, which may hold any bytes, on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.connect().send(request).answer()
    }

    pub(crate) fn admin(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        Client::connect(self.admin).send(request).answer()
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.admin("/status").body).expect("the status is JSON")
    }

    /// The value of a metric, by its name with labels and without the namespace; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let prefix = format!("cellgate_proxy_{name} ");
        let metrics = self.admin("/metrics").body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
        value.map_or(0, |value| value.parse().expect("a count is a whole number"))
    }

    /// Waits until that many requests are in flight to the cell.
    #[track_caller]
    pub(crate) fn wait_in_flight(&self, count: u64) {
        let wanted = (count, count, count, count);
        let mut seen = (0, 0, 0, 0);
        wait_until(&format!("{count} requests are in flight"), || {
            let status = self.status();
            let cell = &status["cells"][CELL];
            let endpoints = cell["endpoint_states"].as_array().expect("a list");
            let endpoints = endpoints.iter().filter_map(|e| e["in_flight"].as_u64());
            let number = |value: &Value| value.as_u64().expect("a number");
            let now = (
                number(&status["requests_in_flight"]),
                number(&cell["in_flight"]),
                endpoints.sum(),
                self.metric(&format!("in_flight{{cell=\"{CELL}\"}}")),
            );
            if now != seen {
                eprintln!("in flight: {now:?}");
                seen = now;
            }
            now == wanted
        });
    }

    /// The state of the only endpoint.
    pub(crate) fn endpoint_state(&self) -> String {
        self.status()["cells"][CELL]["endpoint_states"][0]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Asks the process to end, as service managers do.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(
            killed.is_ok_and(|status| status.success()),
            "no signal could be sent"
        );
    }

    /// Waits for its end by itself; the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait_for("the proxy ends", || {
            self.child.try_wait().expect("it is our child")
        })
        .code()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.log.lock().unwrap().join("\n"));
        }
    }
}
