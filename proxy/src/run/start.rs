//! What is found out before anything is served: certificates first, then sockets, then the table.

use std::{collections::BTreeMap, io, sync::Arc};

use cellgate_process::descriptors;
use tracing::{info, warn};

use super::server::{Parts, Sockets};
use crate::{
    access_log::AccessLog,
    config::{Config, Listener, ListenerProtocol},
    descriptors::{Budget, Wanted},
    handover::{Role, Taking},
    lifecycle::Lifecycle,
    listen::{Activation, adopt, bind, set_options},
    metrics::Metrics,
    readiness::Readiness,
    snapshot::Current,
    state_dir::StateDir,
    tcp::PIPES_MAX,
    tls::{Terminator, TlsSettings},
    watch::Loader,
};

/// By the names of their listeners.
pub(super) type Terminators = BTreeMap<String, Arc<Terminator>>;

/// Takes all descriptors that there are to be had, and lowers what clients may use to what is left by the rest.
pub(super) fn share_descriptors(config: &Config) -> Budget {
    let limit = descriptors::raise_limit();
    let carries_connections =
        (config.listeners.iter()).any(|listener| listener.protocol != ListenerProtocol::Http);
    let wanted = Wanted {
        connections_max: config.limits.connections_max,
        idle_connections_max: config.upstream.idle_connections_max,
        listeners: config.listeners.len() + 1,
        threads: config.threads.get(),
        pipes_max: if carries_connections { PIPES_MAX } else { 0 },
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

/// Reads the certificates of all listeners; by listener.
pub(super) fn read_certificates(
    config: &Config,
    metrics: &Metrics,
    taking: Option<&Taking>,
) -> Result<Terminators, String> {
    let speak_tls = config.listeners.iter().filter_map(|listener| {
        let settings = listener.tls.as_ref()?;
        Some((&listener.name, settings))
    });
    speak_tls
        .map(|(name, settings)| Ok((name.clone(), start_tls(name, settings, metrics, taking)?)))
        .collect()
}

fn start_tls(
    listener: &str,
    settings: &TlsSettings,
    metrics: &Metrics,
    taking: Option<&Taking>,
) -> Result<Arc<Terminator>, String> {
    let started = Terminator::start(
        listener,
        settings.clone(),
        metrics,
        taking.and_then(|taking| taking.ticket_keys(listener)),
    );
    started.map(Arc::new).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!(
            "listener `{listener}` cannot speak TLS: {}",
            problems.join("\n")
        )
    })
}

/// Binds the listeners' addresses and that of the admin, or has the sockets of the process before, or the service
/// manager's.
pub(super) fn claim_sockets(
    config: &Config,
    terminators: &Terminators,
    mut taking: Option<&mut Taking>,
    mut activation: Activation,
) -> Result<Sockets, String> {
    let mut claim = |role, listener: &Listener| {
        let taken = taking
            .as_mut()
            .and_then(|taking| taking.socket_of(role, listener));
        if let Some(socket) = taken {
            // Its options are that process's for as long as it may go on.
            return adopt(listener, socket);
        }
        match activation.take(listener).map_err(io::Error::other)? {
            Some(socket) => {
                set_options(&socket, listener.tcp)?;
                adopt(listener, socket)
            }
            None => bind(listener),
        }
    };
    let mut edge = Vec::new();
    for listener in &config.listeners {
        let bound = claim(Role::Edge, listener).map_err(|error| {
            format!(
                "listener `{}` cannot listen on {}: {}",
                listener.name,
                listener.address,
                reason(&error)
            )
        })?;
        edge.push(match terminators.get(&listener.name) {
            Some(terminator) => bound.with_tls(Arc::clone(terminator)),
            None => bound,
        });
    }
    let admin = claim(Role::Admin, &Listener::new("admin", config.admin)).map_err(|error| {
        format!(
            "admin cannot listen on {}: {}",
            config.admin,
            reason(&error)
        )
    })?;
    activation.end()?;
    for bound in edge.iter().chain([&admin]) {
        info!(listener = bound.listener.name, address = %bound.address, "listening");
    }
    Ok(Sockets { edge, admin })
}

fn reason(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there already (to take over from a cellgate-proxy, use --upgrade)"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    };
    format!("{error}{hint}")
}

pub(super) fn assemble(
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
