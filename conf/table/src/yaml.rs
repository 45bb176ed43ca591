//! Reading YAML that people write: a tree of plain values first, then field by field, collecting every problem.
//!
//! `serde_yaml` alone decides what a file says. Its typed reading stops at the first mistake and does not say where a
//! mistake in meaning is, so the file becomes a [`Node`] tree, [`Value`] reads it without stopping, and only when there
//! is a problem a second, position-keeping parser looks up where its path stands in the text ([`Findings::into_problems`]).
//! That second parser decides nothing about a file, but for two traps of the first one: nesting that takes it quadratic
//! time, and anchors that share a name.
//!
//! The tree is also the room where YAML's own traps end: aliases that blow up, numbers and `no` where text was meant,
//! keys given twice, blank fields.

mod findings;
mod node;
mod place;
pub mod settings;
mod slips;
mod syntax;
mod text;
mod value;
mod write;

pub use findings::Findings;
pub use node::{Node, parse_tree};
pub use place::{At, Focus};
pub(crate) use value::nearest;
pub use value::{Fields, Value};
pub(crate) use write::to_text;
