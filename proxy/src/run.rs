//! Puts the rooms together and starts them: the one place where threads and services are made.

mod begin;
mod housekeeping;
mod idle;
mod loading;
mod server;
mod start;
mod table_watch;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cellgate_process::log::LogCounts;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use self::{
    begin::{Accepting, Start, Started},
    housekeeping::Housekeeping,
    loading::Loading,
    server::{build_server, run_in_thread},
    table_watch::{TableWatch, no_thread},
};
use crate::{
    config::Config,
    handover,
    lifecycle::{Lifecycle, Shutdown},
    listen::Activation,
    signals::{HousekeepingSignals, Signals, StopSignals},
};

/// At the end the table watcher and the access log have what is left of the time for the drain, and each at least this
/// long: a disk that hangs must not keep the process alive.
const END_LIMIT_MIN: Duration = Duration::from_millis(300);

/// How long the process still waits at the end for its answers to those who have just asked on the admin address.
const ANSWER_LIMIT: Duration = Duration::from_millis(600);

/// How the process was started.
#[derive(Debug)]
pub struct Launch {
    /// In the place of one that runs.
    pub is_upgrade: bool,
    pub activation: Activation,
}

/// Serves until a signal ends it. Everything that can be wrong at start is found out before anything is served.
pub fn serve(config: Config, launch: Launch, signals: Signals, log: &LogCounts) -> ExitCode {
    let Launch {
        is_upgrade,
        activation,
    } = launch;
    let Signals { stop, housekeeping } = signals;
    let stop = Arc::new(Mutex::new(stop));
    let loading = match Loading::begin(&stop, is_upgrade) {
        Ok(loading) => loading,
        Err(error) => {
            error!(%error, "signals cannot be handled");
            return ExitCode::FAILURE;
        }
    };
    let started =
        Start::begin(&config, is_upgrade, activation).and_then(|start| start.finish(&config, log));
    let signals = (stop, housekeeping);
    match started.and_then(|started| run(config, started, signals, loading)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    config: Config,
    started: Started,
    (signals, housekeeping): (Arc<Mutex<StopSignals>>, HousekeepingSignals),
    loading: Loading,
) -> Result<(), String> {
    let Started {
        parts,
        sockets,
        log_writer,
        giving,
        place,
        pledged,
    } = started;
    let watch = TableWatch::start(Arc::clone(&parts.loader), config.table.poll_interval)?;
    let (shutdown_limit, upgrade_limit) = (config.timeouts.shutdown, config.timeouts.upgrade);
    let lifecycle = Arc::clone(&parts.lifecycle);
    let housekeeping = Housekeeping {
        signals: Mutex::new(housekeeping),
        waker: watch.waker(),
        access_log: parts.access_log.clone(),
        giving: Arc::clone(&giving),
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let shutdown = Shutdown {
        lifecycle: Arc::clone(&lifecycle),
        signals,
        delay: config.timeouts.shutdown_delay,
        given: giving.given.subscribe(),
        stopped,
    };
    let loader = Arc::clone(&parts.loader);
    let accepting = Accepting::new(&sockets, &giving);
    let predecessor = Arc::clone(&giving.predecessor);
    let server = build_server(
        config,
        parts,
        sockets,
        housekeeping,
        predecessor,
        accepting.turns(),
    );
    let ended = Arc::new(AtomicBool::new(false));
    let serving = match run_in_thread(server, shutdown, Arc::clone(&ended)) {
        Ok(serving) => serving,
        Err(error) => {
            watch.end(END_LIMIT_MIN);
            return Err(no_thread(&error));
        }
    };
    let has_ended = || ended.load(Ordering::Acquire);
    let pledged = pledged.map(|pledged| (pledged, &*loader));
    let while_loading = (loading, upgrade_limit);
    let taken_over = accepting.begin(&giving, pledged, place, while_loading, has_ended);
    if let Err(message) = &taken_over {
        error!("{message}");
        accepting.give_up();
        stop.send_replace(true);
    }
    wait_until_drained(&lifecycle, shutdown_limit, has_ended);
    let left = || lifecycle.left_to_drain(shutdown_limit).max(END_LIMIT_MIN);
    if *giving.given.borrow() {
        // Only through this process the successor hears of the one before.
        (giving.predecessor).wait_until_gone(lifecycle.left_to_drain(shutdown_limit));
    } else if taken_over.is_ok() {
        handover::remove(giving.state_dir.path());
    }
    watch.end(left());
    if let Some(writer) = log_writer {
        writer.finish(left());
    }
    lifecycle.wait_until_answered(ANSWER_LIMIT);
    info!("stopped");
    if has_ended() && serving.join().is_err() {
        return Err("the server panicked".to_owned());
    }
    // Otherwise Pingora would sit out the whole grace period; its threads end with the process.
    taken_over
}

fn wait_until_drained(lifecycle: &Lifecycle, limit: Duration, has_ended: impl Fn() -> bool) {
    let cut = lifecycle.wait_until_drained(limit, has_ended);
    if cut > 0 {
        warn!(requests = cut, "time is up: requests in flight are cut");
    }
}
