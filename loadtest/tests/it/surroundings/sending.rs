//! What cannot be sent to a cell because this machine ran out of memory is nobody's fault but ours.

use crate::support::{
    fleet::Fleet,
    proxy::{Proxy, TENANT},
    strace::{self, Strace},
    ways::{Way, both_ways, way},
    wire::{Connection, Request},
};

const REQUESTS: usize = 60;

both_ways!(a_request_that_cannot_be_sent_blames_no_endpoint);

/// Every third attempt of a thread to send fails. The proxy waited for the cell's answer to what was
/// never sent, and then counted that against the endpoint.
fn a_request_that_cannot_be_sent_blames_no_endpoint() {
    if let Some(why) = strace::is_missing() {
        eprintln!("skipped: {why}");
        return;
    }
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    let log = proxy.directory().join("strace.log");
    // What a request is sent with.
    let call = match way() {
        Some(Way::General) => "sendto",
        _ => "writev",
    };
    let failing = Strace::new(&log, call).inject(call, "error=ENOMEM:when=1+3");
    let Some(strace) = failing.attach(proxy.id()) else {
        eprintln!("skipped: strace may not be attached to a program that runs");
        return;
    };
    let mut refused = 0;
    for _ in 0..REQUESTS {
        let request = Request::new("POST", "/")
            .header(TENANT, "acme")
            .body("four");
        let mut connection = Connection::open(proxy.address());
        connection.send(request.bytes()).expect("it is open");
        // It may be an answer to the client that cannot be sent.
        let Ok(answer) = connection.answer("POST") else {
            continue;
        };
        match answer.status {
            200 => {}
            _ => {
                assert_eq!(answer.verdict(), (503, Some("overloaded")));
                refused += 1;
            }
        }
    }
    drop(strace);
    assert!(refused > 0, "no call has failed");
    let of_cell = [("cell", "cell-1")];
    assert_eq!(
        proxy.metric("endpoint_ejections_total", &of_cell),
        Some(0.0)
    );
    for reason in ["connect_failed", "upstream_error", "upstream_timeout"] {
        let labels = [of_cell[0], ("reason", reason)];
        let errors = proxy.metric("upstream_errors_total", &labels);
        assert!(matches!(errors, None | Some(0.0)), "{reason}: {errors:?}");
    }
}
