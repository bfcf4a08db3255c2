//! The snapshots of an open journal: written aside, verified, given their name; and what they allow to be retired.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::UnixTime;
use crate::journal::catalog::lock;
use crate::journal::error::JournalError;
use crate::journal::file::NamedFile;
use crate::journal::lsn::Lsn;
use crate::journal::reader::{JournalReader, Shared};
use crate::journal::snapshot::{
    RecordsSection, Section, SectionContent, SnapshotEncoder, SnapshotExtent, SnapshotName, read_snapshot,
};

/// A snapshot that lies in the directory and counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) name: SnapshotName,
    pub(crate) bytes: u64,
}

/// Takes snapshots of what the journal's owner keeps, and retires what they make superfluous. Cheap to clone; one snapshot or
/// backup is made at a time.
#[derive(Clone)]
pub struct SnapshotStore {
    shared: Arc<Shared>,
}

impl SnapshotStore {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Bytes of blocks that a restart would read after the newest snapshot.
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        let written = self.shared.written_bytes.load(Ordering::Relaxed);
        written.saturating_sub(self.shared.tail_from_bytes.load(Ordering::Relaxed))
    }

    /// The last durable record.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        Lsn::new(self.shared.durable_lsn.load(Ordering::Acquire))
    }

    /// Length of the newest snapshot; 0 where there is none.
    #[must_use]
    pub fn newest_bytes(&self) -> u64 {
        lock(&self.shared.snapshots).last().map_or(0, |kept| kept.bytes)
    }

    /// Begins a snapshot. All that is to be in it is looked at after this call.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when the disk fails or is full; nothing is changed then.
    pub fn begin(&self, now: UnixTime) -> Result<SnapshotWriter, JournalError> {
        let shared = Arc::clone(&self.shared);
        let start_lsn = shared.settled_lsn();
        let written_before = shared.written_bytes.load(Ordering::Relaxed);
        let (encoder, header) = SnapshotEncoder::begin(shared.instance, now, &shared.keys);
        let file = shared.directory.create(SNAPSHOT_TMP)?;
        let mut writer = SnapshotWriter { shared, file: Some(file), encoder, offset: 0, start_lsn, written_before };
        writer.write(&header)?;
        Ok(writer)
    }

    /// Begins a backup, which is a snapshot that ends where it begins: `emit` gets its bytes.
    ///
    /// # Errors
    ///
    /// What `emit` answers.
    pub fn begin_backup<E: From<JournalError>>(
        &self,
        now: UnixTime,
        emit: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<BackupWriter, E> {
        let shared = Arc::clone(&self.shared);
        let start_lsn = shared.settled_lsn();
        let (encoder, header) = SnapshotEncoder::begin(shared.instance, now, &shared.keys);
        emit(&header)?;
        Ok(BackupWriter { shared, encoder, start_lsn })
    }

    /// Reads the newest snapshot that verifies, while the journal goes on. Answers where replay is to go on: after the LSN, which is 0 where there is no snapshot.
    ///
    /// # Errors
    ///
    /// [`JournalError::Snapshot`] when none verifies, [`JournalError::Io`] when the disk fails.
    pub fn read_newest(&self, visit: &mut dyn FnMut(SnapshotRead)) -> Result<Lsn, JournalError> {
        let kept = lock(&self.shared.snapshots).clone();
        let mut outcome = Ok(Lsn::ZERO);
        for kept in kept.into_iter().rev() {
            let (name, shared) = (kept.name.to_string(), &self.shared);
            let read = read_snapshot(&shared.directory, &name, Some(shared.instance), &shared.keys, &mut |section| {
                visit(SnapshotRead::Section(section));
            });
            match read {
                Ok((extent, _)) => return Ok(extent.start_lsn),
                Err(error) => {
                    outcome = Err(error);
                    visit(SnapshotRead::Anew);
                }
            }
        }
        outcome
    }

    /// A database has confirmed all records up to this one: from the first call on, no segment that it still needs is retired.
    pub fn confirm(&self, lsn: Lsn) {
        self.shared.confirmed_lsn.store(lsn.value(), Ordering::Release);
    }

    /// Removes all snapshots but the newest two, and the segments that neither the older of them nor the database needs.
    /// Answers how many segments went.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when `HEAD` cannot be written: a failure of the log, after which the process must end.
    pub fn retire(&self) -> Result<usize, JournalError> {
        let shared = &self.shared;
        let Some(needed) = self.prune() else { return Ok(0) };
        let confirmed = Lsn::new(shared.confirmed_lsn.load(Ordering::Acquire));
        let first = shared.catalog.first_of(needed.min(confirmed).after(1));
        {
            let mut head = lock(&shared.head);
            if first <= head.latest().retained_from {
                return Ok(0);
            }
            // Before any file goes: a segment that is missing without `HEAD` knowing would be corruption.
            head.retain_from(first, &shared.keys)?;
        }
        let retired = shared.catalog.retire(first);
        for name in &retired {
            shared.remove_or_warn(name);
        }
        shared.measure();
        Ok(retired.len())
    }

    /// Answers the start of the older of two snapshots; `None` where there are not two.
    fn prune(&self) -> Option<Lsn> {
        let mut kept = lock(&self.shared.snapshots);
        while kept.len() > SNAPSHOTS_KEPT {
            self.shared.remove_or_warn(&kept.remove(0).name.to_string());
        }
        kept.first().filter(|_| kept.len() == SNAPSHOTS_KEPT).map(|oldest| oldest.name.start_lsn)
    }
}

