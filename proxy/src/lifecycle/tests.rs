//! The way out: phases, counts, and the wait for the last request.

use std::{panic, sync::atomic::AtomicBool, thread};

use super::*;

fn lifecycle() -> Lifecycle {
    Lifecycle::new(Arc::new(Metrics::new()))
}

#[test]
fn phases_only_go_forward() {
    let lifecycle = lifecycle();
    let reached = |phases: &[Phase]| {
        let all = [
            Phase::Leaving,
            Phase::Draining,
            Phase::ListenersClosed,
            Phase::GivenUp,
        ];
        let is: Vec<Phase> = all
            .into_iter()
            .filter(|p| lifecycle.has_reached(*p))
            .collect();
        assert_eq!(is, phases);
    };
    reached(&[]);
    lifecycle.enter(Phase::Leaving);
    reached(&[Phase::Leaving]);
    lifecycle.enter(Phase::ListenersClosed);
    lifecycle.enter(Phase::Draining);
    lifecycle.enter(Phase::Serving);
    reached(&[Phase::Leaving, Phase::Draining, Phase::ListenersClosed]);
}

#[test]
fn counts_end_by_themselves() {
    let lifecycle = lifecycle();
    let first = lifecycle.connection(2).unwrap();
    let second = lifecycle.connection(2).unwrap();
    assert!(lifecycle.connection(2).is_none());
    assert_eq!(
        (lifecycle.connections(), lifecycle.metrics.connections.get()),
        (2, 2)
    );
    drop(first);
    assert!(lifecycle.connection(2).is_some());
    drop(second);
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let _connection = lifecycle.connection(1);
        let _busy = lifecycle.request();
        assert_eq!((lifecycle.connections(), lifecycle.requests()), (1, 1));
        panic::resume_unwind(Box::new("a connection that panics"));
    }));
    assert!(outcome.is_err());
    assert_eq!((lifecycle.connections(), lifecycle.requests()), (0, 0));
    assert_eq!(lifecycle.metrics.connections.get(), 0);
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_wait_ends_with_the_last_connection() {
    let lifecycle = lifecycle();
    let connection = lifecycle.connection(1).unwrap();
    let waiting = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(lifecycle.wait_until_drained(LONG, || false), 0);
            waiting.store(false, Ordering::SeqCst);
        });
        // None of these alone is the end.
        lifecycle.enter(Phase::Leaving);
        lifecycle.enter(Phase::Draining);
        lifecycle.enter(Phase::ListenersClosed);
        assert!(waiting.load(Ordering::SeqCst));
        let began = Instant::now();
        drop(connection);
        while waiting.load(Ordering::SeqCst) {
            assert!(began.elapsed() < LONG / 2, "nobody woke the wait");
            thread::yield_now();
        }
    });
}

#[test]
fn nothing_open_is_no_end_while_listeners_may_still_take_connections() {
    for phase in [Phase::Serving, Phase::Leaving, Phase::Draining] {
        let lifecycle = lifecycle();
        lifecycle.enter(phase);
        let looks = AtomicUsize::new(0);
        let stopped = || looks.fetch_add(1, Ordering::SeqCst) == 2;
        lifecycle.wait_until_drained(LONG, stopped);
        assert_eq!(
            looks.into_inner(),
            3,
            "{phase:?}: it waits for something else to end it"
        );
    }
}

#[test]
fn the_wait_has_a_limit() {
    let lifecycle = lifecycle();
    let _connection = lifecycle.connection(1);
    let _busy = lifecycle.request();
    lifecycle.enter(Phase::Draining);
    assert_eq!(
        lifecycle.wait_until_drained(Duration::from_millis(10), || false),
        1
    );
}

#[test]
fn somebody_may_give_up_on_it() {
    let lifecycle = lifecycle();
    let _connection = lifecycle.connection(1);
    let _busy = (lifecycle.request(), lifecycle.request());
    lifecycle.enter(Phase::GivenUp);
    assert_eq!(lifecycle.wait_until_drained(LONG, || false), 2);
}
