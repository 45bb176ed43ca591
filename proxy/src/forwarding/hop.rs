//! The hop that ends at this proxy.

use std::net::IpAddr;

use crate::request_id::RequestId;

/// The last part of a request's way: from whoever connected to this proxy.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'r> {
    pub peer: IpAddr,
    /// If the peer is a trusted proxy, it is believed what it says of the way before it.
    pub may_vouch: bool,
    /// The same as text, which is made once for a connection.
    pub peer_text: &'r str,
    /// What a cell gets to know of the hop when nothing of the peer's is kept, up to the host: made once for a connection too.
    pub lines_before_host: &'r [u8],
    /// The scheme that the peer used, in lower case.
    pub proto: &'static str,
    /// What the request is for, as the gate let it through.
    pub host: Option<&'r [u8]>,
    /// What the request is called from here on, unless requests are not named.
    pub request_id: Option<&'r RequestId>,
}
