//! Opening: verify everything, tell a torn tail from corruption, and move the tail under a new epoch.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::{Clock, UnixTime};
use crate::journal::Options;
use crate::journal::block::Block;
use crate::journal::catalog::SegmentEntry;
use crate::journal::commit::Active;
use crate::journal::disk::{Disk, DiskLock};
use crate::journal::error::JournalError;
use crate::journal::file::{Directory, NamedFile};
use crate::journal::frame::{BlockBuffer, BlockPlace, PAGE_BYTES};
use crate::journal::head::{HEAD, HEAD_TMP, HeadFile};
use crate::journal::keys::JournalKeys;
use crate::journal::lsn::Lsn;
use crate::journal::reserve;
use crate::journal::scan::{Found, Waypoint};
use crate::journal::segment::{Instance, SegmentHeader, SegmentName};
use crate::journal::snapshot::{Kept, SNAPSHOT_TMP, SnapshotExtent, SnapshotName, SnapshotRead, read_snapshot};
use crate::journal::space::Budget;
use crate::journal::spare::SPARE;
use crate::journal::survey::{Segment, Survey, Tail, TornTail, missing, open_segments};
use crate::telemetry::progress::StartProgress;

/// What was found in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last record; the next append gets the one after.
    pub last_lsn: Lsn,
    /// The epoch that has now begun: one higher with every open.
    pub epoch: u64,
    /// The latest time that any block, or the header of a segment, states. [`super::open`] has raised the clock to it.
    pub high_water: UnixTime,
    /// How many records were handed out.
    pub records: u64,
    /// Bytes of the blocks that verified, with their padding.
    pub bytes: u64,
    /// What was cut off the end, if anything was.
    pub torn: Option<TornTail>,
    /// The snapshot that it went on from.
    pub snapshot: Option<SnapshotExtent>,
}

/// An opened directory that blocks can be appended to.
pub(crate) struct Ground {
    pub(crate) directory: Directory,
    pub(crate) options: Options,
    pub(crate) budget: Budget,
    pub(crate) lock: Box<dyn DiskLock>,
    pub(crate) head: HeadFile,
    pub(crate) snapshots: Vec<Kept>,
    pub(crate) segments: Vec<Arc<SegmentEntry>>,
    pub(crate) active: Active,
    pub(crate) recovered: Recovered,
}

/// A directory that is being opened: locked, and its files known. First a snapshot is loaded, if there is one, then the
/// journal is replayed from there.
pub struct Opening {
    directory: Directory,
    options: Options,
    budget: Budget,
    lock: Box<dyn DiskLock>,
    head: HeadFile,
    segments: Vec<Segment>,
    superseded: Vec<String>,
    /// Not tried yet, oldest first.
    candidates: Vec<SnapshotName>,
    /// Did not verify.
    damaged: Vec<SnapshotName>,
    loaded: Option<(SnapshotName, SnapshotExtent)>,
    progress: Arc<StartProgress>,
}

impl Opening {
    /// Locks the directory and looks at what is there.
    ///
    /// # Errors
    ///
    /// As [`super::open`].
    pub fn begin(disk: Arc<dyn Disk>, options: Options, progress: Arc<StartProgress>) -> Result<Self, JournalError> {
        let budget = options.check()?;
        let directory = Directory::new(disk);
        let lock = directory.lock()?;
        let names = directory.list()?;
        remove_all(&directory, names.iter().filter(|name| UNFINISHED.contains(&name.as_str())))?;
        let (live, superseded) = SegmentName::live(&names);
        let candidates = SnapshotName::all(&names);
        let is_new = live.is_empty() && candidates.is_empty();
        let head = match load_head(&directory, &names, is_new, &options.keys)? {
            Some(head) if options.instance.is_some_and(|instance| instance != head.latest().instance) => {
                return Err(JournalError::OtherCopy);
            }
            Some(head) => head,
            // Before a new journal is begun in the place of the one that was lost.
            None if options.instance.is_some() => return Err(JournalError::OtherCopy),
            None => HeadFile::create(&directory, new_instance()?, &options.keys)?,
        };
        let (retired, live) = SegmentName::retired(live, head.latest().retained_from);
        if !retired.is_empty() {
            // A process that was killed between its write and its sync leaves a `HEAD` that a power cut would take back.
            head.sync()?;
        }
        remove_all(&directory, retired.iter().map(ToString::to_string).collect::<Vec<_>>().iter())?;
        let segments = open_segments(&directory, &live, &head, &options.keys)?;
        let (damaged, loaded) = (Vec::new(), None);
        Ok(Self { directory, options, budget, lock, head, segments, superseded, candidates, damaged, loaded, progress })
    }

