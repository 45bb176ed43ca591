use std::time::Duration;

use cellgate_table::CellId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::upstream::{AnswerRefusal, IdleCheck, PoolLimits};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PATIENCE: Duration = Duration::from_secs(5);

fn refusal_in(error: &io::Error) -> Option<AnswerRefusal> {
    error.get_ref()?.downcast_ref().copied()
}

/// One stream, the cell's end of its connection, and the pool it may go back to.
struct Exchange {
    stream: CellStream,
    cell: TcpStream,
    pool: Arc<Pool>,
    report: Arc<Report>,
    transport: Arc<Transport>,
}

impl Exchange {
    async fn begin(set: impl FnOnce(&mut Terms)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        let (cell, _) = listener.accept().await.unwrap();
        cell.set_nodelay(true).unwrap();
        let pool = Arc::new(Pool::new(PoolLimits {
            idle_total_max: 10,
            idle_per_cell_max: 10,
            idle: Duration::from_secs(60),
            requests_per_connection_max: 0,
        }));
        let transport = Arc::new(Transport::new(CellId::new("a").unwrap(), address, None));
        let report = Arc::new(Report::default());
        let mut terms = Terms {
            is_head_request: false,
            request_body: BodyFraming::None,
            coalesce: false,
            offers: None,
            interim: Interim::Forward,
            stall_limit: std::time::Duration::from_secs(60),
            back: Some(Return {
                pool: Arc::clone(&pool),
                transport: Arc::clone(&transport),
                tenant: None,
            }),
            report: Arc::clone(&report),
        };
        set(&mut terms);
        Self {
            stream: CellStream::new(Connection::new(CellSocket::Plain(socket), None), terms),
            cell,
            pool,
            report,
            transport,
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        self.cell.write_all(bytes.as_ref()).await.unwrap();
    }

    /// What the cell gets of the request, up to as many bytes as are expected.
    async fn cell_gets(&mut self, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        let read = self.cell.read_exact(&mut bytes);
        timeout(PATIENCE, read).await.expect("it comes").unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    /// All that the stream yields until it is at its end.
    async fn read(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        let read = self.stream.read_to_end(&mut bytes);
        timeout(PATIENCE, read).await.expect("the answer ends")?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    /// Drops the stream. Whether its connection is in the pool then.
    fn comes_back(self) -> bool {
        drop(self.stream);
        self.pool
            .take(&self.transport, None, IdleCheck::Probed, Instant::now())
            .is_some()
    }

    /// Drops the stream. What the cell gets of it from here on, until the connection ends.
    async fn rest_at_cell(mut self) -> String {
        drop(self.stream);
        let mut bytes = Vec::new();
        let read = self.cell.read_to_end(&mut bytes);
        // A reset is an end too.
        let _ = timeout(PATIENCE, read).await.expect("the connection ends");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A GET or HEAD, its answer as it comes from the cell, what is yielded of it, and whether the connection is kept.
async fn check(set: impl FnOnce(&mut Terms), answer: &str, yielded: &str, is_kept: bool) {
    let mut exchange = Exchange::begin(set).await;
    exchange.send(GET).await;
    exchange.answer(answer).await;
    assert_eq!(exchange.read().await.unwrap(), yielded, "{answer:?}");
    assert!(exchange.report.is_answer_begun());
    assert_eq!(exchange.comes_back(), is_kept, "{answer:?}");
}

/// The same where the cell closes the connection after what it sent: nothing is put into the pool.
async fn check_closed(answer: &str) {
    let mut exchange = Exchange::begin(none).await;
    exchange.send(GET).await;
    exchange.answer(answer).await;
    exchange.cell.shutdown().await.unwrap();
    let yielded = if answer.contains("\r\n\r\n") {
        answer
    } else {
        ""
    };
    assert_eq!(exchange.read().await.unwrap(), yielded, "{answer:?}");
    let Exchange { stream, pool, .. } = exchange;
    drop(stream);
    assert_eq!(pool.idle(), 0, "{answer:?}");
}

fn none(_: &mut Terms) {}

#[tokio::test]
async fn a_clean_exchange_gives_its_connection_back() {
    let mut exchange = Exchange::begin(none).await;
    exchange.send(GET).await;
    exchange.cell_gets(GET).await;
    exchange.answer(OK).await;
    assert_eq!(exchange.read().await.unwrap(), OK);
    let report = &exchange.report;
    assert!(report.is_request_sent() && report.is_answer_over());
    assert!(!report.is_spoiled() && !report.was_kept());

    let Exchange {
        stream,
        mut cell,
        pool,
        transport,
        ..
    } = exchange;
    let terms = stream.terms.clone();
    drop(stream);
    let connection = pool
        .take(&transport, None, IdleCheck::Probed, Instant::now())
        .expect("it came back");
    assert_eq!(connection.served, 1);
    let mut stream = CellStream::new(connection, terms);
    assert!(stream.terms.report.was_kept());
    stream.write_all(GET.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    cell.write_all(OK.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, OK.as_bytes());
}

#[tokio::test]
async fn an_answer_is_yielded_to_its_end_and_no_further() {
    check(none, OK, OK, true).await;
    let empty = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
    check(none, empty, empty, true).await;
    let unchanged = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    check(none, unchanged, unchanged, true).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    check(|terms| terms.is_head_request = true, head, head, true).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3 \r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    check(none, chunked, chunked, true).await;
}

#[tokio::test]
async fn a_connection_that_is_not_at_a_clean_end_is_not_kept() {
    let closing = OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    check(none, &closing, &closing, false).await;
    let old = OK.replace("1.1", "1.0");
    check(none, &old, &old, false).await;
    let until_close = "HTTP/1.1 200 OK\r\n\r\nwhatever comes";
    check_closed(until_close).await;
    // What follows the answer is nobody's.
    check(none, &[OK, OK].concat(), OK, false).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(none, &[chunked, OK].concat(), chunked, false).await;
    let both = chunked.replace("\r\n\r\n0", "\r\nContent-Length: 5\r\n\r\n0");
    check(none, &both, &both, false).await;
    // Cut short: Pingora sees the early end and says so.
    check_closed(&OK[..OK.len() - 1]).await;
    check_closed("HTTP/1.1 200 OK\r\n").await;
}

#[tokio::test]
async fn what_comes_after_a_long_body_is_left_alone() {
    for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let body = "x".repeat(100_000);
        let answer = if framing.starts_with('C') {
            format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}")
        } else {
            format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n186A0\r\n{body}\r\n0\r\n\r\n")
        };
        check(none, &answer, &answer, true).await;
        check(none, &[&answer, OK].concat(), &answer, false).await;
    }
}

#[tokio::test]
async fn after_an_early_answer_the_rest_of_the_request_is_not_sent() {
    let mut exchange = Exchange::begin(|terms| terms.request_body = BodyFraming::Length(58)).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 58\r\n\r\n";
    exchange.send(head).await;
    exchange.send("0123456789").await;
    exchange.cell_gets(&format!("{head}0123456789")).await;
    exchange.answer(OK).await;
    // What was held back would have been the cell's next request.
    exchange
        .send("GET /next HTTP/1.1\r\nX-Tenant: forged\r\n\r\n........")
        .await;
    assert_eq!(exchange.read().await.unwrap(), OK);
    assert!(exchange.report.is_answer_over() && exchange.report.is_spoiled());
    assert!(!exchange.report.is_request_sent());
    let pool = Arc::clone(&exchange.pool);
    assert_eq!(exchange.rest_at_cell().await, "");
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn a_large_write_sees_an_early_answer_too() {
    let length = 1024 * 1024;
    let mut exchange =
        Exchange::begin(|terms| terms.request_body = BodyFraming::Length(length)).await;
    let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    exchange.send(&head).await;
    exchange.cell_gets(&head).await;
    exchange.answer(OK).await;
    exchange.send(vec![b'x'; 1024 * 1024]).await;
    assert_eq!(exchange.read().await.unwrap(), OK);
    assert_eq!(exchange.rest_at_cell().await, "");
}

#[tokio::test]
async fn after_a_refusal_that_closes_no_more_is_sent_while_its_body_still_comes() {
    let mut exchange = Exchange::begin(|terms| terms.request_body = BodyFraming::Length(58)).await;
    exchange
        .send("POST / HTTP/1.1\r\nContent-Length: 58\r\n\r\n")
        .await;
    exchange
        .cell_gets("POST / HTTP/1.1\r\nContent-Length: 58\r\n\r\n")
        .await;
    let begun =
        "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo ";
    exchange.answer(begun).await;
    exchange.send("x".repeat(58)).await;
    assert!(!exchange.report.is_answer_over() && exchange.report.is_spoiled());
    exchange.answer("much").await;
    assert_eq!(exchange.read().await.unwrap(), format!("{begun}much"));
    assert_eq!(exchange.rest_at_cell().await, "");
}

#[tokio::test]
async fn an_answer_that_goes_on_does_not_stop_the_request() {
    for (status, fields) in [("200 OK", "Connection: close\r\n"), ("400 Bad Request", "")] {
        let mut exchange = Exchange::begin(|terms| {
            terms.request_body = BodyFraming::Chunked;
        })
        .await;
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(head).await;
        exchange.cell_gets(head).await;
        let answer = format!("HTTP/1.1 {status}\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
        exchange.answer(&answer).await;
        let mut read = vec![0; answer.len()];
        exchange.stream.read_exact(&mut read).await.unwrap();
        for round in 0..100 {
            let chunk = format!("3\r\n{round:03}\r\n");
            exchange.send(&chunk).await;
            exchange.cell_gets(&chunk).await;
            exchange.answer(&chunk).await;
            let mut read = vec![0; chunk.len()];
            exchange.stream.read_exact(&mut read).await.unwrap();
            assert_eq!(read, chunk.as_bytes());
        }
        exchange.send("0\r\n\r\n").await;
        exchange.cell_gets("0\r\n\r\n").await;
        exchange.answer("0\r\n\r\n").await;
        assert_eq!(exchange.read().await.unwrap(), "0\r\n\r\n");
        assert_eq!(exchange.comes_back(), fields.is_empty());
    }
}

#[tokio::test]
async fn head_and_body_leave_together_when_the_body_is_here() {
    let mut exchange = Exchange::begin(|terms| {
        terms.request_body = BodyFraming::Length(5);
        terms.coalesce = true;
    })
    .await;
    let head = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
    exchange.send(head).await;
    assert!(!exchange.stream.has_sent, "it waits for the body");
    exchange.send("hello").await;
    assert!(exchange.report.is_request_sent());
    exchange.cell_gets(&format!("{head}hello")).await;
    exchange.answer(OK).await;
    assert_eq!(exchange.read().await.unwrap(), OK);
    assert!(exchange.comes_back());
}

#[tokio::test]
async fn a_body_larger_than_the_buffer_arrives_whole() {
    let body = "0123456789abcdef".repeat(20_000);
    let chunk = format!("{:X}\r\n{body}\r\n", body.len());
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let expected = format!("{head}{chunk}0\r\n\r\n");
    let mut exchange = Exchange::begin(|terms| terms.request_body = BodyFraming::Chunked).await;
    let Exchange { stream, cell, .. } = &mut exchange;
    let mut received = vec![0; expected.len()];
    let (sent, got) = tokio::join!(
        async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&chunk.as_bytes()[..7]).await?;
            stream.write_all(&chunk.as_bytes()[7..]).await?;
            stream.write_all(b"0\r\n\r\n").await?;
            stream.flush().await
        },
        cell.read_exact(&mut received)
    );
    sent.unwrap();
    got.unwrap();
    assert!(received == expected.as_bytes(), "every byte, in order");
    exchange.answer(OK).await;
    assert_eq!(exchange.read().await.unwrap(), OK);
    assert!(exchange.comes_back());
}

#[tokio::test]
async fn nothing_is_sent_beyond_the_request() {
    let mut exchange = Exchange::begin(none).await;
    exchange.send([GET, "GET /next"].concat()).await;
    exchange.send(" HTTP/1.1\r\n\r\n").await;
    exchange.cell_gets(GET).await;
    exchange.answer(OK).await;
    assert_eq!(exchange.read().await.unwrap(), OK);
    let pool = Arc::clone(&exchange.pool);
    assert_eq!(exchange.rest_at_cell().await, "");
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn interim_answers_pass_or_are_cut_out_as_set() {
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let sent = [CONTINUE, HINTS, CONTINUE, OK].concat();
    for (interim, yielded) in [
        (Interim::Forward, sent.clone()),
        (Interim::DropUnaskedContinue, [HINTS, OK].concat()),
        (Interim::DropAll, OK.to_owned()),
    ] {
        check(|terms| terms.interim = interim, &sent, &yielded, true).await;
    }

    let mut exchange = Exchange::begin(|terms| terms.interim = Interim::DropAll).await;
    exchange.send(GET).await;
    exchange.answer(CONTINUE.repeat(65)).await;
    let error = exchange.read().await.unwrap_err();
    assert_eq!(
        refusal_in(&error),
        Some(AnswerRefusal::TooManyInterimAnswers)
    );
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_switch_that_was_asked_for_hands_the_connection_out() {
    let mut exchange =
        Exchange::begin(|terms| terms.offers = Some((*b"x, WebSocket").into())).await;
    exchange.send(GET).await;
    exchange.cell_gets(GET).await;
    exchange.answer([SWITCH, "first frame"].concat()).await;
    assert_eq!(exchange.read().await.unwrap(), SWITCH);
    assert!(exchange.report.is_switched());
    // What Pingora takes for the tunnel's first bytes is not to be sent by it.
    exchange.send("swallowed").await;
    exchange.stream.shutdown().await.unwrap();

    let Exchange {
        stream,
        mut cell,
        pool,
        report,
        ..
    } = exchange;
    assert!(report.take_switched().is_none(), "the stream still has it");
    drop(stream);
    assert_eq!(pool.idle(), 0);
    let Switched { mut socket, ahead } = report.take_switched().expect("it was handed out");
    assert_eq!(&ahead[..], b"first frame");
    socket.write_all(b"from client").await.unwrap();
    let mut bytes = [0; 11];
    cell.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"from client");
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_offered_is_refused() {
    let two = SWITCH.replace("websocket", "websocket, x");
    for (offers, answer) in [("x", SWITCH), ("websocket", &two), ("web", SWITCH)] {
        let mut exchange =
            Exchange::begin(|terms| terms.offers = Some(offers.as_bytes().into())).await;
        exchange.send(GET).await;
        exchange.answer(answer).await;
        let error = exchange.read().await.unwrap_err();
        let refusal = refusal_in(&error);
        assert_eq!(refusal, Some(AnswerRefusal::OtherProtocol), "{offers}");
        let report = Arc::clone(&exchange.report);
        assert!(!exchange.comes_back());
        assert!(report.take_switched().is_none());
    }
}

#[tokio::test]
async fn a_refused_answer_yields_an_error_and_not_a_byte() {
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(257));
    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(65 * 1024));
    let coding = "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n";
    for (sent, code) in [
        (SWITCH, "unasked_switch"),
        (&fields, "too_many_fields"),
        (&large, "head_too_large"),
        (coding, "unknown_transfer_coding"),
        ("SSH-2.0-OpenSSH\r\n", "bad_status_line"),
    ] {
        let mut exchange = Exchange::begin(none).await;
        exchange.send(GET).await;
        exchange.answer(sent).await;
        let error = exchange.read().await.unwrap_err();
        let refusal = refusal_in(&error).expect("it says why");
        assert_eq!(refusal.code(), code);
        assert!(exchange.report.is_spoiled());
        assert!(!exchange.comes_back());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_its_framing_is_yielded_no_further() {
    let good = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let mut exchange = Exchange::begin(none).await;
    exchange.send(GET).await;
    exchange.answer(good).await;
    let mut read = vec![0; good.len()];
    exchange.stream.read_exact(&mut read).await.unwrap();
    // An empty line where a chunk's size has to be.
    exchange.answer("\r\nabc\r\n0\r\n\r\n").await;
    let error = exchange.read().await.unwrap_err();
    let refusal = refusal_in(&error).expect("it says why");
    assert_eq!(refusal.code(), "bad_chunk_size");
    assert!(!exchange.comes_back());
}

#[tokio::test]
async fn a_kept_connection_that_the_cell_closed_or_spoke_on_is_not_given_out() {
    for speaks in [false, true] {
        let mut exchange = Exchange::begin(none).await;
        exchange.send(GET).await;
        exchange.answer(OK).await;
        assert_eq!(exchange.read().await.unwrap(), OK);
        let Exchange {
            stream,
            mut cell,
            pool,
            transport,
            ..
        } = exchange;
        drop(stream);
        pool.sweep(std::time::Instant::now());
        assert_eq!(pool.idle(), 1, "silent so far");
        if speaks {
            cell.write_all(b"HTTP/1.1 408 ").await.unwrap();
        } else {
            cell.shutdown().await.unwrap();
        }
        if speaks {
            assert!(
                pool.take(&transport, None, IdleCheck::Probed, Instant::now())
                    .is_none()
            );
        } else {
            let swept = async {
                while pool.idle() > 0 {
                    tokio::task::yield_now().await;
                    pool.sweep(std::time::Instant::now());
                }
            };
            timeout(PATIENCE, swept).await.expect("the end is heard of");
        }
    }
}

/// A cell that reads no more of the request before its answer is read: Pingora writes or reads, never both at a time.
#[tokio::test]
async fn a_cell_may_say_much_before_it_listens() {
    const ANSWER_BYTES: usize = 2 << 20;
    static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];
    const REQUEST_BYTES: usize = 1 << 20;
    let mut exchange = Exchange::begin(|terms| {
        terms.request_body = BodyFraming::Length(REQUEST_BYTES as u64);
    })
    .await;
    // So that the system does not take what the cell does not.
    let sockets = [exchange.stream.socket().tcp(), &exchange.cell].map(socket2::SockRef::from);
    for socket in sockets {
        socket.set_send_buffer_size(32 << 10).unwrap();
        socket.set_recv_buffer_size(32 << 10).unwrap();
    }
    let head = format!("POST / HTTP/1.1\r\ncontent-length: {REQUEST_BYTES}\r\n\r\n");
    exchange.send(&head).await;
    let Exchange {
        mut stream,
        mut cell,
        ..
    } = exchange;
    let cell_side = tokio::spawn(async move {
        let mut head_seen = vec![0; head.len()];
        cell.read_exact(&mut head_seen).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ANSWER_BYTES}\r\n\r\n");
        cell.write_all(head.as_bytes()).await.unwrap();
        // But for the last byte: then the answer would be over, and the rest of the request unsent.
        cell.write_all(&vec![b'a'; ANSWER_BYTES - 1]).await.unwrap();
        let mut request = vec![0; REQUEST_BYTES];
        cell.read_exact(&mut request).await.unwrap();
        cell.write_all(b"z").await.unwrap();
        assert!(request.iter().all(|byte| *byte == b'x'));
    });
    let (mut sent, mut received) = (0, Vec::new());
    let both = async {
        while sent < REQUEST_BYTES {
            stream.write_all(&PIECE).await.unwrap();
            sent += PIECE.len();
            let mut piece = vec![0; PIECE.len()];
            let count = stream.read(&mut piece).await.unwrap();
            received.extend_from_slice(&piece[..count]);
        }
        stream.flush().await.unwrap();
        stream.read_to_end(&mut received).await.unwrap();
    };
    timeout(PATIENCE, both).await.expect("it goes on");
    cell_side.await.unwrap();
    assert!(received.ends_with(b"aaz"));
}
