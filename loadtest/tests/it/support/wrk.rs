//! wrk, with the scripts that lie beside these tests.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// A run of `wrk/verify.lua`.
pub(crate) struct Verify {
    /// Lines `tenant<TAB>cell`.
    pub(crate) expect: PathBuf,
    pub(crate) connections: usize,
    /// Looks at the order of answers too; there must be no more connections than threads then.
    pub(crate) is_ordered: bool,
}

/// What it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
}

const THREADS: usize = 2;

/// Whether wrk is here.
pub(crate) fn is_here() -> bool {
    let version = Command::new("wrk")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    !matches!(version, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

impl Verify {
    /// Runs it in the background for this long.
    pub(crate) fn start(self, address: SocketAddr, time: Duration) -> thread::JoinHandle<Verified> {
        thread::spawn(move || self.run(address, time))
    }

    #[track_caller]
    fn run(&self, address: SocketAddr, time: Duration) -> Verified {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("wrk/verify.lua");
        let output = Command::new("wrk")
            .arg(format!("-t{THREADS}"))
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", time.as_secs()))
            .arg("-s")
            .arg(script)
            .arg(format!("http://{address}/"))
            .env("EXPECT", &self.expect)
            .env("ORDERED", if self.is_ordered { "1" } else { "0" })
            .output()
            .expect("wrk is here");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines()
            .find_map(Verified::read)
            .unwrap_or_else(|| panic!("wrk says nothing: {text}{said}"))
    }
}

impl Verified {
    /// Out of `verified N wrong N failed N`.
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["verified", right, "wrong", wrong, "failed", failed] = words[..] else {
            return None;
        };
        Some(Self {
            right: right.parse().ok()?,
            wrong: wrong.parse().ok()?,
            failed: failed.parse().ok()?,
        })
    }
}
