//! Arbitrary bytes: see `check::client_hello`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../check.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::client_hello(bytes));
