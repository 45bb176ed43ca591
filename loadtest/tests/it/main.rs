//! End-to-end tests: real programs as processes, spoken to over sockets. Nothing here links the
//! programs' libraries.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access_log;
mod bulkhead;
mod demo_cell;
mod desync_corpus;
mod explain;
mod health;
mod hostile_cells;
mod hostile_clients;
mod http_cache;
mod last_good;
mod load;
mod shutdown;
mod support;
mod table;
mod tenant_key;
