//! The way from one actor to the commit thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use crossbeam_utils::CachePadded;

use crate::journal::frame::{Entry, PAYLOAD_BYTES_MAX, record_bytes};
use crate::journal::pressure::{Pressure, PressureCell};

/// What waits for a record to be durable. Runs on the commit thread, or at once where nothing is to be waited for; it
/// must not block.
pub type Reply = Box<dyn FnOnce() + Send>;

/// The sending half that one actor owns: it is the only sender, so what it saw free stays free.
///
/// The lane numbers its own records: everything that was recovered is sequence 1, the first append gets 2.
pub struct Lane {
    way: Way,
    appended: u64,
    durable: DurableSequence,
}

enum Way {
    /// Nothing is written.
    Memory,
    Journal(Sending),
}

struct Sending {
    /// `None` only while it is dropped.
    items: Option<Sender<Item>>,
    commit_thread: Option<Thread>,
    payload_bytes_max: usize,
    /// Bytes of records that may have been sent and not be durable.
    bytes_max: u64,
    /// Bytes of all records that were sent.
    sent_bytes: u64,
    pressure: PressureCell,
}

/// What travels on a lane.
pub(crate) enum Item {
    Append(Entry, Option<Reply>),
    /// Runs when all before it on the lane is durable.
    Barrier(Reply),
}

/// Why nothing can be appended now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Too much waits for the commit thread.
    OnTheWay,
    /// The journal is too near the end of its disk space.
    OnDisk,
}

impl Lane {
    /// A lane that writes nothing: every append is durable at once (durability class `memory`).
    #[must_use]
    pub fn memory() -> Self {
        Self { way: Way::Memory, appended: RECOVERED, durable: DurableSequence::new() }
    }

    /// A lane into the journal, and its other end.
    pub(crate) fn bounded(capacity: usize, payload_bytes_max: usize) -> (Self, LaneEnd) {
        let (sender, items) = crossbeam_channel::bounded(capacity);
        let durable = DurableSequence::new();
        let end = LaneEnd {
            items,
            held_back: None,
            closed: false,
            sequence: RECOVERED,
            taken_bytes: 0,
            durable: durable.clone(),
        };
        let way = Way::Journal(Sending {
            items: Some(sender),
            commit_thread: None,
            payload_bytes_max,
            bytes_max: u64::MAX,
            sent_bytes: 0,
            pressure: PressureCell::default(),
        });
        (Self { way, appended: RECOVERED, durable }, end)
    }

    /// Bounds what may be on its way, and says where the pressure is to be read.
    pub(crate) fn limit(&mut self, lane_bytes_max: u64, level: &PressureCell) {
        if let Way::Journal(sending) = &mut self.way {
            sending.bytes_max = lane_bytes_max;
            sending.pressure = level.clone();
        }
    }

    /// Names the thread that is woken after each send.
    pub(crate) fn wake(&mut self, commit_thread: Thread) {
        if let Way::Journal(sending) = &mut self.way {
            sending.commit_thread = Some(commit_thread);
        }
    }

    /// Whether one more append or waiting reply fits. Ask before anything is changed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    /// Whether `items` more appends and waiting replies fit, by their number and by their bytes on the way to the disk.
    #[must_use]
    pub fn has_room_for(&self, items: usize) -> bool {
        let Way::Journal(sending) = &self.way else { return true };
        let on_its_way = sending.sent_bytes.saturating_sub(self.durable.bytes());
        let more = (items as u64).saturating_mul(record_bytes(sending.payload_bytes_max) as u64);
        sending.items.as_ref().is_none_or(|sender| {
            sender.capacity().is_some_and(|capacity| sender.len().saturating_add(items) <= capacity)
        }) && on_its_way.saturating_add(more) <= sending.bytes_max
    }

