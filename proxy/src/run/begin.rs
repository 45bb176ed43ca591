//! How a process comes to serve: by itself, or in the place of the one before it.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cellgate_process::{lines::LinesWriter, log::LogCounts, notify};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    loading::Loading,
    server::{Parts, Sockets},
    start::{assemble, claim_sockets, read_certificates, share_descriptors},
};
use crate::{
    access_log::AccessLog,
    config::Config,
    handover::{Giving, Place, Pledged, Predecessor, Stock, Successors, Taking},
    listen::{Activation, Turn, Turns},
    metrics::Metrics,
    state_dir::{Claim, StateDir},
    watch::Loader,
};

/// How often it is looked whether all listeners could accept.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Whose the state directory is: this process's, or still that of the one before.
pub(super) enum Start {
    Alone(StateDir, Claim, Activation),
    After(StateDir, Box<Taking>),
}

/// What there is before anything is served.
pub(super) struct Started {
    pub(super) parts: Parts,
    pub(super) sockets: Sockets,
    pub(super) log_writer: Option<LinesWriter>,
    pub(super) giving: Arc<Giving>,
    /// Where successors ask; `None` where no directory can be written to.
    pub(super) place: Option<Place>,
    /// Of a successor.
    pub(super) pledged: Option<Pledged>,
}

impl Start {
    /// Before anything of the state directory is read: what is kept there outranks the table file.
    pub(super) fn begin(
        config: &Config,
        is_upgrade: bool,
        activation: Activation,
    ) -> Result<Self, String> {
        let state_dir = StateDir::new(config.state_dir.clone());
        if is_upgrade {
            let taking = Taking::begin(state_dir.path(), config.timeouts.upgrade)?;
            info!(process = taking.process(), "taking over");
            // The other process writes there.
            state_dir.pause();
            return Ok(Self::After(state_dir, Box::new(taking)));
        }
        let claim = state_dir
            .claim(&config.table.path)
            .map_err(|refusal| format!("{refusal}; {}", refusal.hint()))?;
        Ok(Self::Alone(state_dir, claim, activation))
    }

    pub(super) fn finish(self, config: &Config, log: &LogCounts) -> Result<Started, String> {
        let (state_dir, claim, mut taking, activation) = match self {
            Self::Alone(state_dir, claim, activation) => (state_dir, Some(claim), None, activation),
            Self::After(state_dir, taking) => {
                (state_dir, None, Some(taking), Activation::default())
            }
        };
        for warning in &config.warnings.problems {
            warn!("{}: {warning}", config.warnings.file);
        }
        let budget = share_descriptors(config);
        let metrics = Arc::new(Metrics::new());
        let terminators = read_certificates(config, &metrics, taking.as_deref())?;
        let sockets = claim_sockets(config, &terminators, taking.as_deref_mut(), activation)?;
        let stock = Stock::of(&sockets.edge, &sockets.admin).map_err(|error| {
            format!("a listening socket cannot be kept for a successor: {error}")
        })?;
        metrics.add_process(log);
        let (access_log, log_writer) = AccessLog::start(config.access_log.as_ref(), &metrics);
        let parts = assemble(config, state_dir.clone(), metrics, access_log, budget);
        parts.loader.start();
        let predecessor = Arc::new(Predecessor::default());
        let (claim, place, pledged) = match taking {
            None => (claim, bind_place(state_dir.path()), None),
            Some(taking) => {
                check_table(&parts, taking.generation())?;
                let table = &config.table.path;
                let (claim, place, pledged) = taking.pledge(&state_dir, table, &predecessor)?;
                (Some(claim), Some(place), Some(pledged))
            }
        };
        let giving = Arc::new(Giving {
            state_dir,
            claim: Mutex::new(claim),
            current: Arc::clone(&parts.current),
            lifecycle: Arc::clone(&parts.lifecycle),
            predecessor,
            successors: successors(config.timeouts.upgrade),
            stock: Mutex::new(Some(stock)),
            given: watch::Sender::new(false),
            is_busy: AtomicBool::new(pledged.is_some()),
            awaits_successor: AtomicBool::new(false),
        });
        Ok(Started {
            parts,
            sockets,
            log_writer,
            giving,
            place,
            pledged,
        })
    }
}

