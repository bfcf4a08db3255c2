//! Commands that speak to a running server over the Unix socket in its data directory.

pub mod client;
