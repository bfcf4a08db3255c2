//! Verifies what is in the directory, and tells a torn tail from corruption.

use std::sync::Arc;

use crate::clock::UnixTime;
use crate::journal::catalog::SegmentEntry;
use crate::journal::error::{Defect, JournalError};
use crate::journal::file::{Directory, NamedFile};
use crate::journal::head::HeadFile;
use crate::journal::keys::JournalKeys;
use crate::journal::lsn::Lsn;
use crate::journal::scan::{Cursor, Found, Waypoint};
use crate::journal::segment::{SegmentHeader, SegmentName};

/// Bytes of a write that a crash cut short: never acknowledged, and kept aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// File name of the segment that they were cut off.
    pub segment: String,
    /// Where in it they began.
    pub offset: u64,
    /// How many there were.
    pub bytes: u64,
    /// The record that was due there; its number is given out again.
    pub lsn: Lsn,
    /// The file that they are kept in, unless the disk is full.
    pub kept_as: String,
    /// Why the first of them did not verify.
    pub defect: Defect,
}

/// A live segment with a valid header.
pub(crate) struct Segment {
    pub(crate) file: NamedFile,
    pub(crate) header: SegmentHeader,
    pub(crate) first_block: Waypoint,
    pub(crate) length_bytes: u64,
}

pub(crate) fn open_segments(
    directory: &Directory,
    names: &[SegmentName],
    head: &HeadFile,
    keys: &JournalKeys,
) -> Result<Vec<Segment>, JournalError> {
    let mut segments: Vec<Segment> = Vec::new();
    for name in names {
        let segment = Segment::open(directory, &name.to_string(), keys)?;
        if segment.header.instance != head.latest().instance {
            return Err(JournalError::Foreign { segment: name.to_string() });
        }
        if segments.last().is_some_and(|before| before.header.segment_id >= segment.header.segment_id) {
            return Err(segment.corrupt(0, Defect::Segment, name.first_lsn, name.first_lsn));
        }
        segments.push(segment);
    }
    check_ends(&segments, head)?;
    Ok(segments)
}

