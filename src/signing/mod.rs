//! Keys: what derives from the master key, texts sealed with it, and keys whose signatures others verify.

pub mod actor;
pub mod derivation;
pub mod event;
pub mod jwk_set;
pub mod jws;
pub mod private_key;
pub mod provider;
pub mod public_key;
pub mod registry;
pub mod seal;
#[cfg(test)]
mod vectors;
pub mod verify;
