//! Passwords: how they are kept, and the threads that check them.
//!
//! A check takes tens of milliseconds of a core and megabytes of memory on purpose. So it runs on few threads of its own, at the
//! lowest priority, behind a bounded queue: a flood of wrong passwords takes what the others leave, and is refused when
//! that is not enough.

pub mod hash;
pub mod pool;
