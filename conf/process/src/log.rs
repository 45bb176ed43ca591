//! The program's own log: events become lines on standard error, by way of a queue and a thread of its own.
//!
//! Whatever becomes of standard error, no thread waits for it and none ends because of it. Equal lines, and lines of the
//! same place in the code, are limited in rate.

mod repeats;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _, Write as _},
    panic,
    sync::Arc,
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tracing::{error, warn};
use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::repeats::{RateLimit, Repeats};
use crate::{
    lines::{self, LinesWriter, Sink},
    restart,
};

/// Lines that may wait for whoever reads standard error.
const QUEUE_LINES_MAX: usize = 8_192;
/// What is queued at the end has this long to be written.
const FINISH_LIMIT: Duration = Duration::from_millis(300);

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// The running log. Dropping it writes what is queued.
#[derive(Debug)]
pub struct Log {
    writer: Option<LinesWriter>,
    counts: LogCounts,
}

/// What is left out of the log.
#[derive(Clone, Debug)]
pub struct LogCounts {
    /// Lines that could not be written, or did not fit into the queue.
    pub dropped: IntCounter,
    /// Lines that were left out because they repeat others.
    pub suppressed: IntCounter,
}

/// Starts the log, for the whole process. `RUST_LOG` says how much is logged, else `filter`. A panic becomes a line, too:
/// the standard library would write it to standard error itself, and wait there.
///
/// `namespace` is the beginning of the names of its counters.
pub fn start(namespace: &str, format: Format, filter: &str) -> Log {
    let counts = LogCounts::new(namespace);
    let repeats = Arc::new(Repeats::new(counts.suppressed.clone()));
    let settings = lines::Settings {
        lines_max: QUEUE_LINES_MAX,
        flush_after: Duration::ZERO,
        dropped: counts.dropped.clone(),
    };
    let (lines, writer) = lines::start(
        "log",
        Sink::Stderr,
        settings,
        Some(chore(&repeats, &counts)),
    );
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let layer = fmt::layer()
        .with_writer(Arc::new(lines))
        .with_target(false)
        .log_internal_errors(false);
    let layer = match format {
        Format::Json => layer.json().flatten_event(true).boxed(),
        Format::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    let log = tracing_subscriber::registry()
        .with(filter)
        .with(RateLimit(repeats))
        .with(layer);
    // It fails only where there is one already, as in a program that starts two.
    let _ = log.try_init();
    panic::set_hook(Box::new(log_panic));
    Log {
        writer: Some(writer),
        counts,
    }
}

impl Log {
    /// Counters for the program's metrics.
    pub fn counts(&self) -> &LogCounts {
        &self.counts
    }
}

/// Writes what is queued, within half a second; also when a panic ends the program.
impl Drop for Log {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish(FINISH_LIMIT);
        }
    }
}

impl LogCounts {
    fn new(namespace: &str) -> Self {
        let counter = |name: &str, help: &str| {
            let options = prometheus::Opts::new(name, help).namespace(namespace);
            IntCounter::with_opts(options).expect("names and helps are constants")
        };
        Self {
            dropped: counter(
                "log_lines_dropped_total",
                "Lines of the program's own log that could not be written, or did not fit into its queue.",
            ),
            suppressed: counter(
                "log_lines_suppressed_total",
                "Lines of the program's own log that were left out because they repeat others.",
            ),
        }
    }

    /// Adds the counters to a program's metrics.
    pub fn register(&self, registry: &prometheus::Registry) {
        for counter in [&self.dropped, &self.suppressed] {
            registry
                .register(Box::new(counter.clone()))
                .expect("each program has one log");
        }
    }
}

/// For programs, and tests, whose log was not started: counters that nobody counts up.
impl Default for LogCounts {
    fn default() -> Self {
        Self::new("")
    }
}

/// Says what was left out, by the log itself.
fn chore(repeats: &Arc<Repeats>, counts: &LogCounts) -> lines::Chore {
    let (repeats, dropped) = (Arc::clone(repeats), counts.dropped.clone());
    let mut reported = 0;
    Box::new(move || {
        repeats.report();
        let now = dropped.get();
        if now > reported {
            warn!(lines = now - reported, "lines of this log were lost");
            reported = now;
        }
    })
}

fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = info.location().map(ToString::to_string);
    let message = restart::message(info.payload());
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!(thread, place, message, %backtrace, "panicked");
    } else {
        error!(thread, place, message, "panicked");
    }
}

/// Writes a text to standard error, for a program that ends because of it. It waits no longer than a second for
/// whoever reads there.
pub fn last_words(text: String) {
    let (done, is_done) = std::sync::mpsc::channel();
    let writing = thread::Builder::new().spawn(move || {
        // With standard error closed nobody can be reached.
        let _ = writeln!(io::stderr(), "{text}");
        let _ = done.send(());
    });
    if writing.is_ok() {
        let _ = is_done.recv_timeout(Duration::from_secs(1));
    }
}
