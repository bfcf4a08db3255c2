//! The first page of a segment, and its name. The layout is drawn in [`crate::journal`].

use std::fmt;

use crate::clock::UnixTime;
use crate::journal::error::{Defect, JournalError};
use crate::journal::fields::{FieldReader, FieldWriter, are_zero};
use crate::journal::file::NamedFile;
use crate::journal::frame::PAGE_BYTES;
use crate::journal::keys::{JournalKeys, MAC_BYTES, Mac};
use crate::journal::lsn::Lsn;
use crate::journal::scan::Waypoint;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) instance: Instance,
    pub(crate) segment_id: u64,
    pub(crate) epoch: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) created_at: UnixTime,
    /// MAC of the last block of the segment before.
    pub(crate) previous: Mac,
}

/// Which journal this is: drawn once, when its directory is new.
pub(crate) type Instance = [u8; 16];

impl SegmentHeader {
    /// The page to write, and the MAC that the first block follows.
    pub(crate) fn to_page(self, keys: &JournalKeys) -> ([u8; PAGE_BYTES], Mac) {
        let mut fields = [0; COVERED_BYTES];
        FieldWriter::new(&mut fields)
            .bytes(SEGMENT_MAGIC)
            .u16(SEGMENT_VERSION)
            .u16(0)
            .bytes(self.instance)
            .u64(self.segment_id)
            .u64(self.epoch)
            .u64(self.first_lsn.value())
            .u64(keys.key_id)
            .u64(self.created_at.as_millis())
            .bytes(self.previous.0);
        let mac = keys.mac_of(&fields);
        (sealed_page(fields, mac), mac)
    }

    /// Reads the header of `file` and where its first block stands.
    pub(crate) fn read(file: &NamedFile, keys: &JournalKeys) -> Result<(Self, Waypoint), JournalError> {
        let name = SegmentName::parse(file.name());
        let corrupt = |defect| {
            let first = name.map(|name| name.first_lsn).unwrap_or_default();
            JournalError::Corrupt { segment: file.name().to_owned(), offset: 0, first, last: first, defect }
        };
        let mut page = [0; PAGE_BYTES];
        file.read_at(&mut page, 0)?;
        let (fields, mac) = unsealed_page(&page, SEGMENT_MAGIC).map_err(corrupt)?;
        let (version, key_id, header) = Self::parse(&fields).ok_or_else(|| corrupt(Defect::Header))?;
        check_version(file.name(), version, SEGMENT_VERSION)?;
        check_key(file.name(), key_id, keys)?;
        if !keys.verifies(&fields, mac) {
            return Err(corrupt(Defect::Mac));
        }
        if name != Some(header.name()) {
            return Err(corrupt(Defect::Segment));
        }
        Ok((header, Waypoint { lsn: header.first_lsn, offset: PAGE_BYTES as u64, previous: mac }))
    }

    fn parse(fields: &[u8]) -> Option<(u16, u64, Self)> {
        let mut fields = FieldReader::new(fields);
        fields.bytes::<4>()?;
        let version = fields.u16()?;
        if fields.u16()? != 0 && version == SEGMENT_VERSION {
            return None;
        }
        let instance = fields.bytes()?;
        let segment_id = fields.u64()?;
        let epoch = fields.u64()?;
        let first_lsn = Lsn::new(fields.u64()?);
        let key_id = fields.u64()?;
        let created_at = UnixTime::from_millis(fields.u64()?);
        let previous = Mac(fields.bytes()?);
        // What comes after the last number would be taken for older.
        if [segment_id, epoch].contains(&u64::MAX) {
            return None;
        }
        Some((version, key_id, Self { instance, segment_id, epoch, first_lsn, created_at, previous }))
    }

    pub(crate) fn name(&self) -> SegmentName {
        SegmentName { first_lsn: self.first_lsn, epoch: self.epoch }
    }
}

/// `wal-<20 digits of the first LSN>-<8 hexadecimal digits of the epoch>.seg`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentName {
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: u64,
}

