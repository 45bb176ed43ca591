//! Control daemons under test.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    PATIENCE, built_program,
    process::{Process, Signal},
    wait_until,
    wire::{Answer, Connection, Request},
};

/// What a daemon says when it can be asked.
const WHERE: &str = "where it listens";

/// A running daemon that writes the table of a proxy. It listens on a free port, which changes when it is started again.
pub(crate) struct Control {
    process: Process,
    directory: PathBuf,
    address: SocketAddr,
    token: String,
}

/// How to start a daemon.
pub(crate) struct Plan {
    directory: PathBuf,
    table: PathBuf,
    proxies: Vec<SocketAddr>,
    /// Further lines of `control.yaml`.
    lines: Vec<String>,
    /// Further settings of `api`.
    api: Vec<String>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
}

impl Plan {
    /// A proxy to watch, by its admin address.
    pub(crate) fn proxy(mut self, admin: SocketAddr) -> Self {
        self.proxies.push(admin);
        self
    }

    /// A further top-level line of `control.yaml`.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// A further setting of `api`, such as `head_ms: 500`.
    pub(crate) fn api(mut self, setting: &str) -> Self {
        self.api.push(format!(", {setting}"));
        self
    }

    /// A further argument of the program.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn environment(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Runs the program under another one, such as `strace …`.
    pub(crate) fn under(mut self, wrapper: &[impl AsRef<str>]) -> Self {
        self.wrapper = wrapper
            .iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// Writes `control.yaml`.
    pub(crate) fn write_config(&self) {
        let proxies: Vec<String> = self
            .proxies
            .iter()
            .enumerate()
            .map(|(at, admin)| format!("{{ name: proxy-{at}, admin: \"{admin}\" }}"))
            .collect();
        let config = format!(
            "table: {{ path: {table} }}\nstate_dir: {state}\napi: {{ address: \"127.0.0.1:0\", requests_per_second_max: 100000{api} }}\n\
             proxies: [{proxies}]\ncells: {{ first_table_settle_ms: 300 }}\n\
             observe: {{ interval_ms: 100 }}\n{lines}\n",
            table = json!(self.table),
            state = json!(self.directory.join("state")),
            proxies = proxies.join(", "),
            lines = self.lines.join("\n"),
            api = self.api.concat(),
        );
        fs::create_dir_all(&self.directory).expect("the scratch directory is ours");
        fs::write(self.directory.join("control.yaml"), config)
            .expect("the scratch directory is ours");
    }

    /// Starts the daemon, and waits until it can be asked.
    #[track_caller]
    pub(crate) fn start(self) -> Control {
        self.write_config();
        let process = Process::start("the daemon", &mut self.command());
        let address = process.wait_for_line(WHERE, PATIENCE, address_of);
        let token = token(&self.directory);
        Control {
            process,
            directory: self.directory,
            address,
            token,
        }
    }

    /// Starts the daemon, which may end before it can be asked; then returns how, and what it said.
    #[track_caller]
    pub(crate) fn start_or_end(self) -> Result<Control, (ExitStatus, String)> {
        self.write_config();
        let mut process = Process::start("the daemon", &mut self.command());
        let Some(address) = process.find_line(WHERE, PATIENCE, address_of) else {
            let status = process.wait(PATIENCE);
            return Err((status, process.output()));
        };
        let token = token(&self.directory);
        Ok(Control {
            process,
            directory: self.directory,
            address,
            token,
        })
    }

    /// Starts a daemon that ends by itself; returns how, and what it said.
    #[track_caller]
    pub(crate) fn run_to_end(self) -> (ExitStatus, String) {
        self.write_config();
        let mut process = Process::start("the daemon", &mut self.command());
        let status = process.wait(PATIENCE);
        (status, process.output())
    }

    fn command(&self) -> Command {
        let words: Vec<String> = self
            .wrapper
            .iter()
            .cloned()
            .chain([program().to_string_lossy().into_owned()])
            .collect();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("--config")
            .arg(self.directory.join("control.yaml"))
            .args(&self.arguments)
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().copied());
        command
    }
}

