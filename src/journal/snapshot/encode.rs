//! A snapshot as bytes, wherever they go.

use rkyv::util::AlignedVec;

use crate::clock::UnixTime;
use crate::journal::fields::FieldWriter;
use crate::journal::frame::{Entry, PAGE_BYTES, push_record};
use crate::journal::keys::{JournalKeys, Mac};
use crate::journal::segment::{COVERED_BYTES, Instance, sealed_page};
use crate::journal::snapshot::{
    FOOTER_BYTES, FOOTER_SCHEMA, SECTION_ALIGN, SECTION_FOOTER, SECTION_HEADER_BYTES, SECTION_MAGIC, SECTION_RECORDS,
    SNAPSHOT_MAGIC, SNAPSHOT_VERSION, SnapshotExtent,
};

/// What a section is made of.
pub struct SectionContent<'a> {
    /// What the payload is: from 16 on the owner's, or [`SECTION_RECORDS`].
    pub kind: u16,
    /// Version of the payload's layout.
    pub schema: u16,
    /// The owner's word of whom it concerns.
    pub scope: u64,
    /// How many items are in it.
    pub items: u64,
    /// The opaque bytes, at most 64 MiB.
    pub payload: &'a [u8],
}

/// Makes the bytes of a snapshot, piece by piece.
pub(crate) struct SnapshotEncoder {
    previous: Mac,
    sections: u64,
    items: u64,
}

impl SnapshotEncoder {
    /// The encoder, and the header that goes first.
    pub(crate) fn begin(instance: Instance, begun_at: UnixTime, keys: &JournalKeys) -> (Self, [u8; PAGE_BYTES]) {
        let mut fields = [0; COVERED_BYTES];
        FieldWriter::new(&mut fields)
            .bytes(SNAPSHOT_MAGIC)
            .u16(SNAPSHOT_VERSION)
            .u16(0)
            .bytes(instance)
            .u64(keys.key_id)
            .u64(begun_at.as_millis());
        let mac = keys.mac_of(&fields);
        (Self { previous: mac, sections: 0, items: 0 }, sealed_page(fields, mac))
    }

    /// The bytes of the next section.
    pub(crate) fn section(&mut self, content: &SectionContent<'_>, keys: &JournalKeys) -> AlignedVec {
        let payload = content.payload;
        let mut covered = [0; SECTION_HEADER_BYTES - 4];
        FieldWriter::new(&mut covered)
            .bytes(SECTION_MAGIC)
            .u16(content.kind)
            .u16(content.schema)
            .u64(self.sections)
            .u64(content.scope)
            .u64(content.items)
            .u64(payload.len() as u64)
            .bytes(self.previous.0)
            .u32(crc32c::crc32c(payload));
        let mut header = [0; SECTION_HEADER_BYTES];
        FieldWriter::new(&mut header).bytes(covered).u32(crc32c::crc32c(&covered));
        let mut bytes = AlignedVec::with_capacity(SECTION_HEADER_BYTES + payload.len() + 2 * SECTION_ALIGN);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(SECTION_ALIGN), 0);
        self.previous = keys.mac_of(&bytes);
        bytes.extend_from_slice(&self.previous.0);
        self.sections += 1;
        self.items += content.items;
        bytes
    }

    /// The bytes of the footer, and what it says. The counts of `extent` are filled in.
    pub(crate) fn finish(&mut self, extent: SnapshotExtent, keys: &JournalKeys) -> (AlignedVec, SnapshotExtent) {
        let extent = SnapshotExtent { sections: self.sections, items: self.items, ..extent };
        let mut payload = [0; FOOTER_BYTES];
        FieldWriter::new(&mut payload)
            .u64(extent.start_lsn.value())
            .u64(extent.end_lsn.value())
            .u64(extent.high_water.as_millis())
            .u64(extent.sections)
            .u64(extent.items)
            .u64(extent.epoch);
        let footer =
            SectionContent { kind: SECTION_FOOTER, schema: FOOTER_SCHEMA, scope: 0, items: 0, payload: &payload };
        (self.section(&footer, keys), extent)
    }
}

/// Records that are gathered for a section of them.
#[derive(Default)]
pub struct RecordsSection {
    bytes: AlignedVec,
    records: u64,
}

impl RecordsSection {
    /// Adds a record.
    pub fn push(&mut self, entry: &Entry) {
        push_record(&mut self.bytes, entry);
        self.records += 1;
    }

    /// Adds the records of a block as they are.
    pub(crate) fn push_all(&mut self, payload: &[u8], records: u32) {
        self.bytes.extend_from_slice(payload);
        self.records += u64::from(records);
    }

    /// Bytes gathered so far.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What goes into the snapshot.
    #[must_use]
    pub fn content(&self) -> SectionContent<'_> {
        SectionContent { kind: SECTION_RECORDS, schema: 1, scope: 0, items: self.records, payload: &self.bytes }
    }
}
