//! Records on their way from the database into a directory that is being rebuilt.

use crate::journal::Entry;
use crate::journal::snapshot::{Foundation, RecordsSection};
use crate::postgres::error::PostgresError;

/// Gathers records in sections of about [`SECTION_BYTES`].
pub(super) struct Records<'a> {
    foundation: &'a mut Foundation,
    section: RecordsSection,
}

const SECTION_BYTES: usize = 1 << 20;

impl<'a> Records<'a> {
    pub(super) fn new(foundation: &'a mut Foundation) -> Self {
        Self { foundation, section: RecordsSection::default() }
    }

    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), PostgresError> {
        self.section.push(entry);
        if self.section.len_bytes() >= SECTION_BYTES {
            self.foundation.section(&std::mem::take(&mut self.section).content())?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> Result<(), PostgresError> {
        Ok(self.foundation.section(&self.section.content())?)
    }
}
