//! Whether a proxy has let go of everything.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{PATIENCE, proxy::Proxy};

/// Waits until no client is connected and nothing is in flight, to whatever it is counted for.
/// Clients have to be gone before.
#[track_caller]
pub(crate) fn wait_until_idle(proxy: &Proxy) {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = proxy.status();
        if is_idle(&status) {
            break;
        }
        assert!(
            Instant::now() < end,
            "something leaks: after {PATIENCE:?} still {status:#}"
        );
        thread::sleep(Duration::from_millis(5));
    }
    let metrics = proxy.admin_get("/metrics");
    for line in metrics.text().lines() {
        let name = line.strip_prefix("cellgate_proxy_").unwrap_or_default();
        let is_gauge = name.starts_with("in_flight{") || name.starts_with("client_connections ");
        assert!(!is_gauge || line.ends_with(" 0"), "{line}");
    }
}

fn is_idle(status: &Value) -> bool {
    let cells = status["cells"].as_object();
    status["requests_in_flight"] == 0
        && status["client_connections"] == 0
        && cells.is_some_and(|cells| cells.values().all(is_idle_cell))
}

fn is_idle_cell(cell: &Value) -> bool {
    let endpoints = cell["endpoint_states"].as_array();
    cell["in_flight"] == 0
        && endpoints.is_some_and(|endpoints| endpoints.iter().all(|state| state["in_flight"] == 0))
}
