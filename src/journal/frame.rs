//! Blocks and records as bytes. The layout is drawn in [`crate::journal`].

use rkyv::util::AlignedVec;

use crate::clock::UnixTime;
use crate::journal::block::Block;
use crate::journal::error::Defect;
use crate::journal::fields::{FieldReader, FieldWriter, are_zero};
use crate::journal::keys::{JournalKeys, MAC_BYTES, Mac};
use crate::journal::lsn::Lsn;

/// Where a block stands and what it knows of the log before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    pub(crate) segment_id: u64,
    pub(crate) epoch: u64,
    pub(crate) first_lsn: Lsn,
    /// The last record that was known to be durable when this block was written.
    pub(crate) durable_lsn: Lsn,
    pub(crate) high_water: UnixTime,
    /// MAC of the block before; of the segment header for the first block of a segment.
    pub(crate) previous: Mac,
}

/// A block's first 80 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) place: BlockPlace,
    pub(crate) records: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
}

impl BlockHeader {
    /// Reads a header whose checksum fits. Only then is its length to be trusted.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let bytes = bytes.first_chunk::<BLOCK_HEADER_BYTES>().ok_or(Defect::Short)?;
        Self::fields(covered_by_checksum(bytes, BLOCK_MAGIC)?).ok_or(Defect::Header)?
    }

    fn fields(covered: &[u8]) -> Option<Result<Self, Defect>> {
        let mut fields = FieldReader::new(covered);
        fields.bytes::<4>()?;
        if fields.u16()? != BLOCK_VERSION {
            return Some(Err(Defect::Version));
        }
        let flags = fields.u16()?;
        let segment_id = fields.u64()?;
        let epoch = fields.u64()?;
        let first_lsn = Lsn::new(fields.u64()?);
        let durable_lsn = Lsn::new(fields.u64()?);
        let records = fields.u32()?;
        let payload_bytes = fields.u32()?;
        let high_water = UnixTime::from_millis(fields.u64()?);
        let previous = Mac(fields.bytes()?);
        let payload_crc = fields.u32()?;
        let place = BlockPlace { segment_id, epoch, first_lsn, durable_lsn, high_water, previous };
        let header = Self { place, records, payload_bytes, payload_crc };
        Some(if flags == header.flags() && header.is_plausible() { Ok(header) } else { Err(Defect::Header) })
    }

    fn is_plausible(&self) -> bool {
        let payload_bytes = self.payload_bytes as usize;
        payload_bytes <= BLOCK_PAYLOAD_BYTES_MAX
            && payload_bytes.is_multiple_of(RECORD_ALIGN)
            && (self.records as usize) <= payload_bytes / RECORD_HEADER_BYTES
    }

    fn flags(&self) -> u16 {
        if self.records == 0 { FLAG_MARK } else { 0 }
    }

    fn to_bytes(self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut covered = [0; BLOCK_HEADER_BYTES - 4];
        FieldWriter::new(&mut covered)
            .bytes(BLOCK_MAGIC)
            .u16(BLOCK_VERSION)
            .u16(self.flags())
            .u64(self.place.segment_id)
            .u64(self.place.epoch)
            .u64(self.place.first_lsn.value())
            .u64(self.place.durable_lsn.value())
            .u32(self.records)
            .u32(self.payload_bytes)
            .u64(self.place.high_water.as_millis())
            .bytes(self.place.previous.0)
            .u32(self.payload_crc);
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        FieldWriter::new(&mut bytes).bytes(covered).u32(crc32c::crc32c(&covered));
        bytes
    }

    /// The LSN after this block.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.place.first_lsn.after(u64::from(self.records))
    }

    /// Length on disk, padding and all.
    pub(crate) fn block_bytes(&self) -> usize {
        padded(BLOCK_HEADER_BYTES + self.payload_bytes as usize + MAC_BYTES)
    }

    /// Whether everything before record `lsn`, mark blocks too, was durable when this block was written.
    pub(crate) fn proves_durable(&self, lsn: Lsn) -> bool {
        self.place.durable_lsn >= lsn || self.place.durable_lsn.after(1) == self.place.first_lsn
    }

    /// Checks all of a block's own bytes and returns its payload and MAC.
    pub(crate) fn verify<'a>(&self, block: &'a [u8], keys: &JournalKeys) -> Result<(&'a [u8], Mac), Defect> {
        let covered_bytes = BLOCK_HEADER_BYTES + self.payload_bytes as usize;
        let (covered, rest) = block.split_at_checked(covered_bytes).ok_or(Defect::Short)?;
        let (mac, padding) = rest.split_first_chunk::<MAC_BYTES>().ok_or(Defect::Short)?;
        let payload = covered.get(BLOCK_HEADER_BYTES..).ok_or(Defect::Short)?;
        if crc32c::crc32c(payload) != self.payload_crc {
            return Err(Defect::PayloadChecksum);
        }
        if !keys.verifies(covered, Mac(*mac)) {
            return Err(Defect::Mac);
        }
        if !are_zero(padding) {
            return Err(Defect::Padding);
        }
        Ok((payload, Mac(*mac)))
    }
}

