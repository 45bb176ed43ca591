//! The HTTP/1 adapter: connects the pure rooms that decide to Pingora, which parses, forwards and pools.
//!
//! A connection runs through [`Edge`]: it reads a head within its deadline, lets the strict gate look at it, and hands it
//! to Pingora behind a stream that never passes on a byte beyond the current request. [`Gateway`] then answers Pingora's
//! hooks out of the snapshot.

mod connection;
mod exchange;
mod gateway;
mod head;
mod headers;
mod listen;
mod respond;
mod stream;
mod upgrade;

pub use connection::Edge;
pub use gateway::Gateway;
pub use listen::{BoundListener, ListenService, bind};
