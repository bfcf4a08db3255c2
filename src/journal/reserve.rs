//! Segments that are kept aside for what must be written when there is no other room: revocations, and a recovery.
//!
//! A reserve segment is allocated and not filled: it is there for a disk that has no room, not for speed. Under its own
//! name nothing but a segment's first page is ever written to it, so that it needs no cleaning after a crash.

use crate::journal::error::JournalError;
use crate::journal::file::{Directory, NamedFile};

/// The reserve files of the directory.
pub(crate) struct Reserve {
    directory: Directory,
    length_bytes: u64,
    /// How many there are to be.
    target: u64,
    names: Vec<String>,
}

impl Reserve {
    /// Keeps what an earlier process has left, as far as it is of the right length, and wanted.
    pub(crate) fn load(directory: Directory, length_bytes: u64, target: u64) -> Result<Self, JournalError> {
        let mut reserve = Self { directory, length_bytes, target, names: Vec::new() };
        for name in names(&reserve.directory)? {
            if reserve.is_short() && reserve.keep(&name)? {
                reserve.names.push(name);
            } else {
                reserve.directory.remove(&name)?;
            }
        }
        Ok(reserve)
    }

    /// A file that was copied may have its length and no room of its own: asked for again, it has.
    fn keep(&self, name: &str) -> Result<bool, JournalError> {
        let file = self.directory.open(name)?;
        if file.length_bytes()? != self.length_bytes {
            return Ok(false);
        }
        match file.allocate(self.length_bytes) {
            Err(error) if error.is_disk_full() => Ok(false),
            allocated => allocated.map(|()| true),
        }
    }

    pub(crate) fn segments(&self) -> u64 {
        self.names.len() as u64
    }

    pub(crate) fn is_short(&self) -> bool {
        self.segments() < self.target
    }

    /// Makes one more. After an error there is none more.
    pub(crate) fn add(&mut self) -> Result<(), JournalError> {
        let name = self.free_name();
        let file = self.directory.create(&name)?;
        if let Err(error) = file.allocate(self.length_bytes) {
            self.directory.remove(&name)?;
            return Err(error);
        }
        self.names.push(name);
        Ok(())
    }

    fn free_name(&self) -> String {
        let mut names = (1_u64..).map(|number| format!("{PREFIX}{number:02}{SUFFIX}"));
        names.find(|name| !self.names.contains(name)).unwrap_or_default()
    }

    /// Gives one away, for its first page to be written and then to be renamed.
    pub(crate) fn take(&mut self) -> Result<Option<NamedFile>, JournalError> {
        self.names.pop().map(|name| self.directory.open(&name)).transpose()
    }
}

/// Gives a reserve file another name, for who finds the disk full before there is a [`Reserve`]. The name is durable, so
/// that what is written then is never found under the old one.
pub(crate) fn take_as(directory: &Directory, name: &str, length_bytes: u64) -> Result<Option<NamedFile>, JournalError> {
    for reserve in names(directory)? {
        let file = directory.open(&reserve)?;
        if file.length_bytes()? == length_bytes {
            return directory.publish(file, name.to_owned()).map(Some);
        }
    }
    Ok(None)
}

fn names(directory: &Directory) -> Result<Vec<String>, JournalError> {
    let is_reserve = |name: &String| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    let mut names: Vec<_> = directory.list()?.into_iter().filter(is_reserve).collect();
    names.sort();
    Ok(names)
}

const PREFIX: &str = "reserve-";
const SUFFIX: &str = ".tmp";
