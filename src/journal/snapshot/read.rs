//! Reads a snapshot and checks every byte of it.

use std::sync::Arc;

use rkyv::util::AlignedVec;

use crate::clock::UnixTime;
use crate::journal::block::Records;
use crate::journal::error::{Defect, JournalError};
use crate::journal::fields::{FieldReader, are_zero};
use crate::journal::file::{Directory, NamedFile};
use crate::journal::frame::{PAGE_BYTES, covered_by_checksum, holds_records};
use crate::journal::keys::{JournalKeys, MAC_BYTES, Mac};
use crate::journal::lsn::Lsn;
use crate::journal::segment::{Instance, check_key, check_version, unsealed_page};
use crate::journal::snapshot::{
    FOOTER_BYTES, FOOTER_SCHEMA, SECTION_ALIGN, SECTION_FOOTER, SECTION_HEADER_BYTES, SECTION_MAGIC,
    SECTION_PAYLOAD_BYTES_MAX, SECTION_RECORDS, SNAPSHOT_MAGIC, SNAPSHOT_VERSION, SnapshotExtent, SnapshotName,
};

/// One verified section of a snapshot. Its payload is 16-byte aligned.
pub struct Section {
    /// What the payload is.
    pub kind: u16,
    /// Version of the payload's layout.
    pub schema: u16,
    /// The owner's word of whom it concerns.
    pub scope: u64,
    /// How many items are in it.
    pub items: u64,
    payload: AlignedVec,
}

impl Section {
    /// The opaque bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The records of a section of records; none of another kind. Their LSNs are not kept, and read as 0.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records::new(Lsn::ZERO, if self.kind == SECTION_RECORDS { &self.payload } else { &[] })
    }
}

/// Reads a snapshot to its end and hands out its sections in order. Only when it returns the extent does what was handed out
/// count.
///
/// # Errors
///
/// [`JournalError::Snapshot`] when a byte of it does not verify or it is not whole, [`JournalError::Foreign`] when it is of
/// another journal, [`JournalError::WrongKey`], [`JournalError::UnknownVersion`], [`JournalError::Io`].
pub(crate) fn read_snapshot(
    directory: &Directory,
    name: &str,
    instance: Option<Instance>,
    keys: &JournalKeys,
    visit: &mut dyn FnMut(Arc<Section>),
) -> Result<(SnapshotExtent, Instance), JournalError> {
    let file = directory.open(name)?;
    // What was never synced must not look as if it had been.
    file.drop_cache()?;
    let mut reading = Reading::begin(&file, instance, keys)?;
    loop {
        let at = reading.offset;
        let (section, is_footer) = reading.section()?;
        if is_footer {
            return Ok((reading.footer(&section, at)?, reading.instance));
        }
        visit(Arc::new(section));
    }
}

/// A snapshot up to some section.
struct Reading<'a> {
    file: &'a NamedFile,
    keys: &'a JournalKeys,
    instance: Instance,
    length_bytes: u64,
    offset: u64,
    previous: Mac,
    sections: u64,
    items: u64,
}

impl<'a> Reading<'a> {
    fn begin(file: &'a NamedFile, instance: Option<Instance>, keys: &'a JournalKeys) -> Result<Self, JournalError> {
        let mut page = [0; PAGE_BYTES];
        file.read_at(&mut page, 0)?;
        let (fields, mac) = unsealed_page(&page, SNAPSHOT_MAGIC).map_err(|defect| corrupt(file, 0, defect))?;
        let mut reader = FieldReader::new(&fields);
        let mut parse = || Some((reader.bytes::<4>()?, reader.u16()?, reader.u16()?, reader.bytes()?, reader.u64()?));
        let (_, version, _, own_instance, key_id) = parse().ok_or_else(|| corrupt(file, 0, Defect::Header))?;
        check_version(file.name(), version, SNAPSHOT_VERSION)?;
        check_key(file.name(), key_id, keys)?;
        if !keys.verifies(&fields, mac) {
            return Err(corrupt(file, 0, Defect::Mac));
        }
        if instance.is_some_and(|instance| instance != own_instance) {
            return Err(JournalError::Foreign { segment: file.name().to_owned() });
        }
        let (length_bytes, offset) = (file.length_bytes()?, PAGE_BYTES as u64);
        let instance = own_instance;
        Ok(Self { file, keys, instance, length_bytes, offset, previous: mac, sections: 0, items: 0 })
    }

