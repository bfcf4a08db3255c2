//! Snapshots: the state up to some record, so that what is before it need not be replayed.
//!
//! A snapshot is fuzzy: it is taken while records are appended. It states two LSNs. All up to its **start** is in it, so
//! replay goes on after that; some of what came later may be in it too, up to its **end**, and is applied once more, which
//! changes nothing, for records carry absolute state. It counts only once its end is durable, so a journal that ends before
//! it has lost records.
//!
//! The journal knows nothing of what a section holds, but for sections of records.
//!
//! # File
//!
//! `snap-<20 digits: start LSN>.snap`; `snapshot.tmp` while it is written, and `.corrupt` behind the name of one that did not
//! verify. Two are kept, and the segments that the older needs.
//!
//! | offset | size | header: one page |
//! |---|---|---|
//! | 0 | 4 | magic `TSRS` |
//! | 4 | 2+2 | format version, 1; zero |
//! | 8 | 16 | instance |
//! | 24 | 8 | id of the MAC key |
//! | 32 | 8 | begun at, ms since 1970 |
//! | 40 | 40 | zeros |
//! | 80 | 16+4 | MAC and CRC-32C as in a segment's header |
//!
//! Then sections, one behind the other, each on a multiple of 16:
//!
//! | offset | size | section |
//! |---|---|---|
//! | 0 | 4 | magic `TSRX` |
//! | 4 | 2 | kind: 1 = records, 65,535 = footer, from 16 on the owner's |
//! | 6 | 2 | schema of the payload |
//! | 8 | 8 | index, from 0 |
//! | 16 | 8 | scope: the owner's word of whom it concerns |
//! | 24 | 8 | number of items |
//! | 32 | 8 | length of the payload, n: at most 64 MiB |
//! | 40 | 16 | MAC of the section before; of the header in the first |
//! | 56 | 4 | CRC-32C of the payload |
//! | 60 | 4 | CRC-32C of bytes 0 to 60 |
//! | 64 | n | payload, padded with zeros to a multiple of 16 |
//! | 64+n | 16 | MAC of all before |
//!
//! The last is the footer, whose MAC so binds the whole file: start LSN, end LSN, high water in ms, sections before it and
//! items in them, epoch (8 bytes each), then 16 zeros. Nothing follows it.

mod encode;
mod read;
mod restore;
mod store;

use std::fmt;

use crate::clock::UnixTime;
use crate::journal::lsn::Lsn;

pub(crate) use crate::journal::snapshot::encode::SnapshotEncoder;
pub use crate::journal::snapshot::encode::{RecordsSection, SectionContent};
pub use crate::journal::snapshot::read::Section;
pub(crate) use crate::journal::snapshot::read::read_snapshot;
pub use crate::journal::snapshot::restore::{Foundation, restore, verify_backup};
pub use crate::journal::snapshot::store::{BackupWriter, SnapshotRead, SnapshotStore, SnapshotWriter};
pub(crate) use crate::journal::snapshot::store::{Kept, SNAPSHOT_TMP};

/// What a snapshot covers, and how much is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotExtent {
    /// All up to this record is in it.
    pub start_lsn: Lsn,
    /// Nothing after this record is in it.
    pub end_lsn: Lsn,
    /// No clock had shown a later time when it was taken.
    pub high_water: UnixTime,
    /// The epoch of the journal at that time.
    pub epoch: u64,
    /// Sections, without the footer.
    pub sections: u64,
    /// Items in all sections.
    pub items: u64,
}

/// `snap-<20 digits of the start LSN>.snap`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotName {
    pub(crate) start_lsn: Lsn,
}

impl SnapshotName {
    /// Those among the names of a directory, oldest first.
    pub(crate) fn all(names: &[String]) -> Vec<Self> {
        let mut snapshots: Vec<_> = names.iter().filter_map(|name| Self::parse(name)).collect();
        snapshots.sort_unstable();
        snapshots
    }

    /// `None` for every name that [`fmt::Display`] does not write.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("snap-")?.strip_suffix(".snap")?;
        let parsed = Self { start_lsn: Lsn::new(digits.parse().ok()?) };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "snap-{:020}.snap", self.start_lsn.value())
    }
}

/// A section of records, framed as in a block.
pub const SECTION_RECORDS: u16 = 1;
const SECTION_FOOTER: u16 = u16::MAX;

const SNAPSHOT_MAGIC: [u8; 4] = *b"TSRS";
const SECTION_MAGIC: [u8; 4] = *b"TSRX";
const SNAPSHOT_VERSION: u16 = 1;
const FOOTER_SCHEMA: u16 = 1;
const FOOTER_BYTES: usize = 64;
const SECTION_HEADER_BYTES: usize = 64;
const SECTION_PAYLOAD_BYTES_MAX: u64 = 64 << 20;
const SECTION_ALIGN: usize = 16;

#[cfg(test)]
mod tests;
