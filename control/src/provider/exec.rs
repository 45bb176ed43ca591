//! Cells made by a program of the operator's: called with a verb, JSON on standard input, JSON on standard output.
//!
//! `conf/providers.md` is the contract. A call that takes too long is killed, with all that it started.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use super::job::{Described, Failed, Job, OUTPUT_BYTES_MAX, restore_limits, tail};
use crate::{children, config::ExecConfig, model::cell::EndpointSpec};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Calls the program.
#[derive(Debug)]
pub struct ExecProvider {
    config: ExecConfig,
}

/// What the program answers to `provision` and `describe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    endpoints: Vec<EndpointSpec>,
    #[serde(default)]
    usage: Option<BTreeMap<String, f64>>,
}

/// How a call ended.
struct Ended {
    answer: Vec<u8>,
    /// The end of what it wrote to standard error.
    words: String,
}

impl ExecProvider {
    pub fn new(config: ExecConfig) -> Self {
        Self { config }
    }

    /// From one description of a cell to the next.
    pub fn describe_interval(&self) -> Duration {
        self.config.describe_interval
    }

    pub async fn provision(&self, job: &Job) -> Result<Described, Failed> {
        self.described("provision", job).await
    }

    /// Where a cell is now, and how full.
    pub async fn describe(&self, job: &Job) -> Result<Described, Failed> {
        self.described("describe", job).await
    }

    pub async fn remove(&self, job: &Job) -> Result<String, Failed> {
        let ended = self.call("remove", job).await?;
        Ok(ended.words)
    }

    async fn described(&self, verb: &str, job: &Job) -> Result<Described, Failed> {
        let ended = self.call(verb, job).await?;
        let answer: Answer = serde_json::from_slice(&ended.answer).map_err(|error| Failed {
            error: format!(
                "`{verb}` answered something else than {{\"endpoints\": [{{\"address\": \"IP:PORT\"}}]}}: {}",
                without_values(&error)
            ),
            output: format!("{}{}", tail(&ended.answer), ended.words),
        })?;
        Ok(Described {
            endpoints: answer.endpoints,
            usage: answer.usage,
            output: ended.words,
            ..Described::default()
        })
    }

    async fn call(&self, verb: &str, job: &Job) -> Result<Ended, Failed> {
        let (program, arguments) = self
            .config
            .command
            .split_first()
            .expect("the configuration wants a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let (mut child, _own) = children::spawn(&mut command)
            .inspect(|(child, _)| restore_limits(child))
            .map_err(|error| Failed::new(format!("`{program}` cannot be started: {error}")))?;
        let mut group = Group(child.id());
        let question = json!({
            "operation": job.operation, "verb": verb, "cell": job.cell, "params": job.params,
            "labels": job.labels, "endpoints": job.endpoints,
        });
        let ended = timeout(self.config.timeout, talk(&mut child, question.to_string())).await;
        let Ok(ended) = ended else {
            drop(group);
            let limit = self.config.timeout.as_millis();
            return Err(Failed::new(format!(
                "`{verb}` took longer than {limit} ms and was killed"
            )));
        };
        group.0 = None;
        let (answer, words, status) =
            ended.map_err(|error| Failed::new(format!("`{verb}`: {error}")))?;
        if !status.success() {
            return Err(Failed {
                error: format!("`{verb}` ended with {status}"),
                output: format!("{}{}", tail(&answer), tail(&words)),
            });
        }
        Ok(Ended {
            answer,
            words: tail(&words),
        })
    }
}

/// Asks, and reads all that is said.
async fn talk(
    child: &mut Child,
    question: String,
) -> std::io::Result<(Vec<u8>, Vec<u8>, std::process::ExitStatus)> {
    let mut stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ask = async {
        if let Some(stdin) = &mut stdin {
            // A program that does not read has its reasons; its exit code decides.
            let _ = stdin.write_all(question.as_bytes()).await;
        }
        drop(stdin.take());
    };
    let ((), answer, words) = tokio::join!(
        ask,
        read(stdout, ANSWER_BYTES_MAX),
        read(stderr, OUTPUT_BYTES_MAX)
    );
    Ok((answer?, words?, child.wait().await?))
}

/// Reads to the end and keeps the last `kept_max` bytes, twice as many at most in between.
async fn read(from: Option<impl AsyncRead + Unpin>, kept_max: usize) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut from) = from else {
        return Ok(kept);
    };
    let mut piece = vec![0; 8 * 1024];
    loop {
        let count = from.read(&mut piece).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * kept_max {
            kept.drain(..kept.len() - kept_max);
        }
    }
}

