//! Cells as processes of this machine: started, found again after the daemon's own restart, and started anew when they
//! end.
//!
//! The processes are no part of the daemon: they are in groups of their own, write into files of their own, and go on
//! when it is killed. A record beside each cell's data says which process it is; the time at which that process started
//! distinguishes it from a later one with the same number.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command as StdCommand, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::sleep};
use tracing::{info, warn};

use super::{
    job::{Described, Failed, Job, OUTPUT_BYTES_MAX, restore_limits, tail},
    supervision::Supervision,
};
use crate::{children, config::ProcessConfig, model::cell::EndpointSpec};

/// How long a process may take to end after SIGTERM.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// Between two checks whether it has.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Starts and supervises cells.
#[derive(Debug)]
pub struct ProcessProvider {
    config: ProcessConfig,
    /// By cell.
    supervised: Mutex<HashMap<String, Supervision>>,
    /// Held while an address is chosen, until it is on record: two cells must not choose the same.
    choosing: Mutex<()>,
}

/// What is kept of a cell's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    address: SocketAddr,
    process: Option<Running>,
}

/// A process, known by its number and the moment at which it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    pid: i32,
    started: String,
}

impl ProcessProvider {
    pub fn new(config: ProcessConfig) -> Self {
        Self {
            config,
            supervised: Mutex::default(),
            choosing: Mutex::default(),
        }
    }

    /// Starts the cell's process, unless it runs.
    pub fn provision(&self, job: &Job) -> Result<Described, Failed> {
        let record = self.record(job)?;
        let record = match &record.process {
            Some(running) if is_alive(running) => record,
            _ => self.start(job, record)?,
        };
        Ok(Described {
            endpoints: vec![EndpointSpec {
                address: record.address.to_string(),
                weight: 1,
            }],
            output: self.log_of(job),
            ..Described::default()
        })
    }

    /// Ends the cell's process. Its data stays.
    pub async fn remove(&self, job: &Job) -> Result<String, Failed> {
        let path = self.record_path(job);
        let Some(record) = read_record(&path).map_err(|error| broken(&path, &error))? else {
            return Ok("no process was known".to_owned());
        };
        if let Some(running) = &record.process {
            stop(running).await?;
        }
        fs::remove_file(&path).map_err(|error| broken(&path, &error))?;
        self.supervised
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(job.cell.as_str());
        let folder = self.folder(job);
        Ok(format!(
            "process ended; its data stays in {}",
            folder.display()
        ))
    }

    /// Starts the cell's process again if it has ended, not more often than is good. Says where it is reached, and whether
    /// it keeps ending.
    pub fn tend(&self, job: &Job) -> Result<Described, Failed> {
        let record = self.record(job)?;
        let mut described = Described {
            endpoints: vec![EndpointSpec {
                address: record.address.to_string(),
                weight: 1,
            }],
            ..Described::default()
        };
        if !record.process.as_ref().is_some_and(is_alive) {
            let may_start = self.supervise(job, |it, now| {
                it.end(now);
                it.may_start(now)
            });
            if may_start {
                warn!(cell = %job.cell, "a cell's process has ended and is started again");
                self.start(job, record)?;
                described.was_restarted = true;
            }
        }
        described.trouble = self.supervise(job, Supervision::trouble);
        Ok(described)
    }

    fn supervise<T>(&self, job: &Job, work: impl FnOnce(&mut Supervision, Instant) -> T) -> T {
        let mut supervised = self
            .supervised
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let supervision = supervised.entry(job.cell.to_string()).or_default();
        work(supervision, Instant::now())
    }

    /// Starts the process, and remembers that, or why it could not be started.
    fn start(&self, job: &Job, record: Record) -> Result<Record, Failed> {
        let started = self.spawn(job, record);
        self.supervise(job, |it, now| match &started {
            Ok(_) => it.start(now),
            Err(failed) => it.fail_to_start(failed.error.clone(), now),
        });
        started
    }

    fn spawn(&self, job: &Job, mut record: Record) -> Result<Record, Failed> {
        let folder = self.folder(job);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .map_err(|error| broken(&folder, &error))?;
        let words = self.filled_in(job, record.address)?;
        let (program, arguments) = words
            .split_first()
            .expect("the configuration wants a program");
        let out = log.try_clone().map_err(|error| broken(&folder, &error))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .process_group(0);
        let (child, own) = children::spawn(&mut command)
            .inspect(|(child, _)| restore_limits(child))
            .map_err(|error| Failed::new(format!("`{program}` cannot be started: {error}")))?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(|| Failed {
                error: "the process ended immediately".to_owned(),
                output: self.log_of(job),
            })?;
        record.process = started_at(pid).map(|started| Running { pid, started });
        let written = self.write_record(job, &record);
        if written.is_err() {
            // Nobody would know of it any more.
            kill_group(pid);
        }
        // Its end is noticed by the next poll; the runtime sees to it that no zombie is left.
        tokio::spawn(async move {
            let (mut child, _own) = (child, own);
            let _ = child.wait().await;
        });
        written.map_err(|failed| Failed {
            error: format!(
                "the process was started and killed, because its record could not be written: {}",
                failed.error
            ),
            ..failed
        })?;
        info!(cell = %job.cell, pid, address = %record.address, "cell started");
        Ok(record)
    }

