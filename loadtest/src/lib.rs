//! What cellgate is tried out with: the demo cell. The load scripts and the end-to-end tests lie
//! beside this library and use none of it; they talk to the programs over sockets only.

pub mod demo_cell;
