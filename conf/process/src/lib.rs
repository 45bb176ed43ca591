//! How cellgate's programs stand in the system they run in. Both planes use it, so it knows neither of them, nor the
//! table.

mod cause;
pub mod descriptors;
pub mod figures;
mod folder;
pub mod host;
pub mod lines;
pub mod lock;
pub mod log;
pub mod notify;
pub mod restart;
pub mod signals;

pub use cause::root_cause;
pub use folder::{file_in_the_way, folder_of};
