//! Group commit: drain the lanes, write one block, sync once, publish, reply.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::clock::{Clock, UnixTime};
use crate::journal::batch::Batch;
use crate::journal::catalog::{SegmentEntry, lock};
use crate::journal::disk::DiskLock;
use crate::journal::error::JournalError;
use crate::journal::file::NamedFile;
use crate::journal::frame::BlockPlace;
use crate::journal::lane::LaneEnd;
use crate::journal::pressure::Pressure;
use crate::journal::reader::Shared;
use crate::journal::scan::Waypoint;
use crate::journal::segment::SegmentHeader;
use crate::journal::spare::Spare;

/// The commit logic without its thread: [`Committer::commit_ready`] is one step.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) lanes: Vec<LaneEnd>,
    pub(crate) batch: Batch,
    pub(crate) active: Active,
    pub(crate) high_water: UnixTime,
    pub(crate) spare: Arc<Mutex<Spare>>,
    /// Tells the spare thread to prepare the next one.
    pub(crate) spare_wanted: Option<Sender<()>>,
    /// When the last block was committed whose durability no later block states.
    pub(crate) unmarked_since: Option<Duration>,
    /// After a failure nothing is written any more.
    pub(crate) failed: bool,
    /// Held until the last file is closed.
    pub(crate) _lock: Box<dyn DiskLock>,
}

/// The segment that blocks are appended to.
pub(crate) struct Active {
    pub(crate) file: NamedFile,
    pub(crate) entry: Arc<SegmentEntry>,
    pub(crate) end: Waypoint,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitOutcome {
    /// A block of this many records is durable and its replies have run.
    Committed(u32),
    /// Only waiting replies were there; what they waited for was durable.
    Replied,
    /// Nothing was there for a while, and a mark block says what is durable.
    Marked,
    /// Nothing was there. A mark falls due after this time.
    Idle(Duration),
    /// Nothing was there, and all lanes are gone.
    Closed,
}

impl Committer {
    /// Commits all that is ready, up to one block.
    ///
    /// After an error the replies of the failed batch are kept and never run, and every later call fails.
    pub(crate) fn commit_ready(&mut self) -> Result<CommitOutcome, JournalError> {
        if self.failed {
            return Err(JournalError::Stopped);
        }
        let started = self.clock.monotonic();
        self.batch.gather(&mut self.lanes);
        let outcome = self.commit_gathered(started);
        self.failed = outcome.is_err();
        outcome
    }

    /// How long the next commit is to wait after one with records: where every page counts, more of them share one.
    pub(crate) fn pause(&self) -> Option<Duration> {
        (self.shared.space.pressure.value() >= Pressure::RevocationsOnly).then_some(SCARCE_PAUSE)
    }

    /// Fills and syncs one slice of the spare segment.
    #[cfg(test)]
    pub(crate) fn prepare_spare_step(&mut self) -> Result<crate::journal::spare::SpareStep, JournalError> {
        lock(&self.spare).step()
    }

