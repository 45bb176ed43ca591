//! The proxy from outside: its commands, its HTTP, and the strict gate against a labelled corpus.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it goes wrong; helpers are part of it"
)]

mod cli;
mod desync_corpus;
mod http;
mod support;
