//! What the two processes say to each other. Each request of the successor has exactly one reply, but the one that it
//! accepts has none.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// Both sides have to speak the same one.
pub(super) const VERSION: u32 = 1;

/// From the successor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Request {
    Hello {
        version: u32,
        process: u32,
    },
    /// It has all that it needs, and wants the lock of the state directory.
    Ready,
    /// It could accept any moment; on these of the offered sockets, by their positions.
    Serving {
        kept: Vec<usize>,
    },
    /// It has the confirmation, and accepts.
    Accepting,
    /// What is still in flight?
    Ask {
        limit_ms: u64,
    },
}

/// From the process that gives.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Reply {
    /// Comes with a descriptor for each socket, and behind them that of the hand-over's own socket.
    Offer(Offer),
    Refused {
        why: String,
    },
    /// Comes with the descriptor of the lock, if there is one.
    Lock,
    /// The successor may accept, and may write the state directory.
    Committed,
    Report(Report),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) version: u32,
    pub(super) process: u32,
    pub(super) sockets: Vec<Offered>,
    /// By listener.
    pub(super) ticket_keys: BTreeMap<String, Vec<u8>>,
    /// Of the table in force there.
    pub(super) generation: Option<u64>,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offered {
    pub(super) role: Role,
    pub(super) name: String,
    /// As the configuration has it.
    pub(super) configured: SocketAddr,
    pub(super) ipv6_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Edge,
    Admin,
}

/// What is in flight in a process that drains, and in those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub process: u32,
    pub version: String,
    pub generation: Option<u64>,
    pub digest: Option<String>,
    pub requests_in_flight: usize,
    pub client_connections: usize,
    /// Those with anything in flight.
    pub cells: BTreeMap<String, CellReport>,
    /// The same of the processes before it that live.
    pub predecessors: Vec<Report>,
    /// Whether it said so just now. Otherwise this is what it said last.
    pub answers: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CellReport {
    pub in_flight: u32,
    pub tunnels: u32,
    /// Of TCP listeners. A process of an earlier version says nothing of them.
    pub connections: u32,
}