/// A call and all that it started, killed when it is given up: its time is over, or the daemon ends.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self
            .0
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended in this very moment.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// What is wrong with an answer, without what it says: errors are shown to callers without the token, too.
fn without_values(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let names_fields_only = ["unknown field", "missing field"]
        .iter()
        .any(|beginning| words.starts_with(beginning));
    if names_fields_only {
        return words;
    }
    let (line, column) = (error.line(), error.column());
    format!(
        "{:?} error in line {line}, column {column}",
        error.classify()
    )
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "small whole numbers, which floats hold exactly"
)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn provider(folder: &Path, script: &str, limit_ms: u64) -> ExecProvider {
        let path = folder.join("provider.sh");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        ExecProvider::new(ExecConfig {
            // By the shell: a file that was just written may still be open for writing in a process being forked.
            command: vec!["/bin/sh".to_owned(), path.to_string_lossy().into_owned()],
            timeout: Duration::from_millis(limit_ms),
            describe_interval: Duration::from_secs(60),
        })
    }

    fn job() -> Job {
        Job {
            operation: "eu-1-provision-7".to_owned(),
            cell: CellId::new("eu-1").unwrap(),
            params: json!({ "size": "small" }),
            labels: BTreeMap::new(),
            endpoints: Vec::new(),
        }
    }

    use cellgate_table::CellId;

    #[tokio::test]
    async fn the_program_is_asked_and_answers() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked");
        let script = format!(
            "cat >{}; echo \"verb $1\" >&2; echo '{{\"endpoints\":[{{\"address\":\"10.0.0.1:80\"}}],\"usage\":{{\"bytes\":5}}}}'",
            asked.display()
        );
        let provider = provider(folder.path(), &script, 10_000);
        let described = provider.provision(&job()).await.unwrap();
        assert_eq!(described.endpoints[0].address, "10.0.0.1:80");
        assert_eq!(described.usage.unwrap()["bytes"], 5.0);
        assert_eq!(described.output, "verb provision\n");
        let asked: serde_json::Value = serde_json::from_slice(&fs::read(asked).unwrap()).unwrap();
        assert_eq!(asked["operation"], "eu-1-provision-7");
        assert_eq!(asked["cell"], "eu-1");
        assert_eq!(asked["params"]["size"], "small");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_reported_with_the_programs_output() {
        let check = async |script: &str, error: &str, output: &str| {
            let folder = tempfile::tempdir().unwrap();
            let provider = provider(folder.path(), script, 500);
            let failed = provider.provision(&job()).await.unwrap_err();
            assert!(failed.error.contains(error), "{script}: {failed:?}");
            assert!(failed.output.contains(output), "{script}: {failed:?}");
        };
        check(
            "echo quota reached >&2; exit 3",
            "exit status: 3",
            "quota reached",
        )
        .await;
        check("echo sure", "answered something else", "sure").await;
        check("sleep 60 & wait", "took longer than 500 ms", "").await;
        check("echo '{\"endpoints\":[],\"x\":1}'", "unknown field `x`", "").await;
        let missing = ExecProvider::new(ExecConfig {
            command: vec!["/nowhere/provider".to_owned()],
            timeout: Duration::from_secs(1),
            describe_interval: Duration::from_secs(60),
        });
        let failed = missing.remove(&job()).await.unwrap_err();
        assert!(failed.error.contains("cannot be started"), "{failed:?}");
    }

    #[tokio::test]
    async fn a_flood_of_words_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let script = "head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; echo end >&2";
        let provider = provider(folder.path(), script, 20_000);
        let words = provider.remove(&job()).await.unwrap();
        assert!(words.len() <= OUTPUT_BYTES_MAX && words.ends_with("end\n"));
    }
}
