//! Reads durable blocks from disk while the commit thread goes on.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::journal::block::Block;
use crate::journal::catalog::{Catalog, SegmentEntry, lock};
use crate::journal::error::JournalError;
use crate::journal::file::Directory;
use crate::journal::head::HeadFile;
use crate::journal::keys::JournalKeys;
use crate::journal::lsn::Lsn;
use crate::journal::metrics::JournalMetrics;
use crate::journal::scan::Cursor;
use crate::journal::segment::Instance;
use crate::journal::snapshot::Kept;
use crate::journal::space::Space;

/// What the commit thread shares with readers.
pub(crate) struct Shared {
    pub(crate) directory: Directory,
    pub(crate) keys: JournalKeys,
    pub(crate) catalog: Catalog,
    pub(crate) instance: Instance,
    /// Written at each rotation and retirement.
    pub(crate) head: Mutex<HeadFile>,
    /// The snapshots that count, oldest first.
    pub(crate) snapshots: Mutex<Vec<Kept>>,
    /// The last record that is durable; stored after the catalog knows its block.
    pub(crate) durable_lsn: AtomicU64,
    /// The last record whose commit has run all of its replies, and with them what they publish.
    pub(crate) settled_lsn: AtomicU64,
    /// What a database has confirmed; all ones where there is none.
    pub(crate) confirmed_lsn: AtomicU64,
    /// Bytes of blocks that were written, and those that were read at the open after its snapshot.
    pub(crate) written_bytes: AtomicU64,
    /// What `written_bytes` was when the newest snapshot began.
    pub(crate) tail_from_bytes: AtomicU64,
    pub(crate) metrics: Arc<JournalMetrics>,
    pub(crate) space: Space,
}

impl Shared {
    /// Measures the journal and publishes the level that follows. To be called whenever there are more or fewer segments.
    pub(crate) fn measure(&self) {
        self.space.measure(&self.catalog, &self.metrics);
    }

    pub(crate) fn settled_lsn(&self) -> Lsn {
        Lsn::new(self.settled_lsn.load(Ordering::Acquire))
    }
}

/// Reads the journal. Cheap to clone, and usable from any thread.
#[derive(Clone)]
pub struct JournalReader {
    shared: Arc<Shared>,
}

impl JournalReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The last durable record.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        Lsn::new(self.shared.durable_lsn.load(Ordering::Acquire))
    }

    /// Hands every block that holds a record from `from` on, up to what was durable at the call, to `visit` in order.
    /// The first block may begin before `from`.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotRetained`] when `from` is older than the journal, [`JournalError::Corrupt`] when a block does
    /// not verify, [`JournalError::Io`] when the disk fails.
    pub fn read(&self, from: Lsn, visit: &mut dyn FnMut(Arc<Block>)) -> Result<(), JournalError> {
        self.read_some(from, &mut |block| {
            visit(block);
            ControlFlow::Continue(())
        })
    }

    /// As [`Self::read`], until `visit` has enough.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_some(
        &self,
        from: Lsn,
        visit: &mut dyn FnMut(Arc<Block>) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        let (from, durable) = (from.max(Lsn::FIRST), self.durable_lsn());
        if from > durable {
            return Ok(());
        }
        for segment in self.shared.catalog.since(from)? {
            if segment.header.first_lsn <= durable && self.read_segment(&segment, from, durable, visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The journal that this is, for ever.
    #[must_use]
    pub fn instance(&self) -> [u8; 16] {
        self.shared.instance
    }

    /// The epoch that began with this open.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        lock(&self.shared.head).latest().epoch
    }

    /// The oldest record that can be read.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.shared.catalog.first_of(Lsn::ZERO)
    }

    /// Bytes of the blocks after `lsn`, to about a mebibyte. 0 where there are none.
    #[must_use]
    pub fn bytes_after(&self, lsn: Lsn) -> u64 {
        if lsn >= self.durable_lsn() {
            return 0;
        }
        let from = lsn.after(1).max(self.first_lsn());
        let segments = self.shared.catalog.since(from).unwrap_or_default();
        let unread = |segment: &Arc<SegmentEntry>| {
            let begin = segment.waypoint(from).map_or(0, |waypoint| waypoint.offset);
            segment.end_bytes().saturating_sub(begin)
        };
        segments.iter().map(unread).sum()
    }

    fn read_segment(
        &self,
        segment: &SegmentEntry,
        from: Lsn,
        durable: Lsn,
        visit: &mut dyn FnMut(Arc<Block>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, JournalError> {
        let Some(start) = segment.waypoint(from) else { return Ok(ControlFlow::Continue(())) };
        let (end_bytes, end_lsn) = (segment.end_bytes(), segment.end_lsn());
        let file = self.shared.directory.open(&segment.header.name().to_string())?;
        let mut cursor = Cursor::new(&file, &self.shared.keys, segment.header, start, end_bytes);
        while cursor.at().offset < end_bytes && cursor.at().lsn <= durable && cursor.at().lsn < end_lsn {
            let at = cursor.at();
            let found = cursor.step()?.map_err(|defect| {
                let (segment, last) = (file.name().to_owned(), durable.max(at.lsn));
                JournalError::Corrupt { segment, offset: at.offset, first: at.lsn, last, defect }
            })?;
            if !found.block.is_empty() && found.header.next_lsn() > from && visit(Arc::new(found.block)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sim::{Rig, block_offset, many_segments};

    #[test]
    fn the_reader_reads_from_any_record_on() {
        let mut rig = Rig::open(&many_segments(20)).unwrap();
        for number in 20..60 {
            rig.commit_one(&[number; 3000]);
        }
        let reader = JournalReader::new(Arc::clone(&rig.committer.shared));
        for from in 0..=61 {
            let mut lsns = Vec::new();
            reader
                .read(Lsn::new(from), &mut |block| lsns.extend(block.records().map(|record| record.lsn.value())))
                .unwrap();
            assert!(lsns.into_iter().eq(from.max(1)..=60), "from {from}");
        }
    }

    #[test]
    fn the_reader_refuses_a_block_that_rotted_since() {
        let rig = Rig::open(&many_segments(20)).unwrap();
        let reader = JournalReader::new(Arc::clone(&rig.committer.shared));
        rig.disk.change(&rig.disk.segments()[0], |bytes| bytes[block_offset(4) + 99] ^= 1);
        let mut seen = 0;
        let error = reader.read(Lsn::FIRST, &mut |_| seen += 1).unwrap_err();
        assert!(matches!(error, JournalError::Corrupt { first, last, .. } if (first.value(), last.value()) == (5, 20)));
        assert_eq!(seen, 4);
    }
}
