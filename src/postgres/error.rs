//! What can go wrong with the database, by what is to be done about it.

use sqlx::migrate::MigrateError;

use crate::journal::{JournalError, Lsn};
use crate::telemetry::projection::DatabaseState;

/// Why the database was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is none.
    #[error("database_url: {0}")]
    Url(sqlx::Error),
    /// It does not answer, or cannot serve now.
    #[error("the database cannot be reached: {0}")]
    Unreachable(sqlx::Error),
    /// It did not answer in time.
    #[error("the database did not answer within {seconds} s to {what}")]
    TimedOut {
        /// What it was asked.
        what: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// It refuses what is asked of it, whatever the record: see to its tables, privileges and disk.
    #[error("the database refuses: {0}; see to its tables, the privileges of the role, and its disk")]
    Refused(sqlx::Error),
    /// It refuses a record by its content.
    #[error("the database refuses a record ({sqlstate}): {message}")]
    Record {
        /// SQLSTATE.
        sqlstate: String,
        /// What it says.
        message: String,
    },
    /// The tables are not there, and the role may not make them.
    #[error(
        "the tables cannot be made or brought up to date: {0}; run `tessera database migrate` with a role that may, and grant \
         this one SELECT, INSERT, UPDATE on all tables of the schema tessera"
    )]
    NotMigrated(MigrateError),
    /// A newer program has changed the tables.
    #[error("the tables have version {0}, which this program does not know: start the newer program")]
    Newer(i64),
    /// Another start of this server writes it.
    #[error(
        "a later start of this server writes the database, so this one must not: stop it, or, if the other is gone, start it again"
    )]
    Superseded,
    /// It knows more than the journal.
    #[error(
        "the database has records up to {applied}, the journal only up to {last}: acknowledged records are missing from the data \
         directory; keep it as it is, then restore the newest one or make it anew with `tessera rebuild --from-database`"
    )]
    Ahead {
        /// The last record in the database.
        applied: Lsn,
        /// The last record of the journal.
        last: Lsn,
    },
    /// Too many records in a row were refused: that is no accident of a record.
    #[error("the database has refused {0} records: see the table dead_letters and mend what refuses them")]
    Poisoned(u64),
    /// There is nothing that a server could be rebuilt from.
    #[error("the database holds no copy of a journal")]
    Empty,
    /// The copy was made under another master key.
    #[error("the master key is not the one of the server whose copy the database is")]
    WrongKey,
    /// A row is not what a projector writes.
    #[error("a row of {table} cannot be read: {reason}")]
    Row {
        /// In which table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The journal cannot be read, or the directory not be written; or the database is the copy of another journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<sqlx::Error> for PostgresError {
    fn from(error: sqlx::Error) -> Self {
        let sqlstate = match &error {
            sqlx::Error::Database(database) => database.code().map(|code| code.into_owned()).unwrap_or_default(),
            sqlx::Error::Configuration(_) => return Self::Url(error),
            _ => return Self::Unreachable(error),
        };
        match sqlstate.get(..2).unwrap_or_default() {
            // Data exceptions, violated constraints.
            "22" | "23" => Self::Record { sqlstate, message: error.to_string() },
            // Connections, resources, operators, rollbacks, locks: passes by itself.
            "08" | "40" | "53" | "55" | "57" | "58" => Self::Unreachable(error),
            _ => Self::Refused(error),
        }
    }
}

impl From<MigrateError> for PostgresError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => match Self::from(error) {
                Self::Refused(error) | Self::Url(error) => Self::NotMigrated(MigrateError::Execute(error)),
                Self::Record { message, .. } => {
                    Self::NotMigrated(MigrateError::Execute(sqlx::Error::Protocol(message)))
                }
                other => other,
            },
            MigrateError::VersionMissing(version) => Self::Newer(version),
            other => Self::NotMigrated(other),
        }
    }
}

impl PostgresError {
    /// How the database is, from the operator's side.
    pub(super) const fn state(&self) -> DatabaseState {
        match self {
            Self::Journal(JournalError::OtherCopy) => DatabaseState::Refused,
            Self::Unreachable(_) | Self::TimedOut { .. } | Self::Journal(_) => DatabaseState::Unreachable,
            _ => DatabaseState::Refused,
        }
    }

    /// What a command exits with, as in `sysexits.h`: 65 for another installation's data or key, 66 where there is nothing to
    /// rebuild from, 75 for a directory that is in use, 78 for a URL that is none, 1 for the rest.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Ahead { .. } | Self::WrongKey | Self::Row { .. } => 65,
            Self::Journal(JournalError::Locked) => 75,
            Self::Journal(JournalError::Io { .. }) => 1,
            Self::Journal(_) => 65,
            Self::Empty => 66,
            Self::Url(_) => 78,
            _ => 1,
        }
    }
}
