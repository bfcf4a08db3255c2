//! Blocks and records as read.

use rkyv::util::AlignedVec;

use crate::clock::UnixTime;
use crate::journal::error::Defect;
use crate::journal::frame::{BlockHeader, RecordHeader, holds_records};
use crate::journal::lsn::Lsn;

/// One verified group commit. Every record's payload is 16-byte aligned.
pub struct Block {
    first_lsn: Lsn,
    records: u32,
    high_water: UnixTime,
    payload: AlignedVec<16>,
}

impl Block {
    /// Copies the payload out of the bytes that were read, once they have verified.
    pub(crate) fn new(header: &BlockHeader, payload: &[u8]) -> Result<Self, Defect> {
        if !holds_records(payload, u64::from(header.records)) {
            return Err(Defect::Records);
        }
        let mut owned = AlignedVec::with_capacity(payload.len());
        owned.extend_from_slice(payload);
        let (first_lsn, high_water) = (header.place.first_lsn, header.place.high_water);
        Ok(Self { first_lsn, records: header.records, high_water, payload: owned })
    }

    /// The first record's number.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.first_lsn
    }

    /// How many records there are, at most 4,096.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.records
    }

    /// Whether there is no record: never so for a block that was handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// No clock had shown a later time when this block was written.
    #[must_use]
    pub fn high_water(&self) -> UnixTime {
        self.high_water
    }

    /// The records in the order of their numbers.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records { lsn: self.first_lsn, rest: &self.payload }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// One record as read.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// What the payload is.
    pub kind: u16,
    /// Version of the payload's layout.
    pub schema: u16,
    /// Decides which shard replays it.
    pub routing_id: u64,
    /// The opaque bytes, 16-byte aligned.
    pub payload: &'a [u8],
}

/// The records of one [`Block`].
#[derive(Clone)]
pub struct Records<'a> {
    lsn: Lsn,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records of a payload that was checked to hold nothing else.
    pub(crate) fn new(lsn: Lsn, payload: &'a [u8]) -> Self {
        Self { lsn, rest: payload }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, payload, rest) = RecordHeader::split(self.rest)?;
        let lsn = self.lsn;
        (self.lsn, self.rest) = (lsn.after(1), rest);
        let RecordHeader { kind, schema, routing_id, .. } = header;
        Some(Record { lsn, kind, schema, routing_id, payload })
    }
}
