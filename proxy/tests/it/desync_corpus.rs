//! AWS's labelled corpus of requests that programs read differently (crate `http_desync_guardian`), against the gate.

mod cases;

use std::collections::BTreeSet;

use cases::{LEGAL_BUT_REFUSED, cases};
use cellgate_proxy::gate::{GateLimits, Head, HeadScan, HeadScanner, Refusal, inspect_head};

#[test]
fn no_severe_request_passes() {
    let cases = cases("Severe");
    assert_eq!(cases.len(), 58, "the corpus is not the one this test knows");
    for case in cases {
        for bytes in case.encodings() {
            let refusal = inspect(&bytes).expect_err(&case.name);
            // A Host field was added, so a refusal for want of one would be this test's fault.
            assert_ne!(refusal, Refusal::MissingHost, "{}", case.name);
        }
    }
}

#[test]
fn legal_requests_pass() {
    let cases = cases("Compliant");
    assert_eq!(cases.len(), 28, "the corpus is not the one this test knows");
    let mut refused = BTreeSet::new();
    for case in &cases {
        // As the corpus means it only: text in a target has to be UTF-8.
        let [bytes, _] = case.encodings();
        if inspect(&bytes).is_err() {
            refused.insert(case.name.as_str());
        }
    }
    assert_eq!(refused, BTreeSet::from(LEGAL_BUT_REFUSED));
}

/// Of the merely ambiguous requests, those pass that give a body to a method whose bodies mean nothing. They are
/// reported as such, so that the proxy can keep them off connections that others use.
#[test]
fn ambiguous_requests_that_pass_are_reported() {
    let mut passed = 0;
    for case in cases("Ambiguous") {
        for bytes in case.encodings() {
            if let Ok(head) = inspect(&bytes) {
                assert!(head.has_undefined_body, "{}", case.name);
                passed += 1;
            }
        }
    }
    assert!(passed > 0, "no case exercises the report");
}

/// What the connection loop does with a head.
fn inspect(bytes: &[u8]) -> Result<Head<'_>, Refusal> {
    let limits = GateLimits::default();
    match HeadScanner::new().scan(bytes, &limits) {
        HeadScan::Complete { skip, end } => inspect_head(&bytes[skip..end], &limits),
        HeadScan::Refused(refusal) => Err(refusal),
        HeadScan::Partial { .. } => panic!("a case ends without an empty line"),
    }
}
