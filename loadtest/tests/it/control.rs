//! The control daemon, from outside: with real cells, real proxies and real faults.

mod crash;
mod faults;
mod fuzz;
mod home;
mod locks;
mod power;
mod recovery;
mod scale;
mod stability;
mod story;
mod world;
