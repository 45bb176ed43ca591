//! The metrics of listeners with TLS.

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::families::{counters, gauges};

/// Of all listeners.
#[derive(Debug)]
pub(super) struct Families {
    handshakes: IntCounterVec,
    handshake_failures: IntCounterVec,
    reload_failures: IntCounterVec,
    last_reload_success: IntGaugeVec,
    expiry: IntGaugeVec,
    list_expiry: IntGaugeVec,
}

/// Of one listener.
#[derive(Debug)]
pub struct TlsMetrics {
    listener: String,
    full: IntCounter,
    resumed: IntCounter,
    handshake_failures: IntCounterVec,
    reload_failures: IntCounter,
    last_reload_success: IntGauge,
    expiry: IntGaugeVec,
    list_expiry: IntGaugeVec,
    /// The files that have a series.
    published: Mutex<BTreeMap<String, i64>>,
}

/// Why a handshake failed; each has a series from the start.
const FAILURES: [&str; 6] = [
    "aborted",
    "failed",
    "not_tls",
    "overloaded",
    "plain_http",
    "timeout",
];

impl Families {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            handshakes: counters(
                r,
                "tls_handshakes_total",
                "TLS handshakes of clients that succeeded: full ones, and those that resumed a session.",
                &["listener", "kind"],
            ),
            handshake_failures: counters(
                r,
                "tls_handshake_failures_total",
                "TLS handshakes of clients that did not succeed, by reason.",
                &["listener", "reason"],
            ),
            reload_failures: counters(
                r,
                "certificate_reload_failures_total",
                "Changes of certificate files that were refused.",
                &["listener"],
            ),
            last_reload_success: gauges(
                r,
                "certificate_last_reload_success",
                "1 while the certificate files are in force as they are, 0 while they are refused.",
                &["listener"],
            ),
            expiry: gauges(
                r,
                "certificate_expiry_timestamp_seconds",
                "When the certificate in force from a file expires, in seconds since 1970.",
                &["listener", "file"],
            ),
            list_expiry: gauges(
                r,
                "revocation_list_expiry_timestamp_seconds",
                "When the first revocation list in force is out of date, in seconds since 1970.",
                &["listener"],
            ),
        }
    }

    pub(super) fn of(&self, listener: &str) -> TlsMetrics {
        for reason in FAILURES {
            self.handshake_failures
                .with_label_values(&[listener, reason]);
        }
        TlsMetrics {
            listener: listener.to_owned(),
            full: self.handshakes.with_label_values(&[listener, "full"]),
            resumed: self.handshakes.with_label_values(&[listener, "resumed"]),
            handshake_failures: self.handshake_failures.clone(),
            reload_failures: self.reload_failures.with_label_values(&[listener]),
            last_reload_success: self.last_reload_success.with_label_values(&[listener]),
            expiry: self.expiry.clone(),
            list_expiry: self.list_expiry.clone(),
            published: Mutex::default(),
        }
    }
}

impl TlsMetrics {
    pub fn established(&self, is_resumed: bool) {
        if is_resumed {
            self.resumed.inc();
        } else {
            self.full.inc();
        }
    }

    pub fn refused(&self, reason: &str) {
        debug_assert!(FAILURES.contains(&reason), "{reason} has no series");
        let labels = [&*self.listener, reason];
        self.handshake_failures.with_label_values(&labels).inc();
    }

    pub fn failed(&self) {
        self.reload_failures.inc();
        self.last_reload_success.set(0);
    }

    pub fn succeeded(&self) {
        self.last_reload_success.set(1);
    }

    /// When the certificate of each file expires, and the first revocation list; files that are not among them any more lose
    /// their series.
    pub fn publish_expiry<'f>(
        &self,
        expiries: impl Iterator<Item = (&'f Path, i64)>,
        lists_end: Option<i64>,
    ) {
        match lists_end {
            Some(at) => (self.list_expiry.with_label_values(&[&self.listener])).set(at),
            // A series that is not there is as good as removed.
            None => drop(self.list_expiry.remove_label_values(&[&self.listener])),
        }
        let now: BTreeMap<String, i64> = expiries
            .map(|(file, at)| (file.display().to_string(), at))
            .collect();
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for file in published.keys().filter(|file| !now.contains_key(*file)) {
            // A series that is not there is as good as removed.
            let _ = self.expiry.remove_label_values(&[&self.listener, file]);
        }
        for (file, at) in &now {
            self.expiry
                .with_label_values(&[&self.listener, file])
                .set(*at);
        }
        *published = now;
    }
}