    /// The command with everything filled in.
    fn filled_in(&self, job: &Job, address: SocketAddr) -> Result<Vec<String>, Failed> {
        let folder = self.folder(job).join("data");
        let fill = |word: &String| {
            let mut word = word
                .replace("{cell}", job.cell.as_str())
                .replace("{address}", &address.to_string())
                .replace("{port}", &address.port().to_string())
                .replace("{dir}", &folder.to_string_lossy());
            for (name, value) in job.params.as_object().into_iter().flatten() {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                word = word.replace(&format!("{{param.{name}}}"), &text);
            }
            match word.find("{param.") {
                None => Ok(word),
                Some(at) => Err(Failed::new(format!(
                    "the command wants a parameter that the cell does not have: `{}`",
                    // No further: values of other parameters may follow.
                    word[at..].split_inclusive('}').next().unwrap_or_default()
                ))),
            }
        };
        self.config.command.iter().map(fill).collect()
    }

    fn folder(&self, job: &Job) -> PathBuf {
        self.config.directory.join(job.cell.as_str())
    }

    fn record_path(&self, job: &Job) -> PathBuf {
        self.folder(job).join("process.json")
    }

    /// What is known of the cell's process; a new cell gets an address.
    fn record(&self, job: &Job) -> Result<Record, Failed> {
        let folder = self.folder(job);
        fs::create_dir_all(folder.join("data")).map_err(|error| broken(&folder, &error))?;
        let path = self.record_path(job);
        if let Some(record) = read_record(&path).map_err(|error| broken(&path, &error))? {
            return Ok(record);
        }
        let _choosing = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let record = Record {
            address: self.free_address()?,
            process: None,
        };
        self.write_record(job, &record)?;
        Ok(record)
    }

    fn write_record(&self, job: &Job, record: &Record) -> Result<(), Failed> {
        let path = self.record_path(job);
        let text = serde_json::to_vec_pretty(record).expect("plain data always serializes");
        crate::publish::file::replace_private(&path, &text).map_err(|error| broken(&path, &error))
    }

    /// An address that nobody listens on, and no other cell of this provider has.
    fn free_address(&self) -> Result<SocketAddr, Failed> {
        let taken = self.taken_ports();
        let free = |port: u16| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listener = TcpListener::bind(address).ok()?;
            let address = listener.local_addr().ok()?;
            (!taken.contains(&address.port())).then_some(address)
        };
        let found = match self.config.ports {
            None => (0..100).find_map(|_| free(0)),
            Some((first, last)) => (first..=last).find_map(free),
        };
        found.ok_or_else(|| Failed::new("no port is free"))
    }

    fn taken_ports(&self) -> Vec<u16> {
        let Ok(entries) = fs::read_dir(&self.config.directory) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| read_record(&entry.path().join("process.json")).ok()?)
            .map(|record| record.address.port())
            .collect()
    }

    /// The end of what the cell's process wrote.
    fn log_of(&self, job: &Job) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.folder(job).join("log"))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(
                length.saturating_sub(OUTPUT_BYTES_MAX as u64),
            ))?;
            let mut bytes = Vec::new();
            file.take(OUTPUT_BYTES_MAX as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map(|bytes| tail(&bytes)).unwrap_or_default()
    }
}

fn broken(path: &Path, error: &io::Error) -> Failed {
    Failed::new(format!("{}: {error}", path.display()))
}

fn read_record(path: &Path) -> io::Result<Option<Record>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn is_alive(running: &Running) -> bool {
    started_at(running.pid).is_some_and(|started| started == running.started)
}

