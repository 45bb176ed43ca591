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
    /// has a number of its own.
    pub fn has(&self, digest: &str) -> bool {
        self.digest.as_deref() == Some(digest)
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
            generation: self.generation,
            digest: self.digest.clone(),
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
