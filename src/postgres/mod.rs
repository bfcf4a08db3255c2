//! The queryable copy of the journal in PostgreSQL, and the way back from there. The only SQL.
//!
//! No request ever waits for the database. The projector reads the journal from disk, up to what is durable, so an outage
//! costs disk and no memory:
//!
//! ```text
//!   journal ──blocks──▶ batch: rows ──binary COPY─▶ token_events  ┐
//!   (disk)                          ──upserts─────▶ grants, …     ├ one transaction
//!                                   ──UPDATE──────▶ projection    ┘ (the LSN moves with the rows)
//! ```
//!
//! So what is sent again after a lost answer finds that the LSN has moved, and nothing is there twice. These commits are
//! asynchronous; about once a second a synchronous one makes all before it safe, and only then may the journal let go of it.
//!
//! - A server that has been replaced can write no more: each start writes its epoch, and every batch asks for its own.
//! - A record that the database refuses by its content goes to `dead_letters` in the same transaction as the LSN; what would
//!   refuse every record alike (a missing table or privilege) is no such thing, and is tried again.
//! - Where the journal has retired what the database lacks, the newest snapshot fills it up (`seed.rs`), and `gaps` says so.
//! - Rows of tokens are inserted, never changed; whole days are dropped (`partitions.rs`).
//!
//! `migrations/` has the tables, each column with a comment.

mod batch;
mod copy;
mod error;
mod grants;
mod initial_access;
mod keys;
mod migrate;
mod partitions;
mod people;
mod projector;
mod proofs;
mod rebuild;
mod records;
mod seed;
mod session;
mod write;

pub use crate::postgres::error::PostgresError;
pub use crate::postgres::migrate::{Migrated, migrate};
pub use crate::postgres::projector::{ProjectorParts, RunningProjector};
pub use crate::postgres::rebuild::{Restored, rebuild};
pub use crate::postgres::session::{Mark, ask};