    /// Loads the newest snapshot that is whole. Answers `None` where the journal can do without.
    ///
    /// # Errors
    ///
    /// [`JournalError::Snapshot`] when none verifies, [`JournalError::Foreign`] when it is another journal's,
    /// [`JournalError::WrongKey`], [`JournalError::UnknownVersion`], [`JournalError::Io`] when the disk fails.
    pub fn load_newest_snapshot(
        &mut self,
        visit: &mut dyn FnMut(SnapshotRead),
    ) -> Result<Option<SnapshotExtent>, JournalError> {
        while let Some(name) = self.candidates.pop() {
            match self.load_snapshot(name, visit) {
                Ok(extent) => {
                    self.loaded = Some((name, extent));
                    return Ok(Some(extent));
                }
                Err(error @ (JournalError::Snapshot { .. } | JournalError::Foreign { .. }))
                    if self.can_do_without() =>
                {
                    tracing::error!(%error, "goes on with what is older");
                    self.damaged.push(name);
                    visit(SnapshotRead::Anew);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn load_snapshot(
        &self,
        name: SnapshotName,
        visit: &mut dyn FnMut(SnapshotRead),
    ) -> Result<SnapshotExtent, JournalError> {
        let (file, instance) = (name.to_string(), self.head.latest().instance);
        self.progress.expect_bytes(self.directory.open(&file)?.length_bytes()? + self.tail_bytes(name.start_lsn));
        let read = read_snapshot(&self.directory, &file, Some(instance), &self.options.keys, &mut |section| {
            self.progress.add_bytes(section.payload().len() as u64);
            visit(SnapshotRead::Section(section));
        });
        read.map(|(extent, _)| extent)
    }

    /// Whether there is an older snapshot to try, or the journal has all records from the first on.
    fn can_do_without(&self) -> bool {
        !self.candidates.is_empty() || self.head.latest().retained_from == Lsn::FIRST
    }

    /// Verifies the journal, hands every durable block that has records which the loaded snapshot lacks to `visit`, in LSN
    /// order, cuts off a torn tail, and begins a new epoch.
    pub(crate) fn replay(self, clock: &Clock, visit: &mut dyn FnMut(Arc<Block>)) -> Result<Ground, JournalError> {
        let from = self.replay_from()?;
        if self.loaded.is_none() {
            self.progress.expect_bytes(self.tail_bytes(Lsn::ZERO));
        }
        let mut visit = |_: &Segment, _: u64, found: Found| {
            self.progress.add_bytes(found.header.block_bytes() as u64);
            if !found.block.is_empty() && found.header.next_lsn() > from {
                visit(Arc::new(found.block));
            }
            Ok(())
        };
        let mut survey = Survey::new(&self.options.keys, self.known_durable(), from, &mut visit);
        let tail = survey.read_all(&self.segments)?;
        let high_water = self.loaded.map(|(_, extent)| extent.high_water).unwrap_or_default().max(survey.high_water);
        clock.raise_to(high_water);
        let Survey { records, bytes, last_lsn, mut entries, .. } = survey;
        let mut mover = TailMover { directory: &self.directory, options: &self.options, head: self.head, last_lsn };
        let torn = tail.as_ref().and_then(|tail| tail.torn.clone());
        if let (Some(tail), Some(torn)) = (&tail, &torn) {
            mover.keep_torn_bytes(tail, torn).or_else(|error| mover.do_without(torn, error))?;
        }
        // What a crashed open has left goes before the new segment is made, for the disk may be full; but not before the name
        // of what takes its place is durable.
        if !self.superseded.is_empty() {
            self.directory.sync()?;
            remove_all(&self.directory, self.superseded.iter())?;
        }
        let active = mover.begin_epoch(tail.as_ref(), clock)?;
        let replaced = tail.as_ref().map(|tail| tail.segment.file.name().to_owned());
        remove_all(&self.directory, replaced.iter())?;
        set_aside(&self.directory, &self.damaged)?;
        self.directory.sync()?;
        entries.push(Arc::clone(&active.entry));
        let snapshot = self.loaded.map(|(_, extent)| extent);
        let epoch = active.entry.header.epoch;
        let recovered = Recovered { last_lsn, epoch, high_water, records, bytes, torn, snapshot };
        let snapshots =
            kept(&self.directory, self.candidates.iter().copied().chain(self.loaded.map(|(name, _)| name)))?;
        let head = mover.head;
        let Self { directory, options, budget, lock, .. } = self;
        Ok(Ground { directory, options, budget, lock, head, snapshots, segments: entries, active, recovered })
    }

    /// The first record that the loaded snapshot may lack.
    fn replay_from(&self) -> Result<Lsn, JournalError> {
        replay_from(self.loaded.map(|(_, extent)| extent), self.head.latest().retained_from)
    }

    /// The highest record that something outside of the segments says was durable.
    fn known_durable(&self) -> Lsn {
        let snapshot = self.loaded.map(|(_, extent)| extent.end_lsn).unwrap_or_default();
        let confirmed = self.options.confirmed_lsn.unwrap_or_default();
        self.head.latest().durable_lsn.max(snapshot).max(confirmed)
    }

    /// Bytes of the segments that replay reads after a snapshot: zeros at the end of the last one too.
    fn tail_bytes(&self, start_lsn: Lsn) -> u64 {
        let first = self.segments.partition_point(|segment| segment.header.first_lsn <= start_lsn.after(1));
        let tail = self.segments.iter().skip(first.saturating_sub(1));
        tail.map(|segment| segment.length_bytes).sum()
    }
}

/// The first record that a snapshot may lack, if the journal still has it.
pub(crate) fn replay_from(snapshot: Option<SnapshotExtent>, retained_from: Lsn) -> Result<Lsn, JournalError> {
    let from = snapshot.map_or(Lsn::FIRST, |extent| extent.start_lsn.after(1));
    if from < retained_from {
        return Err(missing("every snapshot that the journal goes on from", from, retained_from.before()));
    }
    Ok(from)
}

/// Renames what did not verify, so that no later start trips over it, and somebody can look at it.
fn set_aside(directory: &Directory, damaged: &[SnapshotName]) -> Result<(), JournalError> {
    damaged.iter().try_for_each(|name| {
        tracing::warn!(snapshot = %name, "a snapshot that does not verify is kept aside as {name}.corrupt");
        directory.rename(&name.to_string(), &format!("{name}.corrupt"))
    })
}

fn kept(directory: &Directory, names: impl Iterator<Item = SnapshotName>) -> Result<Vec<Kept>, JournalError> {
    names.map(|name| Ok(Kept { name, bytes: directory.open(&name.to_string())?.length_bytes()? })).collect()
}

impl SegmentName {
    /// The names that count, parted into those that were retired when a crash came before they were gone, and the rest. Where
    /// no segment begins where it should, nothing is taken to be retired.
    pub(crate) fn retired(live: Vec<Self>, retained_from: Lsn) -> (Vec<Self>, Vec<Self>) {
        if live.iter().any(|name| name.first_lsn == retained_from) {
            live.into_iter().partition(|name| name.first_lsn < retained_from)
        } else {
            (Vec::new(), live)
        }
    }

    /// The names of segments in order, parted into those that count and those that a recovery has superseded: a higher
    /// epoch takes the place of all lower ones from its first record on.
    pub(crate) fn live(names: &[String]) -> (Vec<Self>, Vec<String>) {
        let mut segments: Vec<_> = names.iter().filter_map(|name| Self::parse(name)).collect();
        segments.sort_by_key(|name| (name.first_lsn, std::cmp::Reverse(name.epoch)));
        let mut epoch = 0;
        let (live, superseded): (Vec<_>, Vec<_>) = segments.into_iter().partition(|name| {
            let counts = name.epoch >= epoch;
            epoch = epoch.max(name.epoch);
            counts
        });
        (live, superseded.iter().map(ToString::to_string).collect())
    }
}

fn remove_all<'a>(directory: &Directory, names: impl Iterator<Item = &'a String>) -> Result<(), JournalError> {
    names.into_iter().try_for_each(|name| directory.remove(name))
}

/// `None` in a new directory. `HEAD` is durable before the first segment is begun, so a segment without it means that it was
/// lost.
pub(crate) fn load_head(
    directory: &Directory,
    names: &[String],
    is_new: bool,
    keys: &JournalKeys,
) -> Result<Option<HeadFile>, JournalError> {
    if names.iter().any(|name| name == HEAD)
        && let Some(head) = HeadFile::load(directory, keys)?
    {
        return Ok(Some(head));
    }
    if is_new { Ok(None) } else { Err(missing("HEAD", Lsn::FIRST, Lsn::FIRST)) }
}

fn new_instance() -> Result<Instance, JournalError> {
    let mut instance = Instance::default();
    let filled = SystemRandom::new().fill(&mut instance);
    filled.map(|()| instance).map_err(|_unspecified| JournalError::Io {
        action: "draw random bytes for",
        name: HEAD.to_owned(),
        source: std::io::Error::other("the system's random source failed"),
    })
}

/// Writes the tail's surviving blocks into a new segment under the next epoch.
struct TailMover<'a> {
    directory: &'a Directory,
    options: &'a Options,
    head: HeadFile,
    last_lsn: Lsn,
}

impl TailMover<'_> {
    fn keep_torn_bytes(&self, tail: &Tail<'_>, torn: &TornTail) -> Result<(), JournalError> {
        let kept = self.directory.create(&torn.kept_as)?;
        let mut cursor = tail.segment.cursor(&self.options.keys, tail.end, tail.segment.length_bytes);
        let mut copied = 0;
        while copied < torn.bytes {
            kept.write_at(&cursor.page(torn.offset + copied)?, copied)?;
            copied += PAGE_BYTES as u64;
        }
        kept.sync_data()
    }

    /// The bytes were never acknowledged: for want of room they are given up rather than the start.
    fn do_without(&self, torn: &TornTail, error: JournalError) -> Result<(), JournalError> {
        if !error.is_disk_full() {
            return Err(error);
        }
        tracing::warn!(file = %torn.kept_as, "the disk is full, so the bytes that a crash left unfinished are not kept");
        let is_there = self.directory.list()?.contains(&torn.kept_as);
        if is_there { self.directory.remove(&torn.kept_as) } else { Ok(()) }
    }

    /// The new segment counts once it is whole on disk and the directory holds its name; then `HEAD` knows of it.
    fn begin_epoch(&mut self, tail: Option<&Tail<'_>>, clock: &Clock) -> Result<Active, JournalError> {
        let header = self.header(tail, clock);
        let needed_bytes = tail.map(|tail| tail.end.offset).unwrap_or_default();
        let length_bytes = self.options.segment_bytes.max(needed_bytes);
        let file = self.new_file(length_bytes)?;
        let (page, mac) = header.to_page(&self.options.keys);
        file.write_at(&page, 0)?;
        let mut end = Waypoint { lsn: header.first_lsn, offset: PAGE_BYTES as u64, previous: mac };
        let entry = Arc::new(SegmentEntry::new(header, length_bytes, end));
        if let Some(tail) = tail {
            end = self.copy_blocks(tail, &file, &entry, end)?;
        }
        fill_with_zeros(&file, end.offset, length_bytes)?;
        file.sync_data()?;
        let file = self.directory.publish(file, header.name().to_string())?;
        self.head.write(header.epoch, self.last_lsn, header.segment_id, &self.options.keys)?;
        Ok(Active { file, entry, end })
    }

    /// Where the disk is full, a segment of the reserve does, until the old tail is removed.
    fn new_file(&self, length_bytes: u64) -> Result<NamedFile, JournalError> {
        let allocated = self.directory.create(RECOVERY).and_then(|file| file.allocate(length_bytes).map(|()| file));
        match allocated {
            Err(error) if error.is_disk_full() => {
                tracing::warn!("the disk is full: the journal is opened on a segment of its reserve; free some space");
                reserve::take_as(self.directory, RECOVERY, length_bytes)?.ok_or(error)
            }
            outcome => outcome,
        }
    }

    fn header(&self, tail: Option<&Tail<'_>>, clock: &Clock) -> SegmentHeader {
        let before = tail.map(|tail| &tail.segment.header);
        let head = self.head.latest();
        SegmentHeader {
            instance: head.instance,
            segment_id: before.map_or(head.segment_id, |before| before.segment_id) + 1,
            epoch: before.map_or(0, |before| before.epoch).max(head.epoch).max(self.options.epoch_before) + 1,
            first_lsn: before.map_or(head.retained_from, |before| before.first_lsn),
            created_at: clock.now(),
            previous: before.map(|before| before.previous).unwrap_or_default(),
        }
    }

    /// Every copy states that the last record is durable, for the segment counts only when it is.
    fn copy_blocks(
        &self,
        tail: &Tail<'_>,
        to: &NamedFile,
        entry: &SegmentEntry,
        mut end: Waypoint,
    ) -> Result<Waypoint, JournalError> {
        let keys = &self.options.keys;
        let mut cursor = tail.segment.cursor(keys, tail.segment.first_block, tail.end.offset);
        let mut buffer = BlockBuffer::new();
        while cursor.at() != tail.end {
            let at = cursor.at();
            let found =
                cursor.step()?.map_err(|defect| tail.segment.corrupt(at.offset, defect, at.lsn, self.last_lsn))?;
            if found.block.is_empty() {
                continue;
            }
            buffer.copy_from(&found.block);
            let SegmentHeader { segment_id, epoch, .. } = entry.header;
            let (durable_lsn, previous) = (self.last_lsn, end.previous);
            let place = BlockPlace { segment_id, epoch, durable_lsn, previous, ..found.header.place };
            let previous = buffer.seal(place, keys);
            to.write_at(buffer.as_slice(), end.offset)?;
            let offset = end.offset + buffer.as_slice().len() as u64;
            end = Waypoint { lsn: found.header.next_lsn(), offset, previous };
            entry.extend(end);
        }
        Ok(end)
    }
}

fn fill_with_zeros(file: &NamedFile, from: u64, to: u64) -> Result<(), JournalError> {
    let zeros = vec![0; FILL_BYTES];
    let mut offset = from;
    while offset < to {
        let left = usize::try_from(to - offset).unwrap_or(usize::MAX);
        let slice = zeros.get(..left).unwrap_or(&zeros);
        file.write_at(slice, offset)?;
        offset += slice.len() as u64;
    }
    Ok(())
}

/// The new segment while it does not count yet.
const RECOVERY: &str = "recovery.tmp";
/// Of no use after a crash.
const UNFINISHED: [&str; 4] = [SPARE, RECOVERY, SNAPSHOT_TMP, HEAD_TMP];
const FILL_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sim::{
        Random, Rig, SeenRecord, SimDisk, block_offset, last_not_acknowledged, many_segments, options,
    };