    /// Notes in `HEAD` that all is durable and lets go of the directory.
    pub(crate) fn finish(self) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Stopped);
        }
        self.write_head()
    }

    fn commit_gathered(&mut self, started: Duration) -> Result<CommitOutcome, JournalError> {
        let records = self.batch.block.records();
        if records > 0 {
            self.write_block()?;
            self.unmarked_since = Some(self.clock.monotonic());
            self.publish(records, started);
            self.batch.finish();
            self.shared.settled_lsn.store(self.active.end.lsn.before().value(), Ordering::Release);
            return Ok(CommitOutcome::Committed(records));
        }
        if self.batch.items > 0 {
            // Every block is synced before the lanes are drained again, so nothing is left to wait for.
            self.batch.finish();
            return Ok(CommitOutcome::Replied);
        }
        if self.lanes.iter().all(LaneEnd::is_closed) {
            return Ok(CommitOutcome::Closed);
        }
        self.mark_when_due()
    }

    /// The last data block's durability is stated by the block after it: an idle journal writes one for that alone. And it
    /// writes one now and then to state the time, so that a clock that is set back before the next start does not revive what
    /// has expired meanwhile.
    fn mark_when_due(&mut self) -> Result<CommitOutcome, JournalError> {
        let (waited, due_after) = match self.unmarked_since {
            Some(since) => (self.clock.monotonic().saturating_sub(since), MARK_AFTER),
            // What room is left is for what has to be written.
            None if self.shared.space.pressure.value() == Pressure::Full => (Duration::ZERO, TIME_LAG_MAX),
            None => (self.time_lag(), TIME_LAG_MAX),
        };
        if waited < due_after {
            return Ok(CommitOutcome::Idle(due_after - waited));
        }
        self.write_block()?;
        self.unmarked_since = None;
        self.batch.finish();
        Ok(CommitOutcome::Marked)
    }

    /// By how much the time that the journal states is behind.
    fn time_lag(&self) -> Duration {
        let now = self.clock.now().as_millis();
        Duration::from_millis(now.saturating_sub(self.high_water.as_millis()))
    }

    fn write_block(&mut self) -> Result<(), JournalError> {
        let block_bytes = self.batch.block.block_bytes() as u64;
        if self.active.end.offset + block_bytes > self.active.entry.length_bytes {
            self.rotate()?;
        }
        self.high_water = self.high_water.max(self.clock.now());
        let end = self.active.end;
        let place = BlockPlace {
            segment_id: self.active.entry.header.segment_id,
            epoch: self.active.entry.header.epoch,
            first_lsn: end.lsn,
            durable_lsn: end.lsn.before(),
            high_water: self.high_water,
            previous: end.previous,
        };
        let mac = self.batch.block.seal(place, &self.shared.keys);
        self.active.file.write_at(self.batch.block.as_slice(), end.offset)?;
        self.sync_block()?;
        let lsn = end.lsn.after(u64::from(self.batch.block.records()));
        self.active.end = Waypoint { lsn, offset: end.offset + block_bytes, previous: mac };
        self.active.entry.extend(self.active.end);
        self.shared.written_bytes.fetch_add(block_bytes, Ordering::Relaxed);
        self.shared.space.measure_active(&self.shared.metrics);
        Ok(())
    }

    fn sync_block(&self) -> Result<(), JournalError> {
        let started = self.clock.monotonic();
        self.active.file.sync_data()?;
        self.shared.metrics.sync_ns.observe_duration(self.clock.monotonic().saturating_sub(started));
        Ok(())
    }

    /// Goes over to the spare, or to a segment of the reserve. All blocks before are durable, and the header of the new
    /// segment says so.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let preparing = Arc::clone(&self.spare);
        // Locked until the file has another name: the spare thread would begin the next one under the old. And until the
        // catalog has it, so that nobody measures a journal that has neither.
        let mut preparing = lock(&preparing);
        let (spare, length_bytes) = preparing.take()?;
        let before = &self.active.entry.header;
        let header = SegmentHeader {
            segment_id: before.segment_id + 1,
            first_lsn: self.active.end.lsn,
            created_at: self.clock.now(),
            previous: self.active.end.previous,
            ..*before
        };
        let (page, mac) = header.to_page(&self.shared.keys);
        spare.write_at(&page, 0)?;
        spare.sync_data()?;
        let file = self.shared.directory.publish(spare, header.name().to_string())?;
        let end = Waypoint { lsn: header.first_lsn, offset: page.len() as u64, previous: mac };
        let entry = Arc::new(SegmentEntry::new(header, length_bytes, end));
        self.active = Active { file, entry: Arc::clone(&entry), end };
        self.write_head()?;
        self.shared.catalog.push(entry);
        self.shared.measure();
        preparing.report();
        drop(preparing);
        self.want_spare();
        Ok(())
    }

    fn write_head(&self) -> Result<(), JournalError> {
        let SegmentHeader { epoch, segment_id, .. } = self.active.entry.header;
        let durable_lsn = self.active.end.lsn.before();
        lock(&self.shared.head).write(epoch, durable_lsn, segment_id, &self.shared.keys)
    }

    pub(crate) fn want_spare(&self) {
        if let Some(wanted) = &self.spare_wanted {
            // A message that is still waiting asks for the same.
            let _ = wanted.try_send(());
        }
    }

    /// The durable LSN first, then each lane's sequence: who sees the second may read up to the first.
    fn publish(&self, records: u32, started: Duration) {
        let (metrics, durable) = (&self.shared.metrics, self.active.end.lsn.before().value());
        self.shared.durable_lsn.store(durable, Ordering::Release);
        self.lanes.iter().for_each(LaneEnd::publish);
        let block_bytes = self.batch.block.as_slice().len() as u64;
        metrics.commits.increment();
        metrics.records.add(u64::from(records));
        metrics.bytes.add(block_bytes);
        metrics.batch_records.observe(u64::from(records));
        metrics.batch_bytes.observe(block_bytes);
        metrics.durable_lsn.set(durable);
        metrics.commit_ns.observe_duration(self.clock.monotonic().saturating_sub(started));
    }
}

