//! Looks at a journal that nobody serves, without changing anything: it verifies all that an open verifies, by the same
//! code, and counts. It never cuts a torn tail off, begins an epoch, or removes what an open would remove.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use thiserror::Error;

use crate::clock::UnixTime;
use crate::journal::block::Block;
use crate::journal::disk::Disk;
use crate::journal::error::{Defect, JournalError};
use crate::journal::file::Directory;
use crate::journal::frame::record_bytes;
use crate::journal::head::{Head, HeadFile};
use crate::journal::keys::JournalKeys;
use crate::journal::lsn::Lsn;
use crate::journal::recover::{load_head, replay_from};
use crate::journal::scan::Found;
use crate::journal::segment::{Instance, SegmentName};
use crate::journal::snapshot::{SnapshotExtent, SnapshotName, read_snapshot};
use crate::journal::survey::{Segment, Survey, TornTail, open_segments};

/// What a journal is made of. Everything in it has verified, but for the torn tail.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What the file `HEAD` states.
    pub head: HeadFacts,
    /// The segments that count, in order.
    pub segments: Vec<SegmentFacts>,
    /// Segments that a recovery has replaced or a snapshot made superfluous, and a crash has kept from being removed.
    pub superseded: Vec<String>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotFacts>,
    /// The last record; 0 where there is none.
    pub last_lsn: Lsn,
    /// The latest time that any block states.
    pub high_water: UnixTime,
    /// What records there are, by kind.
    pub kinds: BTreeMap<u16, KindFacts>,
    /// The most records of one block.
    pub block_records_max: u32,
    /// What the next start will cut off the end, if anything.
    pub torn: Option<TornTail>,
}

/// What `HEAD` states.
#[derive(Clone, Copy, Debug)]
pub struct HeadFacts {
    /// How often it was written.
    pub counter: u64,
    /// Which journal this is.
    pub instance: [u8; 16],
    /// The epoch when it was written.
    pub epoch: u64,
    /// The last record that was durable then.
    pub durable_lsn: Lsn,
    /// Id of the newest segment then.
    pub segment_id: u64,
    /// The oldest record that must be there.
    pub retained_from: Lsn,
    /// Where one of the two slots does not verify, and why not. The other stands in, and the next start writes it anew.
    pub damage: Option<(u64, Defect)>,
}

/// What one segment holds.
#[derive(Clone, Debug)]
pub struct SegmentFacts {
    /// File name.
    pub name: String,
    /// One higher with every segment.
    pub segment_id: u64,
    /// One higher with every open.
    pub epoch: u64,
    /// When it was begun.
    pub created_at: UnixTime,
    /// Its first record, or the one that it waits for.
    pub first_lsn: Lsn,
    /// Blocks with records.
    pub blocks: u64,
    /// Blocks without, which only state what is durable.
    pub marks: u64,
    /// Records.
    pub records: u64,
    /// Bytes in use: the header and all blocks, with their padding.
    pub bytes: u64,
    /// Length of the file.
    pub length_bytes: u64,
}

impl SegmentFacts {
    fn new(segment: &Segment) -> Self {
        let header = &segment.header;
        Self {
            name: segment.file.name().to_owned(),
            segment_id: header.segment_id,
            epoch: header.epoch,
            created_at: header.created_at,
            first_lsn: header.first_lsn,
            blocks: 0,
            marks: 0,
            records: 0,
            bytes: segment.first_block.offset,
            length_bytes: segment.length_bytes,
        }
    }

    /// Its last record; `None` where it has none.
    #[must_use]
    pub fn last_lsn(&self) -> Option<Lsn> {
        (self.records > 0).then(|| self.first_lsn.after(self.records).before())
    }
}

/// What one snapshot is.
#[derive(Clone, Debug)]
pub struct SnapshotFacts {
    /// File name.
    pub name: String,
    /// What it covers. An error, in words, where it does not verify; then a start goes on from an older one.
    pub extent: Result<SnapshotExtent, String>,
}

/// How many records there are of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindFacts {
    /// Records.
    pub records: u64,
    /// What they take in their blocks: payload, header and padding.
    pub bytes: u64,
}

