//! What can be wrong with a hello.

use std::fmt;

/// Why bytes are not a hello, or not one to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are something else.
    NoHello,
    Malformed,
    TooLarge,
    /// It asks for something that is not the name of a host.
    ServerName,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHello => "the connection does not begin with TLS",
            Self::Malformed => "the first message of TLS is malformed",
            Self::TooLarge => "the first message of TLS is too large",
            Self::ServerName => "the server name asked for in TLS is not a host name",
        })
    }
}

impl std::error::Error for Fault {}
