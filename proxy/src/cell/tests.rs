//! Choice, health and counts of a cell's endpoints.

use std::{panic, thread, time::Duration};

use super::*;
use crate::{config::Ejection, metrics::Metrics};

fn cell() -> Arc<CellState> {
    let metrics = Metrics::new().of_cell("a");
    Arc::new(CellState::new(CellId::new("a").unwrap(), metrics))
}

fn endpoint() -> Arc<EndpointState> {
    Arc::new(EndpointState::new(SocketAddr::from(([127, 0, 0, 1], 1))))
}

// ---- choice

const fn usable(weight: u16, in_flight: u32) -> Candidate {
    Candidate {
        weight,
        in_flight,
        is_usable: true,
    }
}

const fn unusable(weight: u16) -> Candidate {
    Candidate {
        weight,
        in_flight: 0,
        is_usable: false,
    }
}

/// How often each candidate is chosen over a grid of dice, in percent.
fn shares(candidates: &[Candidate]) -> Vec<u32> {
    const STEPS: u32 = 200;
    let mut counts = vec![0; candidates.len()];
    for first in 0..STEPS {
        for second in 0..STEPS {
            let dice = [first, second].map(|step| u32::MAX / (STEPS - 1) * step);
            let at = choose(candidates.len(), |at| candidates[at], dice).unwrap();
            counts[at] += 100;
        }
    }
    counts.iter().map(|count| count / (STEPS * STEPS)).collect()
}

#[test]
fn choice() {
    let check = |candidates: &[Candidate], expected: &[u32]| {
        let shares = shares(candidates);
        for (share, expected) in shares.iter().zip(expected) {
            assert!(share.abs_diff(*expected) <= 1, "{candidates:?}: {shares:?}");
        }
    };
    check(&[usable(1, 0)], &[100]);
    check(&[usable(1, 9), unusable(1)], &[100, 0]);
    // By weight where nothing else distinguishes them.
    check(&[usable(1, 0), usable(1, 0)], &[50, 50]);
    check(&[usable(1, 0), usable(3, 0)], &[25, 75]);
    check(&[usable(1, 0), usable(2, 0), usable(7, 0)], &[10, 20, 70]);
    check(&[usable(2, 0), unusable(96), usable(2, 0)], &[50, 0, 50]);
    check(&[usable(1, 5), usable(3, 15)], &[25, 75]);
    // Of two, the one with less to do for its weight.
    check(&[usable(1, 1), usable(1, 0)], &[0, 100]);
    check(&[usable(1, 10), usable(2, 15)], &[0, 100]);
    check(&[usable(1, 10), usable(2, 25)], &[100, 0]);
    check(&[usable(1000, u32::MAX), usable(1, u32::MAX)], &[100, 0]);
    // Of three, the busiest is chosen only if it were drawn twice, which it is not.
    check(&[usable(1, 9), usable(1, 0), usable(1, 5)], &[0, 67, 33]);
}

#[test]
fn the_dice_reach_each_end() {
    let candidates = [usable(1, 0), usable(1000, 0), usable(1, 0)];
    let chosen = |dice| choose(3, |at| candidates[at], [dice, 0]);
    assert_eq!(chosen(0), Some(0));
    assert_eq!(chosen(u32::MAX), Some(2));
}

#[test]
fn nobody_to_choose() {
    assert_eq!(choose(0, |_| usable(1, 0), [0, 0]), None);
    assert_eq!(choose(2, |_| unusable(1), [u32::MAX, 7]), None);
}

// ---- health

const RULES: Ejection = Ejection {
    after_failures: 3,
    base: Duration::from_millis(100),
    max: Duration::from_millis(250),
    percent_max: 50,
};

#[test]
fn active_checks() {
    // `+` passed, `-` failed; the state after each: `w` well, `u` unhealthy.
    let check = |checks: &str, expected: &str| {
        let health = Health::default();
        let states: String = checks
            .chars()
            .map(|check| {
                let before = health.is_unhealthy();
                let change = health.checked(check == '+', 3, 2);
                let reported = match (before, health.is_unhealthy()) {
                    (false, true) => Some(Change::Unhealthy),
                    (true, false) => Some(Change::Healthy),
                    _ => None,
                };
                assert_eq!(change, reported, "{checks}");
                assert_eq!(health.is_usable(0), !health.is_unhealthy(), "{checks}");
                if health.is_unhealthy() { 'u' } else { 'w' }
            })
            .collect();
        assert_eq!(states, expected, "{checks}");
    };
    check("+++", "www");
    check("---", "wwu");
    check("--+--", "wwwww");
    check("--+---", "wwwwwu");
    check("---+-++", "wwuuuuw");
    check("----++-", "wwuuuww");
    let health = Health::default();
    (0..3).for_each(|_| {
        health.checked(false, 3, 2);
    });
    health.forget_checks();
    assert!(health.is_usable(0));
}

/// Fails until the endpoint is ejected; after how many failures, and for how long.
fn fail_until_ejected(health: &Health, now_ms: u64) -> (u32, u64) {
    for failures in 1..100 {
        if health.failed(now_ms, &RULES) {
            let Change::Ejected { for_ms } = health.eject(now_ms, &RULES) else {
                panic!("an ejection says so");
            };
            assert!(!health.is_usable(now_ms) && !health.is_usable(now_ms + for_ms - 1));
            assert!(health.is_usable(now_ms + for_ms));
            return (failures, for_ms);
        }
    }
    panic!("never ejected");
}

