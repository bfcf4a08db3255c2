//! Reads a segment block by block and checks that each stands where it should.

use crate::journal::block::Block;
use crate::journal::error::{Defect, JournalError};
use crate::journal::fields::are_zero;
use crate::journal::file::NamedFile;
use crate::journal::frame::{BlockHeader, PAGE_BYTES};
use crate::journal::keys::{JournalKeys, Mac};
use crate::journal::lsn::Lsn;
use crate::journal::segment::SegmentHeader;

/// A place between two blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waypoint {
    /// The next record.
    pub(crate) lsn: Lsn,
    /// Where in the segment the next block begins.
    pub(crate) offset: u64,
    /// MAC of what stands before: a block or the segment's header.
    pub(crate) previous: Mac,
}

/// A block that verified, with its header.
pub(crate) struct Found {
    pub(crate) header: BlockHeader,
    pub(crate) block: Block,
}

/// Goes through one segment from a waypoint on.
pub(crate) struct Cursor<'a> {
    window: Window<'a>,
    keys: &'a JournalKeys,
    segment: SegmentHeader,
    at: Waypoint,
}

impl<'a> Cursor<'a> {
    /// Reads no further than `end_bytes`.
    pub(crate) fn new(
        file: &'a NamedFile,
        keys: &'a JournalKeys,
        segment: SegmentHeader,
        at: Waypoint,
        end_bytes: u64,
    ) -> Self {
        Self { window: Window::new(file, at.offset, end_bytes), keys, segment, at }
    }

    pub(crate) fn at(&self) -> Waypoint {
        self.at
    }

    /// The next block, or why there is none.
    pub(crate) fn step(&mut self) -> Result<Result<Found, Defect>, JournalError> {
        Ok(self.window.verified(self.at.offset, self.keys)?.and_then(|verified| {
            let Verified { header, payload, mac } = verified;
            if header.place.segment_id != self.segment.segment_id || header.place.epoch != self.segment.epoch {
                return Err(Defect::Segment);
            }
            if header.place.first_lsn != self.at.lsn {
                return Err(Defect::Lsn);
            }
            if header.place.previous != self.at.previous {
                return Err(Defect::Chain);
            }
            let block = Block::new(&header, payload)?;
            let offset = self.at.offset + header.block_bytes() as u64;
            self.at = Waypoint { lsn: header.next_lsn(), offset, previous: mac };
            Ok(Found { header, block })
        }))
    }

    /// The first block from here on that verifies alone and proves that record `lsn`, or the block that should stand
    /// here, had been durable.
    pub(crate) fn witness(&mut self, lsn: Lsn) -> Result<Option<BlockHeader>, JournalError> {
        let mut offset = self.at.offset;
        while offset < self.window.end_bytes {
            if let Ok(Verified { header, .. }) = self.window.verified(offset, self.keys)?
                && header.place.segment_id == self.segment.segment_id
                && header.proves_durable(lsn)
            {
                return Ok(Some(header));
            }
            offset += PAGE_BYTES as u64;
        }
        Ok(None)
    }

    /// How many bytes from here on, in whole pages, hold anything but zeros at their end.
    pub(crate) fn written_bytes(&mut self) -> Result<u64, JournalError> {
        let mut written = 0;
        let mut offset = self.at.offset;
        while let Some(page) = self.window.bytes(offset, PAGE_BYTES)? {
            offset += PAGE_BYTES as u64;
            if !are_zero(page) {
                written = offset - self.at.offset;
            }
        }
        Ok(written)
    }

    /// The page at `offset`, or zeros past the end.
    pub(crate) fn page(&mut self, offset: u64) -> Result<[u8; PAGE_BYTES], JournalError> {
        let page = self.window.bytes(offset, PAGE_BYTES)?.and_then(|page| page.first_chunk());
        Ok(*page.unwrap_or(&[0; PAGE_BYTES]))
    }
}

