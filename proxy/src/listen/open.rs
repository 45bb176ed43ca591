//! From an accepted socket to a connection whose next bytes are a request: what its listener asks of it before that.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use pingora::server::ShutdownWatch;
use tokio::{net::TcpStream, select, time::sleep};
use tracing::{field::display, warn};

use super::{
    accept::Accepted,
    close_reason::CloseReason,
    postgres,
    proxy_header::{self, Beginning},
    sources::{SourcePlace, Sources},
};
use crate::{
    config::{Listener, Starttls},
    exchange::{Connection, Scheme},
    metrics::Metrics,
    net::Networks,
    tenant_key::Extensions,
    tls::{ClientSocket, Refused, verified_names},
};

/// Opens connections.
#[derive(Debug)]
pub struct Opener {
    metrics: Arc<Metrics>,
    /// How long a PROXY header may take.
    header_limit: Duration,
    /// How long it may still take once the process wants to end.
    drain_idle: Duration,
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
    /// For the bytes that are ahead: what has passed of the time of its first head.
    pub waited: Duration,
    /// The client has asked for TLS in the protocol that the listener's `starttls` names.
    pub is_negotiated: bool,
    pub connection: Connection,
    /// Held as long as the connection.
    pub place: Option<SourcePlace>,
}

/// A connection without the TLS that it has to have.
#[derive(Debug)]
pub struct Unopened {
    pub refused: Refused,
    /// Held as long as the client is answered.
    pub place: Option<SourcePlace>,
}

/// Whose connection it is.
struct Begun {
    peer: IpAddr,
    /// The peer is known by name, and may say whom it speaks for.
    may_vouch: bool,
    is_negotiated: bool,
    ahead: Vec<u8>,
    waited: Duration,
    place: Option<SourcePlace>,
    /// Of its PROXY header.
    extensions: Extensions,
}

impl Begun {
    fn of(peer: IpAddr, place: Option<SourcePlace>) -> Self {
        Self {
            peer,
            may_vouch: true,
            is_negotiated: false,
            ahead: Vec::new(),
            waited: Duration::ZERO,
            place,
            extensions: Extensions::default(),
        }
    }
}

/// Why a connection is closed, and whose it is as far as is known by then.
struct Closing {
    reason: CloseReason,
    peer: IpAddr,
}

impl Opener {
    pub fn new(
        metrics: Arc<Metrics>,
        header_limit: Duration,
        drain_idle: Duration,
        connections_per_source_max: Option<NonZeroU32>,
        trusted_proxies: Networks,
    ) -> Self {
        Self {
            metrics,
            header_limit,
            drain_idle,
            sources: connections_per_source_max.map(|max| Arc::new(Sources::new(max))),
            trusted_proxies,
        }
    }

    /// `None` if nothing is to follow: the connection is closed. So it is after an error, which may be answered first. The
    /// rest is boxed, so that what waits for requests does not carry a place for it.
    pub async fn open(
        &self,
        accepted: Box<Accepted>,
        shutdown: &ShutdownWatch,
    ) -> Result<Option<Box<Opened>>, Unopened> {
        let Accepted {
            mut socket,
            peer,
            listener,
            terminator,
        } = *accepted;
        let sender = peer.ip().to_canonical();
        match self.begin(&mut socket, sender, &listener, shutdown).await {
            Ok(begun) => {
                let begun = match (begun, listener.starttls()) {
                    (Some(begun), Some(Starttls::PostgreSql)) => {
                        Box::pin(self.start_postgres(&mut socket, begun, &listener)).await
                    }
                    (begun, _) => begun,
                };
                let Some(begun) = begun else {
                    return Ok(None);
                };
                let Begun {
                    peer,
                    may_vouch,
                    is_negotiated,
                    ahead,
                    waited,
                    place,
                    extensions,
                } = begun;
                let mut connection = Connection::new(peer, listener, Scheme::Http);
                connection.may_vouch = may_vouch;
                if !extensions.is_empty() {
                    connection.evidence_mut().extensions = extensions;
                }
                let Some(terminator) = terminator else {
                    return Ok(Some(Box::new(Opened {
                        socket: ClientSocket::Plain(socket),
                        ahead,
                        waited,
                        is_negotiated,
                        connection,
                        place,
                    })));
                };
                // Not a part of the future, which every connection carries.
                let established = match Box::pin(terminator.accept(socket, &ahead)).await {
                    Ok(established) => established,
                    Err(refused) => return Err(Unopened { refused, place }),
                };
                let mut connection = connection.with_tls(established.facts);
                let wanted = connection.listener.key_rules.wanted_names();
                let tls = established.socket.connection();
                if let Some(names) = verified_names(tls, wanted) {
                    connection.evidence_mut().names = Some(names);
                }
                Ok(Some(Box::new(Opened {
                    socket: ClientSocket::Tls(Box::new(established.socket)),
                    ahead: Vec::new(),
                    // The handshake had a limit of its own.
                    waited: Duration::ZERO,
                    is_negotiated,
                    connection,
                    place,
                })))
            }
            Err(Closing { reason, peer }) => {
                self.report_closed(reason, &listener, peer, sender);
                Ok(None)
            }
        }
    }

