//! How far a start has come with what it has to read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that were read of those that have to be. Written by the thread that reads, looked at by anybody.
#[derive(Debug, Default)]
pub struct StartProgress {
    read_bytes: AtomicU64,
    expected_bytes: AtomicU64,
}

impl StartProgress {
    /// Reading begins, anew if it had begun: so many bytes are ahead, or fewer.
    pub fn expect_bytes(&self, bytes: u64) {
        self.read_bytes.store(0, Ordering::Relaxed);
        self.expected_bytes.store(bytes, Ordering::Relaxed);
    }

    /// So many bytes more were read.
    pub fn add_bytes(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes read so far.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed).min(self.expected_bytes())
    }

    /// Bytes to be read in all, at most; 0 before that is known.
    #[must_use]
    pub fn expected_bytes(&self) -> u64 {
        self.expected_bytes.load(Ordering::Relaxed)
    }

    /// Whole percent, at most 100.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.read_bytes() * 100 / self.expected_bytes().max(1)
    }
}