/// A header but for the CRC-32C at its end, which fits.
pub(crate) fn covered_by_checksum(header: &[u8], magic: [u8; 4]) -> Result<&[u8], Defect> {
    if are_zero(header) {
        return Err(Defect::Empty);
    }
    let (covered, stored_crc) = header.split_last_chunk::<4>().ok_or(Defect::Short)?;
    if !covered.starts_with(&magic) {
        return Err(Defect::Magic);
    }
    if crc32c::crc32c(covered) != u32::from_le_bytes(*stored_crc) {
        return Err(Defect::HeaderChecksum);
    }
    Ok(covered)
}

/// A block in the making: one aligned buffer that is used again and again.
pub(crate) struct BlockBuffer {
    bytes: AlignedVec<PAGE_BYTES>,
    records: u32,
}

impl BlockBuffer {
    pub(crate) fn new() -> Self {
        let mut buffer = Self { bytes: AlignedVec::new(), records: 0 };
        buffer.clear();
        buffer
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(BLOCK_HEADER_BYTES, 0);
        self.records = 0;
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(BLOCK_HEADER_BYTES)
    }

    /// Length on disk once sealed.
    pub(crate) fn block_bytes(&self) -> usize {
        padded(self.bytes.len() + MAC_BYTES)
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        push_record(&mut self.bytes, entry);
        self.records += 1;
    }

    /// Takes over all records of a block that was read.
    pub(crate) fn copy_from(&mut self, block: &Block) {
        self.clear();
        self.bytes.extend_from_slice(block.payload());
        self.records = block.len();
    }

