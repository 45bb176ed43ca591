//! Puts the rooms together and starts them: the one place where threads and services are made.

mod housekeeping;
mod idle;
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

use cellgate_process::{lines::LinesWriter, log::LogCounts};
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use self::{
    housekeeping::Housekeeping,
    server::{Parts, Sockets, build_server, run_in_thread},
    start::{assemble, bind_all, read_certificates, share_descriptors},
    table_watch::{TableWatch, no_thread},
};
use crate::{
    access_log::AccessLog, config::Config, lifecycle::Shutdown, metrics::Metrics, signals::Signals,
    state_dir::StateDir,
};

/// At the end the table watcher and the access log have what is left of the time for the drain, and each at least this
/// long: a disk that hangs must not keep the process alive.
const END_LIMIT_MIN: Duration = Duration::from_millis(300);

/// Serves until a signal ends it. Everything that can be wrong at start is found out before anything is served.
pub fn serve(config: Config, signals: Signals, log: &LogCounts) -> ExitCode {
    // Before anything of it is read: what is kept there outranks the table file.
    let state_dir = StateDir::new(config.state_dir.clone());
    let claimed = state_dir
        .claim(&config.table.path)
        .map_err(|refusal| format!("{refusal}; {}", refusal.hint()));
    let ended = claimed.and_then(|_claim| {
        let started = start(&config, state_dir, log)?;
        run(config, started, signals)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// What there is before anything is served.
struct Started {
    parts: Parts,
    sockets: Sockets,
    log_writer: Option<LinesWriter>,
}

fn start(config: &Config, state_dir: StateDir, log: &LogCounts) -> Result<Started, String> {
    for warning in &config.warnings.problems {
        warn!("{}: {warning}", config.warnings.file);
    }
    let budget = share_descriptors(config);
    let metrics = Arc::new(Metrics::new());
    let terminators = read_certificates(config, &metrics)?;
    let sockets = bind_all(config, &terminators)?;
    metrics.add_process(log);
    let (access_log, log_writer) = AccessLog::start(config.access_log.as_ref(), &metrics);
    let parts = assemble(config, state_dir, metrics, access_log, budget);
    parts.loader.start();
    Ok(Started {
        parts,
        sockets,
        log_writer,
    })
}

fn run(config: Config, started: Started, signals: Signals) -> Result<(), String> {
    let Started {
        parts,
        sockets,
        log_writer,
    } = started;
    let watch = TableWatch::start(Arc::clone(&parts.loader), config.table.poll_interval)?;
    let shutdown_limit = config.timeouts.shutdown;
    let lifecycle = Arc::clone(&parts.lifecycle);
    let housekeeping = Housekeeping {
        signals: Mutex::new(signals.housekeeping),
        waker: watch.waker(),
        access_log: parts.access_log.clone(),
    };
    let shutdown = Shutdown {
        lifecycle: Arc::clone(&lifecycle),
        signals: Arc::new(Mutex::new(signals.stop)),
        delay: config.timeouts.shutdown_delay,
    };
    let server = build_server(config, parts, sockets, housekeeping);
    let ended = Arc::new(AtomicBool::new(false));
    let serving = match run_in_thread(server, shutdown, Arc::clone(&ended)) {
        Ok(serving) => serving,
        Err(error) => {
            watch.end(END_LIMIT_MIN);
            return Err(no_thread(&error));
        }
    };
    let cut = lifecycle.wait_until_drained(shutdown_limit, || ended.load(Ordering::Acquire));
    if cut > 0 {
        warn!(requests = cut, "time is up: requests in flight are cut");
    }
    let left = || lifecycle.left_to_drain(shutdown_limit).max(END_LIMIT_MIN);
    watch.end(left());
    if let Some(writer) = log_writer {
        writer.finish(left());
    }
    info!("stopped");
    if ended.load(Ordering::Acquire) && serving.join().is_err() {
        return Err("the server panicked".to_owned());
    }
    // Otherwise Pingora would sit out the whole grace period; its threads end with the process.
    Ok(())
}
