//! What can go wrong with a journal, and what the operator does then.

use std::io;

use thiserror::Error;

use crate::journal::lsn::Lsn;

/// Why the journal cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Another process, or another journal in this one, holds the directory.
    #[error(
        "another process holds the journal in this data directory: stop it, or start this one on another directory"
    )]
    Locked,
    /// The directory was written with another key.
    #[error(
        "the master key does not fit this data directory ({name} was written with key {key_id:016x}): start with the \
         master key that the directory was made with"
    )]
    WrongKey {
        /// The file that says so.
        name: String,
        /// The id of the key that it was written with.
        key_id: u64,
    },
    /// A newer program wrote the directory.
    #[error(
        "{name} has format version {version}, which this program does not know: start the newer program that wrote it"
    )]
    UnknownVersion {
        /// The file that says so.
        name: String,
        /// Its version.
        version: u16,
    },
    /// Bytes that had been durable do not verify.
    #[error(
        "journal corrupt: {segment} at byte {offset}: {defect}; records {first} to {last} had been acknowledged: keep the \
         directory as it is, then restore it from a backup or rebuild it from PostgreSQL"
    )]
    Corrupt {
        /// File name of the segment.
        segment: String,
        /// Where in the file the first bytes stand that do not verify.
        offset: u64,
        /// The first record that is in doubt.
        first: Lsn,
        /// The last record before the next good block, or the last that is known to have been durable; `first` where only
        /// a mark is lost.
        last: Lsn,
        /// What is wrong with those bytes.
        defect: Defect,
    },
    /// A snapshot does not verify.
    #[error(
        "snapshot corrupt: {name} at byte {offset}: {defect}; where no other is whole, keep the directory as it is, then \
         restore it from a backup or rebuild it from PostgreSQL"
    )]
    Snapshot {
        /// File name of the snapshot.
        name: String,
        /// Where in the file the first section stands that does not verify.
        offset: u64,
        /// What is wrong with it.
        defect: Defect,
    },
    /// A snapshot was given where a backup is needed.
    #[error(
        "{name} is a snapshot, which is of no use without the journal beside it: make a backup with tessera backup"
    )]
    NotABackup {
        /// File name of the snapshot.
        name: String,
    },
    /// The database is not the copy of this journal.
    #[error(
        "the database is the copy of another journal than this data directory's: set the database_url that belongs to it; or, if \
         the directory was lost and this one is new, make it anew with tessera rebuild --from-database"
    )]
    OtherCopy,
    /// There is a journal where a backup was to go.
    #[error("the data directory has a journal already: restore into an empty directory")]
    NotEmpty,
    /// Whole files are not there.
    #[error(
        "journal incomplete: {what} is missing and records {first} to {last} with it: put the file back, restore the \
         directory from a backup, or rebuild it from PostgreSQL"
    )]
    Missing {
        /// What is missing.
        what: &'static str,
        /// The first record that is missing.
        first: Lsn,
        /// The last record that is known to be missing; `first` where that is not known.
        last: Lsn,
    },
    /// A segment of another journal lies in the directory.
    #[error(
        "{segment} belongs to another journal: move it out of the data directory, and put back the file that it replaced"
    )]
    Foreign {
        /// File name of the segment.
        segment: String,
    },
    /// Records were asked for that are no longer, or not yet, kept.
    #[error(
        "record {asked} is no longer in the journal, which begins at record {first}: read what is before from a snapshot"
    )]
    NotRetained {
        /// The record that was asked for.
        asked: Lsn,
        /// The oldest record that is kept.
        first: Lsn,
    },
    /// The disk said no.
    #[error("cannot {action} {name} in the data directory: check its disk, its free space and its permissions")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        name: String,
        /// What the disk answered.
        source: io::Error,
    },
    /// The options make no sense.
    #[error("journal options: {0}")]
    Options(&'static str),
    /// Whoever reads the journal wanted no more of it: never an answer of [`open`](super::open).
    #[error("the journal was not read to its end")]
    Ended,
    /// The journal has failed before and takes nothing more.
    #[error("the journal stopped after a failure: find the failure in the log, mend it, and start again")]
    Stopped,
}

impl JournalError {
    /// Whether the disk is full, which a spare segment can wait out.
    pub(crate) fn is_disk_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What is wrong with bytes that should be a block, a segment header or `HEAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Defect {
    /// Nothing was ever written here.
    #[error("nothing is written there")]
    Empty,
    /// The file ends before the bytes do.
    #[error("the file ends too early")]
    Short,
    /// The first bytes are not ours.
    #[error("the magic number is wrong")]
    Magic,
    /// A version that this program does not know.
    #[error("the format version is unknown")]
    Version,
    /// The header's CRC-32C does not fit.
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    /// Lengths or flags that this program never writes.
    #[error("the header contradicts itself")]
    Header,
    /// The payload's CRC-32C does not fit.
    #[error("the payload's checksum is wrong")]
    PayloadChecksum,
    /// The keyed MAC does not fit.
    #[error("the MAC is wrong")]
    Mac,
    /// The zeros after the end are not zero.
    #[error("the padding is not zero")]
    Padding,
    /// The records do not fill the payload.
    #[error("the records do not fill the payload")]
    Records,
    /// The bytes belong to another segment or epoch, or the file to another name.
    #[error("the bytes belong to another segment")]
    Segment,
    /// Another record was due.
    #[error("another record was due")]
    Lsn,
    /// The bytes do not follow what stands before them.
    #[error("the bytes do not follow what stands before them")]
    Chain,
    /// All is well up to here, but the file `HEAD` or the database knows of more.
    #[error("the journal ends there")]
    Ends,
}
