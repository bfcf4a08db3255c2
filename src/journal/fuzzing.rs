//! What holds of the journal's formats for any bytes: see `crate::fuzzing`.
//!
//! Random bytes end at the first checksum, so both functions read their input as orders: which fields a block or a page
//! has, and what is damaged in it before or after it is sealed with the key.

#![expect(clippy::indexing_slicing, reason = "a property that does not hold panics, here too")]

use std::sync::Arc;

use crate::clock::UnixTime;
use crate::journal::JournalError;
use crate::journal::catalog::lock;
use crate::journal::file::Directory;
use crate::journal::frame::{BlockBuffer, BlockPlace, Entry, PAGE_BYTES};
use crate::journal::head::{HEAD, HeadFile};
use crate::journal::keys::Mac;
use crate::journal::lsn::Lsn;
use crate::journal::scan::{Cursor, Found, Waypoint};
use crate::journal::segment::{COVERED_BYTES, SegmentHeader, SegmentName, sealed_page};
use crate::journal::sim::{Rig, SeenRecord, SimDisk, entry, keys, options};
use crate::journal::snapshot::{SECTION_RECORDS, SectionContent, SnapshotEncoder, SnapshotExtent, read_snapshot};

/// A segment. What verifies is what would be written, byte for byte; an open finds the same records or refuses, twice over.
///
/// Input: a byte of flags ([`RAW`], [`OPEN`]), then the segment's blocks as they are, or orders for [`forge_block`].
pub(crate) fn block(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let (page, mac) = HEADER.to_page(&keys());
    let start = Waypoint { lsn: HEADER.first_lsn, offset: PAGE_BYTES as u64, previous: mac };
    let mut image = page.to_vec();
    if flags & RAW == 0 {
        let mut at = start;
        for _ in 0..BLOCKS_MAX {
            if !input.0.is_empty() {
                forge_block(&mut input, &mut image, &mut at);
            }
        }
    } else {
        image.extend_from_slice(input.0);
    }
    image.resize(image.len().next_multiple_of(PAGE_BYTES), 0);
    let found = walk(&image, start);
    if flags & OPEN != 0 && image.len() as u64 <= options(1).segment_bytes {
        open(&image, &found);
    }
}

/// Goes through the segment as a recovery does, and answers the records.
fn walk(image: &[u8], start: Waypoint) -> Vec<SeenRecord> {
    let disk = SimDisk::new();
    disk.put("a", image.to_vec());
    let (file, keys) = (Directory::new(Arc::new(disk)).open("a").expect("it was put there"), keys());
    let mut cursor = Cursor::new(&file, &keys, HEADER, start, image.len() as u64);
    let (mut found, mut buffer) = (Vec::new(), BlockBuffer::new());
    loop {
        let at = cursor.at();
        let Ok(Found { header, block }) = cursor.step().expect("memory can be read") else { break };
        assert_eq!((block.records().count(), block.first_lsn()), (block.len() as usize, at.lsn));
        assert!(header.next_lsn() >= at.lsn && cursor.at().offset > at.offset, "it goes forward");
        buffer.copy_from(&block);
        buffer.seal(header.place, &keys);
        let stands_at = usize::try_from(at.offset).expect("it is in memory");
        assert!(buffer.as_slice() == &image[stands_at..stands_at + header.block_bytes()], "one encoding");
        found.extend(block.records().map(|record| (record.lsn.value(), record.routing_id, record.payload.to_vec())));
    }
    for lsn in [cursor.at().lsn, Lsn::ZERO, Lsn::new(u64::MAX)] {
        let witness = cursor.witness(lsn).expect("memory can be read");
        assert!(witness.is_none_or(|header| header.proves_durable(lsn)));
    }
    assert!(cursor.written_bytes().expect("memory can be read") <= image.len() as u64);
    found
}

