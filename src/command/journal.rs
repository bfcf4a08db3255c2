//! `tessera journal …`: what a data directory holds that no server holds.
//!
//! These commands read, and never make or change a file: they see the directory through a [`ReadOnlyDisk`], and keep servers
//! out of it meanwhile.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | the journal is whole; a torn tail is, for it was never acknowledged |
//! | 1 | the disk or the file system failed |
//! | 2 | the command line is wrong |
//! | 65 | damaged, missing or foreign files, another master key, or a record that this version cannot read |
//! | 66 | no journal in that directory, or no such directory |
//! | 75 | a server holds the directory |
//! | 78 | the configuration is refused, or the master key is missing or cannot be used |

mod dump;
mod kind;
mod stat;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::command::master_key::{MasterKeyError, read_journal_keys};
use crate::config::StorageConfig;
use crate::config::cli::journal::JournalCommand;
use crate::journal::disk::{Disk as _, ReadOnlyDisk};
use crate::journal::inspect::InspectError;
use crate::journal::{JournalError, JournalKeys, Lsn};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalCommandError {
    /// There is nothing to read.
    #[error("there is no journal in {}: name the data directory of a server with --data-dir", .0.display())]
    Absent(PathBuf),
    /// The data directory cannot be read.
    #[error("cannot read the directory {}", data_dir.display())]
    Directory {
        /// The directory.
        data_dir: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
    /// There is a journal, but no key that could read it.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// `--kind` names nothing.
    #[error("--kind: no record is of the kind {given:?}: allowed is {allowed}, or the number of a kind")]
    UnknownKind {
        /// What was given.
        given: String,
        /// What could have been.
        allowed: String,
    },
    /// The journal is in use, damaged, or cannot be read.
    #[error(transparent)]
    Journal(#[from] InspectError),
    /// A record's bytes are as they were written, and this version cannot read them.
    #[error("{segment} at byte {offset}, record {lsn}: {reason}")]
    Unreadable {
        /// File name of the segment.
        segment: String,
        /// Where in the file the record's block begins.
        offset: u64,
        /// The record.
        lsn: Lsn,
        /// What its room says.
        reason: String,
    },
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

impl JournalCommandError {
    /// What the process exits with, as in `sysexits.h` where that has a word for it; the table above says which.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Journal(InspectError::Journal(JournalError::Io { .. }))
            | Self::Directory { .. }
            | Self::Output(_) => 1,
            Self::UnknownKind { .. } => 2,
            Self::Journal(InspectError::Journal(_) | InspectError::Ended) | Self::Unreadable { .. } => 65,
            Self::Absent(_) | Self::Journal(InspectError::Absent) => 66,
            Self::Journal(InspectError::InUse) => 75,
            Self::MasterKey(error) => error.exit_code(),
        }
    }
}

/// Runs a command on the journal in the data directory, and prints to `out`. A reader of `out` that has gone away is no error.
///
/// # Errors
///
/// [`JournalCommandError`]. What was printed before is true.
pub fn run(command: &JournalCommand, storage: &StorageConfig, out: &mut dyn Write) -> Result<(), JournalCommandError> {
    let ground = Ground::find(storage)?;
    let outcome = match command {
        JournalCommand::Verify(verify) => verify::run(verify, &ground, out),
        JournalCommand::Stat(stat) => stat::run(stat, &ground, out),
        JournalCommand::Dump(dump) => dump::run(dump, &ground, out),
    };
    match outcome {
        Err(JournalCommandError::Journal(InspectError::Absent)) => Err(absent(storage)),
        Err(JournalCommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// What every command reads.
struct Ground {
    disk: Arc<ReadOnlyDisk>,
    keys: JournalKeys,
}

impl Ground {
    fn find(storage: &StorageConfig) -> Result<Self, JournalCommandError> {
        let data_dir = &storage.data_dir;
        let unreadable = |source| JournalCommandError::Directory { data_dir: data_dir.clone(), source };
        let disk = ReadOnlyDisk::new(data_dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => absent(storage),
            _ => unreadable(error),
        })?;
        let keys = read_journal_keys(storage, "the journal cannot be read without the key that it was made with");
        if let Err(MasterKeyError::Missing { .. }) = keys {
            let names = disk.list().map_err(unreadable)?;
            if !names.iter().any(|name| name.ends_with(".seg") || name == "HEAD") {
                return Err(absent(storage));
            }
        }
        Ok(Self { disk: Arc::new(disk), keys: keys? })
    }
}

fn absent(storage: &StorageConfig) -> JournalCommandError {
    JournalCommandError::Absent(storage.data_dir.clone())
}
