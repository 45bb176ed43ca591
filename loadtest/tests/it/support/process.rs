//! A program under test.

use std::{
    collections::VecDeque,
    fmt::Write,
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::{wait_for, wait_until};

/// Lines of output that are kept, the newest ones.
const LINES_MAX: usize = 10_000;

/// A running program. It is killed when this is dropped, and its output is shown if the test is
/// failing then.
pub(crate) struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<Output>>,
}

#[derive(Default)]
struct Output {
    lines: VecDeque<String>,
    open_streams: usize,
    reader: Reader,
}

/// What becomes of a program's output from now on.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reader {
    #[default]
    Reads,
    /// It is there and takes nothing.
    Sleeps,
    /// It has closed the pipe.
    Gone,
}

impl Process {
    /// Starts `command` without standard input; `name` is what messages call it.
    #[track_caller]
    pub(crate) fn start(name: impl Into<String>, command: &mut Command) -> Self {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));

        let output = Arc::new(Mutex::new(Output {
            open_streams: 2,
            ..Output::default()
        }));
        collect(
            child.stdout.take().expect("stdout is piped"),
            Arc::clone(&output),
        );
        let stderr = child.stderr.take().expect("stderr is piped");
        // Small, so that it is full soon once nobody reads it. Where it cannot be set, it takes more lines.
        let _ = rustix::pipe::fcntl_setpipe_size(&stderr, 4_096);
        collect(stderr, Arc::clone(&output));
        Self {
            name,
            child,
            output,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it holds, in bytes. 0 where the system has no `/proc`.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let kilobytes = status.lines().find_map(|line| {
            let value = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?;
            value.parse::<u64>().ok()
        });
        kilobytes.unwrap_or(0) * 1024
    }

    /// CPU time that it has used, of its own and of the system on its behalf. 0 where the system has no `/proc`.
    pub(crate) fn cpu_time(&self) -> Duration {
        /// The unit is a part of what programs see of Linux, on all that it runs on today.
        const TICK: Duration = Duration::from_millis(10);
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(path).unwrap_or_default();
        // The name, in parentheses, may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|ticks| ticks.parse::<u32>().ok())
            .map(|ticks| TICK * ticks)
            .sum()
    }

    /// Waits for a line, on either output, in which `pick` finds something.
    #[track_caller]
    pub(crate) fn wait_for_line<T>(
        &self,
        what: &str,
        limit: Duration,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> T {
        self.find_line(what, limit, pick)
            .unwrap_or_else(|| panic!("{} ended before {what}", self.name))
    }

    /// The same for a program that may end before.
    #[track_caller]
    pub(crate) fn find_line<T>(
        &self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        wait_for(&format!("{}: {what}", self.name), limit, || {
            let output = lock(&self.output);
            let found = output.lines.iter().find_map(|line| pick(line));
            let has_ended = output.open_streams == 0;
            (found.is_some() || has_ended).then_some(found)
        })
    }

    /// All lines so far, of both outputs.
    pub(crate) fn output(&self) -> String {
        lock(&self.output)
            .lines
            .iter()
            .fold(String::new(), |mut text, line| {
                writeln!(text, "{line}").expect("a String takes whatever is written");
                text
            })
    }

    /// Sends a signal. `Signal::STOP` makes a program that accepts and never answers,
    /// `Signal::CONT` heals it.
    #[track_caller]
    pub(crate) fn signal(&mut self, signal: Signal) {
        assert!(self.try_wait().is_none(), "{} has ended already", self.name);
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("cannot send {signal:?} to {}: {error}", self.name));
    }

    /// Kills it without warning, and waits for its end.
    pub(crate) fn kill(&mut self) {
        // Both fail only for a program that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = wait_for(&what, limit, || self.try_wait());
        // Whoever looks at the output next wants all of it.
        wait_until("its output ends", limit, || {
            lock(&self.output).open_streams == 0
        });
        status
    }

    /// Waits for it to end by itself, whether or not somebody reads its output.
    #[track_caller]
    pub(crate) fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_for(&what, limit, || self.try_wait())
    }

    /// Nobody reads its output any more: soon it is full.
    pub(crate) fn stop_reading(&self) {
        lock(&self.output).reader = Reader::Sleeps;
    }

    /// Its output is closed at the other end, once it has written one more line there.
    pub(crate) fn close_outputs(&self) {
        lock(&self.output).reader = Reader::Gone;
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .unwrap_or_else(|error| panic!("cannot wait for {}: {error}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("---- output of {}\n{}----", self.name, self.output());
        }
    }
}

fn collect(stream: impl Read + Send + 'static, shared: Arc<Mutex<Output>>) {
    thread::spawn(move || {
        // To the end, whatever it is: a program whose output nobody reads would be stopped by it.
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let mut output = lock(&shared);
            while output.reader == Reader::Sleeps {
                drop(output);
                // For as long as the test lasts.
                thread::park();
                output = lock(&shared);
            }
            if output.reader == Reader::Gone {
                break;
            }
            if output.lines.len() == LINES_MAX {
                output.lines.pop_front();
            }
            output
                .lines
                .push_back(String::from_utf8_lossy(&line).into_owned());
        }
        lock(&shared).open_streams -= 1;
    });
}

/// Also after a failed assertion under the lock, for the output is shown then.
fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
