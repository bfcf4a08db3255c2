//! Tessera keeps OAuth tokens in memory, in shards, and journals every change before it is acknowledged.

pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod endpoint;
pub mod grant;
pub mod journal;
pub mod oauth;
pub mod server;
pub mod shard;
pub mod signing;
pub mod telemetry;
pub mod token;