    #[test]
    fn the_epoch_is_higher_than_that_of_the_database() {
        let disk = SimDisk::new();
        let open = |epoch_before| {
            let options = Options { epoch_before, ..options(1) };
            Rig::open_with(&disk, options).unwrap().recovered.epoch
        };
        assert_eq!([open(0), open(7), open(0)], [1, 8, 9]);
    }

    #[test]
    fn a_journal_that_is_not_the_databases_is_not_opened_and_none_is_made() {
        let disk = SimDisk::new();
        let open = |instance| Rig::open_with(&disk, Options { instance, ..options(1) });
        assert!(matches!(open(Some([1; 16])), Err(JournalError::OtherCopy)));
        assert_eq!(disk.segments(), [""; 0]);
        let instance = open(None).unwrap().committer.shared.instance;
        assert!(open(Some(instance)).is_ok());
        assert!(matches!(open(Some([1; 16])), Err(JournalError::OtherCopy)));
    }

    #[test]
    fn a_new_directory_is_empty_and_every_open_begins_an_epoch() {
        let mut disk = SimDisk::new();
        for epoch in 1..4 {
            let mut rig = Rig::open(&disk).unwrap();
            assert_eq!(
                (rig.recovered.epoch, rig.recovered.last_lsn.value(), &rig.recovered.torn),
                (epoch, epoch - 1, &None)
            );
            rig.commit_one(b"x");
            disk = rig.close();
            assert_eq!(disk.segments(), [format!("wal-00000000000000000001-{epoch:08x}.seg")]);
        }
    }

