//! Puts the rooms together and starts them: the one place where threads and services are made.

use std::{
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use cellgate_process::{descriptors, host::Hosts, log::LogCounts, restart};
use pingora::{
    proxy::HttpProxy,
    server::{RunArgs, Server, ShutdownWatch, configuration::ServerConf},
    services::background::{BackgroundService, background_service},
};
use tokio::sync::{Mutex, Semaphore};
use tracing::{error, info, warn};

use crate::{
    access_log::AccessLog,
    admin::Admin,
    config::{Config, Listener, Upstream},
    descriptors::{
        ACME_CONNECTIONS_MAX, ADMIN_CONNECTIONS_MAX, Budget, REFUSED_CLIENTS_MAX, Wanted,
    },
    exchange::Policy,
    health::HealthChecks,
    http::{BodyBuffers, Edge, Gateway, Services, direct::PlanRules},
    lifecycle::{Lifecycle, Shutdown},
    listen::{BoundListener, ListenService, Opener, bind},
    metrics::Metrics,
    readiness::Readiness,
    signals::{HousekeepingSignals, Signals},
    snapshot::Current,
    state_dir::StateDir,
    tls::{CertificateWatch, Terminator, TlsSettings},
    upstream::{Pool, PoolLimits},
    watch::{self, Loader, Wake, Waker, Watcher},
};

/// How often idle connections to cells are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// At the end the table watcher and the access log have what is left of the time for the drain, and each at least this
/// long: a disk that hangs must not keep the process alive.
const END_LIMIT_MIN: Duration = Duration::from_millis(300);
/// Threads of the admin listener.
const ADMIN_THREADS: usize = 1;

/// What the rooms share.
struct Parts {
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
    loader: Arc<Loader>,
    readiness: Arc<Readiness>,
    access_log: AccessLog,
    budget: Budget,
}

/// Serves until a signal ends it. Everything that can be wrong at start is found out before anything is served.
pub fn serve(config: Config, signals: Signals, log: &LogCounts) -> ExitCode {
    // Before anything of it is read: what is kept there outranks the table file.
    let state_dir = StateDir::new(config.state_dir.clone());
    let Ok(_claim) = state_dir
        .claim(&config.table.path)
        .inspect_err(|refusal| error!("{refusal}; {}", refusal.hint()))
    else {
        return ExitCode::FAILURE;
    };
    let budget = share_descriptors(&config);
    let metrics = Arc::new(Metrics::new());
    let (edge, admin) = match bind_all(&config, &metrics) {
        Ok(bound) => bound,
        Err(message) => {
            error!("{message}");
            return ExitCode::FAILURE;
        }
    };
    metrics.add_process(log);
    let (access_log, log_writer) = AccessLog::start(config.access_log.as_ref(), &metrics);
    let parts = assemble(&config, state_dir, metrics, access_log, budget);
    parts.loader.start();
    let channel = watch::channel();
    let waker = channel.0.clone();
    let watcher = Watcher::new(
        Arc::clone(&parts.loader),
        channel,
        config.table.poll_interval,
    );
    let loader = Arc::clone(&parts.loader);
    let Ok(watcher) = watcher
        .spawn()
        .inspect_err(|error| error!(%error, "no thread to be had"))
    else {
        loader.end();
        return ExitCode::FAILURE;
    };
    let shutdown_limit = config.timeouts.shutdown;
    let lifecycle = Arc::clone(&parts.lifecycle);
    let housekeeping = Housekeeping {
        signals: Mutex::new(signals.housekeeping),
        waker: waker.clone(),
        access_log: parts.access_log.clone(),
    };
    let shutdown = Shutdown {
        lifecycle: Arc::clone(&lifecycle),
        signals: Arc::new(Mutex::new(signals.stop)),
        delay: config.timeouts.shutdown_delay,
    };
    let server = build_server(config, parts, edge, admin, housekeeping);
    let ended = Arc::new(AtomicBool::new(false));
    let Ok(serving) = run_in_thread(server, shutdown, Arc::clone(&ended))
        .inspect_err(|error| error!(%error, "no thread to be had"))
    else {
        loader.end();
        return ExitCode::FAILURE;
    };
    let cut = lifecycle.wait_until_drained(shutdown_limit, || ended.load(Ordering::Acquire));
    if cut > 0 {
        warn!(requests = cut, "time is up: requests in flight are cut");
    }
    let left = || lifecycle.left_to_drain(shutdown_limit).max(END_LIMIT_MIN);
    end_watch(waker, watcher, loader, left());
    if let Some(writer) = log_writer {
        writer.finish(left());
    }
    info!("stopped");
    if ended.load(Ordering::Acquire) && serving.join().is_err() {
        return ExitCode::FAILURE;
    }
    // Otherwise Pingora would sit out the whole grace period; its threads end with the process.
    ExitCode::SUCCESS
}

/// Ends the watch of the table. It may be at work on a disk that hangs, so it is waited for no longer than `limit`.
fn end_watch(waker: Waker, watcher: thread::JoinHandle<()>, loader: Arc<Loader>, limit: Duration) {
    let ending = thread::spawn(move || {
        waker.stop();
        // A panic there has been logged, as every one is.
        let _ = watcher.join();
        loader.end();
    });
    if !ends_within(&ending, limit) {
        warn!("the table watcher is still at work, or waits for a disk, and is left behind");
    }
}

fn ends_within(thread: &thread::JoinHandle<()>, limit: Duration) -> bool {
    const CHECK_INTERVAL: Duration = Duration::from_millis(2);
    let began = Instant::now();
    while !thread.is_finished() {
        if began.elapsed() >= limit {
            return false;
        }
        thread::sleep(CHECK_INTERVAL);
    }
    true
}

/// Takes all descriptors that there are to be had, and lowers what clients may use to what is left by the rest.
fn share_descriptors(config: &Config) -> Budget {
    let limit = descriptors::raise_limit();
    let wanted = Wanted {
        connections_max: config.limits.connections_max,
        idle_connections_max: config.upstream.idle_connections_max,
        listeners: config.listeners.len() + 1,
        threads: config.threads.get(),
    };
    let budget = Budget::of(limit, &wanted);
    if budget.connections_max < wanted.connections_max {
        warn!(
            connections_max = budget.connections_max,
            configured = wanted.connections_max,
            open_files_max = limit,
            "limits.connections_max is lowered: each client connection may need two open files; raise the hard limit \
             of open files (LimitNOFILE= of systemd, --ulimit nofile= of Docker), or lower the setting"
        );
    }
    budget
}

fn bind_all(
    config: &Config,
    metrics: &Metrics,
) -> Result<(Vec<BoundListener>, BoundListener), String> {
    let mut edge = Vec::new();
    for listener in &config.listeners {
        let bound = bind(listener).map_err(|error| {
            format!(
                "listener `{}` cannot listen on {}: {}",
                listener.name,
                listener.address,
                reason(&error)
            )
        })?;
        edge.push(match &listener.tls {
            Some(settings) => bound.with_tls(start_tls(&listener.name, settings, metrics)?),
            None => bound,
        });
    }
    let admin = bind(&Listener::new("admin", config.admin)).map_err(|error| {
        format!(
            "admin cannot listen on {}: {}",
            config.admin,
            reason(&error)
        )
    })?;
    for bound in edge.iter().chain([&admin]) {
        info!(listener = bound.listener.name, address = %bound.address, "listening");
    }
    Ok((edge, admin))
}

fn start_tls(
    listener: &str,
    settings: &TlsSettings,
    metrics: &Metrics,
) -> Result<Arc<Terminator>, String> {
    let started = Terminator::start(listener, settings.clone(), metrics, None);
    started.map(Arc::new).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!(
            "listener `{listener}` cannot speak TLS: {}",
            problems.join("\n")
        )
    })
}

