//! TLS of one listener: what is in force, its files, and its handshakes.

use std::{
    collections::BTreeSet,
    num::NonZero,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
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
    reload::{RETRY_INTERVAL, Readings, SETTLING},
    roots,
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
    places: Arc<Semaphore>,
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
    is_settling: bool,
    /// What is in force though it is expired, out of date or not valid yet.
    untimely: BTreeSet<String>,
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
    /// Files do not fit together, and have not for as long as a second: they may be in the middle of a change.
    pub settling: bool,
}

#[derive(Debug, Serialize)]
pub struct NextExpiry {
    pub file: String,
    pub at: String,
}

/// Reads the files and makes a view of them, as at the start: for `check`, too. What is refused, or works and should not
/// stay so, comes beside it.
pub fn load(settings: &TlsSettings, now: i64) -> Result<(View, Vec<Problems>), Vec<Problems>> {
    let own_tickets = Arc::new(Tickets::own("", None, now));
    let (view, mut problems) = load_with(settings, now, None, &own_tickets)?;
    problems.extend(view.untimely(now));
    Ok((view, problems))
}

/// The authorities of clients' certificates that are expired, and trusted all the same.
pub fn expired_authorities(settings: &TlsSettings, now: i64) -> Vec<Problems> {
    let ca = settings.client_auth.as_ref().map(|auth| &auth.ca);
    // What else may be wrong with the file is for who loads it to say.
    let read = ca.and_then(|ca| material::read_file(ca).ok());
    read.map_or_else(Vec::new, |file| roots::expired(&file, now))
}

fn load_with(
    settings: &TlsSettings,
    now: i64,
    previous: Option<&View>,
    own_tickets: &Arc<Tickets>,
) -> Result<(View, Vec<Problems>), Vec<Problems>> {
    let in_force = previous.map(|view| &*view.certificates);
    let material = material::read(settings, |file| in_force?.stamps_of(file))?;
    View::build(material, settings, now, previous, own_tickets)
}

/// The same at the start. Files may just be replaced, one after the other: what is wrong is looked at for a second.
fn load_settled(
    settings: &TlsSettings,
    own_tickets: &Arc<Tickets>,
) -> Result<(View, Vec<Problems>), Vec<Problems>> {
    let began = Instant::now();
    loop {
        let outcome = load_with(settings, clock::unix_now(), None, own_tickets);
        let is_good = outcome
            .as_ref()
            .is_ok_and(|(_, refused)| refused.is_empty());
        if is_good || began.elapsed() >= SETTLING {
            return outcome;
        }
        thread::sleep(RETRY_INTERVAL);
    }
}

/// More threads than processors would only take turns, and the threads of requests theirs among them.
fn places(configured: usize) -> usize {
    configured.min(thread::available_parallelism().map_or(1, NonZero::get))
}

impl Terminator {
    /// Every certificate that the configuration names has to be good but for its dates: an expired certificate is better
    /// than no proxy. Of the folder's, those are left out that are not. `ticket_keys` are what
    /// [`ticket_keys`](Self::ticket_keys) of the process before gave for the listener of this name, if there was one. A
    /// listener that has its tickets' keys from a file, or has no tickets, leaves them.
    pub fn start(
        listener: &str,
        settings: TlsSettings,
        metrics: &Metrics,
        ticket_keys: Option<&[u8]>,
    ) -> Result<Self, Vec<Problems>> {
        let now = clock::unix_now();
        let own_tickets = Arc::new(Tickets::own(listener, ticket_keys, now));
        let stamps = Stamps::of(&settings);
        let (view, refused) = load_settled(&settings, &own_tickets)?;
        let mut readings = Readings::default();
        readings.note(texts(&refused), Instant::now());
        readings.report_all();
        let metrics = metrics.of_tls(listener);
        metrics.publish_expiry(expiries(&view), view.lists_end());
        metrics.succeeded();
        for what in readings.reported() {
            metrics.failed();
            warn!(listener, "a certificate is refused, and left out: {what}");
        }
        let error = summary(&readings.reported());
        let terminator = Self {
            listener: listener.into(),
            places: Arc::new(Semaphore::new(places(settings.handshakes_at_once_max))),
            settings,
            view: ArcSwap::from_pointee(view),
            own_tickets,
            metrics,
            files: Mutex::new(Files { stamps, readings }),
            shown: Mutex::new(Shown {
                loaded_at: SystemTime::now(),
                error,
                is_settling: false,
                untimely: BTreeSet::new(),
            }),
        };
        terminator.note_untimely();
        Ok(terminator)
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
        self.note_untimely();
        if files.readings.are_settling() {
            RETRY_INTERVAL
        } else {
            POLL_INTERVAL
        }
    }

