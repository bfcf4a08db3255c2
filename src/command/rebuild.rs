//! `tessera rebuild`: a data directory from the database.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::key_file::KeyFileError;
use crate::journal::JournalKeys;
use crate::journal::disk::RealDisk;
use crate::postgres::{PostgresError, Restored, rebuild};
use crate::signing::derivation::DerivedKeys;

/// Why no directory was made. What was there is as it was, but for unfinished files that a later attempt replaces.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Which database is not said.
    #[error("no database is named: give --database-url or set TESSERA_DATABASE_URL")]
    NoUrl,
    /// The directory cannot be made.
    #[error("cannot use {}: {reason}", directory.display())]
    Directory {
        /// Which directory.
        directory: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The file of the master key cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// There is no key that the directory could be made with.
    #[error(
        "the master key is missing: {} is not there, and neither is TESSERA_MASTER_KEY; without the key of the lost server its \
         data cannot be made anew", .0.display()
    )]
    KeyMissing(PathBuf),
    /// The database or the directory refused.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

impl RebuildError {
    /// What the process exits with, as in `sysexits.h`: 78 for a key or a database that is not named, else as
    /// [`PostgresError::exit_code`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoUrl | Self::KeyMissing(_) | Self::KeyFile(KeyFileError::NotAKey(_) | KeyFileError::Exposed(_)) => {
                78
            }
            Self::Directory { .. } | Self::KeyFile(_) => 1,
            Self::Postgres(error) => error.exit_code(),
        }
    }
}

/// Makes the data directory. Answers what is to be printed.
///
/// # Errors
///
/// [`RebuildError`].
pub async fn run(config: &Config) -> Result<String, RebuildError> {
    let url = config.database.url.as_ref().ok_or(RebuildError::NoUrl)?;
    let storage = &config.storage;
    let master_key = storage.read_master_key()?;
    let master_key = master_key.ok_or_else(|| RebuildError::KeyMissing(storage.master_key_file.clone()))?;
    let keys = DerivedKeys::of(master_key.as_bytes());
    let keys = JournalKeys { mac: keys.journal_mac, key_id: keys.journal_key_id };
    let directory = storage.data_dir.clone();
    let disk = RealDisk::new(directory.clone()).map_err(|reason| RebuildError::Directory { directory, reason })?;
    let restored = rebuild(url.as_str(), keys, Arc::new(disk), Clock::system().now()).await?;
    let Restored { clients, tokens, applied_lsn, high_water } = restored;
    Ok(format!(
        "made {} of the database: {clients} clients, {tokens} tokens, all up to record {applied_lsn} of {high_water}; what was \
         acknowledged after that is lost; start the server with this --data-dir",
        storage.data_dir.display()
    ))
}
