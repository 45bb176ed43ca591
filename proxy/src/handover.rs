//! Hand-over: a running process gives its sockets to a successor, and drains once that one serves.
//!
//! A Unix socket in the state directory is where a successor asks. It gets the listening sockets, the keys of session
//! tickets and, once it has proved that it can serve, the lock of the state directory. Until it says that it serves,
//! nothing changes for the process that gives: whatever becomes of the successor, that one goes on. Afterwards the
//! connection stays open, and the successor asks what is still in flight there.
//!
//! No request passes here, and nothing of the table: a successor reads its own.

mod channel;
mod giving;
mod message;
mod place;
mod predecessor;
mod taking;

pub use giving::{Giving, Stock, Successors};
pub use message::{CellReport, Report, Role};
pub use place::{Place, remove};
pub use predecessor::{Predecessor, PredecessorStatus};
pub use taking::{Confirmed, Pledged, Taking};