/// What a reading of the newest snapshot that verifies hands out.
pub enum SnapshotRead {
    /// The next section. Only when the reading answers that it is whole does it count.
    Section(Arc<Section>),
    /// The snapshot turned out not to verify: what was handed out so far does not count.
    Anew,
}

impl Shared {
    fn extent(&self, start_lsn: Lsn, end_lsn: Lsn, high_water: UnixTime) -> SnapshotExtent {
        let epoch = lock(&self.head).latest().epoch;
        SnapshotExtent { start_lsn, end_lsn, high_water, epoch, sections: 0, items: 0 }
    }

    /// A file that stays is removed by a later open.
    fn remove_or_warn(&self, name: &str) {
        if let Err(error) = self.directory.remove(name) {
            tracing::warn!(%error, file = name, "a file that is no longer needed cannot be removed now; the next start tries again");
        }
    }
}

/// A snapshot in the making. Dropped before it is finished, it leaves nothing.
pub struct SnapshotWriter {
    shared: Arc<Shared>,
    /// `None` once it has its final name.
    file: Option<NamedFile>,
    encoder: SnapshotEncoder,
    offset: u64,
    start_lsn: Lsn,
    written_before: u64,
}

impl SnapshotWriter {
    /// Writes and syncs the next section.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when the disk fails or is full: drop the writer, and begin anew later.
    pub fn section(&mut self, content: &SectionContent<'_>) -> Result<(), JournalError> {
        let bytes = self.encoder.section(content, &self.shared.keys);
        self.write(&bytes)
    }

    /// Writes the footer, reads the whole file back, and gives it its name. Call it once all that went in is durable.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when the disk fails or is full, [`JournalError::Snapshot`] when what it gives back is not what was
    /// written; the snapshots from before stay in force.
    pub fn finish(mut self, high_water: UnixTime) -> Result<SnapshotExtent, JournalError> {
        let end_lsn = Lsn::new(self.shared.durable_lsn.load(Ordering::Acquire));
        let extent = self.shared.extent(self.start_lsn, end_lsn, high_water);
        let (footer, extent) = self.encoder.finish(extent, &self.shared.keys);
        self.write(&footer)?;
        let shared = Arc::clone(&self.shared);
        read_snapshot(&shared.directory, SNAPSHOT_TMP, Some(shared.instance), &shared.keys, &mut |_| {})?;
        let name = SnapshotName { start_lsn: self.start_lsn };
        if let Some(file) = self.file.take() {
            shared.directory.publish(file, name.to_string())?;
        }
        let mut snapshots = lock(&shared.snapshots);
        snapshots.retain(|kept| kept.name != name);
        snapshots.push(Kept { name, bytes: self.offset });
        shared.tail_from_bytes.store(self.written_before, Ordering::Relaxed);
        Ok(extent)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_at(bytes, self.offset)?;
        file.sync_data()?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.shared.remove_or_warn(SNAPSHOT_TMP);
        }
    }
}

/// A backup in the making.
pub struct BackupWriter {
    shared: Arc<Shared>,
    encoder: SnapshotEncoder,
    start_lsn: Lsn,
}

impl BackupWriter {
    /// Emits the bytes of the next section.
    ///
    /// # Errors
    ///
    /// What `emit` answers.
    pub fn section<E>(
        &mut self,
        content: &SectionContent<'_>,
        emit: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        emit(&self.encoder.section(content, &self.shared.keys))
    }

    /// Adds the records that came meanwhile, and the footer. Call it once all that went in is durable.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be read, and what `emit` answers.
    pub fn finish<E: From<JournalError>>(
        mut self,
        high_water: UnixTime,
        emit: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<SnapshotExtent, E> {
        let reader = JournalReader::new(Arc::clone(&self.shared));
        let (mut last_lsn, mut gathered, mut emitted) = (self.start_lsn, RecordsSection::default(), Ok(()));
        reader.read(self.start_lsn.after(1), &mut |block| {
            last_lsn = block.first_lsn().after(u64::from(block.len())).before();
            gathered.push_all(block.payload(), block.len());
            if gathered.len_bytes() >= RECORDS_BYTES && emitted.is_ok() {
                emitted = self.section(&std::mem::take(&mut gathered).content(), emit);
            }
        })?;
        emitted?;
        if gathered.len_bytes() > 0 {
            self.section(&gathered.content(), emit)?;
        }
        let extent = self.shared.extent(last_lsn, last_lsn, high_water);
        let (footer, extent) = self.encoder.finish(extent, &self.shared.keys);
        emit(&footer)?;
        Ok(extent)
    }
}

/// A snapshot while it does not count yet.
pub(crate) const SNAPSHOT_TMP: &str = "snapshot.tmp";
const SNAPSHOTS_KEPT: usize = 2;
/// Records in one section of a backup take about this much.
const RECORDS_BYTES: usize = 1 << 20;
