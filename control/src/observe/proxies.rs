//! What the proxies say of themselves.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    check::CheckError,
    samples::{Samples, read_metrics},
};
use crate::{config::ProxyConfig, store::KnownProxy};

/// Bytes of an answer of a proxy.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether a proxy answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyState {
    /// Not asked yet.
    #[default]
    Unknown,
    Reachable,
    Unreachable,
}

/// A proxy as it was seen last. What it said stays when it is silent afterwards.
#[derive(Clone, Debug, Default)]
pub struct ProxyStatus {
    pub admin: String,
    pub state: ProxyState,
    /// Since when, in milliseconds since 1970.
    pub state_since_ms: i64,
    /// Why it did not answer.
    pub error: Option<String>,
    pub seen_ms: Option<i64>,
    pub is_ready: bool,
    pub version: Option<String>,
    pub generation: Option<u64>,
    pub digest: Option<String>,
    /// `file` or `last_good`.
    pub source: Option<String>,
    /// Why it refused a table, if the last one was refused.
    pub refusal: Option<String>,
    /// Since when it has another table than the published one.
    pub behind_since_ms: Option<i64>,
    pub cells: BTreeMap<String, ProxyCell>,
    /// The processes that it has replaced and that still serve requests.
    pub predecessors: Vec<Predecessor>,
    pub samples: Samples,
    /// An operator has said that it is gone, and it has not answered since.
    pub is_forgotten: bool,
    /// When this was stored last.
    pub stored_ms: i64,
    /// It could not be stored: the next poll tries again.
    pub is_unstored: bool,
}

/// What is stored of a proxy is renewed so often, for the time when it was seen.
const STORE_PERIOD_MS: i64 = 60_000;

/// A cell as a proxy sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct ProxyCell {
    pub in_flight: u64,
    /// Endpoints that the proxy chooses from.
    pub healthy: u64,
    pub endpoints: u64,
}

/// A process that a proxy has replaced. It drains, with its own table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Predecessor {
    generation: Option<u64>,
    digest: Option<String>,
    /// Those before it.
    #[serde(default)]
    predecessors: Vec<Self>,
}

impl Predecessor {
    fn all(self) -> Vec<Self> {
        let mut all = vec![Self {
            predecessors: Vec::new(),
            ..self
        }];
        all.extend(self.predecessors.into_iter().flat_map(Self::all));
        all
    }
}

/// What of a proxy's `/status` is of interest here.
#[derive(Debug, Deserialize)]
struct Status {
    version: Option<String>,
    #[serde(default)]
    ready: bool,
    generation: Option<u64>,
    digest: Option<String>,
    source: Option<String>,
    last_reload: Option<Reload>,
    #[serde(default)]
    cells: BTreeMap<String, ProxyCell>,
    predecessor: Option<Predecessor>,
}

#[derive(Debug, Deserialize)]
struct Reload {
    ok: bool,
    error: Option<String>,
}

/// A proxy's answers of one poll.
#[derive(Debug)]
pub struct Answers {
    status: Status,
    metrics: String,
}

/// Asks a proxy how it is.
///
/// # Errors
/// It does not answer, in time or at all, or with something else: in words.
pub async fn ask(
    client: &reqwest::Client,
    proxy: &ProxyConfig,
    time_limit: Duration,
) -> Result<Answers, CheckError> {
    let status = text(client, proxy, "/status", time_limit).await?;
    let status = serde_json::from_str(&status)
        .map_err(|error| CheckError::Unhealthy(format!("/status: {error}")))?;
    let metrics = text(client, proxy, "/metrics", time_limit).await?;
    Ok(Answers { status, metrics })
}

async fn text(
    client: &reqwest::Client,
    proxy: &ProxyConfig,
    path: &str,
    time_limit: Duration,
) -> Result<String, CheckError> {
    let failed = |error: reqwest::Error| CheckError::of(&error).at(path);
    let mut answer = client
        .get(format!("http://{}{path}", proxy.admin))
        .timeout(time_limit)
        .send()
        .await
        .map_err(failed)?
        .error_for_status()
        .map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > ANSWER_BYTES_MAX {
            let why = format!("{path}: more than {ANSWER_BYTES_MAX} bytes");
            return Err(CheckError::Unhealthy(why));
        }
    }
    String::from_utf8(bytes).map_err(|_| CheckError::Unhealthy(format!("{path}: not text")))
}

