use cellgate_table::CellId;
use pingora::{
    connectors::http::v1::Connector as PingoraConnector, http::RequestHeader,
    upstreams::peer::HttpPeer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    gate::BodyFraming,
    upstream::{AnswerRefusal, Interim, Pool, PoolLimits, Report, Transport},
};

#[test]
fn what_ran_out_here_is_not_the_endpoints_fault() {
    for (code, expected) in [
        (libc::ECONNREFUSED, ErrorType::ConnectRefused),
        (libc::ETIMEDOUT, ErrorType::ConnectTimedout),
        (libc::EHOSTUNREACH, ErrorType::ConnectNoRoute),
        (libc::ENETUNREACH, ErrorType::ConnectNoRoute),
        (libc::ECONNRESET, ErrorType::ConnectError),
        (libc::EMFILE, ErrorType::InternalError),
        (libc::ENFILE, ErrorType::InternalError),
        (libc::EADDRNOTAVAIL, ErrorType::InternalError),
        (libc::ENOMEM, ErrorType::InternalError),
    ] {
        let error = io::Error::from_raw_os_error(code);
        assert_eq!(error_type(&error), expected, "{code}");
    }
}

fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(PoolLimits {
        idle_total_max: 10,
        idle_per_cell_max: 10,
        idle: Duration::from_secs(60),
        requests_per_connection_max: 0,
    }))
}

/// What Pingora needs for one GET to the address, and what is reported of it.
fn peer(address: SocketAddr, pool: &Arc<Pool>) -> (HttpPeer, Arc<Report>) {
    let report = Arc::new(Report::default());
    let back = Return {
        pool: Arc::clone(pool),
        transport: Arc::new(Transport::new(CellId::new("a").unwrap(), address, None)),
        tenant: None,
    };
    let connector = Connector {
        address,
        tls: None,
        connect_timeout: Duration::from_secs(5),
        may_reuse: true,
        check: IdleCheck::Notified,
        terms: Terms {
            is_head_request: false,
            request_body: BodyFraming::None,
            coalesce: false,
            offers: None,
            interim: Interim::Forward,
            stall_limit: std::time::Duration::from_secs(60),
            back: Some(back),
            report: Arc::clone(&report),
        },
    };
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.custom_l4 = Some(Arc::new(connector));
    (peer, report)
}

/// One GET with Pingora's client: the answer's status and body.
async fn get(pingora: &PingoraConnector, peer: &HttpPeer) -> Result<(u16, Vec<u8>)> {
    let (mut session, is_kept_by_pingora) = pingora.get_http_session(peer).await?;
    assert!(!is_kept_by_pingora);
    let request = RequestHeader::build("GET", b"/", None)?;
    session.write_request_header(Box::new(request)).await?;
    session.read_response().await?;
    let status = session.get_status().unwrap().as_u16();
    let mut body = Vec::new();
    while let Some(bytes) = session.read_body_bytes().await? {
        body.extend_from_slice(&bytes);
    }
    pingora.release_http_session(session, peer, None).await;
    Ok((status, body))
}

#[tokio::test]
async fn pingora_speaks_over_it_and_its_own_pool_stays_empty() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pool = pool();
    let large = "x".repeat(100_000);
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        &format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{large}"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    ]
    .map(str::to_owned);
    // One connection for all of them: the cell accepts no other.
    let cell = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        for answer in answers {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });

    let pingora = PingoraConnector::new(None);
    let expected = [(200, "ok"), (200, &large), (200, "ok"), (204, "")];
    for (round, (status, body)) in expected.into_iter().enumerate() {
        let (peer, report) = peer(address, &pool);
        let outcome = get(&pingora, &peer).await.unwrap();
        assert!(outcome == (status, body.as_bytes().to_vec()), "{round}");
        assert_eq!(report.was_kept(), round > 0, "{round}");
        assert_eq!(pool.idle(), 1, "{round}");
    }

    let (peer, report) = peer(address, &pool);
    let error = get(&pingora, &peer).await.unwrap_err();
    let cause = error.root_cause().downcast_ref::<io::Error>().unwrap();
    let refusal = cause.get_ref().unwrap().downcast_ref();
    assert_eq!(refusal, Some(&AnswerRefusal::UnknownTransferCoding));
    assert!(report.was_kept() && report.is_spoiled());
    assert_eq!(pool.idle(), 0);
    cell.await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_an_error_of_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (peer, _) = peer(address, &pool());
    let error = get(&PingoraConnector::new(None), &peer).await.unwrap_err();
    assert_eq!(error.etype(), &ErrorType::ConnectRefused);
}
