//! Connections to cells: one exchange at a time, and nobody's answer but one's own.
//!
//! [`answer`] reads where a cell's answer ends. [`CellStream`] carries one request and its answer over a connection and
//! never yields a byte beyond it; when it is dropped, the connection goes back into the [`Pool`] if nothing of the
//! exchange can be left on it. [`Report`] says how the exchange went. [`Connector`] is how Pingora gets such a stream.
//!
//! This room must not know tables, routes or what a failure means. Only its connector knows Pingora.

pub mod answer;
mod connect;
mod connection;
mod pool;
mod report;
mod stream;

pub use answer::AnswerRefusal;
pub use connect::{Connector, connect, connect_to_cell};
pub use connection::{Connection, Idle, is_refusal};
pub use pool::{IdleCheck, Pool, PoolLimits, Transport};
pub use report::{Report, Switched};
pub use stream::{CellStream, Interim, Return, Terms};
