//! Every metric's name, in one place. Labels are `cell`, `reason` and `code` (and the class of a status), never a
//! tenant: their number is bounded by the table and by this program.

mod cell_tls;
mod families;
mod tcp;
mod tls;

use cellgate_process::{
    figures::{self, register_new as register},
    log::LogCounts,
};
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, TextEncoder,
};

use crate::{answer::Reason, gate::Refusal, listen::CloseReason, tcp::End};

use families::{counter, counters, gauge, gauges};

pub use cell_tls::{CellTlsFailure, CellTlsFamilies, CellTlsMetrics};
pub use families::NAMESPACE;
pub use tcp::TcpMetrics;
pub use tls::TlsMetrics;

/// Seconds; from a tenth of a millisecond to a minute.
const DURATION_BUCKETS: [f64; 17] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 15.0, 60.0,
];

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    responses: IntCounterVec,
    request_duration: HistogramVec,
    in_flight: IntGaugeVec,
    tunnels: IntGaugeVec,
    healthy_endpoints: IntGaugeVec,
    upstream_errors: IntCounterVec,
    upstream_retries: IntCounterVec,
    ejections: IntCounterVec,
    rejected: IntCounterVec,
    local_responses: IntCounterVec,
    gate_refusals: ByRefusal,
    connections_closed: [(CloseReason, IntCounter); CloseReason::ALL.len()],
    pub held_requests: IntGauge,
    pub client_aborts: IntCounter,
    pub connections: IntGauge,
    pub upstream_idle: IntGauge,
    pub upstream_reused: IntCounter,
    pub upstream_missed: IntCounter,
    pub connections_refused: IntCounter,
    pub table_generation: IntGauge,
    pub table_reload_failures: IntCounter,
    pub table_last_reload_success: IntGauge,
    pub table_behind: IntGauge,
    pub table_loaded_timestamp: IntGauge,
    pub table_from_last_good: IntGauge,
    pub table_allow_move: IntGauge,
    pub state_write_failures: IntCounter,
    pub access_log_dropped: IntCounter,
    tls: tls::Families,
    pub cell_tls: CellTlsFamilies,
    tcp: tcp::Families,
}

/// The metrics of one cell, looked up once when a table is taken and held in the snapshot.
#[derive(Debug)]
pub struct CellMetrics {
    pub requests: IntCounter,
    /// By the first digit of the status, from 1 to 5.
    pub responses: [IntCounter; 5],
    pub duration: Histogram,
    pub in_flight: IntGauge,
    pub tunnels: IntGauge,
    pub tcp: TcpMetrics,
    pub healthy_endpoints: IntGauge,
    pub retries: IntCounter,
    pub ejections: IntCounter,
    upstream_errors: ByReason<4>,
    rejected: ByReason<3>,
}

/// Why a request that has a cell is refused at the edge.
const CELL_REJECTIONS: [Reason; 3] = [
    Reason::Rejected,
    Reason::CellOverloaded,
    Reason::NoHealthyEndpoint,
];
/// How an attempt to reach an endpoint fails.
const UPSTREAM_FAILURES: [Reason; 4] = [
    Reason::ConnectFailed,
    Reason::UpstreamError,
    Reason::UpstreamHeadTooLarge,
    Reason::UpstreamTimeout,
];

/// One counter per reason of a short list, bound in advance.
#[derive(Debug)]
struct ByReason<const N: usize>([(Reason, IntCounter); N]);

impl<const N: usize> ByReason<N> {
    fn of(counters: &IntCounterVec, cell: &str, reasons: [Reason; N]) -> Self {
        Self(reasons.map(|reason| (reason, counters.with_label_values(&[cell, reason.code()]))))
    }

    fn inc(&self, reason: Reason) {
        let counter = self.0.iter().find(|(known, _)| *known == reason);
        debug_assert!(counter.is_some(), "{reason} is not counted here");
        if let Some((_, counter)) = counter {
            counter.inc();
        }
    }
}

/// One counter per refusal of the gate, bound in advance.
#[derive(Debug)]
struct ByRefusal(Box<[(Refusal, IntCounter)]>);

impl ByRefusal {
    fn of(counters: &IntCounterVec) -> Self {
        let bound = |&refusal: &Refusal| (refusal, counters.with_label_values(&[refusal.code()]));
        Self(Refusal::ALL.iter().map(bound).collect())
    }

    fn inc(&self, refusal: Refusal) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == refusal) {
            counter.inc();
        }
    }
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Which of the classes a status is of.
fn class_of(status: u16) -> Option<usize> {
    let class = usize::from(status / 100).checked_sub(1)?;
    (class < CLASSES.len()).then_some(class)
}

/// What a request is for that a listener answers without a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    Health,
    RedirectHttps,
    Acme,
}

impl LocalKind {
    fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::RedirectHttps => "redirect_https",
            Self::Acme => "acme",
        }
    }
}

