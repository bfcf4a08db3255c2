//! Tessera keeps OAuth tokens in memory, in shards, and journals every change before it is acknowledged.
//!
//! This page is the map. *tessera*: in Rome, a token that let its bearer in; in a mosaic, one small tile.
//!
//! # Rooms
//!
//! | room | what it has | it may import | never |
//! |---|---|---|---|
//! | [`clock`] | the only reader of the machine's clocks | | |
//! | [`oauth`] | words of the RFCs: scope, audience, grant types, redirect URIs, errors; how what is handed out is written | | |
//! | [`telemetry`] | counters, histograms, log lines | | |
//! | [`fetch`] | what is fetched from others, and what keeps that from being turned inwards; the only connections that the server opens, but that to its database | `clock` `oauth` `signing` (key sets) | whom it is fetched for |
//! | [`config`] | the only reader of flags, environment and file | `fetch` (its allow-list) | |
//! | [`journal`] | the append-only log, and the only writer of files | `clock` | what a token is |
//! | [`password`] | hashes of passwords, and the threads that check them | `clock` `journal` (priorities) | whose they are |
//! | [`client`] | clients, by what right some register themselves, their registry and its one writer | `clock` `oauth` `journal` `password` `signing` (key sets) | HTTP, SQL |
//! | [`user`] | people, their sessions and consents, and their one writer | `clock` `oauth` `client` `journal` `password` | HTTP, SQL |
//! | [`signing`] | keys that derive from the master key, texts sealed with them, and the keys that sign, with their one writer | `clock` `oauth` `journal` | HTTP, SQL |
//! | [`token`] | tokens, grants, the table: a state machine | `oauth` `client` `user` (ids, generations) `signing` (their registry) | threads, I/O, `async`, clocks |
//! | [`grant`] | one file per grant type, and the authorization request; pure | `clock` `oauth` `client` `user` `token` `signing` | actors, HTTP, I/O |
//! | [`postgres`] | the queryable copy in PostgreSQL, and the way back from it; the only SQL | `clock` `oauth` `password` `client` `user` `token` `signing` `journal` | actors, HTTP |
//! | [`shard`] | routing, the actor that owns a shard, recovery | the above but `config` and `postgres` | HTTP, SQL |
//! | [`endpoint`] | HTTP, one file per endpoint; `page/` is what people see | all above but `journal`, `config` and `postgres` (`fetch`: key sets) | disk on a request's path |
//! | [`command`] | commands that speak to a running server, or work on a directory without one | `clock` `config` `journal` `client` `user` `token` `signing` `postgres` | the server's state |
//! | [`server`] | the composition root | everything | |
//! | `benching` | single steps for the benches to measure; in no build but that with the feature `bench` | everything | |
//! | `fuzzing` | what holds for any bytes; in no build but those of tests and fuzzers | everything | |
//!
//! Anyone may import `telemetry`. `tests/it/architecture.rs` holds this table against the code.
//!
//! # Threads
//!
//! ```text
//!  HTTP workers (actix, one a core)       shard arbiters (actix actors)    commit thread
//!  ┌──────────┐  read, no message         ┌───────────┐
//!  │ endpoint │──────── ShardView ───────▶│ TokenTable│
//!  │          │  try_send (bounded)       │           │  one bounded channel┌─────────┐ blocks
//!  │          │──────────────────────────▶│   Shard   │──── per shard ─────▶│ journal │────────▶ disk
//!  │          │◀──────────── reply, once durable ───────────────────────────│ 1 fsync │
//!  └──────────┘                           └───────────┘                     └─────────┘
//!                                                          ┌───────────┐ batches   │ from disk
//!                                          PostgreSQL ◀────│ projector │◀──────────┘
//!                                                          └───────────┘
//! ```
//!
//! Beside them: `ClientActor`, `UserActor` and `KeyActor` on arbiters of their own; `password` threads, half of the cores at most and at the
//! lowest priority, which check passwords, and a `client-secret` thread for secrets that came with a hash; the `spare` thread, which fills the next journal segment with zeros
//! and keeps a reserve for revocations; the `snapshot` thread, which walks clients, users and tokens while they go on, writes what
//! it saw, and retires the segments that no restart and no database needs any more; the `projector` thread, where there is a
//! database; the `fetch` thread, where an operator lets the server fetch keys of clients; and a tick every second, which follows the clock, lets shards remove what has expired, rotates keys, and now and then has
//! the clients looked at that have registered themselves: those that nobody uses go.
//!
//! # What always holds
//!
//! - Introspection touches no disk, no lock and no mailbox: a worker reads the shard's table itself. (A caller that authenticates
//!   by an assertion uses that up first, which is a change.) It writes nothing that
//!   another worker writes too: counters are a worker's own, clients and grants are read without counting readers.
//! - A token is owned by one shard, which handles one message at a time; so is a person's grant, with all that hangs on it. Of any
//!   number of redemptions of one code one succeeds, and a refresh token has one successor, for it follows from the token itself.
//! - A proof that counts once is refused from its first use on, also after a restart, until it is too old anyway.
//! - A lost answer logs nobody out: who refreshes again inside the window gets the same tokens again, and another access token
//!   where that one lives no more, or is a JWT. A refresh token that comes up after that ends its grant.
//! - A JWT is known as an opaque token is, by the digest of its text: no signature is verified here, and a revocation counts for
//!   it too. Before a key signs one, or an ID token, it is durable that the key stays published until that has expired.
//! - An ID token is kept nowhere. Whoever exchanges something for tokens gets it with them, or still has what they came with.
//! - Apply, append, reply when durable: **every** reply of an actor, a refusal or a no-op too, waits until all that it may
//!   rest on is synced. The one exception is an issued access token with durability `relaxed`.
//! - What is visible is durable: a revocation counts from the moment that a crash cannot take it back.
//! - A disk that fills up refuses new clients, then new tokens, and revocations last; introspection never.
//! - A failed write or sync of the journal ends the process; a restart recovers what is durable.
//! - A start goes on from the newest snapshot that verifies, and then reads the whole rest of the journal before anybody is
//!   answered: a revocation may be in its end.
//! - A snapshot counts once all that it may have seen is durable; nothing is retired that a start, or the database, needs.
//! - The database may be slow or gone: no request waits for it, and the journal keeps what it lacks, up to its budget.
//! - A client that registered itself is deleted for lying idle only while nothing of it lives: each token, code, device and grant in
//!   memory holds its client's generation, so it is seen without a search.
//! - Nothing is fetched from a host that no operator has named, nor from an address that was not checked; nobody waits for a fetch
//!   but who presents an assertion of a client whose keys are there.
//! - Garbage never reaches an actor; full mailboxes and lanes refuse with 503 and change nothing.
//! - Nothing prints or stores a token or a secret, nor a piece of one: digests alone are kept.
//!
//! # Where to begin
//!
//! A request: [`endpoint`], `fast_path.rs`, then `introspect.rs` and [`shard::ReadShards::find_active`]. A change:
//! [`shard::actor`], then [`journal`], whose page draws the file format byte by byte. A person's grant: `endpoint/authorize.rs`,
//! which draws the way to a code, then [`shard::people`]. A start: [`server::Server::start`]. What
//! proves it all: `src/shard/tests/simulation.rs`.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod benching;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod endpoint;
pub mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grant;
pub mod journal;
pub mod oauth;
pub mod password;
pub mod postgres;
pub mod server;
pub mod shard;
pub mod signing;
pub mod telemetry;
pub mod token;
pub mod user;
