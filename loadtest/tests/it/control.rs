//! The control daemon, from outside: with real cells, real proxies and real faults.

mod fuzz;
mod locks;
mod recovery;
mod scale;
mod stability;
mod story;
mod world;
