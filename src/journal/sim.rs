//! An in-memory disk that crashes from a seed, loses what was not synced, fills up, fails and rots.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "of tests and fuzzers alone")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use crate::clock::{Clock, ManualTime, UnixTime};
use crate::journal::catalog::lock;
use crate::journal::commit::{CommitOutcome, Committer};
use crate::journal::disk::{Disk, DiskFile, DiskLock};
use crate::journal::frame::PAGE_BYTES;
use crate::journal::{Entry, EntryPayload, JournalError, JournalKeys, Lane, Options, Recovered, Reply};

/// The disk. Clones are handles on the same one.
#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// Plays another thread that runs in the middle of something.
type Interruption = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Since the last sync of the directory.
    name_changes: Vec<NameChange>,
    capacity_bytes: Option<usize>,
    faults: Faults,
    operations: u64,
    locked: bool,
    before_rename: Option<Interruption>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty_pages: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String),
}

/// Counted down by each operation of the kind; the one that finds 0 fails.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    /// One sync of a file or of the directory fails.
    pub(crate) sync_in: Option<u64>,
    /// One write fails half done.
    pub(crate) write_in: Option<u64>,
    /// This and every later operation fails.
    pub(crate) power_cut_in: Option<u64>,
}

impl SimDisk {
    pub(crate) fn new() -> Self {
        Self::with(State::default())
    }

    fn with(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Another disk in the same state, page cache and all: what a killed process leaves behind.
    pub(crate) fn killed(&self) -> Self {
        Self::with(State { faults: Faults::default(), locked: false, ..lock(&self.state).clone() })
    }

    /// Another disk with nothing but what was synced.
    pub(crate) fn synced(&self) -> Self {
        self.crashed(&mut |_| 0)
    }

    /// Another disk with what was synced, and of the rest what the seed decides.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        self.crashed(&mut |choices| random.below(choices))
    }

    fn crashed(&self, choose: &mut dyn FnMut(u64) -> u64) -> Self {
        let state = lock(&self.state);
        let mut names = state.durable_names.clone();
        for change in state.name_changes.iter().filter(|_| choose(2) == 1) {
            match change.clone() {
                NameChange::Link(name, file) => drop(names.insert(name, file)),
                NameChange::Rename(from, to, file) => {
                    names.remove(&from);
                    names.insert(to, file);
                }
                NameChange::Unlink(name) => drop(names.remove(&name)),
            }
        }
        let files = state.files.iter().map(|file| file.crashed(choose)).collect();
        Self::with(State { files, durable_names: names.clone(), names, ..State::default() })
    }

    pub(crate) fn faults(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut lock(&self.state).faults);
    }

    /// All files together may grow to this length.
    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        lock(&self.state).capacity_bytes = bytes;
    }

    /// Runs `interruption` before every rename.
    pub(crate) fn interrupt_renames(&self, interruption: impl Fn() + Send + Sync + 'static) {
        lock(&self.state).before_rename = Some(Arc::new(interruption));
    }

    pub(crate) fn operations(&self) -> u64 {
        lock(&self.state).operations
    }

    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.state).names.keys().cloned().collect()
    }

    /// The names of segments, in order.
    pub(crate) fn segments(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(".seg")).collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = lock(&self.state);
        state.files[state.names[name]].now.clone()
    }

    /// Replaces or adds a file behind the journal's back.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        let file = state.files.len();
        state.files.push(Content { now: bytes.clone(), durable: bytes, dirty_pages: BTreeSet::new() });
        state.names.insert(name.to_owned(), file);
        state.durable_names.insert(name.to_owned(), file);
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes(name);
        change(&mut bytes);
        self.put(name, bytes);
    }

    /// Changes a file behind the back of who has it open.
    pub(crate) fn change_open(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = lock(&self.state);
        let file = state.names[name];
        let content = &mut state.files[file];
        change(&mut content.now);
        content.durable.clone_from(&content.now);
    }

    /// The length of all files.
    pub(crate) fn used_bytes(&self) -> usize {
        let state = lock(&self.state);
        state.names.values().map(|file| state.files[*file].now.len()).sum()
    }

    pub(crate) fn take(&self, name: &str) -> Vec<u8> {
        let bytes = self.bytes(name);
        let mut state = lock(&self.state);
        state.names.remove(name);
        state.durable_names.remove(name);
        bytes
    }
}

