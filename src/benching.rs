//! Single steps for `benches/` to measure, where they are nobody else's business. Not part of the server.

pub use crate::endpoint::benching::{Ready, Requests, authenticate, parse_batch, parse_form, read_basic};
pub use crate::journal::benching::{Commits, Sealer, replay};
pub use crate::shard::benching::PeopleShard;