fn reason(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there already",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    };
    format!("{error}{hint}")
}

fn assemble(
    config: &Config,
    state_dir: StateDir,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    budget: Budget,
) -> Parts {
    let current = Arc::new(Current::default());
    let loader = Loader::new(
        config.table.clone(),
        state_dir,
        Arc::clone(&current),
        Arc::clone(&metrics),
    );
    let (loader, lifecycle) = (
        Arc::new(loader),
        Arc::new(Lifecycle::new(Arc::clone(&metrics))),
    );
    let readiness = Readiness::new(
        Arc::clone(&current),
        Arc::clone(&loader),
        Arc::clone(&lifecycle),
    );
    Parts {
        lifecycle,
        loader,
        readiness: Arc::new(readiness),
        current,
        metrics,
        access_log,
        budget,
    }
}

/// The server with all its services.
fn build_server(
    config: Config,
    parts: Parts,
    edge: Vec<BoundListener>,
    admin: BoundListener,
    housekeeping: Housekeeping,
) -> Server {
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&config));
    server.bootstrap();
    let services = Arc::new(services(&config, &parts));
    let (budget, threads) = (parts.budget, config.threads.get());
    let idle_connections = IdleConnections {
        pool: Arc::clone(&services.pool),
        current: Arc::clone(&parts.current),
        metrics: Arc::clone(&parts.metrics),
    };
    let terminators: Arc<[_]> = edge
        .iter()
        .filter_map(|bound| bound.terminator().cloned())
        .collect();
    let certificates = CertificateWatch {
        terminators: Arc::clone(&terminators),
    };
    let admin_hosts = config.admin_hosts.clone();
    let edge_app = edge_app(config, &parts, services, &server.configuration);
    let edge_places = budget.connections_max + REFUSED_CLIENTS_MAX;
    let edge = ListenService::new("edge", edge, edge_app, threads, edge_places);
    server.add_service(edge);
    let health = HealthChecks {
        current: Arc::clone(&parts.current),
        checks_at_once_max: budget.checks_at_once_max,
    };
    let (admin_app, places) = (
        Arc::new(admin_app(parts, admin_hosts, terminators)),
        ADMIN_CONNECTIONS_MAX,
    );
    let admin = ListenService::new("admin", vec![admin], admin_app, ADMIN_THREADS, places);
    server.add_service(admin.accepting_while_draining().cutting_oldest());
    server.add_service(background_service("health", health));
    server.add_service(background_service("certificates", certificates));
    server.add_service(background_service("idle connections", idle_connections));
    server.add_service(background_service("housekeeping", housekeeping));
    server
}

