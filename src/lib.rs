//! Tessera keeps OAuth tokens in memory, in shards, and journals every change before it is acknowledged.

pub mod clock;
pub mod config;
pub mod journal;
pub mod telemetry;
