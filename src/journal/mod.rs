//! The journal: an append-only log of opaque records, durable before it is acknowledged.
//!
//! Actors append through [`Lane`]s. One thread, `commit`, takes what has gathered, writes it as one block, syncs once,
//! publishes what is durable and runs the replies. Another, `spare`, fills the next segment with zeros and keeps the
//! reserve. Any failure of the log stops the process: a page that a failed sync marked clean may never reach the disk, so
//! no later sync can be believed.
//!
//! # Files
//!
//! | name | what |
//! |---|---|
//! | `wal-<20 digits: first LSN>-<8 hex digits: epoch>.seg` | a segment: a header page, blocks, zeros |
//! | `HEAD` | two pages, written by turns: what was durable at the last open, rotation and close |
//! | `LOCK` | locked (`flock`) while a journal is open |
//! | `wal-….torn` | bytes that a crash left unfinished, cut off and kept aside |
//! | `snap-….snap` | a snapshot: see [`snapshot`] |
//! | `spare.tmp`, `recovery.tmp`, `snapshot.tmp` | do not count yet; an open removes them |
//! | `reserve-<number>.tmp` | segments that are kept aside, allocated and empty; an open keeps those of the right length |
//!
//! Everything is little-endian. Segments, blocks and the slots of `HEAD` begin on multiples of 4,096 bytes and are
//! padded with zeros, so that no page which holds a durable byte is ever written again. A MAC is the first 16 bytes of
//! keyed BLAKE3; checksums are CRC-32C (iSCSI).
//!
//! # A block
//!
//! One group commit, or a mark that has no records and only states what is durable.
//!
//! ```text
//!         0         4    6    8                   16                  24                  32
//!       0 ┌─────────┬────┬────┬───────────────────┬───────────────────┬───────────────────┐
//!         │ "TSRB"  │ver.│flag│ segment id        │ epoch             │ first LSN         │
//!      32 ├─────────┴────┴────┼─────────┬─────────┼───────────────────┼───────────────────┤
//!         │ durable LSN       │ records │ length n│ high water, ms    │ MAC of the        │
//!      64 ├───────────────────┼─────────┼─────────┼───────────────────┴───────────────────┤
//!         │    block before   │ CRC n   │ CRC head│ records …                             │
//!      96 ├───────────────────┴─────────┴─────────┴───────────────────────────────────────┤
//!         │ …                                                                             │
//!    80+n ├───────────────────────────────────────┬───────────────────────────────────────┤
//!         │ MAC of bytes 0 to 80+n                │ zeros to a multiple of 4,096          │
//!         └───────────────────────────────────────┴───────────────────────────────────────┘
//! ```
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TSRB` |
//! | 4 | 2 | format version, 1 |
//! | 6 | 2 | flags: 1 = mark (no records), else 0 |
//! | 8 | 8 | segment id: bytes of another segment never verify here |
//! | 16 | 8 | epoch of the segment |
//! | 24 | 8 | LSN of the first record; of the next record in a mark |
//! | 32 | 8 | **durable LSN**: the last record known to be durable when this was written |
//! | 40 | 4 | number of records, at most 4,096 |
//! | 44 | 4 | length of the records, n: a multiple of 16, at most 1 MiB − 96 |
//! | 48 | 8 | the latest time that the writer's clock had shown, ms since 1970 |
//! | 56 | 16 | MAC of the block before; of the segment's header in its first block |
//! | 72 | 4 | CRC-32C of the records |
//! | 76 | 4 | CRC-32C of bytes 0 to 76: the length is believed only when this fits |
//! | 80 | n | records |
//! | 80+n | 16 | MAC of bytes 0 to 80+n |
//!
//! The MAC of the block before is inside the header, so a block verifies by its own bytes, and the chain binds.
//!
//! A record: `u32` payload length, `u16` kind, `u16` schema, `u64` routing id, then the payload, padded with zeros to 16.
//!
//! # A segment's header
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TSRJ` |
//! | 4 | 2+2 | format version, 1; zero |
//! | 8 | 16 | instance: random, the same in all files of a journal |
//! | 24 | 8 | segment id: one higher with every segment |
//! | 32 | 8 | epoch: one higher with every open |
//! | 40 | 8 | LSN of the first record |
//! | 48 | 8 | id of the MAC key |
//! | 56 | 8 | created at, ms since 1970 |
//! | 64 | 16 | MAC of the last block of the segment before (zeros in the first) |
//! | 80 | 16 | MAC of bytes 0 to 80 |
//! | 96 | 4 | CRC-32C of bytes 0 to 96 |
//! | 100 | 3,996 | zeros |
//!
//! # A slot of `HEAD`
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TSRH` |
//! | 4 | 2+2 | format version, 1; zero |
//! | 8 | 8 | counter: the slot is counter mod 2, the higher one counts |
//! | 16 | 16 | instance |
//! | 32 | 8 | id of the MAC key |
//! | 40 | 8 | epoch |
//! | 48 | 8 | durable LSN |
//! | 56 | 8 | id of the newest segment |
//! | 64 | 8 | oldest LSN that must be there: raised in both slots before segments are retired |
//! | 72 | 8 | zeros |
//! | 80 | 16+4 | MAC and CRC-32C as in a segment's header |
//!
//! # Torn or corrupt
//!
//! Let B be the first block that does not verify (magic, checksums, MAC, segment, epoch, LSN, chain), where record e was
//! due. It is corruption, and the journal does not open, if something says that B had been durable:
//!
//! - a block before B, `HEAD` or [`Options::confirmed_lsn`] states a durable LSN of e or more;
//! - a block that verifies alone, at B or on any later page of its segment, states a durable LSN of e or more, or that
//!   all before it was durable (its durable LSN is the one before its first): so a lost mark is noticed too;
//! - there is a later segment: its header was written when all before it was durable.
//!
//! Otherwise B is the write that a crash cut short, and was never acknowledged: its bytes are kept aside and cut off.
//!
//! [`inspect`] tells the same of a directory that nobody serves, by the same code, and changes nothing.
//!
//! # A new epoch
//!
//! An open copies the last segment's surviving blocks into `recovery.tmp` under the next epoch, syncs it, renames it and
//! syncs the directory. From then on it supersedes all segments of lower epochs from its first LSN on, which are removed.
//! A crash at any point leaves either the old segment or the new one in force, with the same records.
//!
//! # Disk budget
//!
//! All segments, the spare and the reserve stay within [`Options::journal_bytes_max`]. What is used, whole segments and the
//! written part of the active one, decides the [`Pressure`]; actors ask for it before they change anything.
//!
//! | level | from | what stops |
//! |---|---|---|
//! | [`Pressure::Warned`] | 70 % | nothing |
//! | [`Pressure::NoLongLived`] | 85 %; or the disk has no room for another segment | what begins something long-lived |
//! | [`Pressure::RevocationsOnly`] | 95 %; or that, and a quarter of the active segment or the reserve is gone | all but revocation |
//! | [`Pressure::Full`] | what is left may be on its way already | every append |
//!
//! The last 5 % are the reserve: whole segments, at least one, so that with small budgets the levels come sooner. A rotation
//! takes the spare where it is whole, and a segment of the reserve where there is room for no other. Commits are 5 ms apart
//! then. A disk that is full before the budget raises the level in time: a commit never asks the file system for room.
//! The spare thread looks for room every second, and the level falls again by itself.
//!
//! An open writes a new segment before it removes the old one. On a full disk it takes a segment of the reserve for that;
//! where the reserve is used up, space for one segment has to be freed before the journal opens.

mod batch;
#[cfg(feature = "bench")]
pub(crate) mod benching;
mod block;
mod catalog;
pub(crate) mod commit;
pub mod disk;
mod error;
mod fields;
mod file;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod head;
pub mod inspect;
mod keys;
mod lane;
mod lsn;
mod metrics;
mod pressure;
mod reader;
mod recover;
mod reserve;
mod scan;
mod segment;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), expect(dead_code, reason = "fuzz targets use a part of it"))]
pub(crate) mod sim;
pub mod snapshot;
mod space;
mod spare;
mod survey;
mod threads;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::journal::batch::Batch;
use crate::journal::catalog::Catalog;
use crate::journal::commit::Committer;
use crate::journal::frame::{PAGE_BYTES, block_payload_bytes_max, payload_bytes_max};
use crate::journal::reader::Shared;
use crate::journal::recover::Ground;
use crate::journal::snapshot::SnapshotStore;
use crate::journal::space::{Budget, Space};
use crate::journal::spare::Spare;
use crate::journal::threads::FatalHook;

pub use crate::journal::block::{Block, Record, Records};
pub use crate::journal::disk::{Disk, RealDisk};
pub use crate::journal::error::{Defect, JournalError};
pub use crate::journal::frame::{Entry, EntryPayload, PAYLOAD_BYTES_MAX};
pub use crate::journal::keys::JournalKeys;
pub use crate::journal::lane::{DurableSequence, Lane, NoRoom, Reply};
pub use crate::journal::lsn::Lsn;
pub use crate::journal::metrics::JournalMetrics;
pub use crate::journal::pressure::Pressure;
pub use crate::journal::reader::JournalReader;
pub use crate::journal::recover::{Opening, Recovered};
pub use crate::journal::survey::TornTail;
pub use crate::journal::threads::{run_at_lowest_priority, run_in_batches, stop_process};

/// How a journal is opened.
#[derive(Debug)]
pub struct Options {
    /// Length of a new segment: a multiple of 4,096. Default 64 MiB, minimum 1 MiB (tests go down to 64 KiB, where a
    /// payload must be shorter: [`Lane::payload_bytes_max`]).
    pub segment_bytes: u64,
    /// What the journal may take of the disk, its reserve included. Default 16 GiB, minimum four segments. Files that a
    /// crash has left (`.torn`) and `HEAD` are not counted, nor is the copy that an open makes of the last segment.
    pub journal_bytes_max: u64,
    /// Key of the MACs.
    pub keys: JournalKeys,
    /// How many [`Lane`]s there are, one for each actor that appends. Minimum 1.
    pub lanes: usize,
    /// Appends and waiting replies that fit one lane. Minimum 1.
    pub lane_capacity: usize,
    /// The last record that the database has confirmed, where it was asked: if the journal ends before, it is corrupt.
    /// Default none.
    pub confirmed_lsn: Option<Lsn>,
    /// The journal that it has to be, where a database is the copy of one. Default any.
    pub instance: Option<[u8; 16]>,
    /// The epoch that begins is higher than this one: a database has been written in it. Default 0.
    pub epoch_before: u64,
}

impl Options {
    /// Options with defaults for the rest.
    #[must_use]
    pub fn new(keys: JournalKeys, lanes: usize, lane_capacity: usize) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            journal_bytes_max: JOURNAL_BYTES_MAX,
            keys,
            lanes,
            lane_capacity,
            confirmed_lsn: None,
            instance: None,
            epoch_before: 0,
        }
    }

    fn check(&self) -> Result<Budget, JournalError> {
        if self.segment_bytes < SEGMENT_BYTES_MIN || !self.segment_bytes.is_multiple_of(PAGE_BYTES as u64) {
            return Err(JournalError::Options("segment_bytes must be a multiple of 4096, and not below 65536"));
        }
        if self.lanes == 0 || self.lane_capacity == 0 {
            return Err(JournalError::Options("lanes and lane_capacity must not be zero"));
        }
        Budget::new(self).ok_or(JournalError::Options("journal_bytes_max is too small for so many shards: raise it"))
    }
}

/// A journal that was just opened.
pub struct Opened {
    /// The journal itself.
    pub journal: Journal,
    /// One for each actor.
    pub lanes: Vec<Lane>,
    /// What was found.
    pub recovered: Recovered,
}

/// Opens the journal in the directory behind `disk`: locks it, verifies everything, hands every durable block that has
/// records to `visit` in LSN order, cuts off a torn tail, and begins a new epoch. The clock is raised to the latest time
/// that the journal has seen.
///
/// Only when it returns `Ok` does what was visited count.
///
/// # Errors
///
/// [`JournalError::Locked`] when the directory is in use, [`JournalError::WrongKey`] when it was written with another
/// key, [`JournalError::Corrupt`], [`JournalError::Missing`] or [`JournalError::Foreign`] when acknowledged records are
/// not there, [`JournalError::UnknownVersion`] when a newer program wrote it, [`JournalError::Io`] when the disk fails,
/// [`JournalError::Options`] when the options make no sense.
pub fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    clock: Arc<Clock>,
    visit: &mut dyn FnMut(Arc<Block>),
) -> Result<Opened, JournalError> {
    open_with(disk, options, clock, visit, Arc::new(stop_process))
}

/// [`open`] with another end for the process than `abort`.
pub(crate) fn open_with(
    disk: Arc<dyn Disk>,
    options: Options,
    clock: Arc<Clock>,
    visit: &mut dyn FnMut(Arc<Block>),
    on_fatal: FatalHook,
) -> Result<Opened, JournalError> {
    Opening::begin(disk, options, Arc::default())?.open_with(clock, visit, on_fatal)
}

/// Everything but the threads: a simulation drives the [`Committer`] itself.
#[cfg(any(test, fuzzing))]
pub(crate) fn open_without_threads(
    disk: Arc<dyn Disk>,
    options: Options,
    clock: Arc<Clock>,
    visit: &mut dyn FnMut(Arc<Block>),
) -> Result<(Committer, Vec<Lane>, Recovered), JournalError> {
    Opening::begin(disk, options, Arc::default())?.open_without_threads(clock, visit)
}

impl Opening {
    /// Goes on from the loaded snapshot, or from the first record, and opens the journal as [`open`] does.
    ///
    /// # Errors
    ///
    /// As [`open`].
    pub fn open(self, clock: Arc<Clock>, visit: &mut dyn FnMut(Arc<Block>)) -> Result<Opened, JournalError> {
        self.open_with(clock, visit, Arc::new(stop_process))
    }

    fn open_with(
        self,
        clock: Arc<Clock>,
        visit: &mut dyn FnMut(Arc<Block>),
        on_fatal: FatalHook,
    ) -> Result<Opened, JournalError> {
        let (committer, mut lanes, recovered) = self.open_without_threads(clock, visit)?;
        let shared = Arc::clone(&committer.shared);
        let commit_thread = threads::spawn(committer, on_fatal)?;
        lanes.iter_mut().for_each(|lane| lane.wake(commit_thread.thread().clone()));
        Ok(Opened { journal: Journal { shared, commit_thread }, lanes, recovered })
    }

    /// Everything but the threads: a simulation drives the [`Committer`] itself.
    pub(crate) fn open_without_threads(
        self,
        clock: Arc<Clock>,
        visit: &mut dyn FnMut(Arc<Block>),
    ) -> Result<(Committer, Vec<Lane>, Recovered), JournalError> {
        let ground = self.replay(&clock, visit)?;
        let Ground { directory, options, budget, .. } = ground;
        let (mut lanes, ends) = (0..options.lanes)
            .map(|_| Lane::bounded(options.lane_capacity, payload_bytes_max(options.segment_bytes)))
            .collect::<(Vec<_>, Vec<_>)>();
        let shared = Arc::new(Shared {
            directory,
            keys: options.keys,
            catalog: Catalog::default(),
            instance: ground.head.latest().instance,
            head: Mutex::new(ground.head),
            snapshots: Mutex::new(ground.snapshots),
            durable_lsn: AtomicU64::new(ground.recovered.last_lsn.value()),
            settled_lsn: AtomicU64::new(ground.recovered.last_lsn.value()),
            confirmed_lsn: AtomicU64::new(u64::MAX),
            written_bytes: AtomicU64::new(ground.recovered.bytes),
            tail_from_bytes: AtomicU64::new(0),
            metrics: Arc::default(),
            space: Space::new(budget),
        });
        lanes.iter_mut().for_each(|lane| lane.limit(budget.lane_bytes_max, &shared.space.pressure));
        ground.segments.into_iter().for_each(|segment| shared.catalog.push(segment));
        let spare = Spare::prepare(Arc::clone(&shared), options.segment_bytes)?;
        shared.metrics.durable_lsn.set(ground.recovered.last_lsn.value());
        let committer = Committer {
            shared,
            clock,
            lanes: ends,
            batch: Batch::new(block_payload_bytes_max(options.segment_bytes)),
            // The clock was raised to all that the journal had seen before the header was written.
            high_water: ground.active.entry.header.created_at,
            active: ground.active,
            spare: Arc::new(Mutex::new(spare)),
            spare_wanted: None,
            unmarked_since: None,
            failed: false,
            _lock: ground.lock,
        };
        Ok((committer, lanes, ground.recovered))
    }
}

/// An open journal. Its threads end some time after all [`Lane`]s are gone, whether it is dropped or not; [`Journal::close`]
/// waits for them, which a test that removes the directory must do: a journal whose directory is gone aborts the process.
pub struct Journal {
    shared: Arc<Shared>,
    commit_thread: JoinHandle<Option<Committer>>,
}

impl Journal {
    /// A reader of what is durable.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(&self.shared))
    }

    /// Its snapshots.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        SnapshotStore::new(Arc::clone(&self.shared))
    }

    /// What the journal counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<JournalMetrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Waits until all lanes are gone and what they sent is durable, writes a clean `HEAD`, and lets go of the directory.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when `HEAD` cannot be written, [`JournalError::Stopped`] when the journal had failed.
    pub fn close(self) -> Result<(), JournalError> {
        let committer = self.commit_thread.join().ok().flatten().ok_or(JournalError::Stopped)?;
        committer.finish()
    }
}

const JOURNAL_BYTES_MAX: u64 = 16 << 30;
const SEGMENT_BYTES: u64 = 64 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
