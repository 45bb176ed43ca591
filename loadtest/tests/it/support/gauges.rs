//! What a proxy has in flight, and whether it has let go of everything.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{PATIENCE, proxy::Proxy, wait_until};

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

/// Waits until this many requests are in flight, whether counted by the proxy, its cells or their
/// endpoints.
#[track_caller]
pub(crate) fn wait_for_in_flight(proxy: &Proxy, count: u64) {
    wait_until(&format!("{count} requests are in flight"), PATIENCE, || {
        in_flight(&proxy.status()) == Some([count; 3])
    });
}

fn is_idle(status: &Value) -> bool {
    status["client_connections"] == 0 && in_flight(status) == Some([0; 3])
}

/// What the proxy, its cells and their endpoints count.
fn in_flight(status: &Value) -> Option<[u64; 3]> {
    let cells = status["cells"].as_object()?;
    let endpoints = cells
        .values()
        .map(|cell| cell["endpoint_states"].as_array());
    let endpoints: Option<Vec<_>> = endpoints.collect();
    let sum = |counted: &mut dyn Iterator<Item = &Value>| {
        let counts = counted.map(|counted| counted["in_flight"].as_u64());
        counts.sum::<Option<u64>>()
    };
    Some([
        status["requests_in_flight"].as_u64()?,
        sum(&mut cells.values())?,
        sum(&mut endpoints?.into_iter().flatten())?,
    ])
}
