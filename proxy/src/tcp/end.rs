//! How a connection of a TCP listener ends.

use super::hello::NoHello;
use crate::{answer::Reason, listen::CloseReason};

/// Each has a stable code, in the access log and as a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides have said all that they had to.
    Finished,
    /// The client's side broke, such as by a reset.
    ClientBroke,
    CellBroke,
    /// No byte in either direction.
    Idle,
    /// The cell sent nothing.
    FirstByteLate,
    /// The process had to end.
    Shutdown,
    /// It was not carried at all.
    Refused(Reason),
    /// Nothing came, or no TLS from which the tenant could be known.
    NoHello(NoHello),
    /// The cell would not have TLS.
    CellWithoutTls,
    /// The cell does not want the certificate that is shown to it, or wants one. Over TLS 1.3 it says so when the handshake
    /// is over, and has read nothing then.
    CellRefusedCertificate,
    /// The client begins with a PROXY header and must not.
    ProxyHeader,
}

impl End {
    pub fn code(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ClientBroke => "client_broke",
            Self::CellBroke => "cell_broke",
            Self::Idle => "idle_timeout",
            Self::FirstByteLate => "first_byte_timeout",
            Self::Shutdown => "shutdown",
            Self::Refused(reason) => reason.code(),
            Self::NoHello(reason) => reason.code(),
            Self::CellWithoutTls => "cell_without_tls",
            Self::CellRefusedCertificate => "cell_refused_certificate",
            Self::ProxyHeader => CloseReason::ProxyHeaderUnexpected.code(),
        }
    }
}
