//! Bytes of other protocols as a receiver reads them. Pure: bytes in, what they say or what is wrong with them out.

pub mod proxy_protocol;
