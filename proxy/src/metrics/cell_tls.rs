//! The metrics of TLS to cells.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::families::{counter, counters, gauge, gauges};

/// Why there is no TLS on a connection to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellTlsFailure {
    /// The cell's certificate did not pass.
    Certificate,
    /// The cell refused: perhaps what is shown to it.
    Alert,
    Timeout,
    /// The cell left.
    Closed,
    /// What it says is not TLS, or nothing that both speak.
    Protocol,
    /// The files that the table names cannot be used.
    Files,
}

impl CellTlsFailure {
    const ALL: [Self; 6] = [
        Self::Certificate,
        Self::Alert,
        Self::Timeout,
        Self::Closed,
        Self::Protocol,
        Self::Files,
    ];

    /// Its label.
    pub fn code(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::Files => "files",
        }
    }
}

const KINDS: [&str; 2] = ["full", "resumed"];

/// Of all cells.
#[derive(Debug)]
pub struct CellTlsFamilies {
    handshakes: IntCounterVec,
    failures: IntCounterVec,
    expiry: IntGaugeVec,
    /// Changes of files that were refused.
    pub reload_failures: IntCounter,
    /// 1 while all files are in force as they are, else 0.
    pub last_reload_success: IntGauge,
}

/// Of one cell.
#[derive(Clone, Debug)]
pub struct CellTlsMetrics {
    full: IntCounter,
    resumed: IntCounter,
    failures: [IntCounter; CellTlsFailure::ALL.len()],
}

impl CellTlsFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        let families = Self {
            handshakes: counters(
                r,
                "upstream_tls_handshakes_total",
                "TLS handshakes with cells that succeeded: full ones, and those that resumed a session.",
                &["cell", "kind"],
            ),
            failures: counters(
                r,
                "upstream_tls_failures_total",
                "Connections to cells that got no TLS, by reason.",
                &["cell", "reason"],
            ),
            expiry: gauges(
                r,
                "upstream_certificate_expiry_timestamp_seconds",
                "When the certificate that is shown to a cell expires, in seconds since 1970.",
                &["cell"],
            ),
            reload_failures: counter(
                r,
                "upstream_certificate_reload_failures_total",
                "Changes of the files for TLS to cells that were refused.",
            ),
            last_reload_success: gauge(
                r,
                "upstream_certificate_last_reload_success",
                "1 while the files for TLS to cells are in force as they are, 0 while some are refused.",
            ),
        };
        families.last_reload_success.set(1);
        families
    }

    /// The handles of one cell.
    pub fn of(&self, cell: &str) -> CellTlsMetrics {
        let [full, resumed] = KINDS.map(|kind| self.handshakes.with_label_values(&[cell, kind]));
        CellTlsMetrics {
            full,
            resumed,
            failures: CellTlsFailure::ALL
                .map(|failure| self.failures.with_label_values(&[cell, failure.code()])),
        }
    }

    /// When what is shown to a cell expires, if anything is.
    pub fn publish_expiry(&self, cell: &str, not_after: Option<i64>) {
        match not_after {
            Some(not_after) => self.expiry.with_label_values(&[cell]).set(not_after),
            // A series that is not there is as good as removed.
            None => drop(self.expiry.remove_label_values(&[cell])),
        }
    }

    /// Drops the series of a cell that has no TLS any more.
    pub fn forget(&self, cell: &str) {
        for kind in KINDS {
            let _ = self.handshakes.remove_label_values(&[cell, kind]);
        }
        for failure in CellTlsFailure::ALL {
            let _ = self.failures.remove_label_values(&[cell, failure.code()]);
        }
        let _ = self.expiry.remove_label_values(&[cell]);
    }
}

impl CellTlsMetrics {
    pub fn established(&self, is_resumed: bool) {
        if is_resumed {
            self.resumed.inc();
        } else {
            self.full.inc();
        }
    }

    pub fn failed(&self, failure: CellTlsFailure) {
        self.failures[failure as usize].inc();
    }
}
