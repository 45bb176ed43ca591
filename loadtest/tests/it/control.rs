//! The control daemon, from outside: with real cells, real proxies and real faults.

mod answers;
mod crash;
mod faults;
mod fuzz;
mod home;
mod locks;
mod power;
mod providers;
mod recovery;
mod removals;
mod scale;
mod signs;
mod stability;
mod story;
mod table_file;
mod waiting;
mod world;
