//! How the proxy begins and ends: what it says when it cannot start, and how it leaves.

use std::{
    fs,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::Signal,
    proxy::{Proxy, TENANT},
    wait_until,
    ways::both_ways,
    wire::{Answer, Connection, Request},
};

both_ways!(
    requests_in_flight_end_and_then_it_leaves,
    readiness_fails_before_the_listener_closes,
    it_leaves_at_once_when_idle,
    requests_that_take_too_long_are_cut,
    a_second_sigterm_ends_it_at_once,
    a_sigint_after_sigterm_ends_it_at_once,
);

/// "Immediately" for a process that ends.
const PROMPT: Duration = Duration::from_millis(200);

/// How often something may be tried, for a busy machine makes it slow now and then.
const TRIES: usize = 5;

/// One of a few tries takes no longer than [`PROMPT`]. `once` returns how long it took.
#[track_caller]
fn check_prompt(what: &str, mut once: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let time = once();
        times.push(time);
        if time <= PROMPT {
            eprintln!("{what}: {times:?}");
            return;
        }
    }
    panic!("{what}: {times:?}");
}

/// A request that a cell answers after so many milliseconds, sent and seen to be in flight.
fn slow_request(proxy: &Proxy, wait_ms: u32) -> thread::JoinHandle<(Option<Answer>, Instant)> {
    let mut connection = Connection::open(proxy.address());
    let request = Request::get(&format!("/slow/{wait_ms}")).header(TENANT, "acme");
    connection.send(request.bytes()).unwrap();
    wait_until("the request is in flight", PATIENCE, || {
        proxy.metric("in_flight", &[("cell", "cell-1")]) == Some(1.0)
    });
    thread::spawn(move || {
        let answer = connection.answer("GET").ok();
        (answer, Instant::now())
    })
}

fn nobody_listens(proxy: &Proxy) -> bool {
    Connection::try_open(proxy.address()).is_err()
}

fn requests_in_flight_end_and_then_it_leaves() {
    let fleet = Fleet::start(2);
    check_prompt("from the last answer to the end", || {
        let mut proxy = Proxy::start(fleet.table());
        let mut idle = Connection::open(proxy.address());
        let used = idle.exchange(&Request::get("/").header(TENANT, "acme"));
        assert_eq!(used.status, 200);
        let request = slow_request(&proxy, 1_500);

        proxy.signal(Signal::TERM);
        assert_eq!(idle.rest().unwrap(), b"", "an idle connection closes");
        wait_until("the listener is closed", PATIENCE, || {
            nobody_listens(&proxy)
        });
        assert!(!request.is_finished(), "the request is still in flight");
        let (answer, answered) = request.join().unwrap();
        let answer = answer.expect("the request ends well");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), "waited 1500 ms\n");
        assert_eq!(answer.header("connection"), Some("close"));

        let status = proxy.wait(PATIENCE);
        let time = answered.elapsed();
        assert_eq!(status.code(), Some(0), "{status}");
        proxy.wait_for_log(&["stopped"]);
        time
    });
}

fn readiness_fails_before_the_listener_closes() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::plan()
        .set("timeouts", "{ shutdown_delay_ms: 1500 }")
        .table(fleet.table())
        .start();
    let mut kept_alive = Connection::open(proxy.address());
    let request = Request::get("/").header(TENANT, "acme");
    assert_eq!(kept_alive.exchange(&request).status, 200);

    proxy.signal(Signal::TERM);
    let terminated = Instant::now();
    wait_until("it is not ready any more", PATIENCE, || {
        proxy.admin_get("/readyz").status == 503
    });
    let ready = proxy.admin_get("/readyz");
    assert!(ready.text().contains("shutting down"), "{}", ready.text());
    assert_eq!(proxy.status()["draining"], true);
    // Whoever has not noticed yet is still served.
    assert_eq!(proxy.get("acme", "/").status, 200);
    assert_eq!(kept_alive.exchange(&request).status, 200);

    let status = proxy.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(terminated.elapsed() >= Duration::from_millis(1_500));
    assert_eq!(kept_alive.rest().unwrap(), b"");
}

fn it_leaves_at_once_when_idle() {
    let fleet = Fleet::start(2);
    check_prompt("from SIGTERM to the end", || {
        let mut proxy = Proxy::start(fleet.table());
        // One that was used, and one that never was.
        let mut used = Connection::open(proxy.address());
        let request = Request::get("/").header(TENANT, "acme");
        assert_eq!(used.exchange(&request).status, 200);
        let mut fresh = Connection::open(proxy.address());
        wait_until("both connections are open", PATIENCE, || {
            proxy.metric("client_connections", &[]) == Some(2.0)
        });

        let terminated = Instant::now();
        proxy.signal(Signal::TERM);
        let status = proxy.wait(PATIENCE);
        let time = terminated.elapsed();
        assert_eq!(status.code(), Some(0), "{status}");
        assert_eq!(used.rest().unwrap(), b"");
        assert_eq!(fresh.rest().unwrap(), b"");
        time
    });
}

