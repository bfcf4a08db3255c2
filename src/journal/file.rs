//! The disk with names in its errors.

use std::io;
use std::sync::Arc;

use crate::journal::disk::{Disk, DiskFile, DiskLock};
use crate::journal::error::JournalError;

/// The journal's directory.
#[derive(Clone)]
pub(crate) struct Directory {
    disk: Arc<dyn Disk>,
}

impl Directory {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    pub(crate) fn lock(&self) -> Result<Box<dyn DiskLock>, JournalError> {
        self.disk.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => JournalError::Locked,
            _ => failed("lock", "LOCK")(error),
        })
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, JournalError> {
        self.disk.list().map_err(failed("list", "the files"))
    }

    pub(crate) fn open(&self, name: &str) -> Result<NamedFile, JournalError> {
        let file = self.disk.open(name).map_err(failed("open", name))?;
        Ok(NamedFile { name: name.to_owned(), file })
    }

    pub(crate) fn create(&self, name: &str) -> Result<NamedFile, JournalError> {
        let file = self.disk.create(name).map_err(failed("create", name))?;
        Ok(NamedFile { name: name.to_owned(), file })
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), JournalError> {
        self.disk.rename(from, to).map_err(failed("rename", from))
    }

    /// Gives a file that is durable its final name, and makes the name durable.
    pub(crate) fn publish(&self, file: NamedFile, name: String) -> Result<NamedFile, JournalError> {
        self.rename(&file.name, &name)?;
        self.sync()?;
        Ok(NamedFile { name, file: file.file })
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), JournalError> {
        self.disk.remove(name).map_err(failed("remove", name))
    }

    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.disk.sync_directory().map_err(failed("sync", "the directory"))
    }
}

/// An open file that knows its name.
pub(crate) struct NamedFile {
    name: String,
    file: Box<dyn DiskFile>,
}

impl NamedFile {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn length_bytes(&self) -> Result<u64, JournalError> {
        self.file.length_bytes().map_err(failed("measure", &self.name))
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, JournalError> {
        self.file.read_at(buffer, offset).map_err(failed("read", &self.name))
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), JournalError> {
        self.file.write_at(bytes, offset).map_err(failed("write", &self.name))
    }

    pub(crate) fn allocate(&self, length_bytes: u64) -> Result<(), JournalError> {
        self.file.allocate(length_bytes).map_err(failed("allocate", &self.name))
    }

    pub(crate) fn sync_data(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(failed("sync", &self.name))
    }

    pub(crate) fn drop_cache(&self) -> Result<(), JournalError> {
        self.file.drop_cache().map_err(failed("advise the cache of", &self.name))
    }
}

fn failed(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> JournalError {
    let name = name.to_owned();
    move |source| JournalError::Io { action, name, source }
}
