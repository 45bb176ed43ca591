//! Programs under strace: it writes down what they ask of the system, and ends them or lets the system fail at an exact
//! point.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{PATIENCE, process::Process};

/// Stands for the program's process number in a path.
pub(crate) const PROCESS: &str = "$$";

/// How to run a program under strace. The program itself stays the child of the test.
#[derive(Clone)]
pub(crate) struct Strace {
    log: PathBuf,
    paths: Vec<String>,
    expressions: Vec<String>,
}

/// A line of the log: a call that has begun, perhaps with how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) thread: u32,
    pub(crate) name: String,
    /// Arguments and outcome.
    pub(crate) rest: String,
}

/// Why strace cannot be used here, if it cannot.
pub(crate) fn is_missing() -> Option<&'static str> {
    let status = Command::new("strace")
        .args([
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync",
            "true",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Err(_) => Some("strace is missing"),
        Ok(status) if !status.success() => Some("strace may not trace here"),
        Ok(_) => None,
    }
}

impl Strace {
    /// Writes down these calls, named as strace's option `-e` has them.
    pub(crate) fn new(log: &Path, calls: &str) -> Self {
        Self {
            log: log.to_owned(),
            paths: Vec::new(),
            expressions: vec![format!("trace={calls}")],
        }
    }

    /// Only calls about this file or folder, or one of the others. The path may hold [`PROCESS`].
    pub(crate) fn about(mut self, path: &Path) -> Self {
        self.paths.push(path.to_string_lossy().into_owned());
        self
    }

    /// Does something to these calls, in the words of strace: `signal=SIGKILL` ends the program instead of them,
    /// `error=EIO` lets them fail. With `when=N` only to the N-th one of each thread.
    pub(crate) fn inject(mut self, calls: &str, what: &str) -> Self {
        self.expressions.push(format!("inject={calls}:{what}"));
        self
    }

    /// What to put before the program and its arguments.
    pub(crate) fn words(&self) -> Vec<String> {
        // The shell is replaced twice, so its process number is the program's in the end.
        let mut script = format!("exec strace -D -f -qq -o \"{}\"", self.log.display());
        for path in &self.paths {
            write!(script, " -P \"{path}\"").expect("a String takes whatever is written");
        }
        for expression in &self.expressions {
            write!(script, " -e '{expression}'").expect("a String takes whatever is written");
        }
        script += " \"$@\"";
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    /// Follows a program that runs already, from now on until the result is dropped. `None` where that is not allowed.
    #[track_caller]
    pub(crate) fn attach(&self, process: u32) -> Option<Process> {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &process.to_string(), "-o"]);
        command.arg(&self.log);
        for path in &self.paths {
            command.args(["-P", &path.replace(PROCESS, &process.to_string())]);
        }
        for expression in &self.expressions {
            command.args(["-e", expression]);
        }
        let strace = Process::start("strace", &mut command);
        let is_attached = |line: &str| line.contains(" attached").then_some(());
        strace.find_line("its attachment", PATIENCE, is_attached)?;
        Some(strace)
    }

    /// The calls so far, as they began.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(call).collect()
    }
}

fn call(line: &str) -> Option<Call> {
    let (thread, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    // `<... fsync resumed>) = 0`, `+++ killed by SIGKILL +++` and signals are no new calls.
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| Call {
        thread: thread.parse().unwrap_or(0),
        name: name.to_owned(),
        rest: rest.to_owned(),
    })
}
