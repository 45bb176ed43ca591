//! TLS on listeners, and to cells: files become certificates by name, or whom a cell has to be, and a connection becomes a
//! handshake and then a socket like any other. Files that change are read anew while connections go on.
//!
//! [`certificates`] and [`view`] are pure: bytes in, something valid or all problems out. It knows neither HTTP nor what is
//! served.

mod cell_files;
mod cell_identity;
mod cell_tls;
pub mod certificates;
mod client_verifier;
pub mod handshake;
pub mod identity;
pub mod material;
pub mod reload;
mod roots;
pub mod settings;
pub mod socket;
pub mod stream;
pub mod terminator;
#[cfg(test)]
mod testing;
pub mod tickets;
pub mod view;
pub mod watch;

pub use cell_files::{CellFault, CellIdentities, Dates, LoadedIdentities, Meanwhile};
pub use cell_identity::CellIdentity;
pub use cell_tls::CellTls;
pub use handshake::Refused;
pub use identity::verified_names;
pub use material::Stamps;
pub use reload::{RETRY_INTERVAL, Readings};
pub use settings::{Alpn, CertificateFiles, ClientAuth, ClientAuthMode, MinVersion, TlsSettings};
pub use socket::TlsSocket;
pub use stream::{CellSocket, ClientSocket};
pub use terminator::{Terminator, TlsStatus, expired_authorities, load};
pub use watch::CertificateWatch;
