//! End-to-end tests: real programs as processes, spoken to over sockets. Nothing here links the
//! programs' libraries.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    clippy::float_cmp,
    reason = "metrics are whole numbers, which floats hold exactly"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tables are handed over where they are made"
)]
#![allow(
    clippy::unused_self,
    clippy::similar_names,
    reason = "a check reads best as `world.check(…)`, and short names as the words they stand for"
)]

mod access_log;
mod bulkhead;
mod cell_tls;
mod cli;
mod comparison;
mod connection_keys;
mod control;
mod demo_cell;
mod desync_corpus;
mod differential;
mod draining;
mod early_answers;
mod explain;
mod forwarding;
mod handover;
mod health;
mod health_requests;
mod hostile_cells;
mod hostile_clients;
mod http_cache;
mod interim_answers;
mod kept_connections;
mod last_good;
mod listen;
mod load;
mod local_answers;
mod memory;
mod messages;
mod proxy_protocol;
mod request_ids;
mod retries;
mod shutdown;
mod slow_bodies;
mod state;
mod support;
mod surroundings;
mod table;
mod tcp;
mod tenant_key;
mod tls;
mod units;
mod websockets;
