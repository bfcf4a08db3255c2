//! The next segment, filled with zeros before it is needed, so that a commit never waits for the file system to find room.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::clock::Clock;
use crate::journal::catalog::lock;
use crate::journal::error::JournalError;
use crate::journal::file::{Directory, NamedFile};
use crate::journal::threads::run_at_lowest_priority;

/// The segment in the making.
pub(crate) struct Spare {
    directory: Directory,
    length_bytes: u64,
    zeros: Vec<u8>,
    file: Option<NamedFile>,
    filled_bytes: u64,
}

/// What one step of filling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpareStep {
    /// A slice was written and synced; there is more to do.
    Filled,
    /// The spare is whole.
    Ready,
    /// The disk is full. What was filled is given back; a later step begins anew.
    DiskFull,
}

impl Spare {
    pub(crate) fn new(directory: Directory, length_bytes: u64) -> Self {
        let slice_bytes = usize::try_from(length_bytes).unwrap_or(usize::MAX).min(SLICE_BYTES);
        Self { directory, length_bytes, zeros: vec![0; slice_bytes], file: None, filled_bytes: 0 }
    }

    /// Fills and syncs one slice.
    pub(crate) fn step(&mut self) -> Result<SpareStep, JournalError> {
        match self.fill_slice() {
            Err(error) if error.is_disk_full() => {
                self.discard()?;
                Ok(SpareStep::DiskFull)
            }
            outcome => outcome,
        }
    }

    /// The whole spare; what is missing of it is filled first, without pause.
    pub(crate) fn take(&mut self) -> Result<(NamedFile, u64), JournalError> {
        while self.fill_slice()? == SpareStep::Filled {}
        self.filled_bytes = 0;
        self.file.take().map(|file| (file, self.length_bytes)).ok_or(JournalError::Stopped)
    }

    fn fill_slice(&mut self) -> Result<SpareStep, JournalError> {
        let Some(file) = &self.file else {
            let file = self.directory.create(SPARE)?;
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

    fn discard(&mut self) -> Result<(), JournalError> {
        self.filled_bytes = 0;
        if self.file.take().is_some() { self.directory.remove(SPARE) } else { Ok(()) }
    }
}

/// Fills a spare for every message on `wanted`, and ends when no more can come. Pauses between slices for longer than a
/// slice takes, so that commits find the disk free.
pub(crate) fn keep_ready(spare: &Mutex<Spare>, wanted: &Receiver<()>, clock: &Arc<Clock>) -> Result<(), JournalError> {
    run_at_lowest_priority();
    while wanted.recv().is_ok() {
        loop {
            let started = clock.monotonic();
            let step = lock(spare).step()?;
            let pause = match step {
                SpareStep::Ready => break,
                SpareStep::Filled => (clock.monotonic().saturating_sub(started) * 2).clamp(PAUSE_MIN, PAUSE_MAX),
                SpareStep::DiskFull => {
                    tracing::warn!("the disk is full, so the next journal segment cannot be prepared: free some space");
                    DISK_FULL_PAUSE
                }
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
const DISK_FULL_PAUSE: Duration = Duration::from_secs(1);