fn requests_that_take_too_long_are_cut() {
    const LIMIT: Duration = Duration::from_millis(500);
    let fleet = Fleet::start(2);
    check_prompt("from the limit to the end", || {
        let mut proxy = Proxy::plan()
            .set("timeouts", "{ shutdown_ms: 500 }")
            .table(fleet.table())
            .start();
        let request = slow_request(&proxy, 10_000);

        let terminated = Instant::now();
        proxy.signal(Signal::TERM);
        let status = proxy.wait(PATIENCE);
        let time = terminated.elapsed();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(request.join().unwrap().0.is_none(), "there is no answer");
        proxy.wait_for_log(&["WARN", "requests in flight are cut", "requests=1"]);
        time.checked_sub(LIMIT).expect("it waits for the limit")
    });
}

fn a_second_sigterm_ends_it_at_once() {
    check_second(Signal::TERM);
}

fn a_sigint_after_sigterm_ends_it_at_once() {
    check_second(Signal::INT);
}

#[track_caller]
fn check_second(second: Signal) {
    let fleet = Fleet::start(2);
    check_prompt("from the second signal to the end", || {
        let mut proxy = Proxy::start(fleet.table());
        let request = slow_request(&proxy, 10_000);
        proxy.signal(Signal::TERM);
        wait_until("the listener is closed", PATIENCE, || {
            nobody_listens(&proxy)
        });

        let asked_again = Instant::now();
        proxy.signal(second);
        let status = proxy.wait(PATIENCE);
        let time = asked_again.elapsed();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(request.join().unwrap().0.is_none(), "there is no answer");
        time
    });
}

#[test]
fn sigquit_is_ignored() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::start(fleet.table());

    proxy.signal(Signal::QUIT);
    proxy.wait_for_log(&["WARN", "SIGQUIT"]);
    assert_eq!(proxy.admin_get("/readyz").status, 200);
    assert_eq!(proxy.get("acme", "/").status, 200);
    proxy.stop();
}

/// Not one of them may do what it does by default, which is to end the process on the spot.
#[test]
fn signals_that_come_too_early_are_heard() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan().set("access_log", "{ path: access.log }");
    let mut proxy = plan.table(fleet.table()).start_unready();
    proxy.signal(Signal::HUP);
    proxy.signal(Signal::USR1);
    proxy.signal(Signal::QUIT);
    proxy.wait_ready();
    proxy.wait_for_log(&["SIGHUP"]);
    proxy.wait_for_log(&["log opened anew"]);
    proxy.wait_for_log(&["SIGQUIT"]);

    // However early the end: it leaves nothing behind that would blame the table.
    proxy.stop();
    proxy.restart_unready();
    proxy.stop();
    let entries = fs::read_dir(proxy.directory().join("state")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names[..2], ["lock", "owner"], "{names:?}");
    assert!(names[2].starts_with("table-"), "{names:?}");
    assert_eq!(names.len(), 3, "{names:?}");
}

/// Tables change and logs are rotated while it drains.
#[test]
fn signals_are_acted_on_while_it_drains() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan()
        .set("access_log", "{ path: access.log }")
        .set("timeouts", "{ shutdown_ms: 20000 }");
    let mut proxy = plan.table(fleet.table().pin("acme", "cell-1")).start();
    let mut connection = Connection::open(proxy.address());
    let request = Request::get("/slow/1500").header(TENANT, "acme");
    connection.send(request.bytes()).unwrap();
    wait_until("the request is in flight", PATIENCE, || {
        proxy.status()["requests_in_flight"] == 1
    });
    proxy.signal(Signal::TERM);
    wait_until("it drains", PATIENCE, || {
        Connection::try_open(proxy.address()).is_err()
    });
    proxy.signal(Signal::HUP);
    proxy.signal(Signal::USR1);
    proxy.wait_for_log(&["SIGHUP"]);
    proxy.wait_for_log(&["log opened anew"]);
    assert_eq!(connection.answer("GET").unwrap().status, 200);
    assert!(proxy.wait(PATIENCE).success());
}

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let edge = format!("[{{ name: edge, address: \"{address}\", protocol: http }}]");
    let admin = format!("{{ address: \"{address}\" }}");
    for (key, value, who) in [
        ("listeners", edge, "listener `edge`"),
        ("admin", admin, "admin"),
    ] {
        let (status, said) = Proxy::plan().set(key, &value).run_to_end();
        assert_eq!(status.code(), Some(1), "{said}");
        let why = format!("{who} cannot listen on {address}");
        assert!(said.contains(&why), "{said}");
        assert!(
            said.contains("another program listens there already"),
            "{said}"
        );
    }
}

#[test]
fn all_mistakes_of_the_configuration_are_reported() {
    let (status, said) = Proxy::plan()
        .set(
            "listeners",
            "[{ name: edge, address: localhost, protocol: http }]",
        )
        .set("tenant_key", "[]")
        .set("unknown_tenants", "guess")
        .set("timeouts", "{ head: 10 }")
        .set("thread", "2")
        .run_to_end();
    assert_eq!(status.code(), Some(1), "{said}");
    for key in [
        "listeners[0].address",
        "tenant_key",
        "unknown_tenants",
        "timeouts.head",
        "thread",
    ] {
        assert!(said.contains(&format!("{key}: ")), "{key}\n{said}");
    }
    assert_eq!(said.lines().count(), 5, "{said}");
}