    fn report_closed(
        &self,
        reason: CloseReason,
        listener: &Listener,
        peer: IpAddr,
        sender: IpAddr,
    ) {
        self.metrics.connection_closed(reason);
        let (listener, code) = (&*listener.name, reason.code());
        let balancer = (sender != peer).then(|| display(sender));
        warn!(listener, %peer, balancer, reason = code, "connection closed: {reason}");
    }

    /// Has the client ask for TLS. `None` if it is closed.
    async fn start_postgres(
        &self,
        socket: &mut TcpStream,
        mut begun: Begun,
        listener: &Listener,
    ) -> Option<Begun> {
        match postgres::start(socket, &mut begun.ahead, self.header_limit).await {
            Ok(start) => {
                begun.is_negotiated = start? == postgres::Start::Negotiated;
                Some(begun)
            }
            Err(reason) => {
                self.report_closed(reason, listener, begun.peer, begun.peer);
                None
            }
        }
    }

    /// `None` for a connection without a byte.
    async fn begin(
        &self,
        socket: &mut TcpStream,
        sender: IpAddr,
        listener: &Listener,
        shutdown: &ShutdownWatch,
    ) -> Result<Option<Begun>, Closing> {
        if listener.proxy_protocol.is_none() {
            return self.admit(sender, listener).map(Some);
        }
        Box::pin(async {
            select! {
                biased;
                begun = self.wait_for_header(socket, sender, listener) => begun,
                // It has asked for nothing yet.
                () = self.drained(shutdown) => Ok(None),
            }
        })
        .await
    }

    /// Ends when an idle connection has to.
    async fn drained(&self, shutdown: &ShutdownWatch) {
        let mut shutdown = shutdown.clone();
        // Whoever would say so is gone: that is the end too.
        let _ = shutdown.wait_for(|stop| *stop).await;
        sleep(self.drain_idle).await;
    }

    /// Reads the header, or that no header comes.
    async fn wait_for_header(
        &self,
        socket: &mut TcpStream,
        sender: IpAddr,
        listener: &Listener,
    ) -> Result<Option<Begun>, Closing> {
        let closing = |reason| Closing {
            reason,
            peer: sender,
        };
        let Some(rule) = &listener.proxy_protocol else {
            return self.admit(sender, listener).map(Some);
        };
        if rule.from.contain(sender) {
            return self.begin_behind(socket, sender, listener).await;
        }
        if rule.required {
            return Err(closing(CloseReason::ProxyRequired));
        }
        // First of all: while it is silent, it counts like any other.
        let mut begun = self.admit(sender, listener)?;
        let since = Instant::now();
        let reading = proxy_header::read_none(socket, self.header_limit);
        let Some(ahead) = reading.await.map_err(closing)? else {
            return Ok(None);
        };
        begun.ahead = ahead;
        begun.waited = since.elapsed();
        Ok(Some(begun))
    }

    /// The same behind a load balancer that begins with a header.
    async fn begin_behind(
        &self,
        socket: &mut TcpStream,
        balancer: IpAddr,
        listener: &Listener,
    ) -> Result<Option<Begun>, Closing> {
        let closing = |reason| Closing {
            reason,
            peer: balancer,
        };
        let wanted = listener.key_rules.wanted_extensions();
        let read = proxy_header::read(socket, self.header_limit, wanted).await;
        let begun = match read.map_err(closing)? {
            Beginning::Of(peer, extensions) => {
                let begun = self.admit(peer, listener)?;
                return Ok(Some(Begun {
                    extensions,
                    ..begun
                }));
            }
            Beginning::Nothing => return Ok(None),
            // Whoever may bring others may ask for itself.
            Beginning::Own => Begun::of(balancer, None),
            Beginning::Nameless(extensions) => {
                // It is somebody's, whoever the balancer may vouch for.
                let place = self.take_place(balancer).map_err(closing)?;
                if listener.allow.is_some() {
                    // Nobody can say that it is allowed. Without a request it is a check, and closed like one.
                    let is_request = proxy_header::is_followed(socket, self.header_limit).await;
                    return if is_request {
                        Err(closing(CloseReason::NotAllowed))
                    } else {
                        Ok(None)
                    };
                }
                Begun {
                    extensions,
                    ..Begun::of(balancer, place)
                }
            }
        };
        // The header has the last word on whom it is for: what fields say could be a client's.
        Ok(Some(Begun {
            may_vouch: false,
            ..begun
        }))
    }

    /// Lets a peer in that is known by name.
    fn admit(&self, peer: IpAddr, listener: &Listener) -> Result<Begun, Closing> {
        let closing = |reason| Closing { reason, peer };
        if (listener.allow.as_ref()).is_some_and(|allow| !allow.contain(peer)) {
            return Err(closing(CloseReason::NotAllowed));
        }
        let place = if self.trusted_proxies.contain(peer) {
            None
        } else {
            self.take_place(peer).map_err(closing)?
        };
        Ok(Begun::of(peer, place))
    }

    /// A place among those of its source, if they are limited.
    fn take_place(&self, peer: IpAddr) -> Result<Option<SourcePlace>, CloseReason> {
        let Some(sources) = &self.sources else {
            return Ok(None);
        };
        let place = sources.take(peer);
        place.map(Some).ok_or(CloseReason::SourceConnections)
    }
}