/// Opens a journal of this one segment. What a recovery has said once it says again.
fn open(image: &[u8], found: &[SeenRecord]) {
    let disk = SimDisk::new();
    let directory = Directory::new(Arc::new(disk.clone()));
    let mut head = HeadFile::create(&directory, HEADER.instance, &keys()).expect("the disk is good");
    head.write(HEADER.epoch, Lsn::ZERO, HEADER.segment_id, &keys()).expect("the disk is good");
    disk.put(&HEADER.name().to_string(), image.to_vec());
    let first = Rig::open(&disk).map(|rig| rig.seen);
    match &first {
        Ok(seen) => assert_eq!(seen, found, "nothing is skipped and nothing made up"),
        Err(error) => assert!(!matches!(error, JournalError::Io { .. }), "{error}"),
    }
    assert_eq!(Rig::open(&disk.killed()).map(|rig| rig.seen).ok(), first.ok());
}

/// Appends a block of up to 7 records, perhaps with one thing wrong.
///
/// Input: a byte with the number of records (bits 0 to 2) and the fault (bits 3 to 5); for each record a byte of length and
/// the payload; then what the fault needs.
fn forge_block(input: &mut Input<'_>, image: &mut Vec<u8>, at: &mut Waypoint) {
    let orders = input.byte();
    let mut buffer = BlockBuffer::new();
    for routing_id in 0..orders & 7 {
        let length = usize::from(input.byte());
        buffer.push(&Entry { kind: u16::from(orders), ..entry(u64::from(routing_id), input.bytes(length)) });
    }
    let mut place = BlockPlace {
        segment_id: HEADER.segment_id,
        epoch: HEADER.epoch,
        first_lsn: at.lsn,
        durable_lsn: at.lsn.before(),
        high_water: UnixTime::from_millis(u64::from(orders)),
        previous: at.previous,
    };
    let fault = orders >> 3 & 7;
    if fault == 1 {
        misplace(&mut place, input);
    }
    let records = u64::from(buffer.records());
    let mac = buffer.seal(place, &keys());
    let start = image.len();
    image.extend_from_slice(buffer.as_slice());
    let block = &mut image[start..];
    match fault {
        2 => input.change(block),
        3 => {
            input.change(&mut block[..80]);
            reseal(block);
        }
        4 => {
            input.change(&mut block[80..]);
            reseal(block);
        }
        5 => image.truncate(image.len() - PAGE_BYTES),
        6 => image.extend_from_slice(&[0; PAGE_BYTES]),
        _ => {}
    }
    let offset = image.len() as u64;
    *at = Waypoint { lsn: place.first_lsn.after(records), offset, previous: mac };
}

fn misplace(place: &mut BlockPlace, input: &mut Input<'_>) {
    let (which, value) = (input.byte(), input.number());
    match which % 6 {
        0 => place.segment_id = value,
        1 => place.epoch = value,
        2 => place.first_lsn = Lsn::new(value),
        3 => place.durable_lsn = Lsn::new(value),
        4 => place.high_water = UnixTime::from_millis(value),
        _ => place.previous = Mac([which; 16]),
    }
}

/// Makes checksums and MAC fit again, as far as the length in the header lies within the block.
fn reseal(block: &mut [u8]) {
    let length = block[44..48].iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if let Some(payload) = block.get(80..80_usize.saturating_add(length)) {
        let crc = crc32c::crc32c(payload);
        block[72..76].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&block[..76]);
    block[76..80].copy_from_slice(&crc.to_le_bytes());
    let end = 80_usize.saturating_add(length);
    if end.saturating_add(16) <= block.len() {
        let mac = keys().mac_of(&block[..end]);
        block[end..end + 16].copy_from_slice(&mac.0);
    }
}

