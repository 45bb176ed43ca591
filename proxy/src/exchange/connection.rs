//! What is known of a client's connection.

use std::{net::IpAddr, sync::Arc};

/// Made once when a client's connection is accepted, and shared by all of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whoever connected to the proxy, in canonical form: a client, or a load balancer in front.
    pub peer: IpAddr,
    /// The name of the listener that took the connection.
    pub listener: Arc<str>,
    pub scheme: Scheme,
}

/// What a client's URL begins with, as far as the listener knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}
