//! Figures of the process for Prometheus, under the names that every exporter gives them.

use prometheus::{IntGauge, Opts, Registry, core::Collector, process_collector::ProcessCollector};

/// Adds `process_open_fds`, `process_max_fds` and the other figures of the process, and `{namespace}_build_info`.
///
/// # Panics
/// When the registry has them already.
pub fn register(registry: &Registry, namespace: &str, version: &str) {
    let build = Opts::new("build_info", "1; the label names the version that runs.")
        .namespace(namespace)
        .const_label("version", version);
    let build = IntGauge::with_opts(build).expect("its name and label are constants");
    build.set(1);
    registry
        .register(Box::new(build))
        .expect("it is registered once");
    registry
        .register(Box::new(ProcessCollector::for_self()))
        .expect("it is registered once");
}

/// Registers a new metric.
///
/// # Panics
/// When its name or a label is not a valid one, or another metric has the name: all of them are constants of the program.
pub fn register_new<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("metric names and labels are constants that are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("each metric is registered once");
    collector
}
