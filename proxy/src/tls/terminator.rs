//! TLS of one listener: what is in force, its files, and its handshakes.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use cellgate_table::Problems;
use serde::Serialize;
use tokio::{net::TcpStream, sync::Semaphore};
use tracing::{debug, info, warn};

use super::{
    handshake::{self, Established, Refused},
    material::{self, Stamps},
    reload::{Failed, RETRY_INTERVAL, Readings},
    settings::TlsSettings,
    tickets::Tickets,
    view::View,
};
use crate::{
    clock,
    metrics::{Metrics, TlsMetrics},
};

/// How often the files' state is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Debug)]
pub struct Terminator {
    listener: Arc<str>,
    settings: TlsSettings,
    view: ArcSwap<View>,
    /// For a listener without keys of a fleet. They outlive the view: new certificates leave sessions as they are.
    own_tickets: Arc<Tickets>,
    places: Semaphore,
    metrics: TlsMetrics,
    files: Mutex<Files>,
    shown: Mutex<Shown>,
}

/// Held while files are read.
#[derive(Debug)]
struct Files {
    stamps: Stamps,
    readings: Readings,
}

/// Never held while a disk is waited for.
#[derive(Debug)]
struct Shown {
    loaded_at: SystemTime,
    error: Option<String>,
}

/// For `/status`.
#[derive(Debug, Serialize)]
pub struct TlsStatus {
    pub certificates: usize,
    /// When the certificates in force were read.
    pub loaded_at: String,
    /// The first of them that expires, and when.
    pub next_expiry: Option<NextExpiry>,
    /// Why the files are not in force.
    pub error: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct NextExpiry {
    pub file: String,
    pub at: String,
}

/// Reads the files and makes a view of them, as at the start: for `check`, too. What works and should not stay so comes
/// beside it.
pub fn load(settings: &TlsSettings, now: i64) -> Result<(View, Vec<Problems>), Vec<Problems>> {
    load_with(settings, now, &Arc::new(Tickets::own("", None, now)))
}

fn load_with(
    settings: &TlsSettings,
    now: i64,
    own_tickets: &Arc<Tickets>,
) -> Result<(View, Vec<Problems>), Vec<Problems>> {
    let material = material::read(settings)?;
    let view = View::build(&material, settings, now, None, own_tickets)?;
    let untimely = view.certificates.untimely(now);
    Ok((view, untimely))
}

impl Terminator {
    /// Everything has to be good at the start but for dates: an expired certificate is better than no proxy.
    /// `ticket_keys` are what [`ticket_keys`](Self::ticket_keys) of the process before gave for the listener of this name,
    /// if there was one. A listener that has its tickets' keys from a file, or has no tickets, leaves them.
    pub fn start(
        listener: &str,
        settings: TlsSettings,
        metrics: &Metrics,
        ticket_keys: Option<&[u8]>,
    ) -> Result<Self, Vec<Problems>> {
        let now = clock::unix_now();
        let own_tickets = Arc::new(Tickets::own(listener, ticket_keys, now));
        let stamps = Stamps::of(&settings);
        let (view, untimely) = load_with(&settings, now, &own_tickets)?;
        for problems in &untimely {
            warn!(listener, "{problems}");
        }
        let metrics = metrics.of_tls(listener);
        metrics.succeeded();
        metrics.publish_expiry(expiries(&view));
        Ok(Self {
            listener: listener.into(),
            places: Semaphore::new(settings.handshakes_at_once_max.min(Semaphore::MAX_PERMITS)),
            settings,
            view: ArcSwap::from_pointee(view),
            own_tickets,
            metrics,
            files: Mutex::new(Files {
                stamps,
                readings: Readings::default(),
            }),
            shown: Mutex::new(Shown {
                loaded_at: SystemTime::now(),
                error: None,
            }),
        })
    }

    /// Does the handshake of a connection, of which `came` was read already.
    pub async fn accept(&self, socket: TcpStream, came: &[u8]) -> Result<Established, Refused> {
        let config = || Arc::clone(&self.view.load().config);
        let limit = self.settings.handshake;
        let outcome = handshake::accept(socket, came, config, &self.places, limit).await;
        match &outcome {
            Ok(established) => self.metrics.established(established.is_resumed),
            Err(refused) => {
                if let Some(code) = refused.code() {
                    self.metrics.refused(code);
                }
                debug!(listener = &*self.listener, ?refused, "no TLS handshake");
            }
        }
        outcome
    }

    /// Looks at the files, and puts in force what changed. The answer is when to look again. It waits for the disk.
    pub fn poll_files(&self) -> Duration {
        self.own_tickets.rotate(clock::unix_now());
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // Stamped before they are read: a change during that makes the next look see others.
        let stamps = Stamps::of(&self.settings);
        let changed = stamps != files.stamps;
        if files.readings.are_due(changed, Instant::now()) {
            self.read_files(&mut files);
        }
        // Only now: files on which reading panics are read again.
        files.stamps = stamps;
        if files.readings.are_settling() {
            RETRY_INTERVAL
        } else {
            POLL_INTERVAL
        }
    }

    fn read_files(&self, files: &mut Files) {
        let listener = &*self.listener;
        let current = self.view.load_full();
        let view = material::read(&self.settings).and_then(|material| {
            let now = clock::unix_now();
            View::build(
                &material,
                &self.settings,
                now,
                Some(&current),
                &self.own_tickets,
            )
        });
        match view {
            Ok(view) => {
                let certificates = view.certificates.loaded.len();
                self.metrics.publish_expiry(expiries(&view));
                self.metrics.succeeded();
                self.view.store(Arc::new(view));
                files.readings.succeeded();
                *self.shown() = Shown {
                    loaded_at: SystemTime::now(),
                    error: None,
                };
                info!(
                    listener,
                    certificates, "the certificates' files are in force as they are now"
                );
            }
            Err(problems) => {
                let what = summary(&problems);
                if files.readings.failed(&what, Instant::now()) == Failed::Report {
                    self.metrics.failed();
                    warn!(
                        listener,
                        "the certificates' files are refused, and those before stay in force: {what}"
                    );
                    self.shown().error = Some(what);
                }
            }
        }
    }

    /// The keys of its session tickets, for the process that takes the listener over; give them to [`start`](Self::start)
    /// there. They are secret. `None` if it has none of its own: they are a fleet's, or clients show certificates.
    pub fn ticket_keys(&self) -> Option<Vec<u8>> {
        self.view.load().tickets.as_ref()?.export()
    }

    pub fn listener(&self) -> &str {
        &self.listener
    }

    pub fn status(&self) -> TlsStatus {
        let shown = self.shown();
        let view = self.view.load();
        let next = expiries(&view).min_by_key(|(_, at)| *at);
        TlsStatus {
            certificates: view.certificates.loaded.len(),
            loaded_at: clock::rfc3339(shown.loaded_at),
            next_expiry: next.map(|(file, at)| NextExpiry {
                file: file.display().to_string(),
                at: clock::rfc3339(clock::of_unix(at)),
            }),
            error: shown.error.clone(),
        }
    }

    /// Why the files are not in force.
    pub fn error(&self) -> Option<String> {
        self.shown().error.clone()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn expiries(view: &View) -> impl Iterator<Item = (&Path, i64)> {
    let loaded = view.certificates.loaded.iter();
    loaded.map(|loaded| (&*loaded.file, loaded.not_after))
}

/// The first problem, and how many others there are.
fn summary(problems: &[Problems]) -> String {
    let first = problems
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    match problems.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    }
}

#[cfg(test)]
mod tests;