impl ProxyStatus {
    /// Records what came of a poll; `published` is the digest of the table that it should have.
    pub fn see(
        &mut self,
        polled: Result<Answers, String>,
        published: Option<&str>,
        now_ms: i64,
        window_ms: i64,
    ) {
        let state = if polled.is_ok() {
            ProxyState::Reachable
        } else {
            ProxyState::Unreachable
        };
        if self.state != state {
            self.state = state;
            self.state_since_ms = now_ms;
        }
        match polled {
            Err(error) => self.error = Some(error),
            Ok(answers) => self.take_in(answers, now_ms, window_ms),
        }
        let has_it = published.is_none_or(|digest| self.has(digest));
        self.behind_since_ms = (!has_it).then(|| self.behind_since_ms.unwrap_or(now_ms));
    }

    /// Whether it has the table with these bytes. The digest decides: of a table that names no generation, each proxy
    /// has a number of its own. A process that drains beside it has to have it, too.
    pub fn has(&self, digest: &str) -> bool {
        let processes = self.predecessors.iter().map(|it| &it.digest);
        let mut digests = processes.chain([&self.digest]);
        digests.all(|of| of.as_deref() == Some(digest))
    }

    /// The oldest generation that requests go by there.
    pub fn oldest_generation(&self) -> Option<u64> {
        let processes = self.predecessors.iter().map(|it| it.generation);
        processes.chain([self.generation]).min().flatten()
    }

    fn take_in(&mut self, answers: Answers, now_ms: i64, window_ms: i64) {
        let Answers { status, metrics } = answers;
        self.error = None;
        self.is_forgotten = false;
        self.seen_ms = Some(now_ms);
        self.is_ready = status.ready;
        self.version = status.version;
        self.generation = status.generation;
        self.digest = status.digest;
        self.source = status.source;
        self.refusal = status
            .last_reload
            .filter(|reload| !reload.ok)
            .and_then(|reload| reload.error);
        self.cells = status.cells;
        self.predecessors = status.predecessor.map(Predecessor::all).unwrap_or_default();
        self.samples.add(now_ms, window_ms, read_metrics(&metrics));
    }
}

impl ProxyStatus {
    /// A proxy as it was stored, before it is asked for the first time after a restart.
    pub fn of_known(known: &KnownProxy, admin: String, now_ms: i64) -> Self {
        let cell = |id: &String| (id.clone(), ProxyCell::default());
        Self {
            admin,
            state_since_ms: now_ms,
            seen_ms: known.seen_ms,
            generation: known.generation,
            digest: known.digest.clone(),
            cells: known.cells.iter().map(cell).collect(),
            is_forgotten: known.is_forgotten,
            stored_ms: now_ms,
            ..Self::default()
        }
    }

    /// What has to outlive a restart.
    pub fn known(&self, name: &str) -> KnownProxy {
        KnownProxy {
            name: name.to_owned(),
            seen_ms: self.seen_ms,
            // After a restart of the daemon, too, only what all processes have counts as seen.
            generation: self.oldest_generation(),
            digest: self.digest.clone().filter(|digest| self.has(digest)),
            cells: self.cells.keys().cloned().collect(),
            is_forgotten: self.is_forgotten,
        }
    }

