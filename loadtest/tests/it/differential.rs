//! The same requests through two proxies, one of which sends what is whole in hand the direct way and one of which sends
//! nothing so. Cells and clients write every byte, out of a seed, and compare what they get: nobody may notice which way
//! a request went.
//!
//! A failure names the profile, the seed and the scenario, and shows the bytes of the least scenario that still differs.
//! What may differ stands in `allowed.rs`.

mod allowed;
mod cell;
mod client;
mod compare;
mod generate;
mod log;
mod pair;
mod play;
mod profile;
mod report;
mod scenario;
mod shrink;
mod signals;
mod wire;

use std::time::Instant;

use allowed::ALLOWED;
use play::Pair;
use profile::PROFILES;
use report::Report;

use crate::support::heavy::{amount, figure};

const DIRECT: [(&str, &str); 1] = [("direct", "on")];
const GENERAL: [(&str, &str); 1] = [("direct", "off")];

/// Requests in one run, of all profiles together.
fn requests() -> usize {
    amount("CELLGATE_FUZZ_REQUESTS", 3_000)
}

/// Plays on a pair of proxies for each profile.
fn compare(requests: usize, left: &[(&str, &str)], right: &[(&str, &str)]) -> Report {
    let seed = amount("CELLGATE_SEED", 1);
    let mut report = Report::default();
    for profile in &PROFILES {
        let mut pair = Pair::start(profile, seed, left, right);
        pair.play(requests.div_ceil(profile.share), &mut report);
    }
    report
}

#[track_caller]
fn assert_same(what: &str, report: &Report, started: Instant) {
    let ms = started.elapsed().as_millis().max(1);
    figure(format!(
        "{what}: {} requests in {} scenarios, {}/s, {} kinds of differences",
        report.requests,
        report.scenarios,
        report.requests as u128 * 1_000 / ms,
        report.failures.len()
    ));
    for allowed in &ALLOWED {
        let seen = report.allowed.get(allowed.name).unwrap_or(&0);
        figure(format!(
            "{what}: {seen} × {}: {}",
            allowed.name, allowed.reason
        ));
    }
    figure(format!("{what}: statuses {:?}", report.statuses));
    let failures: Vec<String> = report
        .failures
        .iter()
        .map(|(kind, failure)| format!("===== {} × {kind}\n{}", failure.count, failure.text))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn nobody_notices_which_way_a_request_goes() {
    let started = Instant::now();
    let report = compare(requests(), &DIRECT, &GENERAL);
    assert_same("direct and general", &report, started);
}

/// Otherwise a difference would say nothing.
#[test]
fn the_same_way_twice_shows_no_difference() {
    let started = Instant::now();
    let report = compare(requests().div_ceil(3).min(20_000), &GENERAL, &GENERAL);
    assert_same("general twice", &report, started);
}

/// Without this, a comparison that never finds a difference would pass.
#[test]
fn what_differs_is_found() {
    for (key, value, aspect) in [
        ("upstream", "{ interim_answers: forwarded }", "Interim"),
        ("trusted_proxies", "[\"127.0.0.0/8\"]", "RequestField"),
        (
            "upstream",
            "{ requests_per_connection_max: 1 }",
            "Connection",
        ),
    ] {
        let mut report = Report::default();
        let mut pair = Pair::start(&PROFILES[0], 1, &[(key, value)], &[]);
        pair.shrinks = false;
        pair.play(800, &mut report);
        let kinds: Vec<&String> = report.failures.keys().collect();
        let is_found = kinds.iter().any(|kind| kind.starts_with(aspect));
        assert!(is_found, "{key}: {value}: {kinds:?}");
    }
}