impl Content {
    /// Each page that was not synced is kept, dropped, or torn at 512 bytes.
    fn crashed(&self, choose: &mut dyn FnMut(u64) -> u64) -> Self {
        let mut bytes = self.durable.clone();
        if choose(2) == 1 {
            lengthen(&mut bytes, self.now.len());
        }
        for page in &self.dirty_pages {
            let fate = choose(3);
            for sector in 0..PAGE_BYTES / 512 {
                let start = page * PAGE_BYTES + sector * 512;
                let end = (start + 512).min(self.now.len()).min(bytes.len());
                if start < end && (fate == 1 || fate == 2 && choose(2) == 1) {
                    bytes[start..end].copy_from_slice(&self.now[start..end]);
                }
            }
        }
        Self { now: bytes.clone(), durable: bytes, dirty_pages: BTreeSet::new() }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        lengthen(&mut self.now, end);
        self.now[offset..end].copy_from_slice(bytes);
        self.dirty_pages.extend(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES));
    }

    fn drop_clean_pages(&mut self) {
        for page in (0..self.durable.len().div_ceil(PAGE_BYTES)).filter(|page| !self.dirty_pages.contains(page)) {
            let (start, end) = (page * PAGE_BYTES, ((page + 1) * PAGE_BYTES).min(self.durable.len()));
            self.now[start..end].copy_from_slice(&self.durable[start..end]);
        }
    }

    fn sync(&mut self) {
        lengthen(&mut self.durable, self.now.len());
        for page in std::mem::take(&mut self.dirty_pages) {
            let (start, end) = (page * PAGE_BYTES, ((page + 1) * PAGE_BYTES).min(self.now.len()));
            self.durable[start..end].copy_from_slice(&self.now[start..end]);
        }
    }
}

/// `Vec::resize` with zeros, which without optimisation goes byte by byte. Never shortens.
fn lengthen(bytes: &mut Vec<u8>, length: usize) {
    bytes.append(&mut vec![0; length.saturating_sub(bytes.len())]);
}

impl State {
    /// Counts an operation. What it changes may still be kept when the power is cut in the middle of it.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.faults.power_cut_in {
            Some(0) => Err(io::Error::other("the power is cut")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn sync_fails(&mut self) -> io::Result<()> {
        Self::fails(&mut self.faults.sync_in)
    }

    fn write_fails(&mut self) -> io::Result<()> {
        Self::fails(&mut self.faults.write_in)
    }

    fn fails(countdown: &mut Option<u64>) -> io::Result<()> {
        match countdown.take() {
            Some(0) => Err(io::Error::other("injected")),
            left => {
                *countdown = left.map(|left| left - 1);
                Ok(())
            }
        }
    }

    fn reserve(&self, more_bytes: usize) -> io::Result<()> {
        let used: usize = self.names.values().map(|file| self.files[*file].now.len()).sum();
        match self.capacity_bytes {
            Some(capacity) if more_bytes > 0 && used + more_bytes > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> io::Result<Box<dyn DiskLock>> {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock(self.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = lock(&self.state).file(name)?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = lock(&self.state);
        let file = state.files.len();
        let outcome = state.operate();
        state.files.push(Content::default());
        state.names.insert(name.to_owned(), file);
        state.name_changes.push(NameChange::Link(name.to_owned(), file));
        outcome.map(|()| Box::new(SimFile { disk: self.clone(), file }) as Box<dyn DiskFile>)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let interruption = lock(&self.state).before_rename.clone();
        interruption.iter().for_each(|interrupt| interrupt());
        let mut state = lock(&self.state);
        let file = state.file(from)?;
        let outcome = state.operate();
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        state.name_changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        outcome
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.file(name)?;
        let outcome = state.operate();
        state.names.remove(name);
        state.name_changes.push(NameChange::Unlink(name.to_owned()));
        outcome
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate()?;
        state.sync_fails()?;
        state.durable_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }
}

struct SimLock(SimDisk);

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.0.state).locked = false;
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.disk.state).files[self.file].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = lock(&self.disk.state);
        let bytes = state.files[self.file].now.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        let offset = usize::try_from(offset).unwrap();
        let growth = (offset + bytes.len()).saturating_sub(state.files[self.file].now.len());
        state.reserve(growth)?;
        let outcome = state.operate();
        let failure = state.write_fails();
        let written = if failure.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        state.files[self.file].write(written, offset);
        outcome.and(failure)
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        let length = usize::try_from(length_bytes).unwrap();
        state.reserve(length.saturating_sub(state.files[self.file].now.len()))?;
        let outcome = state.operate();
        lengthen(&mut state.files[self.file].now, length);
        outcome
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        state.operate()?;
        if let Err(error) = state.sync_fails() {
            // As on Linux: the pages count as clean from now on, though they never got to the disk.
            state.files[self.file].dirty_pages.clear();
            return Err(error);
        }
        state.files[self.file].sync();
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        lock(&self.disk.state).files[self.file].drop_clean_pages();
        Ok(())
    }
}

/// `SplitMix64`: the same numbers from the same seed, on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, choices: u64) -> u64 {
        self.next() % choices
    }
}

