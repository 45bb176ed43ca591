//! TLS on a connection to an endpoint of a cell: the handshake, what came of it, and who has to know.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, time::Duration};

use cellgate_table::{CellId, Digest};
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind};
use tokio::{net::TcpStream, time::timeout};
use tracing::warn;

use super::{
    cell_identity::CellIdentity,
    socket::{Step, TlsSocket},
};
use crate::{
    buffer::Buffer,
    metrics::{CellTlsFailure, CellTlsMetrics},
};

/// How one endpoint of a cell is met. Its sessions are resumed on further connections.
#[derive(Debug)]
pub struct CellTls {
    cell: CellId,
    endpoint: SocketAddr,
    identity: Arc<CellIdentity>,
    /// `None` where the files cannot be used.
    config: Option<Arc<ClientConfig>>,
    metrics: CellTlsMetrics,
}

impl CellTls {
    pub fn new(
        cell: CellId,
        endpoint: SocketAddr,
        identity: Arc<CellIdentity>,
        metrics: CellTlsMetrics,
    ) -> Self {
        Self {
            cell,
            endpoint,
            config: identity.config_for_endpoint(),
            identity,
            metrics,
        }
    }

    /// Of everything that a connection is made by. Connections where it differs must not stand in for each other.
    pub fn digest(&self) -> Digest {
        self.identity.digest()
    }

    pub fn is_of(&self, identity: &Arc<CellIdentity>) -> bool {
        Arc::ptr_eq(&self.identity, identity)
    }

    /// Whether a connection is worth the attempt: the error says that the cell's files cannot be used.
    pub fn check_usable(&self) -> io::Result<()> {
        self.config().map(drop)
    }

    /// Does the handshake on a new connection to the endpoint, within the time. A cell that is not whom it has to be is an
    /// error, counted and logged, as is every other reason.
    pub async fn connect(
        &self,
        socket: TcpStream,
        limit: Duration,
    ) -> io::Result<TlsSocket<ClientConnection>> {
        let outcome = match timeout(limit, self.shake_hands(socket)).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
        };
        match &outcome {
            Ok(socket) => {
                let kind = socket.connection().handshake_kind();
                let is_resumed = kind == Some(HandshakeKind::Resumed);
                self.metrics.established(is_resumed);
            }
            Err(error) => self.note(failure_of(error), error),
        }
        outcome
    }

    async fn shake_hands(&self, socket: TcpStream) -> io::Result<TlsSocket<ClientConnection>> {
        let (config, name) = self.config()?;
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut socket = TlsSocket::new(socket, tls, Buffer::new());
        while poll_fn(|cx| socket.poll_handshake(cx)).await? != Step::Done {
            socket.work_on_handshake()?;
        }
        Ok(socket)
    }

    fn config(&self) -> io::Result<(Arc<ClientConfig>, rustls::pki_types::ServerName<'static>)> {
        match (&self.config, self.identity.name()) {
            (Some(config), Some(name)) => Ok((Arc::clone(config), name.clone())),
            _ => {
                let error = io::Error::other("the files of the cell's `tls` cannot be used");
                self.note(CellTlsFailure::Files, &error);
                Err(error)
            }
        }
    }

    /// Whether an error of a connection on which nothing of an answer came says that the cell has refused what was shown
    /// to it. Over TLS 1.3 that comes after the handshake (RFC 8446, section 4.4.2.4); the cell has read nothing of a
    /// request then.
    pub fn is_refusal(&self, error: &io::Error) -> bool {
        let is_refusal = tls_error(error).is_some_and(is_about_certificate);
        if is_refusal {
            self.note(CellTlsFailure::Alert, error);
        }
        is_refusal
    }

    fn note(&self, failure: CellTlsFailure, error: &io::Error) {
        self.metrics.failed(failure);
        warn!(
            cell = self.cell.as_str(), endpoint = %self.endpoint, reason = failure.code(), %error,
            "no TLS connection to an endpoint"
        );
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether it is an error of rustls that means that the other side does not want our certificate, or wants one.
fn is_about_certificate(error: &Error) -> bool {
    let Error::AlertReceived(alert) = error else {
        return false;
    };
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}

fn failure_of(error: &io::Error) -> CellTlsFailure {
    match tls_error(error) {
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            CellTlsFailure::Certificate
        }
        Some(Error::AlertReceived(_)) => CellTlsFailure::Alert,
        Some(_) => CellTlsFailure::Protocol,
        None => match error.kind() {
            io::ErrorKind::TimedOut => CellTlsFailure::Timeout,
            _ => CellTlsFailure::Closed,
        },
    }
}
