//! The next segment, filled with zeros before it is needed, so that a commit never waits for the file system to find room;
//! and the reserve, for when it finds none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::clock::Clock;
use crate::journal::catalog::lock;
use crate::journal::error::JournalError;
use crate::journal::file::NamedFile;
use crate::journal::pressure::Pressure;
use crate::journal::reader::Shared;
use crate::journal::reserve::Reserve;
use crate::journal::space::Stock;
use crate::journal::threads::run_at_lowest_priority;

/// The segment in the making, and those of the reserve.
pub(crate) struct Spare {
    shared: Arc<Shared>,
    length_bytes: u64,
    zeros: Vec<u8>,
    file: Option<NamedFile>,
    filled_bytes: u64,
    reserve: Reserve,
    /// The last attempt to find room failed.
    disk_is_full: bool,
}

/// What one step of filling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpareStep {
    /// A slice was written and synced, or a file of the reserve made; there is more to do.
    Filled,
    /// All is prepared.
    Ready,
    /// All is prepared that the budget has room for.
    OverBudget,
    /// The disk is full. What was filled is given back; a later step begins anew.
    DiskFull,
}

impl Spare {
    /// Makes the reserve, as far as there is room: a journal that has just been opened has no spare yet.
    pub(crate) fn prepare(shared: Arc<Shared>, length_bytes: u64) -> Result<Self, JournalError> {
        let slice_bytes = usize::try_from(length_bytes).unwrap_or(usize::MAX).min(SLICE_BYTES);
        let zeros = vec![0; slice_bytes];
        let target = shared.space.budget.reserve_segments;
        let reserve = Reserve::load(shared.directory.clone(), length_bytes, target)?;
        let mut spare = Self { shared, length_bytes, zeros, file: None, filled_bytes: 0, reserve, disk_is_full: false };
        spare.shared.measure();
        while spare.lacks_reserve() {
            if spare.step()? == SpareStep::DiskFull {
                break;
            }
        }
        spare.report();
        Ok(spare)
    }

    /// Makes one file of the reserve, or fills and syncs one slice of the spare.
    pub(crate) fn step(&mut self) -> Result<SpareStep, JournalError> {
        let step = match self.prepare_more() {
            Err(error) if error.is_disk_full() => {
                self.note_full_disk()?;
                SpareStep::DiskFull
            }
            outcome => outcome?,
        };
        self.report();
        Ok(step)
    }

    /// What has its room already is filled first; then the reserve is made, and only then another spare.
    fn prepare_more(&mut self) -> Result<SpareStep, JournalError> {
        let is_begun = self.file.is_some() && !self.is_whole();
        if !is_begun && self.lacks_reserve() {
            self.reserve.add()?;
            return Ok(SpareStep::Filled);
        }
        if self.file.is_none() && !self.shared.space.allows_spare() {
            self.disk_is_full = false;
            return Ok(SpareStep::OverBudget);
        }
        let step = self.fill_slice()?;
        self.disk_is_full = false;
        Ok(step)
    }

    fn lacks_reserve(&self) -> bool {
        let spares = u64::from(self.file.is_some());
        self.reserve.is_short() && self.shared.space.allows_reserve(spares, self.reserve.segments())
    }

    /// The next segment: the spare if it is whole, or can be made so without pause; else one of the reserve.
    pub(crate) fn take(&mut self) -> Result<(NamedFile, u64), JournalError> {
        if !self.is_whole()
            && self.is_scarce()
            && let Some(file) = self.reserve.take()?
        {
            return Ok((file, self.length_bytes));
        }
        match self.fill() {
            Err(error) if error.is_disk_full() => {
                self.note_full_disk()?;
                let file = self.reserve.take()?;
                file.map(|file| (file, self.length_bytes)).ok_or(error)
            }
            outcome => outcome,
        }
    }

    /// Whether the room that a spare would take is better left alone, or is not there.
    fn is_scarce(&self) -> bool {
        let space = &self.shared.space;
        self.disk_is_full
            || space.pressure.value() >= Pressure::RevocationsOnly
            || self.file.is_none() && !space.allows_spare()
    }

    fn fill(&mut self) -> Result<(NamedFile, u64), JournalError> {
        while self.fill_slice()? == SpareStep::Filled {}
        self.filled_bytes = 0;
        self.file.take().map(|file| (file, self.length_bytes)).ok_or(JournalError::Stopped)
    }

    fn is_whole(&self) -> bool {
        self.file.is_some() && self.filled_bytes == self.length_bytes
    }

    /// Says what is prepared to who measures.
    pub(crate) fn report(&self) {
        let stock = Stock {
            spare_is_whole: self.is_whole(),
            reserve_segments: self.reserve.segments(),
            disk_is_full: self.disk_is_full,
        };
        self.shared.space.measure_stock(stock, &self.shared.metrics);
    }

    fn fill_slice(&mut self) -> Result<SpareStep, JournalError> {
        let Some(file) = &self.file else {
            let file = self.shared.directory.create(SPARE)?;
            // Kept before it is allocated, so that a full disk gets it back.
            self.file.insert(file).allocate(self.length_bytes)?;
            self.filled_bytes = 0;
            return Ok(SpareStep::Filled);
        };
        let left = usize::try_from(self.length_bytes - self.filled_bytes).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(SpareStep::Ready);
        }
        let slice = self.zeros.get(..left).unwrap_or(&self.zeros);
        file.write_at(slice, self.filled_bytes)?;
        file.sync_data()?;
        self.filled_bytes += slice.len() as u64;
        Ok(SpareStep::Filled)
    }

    /// Gives back what of the spare there is, unless it is whole.
    fn note_full_disk(&mut self) -> Result<(), JournalError> {
        self.disk_is_full = true;
        if self.is_whole() {
            return Ok(());
        }
        self.filled_bytes = 0;
        if self.file.take().is_some() { self.shared.directory.remove(SPARE) } else { Ok(()) }
    }
}

/// Prepares a spare and what the reserve lacks for every message on `wanted`, and ends when no more can come. Pauses between
/// slices for longer than a slice takes, so that commits find the disk free, and looks for room every second where there is
/// none.
pub(crate) fn keep_ready(spare: &Mutex<Spare>, wanted: &Receiver<()>, clock: &Arc<Clock>) -> Result<(), JournalError> {
    run_at_lowest_priority();
    while wanted.recv().is_ok() {
        loop {
            let started = clock.monotonic();
            let step = lock(spare).step()?;
            let pause = match step {
                SpareStep::Ready => break,
                SpareStep::Filled => (clock.monotonic().saturating_sub(started) * 2).clamp(PAUSE_MIN, PAUSE_MAX),
                // Whoever makes room on the disk, or in the budget, need not tell.
                SpareStep::DiskFull | SpareStep::OverBudget => NO_ROOM_PAUSE,
            };
            if wanted.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
        }
    }
    Ok(())
}

pub(crate) const SPARE: &str = "spare.tmp";
const SLICE_BYTES: usize = 1 << 20;
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);
