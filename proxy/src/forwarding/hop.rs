//! The hop that ends at this proxy.

use std::net::IpAddr;

use http::HeaderValue;

/// The last part of a request's way: from whoever connected to this proxy.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'r> {
    pub peer: IpAddr,
    /// The scheme that the peer used, in lower case.
    pub proto: &'static str,
    /// What the request is for, as the gate let it through.
    pub host: Option<&'r HeaderValue>,
}
