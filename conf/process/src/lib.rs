//! How cellgate's programs stand in the system they run in. Both planes use it, so it knows neither of them, nor the
//! table.

mod folder;
pub mod lock;

pub use folder::folder_of;
