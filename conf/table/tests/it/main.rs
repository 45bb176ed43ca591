//! The crate as others see it: whatever bytes it is given, it answers soon and never panics.

#[path = "../../fuzz/check.rs"]
mod check;
mod hostile;
mod mutated;
