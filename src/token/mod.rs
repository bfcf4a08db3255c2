//! Tokens: what a shard knows of them, as a state machine without threads, I/O or a clock.
//!
//! A token's text is minted and read in [`access_token`], or in [`jwt`] where it is one; everything else knows it by its [`digest::TokenDigest`].
//! [`state::ShardState`] is what a shard owns; [`table::TokenReader`] is what others may read of it meanwhile.

pub mod access_token;
pub mod code;
pub mod digest;
pub mod event;
mod expiry;
pub mod grant;
pub mod grant_id;
pub mod id_token;
pub mod jwt;
pub mod person;
pub mod person_event;
pub mod proof;
pub mod refresh_token;
pub mod section;
mod shared_terms;
mod slot;
pub mod state;
pub mod summary;
pub mod table;
pub mod user_code;

/// The atomics of [`slot`]; its loom test puts loom's in their place.
mod sync {
    pub(super) use std::hint::spin_loop;
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
    pub(super) use std::thread::yield_now;
}
