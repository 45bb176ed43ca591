//! The one place where services are made.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use cellgate_process::host::Hosts;
use pingora::{
    proxy::HttpProxy,
    server::{RunArgs, Server, configuration::ServerConf},
    services::background::background_service,
};

use tokio::sync::Semaphore;

use super::{housekeeping::Housekeeping, idle::IdleConnections};
use crate::{
    access_log::AccessLog,
    admin::Admin,
    config::{Config, Upstream},
    descriptors::{ACME_CONNECTIONS_MAX, ADMIN_CONNECTIONS_MAX, Budget, REFUSED_CLIENTS_MAX},
    exchange::Policy,
    front::Front,
    handover::Predecessor,
    health::HealthChecks,
    http::{BodyBuffers, Edge, Gateway, Services, direct::PlanRules},
    lifecycle::{Lifecycle, Shutdown},
    listen::{BoundListener, ListenService, Opener, Turns},
    metrics::Metrics,
    readiness::Readiness,
    snapshot::Current,
    tcp::{Carrier, Pipes},
    tls::{CertificateWatch, Terminator},
    upstream::{Pool, PoolLimits},
    watch::Loader,
};

/// Threads of the admin listener.
const ADMIN_THREADS: usize = 1;

/// Sockets that listen.
pub(super) struct Sockets {
    pub(super) edge: Vec<BoundListener>,
    pub(super) admin: BoundListener,
}

/// What the rooms share.
pub(super) struct Parts {
    pub(super) current: Arc<Current>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) loader: Arc<Loader>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) access_log: AccessLog,
    pub(super) budget: Budget,
}

/// The server with all its services.
pub(super) fn build_server(
    config: Config,
    parts: Parts,
    sockets: Sockets,
    housekeeping: Housekeeping,
    predecessor: Arc<Predecessor>,
    turns: Turns,
) -> Server {
    let Sockets { edge, admin } = sockets;
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
    let edge = ListenService::new("edge", edge, edge_app, threads, edge_places, turns.clone());
    server.add_service(edge);
    let health = HealthChecks {
        current: Arc::clone(&parts.current),
        checks_at_once_max: budget.checks_at_once_max,
    };
    let (admin_app, places) = (
        Arc::new(admin_app(parts, admin_hosts, terminators, predecessor)),
        ADMIN_CONNECTIONS_MAX,
    );
    let admin = ListenService::new(
        "admin",
        vec![admin],
        admin_app,
        ADMIN_THREADS,
        places,
        turns,
    );
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
        budget: parts.budget,
    }
}

fn edge_app(
    config: Config,
    parts: &Parts,
    services: Arc<Services>,
    server_conf: &Arc<ServerConf>,
) -> Front {
    let limits = config.limits;
    let opener = Arc::new(Opener::new(
        Arc::clone(&parts.metrics),
        config.timeouts.head,
        config.timeouts.drain_idle,
        limits.connections_per_source_max,
        config.trust.proxies.clone(),
    ));
    let tcp = Carrier {
        services: Arc::clone(&services),
        opener: Arc::clone(&opener),
        pipes: Arc::new(Pipes::new(parts.budget.pipes_max)),
    };
    let rules = Arc::new(PlanRules {
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
    let http = Edge {
        proxy: Arc::new(proxy),
        services,
        rules,
        body_buffers: Arc::new(BodyBuffers::new(limits.body_buffers_total_bytes_max)),
        limits,
        metrics: Arc::clone(&parts.metrics),
        opener,
    };
    Front { http, tcp }
}

fn admin_app(
    parts: Parts,
    hosts: Hosts,
    terminators: Arc<[Arc<Terminator>]>,
    predecessor: Arc<Predecessor>,
) -> Admin {
    Admin {
        hosts,
        current: parts.current,
        loader: parts.loader,
        readiness: parts.readiness,
        lifecycle: parts.lifecycle,
        metrics: parts.metrics,
        budget: parts.budget,
        terminators,
        predecessor,
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

pub(super) fn run_in_thread(
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