/// `HEAD` and the header of a segment. What is read is what would be written; a slot that is written is read again.
///
/// Input: a byte of flags, for each of the three pages whether it is sealed; then for each a sealed page's 80 bytes of
/// fields, or a byte of length in units of 16 and the page's first bytes.
pub(crate) fn head(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let slots = [*b"TSRH", *b"TSRH", *b"TSRJ"].map(|magic| input.page(magic));
    let [first, second, segment] = slots;
    let disk = SimDisk::new();
    disk.put(HEAD, [first, second].concat());
    let directory = Directory::new(Arc::new(disk.clone()));
    let loaded = HeadFile::load(&directory, &keys());
    let has_next = |head: &HeadFile| head.latest().counter.max(head.latest().epoch) < u64::MAX - 1;
    if let Some(mut head) = loaded.ok().flatten().filter(has_next) {
        let latest = *head.latest();
        assert!([first, second].contains(&latest.to_page(&keys())), "one encoding");
        let (epoch, durable_lsn, segment_id) = (latest.epoch ^ 1, Lsn::new(u64::from(flags)), latest.segment_id);
        head.write(epoch, durable_lsn, segment_id, &keys()).expect("memory can be written");
        let read = HeadFile::load(&directory, &keys()).expect("it was just written").expect("it was just written");
        assert_eq!(read.latest(), head.latest());
    }
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| segment[at + index]));
    let name = SegmentName { first_lsn: Lsn::new(number(40)), epoch: number(32) }.to_string();
    disk.put(&name, segment.to_vec());
    let file = directory.open(&name).expect("it was put there");
    if let Ok((header, start)) = SegmentHeader::read(&file, &keys()) {
        let (page, mac) = header.to_page(&keys());
        assert!(page == segment, "one encoding");
        assert_eq!((mac, header.first_lsn), (start.previous, start.lsn));
    }
    disk.put(HEAD, [first, second].concat());
    if let Ok(rig) = Rig::open(&disk)
        && !is_last_of_all(&rig)
    {
        assert_eq!(rig.seen, Rig::open(&disk.killed()).expect("it was opened before").seen);
    }
}

/// The file of a snapshot. What verifies is what was written, section by section; whatever is damaged is refused.
///
/// Input: for each section a byte of its kind, one of its number of items and one of its length, then its payload; a last
/// length of 0 ends them. Then changes, of a byte each, to the sealed file.
pub(crate) fn snapshot(data: &[u8]) {
    let mut input = Input(data);
    let (mut encoder, header) = SnapshotEncoder::begin(HEADER.instance, HEADER.created_at, &keys());
    let (mut file, mut written) = (header.to_vec(), Vec::new());
    for _ in 0..BLOCKS_MAX {
        let (kind, items, length) = (u16::from(input.byte()), u64::from(input.byte()), usize::from(input.byte()));
        if length == 0 {
            break;
        }
        let payload = input.bytes(length);
        file.extend_from_slice(
            &encoder.section(&SectionContent { kind, schema: 1, scope: items, items, payload }, &keys()),
        );
        written.push((kind, items, payload.to_vec()));
    }
    let extent = SnapshotExtent {
        start_lsn: Lsn::new(input.number()),
        end_lsn: Lsn::new(input.number()),
        high_water: HEADER.created_at,
        epoch: 1,
        sections: 0,
        items: 0,
    };
    let (footer, extent) = encoder.finish(extent, &keys());
    file.extend_from_slice(&footer);
    let whole = file.clone();
    if !input.0.is_empty() {
        input.change(&mut file);
    }
    let disk = SimDisk::new();
    disk.put("snapshot", file.clone());
    let mut read = Vec::new();
    let outcome = read_snapshot(&Directory::new(Arc::new(disk)), "snapshot", None, &keys(), &mut |section| {
        assert!(section.kind != SECTION_RECORDS || section.records().count() as u64 == section.items);
        read.push((section.kind, section.items, section.payload().to_vec()));
    });
    if let Ok((found, instance)) = outcome {
        assert!(file == whole, "a damaged snapshot was read");
        assert_eq!((found, instance, read), (extent, HEADER.instance, written));
    }
}

