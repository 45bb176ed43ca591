//! Every metric's name, in one place. Labels are `cell`, `proxy`, `state` and `task`, never a tenant: their number is bounded.

use cellgate_process::{
    figures::{self, register_new as register},
    log::LogCounts,
};
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// What every name begins with, but for the figures that all processes have.
pub const NAMESPACE: &str = "cellgate_control";

/// All metrics of the daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub changes: IntCounter,
    pub storage_failures: IntCounter,
    pub storage_failing: IntGauge,
    pub requests_limited: IntCounter,
    pub tables_published: IntCounter,
    pub publish_blocked: IntGauge,
    pub revision: IntGauge,
    pub table_generation: IntGauge,
    pub cells: IntGaugeVec,
    pub cell_tenants: IntGaugeVec,
    pub cell_suspect: IntGaugeVec,
    pub cell_degraded: IntGaugeVec,
    pub cell_process_restarts: IntCounterVec,
    pub proxy_up: IntGaugeVec,
    pub proxy_generation: IntGaugeVec,
    pub task_panics: IntCounterVec,
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "each metric takes a few")]
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        Self {
            changes: counter(r, "changes_total", "Changes of intent."),
            storage_failures: counter(
                r,
                "storage_failures_total",
                "Changes that could not be stored.",
            ),
            storage_failing: gauge(
                r,
                "storage_failing",
                "1 while changes cannot be stored, else 0.",
            ),
            requests_limited: counter(
                r,
                "requests_limited_total",
                "API requests answered 429 because there were too many.",
            ),
            tables_published: counter(r, "tables_published_total", "Tables published."),
            publish_blocked: gauge(
                r,
                "publish_blocked",
                "1 while nothing can be published, else 0.",
            ),
            revision: gauge(
                r,
                "revision",
                "The revision: the number of the last change.",
            ),
            table_generation: gauge(
                r,
                "table_generation",
                "Generation of the published table; 0 without one.",
            ),
            cells: gauges(r, "cells", "Cells, by state.", "state"),
            cell_tenants: gauges(r, "cell_tenants", "Registered tenants of a cell.", "cell"),
            cell_suspect: gauges(
                r,
                "cell_suspect",
                "1 while several signals speak against a cell, else 0.",
                "cell",
            ),
            cell_degraded: gauges(
                r,
                "cell_degraded",
                "1 while the provider of a cell sees that it does not run as it should, else 0.",
                "cell",
            ),
            cell_process_restarts: counters(
                r,
                "cell_process_restarts_total",
                "How often the process of a cell had ended and was started again.",
                "cell",
            ),
            proxy_up: gauges(
                r,
                "proxy_up",
                "1 while a proxy answers on its admin address, else 0.",
                "proxy",
            ),
            proxy_generation: gauges(
                r,
                "proxy_generation",
                "Generation of the table that a proxy has; 0 if it is not known.",
                "proxy",
            ),
            task_panics: register(
                r,
                IntCounterVec::new(
                    options(
                        "task_panics_total",
                        "Panics of the daemon's tasks. A task that panics is started again.",
                    ),
                    &["task"],
                ),
            ),
            registry,
        }
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

/// A number as Prometheus' integer gauges have it.
pub fn as_gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::with_opts(options(name, help)))
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    register(registry, IntCounterVec::new(options(name, help), &[label]))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(options(name, help)))
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(options(name, help), &[label]))
}
