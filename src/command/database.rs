//! `tessera database`: the tables of the copy.

use crate::config::DatabaseConfig;
use crate::config::cli::DatabaseCommand;
use crate::postgres::{Migrated, PostgresError, migrate};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Which database is not said.
    #[error("no database is named: give --database-url or set TESSERA_DATABASE_URL")]
    NoUrl,
    /// The database refused.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

impl DatabaseError {
    /// What the process exits with: see [`PostgresError::exit_code`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoUrl => 78,
            Self::Postgres(error) => error.exit_code(),
        }
    }
}

/// Does what was asked for. Answers what is to be printed.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn run(command: &DatabaseCommand, config: &DatabaseConfig) -> Result<String, DatabaseError> {
    let url = config.url.as_ref().ok_or(DatabaseError::NoUrl)?;
    let DatabaseCommand::Migrate(_) = command;
    Ok(match migrate(url.as_str()).await? {
        Migrated::UpToDate => "the tables are up to date",
        Migrated::Changed => "the tables were made or brought up to date",
    }
    .to_owned())
}