/// What both ways of a request need of the process.
fn services(config: &Config, parts: &Parts) -> Services {
    Services {
        current: Arc::clone(&parts.current),
        policy: Policy {
            unknown_tenants: config.unknown_tenants,
            retries: config.upstream.retries,
            ejection: config.upstream.ejection,
            metrics: Arc::clone(&parts.metrics),
        },
        pool: Arc::new(Pool::new(pool_limits(&config.upstream))),
        timeouts: config.timeouts,
        upstream: config.upstream,
        body_bytes_per_second_min: config.limits.body_bytes_per_second_min,
        lifecycle: Arc::clone(&parts.lifecycle),
        readiness: Arc::clone(&parts.readiness),
        access_log: parts.access_log.clone(),
        acme_places: Semaphore::new(ACME_CONNECTIONS_MAX),
    }
}

fn edge_app(
    config: Config,
    parts: &Parts,
    services: Arc<Services>,
    server_conf: &Arc<ServerConf>,
) -> Edge {
    let limits = config.limits;
    let opener = Opener::new(
        Arc::clone(&parts.metrics),
        config.timeouts.head,
        limits.connections_per_source_max,
        config.trust.proxies.clone(),
    );
    let rules = Arc::new(PlanRules {
        key_rules: config.key_rules,
        preflights: config.preflights,
        trust: config.trust,
        names_requests: config.names_requests,
        goes_direct: config.direct,
    });
    let gateway = Gateway {
        services: Arc::clone(&services),
        rules: Arc::clone(&rules),
        upgrades: Arc::clone(&limits.upgrades),
    };
    let mut proxy = HttpProxy::new(gateway, Arc::clone(server_conf));
    proxy.handle_init_modules();
    Edge {
        proxy: Arc::new(proxy),
        services,
        rules,
        body_buffers: Arc::new(BodyBuffers::new(limits.body_buffers_total_bytes_max)),
        limits,
        metrics: Arc::clone(&parts.metrics),
        budget: parts.budget,
        opener,
    }
}

