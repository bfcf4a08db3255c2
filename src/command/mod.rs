//! Commands: those that speak to a running server over the Unix socket in its data directory, and those that work on a
//! directory that no server holds.

pub mod client;
pub mod database;
pub mod grant;
pub mod journal;
pub mod key;
pub mod master_key;
mod password;
pub mod rebuild;
pub mod registration;
pub mod restore;
pub mod snapshot;
pub mod socket;
pub mod user;
