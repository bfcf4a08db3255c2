//! Keys: what derives from the master key.

pub mod derivation;
