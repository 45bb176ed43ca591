//! Two proxies with the same configuration but for one key, and cells of their own behind each.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpSocket;

use super::{
    cell::{Cell, Play, Visit, start_mirror},
    client::{Client, SETTLED, Seen},
    log::Log,
    profile::Profile,
    scenario::{LETTERS, Place, Scenario},
    signals::Signals,
};
use crate::support::{
    PATIENCE,
    proxy::{Plan, Proxy},
    table::TableText,
    wait_until,
};

/// Scenarios that are played at the same time.
pub(super) const LANES: usize = 16;
/// The cells of one set rest while others play, so that the proxies have noticed that their connections are closed.
const SETS: usize = 4;

/// A scenario that takes longer is given up. Each proxy's own limits are shorter.
const SCENARIO_LIMIT: Duration = Duration::from_secs(10);

/// Where all tenants live that have no cell of a scenario.
const MIRROR: &str = "mirror";

/// Series and their values.
pub(super) type Metrics = BTreeMap<String, f64>;

/// One proxy and its cells.
pub(super) struct Side {
    pub(super) proxy: Proxy,
    cells: Vec<[Cell; 3]>,
    pub(super) log: Log,
    _dead: TcpSocket,
}

/// What one side made of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) seen: Option<Seen>,
    /// What each cell got.
    pub(super) visits: [Vec<Visit>; 3],
}

impl Side {
    /// `keys` come after those of the profile.
    pub(super) fn start(
        runtime: &tokio::runtime::Runtime,
        profile: &Profile,
        keys: &[(&str, &str)],
    ) -> Self {
        let (dead, refusing) = refuse();
        let (cells, mirror) = runtime.block_on(async {
            let mut cells = Vec::new();
            for _ in 0..LANES * SETS {
                cells.push([
                    Cell::start().await,
                    Cell::start().await,
                    Cell::start().await,
                ]);
            }
            (cells, start_mirror().await)
        });
        let plan = Proxy::plan()
            // One thread, so that what came first is dealt with first, and connections are kept in one place.
            .set("threads", "1")
            .set("access_log", "{ path: access.log }")
            .table(table(&cells, mirror, refusing));
        let proxy = profile.keys.iter().chain(keys).fold(plan, set).start();
        wait_until("the unhealthy cell is noticed", PATIENCE, || {
            proxy.status()["cells"]["unhealthy"]["healthy"] == 0
        });
        let log = Log::new(proxy.directory().join("access.log"));
        Self {
            proxy,
            cells,
            log,
            _dead: dead,
        }
    }

    pub(super) async fn play(
        &self,
        profile: &Profile,
        scenario: &Arc<Scenario>,
        place: Place,
    ) -> Outcome {
        let signals = Arc::new(Signals::new());
        let cells = &self.cells[place.lane * SETS + place.set];
        let play = Play {
            scenario: Arc::clone(scenario),
            signals: Arc::clone(&signals),
        };
        for cell in cells {
            cell.begin(&play);
        }
        let client = Client {
            scenario,
            profile,
            place,
            proxy: self.proxy.address(),
            signals,
        };
        let played = tokio::time::timeout(SCENARIO_LIMIT, async {
            let seen = client.play().await;
            let [a, b, c] = cells;
            (seen, [a.end().await, b.end().await, c.end().await])
        });
        match played.await {
            Ok((seen, visits)) => Outcome {
                seen: Some(seen),
                visits,
            },
            Err(_) => Outcome {
                seen: None,
                visits: [const { Vec::new() }; 3],
            },
        }
    }

    /// All series but those that measure time or describe the table.
    pub(super) fn metrics(&self) -> Metrics {
        let answer = self.proxy.admin_get("/metrics");
        let is_compared = |name: &str| {
            let is_time =
                name.contains("_duration_seconds_bucket") || name.contains("_duration_seconds_sum");
            let is_settling = SETTLED.iter().any(|label| name.contains(label));
            name.starts_with("cellgate_proxy_")
                && !is_time
                && !is_settling
                && !name.contains("_timestamp_")
        };
        let series = answer.text().lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let value = || value.parse().expect("a metric is a number");
            is_compared(name).then(|| (name.to_owned(), value()))
        });
        series.collect()
    }
}

/// An address where nobody listens, until the socket is dropped. It is another one than that which connections come from:
/// among so many, one would get the same port and be connected to itself.
fn refuse() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    let address = SocketAddr::from(([127, 0, 0, 2], 0));
    socket.bind(address).expect("all of 127.0.0.0/8 is ours");
    let address = socket.local_addr().expect("the socket is bound");
    (socket, address)
}

fn set(plan: Plan, (key, value): &(&str, &str)) -> Plan {
    plan.set(key, value)
}

/// The place of the next scenario of a lane.
pub(super) fn place(lane: usize, played: usize) -> Place {
    Place {
        lane,
        set: played % SETS,
    }
}

fn table(cells: &[[Cell; 3]], mirror: SocketAddr, refusing: SocketAddr) -> TableText {
    let mut named = vec![
        (MIRROR.to_owned(), mirror),
        ("dead".to_owned(), refusing),
        ("unhealthy".to_owned(), refusing),
    ];
    for (number, group) in cells.iter().enumerate() {
        let place = place(number / SETS, number);
        let name = |(letter, cell): (&&str, &Cell)| (place.name(letter), cell.address);
        named.extend(LETTERS.iter().zip(group).map(name));
    }
    let table = TableText::new(
        named
            .iter()
            .map(|(name, address)| (name.as_str(), vec![*address])),
    );
    let table = named.iter().fold(table, |table, (name, _)| {
        let table = table.pin(name, name);
        let table = if name.starts_with("tn-c") {
            // For the scenarios in which a second request comes.
            table.cell_line(name, "max_in_flight: 1")
        } else {
            table
        };
        let slots: &[&str] = if name == MIRROR { &["0-999"] } else { &[] };
        table.slots(name, slots)
    });
    let check = "health_check: { type: tcp, interval_ms: 100, unhealthy_after: 1 }";
    table
        .cell_line("unhealthy", check)
        .pin("gone", "dead")
        .alias("old-name", "nobody")
        .reject("evil")
}
