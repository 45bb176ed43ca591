//! What the counts depend on besides the code: the kind of processor and the compiler.

use std::{env, fs, process::Command};

/// Why budgets say nothing about this machine, if so. Elsewhere the compiler writes other instructions, and code that
/// asks for the processor's abilities takes other ways.
pub(crate) fn is_unlike_that_of_the_budgets() -> Option<&'static str> {
    if env::consts::ARCH != "x86_64" || env::consts::OS != "linux" {
        return Some("the budgets are for Linux on x86_64");
    }
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_avx2 = processors.split_whitespace().any(|flag| flag == "avx2");
    (!has_avx2).then_some("the budgets are for processors with AVX2")
}

/// The compiler's name and version, such as `rustc 1.95.0`.
pub(crate) fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    if words.is_empty() {
        return "an unknown compiler".to_owned();
    }
    words.join(" ")
}
