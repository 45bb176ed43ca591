//! What can be wrong with a packet.

use std::fmt;

/// Why bytes are no packet, or none to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They begin like something else.
    NoPacket,
    Malformed,
    TooLarge,
    /// Another version of the protocol than 3, or a request that is not known.
    Version,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPacket => "the connection does not begin like one of PostgreSQL",
            Self::Malformed => "the first packet of PostgreSQL is malformed",
            Self::TooLarge => "the first packet of PostgreSQL is too large",
            Self::Version => "the version of PostgreSQL's protocol is not 3",
        })
    }
}

impl std::error::Error for Fault {}
