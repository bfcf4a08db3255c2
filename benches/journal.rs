//! The journal: what it takes to append, and to read again at a start, by the number of records in a block.
//!
//! `disk` is a directory of the file system and waits for its syncs; `memory` is the same journal on a disk that is none, so
//! what it shows is our own work.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tessera::benching::{Commits, replay};
use tessera::clock::Clock;
use tessera::journal::{Block, Disk, Entry, JournalKeys, RealDisk};
use tessera::token::event::{KIND_ISSUED, SCHEMA_ISSUED, encode_issued};

use crate::clients::{Clients, LATER, NOW};
use crate::digests::digest;
use crate::memory::MemoryDisk;
use crate::random::random;
use crate::scale::scaled;

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/digests.rs"]
mod digests;
#[path = "fixtures/measure.rs"]
mod measure;
#[path = "fixtures/memory.rs"]
mod memory;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/scale.rs"]
mod scale;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion();
    targets = append, read_again
}
criterion_main!(benches);

/// Records in a block.
const BATCHES: [u64; 4] = [1, 16, 256, 4_096];

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    for records in BATCHES {
        group.throughput(Throughput::ElementsAndBytes { elements: records, bytes: records * record_bytes() });
        for (name, place) in [("append_disk", Place::new_directory as fn() -> Place), ("append_memory", Place::memory)]
        {
            let mut appender = Appender::new(place);
            group.bench_function(BenchmarkId::new(name, format!("{records}_records")), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| appender.append(records)).sum());
            });
        }
    }
}

fn read_again(criterion: &mut Criterion) {
    let records = scaled(200_000);
    let mut group = criterion.benchmark_group("journal");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for batch in BATCHES {
        // A block of one record takes a page.
        let records = if batch == 1 { records / 16 } else { records };
        group.throughput(Throughput::ElementsAndBytes { elements: records, bytes: records * record_bytes() });
        for (name, new_place) in
            [("replay_disk", Place::new_directory as fn() -> Place), ("replay_memory", Place::memory)]
        {
            let (id, mut place) = (BenchmarkId::new(name, format!("{records}_records_by_{batch}")), None);
            group.bench_function(id, |bencher| {
                let place = place.get_or_insert_with(|| written(new_place(), records, batch));
                bencher.iter_custom(|iterations| (0..iterations).map(|_| read_all(place, records)).sum());
            });
        }
    }
}

/// How long it takes until the last block of a journal has been read and verified. What an open does besides, such as moving
/// the tail into a segment of its own, does not grow with the journal.
fn read_all(place: &Place, records: u64) -> Duration {
    let (clock, mut read, mut last) = (Arc::new(Clock::system()), 0, Duration::ZERO);
    let started = clock.monotonic();
    let visit = &mut |block: Arc<Block>| {
        read += u64::from(block.len());
        last = clock.monotonic();
    };
    replay(place.disk(), keys(), Arc::clone(&clock), visit).expect("it is whole");
    assert_eq!(read, records, "all of it is read");
    last.saturating_sub(started)
}

/// A journal of that many records that nobody has open.
fn written(place: Place, records: u64, batch: u64) -> Place {
    let mut commits = place.open();
    let mut next = 0;
    while next < records {
        let end = records.min(next + batch);
        commits.commit((next..end).map(entry)).expect("the disk takes it");
        next = end;
    }
    drop(commits);
    place
}

/// Where a journal lives.
enum Place {
    Directory(TempDir),
    Memory(MemoryDisk),
}

impl Place {
    /// On the disk that the build is on: the usual place for what is temporary may be in memory.
    fn new_directory() -> Self {
        Self::Directory(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory can be made"))
    }

    fn memory() -> Self {
        Self::Memory(MemoryDisk::default())
    }

    fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Self::Directory(directory) => Arc::new(RealDisk::new(directory.path()).expect("the directory is there")),
            Self::Memory(disk) => Arc::new(disk.clone()),
        }
    }

    fn open(&self) -> Commits {
        Commits::open(self.disk(), keys(), Arc::new(Clock::system())).expect("the journal can be opened")
    }
}

/// Appends to one journal until it is long, and then to a new one. Only the commits are timed.
struct Appender {
    new_place: fn() -> Place,
    journal: Option<(Commits, Place)>,
    appended: u64,
    clock: Clock,
}

impl Appender {
    fn new(new_place: fn() -> Place) -> Self {
        Self { new_place, journal: None, appended: 0, clock: Clock::system() }
    }

    fn append(&mut self, records: u64) -> Duration {
        let entries: Vec<Entry> = (0..records).map(|number| entry(self.appended + number)).collect();
        let block_bytes = (records * record_bytes()).next_multiple_of(4_096);
        // What it takes to fill the next segment with zeros is the work of another thread in the server.
        if self.appended / records * block_bytes > SEGMENT_BYTES {
            (self.journal, self.appended) = (None, 0);
        }
        let new_place = self.new_place;
        let (commits, _) = self.journal.get_or_insert_with(|| {
            let place = new_place();
            (place.open(), place)
        });
        let started = self.clock.monotonic();
        commits.commit(entries).expect("the disk takes it");
        self.appended += records;
        self.clock.monotonic().saturating_sub(started)
    }
}

/// Not much less than a segment holds.
const SEGMENT_BYTES: u64 = 60 << 20;

/// The record of an issued token.
fn entry(number: u64) -> Entry {
    thread_local! {
        static CLIENTS: Clients = Clients::new();
    }
    let payload = CLIENTS.with(|clients| encode_issued(digest(number), NOW, LATER, &clients.terms_of(number).client));
    let payload = payload.expect("a token can be written");
    Entry { kind: KIND_ISSUED, schema: SCHEMA_ISSUED, routing_id: random(number), payload }
}

/// What one record takes in a block.
fn record_bytes() -> u64 {
    RECORD_HEADER_BYTES + entry(0).payload.len().next_multiple_of(16) as u64
}

const RECORD_HEADER_BYTES: u64 = 16;

fn keys() -> JournalKeys {
    JournalKeys { mac: [9; 32], key_id: 1 }
}
