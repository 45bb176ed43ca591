//! A running daemon, and `cellctl` beside it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use cellgate_control::publish::digest_of;
use tempfile::TempDir;

/// How long anything may take that comes by itself.
const LIMIT: Duration = Duration::from_secs(30);
const LOOK_PERIOD: Duration = Duration::from_millis(50);

pub(crate) struct Daemon {
    child: Running,
    pub(crate) folder: TempDir,
    pub(crate) server: String,
    /// Takes connections and says nothing: a healthy cell.
    pub(crate) cell: Listener,
}

/// A socket that takes connections, each of them on a thread.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Waits until something is so, and fails if it never is.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        thread::sleep(LOOK_PERIOD);
    }
}

impl Listener {
    pub(crate) fn new(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream);
            }
        });
        Self { address }
    }

    /// The admin socket of a proxy that takes the table of this file, as long as there is one.
    pub(crate) fn proxy(table: Arc<Mutex<Option<PathBuf>>>) -> Self {
        let generation = AtomicU64::new(0);
        let digest = Mutex::new(String::new());
        Self::new(move |mut stream| {
            let head = read_head(&mut stream);
            let path = table.lock().unwrap().clone();
            let text = path.and_then(|path| fs::read_to_string(path).ok());
            let line = text.as_ref().and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("generation: "))
            });
            if let Some(newer) = line {
                generation.store(newer.parse().unwrap(), Ordering::SeqCst);
                *digest.lock().unwrap() = digest_of(text.as_deref().unwrap_or_default().as_bytes());
            }
            let body = if head.starts_with("GET /status") {
                let generation = generation.load(Ordering::SeqCst);
                format!(
                    r#"{{"version":"0.1.0","ready":true,"generation":{generation},"digest":"{}","source":"file"}}"#,
                    digest.lock().unwrap()
                )
            } else {
                String::new()
            };
            answer(&mut stream, "200 OK", &body);
        })
    }
}

/// The head of a request; the body, if there is one, is left where it is.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // Whoever asked may have gone.
    let _ = stream.write_all(text.as_bytes());
}

impl Daemon {
    /// One that spreads the slots over the first two cells.
    pub(crate) fn start() -> Self {
        Self::with("cells: { first_table_settle_ms: 0, first_table_cells: 2 }")
    }

    pub(crate) fn with(more: &str) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let config = format!(
            "table: {{ path: table.yaml }}\nstate_dir: state\n\
             api: {{ address: \"127.0.0.1:0\", socket: api.sock }}\nobserve: {{ interval_ms: 50 }}\n{more}\n"
        );
        fs::write(folder.path().join("control.yaml"), config).unwrap();
        let (child, server) = spawn(folder.path());
        Self {
            child,
            folder,
            server,
            cell: Listener::new(|_| {}),
        }
    }

    /// Two cells that share the slots, and the first table.
    pub(crate) fn with_two_cells(kind: &str) -> Self {
        let daemon = Self::start();
        let address = daemon.cell.address;
        for id in ["eu-1", "eu-2"] {
            daemon.ok(&format!("cell add {id} --endpoint {address} {kind} --wait"));
        }
        until("the first table", || {
            let shown = daemon.json("table show");
            shown["current"] == true
        });
        daemon
    }

    /// Kills the daemon and starts it again. It listens elsewhere then, but for its Unix socket.
    pub(crate) fn restart(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
        (self.child, self.server) = spawn(self.folder.path());
    }

    /// `cellctl`, about to be run with words that hold no spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.command_of(&words)
    }

    pub(crate) fn command_of(&self, words: &[&str]) -> Command {
        let mut command = bare();
        command
            .args(["--server", &self.server])
            .arg("--token-file")
            .arg(self.folder.path().join("state/token"))
            .args(words)
            .current_dir(self.folder.path());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        run(&mut self.command(line))
    }

    /// Runs what has to go well, and gives what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        ran.out
    }

    pub(crate) fn ok_of(&self, words: &[&str]) -> String {
        let ran = run(&mut self.command_of(words));
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        ran.out
    }

    /// Runs what the daemon has to refuse, and gives the error.
    pub(crate) fn refused(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(1), ""),
            "{line}: {ran:?}"
        );
        ran.err
    }

    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        let text = self.ok(&format!("{line} -o json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
    }
}

/// A program that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `cellctl`, without what the environment of the tests may say.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellctl"));
    for name in ["SERVER", "SOCKET", "TOKEN_FILE", "TOKEN"] {
        command.env_remove(format!("CELLCTL_{name}"));
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Starts the daemon of this folder, and reads from its log where it listens.
fn spawn(folder: &Path) -> (Running, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_cellgate-control"))
        .args(["--config", "control.yaml"])
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let log = BufReader::new(child.0.stderr.take().unwrap());
    let (lines, said) = mpsc::channel();
    thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            // Once nobody waits for a line any more, it is still read: a full pipe would stop the daemon.
            let _ = lines.send(line);
        }
    });
    let mut log = Vec::new();
    loop {
        let line = said.recv_timeout(LIMIT);
        let line = line.unwrap_or_else(|_| panic!("the daemon does not listen: {log:#?}"));
        if let Some((_, address)) = line.split_once("listening address=") {
            return (child, format!("http://{address}"));
        }
        log.push(line);
    }
}
