//! Why a connection is closed before its first request.

use std::fmt;

use crate::wire::{postgres, proxy_protocol::Fault};

/// Each has a stable code, in the log and as a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    NotAllowed,
    SourceConnections,
    /// The peer is no load balancer that may connect.
    ProxyRequired,
    /// Of a peer that may not send one.
    ProxyHeaderUnexpected,
    ProxyHeaderLate,
    ProxyHeader(Fault),
    /// Something came behind a request for encryption, before its answer: it could be anybody's, and would be taken for the
    /// client's.
    PostgresAhead,
    /// A session without TLS.
    PostgresPlaintext,
    /// It names no server.
    PostgresCancel,
    PostgresLate,
    Postgres(postgres::Fault),
}

impl CloseReason {
    pub const ALL: [Self; 14] = [
        Self::NotAllowed,
        Self::SourceConnections,
        Self::ProxyRequired,
        Self::ProxyHeaderUnexpected,
        Self::ProxyHeaderLate,
        Self::ProxyHeader(Fault::NoHeader),
        Self::ProxyHeader(Fault::Malformed),
        Self::ProxyHeader(Fault::TooLarge),
        Self::ProxyHeader(Fault::Checksum),
        Self::PostgresAhead,
        Self::PostgresPlaintext,
        Self::PostgresCancel,
        Self::PostgresLate,
        Self::Postgres(postgres::Fault::NoPacket),
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::SourceConnections => "source_connections",
            Self::ProxyRequired => "proxy_required",
            Self::ProxyHeaderUnexpected => "proxy_header_unexpected",
            Self::ProxyHeaderLate => "proxy_header_late",
            Self::ProxyHeader(Fault::NoHeader) => "proxy_header_missing",
            Self::ProxyHeader(Fault::Malformed) => "proxy_header_malformed",
            Self::ProxyHeader(Fault::TooLarge) => "proxy_header_too_large",
            Self::ProxyHeader(Fault::Checksum) => "proxy_header_checksum",
            Self::PostgresAhead => "postgres_ahead",
            Self::PostgresPlaintext => "postgres_plaintext",
            Self::PostgresCancel => "postgres_cancel",
            Self::PostgresLate => "postgres_late",
            Self::Postgres(_) => "postgres_malformed",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAllowed => "the peer is not in `allow` of the listener",
            Self::SourceConnections => {
                "the peer has `limits.connections_per_source_max` connections open"
            }
            Self::ProxyRequired => {
                "the peer is not in `proxy_protocol.from` of the listener, which is `required`"
            }
            Self::ProxyHeaderUnexpected => {
                "the peer sends a PROXY header and is not in `proxy_protocol.from` of the listener"
            }
            Self::ProxyHeaderLate => "the PROXY header did not come in time",
            Self::ProxyHeader(fault) => return fault.fmt(f),
            Self::PostgresAhead => {
                "the client did not wait for the answer to its request for encryption"
            }
            Self::PostgresPlaintext => "the client begins a session of PostgreSQL without TLS",
            Self::PostgresCancel => "a request to cancel without TLS names no server",
            Self::PostgresLate => "no TLS was begun in time",
            Self::Postgres(fault) => return fault.fmt(f),
        })
    }
}

impl From<Fault> for CloseReason {
    fn from(fault: Fault) -> Self {
        Self::ProxyHeader(fault)
    }
}
