//! Clients that leave, dawdle, send too much or send what could be read in two ways: they cost
//! nobody else anything, and their requests are executed once, whole, or not at all.

mod crowd;
mod leaving;
mod limits;
mod protocol;
mod refused;
mod streams;
