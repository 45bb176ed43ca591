//! The daemon's command line.

mod args;
mod commands;

pub use self::{
    args::{Cli, Command},
    commands::run,
};
