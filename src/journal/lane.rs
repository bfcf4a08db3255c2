//! The way from one actor to the commit thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use crossbeam_utils::CachePadded;

use crate::journal::frame::{Entry, PAYLOAD_BYTES_MAX};

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
}

/// What travels on a lane.
pub(crate) enum Item {
    Append(Entry, Option<Reply>),
    /// Runs when all before it on the lane is durable.
    Barrier(Reply),
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
        let end = LaneEnd { items, held_back: None, closed: false, sequence: RECOVERED, durable: durable.clone() };
        let way = Way::Journal(Sending { items: Some(sender), commit_thread: None, payload_bytes_max });
        (Self { way, appended: RECOVERED, durable }, end)
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

    /// Whether `items` more appends and waiting replies fit.
    #[must_use]
    pub fn has_room_for(&self, items: usize) -> bool {
        let Way::Journal(Sending { items: Some(sender), .. }) = &self.way else { return true };
        sender.capacity().is_some_and(|capacity| sender.len().saturating_add(items) <= capacity)
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
        match &self.way {
            Way::Memory => {
                self.durable.publish(self.appended);
                reply.into_iter().for_each(|reply| reply());
            }
            Way::Journal(sending) => sending.send(Item::Append(entry, reply)),
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
    value: Arc<CachePadded<AtomicU64>>,
}

impl DurableSequence {
    fn new() -> Self {
        Self { value: Arc::new(CachePadded::new(AtomicU64::new(RECOVERED))) }
    }

    /// The sequence now: one Acquire load.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    fn publish(&self, sequence: u64) {
        self.value.store(sequence, Ordering::Release);
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

    pub(crate) fn count_record(&mut self) {
        self.sequence += 1;
    }

    /// All that was taken off is durable.
    pub(crate) fn publish(&self) {
        self.durable.publish(self.sequence);
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
