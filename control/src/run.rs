//! Puts the rooms together and starts them: the one place where listeners and tasks are made.

use std::{
    fmt::Display,
    fs,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use cellgate_process::{
    descriptors,
    lock::{Lock, LockError},
    log::LogCounts,
    notify, restart,
};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime,
    signal::unix::Signal,
    sync::{Mutex, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{
    api::{self, Tokens},
    children, clock,
    config::{ApiConfig, Config},
    daemon::{Daemon, database_path, set_first_hash},
    publish::{
        Publisher,
        place::{self, Place},
    },
    signals::Signals,
    store::Store,
    tasks,
};

/// How long requests and tasks may go on once the daemon is asked to end. Whatever is cut off is taken up after
/// the restart.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How long the API may be kept waiting at the start for the first check of the table's file.
const FIRST_COMPARISON_LIMIT: Duration = Duration::from_secs(2);
/// How long work that blocks may go on after that.
const BLOCKED_LIMIT: Duration = Duration::from_secs(1);

/// Serves until a signal ends it. Everything that can be wrong at start is found out before anything is served.
pub fn serve(config: Config, is_taking_over: bool, signals: Signals, log: &LogCounts) -> ExitCode {
    descriptors::raise_limit();
    let runtime = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "the runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(config, is_taking_over, signals, log));
    // Work that blocks, such as on a disk that hangs, must not keep the process alive.
    runtime.shutdown_timeout(BLOCKED_LIMIT);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until it is known what is published, so that nobody reads otherwise after a restart; on a slow disk not for long.
async fn first_comparison(daemon: &Daemon) {
    let compared = async {
        while !daemon.publisher.status().is_known() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let _ = timeout(FIRST_COMPARISON_LIMIT, compared).await;
}

async fn run(
    config: Config,
    is_taking_over: bool,
    mut signals: Signals,
    log: &LogCounts,
) -> Result<(), String> {
    // Held until the process ends.
    let _state_lock = lock_state_dir(&config.state_dir).map_err(text)?;
    let database = database_path(&config.state_dir);
    let store =
        Store::open(&database).map_err(|error| format!("{}: {error}", database.display()))?;
    let store = Arc::new(store);
    set_first_hash(&store, config.hash).map_err(text)?;
    let place = table_place(&config.table.path, is_taking_over)?;
    let publisher = Publisher::new(config.table.clone(), Arc::clone(&store), place);
    let tokens = api::Tokens::load_or_make(&config.api.token_file).map_err(text)?;
    let tokens = Arc::new(tokens);
    let (tcp, unix) = bind(&config.api).await?;
    let daemon = Arc::new(Daemon::new(config, store, publisher).map_err(text)?);
    daemon.metrics.add_process(log);
    let (stopping, stop) = watch::channel(false);
    let mut tasks = tasks::start(&daemon, &stop);
    first_comparison(&daemon).await;
    let mut serving = JoinSet::new();
    let router = api::router(&daemon, &tokens);
    let rules = daemon.config.api.connections;
    if let Some(unix) = unix {
        let socket = daemon.config.api.socket.clone().unwrap_or_default();
        info!(socket = %socket.display(), "listening");
        serving.spawn(api::serve_unix(unix, router.clone(), rules, stop.clone()));
    }
    info!(address = %tcp.local_addr().map_err(text)?, "listening");
    serving.spawn(api::serve_tcp(tcp, router, rules, stop.clone()));
    let reaping = Arc::clone(&daemon);
    let stopped = stop.clone();
    tasks.spawn(async move {
        let panicked = |message: &str| reaping.panics.record("reap", message);
        restart::until_done("reap", panicked, || children::reaping(stopped.clone())).await;
    });
    let (reloading_for, stopped) = (Arc::clone(&daemon), stop.clone());
    let hangup = Mutex::new(signals.hangup);
    tasks.spawn(async move {
        let panicked = |message: &str| reloading_for.panics.record("reload_tokens", message);
        let reload = || reloading(&hangup, Arc::clone(&tokens), stopped.clone());
        restart::until_done("reload_tokens", panicked, reload).await;
    });
    let mut broken = None;
    notify::send("READY=1");
    tokio::select! {
        () = signals.stop.asked() => {}
        ended = serving.join_next() => broken = Some(format!("a listener ended by itself: {ended:?}")),
    }
    info!("stopping");
    notify::send("STOPPING=1");
    stopping.send_replace(true);
    let ended = timeout(STOP_LIMIT, async {
        while tasks.join_next().await.is_some() {}
        // Whoever follows events would hold its connection for ever.
        let _ = timeout(Duration::from_secs(1), async {
            while serving.join_next().await.is_some() {}
        })
        .await;
    });
    if ended.await.is_err() {
        warn!("time is up: what was under way is cut off");
    }
    info!("stopped");
    broken.map_or(Ok(()), Err)
}

async fn bind(api: &ApiConfig) -> Result<(TcpListener, Option<UnixListener>), String> {
    let address = api.address;
    let tcp = TcpListener::bind(address)
        .await
        .map_err(|error| format!("the API cannot listen on {address}: {error}"))?;
    let unix = match &api.socket {
        None => None,
        Some(path) => Some(
            api::bind_unix(path)
                .map_err(|error| format!("the API cannot listen on {}: {error}", path.display()))?,
        ),
    };
    Ok((tcp, unix))
}

/// Reads the token file again whenever SIGHUP asks for it.
async fn reloading(hangup: &Mutex<Signal>, tokens: Arc<Tokens>, mut stop: watch::Receiver<bool>) {
    // A panic gives it back.
    let mut hangup = hangup.lock().await;
    loop {
        tokio::select! {
            asked = hangup.recv() => if asked.is_none() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let read = Arc::clone(&tokens);
        match tokio::task::spawn_blocking(move || read.reload()).await {
            Ok(Ok(tokens)) => info!(tokens, "SIGHUP: the token file was read again"),
            Ok(Err(error)) => error!(%error, "SIGHUP: the tokens stay what they were"),
            // The task is started again, and the panic is recorded.
            Err(error) => {
                error!(%error, "SIGHUP: the tokens stay what they were");
                if let Ok(payload) = error.try_into_panic() {
                    resume_unwind(payload);
                }
            }
        }
    }
}

/// Makes the state directory if it is missing, and locks it: one daemon at a time.
pub fn lock_state_dir(state_dir: &Path) -> Result<Lock, LockError> {
    fs::create_dir_all(state_dir).map_err(|error| LockError::Io {
        path: state_dir.to_owned(),
        error,
    })?;
    Lock::take(&state_dir.join("lock"), &note())
}

/// Where the table is to be written, locked. Two paths that lead to one file have one lock.
fn table_place(path: &Path, is_taking_over: bool) -> Result<Place, String> {
    let target = place::target_of(path).map_err(text)?;
    let lock = lock_table(&target, is_taking_over).map_err(|error| {
        let way_out = match &error {
            LockError::Held { .. } => "stop that daemon, or take the table over with --take-over",
            LockError::Io { .. } => "check the folder and its permissions",
        };
        format!("{error}; {way_out}")
    })?;
    Ok(Place::new(path, target, lock))
}

/// One daemon per table.
fn lock_table(table: &Path, is_taking_over: bool) -> Result<Lock, LockError> {
    let mut name = table.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let path: PathBuf = table.with_file_name(name);
    if is_taking_over {
        warn!(lock = %path.display(), "taking the table over");
        return Lock::take_over(&path, &note());
    }
    Lock::take(&path, &note())
}

fn note() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let at = if host.is_empty() {
        String::new()
    } else {
        format!(" on {host}")
    };
    format!(
        "cellgate-control, process {}{at}, since {}",
        std::process::id(),
        clock::rfc3339(clock::now_ms())
    )
}

fn text(error: impl Display) -> String {
    error.to_string()
}
