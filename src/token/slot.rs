//! One token in memory: five words under a sequence lock.
//!
//! ```text
//! control   version (24 bits, odd while it is written) · grant id (40 bits; 0 = never used, all ones = removed)
//! digest    128 bits in two words
//! times     issued at (32 bits) · expires at (32 bits), seconds since the epoch
//! revoked   the shard's sequence of the revocation (48 bits; 0 = not revoked; set once) · partition (16 bits)
//! ```
//!
//! One thread writes, any number read without waiting for each other. A reader that saw a version change reads again; one
//! that saw it odd waits for the writer, which is between two stores, or was put off its core there.
//!
//! The module stands alone, so that `tests/it/slot_loom.rs` can run it on loom's atomics.

use super::sync::{AtomicU64, Ordering, fence, spin_loop, yield_now};

/// One token's place. In this order, so that a look at the first word of some slots in a row brings all that is in them but the
/// last one's end.
#[repr(C)]
pub(super) struct Slot {
    control: AtomicU64,
    digest: [AtomicU64; 2],
    times: AtomicU64,
    revoked_and_partition: AtomicU64,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotData {
    pub(super) digest: [u64; 2],
    pub(super) grant_id: u64,
    pub(super) issued_at: u32,
    pub(super) expires_at: u32,
    pub(super) revoked: u64,
    pub(super) partition: u16,
}

/// A slot as a reader found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// Never used since the table was made: a probe ends here.
    Empty,
    /// Its token was removed: a probe goes on.
    Removed,
    /// A token.
    Token(SlotData),
}

/// Proof of the version that a read saw, for [`Slot::is_unchanged`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Version(u64);

/// The writer did not finish within the bound: it was put off its core for a long time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contended;

/// The highest grant id. Ids begin at 1 and are never reused.
pub(super) const GRANT_ID_MAX: u64 = REMOVED - 1;

/// The highest sequence of a revocation. At a million changes a second a shard reaches it in nine years.
pub(super) const SEQUENCE_MAX: u64 = (1 << (64 - PARTITION_BITS)) - 1;

const GRANT_BITS: u32 = 40;
const GRANT_MASK: u64 = (1 << GRANT_BITS) - 1;
const EMPTY: u64 = 0;
const REMOVED: u64 = GRANT_MASK;
const VERSION_ONE: u64 = 1 << GRANT_BITS;
const PARTITION_BITS: u32 = 16;
const PARTITION_MASK: u64 = (1 << PARTITION_BITS) - 1;
/// Reads before a reader gives its core away to the writer that it may be keeping from it.
const SPINS: usize = 32;
/// Reads before a reader gives up.
const READS_MAX: usize = 256;

impl Slot {
    pub(super) fn empty() -> Self {
        Self {
            control: AtomicU64::new(EMPTY),
            digest: [AtomicU64::new(0), AtomicU64::new(0)],
            times: AtomicU64::new(0),
            revoked_and_partition: AtomicU64::new(0),
        }
    }

    /// Reads the slot. The answer is what the slot held at one moment during the call.
    pub(super) fn read(&self) -> Result<(Occupant, Version), Contended> {
        for attempt in 0..READS_MAX {
            let before = self.control.load(Ordering::Acquire);
            if !is_being_written(before) {
                let data = self.load(before);
                if self.is_unchanged(Version(before)) {
                    return Ok((data, Version(before)));
                }
            }
            if attempt < SPINS { spin_loop() } else { yield_now() }
        }
        Err(Contended)
    }

    /// Whether the slot still is as it was read. A reader that has followed the grant id asks once more: the answer yes
    /// means that slot and grant belong together.
    pub(super) fn is_unchanged(&self, version: Version) -> bool {
        fence(Ordering::Acquire);
        self.control.load(Ordering::Relaxed) == version.0
    }

    /// What the slot holds, for its writer, who need not look twice.
    pub(super) fn occupant(&self) -> Occupant {
        self.load(self.control.load(Ordering::Relaxed))
    }

    /// Writes a token. The writer's thread only.
    pub(super) fn write(&self, data: SlotData) {
        self.write_as(data.grant_id, || {
            let [low, high] = &self.digest;
            low.store(data.digest[0], Ordering::Relaxed);
            high.store(data.digest[1], Ordering::Relaxed);
            self.times.store(u64::from(data.issued_at) << 32 | u64::from(data.expires_at), Ordering::Relaxed);
            let tail = data.revoked << PARTITION_BITS | u64::from(data.partition);
            self.revoked_and_partition.store(tail, Ordering::Relaxed);
        });
    }

    /// Takes the token out; probes go on past the slot. The writer's thread only.
    pub(super) fn remove(&self) {
        self.write_as(REMOVED, || ());
    }

    /// Takes the token out where no probe needs to go on. The writer's thread only.
    pub(super) fn clear(&self) {
        self.write_as(EMPTY, || ());
    }

    fn write_as(&self, grant_id: u64, store: impl FnOnce()) {
        let before = self.control.load(Ordering::Relaxed);
        self.control.store(before.wrapping_add(VERSION_ONE), Ordering::Relaxed);
        fence(Ordering::Release);
        store();
        let version = before.wrapping_add(VERSION_ONE * 2) & !GRANT_MASK;
        self.control.store(version | grant_id, Ordering::Release);
    }

    fn load(&self, control: u64) -> Occupant {
        let [low, high] = &self.digest;
        match control & GRANT_MASK {
            EMPTY => Occupant::Empty,
            REMOVED => Occupant::Removed,
            grant_id => {
                let times = self.times.load(Ordering::Relaxed);
                let tail = self.revoked_and_partition.load(Ordering::Relaxed);
                Occupant::Token(SlotData {
                    digest: [low.load(Ordering::Relaxed), high.load(Ordering::Relaxed)],
                    grant_id,
                    issued_at: upper_half(times),
                    expires_at: lower_half(times),
                    revoked: tail >> PARTITION_BITS,
                    partition: u16::try_from(tail & PARTITION_MASK).unwrap_or_default(),
                })
            }
        }
    }
}

fn is_being_written(control: u64) -> bool {
    control & VERSION_ONE != 0
}

fn upper_half(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or_default()
}

fn lower_half(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default()
}
