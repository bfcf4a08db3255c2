//! What the server fetches from others, and the only place that opens connections of its own accord.
//!
//! Whoever registers a client writes the address that is fetched from, so it is an attacker's: it may name what only this machine can
//! reach (SSRF). Nothing is fetched unless an operator has allowed the host ([`allow`]). Then:
//!
//! - The name is resolved once, **every** address that it has is checked ([`address`]), and the connection goes to one of those that
//!   were checked: a name that means something else a moment later changes nothing.
//! - `https` with a certificate for that name; no redirect is followed; nothing compressed is asked for or taken.
//! - All is bounded: the time to connect, the whole time, the bytes of head and body, how many fetches go on at once, of all and of one
//!   host.
//!
//! What comes back is told apart only in the log and in the metrics: a client hears that its keys cannot be fetched, and not whether
//! there is something where it pointed.

pub mod address;
pub mod allow;
pub mod client;
pub mod key_sets;
pub mod metrics;
pub mod resolve;

#[cfg(test)]
mod tests;
