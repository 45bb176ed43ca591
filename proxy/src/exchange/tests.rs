//! The policy as tables of cases: what is admitted, where it goes, and what a failure means.

use std::{net::IpAddr, sync::Arc, time::Duration};

use cellgate_table::{Digest, Generation, parse};
use http::HeaderName;

use super::*;
use crate::{
    cell::Change,
    config::Ejection,
    field_lines::{FieldLine, FieldLines},
    gate::Refusal,
    metrics::Metrics,
    snapshot::{Accepted, Snapshot, Source as TableSource},
    tenant_key::{KeyRule, KeyRules, RequestKey, RequestView, Source, UnknownTenants},
    tls::CellIdentities,
    upstream::AnswerRefusal,
};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const TABLE: &str = "format: 1\nhash: { slots: 2 }\ncells:\n  \
    a: { max_in_flight: 1, tunnels_max: 1, endpoints: [{ address: \"127.0.0.1:1\" }, { address: \"127.0.0.1:2\" }] }\n  \
    b: { endpoints: [{ address: \"127.0.0.1:3\" }] }\nslots: { a: [\"0\"], b: [\"1\"] }\n\
    overrides: { acme: a, globex: b }\naliases: { www.acme.example: acme }\nrejects: [evil, globex]\n";

struct Scene {
    key_rules: KeyRules,
    policy: Policy,
    snapshot: Snapshot,
}

impl Scene {
    fn new(unknown_tenants: UnknownTenants, retries: usize) -> Self {
        let metrics = Arc::new(Metrics::new());
        let accepted = Accepted {
            table: parse(TABLE.as_bytes()).unwrap_or_else(|problems| panic!("{problems}")),
            generation: Generation::new(7).unwrap(),
            digest: Digest::of(TABLE.as_bytes()),
            other_digests: Vec::new(),
            source: TableSource::File,
            cell_tls: CellIdentities::default(),
        };
        Self {
            snapshot: Snapshot::build(accepted, None, &metrics),
            key_rules: KeyRules::new(vec![KeyRule {
                source: Source::Header(HeaderName::from_static("x-tenant-id")),
                pattern: None,
            }]),
            policy: Policy {
                unknown_tenants,
                retries,
                ejection: Ejection {
                    after_failures: 1,
                    base: Duration::from_secs(1),
                    max: Duration::from_secs(1),
                    percent_max: 50,
                },
                metrics,
            },
        }
    }

    fn admit(&self, tenant: &str) -> (Exchange, Result<(), Refused>) {
        let line = FieldLine {
            name: b"X-Tenant-Id",
            value: tenant.as_bytes(),
        };
        let request = RequestView {
            lines: FieldLines(if tenant.is_empty() {
                &[]
            } else {
                std::slice::from_ref(&line)
            }),
            path: b"/",
            query: None,
            host: b"h",
            client: CLIENT,
            evidence: None,
        };
        let mut exchange = Exchange::new(Instant::now(), IpAddr::from([10, 0, 0, 1]));
        let key = self.key_rules.key_of(&request).map(Box::new);
        let admitted = exchange.admit(&self.policy, CLIENT, key, Some(&self.snapshot));
        (exchange, admitted)
    }

    fn admitted(&self, tenant: &str) -> Exchange {
        let (exchange, admitted) = self.admit(tenant);
        admitted.unwrap();
        exchange
    }

    /// The value of a metric by its name and labels, as they are written.
    fn metric(&self, series: &str) -> u64 {
        let text = String::from_utf8(self.policy.metrics.render()).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix("cellgate_proxy_")?.strip_prefix(series))
            .map_or(0, |value| value.trim().parse().unwrap())
    }
}

#[test]
fn a_request_is_admitted_to_its_cell_or_refused() {
    use UnknownTenants::{Hash, Refuse};
    let check = |unknown, tenant: &str, expected: Result<(&str, &str), Reason>| {
        let scene = Scene::new(unknown, 1);
        let (exchange, admitted) = scene.admit(tenant);
        assert_eq!(exchange.client(), CLIENT, "the client of the request");
        match expected {
            Ok((cell, tenant_name)) => {
                assert_eq!(admitted, Ok(()), "{tenant}");
                let to = exchange.destination().unwrap();
                assert_eq!(to.cell().state.id.as_str(), cell, "{tenant}");
                assert_eq!(exchange.tenant(), Some(tenant_name.as_bytes()), "{tenant}");
                assert_eq!(to.generation_header(), "7");
                assert_eq!((exchange.reason(), to.cell().state.in_flight()), (None, 1));
            }
            Err(reason) => {
                assert_eq!(admitted.unwrap_err().reason, reason, "{tenant}");
                assert_eq!(exchange.reason(), Some(reason), "{tenant}");
                assert!(exchange.destination().is_none(), "{tenant}");
            }
        }
        let in_flight = |cell: &Arc<crate::snapshot::CellRuntime>| cell.state.in_flight();
        drop(exchange);
        assert!(
            scene
                .snapshot
                .cells()
                .iter()
                .all(|cell| in_flight(cell) == 0)
        );
    };
    check(Hash, "acme", Ok(("a", "acme")));
    check(Hash, "www.acme.example", Ok(("a", "acme")));
    check(Refuse, "www.acme.example", Ok(("a", "acme")));
    check(Hash, "", Err(Reason::NoTenantKey));
    check(Hash, " \u{e9}", Err(Reason::BadTenantKey));
    check(Hash, "evil", Err(Reason::Rejected));
    check(Hash, "globex", Err(Reason::Rejected));
    check(Refuse, "nobody", Err(Reason::UnknownTenant));
    // A rejected tenant is answered as such, whether or not unknown tenants are served.
    check(Refuse, "evil", Err(Reason::Rejected));
}

