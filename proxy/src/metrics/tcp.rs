//! The metrics of TCP listeners.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::families::{counters, gauges};
use crate::tcp::End;

/// Of all cells.
#[derive(Debug)]
pub(super) struct Families {
    open: IntGaugeVec,
    connections: IntCounterVec,
    bytes: IntCounterVec,
    closed: IntCounterVec,
}

/// Of one cell.
#[derive(Debug)]
pub struct TcpMetrics {
    pub open: IntGauge,
    pub connections: IntCounter,
    pub bytes_from_clients: IntCounter,
    pub bytes_from_cell: IntCounter,
}

/// Who sent the bytes.
const SENDERS: [&str; 2] = ["client", "cell"];

impl Families {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            open: gauges(
                r,
                "tcp_connections",
                "Connections of TCP listeners open to a cell.",
                &["cell"],
            ),
            connections: counters(
                r,
                "tcp_connections_total",
                "Connections of TCP listeners admitted to a cell.",
                &["cell"],
            ),
            bytes: counters(
                r,
                "tcp_bytes_total",
                "Bytes carried for TCP listeners, by who sent them; added when a connection ends.",
                &["cell", "from"],
            ),
            closed: counters(
                r,
                "tcp_connections_closed_total",
                "Connections of TCP listeners that ended, by reason; refused ones, too.",
                &["reason"],
            ),
        }
    }

    pub(super) fn closed(&self, end: End) {
        self.closed.with_label_values(&[end.code()]).inc();
    }

    pub(super) fn of_cell(&self, cell: &str) -> TcpMetrics {
        let [from_clients, from_cell] =
            SENDERS.map(|sender| self.bytes.with_label_values(&[cell, sender]));
        TcpMetrics {
            open: self.open.with_label_values(&[cell]),
            connections: self.connections.with_label_values(&[cell]),
            bytes_from_clients: from_clients,
            bytes_from_cell: from_cell,
        }
    }

    pub(super) fn forget_cell(&self, cell: &str) {
        // A series that is not there is as good as removed.
        let _ = self.open.remove_label_values(&[cell]);
        let _ = self.connections.remove_label_values(&[cell]);
        for sender in SENDERS {
            let _ = self.bytes.remove_label_values(&[cell, sender]);
        }
    }
}