    #[test]
    fn a_second_open_is_refused() {
        let rig = Rig::open(&SimDisk::new()).unwrap();
        assert!(matches!(Rig::open(&rig.disk), Err(JournalError::Locked)));
        assert!(Rig::open(&rig.close()).is_ok());
    }

    #[test]
    fn the_clock_begins_at_the_latest_time_that_the_journal_saw() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.time.advance(std::time::Duration::from_secs(5000));
        rig.commit_one(b"x");
        let then = rig.committer.clock.now();
        let rig = Rig::open(&rig.close()).unwrap();
        assert_eq!((rig.recovered.high_water, rig.committer.clock.now()), (then, then));
    }

    #[test]
    fn torn_bytes_are_kept_aside() {
        let disk = last_not_acknowledged();
        let name = disk.segments()[0].clone();
        disk.change(&name, |bytes| bytes[block_offset(2) + 100] ^= 1);
        let expected = disk.bytes(&name)[block_offset(2)..][..PAGE_BYTES].to_vec();
        let rig = Rig::open(&disk).unwrap();
        let torn = rig.recovered.torn.clone().unwrap();
        assert_eq!((torn.segment, torn.offset, torn.bytes, torn.lsn.value()), (name, 3 * 4096, 4096, 3));
        assert_eq!(torn.kept_as, "wal-00000000000000000001-00000001.torn");
        assert_eq!(rig.close().synced().bytes(&torn.kept_as), expected);
    }

    #[test]
    fn a_full_disk_gives_up_torn_bytes_rather_than_the_start() {
        let disk = last_not_acknowledged();
        let name = disk.segments()[0].clone();
        disk.change(&name, |bytes| bytes[block_offset(2) + 100] ^= 1);
        disk.put("reserve-01.tmp", vec![0; 64 << 10]);
        disk.set_capacity(Some(0));
        let rig = Rig::open(&disk).unwrap();
        assert_eq!((rig.payloads().len(), rig.recovered.torn.is_some()), (2, true));
        assert!(!disk.names().iter().any(|name| name.ends_with(".torn")));
    }

    #[test]
    fn segments_may_change_their_length_between_opens() {
        let disk = many_segments(40);
        for segment_bytes in [1 << 20, 64 << 10, 128 << 10] {
            let mut rig = Rig::open_with(
                &disk.synced(),
                Options { segment_bytes, journal_bytes_max: 20 * segment_bytes, ..options(1) },
            )
            .unwrap();
            for number in 40..80 {
                rig.commit_one(&[number; 3000]);
            }
            let rig = Rig::open(&rig.close()).unwrap();
            assert!(rig.payloads().into_iter().eq((0..80).map(|number| vec![number; 3000])));
        }
    }

    /// What recovery is to arrive at, whatever interrupts it.
    fn state(disk: &SimDisk) -> (Vec<SeenRecord>, u64, Vec<String>) {
        let rig = Rig::open(disk).unwrap();
        let segments = rig.disk.segments().iter().map(|name| name[..24].to_owned()).collect();
        (rig.seen, rig.recovered.last_lsn.value(), segments)
    }

    #[test]
    fn a_crash_at_any_operation_of_recovery_twice_over_changes_nothing() {
        let torn = last_not_acknowledged();
        torn.change(&torn.segments()[0], |bytes| bytes[block_offset(2) + 100] ^= 1);
        for image in [torn, many_segments(20), SimDisk::new()] {
            let expected = state(&image.synced());
            let mut seed = 0;
            for first in 0.. {
                let Some(once) = interrupted(&image, first, &mut seed) else { break };
                assert_eq!(state(&once.killed()), expected, "after operation {first}");
                for second in 0.. {
                    let Some(twice) = interrupted(&once, second, &mut seed) else { break };
                    assert_eq!(state(&twice), expected, "after operations {first} and {second}");
                }
            }
            assert!(seed > 100);
        }
    }

    /// A crash at the given operation of an open; `None` when the open is done before.
    fn interrupted(image: &SimDisk, operation: u64, seed: &mut u64) -> Option<SimDisk> {
        let disk = image.killed();
        disk.faults(|faults| faults.power_cut_in = Some(operation));
        *seed += 1;
        Rig::open(&disk).is_err().then(|| disk.crash(*seed))
    }

    /// A plain model of what a journal of three lanes has taken and what it has acknowledged.
    #[derive(Default)]
    struct Model {
        appended: [Vec<Vec<u8>>; 3],
        acknowledged: [usize; 3],
    }

    impl Model {
        fn check(&mut self, rig: &Rig, seed: u64) {
            assert!(rig.seen.iter().map(|(lsn, ..)| *lsn).eq(1..=rig.recovered.last_lsn.value()), "seed {seed}");
            for lane in 0..3 {
                let of_lane = rig.seen.iter().filter(|(_, routing_id, _)| *routing_id == lane as u64);
                let recovered: Vec<_> = of_lane.map(|(.., payload)| payload.clone()).collect();
                assert!(self.appended[lane].starts_with(&recovered), "seed {seed}: not a prefix");
                assert!(recovered.len() >= self.acknowledged[lane], "seed {seed}: an acknowledged record is lost");
                self.acknowledged[lane] = recovered.len();
                self.appended[lane] = recovered;
            }
        }

        fn acknowledge(&mut self, rig: &Rig, base: [usize; 3]) {
            for (lane, base) in base.into_iter().enumerate() {
                let durable = usize::try_from(rig.lanes[lane].durable().value()).unwrap();
                self.acknowledged[lane] = base + durable - 1;
            }
        }
    }

    #[test]
    fn whatever_crashes_what_was_acknowledged_is_there() {
        let (mut crashes, mut seed) = (0, 0);
        while crashes < 600 {
            crashes += random_life(seed);
            seed += 1;
        }
    }

    /// Runs one journal through several crashes and returns how many there were.
    fn random_life(seed: u64) -> u32 {
        let mut random = Random::new(seed);
        let (mut disk, mut model, mut crashes) = (SimDisk::new(), Model::default(), 0);
        for _ in 0..4 {
            if random.below(3) == 0 {
                disk.faults(|faults| faults.power_cut_in = Some(random.below(30)));
            }
            if let Ok(mut rig) = Rig::open_with(&disk, options(3)) {
                model.check(&rig, seed);
                live(&mut rig, &mut model, &mut random);
            }
            disk = if random.below(4) == 0 { disk.killed() } else { disk.crash(random.next()) };
            crashes += 1;
        }
        model.check(&Rig::open_with(&disk, options(3)).unwrap(), seed);
        crashes
    }

    fn live(rig: &mut Rig, model: &mut Model, random: &mut Random) {
        let base = model.acknowledged;
        if random.below(2) == 0 {
            let cut = random.below(60);
            rig.disk.faults(|faults| faults.power_cut_in = Some(cut));
        }
        for _ in 0..random.below(80) {
            let lane = usize::try_from(random.below(3)).unwrap();
            let step = match random.below(8) {
                0..4 if rig.lanes[lane].has_room() => {
                    let mut payload = random.next().to_le_bytes().to_vec();
                    payload.resize(8 + usize::try_from(random.below(6000)).unwrap(), 0xee);
                    rig.append(lane, &payload);
                    model.appended[lane].push(payload);
                    Ok(())
                }
                4 => rig.committer.prepare_spare_step().map(drop),
                5 => {
                    rig.time.advance(std::time::Duration::from_millis(700));
                    Ok(())
                }
                _ => rig.committer.commit_ready().map(drop),
            };
            model.acknowledge(rig, base);
            if step.is_err() {
                break;
            }
        }
    }
}