    /// What is to be stored now that `before` has become this, if anything is. It counts as stored then.
    pub fn store_if_due(
        &mut self,
        name: &str,
        before: &KnownProxy,
        now_ms: i64,
    ) -> Option<KnownProxy> {
        let known = self.known(name);
        let is_same = KnownProxy {
            seen_ms: before.seen_ms,
            ..known.clone()
        } == *before;
        // When it fell silent is worth knowing to the second.
        let fell_silent = self.state == ProxyState::Unreachable && self.state_since_ms == now_ms;
        let is_old = known.seen_ms != before.seen_ms && now_ms - self.stored_ms >= STORE_PERIOD_MS;
        if is_same && !fell_silent && !is_old && !self.is_unstored {
            return None;
        }
        self.stored_ms = now_ms;
        self.is_unstored = false;
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(generation: u64) -> Answers {
        let status = serde_json::json!({
            "version": "0.1.0", "ready": true, "generation": generation, "digest": format!("d{generation}"), "source": "file",
            "last_reload": { "ok": false, "error": "why", "at": "now" }, "draining": false,
            "cells": { "a": { "in_flight": 1, "healthy": 1, "endpoints": 2, "max_in_flight": 9 } },
        });
        Answers {
            status: serde_json::from_value(status).unwrap(),
            metrics: String::new(),
        }
    }

    #[test]
    fn what_was_said_stays_when_a_proxy_falls_silent() {
        let mut status = ProxyStatus::default();
        let published = Some("d5");
        status.see(Ok(answers(4)), published, 100, 1000);
        assert_eq!(status.state, ProxyState::Reachable);
        assert_eq!(
            (status.generation, status.behind_since_ms),
            (Some(4), Some(100))
        );
        assert_eq!(status.refusal.as_deref(), Some("why"));
        status.see(Err("refused".to_owned()), published, 200, 1000);
        assert_eq!(
            (status.state, status.state_since_ms),
            (ProxyState::Unreachable, 200)
        );
        assert_eq!(
            (status.generation, status.behind_since_ms),
            (Some(4), Some(100))
        );
        status.see(Ok(answers(5)), published, 300, 1000);
        assert_eq!(
            (status.error.as_deref(), status.behind_since_ms),
            (None, None)
        );
        assert_eq!(status.cells["a"].endpoints, 2);
    }

    #[test]
    fn a_table_is_there_once_the_processes_before_have_it_too() {
        let mut status = ProxyStatus::default();
        let mut see = |predecessor: serde_json::Value| {
            let said =
                serde_json::json!({ "generation": 5, "digest": "d5", "predecessor": predecessor });
            let answers = Answers {
                status: serde_json::from_value(said).unwrap(),
                metrics: String::new(),
            };
            status.see(Ok(answers), Some("d5"), 100, 1000);
            let known = status.known("edge");
            assert_eq!(status.generation, Some(5));
            assert_eq!(
                (known.generation, known.digest.is_some()),
                (status.oldest_generation(), status.has("d5"))
            );
            (status.oldest_generation(), status.has("d5"))
        };
        assert_eq!(see(serde_json::Value::Null), (Some(5), true));
        let with = |before: serde_json::Value| serde_json::json!({ "process": 1, "generation": 5, "digest": "d5", "predecessors": before });
        let old =
            serde_json::json!({ "process": 2, "generation": 4, "digest": "d4", "answers": false });
        assert_eq!(see(old.clone()), (Some(4), false));
        assert_eq!(see(with(serde_json::json!([old]))), (Some(4), false));
        assert_eq!(see(with(serde_json::json!([]))), (Some(5), true));
        // One without a table may get any.
        assert_eq!(
            see(serde_json::json!({ "process": 3, "generation": null })),
            (None, false)
        );
        assert_eq!(see(serde_json::Value::Null), (Some(5), true));
    }

    #[test]
    fn what_was_seen_is_stored_when_it_changes_and_now_and_then() {
        let mut status = ProxyStatus::default();
        let mut see = |polled: Result<Answers, String>, now_ms: i64| {
            let before = status.known("edge");
            status.see(polled, None, now_ms, 1000);
            status.store_if_due("edge", &before, now_ms)
        };
        let stored = see(Ok(answers(4)), 100).unwrap();
        assert_eq!((stored.generation, stored.seen_ms), (Some(4), Some(100)));
        assert_eq!(see(Ok(answers(4)), 200), None);
        assert_eq!(see(Ok(answers(5)), 300).unwrap().generation, Some(5));
        let silent = see(Err("refused".to_owned()), 400).unwrap();
        assert_eq!(silent.seen_ms, Some(300));
        assert_eq!(see(Err("refused".to_owned()), 500), None);
        assert!(see(Ok(answers(5)), 400 + STORE_PERIOD_MS).is_some());

        let again = ProxyStatus::of_known(&silent, "127.0.0.1:9600".to_owned(), 900);
        assert_eq!(again.known("edge"), silent);
        assert_eq!(again.state, ProxyState::Unknown);
    }
}
