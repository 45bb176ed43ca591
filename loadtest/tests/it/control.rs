//! The control daemon, from outside: with real cells, real proxies and real faults.

mod crash;
mod faults;
mod home;
mod locks;
mod power;
mod recovery;
mod stability;
mod story;
mod world;