impl SegmentName {
    /// `None` for every name that [`fmt::Display`] does not write.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (lsn, epoch) = name.strip_prefix("wal-")?.strip_suffix(".seg")?.split_once('-')?;
        let first_lsn = Lsn::new(lsn.parse().ok()?);
        let parsed = Self { first_lsn, epoch: u64::from_str_radix(epoch, 16).ok()? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "wal-{:020}-{:08x}.seg", self.first_lsn.value(), self.epoch)
    }
}

/// A page of fields, their MAC, a checksum of both, and zeros.
pub(crate) fn sealed_page(fields: [u8; COVERED_BYTES], mac: Mac) -> [u8; PAGE_BYTES] {
    let mut summed = [0; COVERED_BYTES + MAC_BYTES];
    FieldWriter::new(&mut summed).bytes(fields).bytes(mac.0);
    let mut page = [0; PAGE_BYTES];
    FieldWriter::new(&mut page).bytes(summed).u32(crc32c::crc32c(&summed));
    page
}

/// The fields and the MAC of a page whose checksum fits. The MAC is for the caller to check, after version and key id.
pub(crate) fn unsealed_page(page: &[u8], magic: [u8; 4]) -> Result<([u8; COVERED_BYTES], Mac), Defect> {
    if are_zero(page) {
        return Err(Defect::Empty);
    }
    let (summed, rest) = page.split_first_chunk::<{ COVERED_BYTES + MAC_BYTES }>().ok_or(Defect::Short)?;
    let (crc, padding) = rest.split_first_chunk::<4>().ok_or(Defect::Short)?;
    if !summed.starts_with(&magic) {
        return Err(Defect::Magic);
    }
    if crc32c::crc32c(summed) != u32::from_le_bytes(*crc) {
        return Err(Defect::HeaderChecksum);
    }
    if !are_zero(padding) {
        return Err(Defect::Padding);
    }
    let mut fields = FieldReader::new(summed);
    let covered = fields.bytes().ok_or(Defect::Short)?;
    Ok((covered, Mac(fields.bytes().ok_or(Defect::Short)?)))
}

pub(crate) fn check_version(name: &str, version: u16, known: u16) -> Result<(), JournalError> {
    if version == known { Ok(()) } else { Err(JournalError::UnknownVersion { name: name.to_owned(), version }) }
}

pub(crate) fn check_key(name: &str, key_id: u64, keys: &JournalKeys) -> Result<(), JournalError> {
    if key_id == keys.key_id { Ok(()) } else { Err(JournalError::WrongKey { name: name.to_owned(), key_id }) }
}

/// The fields of a segment header, and of a slot of `HEAD`.
pub(crate) const COVERED_BYTES: usize = 80;
const SEGMENT_MAGIC: [u8; 4] = *b"TSRJ";
const SEGMENT_VERSION: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sim::keys;

    #[test]
    fn only_the_name_that_is_written_is_read() {
        let name = SegmentName { first_lsn: Lsn::new(42), epoch: 0xab };
        assert_eq!(name.to_string(), "wal-00000000000000000042-000000ab.seg");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in
            ["wal-42-ab.seg", "wal-00000000000000000042-000000AB.seg", "wal-00000000000000000042-000000ab.torn", "HEAD"]
        {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    /// A change of these bytes is a change of format.
    #[test]
    fn the_bytes_of_a_segment_header_stay_as_they_are() {
        let header = SegmentHeader {
            instance: *b"0123456789abcdef",
            segment_id: 2,
            epoch: 3,
            first_lsn: Lsn::new(4),
            created_at: UnixTime::from_millis(5),
            previous: Mac([0xbb; 16]),
        };
        let (page, mac) = header.to_page(&keys());
        assert_eq!(&page[..24], b"TSRJ\x01\0\0\x000123456789abcdef");
        assert_eq!(page[24..64].chunks(8).map(|field| field[0]).collect::<Vec<_>>(), [2, 3, 4, 0x88, 5]);
        assert_eq!((&page[64..80], &page[80..96]), ([0xbb; 16].as_slice(), mac.0.as_slice()));
        assert_eq!(page[96..100], crc32c::crc32c(&page[..96]).to_le_bytes());
        assert!(are_zero(&page[100..]));
    }
}