impl Control {
    /// A daemon that keeps its state in this directory and writes this table.
    pub(crate) fn plan(directory: &Path, table: &Path) -> Plan {
        Plan {
            directory: directory.to_owned(),
            table: table.to_owned(),
            proxies: Vec::new(),
            lines: Vec::new(),
            api: Vec::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Its process number.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// A request to its API, with the token.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
    }

    /// Lines of tenants to register, of this content type.
    pub(crate) fn import(&self, kind: &str, lines: &str) -> Request {
        Request::new("POST", "/v1/import/tenants")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .body(lines)
    }

    /// Asks for something and wants an answer of 2xx.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path).send(self.address);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Changes something and wants an answer of 2xx.
    #[track_caller]
    pub(crate) fn change(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_change(method, path, body);
        assert_eq!(answer.status / 100, 2, "{method} {path}: {}", answer.text());
        answer.json()
    }

    /// Changes something, perhaps.
    #[track_caller]
    pub(crate) fn try_change(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.request_with(method, path, body).send(self.address)
    }

    /// The same, where perhaps nobody answers any more.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
        let mut connection = Connection::try_open(self.address)?;
        connection.send(self.request_with(method, path, body).bytes())?;
        connection.answer(method)
    }

    fn request_with(&self, method: &str, path: &str, body: &Value) -> Request {
        let request = self.request(method, path);
        match body {
            Value::Null => request.body(Vec::new()),
            body => request.body(body.to_string()),
        }
    }

    /// Adds a cell that runs already.
    #[track_caller]
    pub(crate) fn add_static_cell(&self, id: &str, endpoint: SocketAddr) -> Value {
        let body = json!({
            "id": id, "endpoints": [{ "address": endpoint.to_string() }],
            "health_check": { "type": "http", "interval_ms": 200 },
        });
        self.change("POST", "/v1/cells", &body)
    }

    /// Waits until a cell is in this state.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, cell: &str, state: &str) {
        wait_until(&format!("{cell} is {state}"), PATIENCE, || {
            self.get(&format!("/v1/cells/{cell}"))["state"] == state
        });
    }

    /// Waits until the published table says all that is intended, and every proxy has it; returns its generation.
    #[track_caller]
    pub(crate) fn wait_until_published(&self) -> u64 {
        wait_until("the table is everywhere", PATIENCE, || {
            let table = self.get("/v1/table");
            let nobody = Value::Array(Vec::new());
            let is_nobody_listed = table["confirmed"] == nobody && table["not_confirmed"] == nobody;
            table["current"] == true && (table["everywhere"] == true || is_nobody_listed)
        });
        self.get("/v1/table")["generation"]
            .as_u64()
            .expect("a table was published")
    }

    #[track_caller]
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit)
    }

    /// The program itself.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }
}

/// What `cellctl` printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Control {
    /// Runs `cellctl` against this daemon, with words that hold no spaces.
    #[track_caller]
    pub(crate) fn cellctl(&self, line: &str) -> Ran {
        self.cellctl_on(100, line)
    }

    /// The same on a screen of so many columns.
    #[track_caller]
    pub(crate) fn cellctl_on(&self, columns: u16, line: &str) -> Ran {
        let mut command = Command::new(built_program("cellctl"));
        for name in ["SOCKET", "TOKEN_FILE", "TOKEN"] {
            command.env_remove(format!("CELLCTL_{name}"));
        }
        let output = command
            .args(["--server", &format!("http://{}", self.address)])
            .arg("--token-file")
            .arg(self.state_dir().join("token"))
            .args(line.split_whitespace())
            .env("COLUMNS", columns.to_string())
            .current_dir(&self.directory)
            .output()
            .expect("the program runs");
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command of the daemon's program that ends by itself.
#[track_caller]
pub(crate) fn run(arguments: &[&str]) -> (ExitStatus, String) {
    let output = Command::new(program())
        .args(arguments)
        .output()
        .expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built_program("cellgate-control"))
}

/// The daemon says where it listens once all else is ready.
fn address_of(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("listening address=")?;
    address.trim().parse().ok()
}

fn token(directory: &Path) -> String {
    let path = directory.join("state/token");
    let text = fs::read_to_string(path).expect("the daemon has made its token");
    text.trim().to_owned()
}