    /// How near the journal is to the end of its disk space, which decides what may still be appended. Ask after
    /// [`Lane::has_room`]: the room that a commit gives back is there only after the level that it leads to.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        match &self.way {
            Way::Memory => Pressure::Normal,
            Way::Journal(sending) => sending.pressure.value(),
        }
    }

    /// Whether a record may be appended that is refused from this pressure on; `None` for what takes no disk space.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] says what there is no room in.
    pub fn check_room(&self, refused_from: Option<Pressure>) -> Result<(), NoRoom> {
        if !self.has_room() {
            return Err(NoRoom::OnTheWay);
        }
        let is_refused = refused_from.is_some_and(|level| self.pressure() >= level);
        if is_refused { Err(NoRoom::OnDisk) } else { Ok(()) }
    }

    /// The longest payload that [`Lane::append`] takes: [`PAYLOAD_BYTES_MAX`], less where segments are tiny.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        match &self.way {
            Way::Memory => PAYLOAD_BYTES_MAX,
            Way::Journal(sending) => sending.payload_bytes_max,
        }
    }

    /// Appends a record and returns its sequence on this lane. `reply` runs once it is durable, and never if it cannot
    /// be made so: the process aborts then.
    ///
    /// Where there is no room this waits for the commit thread; a caller that asked [`Lane::has_room`] never waits.
    ///
    /// # Panics
    ///
    /// When the payload is longer than [`Lane::payload_bytes_max`], which callers check.
    pub fn append(&mut self, entry: Entry, reply: Option<Reply>) -> u64 {
        assert!(entry.payload.len() <= self.payload_bytes_max(), "a journal payload is too long");
        self.appended += 1;
        match &mut self.way {
            Way::Memory => {
                self.durable.publish(self.appended, 0);
                reply.into_iter().for_each(|reply| reply());
            }
            Way::Journal(sending) => {
                sending.sent_bytes += record_bytes(entry.payload.len()) as u64;
                sending.send(Item::Append(entry, reply));
            }
        }
        self.appended
    }

    /// Runs `reply` when all that was appended is durable: at once where it already is, else on the commit thread after
    /// the commit that makes it so. It takes room on the lane, and waits for room as [`Lane::append`] does.
    pub fn reply_when_durable(&mut self, reply: Reply) {
        match &self.way {
            Way::Journal(sending) if self.durable.value() < self.appended => sending.send(Item::Barrier(reply)),
            _ => reply(),
        }
    }

    /// Sequence of the last appended record.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// What of this lane is durable.
    #[must_use]
    pub fn durable(&self) -> DurableSequence {
        self.durable.clone()
    }
}

impl Sending {
    fn send(&self, item: Item) {
        // The other end is gone only after a failure that stops the process: what is lost then was never acknowledged.
        let _ = self.items.as_ref().map(|items| items.send(item));
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = &self.commit_thread {
            thread.unpark();
        }
    }
}

impl Drop for Sending {
    /// The commit thread ends once it sees that all lanes are gone.
    fn drop(&mut self) {
        self.items = None;
        self.wake();
    }
}

/// The last sequence of one lane that is durable. Cheap to clone; anyone may read it.
#[derive(Clone, Debug)]
pub struct DurableSequence {
    progress: Arc<CachePadded<Progress>>,
}

/// What of a lane is durable. One thread writes it.
#[derive(Debug)]
struct Progress {
    sequence: AtomicU64,
    /// Bytes of its records, since the journal was opened.
    bytes: AtomicU64,
}

impl DurableSequence {
    fn new() -> Self {
        let (sequence, bytes) = (AtomicU64::new(RECOVERED), AtomicU64::new(0));
        Self { progress: Arc::new(CachePadded::new(Progress { sequence, bytes })) }
    }

    /// The sequence now: one Acquire load.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.progress.sequence.load(Ordering::Acquire)
    }

    fn bytes(&self) -> u64 {
        self.progress.bytes.load(Ordering::Acquire)
    }

    fn publish(&self, sequence: u64, bytes: u64) {
        self.progress.bytes.store(bytes, Ordering::Release);
        self.progress.sequence.store(sequence, Ordering::Release);
    }
}

/// The commit thread's end of a lane.
pub(crate) struct LaneEnd {
    items: Receiver<Item>,
    /// Was taken off the lane but did not fit the block.
    held_back: Option<Item>,
    /// The lane is gone, and all that was on it has been taken off.
    closed: bool,
    /// Of the last record that was taken off.
    sequence: u64,
    /// Bytes of all records that were taken off.
    taken_bytes: u64,
    durable: DurableSequence,
}

impl LaneEnd {
    pub(crate) fn take(&mut self) -> Option<Item> {
        if let Some(item) = self.held_back.take() {
            return Some(item);
        }
        match self.items.try_recv() {
            Ok(item) => Some(item),
            Err(empty) => {
                self.closed = empty == TryRecvError::Disconnected;
                None
            }
        }
    }