impl Metrics {
    #[expect(
        clippy::too_many_lines,
        reason = "a flat list: one metric after the other"
    )]
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        Self {
            requests: counters(
                r,
                "requests_total",
                "Requests admitted to a cell.",
                &["cell"],
            ),
            responses: counters(
                r,
                "responses_total",
                "Answers to requests admitted to a cell, by class of status.",
                &["cell", "class"],
            ),
            request_duration: durations(r),
            in_flight: gauges(r, "in_flight", "Requests in flight to a cell.", &["cell"]),
            tunnels: gauges(
                r,
                "tunnels",
                "Upgraded connections open to a cell, such as WebSockets.",
                &["cell"],
            ),
            healthy_endpoints: gauges(
                r,
                "healthy_endpoints",
                "Endpoints of a cell that may be chosen.",
                &["cell"],
            ),
            upstream_errors: counters(
                r,
                "upstream_errors_total",
                "Attempts to reach an endpoint that failed, by reason.",
                &["cell", "reason"],
            ),
            upstream_retries: counters(
                r,
                "upstream_retries_total",
                "Further attempts after a failed one.",
                &["cell"],
            ),
            ejections: counters(
                r,
                "endpoint_ejections_total",
                "Endpoints left out for a while because requests failed on them.",
                &["cell"],
            ),
            rejected: counters(
                r,
                "rejected_total",
                "Requests answered by the proxy itself and TCP connections refused, by reason; the cell is empty where none was found.",
                &["cell", "reason"],
            ),
            local_responses: counters(
                r,
                "local_responses_total",
                "Requests that a listener answered without a cell, by what they asked for and class of status.",
                &["listener", "kind", "class"],
            ),
            gate_refusals: ByRefusal::of(&counters(
                r,
                "gate_refusals_total",
                "Requests that the gate refused, by what it found wrong with their bytes.",
                &["code"],
            )),
            held_requests: gauge(
                r,
                "held_requests",
                "Requests waiting while their tenant is moved.",
            ),
            client_aborts: counter(
                r,
                "client_aborts_total",
                "Requests whose client went away before the end.",
            ),
            connections: gauge(r, "client_connections", "Client connections open."),
            upstream_idle: gauge(
                r,
                "upstream_idle_connections",
                "Connections to cells that wait for their next request.",
            ),
            upstream_reused: counter(
                r,
                "upstream_connections_reused_total",
                "Requests that went over a connection that had carried others.",
            ),
            upstream_missed: counter(
                r,
                "upstream_connections_missed_total",
                "Requests for which no kept connection fitted, so that a new one was needed.",
            ),
            connections_refused: counter(
                r,
                "client_connections_refused_total",
                "Client connections closed immediately because too many were open.",
            ),
            connections_closed: by_close_reason(r),
            table_generation: gauge(
                r,
                "table_generation",
                "Generation of the table in force; 0 without one.",
            ),
            table_reload_failures: counter(
                r,
                "table_reload_failures_total",
                "Tables that were refused.",
            ),
            table_last_reload_success: gauge(
                r,
                "table_last_reload_success",
                "1 when the last poll of the table file succeeded, else 0.",
            ),
            table_behind: gauge(
                r,
                "table_behind",
                "1 while the table in force is not the one in the file, because that is refused or missing; else 0.",
            ),
            table_loaded_timestamp: gauge(
                r,
                "table_loaded_timestamp_seconds",
                "When the table in force was taken, in seconds since 1970.",
            ),
            table_from_last_good: gauge(
                r,
                "table_from_last_good",
                "1 when the table in force came from the state directory, else 0.",
            ),
            table_allow_move: gauge(
                r,
                "table_allow_move",
                "1 while the table in force says `allow_move: true`, so that no limit of moves protects anybody, else 0.",
            ),
            state_write_failures: counter(
                r,
                "state_write_failures_total",
                "Accepted tables that could not be kept in the state directory.",
            ),
            access_log_dropped: counter(
                r,
                "access_log_dropped_total",
                "Access log lines dropped because the queue was full or the file could not be written.",
            ),
            tls: tls::Families::new(r),
            cell_tls: CellTlsFamilies::new(r),
            tcp: tcp::Families::new(r),
            registry,
        }
    }

    /// The handles of a listener with TLS.
    pub fn of_tls(&self, listener: &str) -> TlsMetrics {
        self.tls.of(listener)
    }

    /// The handles of one cell.
    pub fn of_cell(&self, cell: &str) -> CellMetrics {
        CellMetrics {
            requests: self.requests.with_label_values(&[cell]),
            responses: CLASSES.map(|class| self.responses.with_label_values(&[cell, class])),
            duration: self.request_duration.with_label_values(&[cell]),
            in_flight: self.in_flight.with_label_values(&[cell]),
            tunnels: self.tunnels.with_label_values(&[cell]),
            tcp: self.tcp.of_cell(cell),
            healthy_endpoints: self.healthy_endpoints.with_label_values(&[cell]),
            retries: self.upstream_retries.with_label_values(&[cell]),
            ejections: self.ejections.with_label_values(&[cell]),
            upstream_errors: ByReason::of(&self.upstream_errors, cell, UPSTREAM_FAILURES),
            rejected: ByReason::of(&self.rejected, cell, CELL_REJECTIONS),
        }
    }

    /// Drops the series of a cell that left the table, so that their number stays bounded.
    pub fn forget_cell(&self, cell: &str) {
        // A series that is not there is as good as removed.
        let _ = self.requests.remove_label_values(&[cell]);
        let _ = self.request_duration.remove_label_values(&[cell]);
        let _ = self.in_flight.remove_label_values(&[cell]);
        let _ = self.tunnels.remove_label_values(&[cell]);
        self.tcp.forget_cell(cell);
        let _ = self.healthy_endpoints.remove_label_values(&[cell]);
        let _ = self.upstream_retries.remove_label_values(&[cell]);
        let _ = self.ejections.remove_label_values(&[cell]);
        self.cell_tls.forget(cell);
        for class in CLASSES {
            let _ = self.responses.remove_label_values(&[cell, class]);
        }
        for reason in UPSTREAM_FAILURES {
            let _ = self
                .upstream_errors
                .remove_label_values(&[cell, reason.code()]);
        }
        for reason in CELL_REJECTIONS {
            let _ = self.rejected.remove_label_values(&[cell, reason.code()]);
        }
    }

    /// Counts a request refused before a cell was found for it.
    pub fn rejected_without_cell(&self, reason: Reason) {
        self.rejected.with_label_values(&["", reason.code()]).inc();
    }

    /// Counts a request that a listener answered without a cell.
    pub fn local_response(&self, listener: &str, kind: LocalKind, status: u16) {
        let Some(class) = class_of(status) else {
            return;
        };
        let labels = [listener, kind.name(), CLASSES[class]];
        self.local_responses.with_label_values(&labels).inc();
    }

    /// Counts what the gate found wrong with a request; the answer to it is counted by its reason.
    pub fn gate_refused(&self, refusal: Refusal) {
        self.gate_refusals.inc(refusal);
    }

    /// Counts a client's connection that was closed before its first request.
    pub fn connection_closed(&self, reason: CloseReason) {
        // By code: several faults may have one.
        let mut counters = self.connections_closed.iter();
        if let Some((_, counter)) = counters.find(|it| it.0.code() == reason.code()) {
            counter.inc();
        }
    }

    /// Counts a connection of a TCP listener at its end.
    pub fn tcp_closed(&self, end: End) {
        self.tcp.closed(end);
    }

    /// Adds what is known of the process, and of its log.
    pub fn add_process(&self, log: &LogCounts) {
        log.register(&self.registry);
        figures::register(&self.registry, NAMESPACE, env!("CARGO_PKG_VERSION"));
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory never fails, and every metric has a help text and a value");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl CellMetrics {
    pub fn upstream_error(&self, reason: Reason) {
        self.upstream_errors.inc(reason);
    }

    pub fn rejected(&self, reason: Reason) {
        self.rejected.inc(reason);
    }

    pub fn response(&self, status: u16) {
        if let Some(class) = class_of(status) {
            self.responses[class].inc();
        }
    }
}