    /// The next section, and whether it is the footer.
    fn section(&mut self) -> Result<(Section, bool), JournalError> {
        let at = self.offset;
        let mut header_bytes = [0; SECTION_HEADER_BYTES];
        self.fill(&mut header_bytes, at)?;
        let header = SectionHeader::parse(&header_bytes).map_err(|defect| corrupt(self.file, at, defect))?;
        let payload_bytes = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
        let stored_bytes = payload_bytes.next_multiple_of(SECTION_ALIGN);
        if at + (SECTION_HEADER_BYTES + stored_bytes + MAC_BYTES) as u64 > self.length_bytes {
            return Err(corrupt(self.file, at, Defect::Short));
        }
        let mut payload = AlignedVec::with_capacity(stored_bytes + MAC_BYTES);
        payload.resize(stored_bytes + MAC_BYTES, 0);
        self.fill(&mut payload, at + SECTION_HEADER_BYTES as u64)?;
        let mac = self.verify(&header_bytes, &header, &payload).map_err(|defect| corrupt(self.file, at, defect))?;
        payload.resize(payload_bytes, 0);
        self.offset = at + (SECTION_HEADER_BYTES + stored_bytes + MAC_BYTES) as u64;
        self.previous = mac;
        let SectionHeader { kind, schema, scope, items, .. } = header;
        let section = Section { kind, schema, scope, items, payload };
        if kind == SECTION_FOOTER {
            return Ok((section, true));
        }
        if kind == SECTION_RECORDS && !holds_records(section.payload(), items) {
            return Err(corrupt(self.file, at, Defect::Records));
        }
        self.sections += 1;
        self.items += items;
        Ok((section, false))
    }

    fn verify(&self, header_bytes: &[u8], header: &SectionHeader, stored: &[u8]) -> Result<Mac, Defect> {
        let (covered, mac) = stored.split_last_chunk::<MAC_BYTES>().ok_or(Defect::Short)?;
        let payload_bytes = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
        let (payload, padding) = covered.split_at_checked(payload_bytes).ok_or(Defect::Short)?;
        if header.index != self.sections {
            return Err(Defect::Lsn);
        }
        if crc32c::crc32c(payload) != header.payload_crc {
            return Err(Defect::PayloadChecksum);
        }
        if !self.keys.verifies_parts(&[header_bytes, covered], Mac(*mac)) {
            return Err(Defect::Mac);
        }
        if !are_zero(padding) {
            return Err(Defect::Padding);
        }
        if header.previous != self.previous {
            return Err(Defect::Chain);
        }
        Ok(Mac(*mac))
    }

    fn footer(&self, section: &Section, at: u64) -> Result<SnapshotExtent, JournalError> {
        let extent = parse_footer(section).ok_or_else(|| corrupt(self.file, at, Defect::Header))?;
        let is_whole = extent.sections == self.sections && extent.items == self.items;
        if !is_whole || extent.start_lsn > extent.end_lsn {
            return Err(corrupt(self.file, at, Defect::Header));
        }
        if SnapshotName::parse(self.file.name()).is_some_and(|name| name.start_lsn != extent.start_lsn) {
            return Err(corrupt(self.file, at, Defect::Segment));
        }
        if self.offset != self.length_bytes {
            return Err(corrupt(self.file, self.offset, Defect::Padding));
        }
        Ok(extent)
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), JournalError> {
        let read = self.file.read_at(buffer, offset)?;
        if read == buffer.len() { Ok(()) } else { Err(corrupt(self.file, offset, Defect::Short)) }
    }
}

struct SectionHeader {
    kind: u16,
    schema: u16,
    index: u64,
    scope: u64,
    items: u64,
    payload_bytes: u64,
    previous: Mac,
    payload_crc: u32,
}

impl SectionHeader {
    /// Only when its checksum fits is the length to be trusted.
    fn parse(bytes: &[u8; SECTION_HEADER_BYTES]) -> Result<Self, Defect> {
        let covered = covered_by_checksum(bytes, SECTION_MAGIC)?;
        Self::fields(covered).filter(|header| header.payload_bytes <= SECTION_PAYLOAD_BYTES_MAX).ok_or(Defect::Header)
    }

    fn fields(covered: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(covered);
        fields.bytes::<4>()?;
        Some(Self {
            kind: fields.u16()?,
            schema: fields.u16()?,
            index: fields.u64()?,
            scope: fields.u64()?,
            items: fields.u64()?,
            payload_bytes: fields.u64()?,
            previous: Mac(fields.bytes()?),
            payload_crc: fields.u32()?,
        })
    }
}

fn parse_footer(section: &Section) -> Option<SnapshotExtent> {
    if section.schema != FOOTER_SCHEMA || section.payload.len() != FOOTER_BYTES {
        return None;
    }
    let mut fields = FieldReader::new(&section.payload);
    Some(SnapshotExtent {
        start_lsn: Lsn::new(fields.u64()?),
        end_lsn: Lsn::new(fields.u64()?),
        high_water: UnixTime::from_millis(fields.u64()?),
        sections: fields.u64()?,
        items: fields.u64()?,
        epoch: fields.u64()?,
    })
}

fn corrupt(file: &NamedFile, offset: u64, defect: Defect) -> JournalError {
    JournalError::Snapshot { name: file.name().to_owned(), offset, defect }
}
