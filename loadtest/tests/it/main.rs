//! End-to-end tests: real programs as processes, spoken to over sockets. Nothing here links the
//! programs' libraries.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod demo_cell;
mod table;
mod support;
