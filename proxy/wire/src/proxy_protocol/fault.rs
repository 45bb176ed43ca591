//! What can be wrong with a header.

use std::fmt;

/// Why bytes are not a header, or not one to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They begin like something else.
    NoHeader,
    Malformed,
    TooLarge,
    /// The checksum says that it was damaged on its way.
    Checksum,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "the connection does not begin with a PROXY header",
            Self::Malformed => "the PROXY header is malformed",
            Self::TooLarge => "the PROXY header is too large",
            Self::Checksum => "the PROXY header does not match its checksum",
        })
    }
}

impl std::error::Error for Fault {}