    pub(crate) fn hold_back(&mut self, item: Item) {
        self.held_back = Some(item);
    }

    pub(crate) fn count_record(&mut self, payload_bytes: usize) {
        self.sequence += 1;
        self.taken_bytes += record_bytes(payload_bytes) as u64;
    }

    /// All that was taken off is durable.
    pub(crate) fn publish(&self) {
        self.durable.publish(self.sequence, self.taken_bytes);
    }

    /// Whether the last [`LaneEnd::take`] saw that nothing will come any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// The sequence of everything that was there when the journal was opened.
const RECOVERED: u64 = 1;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::journal::sim::entry;

    fn flag() -> (Arc<AtomicBool>, Reply) {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        (flag, Box::new(move || set.store(true, Ordering::Relaxed)))
    }

    #[test]
    fn a_memory_lane_is_durable_at_once() {
        let mut lane = Lane::memory();
        let durable = lane.durable();
        assert_eq!((lane.appended(), durable.value()), (1, 1));
        let (ran, reply) = flag();
        assert_eq!(lane.append(entry(1, b"x"), Some(reply)), 2);
        assert!(ran.load(Ordering::Relaxed));
        let (ran, reply) = flag();
        lane.reply_when_durable(reply);
        assert!(ran.load(Ordering::Relaxed));
        assert_eq!((lane.appended(), durable.value(), lane.has_room()), (2, 2, true));
    }

    #[test]
    fn a_lane_has_room_for_as_many_items_as_its_capacity() {
        let (mut lane, mut end) = Lane::bounded(2, 100);
        assert!(lane.has_room_for(2) && !lane.has_room_for(3));
        lane.append(entry(1, b"x"), None);
        lane.reply_when_durable(Box::new(|| {}));
        assert!(!lane.has_room());
        assert!(end.take().is_some() && lane.has_room());
    }

    #[test]
    fn a_lane_has_room_while_its_bytes_on_the_way_leave_room_for_the_largest_record() {
        let (mut lane, mut end) = Lane::bounded(100, 100);
        let record = record_bytes(100) as u64;
        lane.limit(3 * record, &PressureCell::default());
        assert!(lane.has_room_for(3) && !lane.has_room_for(4));
        lane.append(entry(1, &[0; 100]), None);
        lane.append(entry(1, b"short"), None);
        assert!(lane.has_room());
        lane.append(entry(1, b"short"), None);
        assert!(lane.has_room_for(1) && !lane.has_room_for(2));
        lane.append(entry(1, &[0; 60]), None);
        assert!(!lane.has_room());
        while let Some(Item::Append(entry, _)) = end.take() {
            end.count_record(entry.payload.len());
        }
        assert!(!lane.has_room(), "what was taken off is not durable yet");
        end.publish();
        assert!(lane.has_room_for(3));
    }

    #[test]
    fn a_lane_tells_the_level_and_one_in_memory_knows_of_none() {
        let level = PressureCell::default();
        let (mut lane, _end) = Lane::bounded(1, 100);
        lane.limit(1000, &level);
        level.set(Pressure::RevocationsOnly);
        assert_eq!((lane.pressure(), Lane::memory().pressure()), (Pressure::RevocationsOnly, Pressure::Normal));
    }

    #[test]
    fn a_reply_with_nothing_to_wait_for_runs_at_once() {
        let (mut lane, _end) = Lane::bounded(2, 100);
        let (ran, reply) = flag();
        lane.reply_when_durable(reply);
        assert!(ran.load(Ordering::Relaxed));
        lane.append(entry(1, b"x"), None);
        let (ran, reply) = flag();
        lane.reply_when_durable(reply);
        assert!(!ran.load(Ordering::Relaxed));
    }

    #[test]
    fn a_lane_is_closed_only_after_its_last_item() {
        let (mut lane, mut end) = Lane::bounded(2, 100);
        lane.append(entry(1, b"x"), None);
        drop(lane);
        assert!(end.take().is_some() && !end.is_closed());
        assert!(end.take().is_none() && end.is_closed());
    }

    #[test]
    #[should_panic(expected = "too long")]
    fn a_payload_that_is_too_long_is_refused() {
        Lane::memory().append(entry(1, &[0; PAYLOAD_BYTES_MAX + 1]), None);
    }
}