/// A block's own bytes are as they were written; where it stands is not checked.
struct Verified<'a> {
    header: BlockHeader,
    payload: &'a [u8],
    mac: Mac,
}

/// Part of a file in memory: few large reads instead of one for each block.
struct Window<'a> {
    file: &'a NamedFile,
    end_bytes: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// A file that was cut short reads as zeros up to the end of its last page.
    fn new(file: &'a NamedFile, start: u64, end_bytes: u64) -> Self {
        Self { file, end_bytes: end_bytes.next_multiple_of(PAGE_BYTES as u64), start, bytes: Vec::new() }
    }

    fn verified(&mut self, offset: u64, keys: &JournalKeys) -> Result<Result<Verified<'_>, Defect>, JournalError> {
        let Some(page) = self.bytes(offset, PAGE_BYTES)? else { return Ok(Err(Defect::Short)) };
        let header = match BlockHeader::parse(page) {
            Ok(header) => header,
            Err(defect) => return Ok(Err(defect)),
        };
        let Some(block) = self.bytes(offset, header.block_bytes())? else { return Ok(Err(Defect::Short)) };
        Ok(header.verify(block, keys).map(|(payload, mac)| Verified { header, payload, mac }))
    }

    /// `None` where the bytes would pass the end.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<Option<&[u8]>, JournalError> {
        let end = offset.saturating_add(length as u64);
        if end > self.end_bytes {
            return Ok(None);
        }
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            self.fill(offset, length)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(length)))
    }

    fn fill(&mut self, offset: u64, length: usize) -> Result<(), JournalError> {
        let left = usize::try_from(self.end_bytes - offset).unwrap_or(usize::MAX);
        self.bytes.resize(length.max(WINDOW_BYTES).min(left), 0);
        self.start = offset;
        let read = self.file.read_at(&mut self.bytes, offset)?;
        if let Some(missing) = self.bytes.get_mut(read..) {
            missing.fill(0);
        }
        Ok(())
    }
}

const WINDOW_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;
    use crate::journal::frame::{BlockBuffer, BlockPlace};
    use crate::journal::sim::{SimDisk, entry, keys};
    use std::sync::Arc;

    /// A well-made block in a place that differs from its right one by `change`.
    #[track_caller]
    fn check(change: impl FnOnce(&mut BlockPlace), expected: Option<Defect>) {
        let (lsn, high_water) = (Lsn::new(5), UnixTime::default());
        let segment = SegmentHeader {
            instance: [0; 16],
            segment_id: 2,
            epoch: 3,
            first_lsn: lsn,
            created_at: high_water,
            previous: Mac::default(),
        };
        let start = Waypoint { lsn, offset: 0, previous: Mac([9; 16]) };
        let mut place = BlockPlace {
            segment_id: 2,
            epoch: 3,
            first_lsn: lsn,
            durable_lsn: Lsn::new(4),
            high_water,
            previous: start.previous,
        };
        change(&mut place);
        let mut block = BlockBuffer::new();
        block.push(&entry(1, b"x"));
        block.seal(place, &keys());
        let disk = SimDisk::new();
        disk.put("a", block.as_slice().to_vec());
        let file = crate::journal::file::Directory::new(Arc::new(disk)).open("a").unwrap();
        let keys = keys();
        let mut cursor = Cursor::new(&file, &keys, segment, start, PAGE_BYTES as u64);
        assert_eq!(cursor.step().unwrap().err(), expected);
        assert_eq!(cursor.at() == start, expected.is_some());
    }

    #[test]
    fn a_block_counts_only_in_its_own_place() {
        check(|_| {}, None);
        check(|place| place.segment_id = 1, Some(Defect::Segment));
        check(|place| place.epoch = 4, Some(Defect::Segment));
        check(|place| place.first_lsn = Lsn::new(6), Some(Defect::Lsn));
        check(|place| place.previous = Mac([8; 16]), Some(Defect::Chain));
    }
}
