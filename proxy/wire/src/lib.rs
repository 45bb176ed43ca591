//! Bytes of other protocols as the proxy reads and writes them. Pure: bytes in, what they say or what is wrong with them
//! out. Whatever is read here comes from anybody, so each reader has a limit, gives its verdict as soon as it shows, and
//! keeps it whatever bytes follow.
//!
//! It must not touch files, network or clock, and it depends on nothing but the standard library.

pub mod client_hello;
pub mod postgres;
pub mod proxy_protocol;
