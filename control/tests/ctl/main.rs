//! `cellctl` and the daemon as an operator has them: two programs, a configuration file, and what is printed.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it goes wrong; helpers are part of it"
)]

mod bulk;
mod daemon;
mod fleet;
mod trouble;
