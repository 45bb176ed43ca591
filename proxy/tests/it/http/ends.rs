//! Cells that die in the middle, say too much or too little, and the end of the proxy itself.

use super::*;

#[test]
fn a_cell_that_says_less_than_it_announced() {
    let check = |answer: &'static str, begins: &str| {
        let origin = Origin::start(move |connection| {
            connection.head().unwrap();
            connection.send(answer);
        });
        let proxy = Proxy::start(&[origin.address()]);
        let mut client = proxy.connect();
        client.send(get("/", ""));
        let got = client.wait_for_end();
        assert!(
            got.starts_with("HTTP/1.1 200 OK\r\n"),
            "{answer:?}: {got:?}"
        );
        // What there was came through, and nothing that looks like an end.
        assert!(got.ends_with(begins), "{answer:?}: {got:?}");
        proxy.wait_in_flight(0);
        let name = "upstream_errors_total{cell=\"only\",reason=\"upstream_error\"}";
        assert_eq!(proxy.metric(name), 1, "{answer:?}");
    };
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "\r\n\r\nhalf",
    );
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "4\r\nhalf\r\n",
    );
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
        "half\r\n",
    );
}

#[test]
fn a_cell_that_says_more_than_it_announced() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    );
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    for count in 1..=3 {
        let answer = client.send(get("/", "")).answer();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        assert_eq!(
            origin.received().len(),
            count,
            "a spoilt connection is not used again"
        );
    }
    proxy.wait_in_flight(0);
}

#[test]
fn a_cell_that_speaks_no_http() {
    let origin = Origin::answering("SSH-2.0-hello\r\n\r\n");
    let proxy = Proxy::start(&[origin.address()]);
    let answer = proxy.ask(get("/", ""));
    assert_eq!((answer.status, answer.reason()), (502, "upstream_error"));
    proxy.wait_in_flight(0);
}

#[test]
fn a_cell_that_never_answers() {
    let origin = Origin::start(OriginConnection::hang);
    let proxy = Proxy::with(
        "timeouts: { upstream_read_ms: 100 }",
        "",
        &[origin.address()],
    );
    let answer = proxy.ask(get("/", ""));
    assert_eq!((answer.status, answer.reason()), (504, "upstream_timeout"));
    proxy.wait_in_flight(0);
    assert_eq!(origin.received().len(), 1, "it is not asked again");
}

/// A request whose body some servers do not read shares its connection with no other.
#[test]
fn a_body_without_a_meaning_spoils_its_connection() {
    let check = |first: String, connections: usize| {
        let origin = Origin::answering(OK);
        let proxy = Proxy::start(&[origin.address()]);
        assert_eq!(proxy.ask(&first).status, 200);
        assert_eq!(proxy.ask(get("/", "")).status, 200);
        let received = origin.received();
        assert_eq!(received.len(), connections, "{first:?}: {received:?}");
    };
    check(post("/", "body"), 1);
    check(post("/", "body").replace("POST", "GET"), 2);
    check(post("/", "body").replace("POST", "DELETE"), 2);
    let coded = "5\r\nhello\r\n0\r\n\r\n";
    let coded =
        post("/", "").replace("Content-Length: 0", "Transfer-Encoding: gzip, chunked") + coded;
    check(coded, 2);
}

#[test]
fn several_codings_arrive_in_one_line() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::start(&[origin.address()]);
    let head = post("/", "").replace(
        "Content-Length: 0",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
    );
    assert_eq!(proxy.ask(head + "5\r\nhello\r\n0\r\n\r\n").status, 200);
    let received = origin.received().concat().to_ascii_lowercase();
    assert!(
        received.contains("\r\ntransfer-encoding: gzip, chunked\r\n"),
        "{received}"
    );
    assert!(received.contains("\r\nconnection: close\r\n"), "{received}");
}

#[test]
fn a_drain_ends_when_the_last_request_does() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |connection| {
        while connection.request().is_some() {
            wait.lock().unwrap().recv().unwrap();
            connection.send(OK);
        }
    });
    let mut proxy = Proxy::start(&[origin.address()]);
    let mut idle = proxy.connect();
    go_on.send(()).unwrap();
    idle.send(get("/", "")).answer();
    let mut busy = proxy.connect();
    busy.send(get("/", ""));
    proxy.wait_in_flight(1);

    proxy.terminate();
    wait_until("the proxy is not ready", || {
        proxy.admin("/readyz").status == 503
    });
    assert_eq!(idle.rest(), "", "an idle connection closes");
    wait_until("nobody listens", || {
        // A listener that closes resets what it had not accepted yet.
        let mut late = match std::net::TcpStream::connect(proxy.edge()) {
            Ok(stream) => Client::from(stream),
            Err(_) => return true,
        };
        late.wait_for_end();
        false
    });
    go_on.send(()).unwrap();
    let answer = busy.answer();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    drop(busy);
    assert_eq!(proxy.wait(), Some(0));
}
