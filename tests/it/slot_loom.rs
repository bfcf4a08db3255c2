//! The slot's sequence lock under every order that the memory model allows.

mod sync {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    pub(super) use loom::thread::yield_now;
}

#[path = "../../src/token/slot.rs"]
#[expect(dead_code, unreachable_pub, reason = "the test uses what it needs")]
mod slot;
