//! `tessera restore`: a backup becomes a data directory.

use std::path::Path;
use std::sync::Arc;

use crate::config::cli::RestoreCommand;
use crate::journal::snapshot::SnapshotExtent;
use crate::journal::{JournalError, JournalKeys, RealDisk};

/// Why a backup was not restored. The data directory is as it was, but for unfinished files that a later restore replaces.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such file.
    #[error("{0} is no file that can be read")]
    NoFile(std::path::PathBuf),
    /// The directory cannot be made.
    #[error("cannot use {}: {reason}", directory.display())]
    Directory {
        /// Which directory.
        directory: std::path::PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The backup does not verify, or the directory is in use or holds data.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl RestoreError {
    /// What the process exits with, as in `sysexits.h`: 65 for a backup that is not whole, 66 where there is none, 75 for a
    /// directory that is in use, 1 for the rest.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoFile(_) => 66,
            Self::Journal(JournalError::Locked) => 75,
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
pub fn run(command: &RestoreCommand, data_dir: &Path, keys: &JournalKeys) -> Result<String, RestoreError> {
    let no_file = || RestoreError::NoFile(command.file.clone());
    if !command.file.is_file() {
        return Err(no_file());
    }
    let name = command.file.file_name().and_then(|name| name.to_str()).ok_or_else(no_file)?;
    let parent = command.file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let source = open(parent.unwrap_or_else(|| Path::new(".")))?;
    if command.check {
        let extent = crate::journal::snapshot::verify_backup(source, name, keys)?;
        return Ok(format!("{}: whole; {}", command.file.display(), summary(&extent)));
    }
    let extent = crate::journal::snapshot::restore(source, name, open(data_dir)?, keys)?;
    Ok(format!("restored {}; {}; start the server with the same --data-dir", data_dir.display(), summary(&extent)))
}

fn open(directory: &Path) -> Result<Arc<RealDisk>, RestoreError> {
    let disk = RealDisk::new(directory);
    let disk = disk.map_err(|reason| RestoreError::Directory { directory: directory.to_owned(), reason })?;
    Ok(Arc::new(disk))
}

fn summary(extent: &SnapshotExtent) -> String {
    format!("{} items, all up to record {}", extent.items, extent.end_lsn)
}
