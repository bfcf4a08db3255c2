//! A commit without its threads, and a block without a disk: see `crate::benching`.

use std::sync::Arc;

use crate::clock::{Clock, UnixTime};
use crate::journal::commit::Committer;
use crate::journal::frame::{BlockBuffer, BlockHeader, BlockPlace};
use crate::journal::keys::Mac;
use crate::journal::{Block, Disk, Entry, JournalError, JournalKeys, Lane, Lsn, Opening, Options, Recovered};

/// A journal whose commits happen when they are asked for, so that a block holds exactly what was appended before.
pub struct Commits {
    committer: Committer,
    lane: Lane,
}

impl Commits {
    /// Opens the journal on `disk` with one lane.
    ///
    /// # Errors
    ///
    /// As [`open`](crate::journal::open).
    pub fn open(disk: Arc<dyn Disk>, keys: JournalKeys, clock: Arc<Clock>) -> Result<Self, JournalError> {
        let (committer, mut lanes, _) = begin(disk, keys)?.open_without_threads(clock, &mut |_| {})?;
        let lane = lanes.pop().ok_or(JournalError::Stopped)?;
        Ok(Self { committer, lane })
    }

    /// Appends the entries and makes them durable: one block, one sync.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when the disk fails.
    pub fn commit(&mut self, entries: impl IntoIterator<Item = Entry>) -> Result<(), JournalError> {
        for entry in entries {
            self.lane.append(entry, None);
        }
        self.committer.commit_ready().map(drop)
    }
}

/// Opens a journal once more and counts what a start reads.
///
/// # Errors
///
/// As [`open`](crate::journal::open).
pub fn replay(
    disk: Arc<dyn Disk>,
    keys: JournalKeys,
    clock: Arc<Clock>,
    visit: &mut dyn FnMut(Arc<Block>),
) -> Result<Recovered, JournalError> {
    let (_, _, recovered) = begin(disk, keys)?.open_without_threads(clock, visit)?;
    Ok(recovered)
}

fn begin(disk: Arc<dyn Disk>, keys: JournalKeys) -> Result<Opening, JournalError> {
    Opening::begin(disk, Options::new(keys, 1, LANE_CAPACITY), Arc::default())
}

/// More than fit one block.
const LANE_CAPACITY: usize = 8192;

/// Makes blocks of records, and reads them.
pub struct Sealer {
    keys: JournalKeys,
    buffer: BlockBuffer,
}

impl Sealer {
    /// A sealer that signs with these keys.
    #[must_use]
    pub fn new(keys: JournalKeys) -> Self {
        Self { keys, buffer: BlockBuffer::new() }
    }

    /// Puts the entries into a block, with checksums, MAC and padding.
    pub fn seal(&mut self, entries: &[Entry]) -> &[u8] {
        self.buffer.clear();
        entries.iter().for_each(|entry| self.buffer.push(entry));
        self.buffer.seal(PLACE, &self.keys);
        self.buffer.as_slice()
    }

    /// The block that was sealed last, as a start reads it: verified, and copied out.
    #[must_use]
    pub fn read(&self) -> Option<Block> {
        let header = BlockHeader::parse(self.buffer.as_slice()).ok()?;
        let (payload, _) = header.verify(self.buffer.as_slice(), &self.keys).ok()?;
        Block::new(&header, payload).ok()
    }
}

const PLACE: BlockPlace = BlockPlace {
    segment_id: 1,
    epoch: 1,
    first_lsn: Lsn::FIRST,
    durable_lsn: Lsn::ZERO,
    high_water: UnixTime::from_seconds(1_800_000_000),
    previous: Mac([0; 16]),
};
