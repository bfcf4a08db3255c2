//! A backup becomes the beginning of a journal.

use std::sync::Arc;

use crate::journal::disk::Disk;
use crate::journal::error::JournalError;
use crate::journal::file::Directory;
use crate::journal::head::{HEAD, HeadFile};
use crate::journal::keys::JournalKeys;
use crate::journal::segment::{Instance, SegmentName};
use crate::journal::snapshot::{SNAPSHOT_TMP, SnapshotExtent, SnapshotName, read_snapshot};

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
    let (source, target) = (Directory::new(source), Directory::new(target));
    let (extent, instance) = verify(&source, name, keys)?;
    let _lock = target.lock()?;
    let names = target.list()?;
    // Without `HEAD` the files of an earlier restore count for nothing.
    if names.iter().any(|name| name == HEAD || SegmentName::parse(name).is_some()) {
        return Err(JournalError::NotEmpty);
    }
    names.iter().filter(|name| SnapshotName::parse(name).is_some()).try_for_each(|name| target.remove(name))?;
    copy(&source, name, &target)?;
    read_snapshot(&target, SNAPSHOT_TMP, Some(instance), keys, &mut |_| {})?;
    let copied = target.open(SNAPSHOT_TMP)?;
    target.publish(copied, SnapshotName { start_lsn: extent.start_lsn }.to_string())?;
    HeadFile::restore(&target, instance, &extent, keys)?;
    Ok(extent)
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
