//! `tessera rebuild`: a data directory from the database.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::command::master_key::{MasterKeyError, read_journal_keys};
use crate::config::Config;
use crate::journal::disk::RealDisk;
use crate::postgres::{PostgresError, Restored, rebuild};

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
    /// There is no key that the directory could be made with.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database or the directory refused.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

impl RebuildError {
    /// What the process exits with, as in `sysexits.h`: 78 for a database that is not named, else as
    /// [`MasterKeyError::exit_code`] and [`PostgresError::exit_code`] say.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoUrl => 78,
            Self::Directory { .. } => 1,
            Self::MasterKey(error) => error.exit_code(),
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
    let keys = read_journal_keys(storage, "without the key of the lost server its data cannot be made anew")?;
    let directory = storage.data_dir.clone();
    let disk = RealDisk::new(directory.clone()).map_err(|reason| RebuildError::Directory { directory, reason })?;
    let restored = rebuild(url.as_str(), keys, Arc::new(disk), Clock::system().now()).await?;
    let Restored { clients, users, grants, tokens, applied_lsn, high_water } = restored;
    Ok(format!(
        "made {} of the database: {clients} clients, {users} users, {grants} grants of theirs, {tokens} tokens, all up to record \
         {applied_lsn} of {high_water}; what was acknowledged after that is lost; start the server with this --data-dir",
        storage.data_dir.display()
    ))
}
