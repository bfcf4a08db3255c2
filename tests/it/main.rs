//! Every test that needs more than one room.
//!
//! [`harness`] gives each test a server of its own, and [`http`] a client that sees every byte. The other modules are named
//! after what they hold the server to.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests too")]

mod admin;
mod architecture;
mod client_library;
mod concurrency;
mod golden;
mod harness;
mod http;
mod limits;
mod metrics;
mod postgres;
mod process;
mod rfc6749;
mod rfc7009;
mod rfc7662;
mod rfc8414;
mod slot_loom;