#[test]
fn ejections_grow_to_their_limit() {
    let health = Health::default();
    let mut now_ms = 1_000;
    for expected_ms in [100, 200, 250, 250] {
        assert_eq!(fail_until_ejected(&health, now_ms), (3, expected_ms));
        // Requests that began before it was out do not count.
        for _ in 0..10 {
            assert!(!health.failed(now_ms, &RULES));
        }
        now_ms += expected_ms;
    }
    // One that works again begins anew.
    health.succeeded();
    assert_eq!(fail_until_ejected(&health, now_ms), (3, 100));
}

#[test]
fn a_success_in_between_starts_the_count_anew() {
    let health = Health::default();
    for _ in 0..10 {
        assert!(!health.failed(0, &RULES));
        assert!(!health.failed(0, &RULES));
        health.succeeded();
    }
    assert!(health.is_usable(0));
}

#[test]
fn ejection_can_be_switched_off() {
    let rules = Ejection {
        after_failures: 0,
        ..RULES
    };
    let health = Health::default();
    assert!((0..1_000).all(|_| !health.failed(0, &rules)));
}

#[test]
fn of_many_failures_at_once_every_third_is_due() {
    let health = Health::default();
    let count = || (0..3_000).filter(|_| health.failed(0, &RULES)).count();
    let due: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(due, 4 * 3_000 / 3);
}

#[test]
fn suppressed_ejections_are_reported_now_and_then() {
    let health = Health::default();
    let reported: Vec<u64> = (0..1_000)
        .filter(|now_ms| health.suppress_ejection(*now_ms, &RULES).is_some())
        .collect();
    assert_eq!(reported, (0..1_000).step_by(100).collect::<Vec<u64>>());
}

#[test]
fn the_floor() {
    let check = |count: usize, percent_max: u32, expected: usize| {
        let ejected = (0..count)
            .take_while(|out| may_eject_one_more(*out, count, percent_max))
            .count();
        assert_eq!(ejected, expected, "{count} endpoints, {percent_max} %");
    };
    check(1, 100, 0);
    check(2, 100, 1);
    check(2, 50, 1);
    check(2, 49, 0);
    check(3, 50, 1);
    check(3, 67, 2);
    check(3, 100, 2);
    check(10, 50, 5);
    check(10, 9, 0);
    check(10, 100, 9);
    check(10, 0, 0);
}

// ---- counts

#[test]
fn the_bulkhead() {
    let cell = cell();
    let first = cell.admit(2).unwrap();
    let second = cell.admit(2).unwrap();
    assert!(cell.admit(2).is_none());
    assert_eq!((cell.in_flight(), cell.metrics.in_flight.get()), (2, 2));
    drop(first);
    assert!(
        cell.admit(2).is_some(),
        "the place of the first one is free again"
    );
    assert_eq!(cell.in_flight(), 1);
    // A limit that shrank lets nobody in until enough have left.
    assert!(cell.admit(1).is_none());
    drop(second);
    assert_eq!((cell.in_flight(), cell.metrics.in_flight.get()), (0, 0));
    assert!(cell.admit(0).is_none());
}

#[test]
fn the_bulkhead_holds_against_many_threads() {
    const LIMIT: u32 = 3;
    let cell = cell();
    let inside = AtomicU32::new(0);
    let run = || {
        let mut admitted = 0;
        for _ in 0..5_000 {
            let Some(in_flight) = cell.admit(LIMIT) else {
                continue;
            };
            admitted += 1;
            assert!(inside.fetch_add(1, Ordering::SeqCst) < LIMIT);
            thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(in_flight);
        }
        admitted
    };
    let admitted: u32 = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!(admitted > 0);
    assert_eq!((cell.in_flight(), cell.metrics.in_flight.get()), (0, 0));
}

#[test]
fn counts_end_with_a_panic_too() {
    let (cell, endpoint) = (cell(), endpoint());
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let _in_flight = cell.admit(1).unwrap();
        let used = endpoint.enter();
        assert_eq!((cell.in_flight(), used.endpoint().in_flight()), (1, 1));
        panic::resume_unwind(Box::new("a request that panics"));
    }));
    assert!(outcome.is_err());
    assert_eq!((cell.in_flight(), endpoint.in_flight()), (0, 0));
    assert_eq!(cell.metrics.in_flight.get(), 0);
}

#[test]
fn an_endpoint_counts_who_uses_it() {
    let endpoint = endpoint();
    let mut used = Some(endpoint.enter());
    let other = endpoint.enter();
    assert_eq!(endpoint.in_flight(), 2);
    // A next try takes the place of the one before it.
    used.replace(endpoint.enter());
    assert_eq!(endpoint.in_flight(), 2);
    drop((used, other));
    assert_eq!(endpoint.in_flight(), 0);
}

// ---- tunnels

#[test]
fn tunnels_have_a_limit_and_are_known_by_tenant() {
    let cell = cell();
    let first = cell.admit_tunnel(b"acme", 2).unwrap();
    let second = cell.admit_tunnel(b"globex", 2).unwrap();
    assert!(cell.admit_tunnel(b"acme", 2).is_none());
    assert_eq!((cell.tunnels(), cell.in_flight()), (2, 0));
    assert_eq!(
        (cell.tunnels_of(b"acme"), cell.tunnels_of(b"nobody")),
        (1, 0)
    );
    drop(first);
    assert_eq!((cell.tunnels(), cell.tunnels_of(b"acme")), (1, 0));
    let third = cell.admit_tunnel(b"globex", 2).unwrap();
    assert_eq!(cell.tunnels_of(b"globex"), 2);
    assert_eq!(cell.metrics.tunnels.get(), 2);
    drop((second, third));
    assert_eq!((cell.tunnels(), cell.metrics.tunnels.get()), (0, 0));
    assert!(cell.admit_tunnel(b"acme", 0).is_none());
}