fn admin_app(parts: Parts, hosts: Hosts, terminators: Arc<[Arc<Terminator>]>) -> Admin {
    Admin {
        hosts,
        current: parts.current,
        loader: parts.loader,
        readiness: parts.readiness,
        lifecycle: parts.lifecycle,
        metrics: parts.metrics,
        budget: parts.budget,
        terminators,
    }
}

/// Closes connections to cells that have waited for too long, that their cell has closed, or whose cell is gone, and
/// publishes how many there are.
struct IdleConnections {
    pool: Arc<Pool>,
    current: Arc<Current>,
    metrics: Arc<Metrics>,
}

impl IdleConnections {
    fn publish(&self) {
        let (pool, metrics) = (&self.pool, &self.metrics);
        let idle = i64::try_from(pool.idle()).unwrap_or(i64::MAX);
        metrics.upstream_idle.set(idle);
        for (counter, count) in [
            (&metrics.upstream_reused, pool.reused()),
            (&metrics.upstream_missed, pool.missed()),
        ] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

#[async_trait]
impl BackgroundService for IdleConnections {
    /// Until the process ends: during the drain there are requests still.
    async fn start(&self, _: ShutdownWatch) {
        restart::until_done("idle connections", |_| {}, || self.sweep()).await;
    }
}

impl IdleConnections {
    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.pool.sweep(Instant::now());
            if let Some(snapshot) = self.current.load() {
                self.pool
                    .retain_cells(|cell| snapshot.table.index_of(cell).is_some());
            }
            self.publish();
        }
    }
}

fn pool_limits(upstream: &Upstream) -> PoolLimits {
    PoolLimits {
        idle_total_max: upstream.idle_connections_max,
        idle_per_cell_max: upstream.idle_per_cell_max,
        idle: upstream.idle,
        requests_per_connection_max: upstream.requests_per_connection_max,
    }
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.threads.get(),
        // Streams of ours are never kept there.
        upstream_keepalive_pool_size: 1,
        // The first try, the further ones, and one for a kept connection that turned out to be closed.
        max_retries: config.upstream.retries + 2,
        // The process leaves by itself as soon as nothing is in flight; Pingora must not end it sooner.
        grace_period_seconds: Some(config.timeouts.shutdown.as_secs() + 60),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn run_in_thread(
    server: Server,
    shutdown: Shutdown,
    ended: Arc<AtomicBool>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || {
            // Also when it panics, such as for want of a thread: nobody would be left to hear a signal.
            let _ended = SetOnDrop(ended);
            server.run(RunArgs {
                shutdown_signal: Box::new(shutdown),
            });
        })
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What the signals that do not end the process ask for.
struct Housekeeping {
    signals: Mutex<HousekeepingSignals>,
    waker: Waker,
    access_log: AccessLog,
}

#[async_trait]
impl BackgroundService for Housekeeping {
    async fn start(&self, shutdown: ShutdownWatch) {
        let keep_house = || self.act_on_signals(shutdown.clone());
        restart::until_done("housekeeping", |_| {}, keep_house).await;
    }
}

impl Housekeeping {
    async fn act_on_signals(&self, mut shutdown: ShutdownWatch) {
        let mut signals = self.signals.lock().await;
        let HousekeepingSignals { hangup, user1 } = &mut *signals;
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    info!("SIGHUP: reading the table file");
                    self.waker.wake(Wake::Reread);
                }
                _ = user1.recv() => self.access_log.reopen(),
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }
}
