//! TLS on listeners: files become certificates by name, and a connection becomes a handshake and then a socket like any
//! other. Files that change are read anew while connections go on.
//!
//! [`certificates`] and [`view`] are pure: bytes in, something valid or all problems out. It knows neither HTTP nor what is
//! served.

pub mod certificates;
pub mod handshake;
pub mod identity;
pub mod material;
pub mod reload;
pub mod settings;
pub mod socket;
pub mod terminator;
#[cfg(test)]
mod testing;
pub mod tickets;
pub mod view;
pub mod watch;

pub use handshake::Refused;
pub use identity::verified_names;
pub use settings::{CertificateFiles, ClientAuth, ClientAuthMode, MinVersion, TlsSettings};
pub use socket::TlsSocket;
pub use terminator::{Terminator, TlsStatus, load};
pub use watch::CertificateWatch;
