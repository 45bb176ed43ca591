//! What one check asks of an endpoint, and what counts as a good answer.
//!
//! Each check has a connection of its own: a kept one can hide that nobody accepts new ones.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use cellgate_process::descriptors::{is_caused_by_exhaustion, is_exhaustion};
use cellgate_table::{HEALTH_USER_AGENT, Probe as Question};
use pingora::{
    Error, ErrorType, Result,
    http::RequestHeader,
    protocols::{
        http::v1::client::HttpSession,
        l4::{stream::Stream, virt::VirtualSocketStream},
    },
};

use crate::{
    tls::{CellSocket, CellTls},
    upstream::connect_to_cell,
};

/// Interim answers before the final one; as many as a request's answer may have.
const INTERIM_ANSWERS_MAX: usize = 64;

/// A check, ready to be made again and again.
pub(super) struct Probe {
    address: SocketAddr,
    tls: Option<Arc<CellTls>>,
    time_limit: Duration,
    /// Without one it is enough that the connection is accepted.
    request: Option<RequestHeader>,
}

/// Why a check did not pass.
#[derive(Debug)]
pub(super) enum Failed {
    /// Something ran out here, so nothing was found out about the endpoint.
    OutOfResources(io::Error),
    /// The endpoint is not healthy, and why.
    Unhealthy(String),
}

impl Probe {
    pub(super) fn new(
        question: &Question,
        address: SocketAddr,
        tls: Option<Arc<CellTls>>,
        time_limit: Duration,
    ) -> Result<Self> {
        let request = match question {
            Question::Tcp => None,
            Question::Http { path, host } => {
                let host = host
                    .as_ref()
                    .map_or_else(|| address.to_string(), ToString::to_string);
                Some(request(path, host)?)
            }
        };
        Ok(Self {
            address,
            tls,
            time_limit,
            request,
        })
    }

    /// Takes no longer than the time limit.
    pub(super) async fn check(&self) -> Result<(), Failed> {
        let checked = tokio::time::timeout(self.time_limit, self.check_in_time()).await;
        checked.unwrap_or_else(|_| Err(Failed::Unhealthy("no answer in time".to_owned())))
    }

    async fn check_in_time(&self) -> Result<(), Failed> {
        let connected = connect_to_cell(self.address, self.tls.as_ref(), self.time_limit).await;
        let socket = match connected {
            Ok(connection) => connection.socket,
            Err(error) if is_exhaustion(&error) => return Err(Failed::OutOfResources(error)),
            Err(error) => return Err(Failed::Unhealthy(format!("no connection: {error}"))),
        };
        match &self.request {
            None => Ok(()),
            Some(request) => ask(socket, request).await.map_err(|error| {
                if is_caused_by_exhaustion(error.root_cause()) {
                    return Failed::OutOfResources(io::Error::other(error));
                }
                Failed::Unhealthy(error.to_string().trim().to_owned())
            }),
        }
    }
}

fn request(path: &str, host: String) -> Result<RequestHeader> {
    let mut request = RequestHeader::build("GET", b"/", Some(2))?;
    request.set_raw_path(path.as_bytes())?;
    request.append_header("Host", host)?;
    request.append_header("User-Agent", HEALTH_USER_AGENT)?;
    Ok(request)
}

async fn ask(socket: CellSocket, request: &RequestHeader) -> Result<()> {
    let stream = match socket {
        CellSocket::Plain(socket) => Stream::from(socket),
        over_tls @ CellSocket::Tls(_) => Stream::from(VirtualSocketStream::new(Box::new(over_tls))),
    };
    let mut session = HttpSession::new(Box::new(stream));
    session
        .write_request_header(Box::new(request.clone()))
        .await?;
    for _ in 0..=INTERIM_ANSWERS_MAX {
        let answer = session.read_resp_header_parts().await?;
        // Such as 103: the final answer is still to come. After a 101 no other answer comes.
        if answer.status.is_informational() && answer.status != 101 {
            continue;
        }
        if !answer.status.is_success() {
            return Error::e_explain(
                ErrorType::HTTPStatus(answer.status.as_u16()),
                "health check answered",
            );
        }
        while session.read_body_ref().await?.is_some() {}
        return Ok(());
    }
    Error::e_explain(
        ErrorType::InvalidHTTPHeader,
        format!("more than {INTERIM_ANSWERS_MAX} interim answers to a health check"),
    )
}
