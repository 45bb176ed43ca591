//! The demo cell: a small HTTP key-value service that stands for one cell.
//!
//! Each tenant's data is one `SQLite` file, so a tenant is moved by moving one file, and every
//! answer names the cell that gave it. The cell believes the tenant header that the proxy sets. It
//! knows nothing of other cells, of slots or of the table, and must not learn.

mod args;
mod http;
pub mod limits;
mod problem;
mod store;
mod tenant;

pub use args::{Args, CellName};
pub use http::{Cell, serve};
pub use store::{KeyPage, Store, StoreError};
pub use tenant::{TenantKey, TenantKeyError};
