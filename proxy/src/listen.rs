//! Taking clients' connections: claims sockets, accepts on them, and makes of each what requests are read from.
//!
//! Whatever a listener asks of a connection before its first request happens here, so that the rooms behind see a
//! [`ClientSocket`] and a [`Connection`](crate::exchange::Connection) and need not know how they came about.

mod accept;
mod activation;
mod bind;
mod close_reason;
mod open;
mod places;
mod postgres;
mod proxy_header;
mod sources;

pub use accept::{Accepted, ListenService, ServeConnection, Turn, Turns};
pub use activation::Activation;
pub use bind::{BoundListener, Spare, adopt, bind, set_limits, set_options};
pub use close_reason::CloseReason;
pub use open::{Opened, Opener, Unopened};
pub use sources::SourcePlace;

pub use crate::tls::ClientSocket;
