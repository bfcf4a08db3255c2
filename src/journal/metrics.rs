//! What the journal counts.

use crate::telemetry::cell::{Counter, Gauge, Histogram};

/// Numbers of one journal since it was opened.
#[derive(Debug, Default)]
pub struct JournalMetrics {
    /// Blocks with records that were made durable.
    pub commits: Counter,
    /// Records that were made durable.
    pub records: Counter,
    /// Bytes of the blocks that were made durable, with their padding.
    pub bytes: Counter,
    /// Records in a block.
    pub batch_records: Histogram,
    /// Bytes of a block, with its padding.
    pub batch_bytes: Histogram,
    /// Nanoseconds in `fdatasync`.
    pub sync_ns: Histogram,
    /// Nanoseconds from the draining of the lanes to the publishing of the durable sequences.
    pub commit_ns: Histogram,
    /// The last durable record.
    pub durable_lsn: Gauge,
    /// Segment files, without the spare.
    pub segments: Gauge,
    /// Bytes of the segment files, without the spare.
    pub journal_bytes: Gauge,
    /// What the journal may use: [`crate::journal::Options::journal_bytes_max`].
    pub budget_bytes: Gauge,
    /// What it uses of it: whole segments, and of the active one what is written.
    pub used_bytes: Gauge,
    /// What is kept aside for revocations.
    pub reserve_bytes: Gauge,
    /// [`crate::journal::Pressure::number`] of the level that is in force.
    pub pressure: Gauge,
}
