//! What the fuzz targets check, where no fuzzer runs.

#[path = "../../fuzz/check.rs"]
mod check;
mod mutated;
