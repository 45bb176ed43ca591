//! The control plane's core from outside: changes of intent, and the tables that come of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it goes wrong; helpers are part of it"
)]
#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method of `Read<'_>` is not general enough to stand in the place of `|read| read.method()`"
)]

mod cells;
mod import;
mod rollback;
mod sequences;
mod support;
mod tenants;
