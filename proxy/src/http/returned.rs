//! A client's connection as it comes back from Pingora.

use super::client::ClientStream;

/// The connection after a request.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) client: ClientStream,
    pub(super) end: End,
}

/// Where a client's connection stands when its request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The next bytes on it are the next request's head.
    RequestComplete,
    /// It was answered, and the client may be sending still.
    StillSending,
    /// The cell agreed to another protocol.
    Switched,
    /// Nothing can follow.
    Cut,
}