/// When a process started, in whatever form the system gives it; `None` if no process has that number.
fn started_at(pid: i32) -> Option<String> {
    if cfg!(target_os = "linux") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, parentheses too; fields are counted from behind it.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let (state, started) = (fields.first()?, fields.get(19)?);
        return (*state != "Z").then(|| (*started).to_owned());
    }
    let output = StdCommand::new("ps")
        .args(["-o", "lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Kills a process that was started in a group of its own, with all its children.
fn kill_group(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended already.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

async fn stop(running: &Running) -> Result<(), Failed> {
    let Some(pid) = Pid::from_raw(running.pid) else {
        return Ok(());
    };
    for signal in [Signal::TERM, Signal::KILL] {
        if !is_alive(running) {
            return Ok(());
        }
        // It may have ended in this very moment.
        let _ = kill_process_group(pid, signal);
        let asked = Instant::now();
        while asked.elapsed() < STOP_WAIT {
            if !is_alive(running) {
                return Ok(());
            }
            sleep(STOP_POLL).await;
        }
    }
    Err(Failed::new(format!("process {} does not end", running.pid)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cellgate_table::CellId;
    use serde_json::json;

    use super::*;

    fn provider(folder: &Path, command: &[&str]) -> ProcessProvider {
        ProcessProvider::new(ProcessConfig {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            directory: folder.to_owned(),
            ports: None,
        })
    }

    fn job(cell: &str) -> Job {
        Job {
            operation: "op".to_owned(),
            cell: CellId::new(cell).unwrap(),
            params: json!({ "size": "small" }),
            labels: BTreeMap::new(),
            endpoints: Vec::new(),
        }
    }

    fn process_of(provider: &ProcessProvider, cell: &str) -> Option<Running> {
        read_record(&provider.record_path(&job(cell)))
            .unwrap()?
            .process
    }

    #[tokio::test]
    async fn a_process_outlives_its_provider_and_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo {cell} {port} {param.size}; exec sleep 1000";
        let command = ["/bin/sh", "-c", script];
        let first = provider(folder.path(), &command);
        let made = first.provision(&job("eu-1")).unwrap();
        let running = process_of(&first, "eu-1").unwrap();
        assert!(is_alive(&running));
        drop(first);

        let second = provider(folder.path(), &command);
        let again = second.provision(&job("eu-1")).unwrap();
        assert_eq!(again.endpoints, made.endpoints);
        assert_eq!(process_of(&second, "eu-1"), Some(running.clone()));
        second.tend(&job("eu-1")).unwrap();
        assert_eq!(process_of(&second, "eu-1"), Some(running.clone()));

        second.remove(&job("eu-1")).await.unwrap();
        assert!(!is_alive(&running));
        second.remove(&job("eu-1")).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_ends_is_started_anew_with_pauses() {
        let folder = tempfile::tempdir().unwrap();
        let provider = provider(folder.path(), &["/bin/sh", "-c", "exit 1"]);
        let address = provider.provision(&job("a")).unwrap().endpoints;
        let mut numbers = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(400) {
            let described = provider.tend(&job("a")).unwrap();
            assert_eq!(described.endpoints, address, "it keeps its address");
            numbers.extend(process_of(&provider, "a").map(|running| running.pid));
            sleep(Duration::from_millis(10)).await;
        }
        numbers.dedup();
        assert!(numbers.len() <= 2, "{numbers:?} in less than one pause");
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let check = async |command: &[&str], expected: &str| {
            let provider = provider(folder.path(), command);
            let failed = provider.provision(&job("a")).unwrap_err();
            assert!(failed.error.contains(expected), "{failed:?}");
        };
        check(&["/nowhere/cell"], "`/nowhere/cell` cannot be started").await;
        check(
            &["/bin/echo", "{param.zone}"],
            "wants a parameter that the cell does not have: `{param.zone}`",
        )
        .await;
    }

    #[tokio::test]
    async fn a_process_without_a_record_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mark = format!("cell-without-a-record-{}", std::process::id());
        let script = format!("sleep 1000; echo {mark}");
        let provider = provider(folder.path(), &["/bin/sh", "-c", &script]);
        let record = provider.record(&job("a")).unwrap();
        // Nothing can be put into the place of a folder with something in it.
        let path = provider.record_path(&job("a"));
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("in-the-way")).unwrap();
        let failed = provider.start(&job("a"), record).unwrap_err();
        assert!(failed.error.contains("could not be written"), "{failed:?}");
        let runs = || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            let mut commands = processes.map(|it| fs::read(it.path().join("cmdline")));
            commands.any(|it| it.is_ok_and(|it| String::from_utf8_lossy(&it).contains(&mark)))
        };
        let begun = Instant::now();
        while runs() {
            assert!(begun.elapsed() < STOP_WAIT, "it lives on");
            sleep(STOP_POLL).await;
        }
    }

    #[test]
    fn a_number_that_came_round_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let started = started_at(pid).unwrap();
        assert!(is_alive(&Running {
            pid,
            started: started.clone()
        }));
        assert!(!is_alive(&Running {
            pid,
            started: format!("{started}1")
        }));
    }
}
