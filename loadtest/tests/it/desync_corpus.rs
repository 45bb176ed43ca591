//! AWS's labelled corpus of requests that programs read differently (crate `http_desync_guardian`),
//! sent through the running proxy to a cell that records what it gets.

mod cases;

use std::collections::BTreeSet;

use cases::{Case, LEGAL_BUT_REFUSED, cases, with_body};

use crate::support::{
    gauges::wait_until_idle, heavy::figure, origin::Origin, proxy::Proxy, ways::every_way,
    wire::Answer,
};

every_way!(
    no_severe_request_reaches_a_cell,
    legal_requests_reach_their_cell,
    ambiguous_requests_have_their_connection_to_themselves,
);

/// How many cases the corpus has; with others it would not be the one that these tests know.
const SEVERE: usize = 58;
const LEGAL: usize = 28;

/// Legal cases that may be refused.
const LEGAL_REFUSED_MAX: usize = 3;

struct Bench {
    proxy: Proxy,
    cell: Origin,
}

impl Bench {
    fn start() -> Self {
        // Some cases announce a body that they do not have, so it is not waited for.
        let cell = Origin::start(|visit| {
            if visit.head().is_some() {
                visit.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
                visit.wait_for_end();
            }
        });
        let proxy = Proxy::in_front_of(cell.address())
            .set("tenant_key", "[{ source_ip: true }]")
            // Some cases announce a body that never comes.
            .set("timeouts", "{ client_idle_ms: 1000 }")
            .start();
        Self { proxy, cell }
    }

    /// The answer to a case, if the proxy does not just close.
    fn send(&self, bytes: &[u8]) -> Option<Answer> {
        let mut connection = self.proxy.open();
        connection.send(bytes).ok()?;
        connection.answer("GET").ok()
    }
}

fn no_severe_request_reaches_a_cell() {
    let bench = Bench::start();
    let cases = cases("Severe");
    assert_eq!(cases.len(), SEVERE);
    for case in &cases {
        for bytes in case.encodings() {
            let name = &case.name;
            let answer = bench.send(&bytes);
            let received = bench.cell.received();
            assert!(received.is_empty(), "{name} reached the cell: {received:?}");
            let answer = answer.unwrap_or_else(|| panic!("{name}: closed without an answer"));
            assert!((400..600).contains(&answer.status), "{name}: {answer:?}");
            assert!(
                answer.header("x-cellgate-reason").is_some(),
                "{name}: {answer:?}"
            );
            // A Host field was added, so a refusal for want of one would be this test's fault.
            assert!(!answer.text().contains("no host field"), "{name}");
        }
    }
    figure(format!(
        "0 of {} severe cases reached the cell",
        cases.len()
    ));
    wait_until_idle(&bench.proxy);
}

fn legal_requests_reach_their_cell() {
    let bench = Bench::start();
    let cases = cases("Compliant");
    assert_eq!(cases.len(), LEGAL);
    let is_refused = |case: &&Case| {
        // As the corpus means it only: text in a target has to be UTF-8.
        let [bytes, _] = case.encodings();
        let before = bench.cell.connections();
        bench.send(&with_body(bytes));
        bench.cell.connections() == before
    };
    let refused: BTreeSet<&str> = cases
        .iter()
        .filter(is_refused)
        .map(|case| case.name.as_str())
        .collect();
    figure(format!(
        "{} of {} legal cases are refused: {refused:?}",
        refused.len(),
        cases.len()
    ));
    assert!(refused.len() <= LEGAL_REFUSED_MAX);
    assert_eq!(refused, BTreeSet::from(LEGAL_BUT_REFUSED));
    wait_until_idle(&bench.proxy);
}

/// Of the merely ambiguous requests, those pass that give a body to a method whose bodies mean
/// nothing. A cell might take that body for the next request, so its connection closes afterwards.
fn ambiguous_requests_have_their_connection_to_themselves() {
    let bench = Bench::start();
    let mut passed = 0;
    for case in cases("Ambiguous") {
        for bytes in case.encodings() {
            let before = bench.cell.connections();
            bench.send(&bytes);
            for received in &bench.cell.received()[before..] {
                let received = received.to_ascii_lowercase();
                let closes = received.contains(r"\r\nconnection: close\r\n");
                assert!(closes, "{}: {received}", case.name);
                passed += 1;
            }
        }
    }
    assert!(passed > 0, "no case reached the cell");
    wait_until_idle(&bench.proxy);
}