/// Whether this open has used up a number: the very last one is written and not read. 2^64 opens are needed to get there.
fn is_last_of_all(rig: &Rig) -> bool {
    let header = &rig.committer.active.entry.header;
    let counter = lock(&rig.committer.shared.head).latest().counter;
    [header.segment_id, header.epoch, counter].contains(&u64::MAX)
}

/// Orders for a fuzz target. Past the end everything is zero.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn number(&mut self) -> u64 {
        self.bytes(8).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Changes up to three bytes.
    fn change(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.byte() % 3 {
            let at = usize::from(self.byte()) << 8 | usize::from(self.byte());
            let length = bytes.len();
            bytes[at % length] ^= self.byte();
        }
    }

    fn page(&mut self, magic: [u8; 4]) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        if self.byte() & 1 == 0 {
            let length = usize::from(self.byte()) * 16;
            let raw = self.bytes(length);
            page[..raw.len()].copy_from_slice(raw);
            return page;
        }
        let mut fields = [0; COVERED_BYTES];
        let given = self.bytes(COVERED_BYTES);
        fields[..given.len()].copy_from_slice(given);
        fields[..4].copy_from_slice(&magic);
        sealed_page(fields, keys().mac_of(&fields))
    }
}

const HEADER: SegmentHeader = SegmentHeader {
    instance: [3; 16],
    segment_id: 1,
    epoch: 1,
    first_lsn: Lsn::FIRST,
    created_at: UnixTime::from_seconds(1_800_000_000),
    previous: Mac([0; 16]),
};
const RAW: u8 = 1;
const OPEN: u8 = 2;
const BLOCKS_MAX: usize = 12;

/// Inputs to begin with, by target.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for flags in [0, OPEN] {
        for fault in 0..8 {
            let records = [flags, 2, 3, b'o', b'n', b'e', 20].into_iter().chain(*b"01234567890123456789");
            let mark = [0, 1 | fault << 3, 4, b'l', b'a', b's', b't', 3, 0, 46, 1, 0, 40, 0xff, 0, 44, 16];
            seeds.push(("block", records.chain(mark).chain([1, 1, b'z']).collect()));
        }
    }
    for (changes, start, end) in
        [(&[][..], 3, 5), (&[0, 16, 70, 1], 3, 3), (&[1, 0, 9, 2, 17, 1, 1], 0, 9), (&[0, 0, 1, 0], 9, 8)]
    {
        let records = [1, 1, 32, 3, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0].into_iter().chain(*b"abc");
        let sections = [0].into_iter().chain(records).chain([0; 13]).chain([16, 2, 4]).chain(*b"toke").chain([0, 0, 0]);
        let numbers = [0, 0, 0, 0, 0, 0, 0, start, 0, 0, 0, 0, 0, 0, 0, end];
        seeds.push(("snapshot", sections.chain(numbers).chain(changes.iter().copied()).collect()));
    }
    for disk in [crate::journal::sim::three_blocks(), crate::journal::sim::last_not_acknowledged()] {
        let segment = disk.bytes(&disk.segments()[0]);
        let head = disk.bytes(HEAD);
        seeds.push(("block", [&[RAW | OPEN], &segment[PAGE_BYTES..3 * PAGE_BYTES]].concat()));
        let sealed = |page: &[u8]| [&[1][..], &page[..COVERED_BYTES]].concat();
        let raw = |page: &[u8]| [&[0, 7][..], &page[..112]].concat();
        let (slots, flags) = (head.split_at(PAGE_BYTES), &[0][..]);
        seeds.push(("head", [flags, &sealed(slots.0), &sealed(slots.1), &sealed(&segment)].concat()));
        seeds.push(("head", [flags, &raw(slots.0), &raw(slots.1), &raw(&segment)].concat()));
        seeds.push(("head", [flags, &raw(slots.1), &sealed(slots.0), &sealed(&segment)].concat()));
    }
    seeds
}
