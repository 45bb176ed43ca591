//! The HTTP/1 adapter: connects the pure rooms that decide to Pingora, which parses and forwards.
//!
//! A connection runs through [`Edge`]: it reads a head within its deadline, lets the strict gate look at it, and lends the
//! connection to Pingora for this one request. [`Gateway`] answers Pingora's hooks by what [`exchange`](crate::exchange)
//! says.

mod acme;
mod attempt;
mod body_buffers;
mod client;
mod connection;
pub mod direct;
mod failures;
mod gateway;
mod head;
mod headers;
mod inspected;
mod ledger;
mod lent;
mod local;
mod pace;
mod respond;
mod returned;
mod services;
mod stop;
mod timer;
mod tunnel;
mod turn;
mod upgrade;

pub use body_buffers::BodyBuffers;
pub use connection::Edge;
pub use gateway::Gateway;
pub use services::Services;
