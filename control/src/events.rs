//! What happens, as a stream: changes of intent, published tables, proxies and cells that come and go.
//!
//! The newest are kept in memory for whoever connects later. Who changed what is in the audit log, permanently.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use utoipa::ToSchema;

/// Events kept in memory.
const KEPT_MAX: usize = 2_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// Counts the events of this run of the daemon, from 1.
    pub id: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Such as `cell.drain`, `table.published` or `proxy.unreachable`.
    pub kind: String,
    /// The cell, tenant or proxy that it is about.
    pub subject: String,
    pub detail: Value,
}

/// The stream.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<Kept>,
    /// The id of the newest event.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    newest: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }
}

impl Events {
    /// Adds an event, and wakes those who follow.
    pub fn add(&self, at_ms: i64, kind: &str, subject: &str, detail: Value) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.newest += 1;
        let event = Event {
            id: kept.newest,
            at_ms,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            detail,
        };
        kept.events.push_back(event);
        if kept.events.len() > KEPT_MAX {
            kept.events.pop_front();
        }
        self.newest.send_replace(kept.newest);
    }

    /// The events behind this id that are still kept, oldest first, `limit` at most.
    pub fn after(&self, id: u64, limit: usize) -> Vec<Event> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.events.partition_point(|event| event.id <= id);
        kept.events.range(first..).take(limit).cloned().collect()
    }

    /// The newest events, oldest first.
    pub fn newest(&self, limit: usize) -> Vec<Event> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.events.len().saturating_sub(limit);
        kept.events.range(first..).cloned().collect()
    }

    /// Changes whenever there is a new event.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let events = Events::default();
        let mut follower = events.follow();
        for at in 0..i64::try_from(KEPT_MAX).unwrap() + 5 {
            events.add(at, "kind", "subject", json!({}));
        }
        let ids = |events: Vec<Event>| events.iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!(ids(events.after(0, 2)), [6, 7]);
        assert_eq!(ids(events.after(2_003, 9)), [2_004, 2_005]);
        assert_eq!(ids(events.newest(2)), [2_004, 2_005]);
        assert_eq!(*follower.borrow_and_update(), 2_005);
    }
}
