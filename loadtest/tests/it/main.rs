//! End-to-end tests: real programs as processes, spoken to over sockets. Nothing here links the programs' libraries.

mod demo_cell;
mod support;