/// A journal on a simulated disk, driven step by step. `lane` is the routing id of what a lane appends.
pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) time: ManualTime,
    pub(crate) committer: Committer,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) recovered: Recovered,
    /// What `visit` saw.
    pub(crate) seen: Vec<SeenRecord>,
}

/// LSN, routing id, payload.
pub(crate) type SeenRecord = (u64, u64, Vec<u8>);

impl Rig {
    pub(crate) fn open(disk: &SimDisk) -> Result<Self, JournalError> {
        Self::open_with(disk, options(2))
    }

    pub(crate) fn open_with(disk: &SimDisk, options: Options) -> Result<Self, JournalError> {
        let time = ManualTime::new(START);
        let clock = Arc::new(Clock::on(Box::new(time.clone())));
        let mut seen = Vec::new();
        let (committer, lanes, recovered) =
            super::open_without_threads(Arc::new(disk.clone()), options, clock, &mut |block| {
                seen.extend(
                    block.records().map(|record| (record.lsn.value(), record.routing_id, record.payload.to_vec())),
                );
            })?;
        Ok(Self { disk: disk.clone(), time, committer, lanes, recovered, seen })
    }

    /// A rig of a journal that was opened in another way.
    pub(crate) fn of(disk: &SimDisk, committer: Committer, lanes: Vec<Lane>, recovered: Recovered) -> Self {
        Self { disk: disk.clone(), time: ManualTime::new(START), committer, lanes, recovered, seen: Vec::new() }
    }

    /// A clock that stands still.
    pub(crate) fn clock() -> Arc<Clock> {
        Arc::new(Clock::on(Box::new(ManualTime::new(START))))
    }

    pub(crate) fn append(&mut self, lane: usize, payload: &[u8]) -> u64 {
        self.append_with(lane, payload, None)
    }

    pub(crate) fn append_with(&mut self, lane: usize, payload: &[u8], reply: Option<Reply>) -> u64 {
        self.lanes[lane].append(entry(lane as u64, payload), reply)
    }

    pub(crate) fn commit(&mut self) -> CommitOutcome {
        self.committer.commit_ready().unwrap()
    }

    /// One block of one record, acknowledged.
    pub(crate) fn commit_one(&mut self, payload: &[u8]) {
        self.append(0, payload);
        assert_eq!(self.commit(), CommitOutcome::Committed(1));
    }

    /// Ends as a server does that is told to stop.
    pub(crate) fn close(self) -> SimDisk {
        drop(self.lanes);
        self.committer.finish().unwrap();
        self.disk
    }

    pub(crate) fn payloads(&self) -> Vec<Vec<u8>> {
        self.seen.iter().map(|(_, _, payload)| payload.clone()).collect()
    }
}

pub(crate) fn entry(routing_id: u64, payload: &[u8]) -> Entry {
    let mut aligned = EntryPayload::new();
    aligned.extend_from_slice(payload);
    Entry { kind: 7, schema: 1, routing_id, payload: aligned }
}

pub(crate) fn keys() -> JournalKeys {
    JournalKeys { mac: [0x5a; 32], key_id: 0x1122_3344_5566_7788 }
}

pub(crate) fn options(lanes: usize) -> Options {
    Options { segment_bytes: 64 << 10, journal_bytes_max: 20 * (64 << 10), ..Options::new(keys(), lanes, 64) }
}

/// Three acknowledged blocks of one record each, and no word from anyone that the third is durable.
pub(crate) fn three_blocks() -> SimDisk {
    let mut rig = Rig::open(&SimDisk::new()).unwrap();
    for payload in [b"one", b"two", b"six"] {
        rig.commit_one(payload);
    }
    rig.disk.synced()
}

/// As [`three_blocks`], but the last was cut short by a crash; its bytes are all there.
pub(crate) fn last_not_acknowledged() -> SimDisk {
    let mut rig = Rig::open(&SimDisk::new()).unwrap();
    rig.commit_one(b"one");
    rig.commit_one(b"two");
    rig.append(0, b"six");
    rig.disk.faults(|faults| faults.sync_in = Some(0));
    assert!(rig.committer.commit_ready().is_err());
    let bytes = rig.disk.bytes(&rig.disk.segments()[0]);
    let disk = rig.disk.synced();
    disk.put(&disk.segments()[0], bytes);
    disk
}

/// Many acknowledged records over several segments.
pub(crate) fn many_segments(records: u8) -> SimDisk {
    let mut rig = Rig::open(&SimDisk::new()).unwrap();
    for number in 0..records {
        rig.commit_one(&[number; 3000]);
    }
    rig.disk.synced()
}

/// Where the block of that index begins, where each takes one page.
pub(crate) fn block_offset(index: usize) -> usize {
    PAGE_BYTES + index * PAGE_BYTES
}

pub(crate) const START: UnixTime = UnixTime::from_seconds(1_800_000_000);
