//! What one check asks of an endpoint, and what counts as a good answer.

use std::{net::SocketAddr, time::Duration};

use cellgate_table::{HEALTH_USER_AGENT, Probe as Question};
use pingora::{
    Error, ErrorType, Result, connectors::http::Connector, http::RequestHeader,
    upstreams::peer::HttpPeer,
};
use pingora_load_balancing::{
    Backend,
    health_check::{HealthCheck as _, TcpHealthCheck},
};

/// Interim answers before the final one; as many as a request's answer may have.
const INTERIM_ANSWERS_MAX: usize = 64;

/// A check, ready to be made again and again.
pub(super) enum Probe {
    /// The connection is taken.
    Tcp(Box<TcpHealthCheck>, Backend),
    Http(Box<HttpProbe>),
}

/// Asks for a path over a connection of its own: a kept one can hide that nobody accepts new ones.
pub(super) struct HttpProbe {
    peer: HttpPeer,
    request: RequestHeader,
    connector: Connector,
}

impl Probe {
    pub(super) fn new(
        question: &Question,
        address: SocketAddr,
        time_limit: Duration,
    ) -> Result<Self> {
        match question {
            Question::Tcp => {
                let mut check = TcpHealthCheck::default();
                check.peer_template.options.connection_timeout = Some(time_limit);
                let backend = Backend::new(&address.to_string())?;
                Ok(Self::Tcp(Box::new(check), backend))
            }
            Question::Http { path, host } => {
                let host = host
                    .as_ref()
                    .map_or_else(|| address.to_string(), ToString::to_string);
                let probe = HttpProbe::new(path, host, address, time_limit)?;
                Ok(Self::Http(Box::new(probe)))
            }
        }
    }

    /// # Errors
    /// The endpoint is not healthy, and why.
    pub(super) async fn check(&self) -> Result<()> {
        match self {
            Self::Tcp(check, backend) => check.check(backend).await,
            Self::Http(probe) => probe.check().await,
        }
    }
}

impl HttpProbe {
    fn new(path: &str, host: String, address: SocketAddr, time_limit: Duration) -> Result<Self> {
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.connection_timeout = Some(time_limit);
        peer.options.read_timeout = Some(time_limit);
        let mut request = RequestHeader::build("GET", b"/", Some(2))?;
        request.set_raw_path(path.as_bytes())?;
        request.append_header("Host", host)?;
        request.append_header("User-Agent", HEALTH_USER_AGENT)?;
        Ok(Self {
            peer,
            request,
            connector: Connector::new(None),
        })
    }

    async fn check(&self) -> Result<()> {
        let (mut session, _) = self.connector.get_http_session(&self.peer).await?;
        session
            .write_request_header(Box::new(self.request.clone()))
            .await?;
        session.finish_request_body().await?;
        session.set_read_timeout(self.peer.options.read_timeout);
        for _ in 0..=INTERIM_ANSWERS_MAX {
            session.read_response_header().await?;
            let answer = session.response_header().expect("it was just read");
            // Such as 103: the final answer is still to come. After a 101 there is none.
            if answer.status.is_informational() && answer.status != 101 {
                continue;
            }
            if !answer.status.is_success() {
                return Error::e_explain(
                    ErrorType::HTTPStatus(answer.status.as_u16()),
                    "health check answered",
                );
            }
            while session.read_response_body().await?.is_some() {}
            return Ok(());
        }
        Error::e_explain(
            ErrorType::InvalidHTTPHeader,
            format!("more than {INTERIM_ANSWERS_MAX} interim answers to a health check"),
        )
    }
}
