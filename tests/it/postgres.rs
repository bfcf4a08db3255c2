//! The copy in PostgreSQL: it holds all that was acknowledged, once, whatever happens to the database, and requests never
//! notice.
//!
//! [`cluster`] starts PostgreSQL, [`proxy`] stands between it and a server, [`oracle`] knows what the copy has to hold.

mod access_tokens;
mod arrival;
mod cluster;
mod connection;
mod dead_letters;
mod grants;
mod interruption;
mod keys;
mod openid;
mod oracle;
mod origin;
mod partitions;
mod people;
mod proofs;
mod proxy;
mod rebuild;
mod registration;
mod rights;
mod scene;
mod secrets;
mod tls;
mod views;
