//! The data plane of cellgate: takes each request to the cell of its tenant, out of a table file.
//!
//! Pure rooms decide: [`tenant_key`] whom a request is for, [`route`] which cell that is, [`gate`] whether the request
//! can be read in one way only, [`forwarding`] whom it comes from, [`answer`] what the proxy says by itself.
//! [`exchange`] asks them about one request and decides what a failure means. [`upstream`] holds the connections to
//! cells. [`listen`] takes the connections of clients, and the adapter [`http`] connects the rooms to Pingora. [`watch`] alone reads the table and swaps the one pointer in
//! [`snapshot`] that requests read.
//!
//! The proxy must never call the control plane, a database or a name server on a request's way.

pub mod access_log;
pub mod admin;
pub mod answer;
pub mod buffer;
pub mod cell;
pub mod cli;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod exchange;
pub mod explain;
pub mod field_lines;
pub mod forwarding;
pub mod front;
pub mod gate;
pub mod handover;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod listen;
pub mod metrics;
pub mod net;
pub mod outgoing;
pub mod readiness;
pub mod regular_file;
pub mod request_id;
pub mod route;
pub mod run;
pub mod signals;
pub mod snapshot;
pub mod socket;
pub mod state_dir;
pub mod tcp;
pub mod tenant_key;
pub mod tls;
pub mod upstream;
pub mod watch;

pub use cellgate_wire as wire;