    fn read_files(&self, files: &mut Files) {
        let listener = &*self.listener;
        let current = self.view.load_full();
        let now = clock::unix_now();
        let read = load_with(&self.settings, now, Some(&current), &self.own_tickets);
        let refused = match read {
            Ok((view, refused)) => {
                self.put_in_force(view, &current);
                refused
            }
            Err(refused) => refused,
        };
        for what in files.readings.note(texts(&refused), Instant::now()) {
            self.metrics.failed();
            warn!(
                listener,
                "files of the certificates are refused, and what they had before stays in force: {what}"
            );
        }
        self.shown().is_settling = files.readings.are_settling();
        if files.readings.are_good() {
            self.metrics.succeeded();
            self.shown().error = None;
        } else if let Some(error) = summary(&files.readings.reported()) {
            self.shown().error = Some(error);
        }
    }

    /// Says once of each certificate and list in force that it is not valid, or not any more.
    fn note_untimely(&self) {
        let untimely = self.view.load().untimely(clock::unix_now());
        let untimely: BTreeSet<String> = texts(&untimely).into_iter().collect();
        let mut shown = self.shown();
        for what in untimely.difference(&shown.untimely) {
            warn!(listener = &*self.listener, "{what}");
        }
        shown.untimely = untimely;
    }

    fn put_in_force(&self, view: View, current: &View) {
        let listener = &*self.listener;
        let certificates = view.certificates.loaded.len();
        let is_news = view.differs_from(current);
        if is_news {
            self.metrics
                .publish_expiry(expiries(&view), view.lists_end());
        }
        // With nothing new in it, it still has the files' state.
        self.view.store(Arc::new(view));
        if is_news {
            self.shown().loaded_at = SystemTime::now();
            info!(
                listener,
                certificates, "the certificates' files are in force as they are now"
            );
        }
    }

    /// The keys of its session tickets, for the process that takes the listener over; give them to [`start`](Self::start)
    /// there. They are secret. `None` if it has none of its own: they are a fleet's, or clients show certificates.
    pub fn ticket_keys(&self) -> Option<Vec<u8>> {
        self.view.load().tickets()?.export()
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
            settling: shown.is_settling,
        }
    }

    /// Why the files are not in force.
    pub fn error(&self) -> Option<String> {
        self.shown().error.clone()
    }

    /// What is in force though it is expired, out of date or not valid yet.
    pub fn untimely(&self) -> Option<String> {
        let shown = self.shown();
        let untimely: Vec<&str> = shown.untimely.iter().map(|what| &**what).collect();
        summary(&untimely)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn expiries(view: &View) -> impl Iterator<Item = (&Path, i64)> {
    let loaded = view.certificates.loaded.iter();
    loaded.map(|loaded| (&*loaded.file, loaded.not_after))
}

fn texts(problems: &[Problems]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// The first problem, and how many others there are.
fn summary(problems: &[&str]) -> Option<String> {
    let first = problems.first()?;
    Some(match problems.len() {
        1 => (*first).to_owned(),
        count => format!("{first} (and {} more)", count - 1),
    })
}

#[cfg(test)]
mod tests;