/// Where a block stands.
#[derive(Clone, Copy, Debug)]
pub struct BlockLocation<'a> {
    /// File name of its segment.
    pub segment: &'a str,
    /// Where in the file it begins.
    pub offset: u64,
}

/// Why a journal could not be looked at, or is not whole.
#[derive(Debug, Error)]
pub enum InspectError {
    /// Somebody may be writing.
    #[error(
        "a server holds the journal in this data directory: stop it, or run this on a copy or a backup of the directory"
    )]
    InUse,
    /// No journal was ever begun there.
    #[error("there is no journal in this data directory: give the directory of a server with --data-dir")]
    Absent,
    /// The visitor wanted no more.
    #[error("the journal was not read to its end")]
    Ended,
    /// It is damaged, or the disk is.
    #[error(transparent)]
    Journal(JournalError),
}

impl From<JournalError> for InspectError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Locked => Self::InUse,
            JournalError::Ended => Self::Ended,
            other => Self::Journal(other),
        }
    }
}

/// Verifies the journal in the directory behind `disk`, which is locked meanwhile, and hands every block that has records to
/// `visit` in LSN order, until that breaks off. Only when it returns `Ok` is the journal whole; a torn tail is, for it was
/// never acknowledged.
///
/// With a [`ReadOnlyDisk`](crate::journal::disk::ReadOnlyDisk) nothing is changed, not even a lock file created.
///
/// # Errors
///
/// [`InspectError::InUse`] when a server holds the directory, [`InspectError::Absent`] when it holds no journal,
/// [`InspectError::Ended`] when `visit` broke off, [`InspectError::Journal`] for what an open would refuse.
pub fn inspect(
    disk: Arc<dyn Disk>,
    keys: &JournalKeys,
    visit: &mut dyn FnMut(BlockLocation<'_>, &Block) -> ControlFlow<()>,
) -> Result<Inspection, InspectError> {
    let directory = Directory::new(disk);
    let _lock = directory.lock()?;
    let names = directory.list()?;
    let (live, superseded) = SegmentName::live(&names);
    let snapshot_names = SnapshotName::all(&names);
    let is_new = live.is_empty() && snapshot_names.is_empty();
    let head = load_head(&directory, &names, is_new, keys)?.ok_or(InspectError::Absent)?;
    let Head { instance, durable_lsn, retained_from, .. } = *head.latest();
    let (retired, live) = SegmentName::retired(live, retained_from);
    let superseded = superseded.into_iter().chain(retired.iter().map(ToString::to_string)).collect();
    let snapshots = read_snapshots(&directory, &snapshot_names, instance, keys)?;
    let newest = snapshots.iter().rev().find_map(|snapshot| snapshot.extent.as_ref().ok());
    replay_from(newest.copied(), retained_from)?;
    let known_durable = durable_lsn.max(newest.map(|extent| extent.end_lsn).unwrap_or_default());
    let segments = open_segments(&directory, &live, &head, keys)?;
    let mut tally = Tally { segments: segments.iter().map(SegmentFacts::new).collect(), ..Tally::default() };
    let mut visit = |segment: &Segment, offset: u64, found: Found| {
        tally.count(segment, &found);
        let location = BlockLocation { segment: segment.file.name(), offset };
        if !found.block.is_empty() && visit(location, &found.block).is_break() {
            return Err(JournalError::Ended);
        }
        Ok(())
    };
    let mut survey = Survey::new(keys, known_durable, retained_from, &mut visit);
    let torn = survey.read_all(&segments)?.and_then(|tail| tail.torn);
    let Survey { last_lsn, high_water, .. } = survey;
    let Tally { segments, kinds, block_records_max } = tally;
    let head = HeadFacts::new(&head);
    Ok(Inspection { head, segments, superseded, snapshots, last_lsn, high_water, kinds, block_records_max, torn })
}

/// Reads every snapshot to its end. What does not verify is told; a disk that fails is an error.
fn read_snapshots(
    directory: &Directory,
    names: &[SnapshotName],
    instance: Instance,
    keys: &JournalKeys,
) -> Result<Vec<SnapshotFacts>, JournalError> {
    let mut snapshots = Vec::new();
    for name in names.iter().map(ToString::to_string) {
        let extent = match read_snapshot(directory, &name, Some(instance), keys, &mut |_| {}) {
            Ok((extent, _)) => Ok(extent),
            Err(error @ (JournalError::Snapshot { .. } | JournalError::Foreign { .. })) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        snapshots.push(SnapshotFacts { name, extent });
    }
    Ok(snapshots)
}

impl HeadFacts {
    fn new(file: &HeadFile) -> Self {
        let head = file.latest();
        Self {
            counter: head.counter,
            instance: head.instance,
            epoch: head.epoch,
            durable_lsn: head.durable_lsn,
            segment_id: head.segment_id,
            retained_from: head.retained_from,
            damage: file.damage,
        }
    }
}

/// What was counted so far.
#[derive(Default)]
struct Tally {
    segments: Vec<SegmentFacts>,
    kinds: BTreeMap<u16, KindFacts>,
    block_records_max: u32,
}

impl Tally {
    fn count(&mut self, segment: &Segment, Found { header, block }: &Found) {
        if let Some(facts) = self.segments.iter_mut().find(|facts| facts.segment_id == segment.header.segment_id) {
            let is_mark = u64::from(block.is_empty());
            facts.marks += is_mark;
            facts.blocks += 1 - is_mark;
            facts.records += u64::from(block.len());
            facts.bytes += header.block_bytes() as u64;
        }
        self.block_records_max = self.block_records_max.max(block.len());
        for record in block.records() {
            let kind = self.kinds.entry(record.kind).or_default();
            kind.records += 1;
            kind.bytes += record_bytes(record.payload.len()) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::commit::CommitOutcome;
    use crate::journal::frame::PAGE_BYTES;
    use crate::journal::head::HEAD;
    use crate::journal::sim::{Rig, SimDisk, block_offset, keys, last_not_acknowledged, many_segments, three_blocks};

    fn look(disk: &SimDisk) -> Result<Inspection, InspectError> {
        inspect(Arc::new(disk.clone()), &keys(), &mut |_, _| ControlFlow::Continue(()))
    }

    /// The disk as anybody can see it.
    fn image(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
        disk.names().into_iter().map(|name| (name.clone(), disk.bytes(&name))).collect()
    }

    fn torn() -> SimDisk {
        let disk = last_not_acknowledged();
        disk.change(&disk.segments()[0], |bytes| bytes[block_offset(2) + 100] ^= 1);
        disk
    }

    /// A directory that a crash between the rename and the removes has left.
    fn with_superseded() -> SimDisk {
        let disk = many_segments(20);
        let old = disk.segments()[1].clone();
        let bytes = disk.bytes(&old);
        let disk = Rig::open(&disk).unwrap().close();
        disk.put(&old, bytes);
        disk
    }

    /// Every kind of damage that the tests of `survey.rs` have, and what is whole.
    fn images() -> Vec<SimDisk> {
        let flipped = |disk: SimDisk, segment: usize, position: usize| {
            disk.change(&disk.segments()[segment], |bytes| bytes[position] ^= 1);
            disk
        };
        let without = |disk: SimDisk, name: &str| {
            disk.take(name);
            disk
        };
        let of = |index: usize| many_segments(40).segments()[index].clone();
        let mut images = vec![three_blocks(), many_segments(40), last_not_acknowledged(), torn(), with_superseded()];
        images.extend((0..3).map(|block| flipped(three_blocks(), 0, block_offset(block) + 99)));
        images.extend((0..3).map(|segment| flipped(many_segments(40), segment, block_offset(3) + 99)));
        images.extend((0..3).map(|segment| flipped(many_segments(40), segment, 70)));
        images.extend((0..3).map(|segment| without(many_segments(40), &of(segment))));
        images.push(without(many_segments(40), HEAD));
        let foreign = many_segments(40);
        foreign.put(&of(1), many_segments(40).bytes(&of(1)));
        images.push(foreign);
        images.push(Rig::open(&three_blocks()).unwrap().close());
        images
    }

    #[test]
    fn it_says_of_every_directory_what_an_open_says() {
        let mut refused = 0;
        for (number, disk) in images().into_iter().enumerate() {
            let looked = look(&disk);
            match (looked, Rig::open(&disk)) {
                (Ok(inspection), Ok(rig)) => {
                    let records = inspection.segments.iter().map(|segment| segment.records).sum::<u64>();
                    let recovered = &rig.recovered;
                    assert_eq!(
                        (inspection.last_lsn, inspection.high_water, records, inspection.torn),
                        (recovered.last_lsn, recovered.high_water, recovered.records, recovered.torn.clone()),
                        "image {number}"
                    );
                }
                (Err(InspectError::Journal(looked)), Err(opened)) => {
                    refused += 1;
                    assert_eq!(looked.to_string(), opened.to_string(), "image {number}");
                }
                (looked, opened) => panic!("image {number}: {looked:?}, but an open: {:?}", opened.err()),
            }
        }
        assert_eq!(refused, 13);
    }

    #[test]
    fn it_changes_nothing_and_locks_the_directory_meanwhile() {
        for disk in images() {
            disk.put("spare.tmp", vec![1; 10]);
            disk.put("recovery.tmp", vec![2; 10]);
            let (before, operations) = (image(&disk), disk.operations());
            let _ = inspect(Arc::new(disk.clone()), &keys(), &mut |_, _| {
                assert!(matches!(Rig::open(&disk), Err(JournalError::Locked)));
                ControlFlow::Continue(())
            });
            assert_eq!(disk.operations(), operations);
            assert!(image(&disk) == before);
            assert!(!matches!(Rig::open(&disk), Err(JournalError::Locked)), "it lets go of the lock");
        }
    }

    #[test]
    fn a_directory_in_use_or_without_a_journal_is_told_from_a_damaged_one() {
        let rig = Rig::open(&SimDisk::new()).unwrap();
        assert!(matches!(look(&rig.disk), Err(InspectError::InUse)));
        assert!(matches!(look(&SimDisk::new()), Err(InspectError::Absent)));
        assert!(look(&rig.close()).unwrap().segments[0].last_lsn().is_none());
    }

    #[test]
    fn it_counts_what_is_there() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        for payload in [[1; 20], [2; 20]] {
            rig.append(0, &payload);
        }
        assert_eq!(rig.commit(), CommitOutcome::Committed(2));
        rig.commit_one(b"three");
        rig.time.advance(std::time::Duration::from_secs(1));
        assert_eq!(rig.commit(), CommitOutcome::Marked);
        let inspection = look(&rig.disk.synced()).unwrap();
        let [segment] = &inspection.segments[..] else { panic!("{inspection:?}") };
        assert_eq!((segment.blocks, segment.marks, segment.records), (2, 1, 3));
        assert_eq!((segment.first_lsn.value(), segment.last_lsn().map(Lsn::value)), (1, Some(3)));
        assert_eq!((segment.bytes, segment.length_bytes), (4 * PAGE_BYTES as u64, 64 << 10));
        assert_eq!(inspection.block_records_max, 2);
        let bytes = 2 * (16 + 32) + 16 + 16;
        assert_eq!(inspection.kinds.into_iter().collect::<Vec<_>>(), [(7, KindFacts { records: 3, bytes })]);

        let superseded = look(&with_superseded()).unwrap();
        assert_eq!((superseded.superseded.len(), superseded.segments.len()), (1, 2));
    }

    #[test]
    fn a_block_is_handed_out_with_its_place_and_reading_ends_when_it_should() {
        let disk = many_segments(40);
        let mut places = Vec::new();
        let ended = inspect(Arc::new(disk.clone()), &keys(), &mut |location, block| {
            places.push((location.segment.to_owned(), location.offset, block.first_lsn().value()));
            if places.len() == 17 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(ended, Err(InspectError::Ended)));
        let expected = |lsn: usize| {
            let (segment, block) = ((lsn - 1) / 15, (lsn - 1) % 15);
            (disk.segments()[segment].clone(), block_offset(block) as u64, lsn as u64)
        };
        assert!(places.into_iter().eq((1..=17).map(expected)));
    }

    #[test]
    fn a_damaged_slot_of_head_is_told() {
        let disk = many_segments(40);
        assert_eq!(look(&disk).unwrap().head.damage, None);
        disk.change(HEAD, |bytes| bytes[50] ^= 4);
        assert_eq!(look(&disk).unwrap().head.damage, Some((0, Defect::HeaderChecksum)));
    }
}