/// An idle journal marks the last data block as durable after this time.
const MARK_AFTER: Duration = Duration::from_secs(1);
/// The time that an idle journal states is never further behind.
const TIME_LAG_MAX: Duration = Duration::from_secs(60);

/// At [`Pressure::RevocationsOnly`] commits are this far apart, and a page holds what has come meanwhile.
const SCARCE_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::journal::lane::{Lane, Reply};
    use crate::journal::sim::{Rig, SimDisk, entry, options};
    use crate::journal::spare::SpareStep;

    /// Notes its number when it runs.
    fn noting(log: &Arc<Mutex<Vec<u64>>>, number: u64) -> Reply {
        let log = Arc::clone(log);
        Box::new(move || lock(&log).push(number))
    }

    #[test]
    fn a_reply_runs_when_a_crash_can_no_longer_take_its_record() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        let (disk, survivors) = (rig.disk.clone(), Arc::new(Mutex::new(Vec::new())));
        for number in 0..3_u8 {
            let (disk, survivors) = (disk.clone(), Arc::clone(&survivors));
            let reply = Box::new(move || lock(&survivors).push(Rig::open(&disk.synced()).unwrap().payloads()));
            rig.append_with(0, &[number], Some(reply));
            rig.commit();
        }
        let expected = [vec![vec![0]], vec![vec![0], vec![1]], vec![vec![0], vec![1], vec![2]]];
        assert_eq!(*lock(&survivors), expected);
    }

    #[test]
    fn sequences_are_published_before_replies_run() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        let (durable, seen) = (rig.lanes[1].durable(), Arc::new(AtomicUsize::new(0)));
        let note = Arc::clone(&seen);
        rig.append(1, b"first");
        let reply = Box::new(move || note.store(usize::try_from(durable.value()).unwrap(), Ordering::Relaxed));
        rig.append_with(1, b"second", Some(reply));
        assert_eq!(rig.lanes[1].durable().value(), 1);
        rig.commit();
        assert_eq!((seen.load(Ordering::Relaxed), rig.lanes[0].durable().value()), (3, 1));
    }

    #[test]
    fn a_barrier_waits_for_what_is_before_it_and_needs_no_write_of_its_own() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        let log = Arc::default();
        rig.append_with(0, b"x", Some(noting(&log, 1)));
        rig.lanes[0].reply_when_durable(noting(&log, 2));
        assert!(lock(&log).is_empty());
        rig.commit();
        assert_eq!(*lock(&log), [1, 2]);
        let (lane, mut end) = Lane::bounded(1, 64);
        rig.lanes[1] = lane;
        rig.lanes[1].append(entry(1, b"never sent on"), None);
        end.take();
        rig.lanes[1].reply_when_durable(noting(&log, 3));
        rig.committer.lanes[1] = end;
        let operations = rig.disk.operations();
        assert_eq!(rig.commit(), CommitOutcome::Replied);
        assert_eq!((rig.disk.operations(), lock(&log).clone()), (operations, vec![1, 2, 3]));
    }

    #[test]
    fn a_commit_that_fails_runs_no_reply_and_is_the_last() {
        let faults: [fn(&mut crate::journal::sim::Faults); 2] =
            [|faults| faults.sync_in = Some(0), |faults| faults.write_in = Some(0)];
        for fault in faults {
            let mut rig = Rig::open(&SimDisk::new()).unwrap();
            rig.commit_one(b"acknowledged");
            let log = Arc::default();
            rig.append_with(0, b"lost", Some(noting(&log, 1)));
            rig.disk.faults(fault);
            assert!(matches!(rig.committer.commit_ready(), Err(JournalError::Io { .. })));
            rig.append_with(0, b"later", Some(noting(&log, 2)));
            assert!(matches!(rig.committer.commit_ready(), Err(JournalError::Stopped)));
            assert_eq!((rig.lanes[0].durable().value(), rig.lanes[0].appended()), (2, 4));
            let (killed, synced) = (rig.disk.killed(), rig.disk.synced());
            drop(rig);
            assert!(lock(&log).is_empty());
            assert_eq!(Rig::open(&killed).unwrap().payloads()[0], b"acknowledged");
            assert_eq!(Rig::open(&synced).unwrap().payloads(), [b"acknowledged"]);
        }
    }

    /// Linux calls the pages of a failed sync clean: the page cache shows a record that the disk does not have.
    #[test]
    fn an_open_sees_the_disk_and_not_the_cache_of_a_failed_sync() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.append(0, b"never on disk");
        rig.disk.faults(|faults| faults.sync_in = Some(0));
        assert!(rig.committer.commit_ready().is_err());
        assert!(Rig::open(&rig.disk.killed()).unwrap().seen.is_empty());
    }

    #[test]
    fn numbers_have_no_gap_and_lanes_keep_their_order() {
        let mut rig = Rig::open_with(&SimDisk::new(), options(3)).unwrap();
        for round in 0..40_u8 {
            for lane in 0..3 {
                for _ in 0..=lane {
                    rig.append(lane, &[round]);
                }
            }
            if round % 3 == 0 {
                rig.commit();
            }
        }
        rig.commit();
        let rig = Rig::open_with(&rig.close(), options(3)).unwrap();
        assert!(rig.seen.iter().map(|(lsn, ..)| *lsn).eq(1..=240));
        for lane in 0..3_u8 {
            let of_lane = rig.seen.iter().filter(|(_, routing_id, _)| *routing_id == u64::from(lane));
            let expected = (0..40).flat_map(|round| std::iter::repeat_n(vec![round], usize::from(lane) + 1));
            assert!(of_lane.map(|(.., payload)| payload.clone()).eq(expected));
        }
    }

    #[test]
    fn a_full_block_leaves_the_rest_to_the_next() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        for number in 0..4_u8 {
            rig.append(0, &vec![number; 20_000]);
        }
        assert_eq!(rig.commit(), CommitOutcome::Committed(3));
        assert_eq!(rig.lanes[0].durable().value(), 4);
        assert_eq!(rig.commit(), CommitOutcome::Committed(1));
        let longest = rig.lanes[0].payload_bytes_max();
        rig.append(1, &vec![9; longest]);
        assert_eq!(rig.commit(), CommitOutcome::Committed(1));
        assert_eq!(Rig::open(&rig.close()).unwrap().payloads().last().unwrap().len(), longest);
    }

    #[test]
    fn a_lane_that_is_always_full_does_not_starve_the_others() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        for _ in 0..60 {
            rig.append(0, &[0; 4000]);
        }
        rig.append(1, b"me too");
        rig.commit();
        rig.commit();
        assert_eq!(rig.lanes[1].durable().value(), 2);
    }

    #[test]
    fn an_idle_journal_writes_one_mark_after_a_second() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        assert_eq!(rig.commit(), CommitOutcome::Idle(TIME_LAG_MAX));
        rig.commit_one(b"x");
        rig.time.advance(Duration::from_millis(400));
        assert_eq!(rig.commit(), CommitOutcome::Idle(Duration::from_millis(600)));
        rig.time.advance(Duration::from_millis(600));
        assert_eq!(rig.commit(), CommitOutcome::Marked);
        assert_eq!(rig.commit(), CommitOutcome::Idle(TIME_LAG_MAX));
        rig.commit_one(b"y");
        assert_eq!(Rig::open(&rig.close()).unwrap().payloads(), [b"x", b"y"]);
    }

    #[test]
    fn an_idle_journal_states_the_time_now_and_then() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.time.advance(TIME_LAG_MAX - Duration::from_secs(1));
        assert_eq!(rig.commit(), CommitOutcome::Idle(Duration::from_secs(1)));
        rig.time.advance(Duration::from_secs(1));
        let then = rig.committer.clock.now();
        assert_eq!([rig.commit(), rig.commit()], [CommitOutcome::Marked, CommitOutcome::Idle(TIME_LAG_MAX)]);
        // The next start begins with a wall clock that was set back.
        let rig = Rig::open(&rig.disk.synced()).unwrap();
        assert_eq!(rig.committer.clock.now(), then);
        assert_eq!(Rig::open(&rig.disk.synced()).unwrap().committer.clock.now(), then, "a start states the time too");
    }

    #[test]
    fn a_reply_that_panics_does_not_stop_the_ones_after_it() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        let log = Arc::default();
        rig.append_with(0, b"x", Some(Box::new(|| std::panic::resume_unwind(Box::new("a test")))));
        rig.append_with(0, b"y", Some(noting(&log, 1)));
        rig.commit();
        assert_eq!(*lock(&log), [1]);
    }

    #[test]
    fn rotation_goes_over_to_the_spare_whether_it_is_whole_or_not() {
        for spare_steps in 0..4 {
            let mut rig = Rig::open(&SimDisk::new()).unwrap();
            for number in 0..50_u8 {
                for _ in 0..spare_steps {
                    rig.committer.prepare_spare_step().unwrap();
                }
                rig.commit_one(&[number; 3000]);
            }
            assert_eq!(rig.disk.segments().len(), 4);
            assert_eq!(rig.committer.shared.metrics.segments.value(), 4);
            let disk = rig.disk.synced();
            let rig = Rig::open(&disk).unwrap();
            assert!(rig.payloads().into_iter().eq((0..50).map(|number| vec![number; 3000])));
            assert_eq!(disk.segments().len(), 4);
        }
    }

    #[test]
    fn a_spare_that_is_taken_half_done_is_not_begun_anew_under_its_name() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        let spare = Arc::clone(&rig.committer.spare);
        rig.disk.interrupt_renames(move || drop(spare.try_lock().map(|mut spare| spare.step())));
        for number in 0..20_u8 {
            rig.commit_one(&[number]);
        }
        assert_eq!(Rig::open(&rig.disk.synced()).unwrap().payloads().len(), 20);
    }

    #[test]
    fn a_full_disk_stops_the_spare_until_there_is_room_again() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.disk.set_capacity(Some(100 << 10));
        while rig.committer.prepare_spare_step().unwrap() != SpareStep::DiskFull {}
        assert!(!rig.disk.names().contains(&"spare.tmp".to_owned()));
        rig.commit_one(b"the active segment has its room");
        rig.disk.set_capacity(None);
        while rig.committer.prepare_spare_step().unwrap() != SpareStep::Ready {}
    }

    #[test]
    fn a_full_disk_without_spare_and_reserve_is_fatal_at_rotation() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.disk.set_capacity(Some(100 << 10));
        for _ in 0..30 {
            rig.commit_one(b"x");
        }
        let log = Arc::default();
        rig.append_with(0, b"x", Some(noting(&log, 1)));
        assert!(rig.committer.commit_ready().is_err_and(|error| error.is_disk_full()));
        assert!(lock(&log).is_empty());
    }
}
