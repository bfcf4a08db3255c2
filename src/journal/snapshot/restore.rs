//! A backup becomes the beginning of a journal.

use std::sync::Arc;

use crate::clock::UnixTime;
use crate::journal::disk::{Disk, DiskLock};
use crate::journal::error::JournalError;
use crate::journal::file::{Directory, NamedFile};
use crate::journal::head::{HEAD, HeadFile};
use crate::journal::keys::JournalKeys;
use crate::journal::lsn::Lsn;
use crate::journal::segment::{Instance, SegmentName};
use crate::journal::snapshot::{
    SNAPSHOT_TMP, SectionContent, SnapshotEncoder, SnapshotExtent, SnapshotName, read_snapshot,
};

/// Reads a backup to its end.
///
/// # Errors
///
/// [`JournalError::Snapshot`] when it does not verify, [`JournalError::NotABackup`] when it is a snapshot that needs its
/// journal, [`JournalError::WrongKey`], [`JournalError::UnknownVersion`], [`JournalError::Io`].
pub fn verify_backup(source: Arc<dyn Disk>, name: &str, keys: &JournalKeys) -> Result<SnapshotExtent, JournalError> {
    verify(&Directory::new(source), name, keys).map(|(extent, _)| extent)
}

fn verify(source: &Directory, name: &str, keys: &JournalKeys) -> Result<(SnapshotExtent, Instance), JournalError> {
    let (extent, instance) = read_snapshot(source, name, None, keys, &mut |_| {})?;
    if extent.start_lsn != extent.end_lsn {
        return Err(JournalError::NotABackup { name: name.to_owned() });
    }
    Ok((extent, instance))
}

/// Puts a backup into a directory without a journal, so that the next open goes on from there.
///
/// # Errors
///
/// As [`verify_backup`]; [`JournalError::Locked`] when the directory is in use, [`JournalError::NotEmpty`] when it has a
/// journal.
pub fn restore(
    source: Arc<dyn Disk>,
    name: &str,
    target: Arc<dyn Disk>,
    keys: &JournalKeys,
) -> Result<SnapshotExtent, JournalError> {
    let source = Directory::new(source);
    let (extent, instance) = verify(&source, name, keys)?;
    let (target, _lock) = empty(target)?;
    copy(&source, name, &target)?;
    publish(&target, instance, keys)?;
    Ok(extent)
}

/// A directory that is locked and has no journal.
fn empty(target: Arc<dyn Disk>) -> Result<(Directory, Box<dyn DiskLock>), JournalError> {
    let target = Directory::new(target);
    let lock = target.lock()?;
    let names = target.list()?;
    // Without `HEAD` the files of an earlier restore count for nothing.
    if names.iter().any(|name| name == HEAD || SegmentName::parse(name).is_some()) {
        return Err(JournalError::NotEmpty);
    }
    names.iter().filter(|name| SnapshotName::parse(name).is_some()).try_for_each(|name| target.remove(name))?;
    Ok((target, lock))
}

/// Verifies the finished file and makes it the beginning of the journal.
fn publish(target: &Directory, instance: Instance, keys: &JournalKeys) -> Result<(), JournalError> {
    let (extent, _) = read_snapshot(target, SNAPSHOT_TMP, Some(instance), keys, &mut |_| {})?;
    let copied = target.open(SNAPSHOT_TMP)?;
    target.publish(copied, SnapshotName { start_lsn: extent.start_lsn }.to_string())?;
    HeadFile::restore(target, instance, &extent, keys).map(drop)
}

/// A directory that becomes the journal of what is known from elsewhere than a backup. Dropped before it is finished, it
/// leaves a file that counts for nothing.
pub struct Foundation {
    target: Directory,
    _lock: Box<dyn DiskLock>,
    file: NamedFile,
    offset: u64,
    encoder: SnapshotEncoder,
    instance: Instance,
    keys: JournalKeys,
}

impl Foundation {
    /// Begins in a directory without a journal, under the name that the lost journal had.
    ///
    /// # Errors
    ///
    /// [`JournalError::Locked`] when the directory is in use, [`JournalError::NotEmpty`] when it has a journal,
    /// [`JournalError::Io`].
    pub fn begin(
        target: Arc<dyn Disk>,
        instance: [u8; 16],
        now: UnixTime,
        keys: JournalKeys,
    ) -> Result<Self, JournalError> {
        let (target, lock) = empty(target)?;
        let (encoder, header) = SnapshotEncoder::begin(instance, now, &keys);
        let file = target.create(SNAPSHOT_TMP)?;
        let mut founding = Self { target, _lock: lock, file, offset: 0, encoder, instance, keys };
        founding.write(&header)?;
        Ok(founding)
    }

    /// Writes the next section.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn section(&mut self, content: &SectionContent<'_>) -> Result<(), JournalError> {
        let bytes = self.encoder.section(content, &self.keys);
        self.write(&bytes)
    }

    /// Makes the directory one on which a server starts, whose next record is the one after `lsn`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`], [`JournalError::Snapshot`] when the disk gives back something else than was written.
    pub fn finish(mut self, lsn: Lsn, high_water: UnixTime, epoch: u64) -> Result<SnapshotExtent, JournalError> {
        let extent = SnapshotExtent { start_lsn: lsn, end_lsn: lsn, high_water, epoch, sections: 0, items: 0 };
        let (footer, extent) = self.encoder.finish(extent, &self.keys);
        self.write(&footer)?;
        self.file.sync_data()?;
        publish(&self.target, self.instance, &self.keys)?;
        Ok(extent)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

fn copy(source: &Directory, name: &str, target: &Directory) -> Result<(), JournalError> {
    let (from, to) = (source.open(name)?, target.create(SNAPSHOT_TMP)?);
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let read = from.read_at(&mut piece, offset)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { return to.sync_data() };
        to.write_at(bytes, offset)?;
        offset += read as u64;
    }
}

const PIECE_BYTES: usize = 1 << 20;