/// One counter per reason, bound in advance.
fn by_close_reason(registry: &Registry) -> [(CloseReason, IntCounter); CloseReason::ALL.len()] {
    let counters = counters(
        registry,
        "client_connections_closed_total",
        "Client connections closed before their first request, by reason.",
        &["reason"],
    );
    CloseReason::ALL.map(|reason| (reason, counters.with_label_values(&[reason.code()])))
}

fn durations(registry: &Registry) -> HistogramVec {
    let help = "Time from a request's head to the end of its answer, in seconds.";
    let options = HistogramOpts::new("request_duration_seconds", help)
        .namespace(NAMESPACE)
        .buckets(DURATION_BUCKETS.to_vec());
    register(registry, HistogramVec::new(options, &["cell"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::postgres;

    #[test]
    fn whatever_a_connection_is_closed_for_is_counted() {
        let metrics = Metrics::new();
        let faults = [
            postgres::Fault::NoPacket,
            postgres::Fault::Malformed,
            postgres::Fault::TooLarge,
            postgres::Fault::Version,
        ];
        for fault in faults {
            metrics.connection_closed(CloseReason::Postgres(fault));
        }
        let text = String::from_utf8(metrics.render()).unwrap();
        let line = format!("{{reason=\"postgres_malformed\"}} {}\n", faults.len());
        assert!(text.contains(&line), "{text}");
    }

    /// Series are there from the start, so that the first refusal of its kind shows as an increase.
    #[test]
    fn each_refusal_of_the_gate_has_a_series() {
        let metrics = Metrics::new();
        for &refusal in Refusal::ALL {
            metrics.gate_refused(refusal);
        }
        metrics.gate_refused(Refusal::BareLf);
        let text = String::from_utf8(metrics.render()).unwrap();
        for refusal in Refusal::ALL {
            let count = if *refusal == Refusal::BareLf { 2 } else { 1 };
            let code = refusal.code();
            let line = format!("cellgate_proxy_gate_refusals_total{{code=\"{code}\"}} {count}\n");
            assert!(text.contains(&line), "{line}");
        }
    }
}
