//! From an accepted socket to a connection whose next bytes are a request: what its listener asks of it before that.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use tokio::net::TcpStream;
use tracing::warn;

use super::{
    accept::Accepted,
    client_socket::ClientSocket,
    close_reason::CloseReason,
    proxy_header::{self, Beginning},
    sources::{SourcePlace, Sources},
};
use crate::{
    config::Listener,
    exchange::{Connection, Scheme},
    metrics::Metrics,
    net::Networks,
};

/// Opens connections.
#[derive(Debug)]
pub struct Opener {
    metrics: Arc<Metrics>,
    /// How long a PROXY header may take.
    header_limit: Duration,
    sources: Option<Arc<Sources>>,
    /// They bring the connections of many sources.
    trusted_proxies: Networks,
}

/// A connection whose next bytes are a request.
#[derive(Debug)]
pub struct Opened {
    pub socket: ClientSocket,
    /// Read from it already, and to be taken first.
    pub ahead: Vec<u8>,
    pub connection: Connection,
    /// Held as long as the connection.
    pub place: Option<SourcePlace>,
}

/// Whose connection it is.
struct Begun {
    peer: IpAddr,
    /// The peer is known by name, and may say whom it speaks for.
    may_vouch: bool,
    ahead: Vec<u8>,
    place: Option<SourcePlace>,
}

impl Opener {
    pub fn new(
        metrics: Arc<Metrics>,
        header_limit: Duration,
        connections_per_source_max: Option<NonZeroU32>,
        trusted_proxies: Networks,
    ) -> Self {
        Self {
            metrics,
            header_limit,
            sources: connections_per_source_max.map(|max| Arc::new(Sources::new(max))),
            trusted_proxies,
        }
    }

    /// `None` if nothing is to follow: the connection is closed.
    pub async fn open(&self, accepted: Accepted) -> Option<Opened> {
        let Accepted {
            mut socket,
            peer,
            listener,
        } = accepted;
        match self.begin(&mut socket, peer.ip(), &listener).await {
            Ok(begun) => {
                let Begun {
                    peer,
                    may_vouch,
                    ahead,
                    place,
                } = begun?;
                let mut connection = Connection::new(peer, listener, Scheme::Http);
                connection.may_vouch = may_vouch;
                Some(Opened {
                    socket: ClientSocket::Plain(socket),
                    ahead,
                    connection,
                    place,
                })
            }
            Err(reason) => {
                self.metrics.connection_closed(reason);
                let (listener, code) = (&*listener.name, reason.code());
                warn!(listener, peer = %peer.ip().to_canonical(), reason = code, "connection closed: {reason}");
                None
            }
        }
    }

    /// `None` for a connection without a byte.
    async fn begin(
        &self,
        socket: &mut TcpStream,
        peer: IpAddr,
        listener: &Listener,
    ) -> Result<Option<Begun>, CloseReason> {
        let peer = peer.to_canonical();
        let mut begun = Begun {
            peer,
            may_vouch: true,
            ahead: Vec::new(),
            place: None,
        };
        if let Some(rule) = &listener.proxy_protocol {
            let reading = proxy_header::read(socket, peer, rule, self.header_limit);
            match Box::pin(reading).await? {
                Beginning::Of { peer, ahead } => {
                    begun.peer = peer;
                    begun.ahead = ahead;
                }
                // The header has the last word on whom it is for: what fields say could be a client's.
                Beginning::Nameless => begun.may_vouch = false,
                Beginning::Own => {
                    begun.may_vouch = false;
                    // Whoever may bring others may ask for itself.
                    return Ok(Some(begun));
                }
                Beginning::Nothing => return Ok(None),
            }
        }
        if (listener.allow.as_ref()).is_some_and(|allow| !allow.contain(begun.peer)) {
            return Err(CloseReason::NotAllowed);
        }
        begun.place = self.place(begun.peer)?;
        Ok(Some(begun))
    }

    /// The peer's place among those of its source, if they are limited.
    fn place(&self, peer: IpAddr) -> Result<Option<SourcePlace>, CloseReason> {
        match &self.sources {
            Some(sources) if !self.trusted_proxies.contain(peer) => {
                let place = sources.take(peer);
                place.map(Some).ok_or(CloseReason::SourceConnections)
            }
            _ => Ok(None),
        }
    }
}
