//! What the server says about itself. Any room may use it.

pub mod cell;
pub mod exposition;
pub mod http;
pub mod log;
pub mod message;
pub mod progress;
pub mod projection;
