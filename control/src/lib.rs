//! The control plane of cellgate.
//!
//! It owns what is intended (cells, tenants, who lives where), watches what is, and publishes the table that the proxies
//! route by. That file is all that it shares with them: no request waits for this program, and nothing breaks while it is
//! dead.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method of `Read<'_>` is not general enough to stand in the place of `|read| read.method()`"
)]

pub mod api;
pub mod change;
pub mod children;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod events;
pub mod metrics;
pub mod model;
pub mod observe;
pub mod panics;
pub mod plan;
pub mod provider;
pub mod publish;
pub mod refusal;
pub mod run;
pub mod signals;
pub mod storage;
pub mod store;
pub mod tasks;
pub mod turns;