fn bind_place(folder: &Path) -> Option<Place> {
    Place::bind(folder)
        .inspect_err(|error| {
            let directory = folder.display();
            warn!(%directory, %error, "no successor can take over from this process (--upgrade, SIGUSR2)");
        })
        .ok()
}

/// A successor serves what the process before it serves, or something newer.
fn check_table(parts: &Parts, before: Option<u64>) -> Result<(), String> {
    let Some(before) = before else {
        return Ok(());
    };
    match parts
        .current
        .load()
        .map(|snapshot| snapshot.generation.get())
    {
        Some(generation) if generation >= before => Ok(()),
        Some(generation) => Err(format!(
            "the process before serves generation {before}, and only {generation} can be had here"
        )),
        None => Err(format!(
            "the process before serves generation {before}, and there is no table here"
        )),
    }
}

fn successors(limit: Duration) -> Successors {
    const UPGRADE: &str = "--upgrade";
    let mut arguments = env::args_os();
    let called = arguments.next().unwrap_or_default();
    let mut arguments: Vec<OsString> = arguments.filter(|argument| argument != UPGRADE).collect();
    arguments.push(UPGRADE.into());
    Successors {
        program: program_of(Path::new(&called)),
        arguments,
        limit,
    }
}

/// By an absolute path, whatever becomes of the working directory and of the file.
fn program_of(called: &Path) -> PathBuf {
    if called.components().count() > 1 {
        return std::path::absolute(called).unwrap_or_else(|_| called.to_owned());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders)
        .map(|folder| folder.join(called))
        .find(|path| path.is_file())
        .or_else(|| env::current_exe().ok())
        .unwrap_or_else(|| called.to_owned())
}

/// Has the listeners accept, once all of them could and nobody else has to.
pub(super) struct Accepting {
    turn: watch::Sender<Turn>,
    turns: Turns,
    expected: usize,
}

impl Accepting {
    pub(super) fn new(sockets: &Sockets, giving: &Giving) -> Self {
        let turn = watch::Sender::new(Turn::Waiting);
        Self {
            turns: Turns {
                turn: turn.subscribe(),
                given: giving.given.subscribe(),
                prepared: Arc::default(),
            },
            turn,
            expected: sockets.edge.len() + 1,
        }
    }

    pub(super) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// The listeners will not accept.
    pub(super) fn give_up(&self) {
        self.turn.send_replace(Turn::Never);
    }

    /// Waits until all listeners could accept, has the process before let go, accepts, and is there for a successor.
    pub(super) fn begin(
        &self,
        giving: &Arc<Giving>,
        pledged: Option<(Pledged, &Loader)>,
        place: Option<Place>,
        (loading, limit): (Loading, Duration),
        has_ended: impl Fn() -> bool,
    ) -> Result<(), String> {
        let began = Instant::now();
        while self.turns.prepared.load(Ordering::Acquire) < self.expected {
            if has_ended() || began.elapsed() >= limit {
                return Err("the listeners do not accept".to_owned());
            }
            thread::sleep(CHECK_INTERVAL);
        }
        if let Some((pledged, loader)) = pledged {
            // Nobody is accepted before the confirmation: whoever was would be lost with a successor that cannot serve.
            loading.pledge();
            let confirmed = pledged
                .serves(&giving.predecessor, || loading.is_asked())
                .inspect_err(|_| loading.leave_if_asked())?;
            giving.set_options();
            self.turn.send_replace(Turn::Accepting);
            confirmed.accepts(&giving.predecessor);
            // The other one does not write any more.
            if let Some(claim) = &*giving.claim.lock().unwrap_or_else(PoisonError::into_inner) {
                claim.note(&giving.state_dir);
            }
            loader.take_over_state();
        } else {
            self.turn.send_replace(Turn::Accepting);
        }
        drop(loading);
        notify::send("READY=1");
        if let Some(place) = place
            && let Err(error) = giving.listen(place)
        {
            warn!(%error, "no successor can take over from this process (--upgrade, SIGUSR2)");
        }
        Ok(())
    }
}
