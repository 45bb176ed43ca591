//! The crate as others see it: whatever bytes it is given, it answers soon and never panics.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise; clippy sees tests only in functions marked as such"
)]

#[path = "../../fuzz/check.rs"]
mod check;
mod hostile;
mod mutated;