/// A first or last segment that is not there leaves no gap between the others: `HEAD` knows of it.
fn check_ends(segments: &[Segment], head: &HeadFile) -> Result<(), JournalError> {
    let head = head.latest();
    let newest_id = segments.last().map(|last| last.header.segment_id).unwrap_or_default();
    if newest_id < head.segment_id {
        return Err(missing("the newest segment", head.durable_lsn, head.durable_lsn));
    }
    match segments.first().map(|first| first.header.first_lsn) {
        Some(first) if first != head.retained_from => {
            Err(missing("the oldest segment", head.retained_from, first.before()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn missing(what: &'static str, first: Lsn, last: Lsn) -> JournalError {
    JournalError::Missing { what, first, last: last.max(first) }
}

impl Segment {
    fn open(directory: &Directory, name: &str, keys: &JournalKeys) -> Result<Self, JournalError> {
        let file = directory.open(name)?;
        // After a failed sync the page cache may show what the disk never got.
        file.drop_cache()?;
        let (header, first_block) = SegmentHeader::read(&file, keys)?;
        let length_bytes = file.length_bytes()?;
        Ok(Self { file, header, first_block, length_bytes })
    }

    pub(crate) fn cursor<'a>(&'a self, keys: &'a JournalKeys, at: Waypoint, end_bytes: u64) -> Cursor<'a> {
        Cursor::new(&self.file, keys, self.header, at, end_bytes)
    }

    pub(crate) fn corrupt(&self, offset: u64, defect: Defect, first: Lsn, last: Lsn) -> JournalError {
        let segment = self.file.name().to_owned();
        JournalError::Corrupt { segment, offset, first, last: last.max(first), defect }
    }
}

/// The last segment and where its surviving blocks end.
pub(crate) struct Tail<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) end: Waypoint,
    pub(crate) torn: Option<TornTail>,
}

/// Takes each block that verifies, a mark too: its segment, where in it the block begins, and the block. Its error ends the
/// survey.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&Segment, u64, Found) -> Result<(), JournalError>;

/// One pass over all blocks.
pub(crate) struct Survey<'a> {
    keys: &'a JournalKeys,
    visit: Visit<'a>,
    /// The highest record that anything read so far states to have been durable.
    known_durable: Lsn,
    /// The first record to hand out.
    from: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) high_water: UnixTime,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The segments before the last.
    pub(crate) entries: Vec<Arc<SegmentEntry>>,
}

impl<'a> Survey<'a> {
    /// A survey that begins with record `from`, and does not read segments that end before it.
    pub(crate) fn new(keys: &'a JournalKeys, known_durable: Lsn, from: Lsn, visit: Visit<'a>) -> Self {
        let (high_water, entries, last_lsn) = (UnixTime::default(), Vec::new(), from.before());
        Self { keys, visit, known_durable, from, last_lsn, high_water, records: 0, bytes: 0, entries }
    }

    /// `None` where there is no segment yet.
    pub(crate) fn read_all<'s>(&mut self, segments: &'s [Segment]) -> Result<Option<Tail<'s>>, JournalError> {
        let Some((last, sealed)) = segments.split_last() else {
            return if self.known_durable < self.from {
                Ok(None)
            } else {
                Err(missing("every segment", self.from, self.known_durable))
            };
        };
        for (segment, next) in sealed.iter().zip(segments.iter().skip(1)) {
            let (Segment { header, length_bytes, first_block, .. }, end_lsn) = (segment, next.header.first_lsn);
            if end_lsn <= self.from {
                let unread = SegmentEntry::unread(*header, *length_bytes, *first_block, end_lsn);
                self.entries.push(Arc::new(unread));
                continue;
            }
            let entry = SegmentEntry::new(*header, *length_bytes, *first_block);
            let (mut cursor, defect) = self.read_blocks(segment, &entry)?;
            Self::check_joint(segment, next, &mut cursor, defect)?;
            self.entries.push(Arc::new(entry));
        }
        let entry = SegmentEntry::new(last.header, last.length_bytes, last.first_block);
        let (mut cursor, defect) = self.read_blocks(last, &entry)?;
        self.last_lsn = cursor.at().lsn.before();
        let torn = self.judge_tail(last, &mut cursor, defect)?;
        Ok(Some(Tail { segment: last, end: cursor.at(), torn }))
    }

    /// Hands out blocks up to the first that does not verify, and says why that one does not.
    fn read_blocks<'s>(
        &mut self,
        segment: &'s Segment,
        entry: &SegmentEntry,
    ) -> Result<(Cursor<'s>, Defect), JournalError>
    where
        'a: 's,
    {
        let mut cursor = segment.cursor(self.keys, segment.first_block, segment.length_bytes);
        self.high_water = self.high_water.max(segment.header.created_at);
        loop {
            let offset = cursor.at().offset;
            let found = match cursor.step()? {
                Ok(found) => found,
                Err(defect) => return Ok((cursor, defect)),
            };
            entry.extend(cursor.at());
            self.known_durable = self.known_durable.max(found.header.place.durable_lsn);
            self.high_water = self.high_water.max(found.header.place.high_water);
            if found.header.next_lsn() > self.from {
                self.records += u64::from(found.header.records);
                self.bytes += found.header.block_bytes() as u64;
            }
            (self.visit)(segment, offset, found)?;
        }
    }

    /// The next segment's header was written when all before it was durable, and names the block that it follows.
    fn check_joint(
        segment: &Segment,
        next: &Segment,
        cursor: &mut Cursor<'_>,
        defect: Defect,
    ) -> Result<(), JournalError> {
        let end = cursor.at();
        if next.header.first_lsn == end.lsn && next.header.previous == end.previous {
            return Ok(());
        }
        let witness = cursor.witness(end.lsn)?.map(|witness| witness.place.first_lsn);
        let last = witness.unwrap_or(next.header.first_lsn).before();
        Err(segment.corrupt(end.offset, defect, end.lsn, last))
    }

    /// The exact rule, with B the first block that does not verify, in the last segment. If a block, `HEAD` or the
    /// database states that B had been durable, it is corruption; if not, B was never acknowledged, and is torn.
    fn judge_tail(
        &self,
        segment: &Segment,
        cursor: &mut Cursor<'_>,
        defect: Defect,
    ) -> Result<Option<TornTail>, JournalError> {
        let Waypoint { lsn, offset, .. } = cursor.at();
        if let Some(witness) = cursor.witness(lsn)? {
            return Err(segment.corrupt(offset, defect, lsn, witness.place.first_lsn.before()));
        }
        let bytes = cursor.written_bytes()?;
        if self.known_durable >= lsn {
            let defect = if bytes == 0 { Defect::Ends } else { defect };
            return Err(segment.corrupt(offset, defect, lsn, self.known_durable));
        }
        let name = segment.file.name();
        let kept_as = format!("{}.torn", name.strip_suffix(".seg").unwrap_or(name));
        let torn = TornTail { segment: name.to_owned(), offset, bytes, lsn, kept_as, defect };
        Ok((bytes > 0).then_some(torn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Options;
    use crate::journal::commit::CommitOutcome;
    use crate::journal::frame::PAGE_BYTES;
    use crate::journal::head::HEAD;
    use crate::journal::sim::{
        Random, Rig, SimDisk, block_offset, last_not_acknowledged, many_segments, options, three_blocks,
    };

    fn flipped(disk: &SimDisk, segment: usize, position: usize) -> SimDisk {
        let disk = disk.synced();
        disk.change(&disk.segments()[segment], |bytes| bytes[position] ^= 1 << (position % 8));
        disk
    }

    #[track_caller]
    fn check_corrupt(disk: &SimDisk, expected_offset: usize, expected: (u64, u64)) {
        match Rig::open(disk).err().expect("must not open") {
            JournalError::Corrupt { offset, first, last, .. } => {
                assert_eq!((offset, (first.value(), last.value())), (expected_offset as u64, expected));
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn another_key_is_refused() {
        let disk = three_blocks();
        let mut options = options(1);
        options.keys.key_id = 9;
        let error = Rig::open_with(&disk, options).err().unwrap();
        assert!(error.to_string().starts_with("the master key does not fit this data directory"), "{error}");
    }

    #[test]
    fn a_tail_torn_at_any_byte_loses_nothing_that_was_acknowledged() {
        let whole = last_not_acknowledged();
        let name = &whole.segments()[0];
        let start = block_offset(2);
        let mut random = Random::new(1);
        let mac_end = 80 + 32 + 16;
        for cut in (0..=mac_end).chain([512, 1000, PAGE_BYTES]) {
            let zeroed = whole.synced();
            // The last bytes of a MAC may be zeros already: then nothing is cut off.
            let mut is_whole = false;
            zeroed.change(name, |bytes| {
                is_whole = bytes[start + cut..start + PAGE_BYTES].iter().all(|byte| *byte == 0);
                bytes[start + cut..].fill(0);
            });
            let shortened = whole.synced();
            shortened.change(name, |bytes| bytes.truncate(start + cut));
            let garbled = whole.synced();
            garbled.change(name, |bytes| {
                bytes[start + cut..start + PAGE_BYTES].fill_with(|| random.next().to_le_bytes()[0])
            });
            for (disk, survives) in [(zeroed, is_whole), (shortened, cut >= mac_end), (garbled, cut == PAGE_BYTES)] {
                let mut rig = Rig::open(&disk).unwrap();
                assert_eq!(rig.payloads().len(), if survives { 3 } else { 2 }, "cut at {cut}");
                assert_eq!(
                    rig.recovered.torn.is_some(),
                    !survives && cut > 0 || cut == 0 && rig.recovered.torn.is_some()
                );
                rig.commit_one(b"goes on");
                assert_eq!(Rig::open(&rig.close()).unwrap().payloads().last().unwrap(), b"goes on");
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_a_durable_block_is_corruption() {
        let disk = three_blocks();
        for byte in (0..80 + 32 + 16).chain([200, PAGE_BYTES - 1]) {
            check_corrupt(&flipped(&disk, 0, block_offset(0) + byte), block_offset(0), (1, 1));
            check_corrupt(&flipped(&disk, 0, block_offset(1) + byte), block_offset(1), (2, 2));
        }
    }

    #[test]
    fn the_last_block_is_known_to_be_durable_by_head_or_mark_or_database() {
        let last = block_offset(2) + 100;
        assert_eq!(Rig::open(&flipped(&three_blocks(), 0, last)).unwrap().payloads().len(), 2);
        let confirmed = Options { confirmed_lsn: Some(Lsn::new(3)), ..options(1) };
        let error = Rig::open_with(&flipped(&three_blocks(), 0, last), confirmed).err().unwrap();
        assert!(matches!(error, JournalError::Corrupt { .. }));
        // An open writes HEAD, and so does a close.
        let reopened = Rig::open(&three_blocks()).unwrap();
        check_corrupt(&flipped(&reopened.disk.synced(), 0, last), block_offset(2), (3, 3));
        check_corrupt(&flipped(&reopened.disk.synced(), 0, block_offset(1) + 100), block_offset(1), (2, 2));
        let mut rig = Rig::open(&three_blocks()).unwrap();
        rig.commit_one(b"four");
        let mut marked = Rig::open(&three_blocks()).unwrap();
        marked.commit_one(b"four");
        marked.time.advance(std::time::Duration::from_secs(1));
        assert_eq!(marked.commit(), CommitOutcome::Marked);
        for disk in [rig.close(), marked.disk.synced()] {
            check_corrupt(&flipped(&disk, 0, block_offset(3) + 100), block_offset(3), (4, 4));
        }
    }

    #[test]
    fn a_journal_that_ends_before_what_the_database_confirmed_is_corrupt() {
        let options = || Options { confirmed_lsn: Some(Lsn::new(4)), ..options(1) };
        let error = Rig::open_with(&three_blocks(), options()).err().unwrap();
        assert!(error.to_string().contains("the journal ends there; records 4 to 4"), "{error}");
        assert!(matches!(Rig::open_with(&SimDisk::new(), options()), Err(JournalError::Missing { .. })));
    }

    #[test]
    fn what_an_open_has_moved_is_known_to_be_durable() {
        let disk = three_blocks();
        let old_head = disk.bytes(HEAD);
        let moved = Rig::open(&disk).unwrap().disk.synced();
        moved.put(HEAD, old_head);
        check_corrupt(&flipped(&moved, 0, block_offset(2) + 100), block_offset(2), (3, 3));

        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.commit_one(b"alone");
        let moved = Rig::open(&rig.disk.synced()).unwrap().disk.synced();
        check_corrupt(&flipped(&moved, 0, block_offset(0) + 100), block_offset(0), (1, 1));
    }

    #[test]
    fn a_block_of_another_journal_in_the_same_place_is_corruption() {
        for index in 0..3 {
            let (disk, other) = (three_blocks(), three_blocks());
            let name = &disk.segments()[0];
            let block = block_offset(index)..block_offset(index + 1);
            disk.change(name, |bytes| bytes[block.clone()].copy_from_slice(&other.bytes(name)[block.clone()]));
            match Rig::open(&disk) {
                Err(JournalError::Corrupt { defect: Defect::Chain, offset, .. }) => {
                    assert_eq!(offset, block.start as u64)
                }
                _ => panic!("block {index} was taken"),
            }
        }
    }

    #[test]
    fn a_damaged_mark_at_the_end_of_a_sealed_segment_is_corruption() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        for number in 0..14 {
            rig.commit_one(&[number]);
        }
        rig.time.advance(std::time::Duration::from_secs(1));
        assert_eq!(rig.commit(), CommitOutcome::Marked);
        rig.commit_one(b"in the next segment");
        assert_eq!(rig.disk.segments().len(), 2);
        check_corrupt(&flipped(&rig.disk.synced(), 0, block_offset(14) + 9), block_offset(14), (15, 15));
    }

    /// The block after a mark states a durable LSN that is lower than what was due at the mark.
    #[test]
    fn a_damaged_mark_does_not_hide_the_block_after_it() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.commit_one(b"one");
        rig.time.advance(std::time::Duration::from_secs(1));
        assert_eq!(rig.commit(), CommitOutcome::Marked);
        rig.commit_one(b"two");
        check_corrupt(&flipped(&rig.disk.synced(), 0, block_offset(1) + 20), block_offset(1), (2, 2));
    }

    #[test]
    fn blocks_that_are_swapped_or_doubled_are_corruption() {
        let copy = |from: usize, to: usize| {
            move |bytes: &mut Vec<u8>| bytes.copy_within(block_offset(from)..block_offset(from + 1), block_offset(to))
        };
        for (from, to, offset) in [(0, 1, 1), (1, 0, 0), (1, 2, 2), (0, 3, 3)] {
            let disk = three_blocks();
            disk.change(&disk.segments()[0], copy(from, to));
            assert!(
                matches!(Rig::open(&disk), Err(JournalError::Corrupt { offset: at, .. }) if at == block_offset(offset) as u64)
            );
        }
    }

    #[test]
    fn damage_in_a_sealed_segment_is_corruption() {
        let disk = many_segments(40);
        assert_eq!(disk.segments().len(), 3);
        check_corrupt(&flipped(&disk, 0, block_offset(14) + 99), block_offset(14), (15, 15));
        check_corrupt(&flipped(&disk, 1, block_offset(3) + 99), block_offset(3), (19, 19));
        check_corrupt(&flipped(&disk, 1, 70), 0, (16, 16));
        let zeroed = disk.synced();
        zeroed.change(&disk.segments()[0], |bytes| bytes[block_offset(14)..].fill(0));
        check_corrupt(&zeroed, block_offset(14), (15, 15));
    }

    #[test]
    fn a_segment_that_is_missing_is_noticed() {
        for (index, expected) in
            [(0, "the oldest segment is missing"), (1, "records 16 to 30"), (2, "the newest segment is missing")]
        {
            let disk = many_segments(40);
            disk.take(&disk.segments()[index]);
            let error = Rig::open(&disk).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let disk = many_segments(40);
        disk.segments().iter().for_each(|name| drop(disk.take(name)));
        assert!(matches!(Rig::open(&disk), Err(JournalError::Missing { .. })));
        let disk = many_segments(40);
        disk.take(HEAD);
        assert!(Rig::open(&disk).err().unwrap().to_string().contains("HEAD is missing"));
    }

    #[test]
    fn swapped_and_foreign_segments_are_noticed() {
        let disk = many_segments(40);
        let names = disk.segments();
        let (one, two) = (disk.bytes(&names[0]), disk.bytes(&names[1]));
        disk.put(&names[0], two);
        disk.put(&names[1], one);
        assert!(matches!(Rig::open(&disk), Err(JournalError::Corrupt { offset: 0, defect: Defect::Segment, .. })));
        let disk = many_segments(40);
        disk.put(&names[1], many_segments(40).bytes(&names[1]));
        assert!(matches!(Rig::open(&disk), Err(JournalError::Foreign { segment }) if segment == names[1]));
    }

    #[test]
    fn one_damaged_slot_of_head_does_no_harm_and_two_are_refused() {
        let disk = many_segments(40);
        let damage = |slots: &[usize]| {
            let disk = disk.synced();
            disk.change(HEAD, |bytes| slots.iter().for_each(|slot| bytes[slot * PAGE_BYTES + 50] ^= 4));
            Rig::open(&disk).map(|rig| rig.payloads().len())
        };
        assert_eq!((damage(&[0]).unwrap(), damage(&[1]).unwrap()), (40, 40));
        assert!(matches!(damage(&[0, 1]), Err(JournalError::Corrupt { segment, .. }) if segment == HEAD));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let disk = three_blocks();
        disk.change(HEAD, |bytes| {
            for slot in bytes.chunks_mut(PAGE_BYTES) {
                slot[4] = 2;
                let crc = crc32c::crc32c(&slot[..96]);
                slot[96..100].copy_from_slice(&crc.to_le_bytes());
            }
        });
        assert!(matches!(Rig::open(&disk), Err(JournalError::UnknownVersion { version: 2, .. })));
    }
}
