//! From an accepted socket to a connection whose next bytes are a request: what its listener asks of it before that.

use std::{
    net::{IpAddr, SocketAddr},
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
    proxy_header::{self, Beginning, canonical},
    sources::{SourcePlace, Sources},
};
use crate::{
    config::{Listener, ListenerProtocol, ProxyProtocol, Starttls},
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
    /// It must not begin with a PROXY header, which nobody has looked at yet.
    pub refuses_header: bool,
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
    peer: SocketAddr,
    /// The peer is known by name, and may say whom it speaks for.
    may_vouch: bool,
    is_negotiated: bool,
    refuses_header: bool,
    ahead: Vec<u8>,
    waited: Duration,
    place: Option<SourcePlace>,
    /// Of its PROXY header.
    extensions: Extensions,
}

impl Begun {
    fn of(peer: SocketAddr, place: Option<SourcePlace>) -> Self {
        Self {
            peer,
            may_vouch: true,
            is_negotiated: false,
            refuses_header: false,
            ahead: Vec::new(),
            waited: Duration::ZERO,
            place,
            extensions: Extensions::default(),
        }
    }

    fn opened(self, socket: ClientSocket, listener: Arc<Listener>) -> Box<Opened> {
        let mut connection = Connection::new(self.peer.ip(), listener, Scheme::Http);
        connection.peer_port = self.peer.port();
        connection.may_vouch = self.may_vouch;
        if !self.extensions.is_empty() {
            connection.evidence_mut().extensions = self.extensions;
        }
        Box::new(Opened {
            socket,
            ahead: self.ahead,
            waited: self.waited,
            is_negotiated: self.is_negotiated,
            refuses_header: self.refuses_header,
            connection,
            place: self.place,
        })
    }
}

/// Whether a client may wait for its server to speak first: what it says then is looked at as it is carried.
fn may_be_silent(listener: &Listener) -> bool {
    let is_carried = matches!(listener.protocol, ListenerProtocol::Tcp(_));
    is_carried && listener.tls.is_none() && listener.starttls().is_none()
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

    /// `None` if nothing is to follow: the connection is closed. So it is after an error, which may be answered first. Where
    /// something has to come first, that waits no longer than an idle connection once the process wants to end. The rest is
    /// boxed, so that what waits for requests does not carry a place for it.
    pub async fn open(
        &self,
        accepted: Box<Accepted>,
        shutdown: &ShutdownWatch,
    ) -> Result<Option<Box<Opened>>, Unopened> {
        if !accepted.has_preliminaries() {
            let begun = self.admit(canonical(accepted.peer), &accepted.listener);
            let opened = self.known(begun.map(Some), &accepted.listener, accepted.peer);
            return Ok(opened.map(|begun| {
                let listener = accepted.listener;
                begun.opened(ClientSocket::Plain(accepted.socket), listener)
            }));
        }
        Box::pin(async {
            select! {
                biased;
                opened = self.open_in_steps(accepted) => opened,
                // It has asked for nothing yet.
                () = self.drained(shutdown) => Ok(None),
            }
        })
        .await
    }

    /// The PROXY header, then the request for TLS, then TLS: what there is of them.
    async fn open_in_steps(
        &self,
        accepted: Box<Accepted>,
    ) -> Result<Option<Box<Opened>>, Unopened> {
        let Accepted {
            mut socket,
            peer,
            listener,
            terminator,
        } = *accepted;
        let sender = canonical(peer);
        let begun = match &listener.proxy_protocol {
            None => self.admit(sender, &listener).map(Some),
            Some(rule) => Box::pin(self.begin(&mut socket, sender, &listener, rule)).await,
        };
        let Some(mut begun) = self.known(begun, &listener, peer) else {
            return Ok(None);
        };
        if listener.starttls() == Some(Starttls::PostgreSql) {
            let starting = postgres::start(&mut socket, &mut begun.ahead, self.header_limit);
            match Box::pin(starting).await {
                Ok(None) => return Ok(None),
                Ok(Some(start)) => begun.is_negotiated = start == postgres::Start::Negotiated,
                Err(reason) => {
                    let peer = begun.peer.ip();
                    self.report_closed(reason, &listener, peer, peer);
                    return Ok(None);
                }
            }
        }
        let Some(terminator) = terminator else {
            return Ok(Some(begun.opened(ClientSocket::Plain(socket), listener)));
        };
        let established = match Box::pin(terminator.accept(socket, &begun.ahead)).await {
            Ok(established) => established,
            Err(refused) => {
                let place = begun.place;
                return Err(Unopened { refused, place });
            }
        };
        let names = verified_names(
            established.socket.connection(),
            listener.key_rules.wanted_names(),
        );
        let socket = ClientSocket::Tls(Box::new(established.socket));
        // The handshake has taken what came, and had a limit of its own.
        (begun.ahead, begun.waited) = (Vec::new(), Duration::ZERO);
        let mut opened = begun.opened(socket, listener);
        opened.connection = opened.connection.with_tls(established.facts);
        if let Some(names) = names {
            opened.connection.evidence_mut().names = Some(names);
        }
        Ok(Some(opened))
    }

    /// What is known of a connection, unless it is closed, which is reported.
    fn known(
        &self,
        begun: Result<Option<Begun>, Closing>,
        listener: &Listener,
        sender: SocketAddr,
    ) -> Option<Begun> {
        begun.unwrap_or_else(|Closing { reason, peer }| {
            self.report_closed(reason, listener, peer, sender.ip().to_canonical());
            None
        })
    }

    /// A connection begins with a header and must not.
    pub fn report_header(&self, connection: &Connection) {
        let (reason, peer) = (CloseReason::ProxyHeaderUnexpected, connection.peer);
        self.report_closed(reason, &connection.listener, peer, peer);
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

    /// Ends when an idle connection has to.
    pub async fn drained(&self, shutdown: &ShutdownWatch) {
        let mut shutdown = shutdown.clone();
        // Whoever would say so is gone: that is the end too.
        let _ = shutdown.wait_for(|stop| *stop).await;
        sleep(self.drain_idle).await;
    }

    /// Reads the header, or that no header comes. `None` for a connection without a byte.
    async fn begin(
        &self,
        socket: &mut TcpStream,
        sender: SocketAddr,
        listener: &Listener,
        rule: &ProxyProtocol,
    ) -> Result<Option<Begun>, Closing> {
        let closing = |reason| Closing {
            reason,
            peer: sender.ip(),
        };
        if rule.from.contain(sender.ip()) {
            return self.begin_behind(socket, sender, listener).await;
        }
        if rule.required {
            return Err(closing(CloseReason::ProxyRequired));
        }
        // First of all: while it is silent, it counts like any other.
        let mut begun = self.admit(sender, listener)?;
        if may_be_silent(listener) {
            begun.refuses_header = true;
            return Ok(Some(begun));
        }
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
        balancer: SocketAddr,
        listener: &Listener,
    ) -> Result<Option<Begun>, Closing> {
        let closing = |reason| Closing {
            reason,
            peer: balancer.ip(),
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
                let place = self.take_place(balancer.ip()).map_err(closing)?;
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
    fn admit(&self, address: SocketAddr, listener: &Listener) -> Result<Begun, Closing> {
        let peer = address.ip();
        let closing = |reason| Closing { reason, peer };
        if (listener.allow.as_ref()).is_some_and(|allow| !allow.contain(peer)) {
            return Err(closing(CloseReason::NotAllowed));
        }
        let place = if self.trusted_proxies.contain(peer) {
            None
        } else {
            self.take_place(peer).map_err(closing)?
        };
        Ok(Begun::of(address, place))
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
