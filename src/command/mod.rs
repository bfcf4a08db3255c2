//! Commands: those that speak to a running server over the Unix socket in its data directory, and those that read a data
//! directory that no server holds.

pub mod client;
pub mod journal;
