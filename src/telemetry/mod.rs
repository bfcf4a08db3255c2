//! What the server says about itself. Any room may use it.

pub mod cell;
