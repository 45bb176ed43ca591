//! The daemon's command line.

mod args;
mod commands;
mod output;

pub use self::{
    args::{Cli, Command},
    commands::run,
};