    /// Writes header, MAC and padding around the records. Nothing may be pushed until the buffer is cleared.
    pub(crate) fn seal(&mut self, place: BlockPlace, keys: &JournalKeys) -> Mac {
        let payload_bytes = u32_of(self.payload_bytes());
        let payload_crc = crc32c::crc32c(self.bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default());
        let header = BlockHeader { place, records: self.records, payload_bytes, payload_crc };
        FieldWriter::new(&mut self.bytes).bytes(header.to_bytes());
        let mac = keys.mac_of(&self.bytes);
        self.bytes.extend_from_slice(&mac.0);
        self.bytes.resize(padded(self.bytes.len()), 0);
        mac
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends a record, padded, to others.
pub(crate) fn push_record<const ALIGN: usize>(bytes: &mut AlignedVec<ALIGN>, entry: &Entry) {
    let mut header = [0; RECORD_HEADER_BYTES];
    FieldWriter::new(&mut header)
        .u32(u32_of(entry.payload.len()))
        .u16(entry.kind)
        .u16(entry.schema)
        .u64(entry.routing_id);
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&entry.payload);
    bytes.resize(bytes.len().next_multiple_of(RECORD_ALIGN), 0);
}

/// One record to append. Its payload is at most [`PAYLOAD_BYTES_MAX`] long.
pub struct Entry {
    /// What the payload is; the journal does not know.
    pub kind: u16,
    /// Version of the payload's layout.
    pub schema: u16,
    /// Decides which shard replays the record, whatever number of shards there is then.
    pub routing_id: u64,
    /// The opaque bytes.
    pub payload: EntryPayload,
}

/// What `rkyv::to_bytes` gives, taken as it is.
pub type EntryPayload = AlignedVec<16>;

/// A record's payload is at most this long: 64 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// The header of one record inside a block's payload.
#[derive(Clone, Copy)]
pub(crate) struct RecordHeader {
    pub(crate) kind: u16,
    pub(crate) schema: u16,
    pub(crate) routing_id: u64,
}

impl RecordHeader {
    /// Splits the first record off `bytes`: its header, its payload and what follows.
    pub(crate) fn split(bytes: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let mut fields = FieldReader::new(header);
        let payload_bytes = fields.u32()?;
        let header = Self { kind: fields.u16()?, schema: fields.u16()?, routing_id: fields.u64()? };
        let stored_bytes = (payload_bytes as usize).checked_next_multiple_of(RECORD_ALIGN)?;
        let (stored, rest) = rest.split_at_checked(stored_bytes)?;
        Some((header, stored.get(..payload_bytes as usize)?, rest))
    }
}

/// Whether a payload is so many records, and nothing else.
pub(crate) fn holds_records(payload: &[u8], records: u64) -> bool {
    let (mut rest, mut found) = (payload, 0);
    while let Some((_, _, behind)) = RecordHeader::split(rest) {
        (rest, found) = (behind, found + 1);
    }
    rest.is_empty() && found == records
}

/// What `payload_bytes` of one record take in a block.
pub(crate) fn record_bytes(payload_bytes: usize) -> usize {
    RECORD_HEADER_BYTES + payload_bytes.next_multiple_of(RECORD_ALIGN)
}

/// The largest payload of a record in segments of this length.
pub(crate) fn payload_bytes_max(segment_bytes: u64) -> usize {
    PAYLOAD_BYTES_MAX.min(block_payload_bytes_max(segment_bytes) - RECORD_HEADER_BYTES)
}

/// The largest payload of a block that still fits a segment of this length.
pub(crate) fn block_payload_bytes_max(segment_bytes: u64) -> usize {
    let room = usize::try_from(block_bytes_max(segment_bytes)).unwrap_or(usize::MAX);
    room - BLOCK_HEADER_BYTES - MAC_BYTES
}

/// The largest block that still fits a segment of this length.
pub(crate) fn block_bytes_max(segment_bytes: u64) -> u64 {
    segment_bytes.min((BLOCK_BYTES_MAX + PAGE_BYTES) as u64) - PAGE_BYTES as u64
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE_BYTES)
}