#[test]
fn without_a_table_nobody_is_admitted() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let mut exchange = Exchange::new(Instant::now(), CLIENT);
    let key = RequestKey::new(b"acme").map(Box::new);
    let refused = exchange
        .admit(&scene.policy, CLIENT, key, None)
        .unwrap_err();
    assert_eq!(refused.reason, Reason::NoTable);
    assert_eq!(
        scene.metric("rejected_total{cell=\"\",reason=\"no_table\"}"),
        1
    );
}

#[test]
fn a_full_cell_refuses_and_the_others_do_not() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let first = scene.admitted("acme");
    let (_, refused) = scene.admit("acme");
    assert_eq!(refused.unwrap_err().reason, Reason::CellOverloaded);
    drop(first);
    scene.admitted("acme");
    assert_eq!(
        scene.metric("rejected_total{cell=\"a\",reason=\"cell_overloaded\"}"),
        1
    );
}

#[test]
fn each_attempt_has_another_endpoint_while_there_is_one() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let mut exchange = scene.admitted("acme");
    let mut attempt = || {
        let endpoint = exchange.next_endpoint(0, [0, 0]).unwrap();
        endpoint.state.address.port()
    };
    let (first, second) = (attempt(), attempt());
    assert_ne!(first, second);
    attempt();
    let to = exchange.destination().unwrap();
    assert_eq!(to.attempts(), 3);
    let in_use: u32 = to
        .cell()
        .endpoints
        .iter()
        .map(|e| e.state.in_flight())
        .sum();
    assert_eq!(in_use, 1, "only the current attempt is in flight");
}

#[test]
fn a_cell_without_a_healthy_endpoint_is_said_to_have_none() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let mut exchange = scene.admitted("acme");
    for endpoint in &exchange.destination().unwrap().cell().endpoints {
        endpoint.state.health.checked(false, 1, 1);
    }
    assert!(exchange.next_endpoint(0, [0, 0]).is_none());
    assert_eq!(exchange.reason(), Some(Reason::NoHealthyEndpoint));
    assert_eq!(
        scene.metric("rejected_total{cell=\"a\",reason=\"no_healthy_endpoint\"}"),
        1
    );
}

