//! Taking clients' connections: claims sockets, accepts on them, and makes of each what requests are read from.
//!
//! Whatever a listener asks of a connection before its first request happens here, so that the rooms behind see a
//! [`ClientSocket`] and a [`Connection`](crate::exchange::Connection) and need not know how they came about.

mod accept;
mod bind;
mod client_socket;
mod places;

pub use accept::{Accepted, ListenService, Opened, ServeConnection};
pub use bind::{BoundListener, bind};
pub use client_socket::ClientSocket;
