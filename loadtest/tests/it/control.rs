//! The control daemon, from outside: with real cells, real proxies and real faults.

mod answers;
mod away;
mod callers;
mod crash;
mod displaced;
mod faults;
mod fuzz;
mod home;
mod hosts;
mod locks;
mod notify;
mod orphans;
mod power;
mod providers;
mod recovery;
mod removals;
mod scale;
mod signs;
mod stability;
mod story;
mod table_file;
mod tokens;
mod waiting;
mod world;