/// What a failure means: after so many attempts, with so many retries allowed.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a flat list: one failure after the other"
)]
fn failures_are_judged() {
    use Failure::{Client, Internal, StaleConnection, Unreachable, Upstream};
    const RETRY: Option<Reason> = None;
    // Whether it counts as an error of the cell, and against the endpoint.
    let check = |failure, repeatable, attempts, expected: Option<Reason>, error, against| {
        let scene = Scene::new(UnknownTenants::Hash, 1);
        let mut exchange = scene.admitted("acme");
        for _ in 0..attempts {
            exchange.next_endpoint(0, [0, 0]).unwrap();
        }
        let case = format!("{failure:?}, repeatable: {repeatable}, attempts: {attempts}");
        let judgement = exchange.failed(&scene.policy, failure, repeatable, 0);
        match (judgement.verdict, expected) {
            (Verdict::Retry, None) => {
                assert_eq!(scene.metric("upstream_retries_total{cell=\"a\"}"), 1);
            }
            (Verdict::Answer(refused), Some(reason)) => {
                assert_eq!(refused.reason, reason, "{case}");
                assert_eq!(exchange.reason(), Some(reason), "{case}");
            }
            (verdict, expected) => panic!("{case}: {verdict:?} instead of {expected:?}"),
        }
        let errors: u64 = [
            "connect_failed",
            "upstream_error",
            "upstream_head_too_large",
            "upstream_timeout",
        ]
        .iter()
        .map(|reason| {
            scene.metric(&format!(
                "upstream_errors_total{{cell=\"a\",reason=\"{reason}\"}}"
            ))
        })
        .sum();
        assert_eq!(errors, u64::from(error), "{case}");
        let ejected = matches!(judgement.change, Some(Change::Ejected { .. }));
        assert_eq!(ejected, against, "{case}");
    };
    let bad = Upstream(UpstreamFault::Broken);
    let slow = Upstream(UpstreamFault::TimedOut);
    // Nothing was read: again, as often as allowed, while all of it is at hand.
    check(Unreachable, true, 1, RETRY, true, true);
    check(
        Unreachable,
        false,
        1,
        Some(Reason::ConnectFailed),
        true,
        true,
    );
    check(
        Unreachable,
        true,
        2,
        Some(Reason::ConnectFailed),
        true,
        true,
    );
    // A kept connection that was closed is no attempt that failed.
    check(StaleConnection, true, 1, RETRY, false, false);
    check(
        StaleConnection,
        false,
        1,
        Some(Reason::UpstreamError),
        true,
        false,
    );
    // The cell may have acted on it.
    check(bad, true, 1, Some(Reason::UpstreamError), true, true);
    check(slow, true, 1, Some(Reason::UpstreamTimeout), true, true);
    check(
        Upstream(UpstreamFault::Refused(AnswerRefusal::HeadTooLarge)),
        true,
        1,
        Some(Reason::UpstreamHeadTooLarge),
        true,
        false,
    );
    // Never the cell's fault.
    check(
        Failure::OutOfResources,
        true,
        1,
        Some(Reason::Overloaded),
        false,
        false,
    );
    let too_large = ClientFault::Refused(Refusal::BodyTooLarge);
    check(
        Client(too_large),
        true,
        1,
        Some(Reason::BodyTooLarge),
        false,
        false,
    );
    check(
        Client(ClientFault::TimedOut),
        true,
        1,
        Some(Reason::RequestTimeout),
        false,
        false,
    );
    check(
        Client(ClientFault::Malformed),
        true,
        1,
        Some(Reason::BadRequest),
        false,
        false,
    );
    check(Internal, true, 1, Some(Reason::InternalError), false, false);
}

/// Connections that were closed meanwhile use up no attempt, and are not tried for ever.
#[test]
fn stale_connections_are_no_attempts_that_failed() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let mut exchange = scene.admitted("acme");
    let mut verdict = |failure| {
        exchange.next_endpoint(0, [0, 0]).unwrap();
        let judgement = exchange.failed(&scene.policy, failure, true, 0);
        judgement.verdict == Verdict::Retry
    };
    let failures = [
        Failure::StaleConnection,
        Failure::Unreachable,
        Failure::StaleConnection,
        Failure::StaleConnection,
    ];
    assert_eq!(failures.map(&mut verdict), [true, true, true, false]);
    assert!(!verdict(Failure::Unreachable));
}

#[test]
fn a_client_that_left_is_nobodys_failure() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let mut exchange = scene.admitted("acme");
    exchange.next_endpoint(0, [0, 0]).unwrap();
    let gone = Failure::Client(ClientFault::Gone);
    let judgement = exchange.failed(&scene.policy, gone, true, 0);
    assert_eq!(judgement.verdict, Verdict::LetGo);
    assert_eq!((judgement.change, exchange.reason()), (None, None));
    assert_eq!(scene.metric("client_aborts_total"), 1);
}

#[test]
fn a_tunnel_has_its_own_limit() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let mut exchange = scene.admitted("acme");
    exchange.next_endpoint(0, [0, 0]).unwrap();
    let tunnel = exchange.open_tunnel().unwrap();
    drop(exchange);
    let cell = &scene.snapshot.cells()[0].state;
    assert_eq!((cell.in_flight(), cell.tunnels_of(b"acme")), (0, 1));
    // `a` may have one request in flight and one tunnel.
    let mut second = scene.admitted("acme");
    assert_eq!(
        second.open_tunnel().unwrap_err().reason,
        Reason::CellOverloaded
    );
    drop(tunnel);
    assert_eq!(cell.tunnels(), 0);
}

#[test]
fn the_end_is_recorded_once_by_cell() {
    let scene = Scene::new(UnknownTenants::Hash, 1);
    let started = Instant::now();
    let (mut exchange, _) = scene.admit("acme");
    exchange.next_endpoint(0, [0, 0]).unwrap();
    exchange.failed(&scene.policy, Failure::Unreachable, true, 0);
    exchange.next_endpoint(0, [0, 0]).unwrap();
    exchange.answered();
    assert_eq!(exchange.reason(), None, "an earlier attempt is history");
    let took = exchange.finish(Some(201), started + Duration::from_secs(3));
    assert!(took <= Duration::from_secs(3));
    assert_eq!(scene.metric("responses_total{cell=\"a\",class=\"2xx\"}"), 1);
    assert_eq!(
        scene.metric("request_duration_seconds_count{cell=\"a\"}"),
        1
    );
}