fn u32_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Every block begins on a multiple of this, so that no page that holds a durable byte is written again.
pub(crate) const PAGE_BYTES: usize = 4096;
pub(crate) const BLOCK_BYTES_MAX: usize = 1 << 20;
pub(crate) const BLOCK_RECORDS_MAX: usize = 4096;
pub(crate) const RECORD_HEADER_BYTES: usize = 16;
const BLOCK_HEADER_BYTES: usize = 80;
const BLOCK_PAYLOAD_BYTES_MAX: usize = BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES - MAC_BYTES;
const BLOCK_MAGIC: [u8; 4] = *b"TSRB";
const BLOCK_VERSION: u16 = 1;
const FLAG_MARK: u16 = 1;
const RECORD_ALIGN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sim::{entry, keys};

    const PLACE: BlockPlace = BlockPlace {
        segment_id: 0x0102_0304_0506_0708,
        epoch: 3,
        first_lsn: Lsn::new(41),
        durable_lsn: Lsn::new(40),
        high_water: UnixTime::from_millis(1_800_000_000_123),
        previous: Mac([0xaa; 16]),
    };

    fn sealed(payloads: &[&[u8]]) -> BlockBuffer {
        let mut buffer = BlockBuffer::new();
        for (routing_id, payload) in payloads.iter().enumerate() {
            buffer.push(&entry(routing_id as u64, payload));
        }
        buffer.seal(PLACE, &keys());
        buffer
    }

    fn read(bytes: &[u8]) -> Result<(BlockHeader, Block), Defect> {
        let header = BlockHeader::parse(bytes)?;
        let (payload, _) = header.verify(bytes, &keys())?;
        Ok((header, Block::new(&header, payload)?))
    }

    #[test]
    fn a_block_reads_as_it_was_written() {
        let payloads: [&[u8]; 4] = [b"", b"one", &[7; 16], &[9; 5000]];
        let buffer = sealed(&payloads);
        assert_eq!(buffer.as_slice().len() % PAGE_BYTES, 0);
        let (header, block) = read(buffer.as_slice()).unwrap();
        assert_eq!(header.place, PLACE);
        assert_eq!(header.block_bytes(), buffer.as_slice().len());
        assert_eq!((block.first_lsn(), block.len(), block.is_empty()), (Lsn::new(41), 4, false));
        let records: Vec<_> = block.records().collect();
        for (index, (record, payload)) in records.iter().zip(payloads).enumerate() {
            assert_eq!((record.lsn.value(), record.routing_id), (41 + index as u64, index as u64));
            assert_eq!((record.kind, record.schema, record.payload), (7, 1, payload));
            assert_eq!(record.payload.as_ptr().addr() % 16, 0);
        }
        assert_eq!(records.len(), 4);
    }

    #[test]
    fn a_mark_is_one_page_without_records() {
        let buffer = sealed(&[]);
        assert_eq!((buffer.as_slice().len(), buffer.as_slice()[6]), (PAGE_BYTES, 1));
        let (header, block) = read(buffer.as_slice()).unwrap();
        assert_eq!((header.next_lsn(), block.is_empty()), (Lsn::new(41), true));
    }

    /// A change of these bytes is a change of format: journals that are out there could not be read any more.
    #[test]
    fn the_bytes_of_a_block_stay_as_they_are() {
        let buffer = sealed(&[b"golden", b"0123456789abcdef!"]);
        let (block, padding) = buffer.as_slice().split_at(80 + 32 + 48 + 16);
        let hex: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<_> = hex.as_bytes().chunks(32).map(|line| std::str::from_utf8(line).unwrap()).collect();
        assert_eq!(lines, GOLDEN);
        assert!(are_zero(padding));
    }

    const GOLDEN: [&str; 11] = [
        "54535242010000000807060504030201",
        "03000000000000002900000000000000",
        "28000000000000000200000050000000",
        "7b505c18a3010000aaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaab32ac5a31ac6b896",
        "06000000070001000000000000000000",
        "676f6c64656e00000000000000000000",
        "11000000070001000100000000000000",
        "30313233343536373839616263646566",
        "21000000000000000000000000000000",
        "1d80aeaf61ff27b4310d7d481f86a770",
    ];

    #[test]
    fn a_flipped_bit_anywhere_in_a_block_is_found() {
        let good = sealed(&[b"payload"]);
        for position in 0..PAGE_BYTES {
            let mut bytes = good.as_slice().to_vec();
            bytes[position] ^= 1 << (position % 8);
            assert!(read(&bytes).is_err(), "byte {position}");
        }
    }

    #[test]
    fn a_defect_says_which_part_is_damaged() {
        let good = sealed(&[b"payload"]);
        let mac = 80 + 32;
        let parts = [
            (0, Defect::Magic),
            (8, Defect::HeaderChecksum),
            (79, Defect::HeaderChecksum),
            (97, Defect::PayloadChecksum),
            (mac, Defect::Mac),
            (mac + 16, Defect::Padding),
        ];
        for (position, defect) in parts {
            let mut bytes = good.as_slice().to_vec();
            bytes[position] ^= 1;
            assert_eq!(read(&bytes).err(), Some(defect), "byte {position}");
        }
        assert_eq!(read(&[0; PAGE_BYTES]).err(), Some(Defect::Empty));
    }

    #[test]
    fn a_block_does_not_verify_with_another_key() {
        let buffer = sealed(&[b"payload"]);
        let header = BlockHeader::parse(buffer.as_slice()).unwrap();
        let other = JournalKeys { mac: [1; 32], key_id: 1 };
        assert_eq!(header.verify(buffer.as_slice(), &other).unwrap_err(), Defect::Mac);
    }

    #[test]
    fn records_that_do_not_fill_the_payload_are_refused() {
        let mut buffer = BlockBuffer::new();
        buffer.push(&entry(1, b"one"));
        buffer.records = 2;
        buffer.seal(PLACE, &keys());
        assert_eq!(read(buffer.as_slice()).err(), Some(Defect::Records));
    }
}
