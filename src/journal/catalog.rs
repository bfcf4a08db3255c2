//! Which segments there are, and places in them to begin reading at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::error::JournalError;
use crate::journal::lsn::Lsn;
use crate::journal::metrics::JournalMetrics;
use crate::journal::scan::Waypoint;
use crate::journal::segment::SegmentHeader;

/// The segments in order. The commit thread adds to it, readers look things up.
#[derive(Default)]
pub(crate) struct Catalog {
    segments: Mutex<Vec<Arc<SegmentEntry>>>,
}

impl Catalog {
    pub(crate) fn push(&self, segment: Arc<SegmentEntry>) {
        lock(&self.segments).push(segment);
    }

    /// The segments from the one that holds `lsn` on.
    pub(crate) fn since(&self, lsn: Lsn) -> Result<Vec<Arc<SegmentEntry>>, JournalError> {
        let segments = lock(&self.segments);
        let after = segments.partition_point(|segment| segment.header.first_lsn <= lsn);
        let first = segments.first().map(|segment| segment.header.first_lsn).unwrap_or_default();
        let Some(at) = after.checked_sub(1) else {
            return Err(JournalError::NotRetained { asked: lsn, first });
        };
        Ok(segments.get(at..).unwrap_or_default().to_vec())
    }

    /// The first record of the segment that holds `lsn`, or of the oldest.
    pub(crate) fn first_of(&self, lsn: Lsn) -> Lsn {
        let segments = lock(&self.segments);
        let after = segments.partition_point(|segment| segment.header.first_lsn <= lsn);
        let segment = segments.get(after.saturating_sub(1));
        segment.map(|segment| segment.header.first_lsn).unwrap_or_default()
    }

    /// Forgets the segments before record `first`, which begins one, and answers their file names.
    pub(crate) fn retire(&self, first: Lsn) -> Vec<String> {
        let mut segments = lock(&self.segments);
        let retired = segments.partition_point(|segment| segment.header.first_lsn < first);
        segments.drain(..retired).map(|segment| segment.header.name().to_string()).collect()
    }

    /// Length of all segments, and the one that is written to.
    pub(crate) fn extent(&self) -> (u64, Option<Arc<SegmentEntry>>) {
        let segments = lock(&self.segments);
        (segments.iter().map(|segment| segment.length_bytes).sum(), segments.last().cloned())
    }

    pub(crate) fn measure(&self, metrics: &JournalMetrics) {
        let segments = lock(&self.segments);
        metrics.segments.set(segments.len() as u64);
        metrics.journal_bytes.set(segments.iter().map(|segment| segment.length_bytes).sum());
    }
}

/// One segment whose header is durable under its final name.
pub(crate) struct SegmentEntry {
    pub(crate) header: SegmentHeader,
    pub(crate) length_bytes: u64,
    /// Where the next block will begin, or no block any more.
    end_bytes: AtomicU64,
    /// The record after its last one, where the blocks up to it were not read; else all ones.
    end_lsn: Lsn,
    /// The first is at the first block; then about one for each [`WAYPOINT_BYTES`].
    waypoints: Mutex<Vec<Waypoint>>,
}

impl SegmentEntry {
    pub(crate) fn new(header: SegmentHeader, length_bytes: u64, first_block: Waypoint) -> Self {
        let (end_bytes, waypoints) = (AtomicU64::new(first_block.offset), Mutex::new(vec![first_block]));
        Self { header, length_bytes, end_bytes, end_lsn: Lsn::new(u64::MAX), waypoints }
    }

    /// A segment that was not read: it ends before record `end_lsn`, wherever in the file that is.
    pub(crate) fn unread(header: SegmentHeader, length_bytes: u64, first_block: Waypoint, end_lsn: Lsn) -> Self {
        let end_bytes = AtomicU64::new(length_bytes);
        Self { end_bytes, end_lsn, ..Self::new(header, length_bytes, first_block) }
    }

    pub(crate) fn end_lsn(&self) -> Lsn {
        self.end_lsn
    }

    /// A block was written that ends at `end`.
    pub(crate) fn extend(&self, end: Waypoint) {
        self.end_bytes.store(end.offset, Ordering::Release);
        let mut waypoints = lock(&self.waypoints);
        if waypoints.last().is_none_or(|last| end.offset - last.offset >= WAYPOINT_BYTES) {
            waypoints.push(end);
        }
    }

    pub(crate) fn end_bytes(&self) -> u64 {
        self.end_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn left_bytes(&self) -> u64 {
        self.length_bytes.saturating_sub(self.end_bytes())
    }

    /// Where to begin to find record `lsn`, which is not before this segment's first.
    pub(crate) fn waypoint(&self, lsn: Lsn) -> Option<Waypoint> {
        let waypoints = lock(&self.waypoints);
        let after = waypoints.partition_point(|waypoint| waypoint.lsn <= lsn);
        waypoints.get(after.saturating_sub(1)).copied()
    }
}

/// What a lock here guards is whole after every statement, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const WAYPOINT_BYTES: u64 = 1 << 20;
