//! Connections of TCP listeners: each goes to the cell of its tenant as a whole, whatever it carries.
//!
//! [`Carrier`] asks [`exchange`](crate::exchange) where a connection goes and connects; `relay` moves the bytes. It must not
//! decide, and must not look into what is carried.

mod carrier;
mod end;
mod hello;
mod opening;
mod refusal;
mod relay;
mod splice;

pub use carrier::Carrier;
pub use end::End;
pub use splice::{PIPES_MAX, Pipes};
