//! What the daemon's own checks say of the cells.

use std::{net::SocketAddr, time::Duration};

use cellgate_table::{HEALTH_USER_AGENT, Probe};
use reqwest::header::{HOST, USER_AGENT};
use tokio::{net::TcpStream, time::timeout};

use super::check::CheckError;
use crate::model::Settings;

/// An endpoint and what came of its check.
pub type Checked = (SocketAddr, Result<(), CheckError>);

/// A cell's endpoints, as they were seen last.
#[derive(Clone, Debug, Default)]
pub struct CellStatus {
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    pub address: SocketAddr,
    /// Checks in a row that ended as the last one did.
    pub streak: u32,
    /// Why the last check failed, if it did.
    pub error: Option<String>,
    pub seen_ms: i64,
}

/// What is wrong with a cell that its provider keeps alive with effort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    pub reason: String,
    pub since_ms: i64,
}

impl CellStatus {
    /// Records what came of the checks of every endpoint of the cell.
    pub fn see(&mut self, checked: Vec<Checked>, now_ms: i64) {
        let before = std::mem::take(&mut self.endpoints);
        for (address, outcome) in checked {
            let known = before.iter().find(|known| known.address == address);
            let error = match outcome {
                Ok(()) => None,
                Err(CheckError::Unhealthy(why)) => Some(why),
                Err(CheckError::OutOfResources(why)) => {
                    // What was known stays; an endpoint that nobody has checked is not healthy, and not failing.
                    self.endpoints
                        .push(known.cloned().unwrap_or(EndpointStatus {
                            address,
                            streak: 0,
                            error: Some(format!("not checked: {why}")),
                            seen_ms: now_ms,
                        }));
                    continue;
                }
            };
            let streak = known
                .filter(|known| known.error.is_some() == error.is_some())
                .map_or(1, |known| known.streak.saturating_add(1));
            self.endpoints.push(EndpointStatus {
                address,
                streak,
                error,
                seen_ms: now_ms,
            });
        }
    }

    /// Every endpoint has passed so many checks in a row.
    pub fn is_healthy(&self, checks: u32) -> bool {
        let is_healthy =
            |endpoint: &EndpointStatus| endpoint.error.is_none() && endpoint.streak >= checks;
        !self.endpoints.is_empty() && self.endpoints.iter().all(is_healthy)
    }

    /// Endpoints that have failed so many checks in a row.
    pub fn failing(&self, checks: u32) -> usize {
        let fails =
            |endpoint: &&EndpointStatus| endpoint.error.is_some() && endpoint.streak >= checks;
        self.endpoints.iter().filter(fails).count()
    }

    /// What the last failed check said, in one line.
    pub fn complaint(&self) -> Option<String> {
        self.endpoints.iter().find_map(|endpoint| {
            let error = endpoint.error.as_ref()?;
            Some(format!("{}: {error}", endpoint.address))
        })
    }
}

/// Checks an endpoint as its cell's health check says, for no longer than `limit`: one that hangs must not keep the
/// others waiting. Without a check a connection has to be taken, and so it is where the cell speaks TLS: what it takes to
/// verify that is on the proxies' machines, and they do.
///
/// # Errors
/// Why it is not healthy.
pub async fn check(
    client: &reqwest::Client,
    address: SocketAddr,
    settings: &Settings,
    limit: Duration,
) -> Result<(), CheckError> {
    let unhealthy = |why: String| Err(CheckError::Unhealthy(why));
    let health_check = settings.health_check.as_ref();
    let own_limit = health_check.map(|it| Duration::from_millis(it.timeout_ms.into()));
    let time_limit = own_limit.map_or(limit, |own| own.min(limit));
    let is_plain = settings.tls.is_none();
    match health_check.map(|it| &it.probe).filter(|_| is_plain) {
        Some(Probe::Http { path, host }) => {
            let mut request = client
                .get(format!("http://{address}{path}"))
                .header(USER_AGENT, HEALTH_USER_AGENT);
            if let Some(host) = host {
                request = request.header(HOST, &**host);
            }
            match request.timeout(time_limit).send().await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    unhealthy(format!("{path} is answered with {status}"))
                }
                Err(error) => Err(CheckError::of(&error)),
            }
        }
        Some(Probe::Tcp) | None => match timeout(time_limit, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(CheckError::of_connecting(&error)),
            Err(_) => unhealthy("no answer in time".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_out_here_says_nothing_about_an_endpoint() {
        let (a, b) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        let ours = || Err(CheckError::OutOfResources("too many open files".to_owned()));
        let mut status = CellStatus::default();
        status.see(vec![(a, Ok(()))], 1);
        for _ in 0..10 {
            status.see(vec![(a, ours())], 2);
        }
        assert!(status.is_healthy(1));
        status.see(vec![(a, ours()), (b, ours())], 3);
        assert!(!status.is_healthy(1));
        assert_eq!(status.failing(1), 0);
    }

    #[test]
    fn streaks_are_counted_by_endpoint() {
        let (a, b) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        let fails = || Err(CheckError::Unhealthy("refused".to_owned()));
        let mut status = CellStatus::default();
        status.see(vec![(a, Ok(())), (b, fails())], 1);
        assert!(!status.is_healthy(1));
        assert_eq!(status.complaint().unwrap(), "127.0.0.1:2: refused");
        status.see(vec![(a, Ok(())), (b, fails())], 2);
        assert_eq!((status.failing(2), status.failing(3)), (1, 0));
        status.see(vec![(a, Ok(())), (b, Ok(()))], 3);
        assert!(status.is_healthy(1) && !status.is_healthy(2));
        // An endpoint that is new has to show itself first.
        status.see(vec![(a, Ok(()))], 4);
        assert!(status.is_healthy(4));
        status.see(vec![(b, Ok(()))], 5);
        assert!(!status.is_healthy(2));
        status.see(Vec::new(), 6);
        assert!(!status.is_healthy(1));
    }
}
