//! `tessera restore`: a backup becomes a data directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::command::master_key::{MasterKeyError, read_journal_keys};
use crate::config::StorageConfig;
use crate::config::cli::RestoreCommand;
use crate::journal::JournalError;
use crate::journal::disk::{ReadOnlyDisk, RealDisk};
use crate::journal::snapshot::{SnapshotExtent, restore, verify_backup};

/// Why a backup was not restored. The data directory is as it was, but for unfinished files that a later restore replaces.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such file.
    #[error("{0} is no file that can be read")]
    NoFile(PathBuf),
    /// The directory cannot be made.
    #[error("cannot use {}: {reason}", directory.display())]
    Directory {
        /// Which directory.
        directory: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// There is no key that could read it.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The backup does not verify, or the directory is in use or holds data.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl RestoreError {
    /// What the process exits with, as in `sysexits.h`: 65 for a backup that is not whole or a directory that is not empty, 66
    /// where there is no backup, 75 for a directory that is in use, 78 for a key that is missing, 1 for the rest.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoFile(_) => 66,
            Self::Journal(JournalError::Locked) => 75,
            Self::MasterKey(error) => error.exit_code(),
            Self::Directory { .. } | Self::Journal(JournalError::Io { .. }) => 1,
            Self::Journal(_) => 65,
        }
    }
}

/// Verifies a backup and, unless it is only to be checked, makes the data directory of it. Answers what is to be printed.
///
/// # Errors
///
/// [`RestoreError`].
pub fn run(command: &RestoreCommand, storage: &StorageConfig) -> Result<String, RestoreError> {
    let no_file = || RestoreError::NoFile(command.file.clone());
    if !command.file.is_file() {
        return Err(no_file());
    }
    let name = command.file.file_name().and_then(|name| name.to_str()).ok_or_else(no_file)?;
    let parent = command.file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let source = Arc::new(ReadOnlyDisk::new(parent).map_err(cannot_use(parent))?);
    let keys = read_journal_keys(storage, "a backup cannot be read without the key of the server that it was made of")?;
    if command.check {
        let extent = verify_backup(source, name, &keys)?;
        return Ok(format!("{}: whole; {}", command.file.display(), summary(&extent)));
    }
    let data_dir = &storage.data_dir;
    let target = Arc::new(RealDisk::new(data_dir).map_err(cannot_use(data_dir))?);
    let extent = restore(source, name, target, &keys)?;
    Ok(format!("restored {}; {}; start the server with this --data-dir", data_dir.display(), summary(&extent)))
}

fn cannot_use(directory: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let directory = directory.to_owned();
    move |reason| RestoreError::Directory { directory, reason }
}

fn summary(extent: &SnapshotExtent) -> String {
    format!("{} items, all up to record {}", extent.items, extent.end_lsn)
}
