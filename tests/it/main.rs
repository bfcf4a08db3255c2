//! Every test that needs more than one room.
//!
//! [`harness`] gives each test a server of its own, and [`http`] a client that sees every byte. The other modules are named
//! after what they hold the server to.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests too")]

mod admin;
mod architecture;
mod authorization_code;
mod authorize;
mod browser;
mod client_assertion;
mod client_library;
mod concurrency;
mod cors;
mod device;
mod disabled;
mod end_session;
mod golden;
mod harness;
mod http;
mod jwks_uri;
mod keys;
mod limits;
mod metrics;
mod openid;
mod openidconnect_crate;
mod pages;
mod par;
mod person;
mod postgres;
mod process;
mod refresh_token;
mod registration;
mod rfc6749;
mod rfc7009;
mod rfc7662;
mod rfc8414;
mod rfc9068;
mod single_use;
mod slot_loom;
mod userinfo;
mod users;
