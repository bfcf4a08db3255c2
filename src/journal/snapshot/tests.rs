//! Snapshots on a disk that crashes, fails and rots.

use std::sync::Arc;

use super::*;
use crate::journal::error::{Defect, JournalError};
use crate::journal::file::Directory;
use crate::journal::frame::PAGE_BYTES;
use crate::journal::sim::{Rig, START, SimDisk, entry, keys, options};
use crate::journal::{Opening, open_without_threads};

fn store(rig: &Rig) -> SnapshotStore {
    SnapshotStore::new(Arc::clone(&rig.committer.shared))
}

/// A snapshot of two sections: one of the owner's, and one of records.
fn take(rig: &Rig, payload: &[u8]) -> Result<SnapshotExtent, JournalError> {
    let mut writer = store(rig).begin(START)?;
    writer.section(&SectionContent { kind: 16, schema: 1, scope: 7, items: 2, payload })?;
    let mut records = RecordsSection::default();
    records.push(&entry(0, b"of a section"));
    writer.section(&records.content())?;
    writer.finish(START)
}

type Payloads = Vec<Vec<u8>>;

/// What an open hands out: sections of the snapshot that counts, then records.
fn replayed(disk: &SimDisk) -> Result<(Payloads, Payloads), JournalError> {
    let mut opening = Opening::begin(Arc::new(disk.clone()), options(2), Arc::default())?;
    let mut sections = Vec::new();
    opening.load_newest_snapshot(&mut |read| match read {
        SnapshotRead::Section(section) => sections.push(section.payload().to_vec()),
        SnapshotRead::Anew => sections.clear(),
    })?;
    let (clock, mut records) = (Rig::clock(), Vec::new());
    opening.open_without_threads(clock, &mut |block| {
        records.extend(block.records().map(|record| record.payload.to_vec()));
    })?;
    Ok((sections, records))
}

/// Records 0 to 60, a snapshot before each number in `before`.
fn journal_with_snapshots(before: &[u8]) -> Rig {
    let mut rig = Rig::open(&SimDisk::new()).unwrap();
    for number in 0..60_u8 {
        if before.contains(&number) {
            take(&rig, &[number; 5000]).unwrap();
            store(&rig).retire().unwrap();
        }
        rig.commit_one(&[number; 3000]);
    }
    rig
}

fn numbers(records: &[Vec<u8>]) -> Vec<u8> {
    records.iter().map(|payload| payload[0]).collect()
}

#[test]
fn a_start_goes_on_from_the_newest_snapshot() {
    let rig = journal_with_snapshots(&[20, 40]);
    let (sections, records) = replayed(&rig.close()).unwrap();
    assert_eq!((sections.len(), &sections[0]), (2, &vec![40; 5000]));
    assert_eq!(numbers(&records), (40..60).collect::<Vec<_>>());
}

#[test]
fn two_snapshots_are_kept_and_the_segments_that_the_older_needs() {
    let rig = journal_with_snapshots(&[20, 30, 40]);
    let snapshots: Vec<_> = rig.disk.names().into_iter().filter(|name| name.starts_with("snap-")).collect();
    assert_eq!(snapshots, ["snap-00000000000000000030.snap", "snap-00000000000000000040.snap"]);
    // A segment has 15 records; the older snapshot lacks record 31, which is the first of the third.
    assert!(rig.disk.segments()[0].starts_with("wal-00000000000000000031-"), "{:?}", rig.disk.segments());
    let reader = crate::journal::JournalReader::new(Arc::clone(&rig.committer.shared));
    let asked = reader.read(Lsn::new(30), &mut |_| {});
    assert!(matches!(asked, Err(JournalError::NotRetained { first, .. }) if first == Lsn::new(31)));
    let mut seen = 0;
    reader.read(Lsn::new(31), &mut |block| seen += block.len()).unwrap();
    assert_eq!(seen, 30);
}

#[test]
fn nothing_is_retired_that_the_database_has_not_confirmed() {
    let rig = journal_with_snapshots(&[]);
    let store = store(&rig);
    store.confirm(Lsn::new(20));
    take(&rig, b"one").unwrap();
    take(&rig, b"the same start takes its place").unwrap();
    assert_eq!(store.retire().unwrap(), 0, "there is one snapshot");
    let mut rig = rig;
    rig.commit_one(&[60; 3000]);
    take(&rig, b"two").unwrap();
    assert_eq!(store.retire().unwrap(), 1);
    assert!(rig.disk.segments()[0].starts_with("wal-00000000000000000016-"));
    store.confirm(Lsn::new(59));
    assert_eq!(store.retire().unwrap(), 2);
}

#[test]
fn a_damaged_snapshot_is_kept_aside_and_the_older_one_stands_in() {
    let whole = journal_with_snapshots(&[20, 40]).close();
    let name = "snap-00000000000000000040.snap";
    let length = whole.bytes(name).len();
    let footer = length - FOOTER_BYTES - SECTION_HEADER_BYTES - 16;
    // Every byte of the headers, of the first and last of each payload, of MACs and of the footer.
    let section = PAGE_BYTES;
    let positions = (0..100)
        .chain([101, PAGE_BYTES - 1])
        .chain(section..section + SECTION_HEADER_BYTES + 16)
        .chain(section + SECTION_HEADER_BYTES + 4980..section + SECTION_HEADER_BYTES + 5008 + 16)
        .chain(footer - 80..length);
    for position in positions {
        let disk = whole.synced();
        disk.change(name, |bytes| bytes[position] ^= 1 << (position % 8));
        // A byte of the key's id says that the key is another; both are refused before anything is applied.
        match replayed(&disk) {
            Ok((sections, records)) => {
                assert_eq!((&sections[0], numbers(&records)), (&vec![20; 5000], (20..60).collect()), "at {position}");
                assert!(disk.names().contains(&format!("{name}.corrupt")) && !disk.names().contains(&name.to_owned()));
                assert_eq!(replayed(&disk.synced()).unwrap().0[0], vec![20; 5000]);
            }
            Err(error) => panic!("at {position}: {error}"),
        }
    }
    for cut in [0, 1, PAGE_BYTES, footer, length - 1] {
        let disk = whole.synced();
        disk.change(name, |bytes| bytes.truncate(cut));
        assert_eq!(replayed(&disk).unwrap().0[0], vec![20; 5000], "cut at {cut}");
    }
    let disk = whole.synced();
    disk.change(name, |bytes| bytes.push(0));
    assert_eq!(replayed(&disk).unwrap().0[0], vec![20; 5000], "a byte too much");
}

#[test]
fn without_a_whole_snapshot_a_retired_journal_is_refused() {
    let whole = journal_with_snapshots(&[20, 40]).close();
    let names = ["snap-00000000000000000020.snap", "snap-00000000000000000040.snap"];
    let disk = whole.synced();
    names.iter().for_each(|name| disk.change(name, |bytes| bytes[5000] ^= 1));
    let error = replayed(&disk).unwrap_err().to_string();
    assert!(error.starts_with("snapshot corrupt: snap-00000000000000000020.snap at byte 4096"), "{error}");
    let disk = whole.synced();
    names.iter().for_each(|name| drop(disk.take(name)));
    let error = replayed(&disk).unwrap_err().to_string();
    assert!(error.contains("every snapshot that the journal goes on from is missing and records 1 to 15"), "{error}");
    // A journal that was never retired does without.
    let disk = journal_with_snapshots(&[40]).close();
    disk.change(names[1], |bytes| bytes[5000] ^= 1);
    assert_eq!(numbers(&replayed(&disk).unwrap().1), (0..60).collect::<Vec<_>>());
}

#[test]
fn swapped_and_foreign_snapshots_are_not_taken() {
    let whole = journal_with_snapshots(&[20, 40]).close();
    let [older, newer] = ["snap-00000000000000000020.snap", "snap-00000000000000000040.snap"];
    let disk = whole.synced();
    disk.put(newer, whole.bytes(older));
    assert_eq!(replayed(&disk).unwrap().0[0], vec![20; 5000], "the older under the name of the newer");
    let disk = whole.synced();
    disk.put(newer, journal_with_snapshots(&[20, 40]).close().bytes(newer));
    assert_eq!(replayed(&disk).unwrap().0[0], vec![20; 5000], "of another journal");
}

#[test]
fn a_journal_that_ends_before_its_snapshot_is_corrupt() {
    let mut rig = Rig::open(&SimDisk::new()).unwrap();
    for number in 0..3 {
        rig.commit_one(&[number]);
    }
    let before = rig.disk.synced();
    let mut writer = store(&rig).begin(START).unwrap();
    writer.section(&SectionContent { kind: 16, schema: 1, scope: 0, items: 1, payload: b"x" }).unwrap();
    rig.commit_one(b"seen by the walk, perhaps");
    assert_eq!(writer.finish(START).unwrap().end_lsn, Lsn::new(4));
    let name = "snap-00000000000000000003.snap";
    before.put(name, rig.disk.bytes(name));
    let error = replayed(&before).unwrap_err();
    assert!(
        matches!(error, JournalError::Corrupt { first, defect: Defect::Ends, .. } if first == Lsn::new(4)),
        "{error}"
    );
}

#[test]
fn a_crash_at_any_operation_of_a_snapshot_and_its_retirement_loses_nothing() {
    let build = || {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        for number in 0..50_u8 {
            if [20, 35].contains(&number) {
                take(&rig, &[number; 5000]).unwrap();
            }
            rig.commit_one(&[number; 3000]);
        }
        rig
    };
    let mut crashes = 0;
    for operation in 0.. {
        let rig = build();
        rig.disk.faults(|faults| faults.power_cut_in = Some(operation));
        let done = take(&rig, &[50; 5000]).and_then(|_| store(&rig).retire());
        for seed in 0..8 {
            crashes += 1;
            let disk = rig.disk.crash(operation * 8 + seed);
            let (sections, records) = replayed(&disk).unwrap_or_else(|error| panic!("operation {operation}: {error}"));
            let start = sections[0][0];
            assert!([20, 35, 50].contains(&start), "operation {operation}");
            assert_eq!(numbers(&records), (start..50).collect::<Vec<_>>(), "operation {operation}");
        }
        if done.is_ok() {
            break;
        }
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn a_disk_that_is_full_or_fails_leaves_the_last_snapshot_in_force() {
    let mut rig = journal_with_snapshots(&[20]);
    while rig.committer.prepare_spare_step().unwrap() == crate::journal::spare::SpareStep::Filled {}
    let names = rig.disk.names();
    rig.disk.set_capacity(Some(rig.disk.used_bytes() + 5000));
    assert!(take(&rig, &[60; 5000]).unwrap_err().is_disk_full());
    rig.disk.set_capacity(None);
    rig.disk.faults(|faults| faults.write_in = Some(1));
    assert!(take(&rig, &[60; 5000]).is_err());
    rig.disk.faults(|faults| faults.sync_in = Some(1));
    assert!(take(&rig, &[60; 5000]).is_err());
    assert_eq!(rig.disk.names(), names, "nothing is left of the attempts");
    assert_eq!(take(&rig, &[60; 5000]).unwrap().start_lsn, Lsn::new(60));
    rig.commit_one(&[60]);
    let (sections, records) = replayed(&rig.close()).unwrap();
    assert_eq!((sections[0][0], numbers(&records)), (60, vec![60]));
}

#[test]
fn what_the_disk_gives_back_differently_does_not_become_a_snapshot() {
    let rig = journal_with_snapshots(&[]);
    let mut writer = store(&rig).begin(START).unwrap();
    writer.section(&SectionContent { kind: 16, schema: 1, scope: 0, items: 1, payload: &[1; 5000] }).unwrap();
    rig.disk.change_open(SNAPSHOT_TMP, |bytes| bytes[6000] ^= 1);
    assert!(matches!(writer.finish(START), Err(JournalError::Snapshot { .. })));
    assert!(!rig.disk.names().iter().any(|name| name.starts_with("snap")));
}

#[test]
fn the_tail_is_what_was_written_since_the_newest_snapshot_began() {
    let mut rig = journal_with_snapshots(&[40]);
    assert_eq!(store(&rig).tail_bytes(), 20 * PAGE_BYTES as u64);
    rig.commit_one(b"more");
    assert_eq!(store(&rig).tail_bytes(), 21 * PAGE_BYTES as u64);
    take(&rig, b"now").unwrap();
    assert_eq!(store(&rig).tail_bytes(), 0);
}

/// A backup of the rig, and what it says.
fn back_up(rig: &mut Rig) -> (Vec<u8>, SnapshotExtent) {
    let mut bytes = Vec::new();
    let emit = &mut |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok::<_, JournalError>(())
    };
    let mut writer = store(rig).begin_backup(START, emit).unwrap();
    writer.section(&SectionContent { kind: 16, schema: 1, scope: 0, items: 1, payload: b"state" }, emit).unwrap();
    rig.commit_one(b"came meanwhile");
    let extent = writer.finish(START, emit).unwrap();
    (bytes, extent)
}

#[test]
fn a_backup_ends_where_it_begins_and_becomes_a_journal_that_goes_on() {
    let mut rig = journal_with_snapshots(&[20, 40]);
    let (bytes, extent) = back_up(&mut rig);
    assert_eq!((extent.start_lsn, extent.end_lsn), (Lsn::new(61), Lsn::new(61)));
    let (source, target) = (SimDisk::new(), SimDisk::new());
    source.put("backup", bytes.clone());
    assert_eq!(verify_backup(Arc::new(source.clone()), "backup", &keys()).unwrap(), extent);
    restore(Arc::new(source.clone()), "backup", Arc::new(target.clone()), &keys()).unwrap();
    let (sections, records) = replayed(&target.synced()).unwrap();
    assert_eq!((sections[0].as_slice(), sections.len(), records.len()), (b"state".as_slice(), 2, 0));
    let again = restore(Arc::new(source.clone()), "backup", Arc::new(target.clone()), &keys());
    assert!(matches!(again, Err(JournalError::NotEmpty)));

    let mut opening = Opening::begin(Arc::new(target.clone()), options(2), Arc::default()).unwrap();
    opening.load_newest_snapshot(&mut |_| {}).unwrap();
    let (committer, lanes, recovered) = opening.open_without_threads(Rig::clock(), &mut |_| {}).unwrap();
    assert_eq!(recovered.last_lsn, Lsn::new(61));
    let mut rig = Rig::of(&target, committer, lanes, recovered);
    rig.commit_one(b"goes on");
    let (sections, records) = replayed(&rig.close()).unwrap();
    assert_eq!((sections.len(), records), (2, vec![b"goes on".to_vec()]));

    for position in [0, 50, PAGE_BYTES + 3, PAGE_BYTES + 70, bytes.len() - 1] {
        source.change("backup", |bytes| bytes[position] ^= 1);
        let empty = SimDisk::new();
        assert!(restore(Arc::new(source.clone()), "backup", Arc::new(empty.clone()), &keys()).is_err());
        assert!(!empty.names().iter().any(|name| name == "HEAD"), "at {position}");
        source.change("backup", |bytes| bytes[position] ^= 1);
    }
}

#[test]
fn a_crash_at_any_operation_of_a_restore_leaves_nothing_or_all() {
    let (bytes, _) = back_up(&mut journal_with_snapshots(&[]));
    let source = SimDisk::new();
    source.put("backup", bytes);
    for operation in 0.. {
        let target = SimDisk::new();
        target.faults(|faults| faults.power_cut_in = Some(operation));
        let restored = restore(Arc::new(source.clone()), "backup", Arc::new(target.clone()), &keys());
        for seed in 0..4 {
            let disk = target.crash(operation * 4 + seed);
            if !replayed(&disk.synced()).is_ok_and(|(sections, _)| sections.len() == 2) {
                assert!(restored.is_err());
                // Done again it is whole: what is there is no journal yet.
                let disk = target.crash(operation * 4 + seed);
                restore(Arc::new(source.clone()), "backup", Arc::new(disk.clone()), &keys()).unwrap();
                assert_eq!(replayed(&disk.synced()).unwrap().0.len(), 2);
            }
        }
        if restored.is_ok() {
            break;
        }
    }
}

#[test]
fn a_snapshot_is_no_backup() {
    let mut rig = journal_with_snapshots(&[]);
    let mut writer = store(&rig).begin(START).unwrap();
    rig.commit_one(b"more");
    writer.section(&SectionContent { kind: 16, schema: 1, scope: 0, items: 1, payload: b"x" }).unwrap();
    writer.finish(START).unwrap();
    let name = "snap-00000000000000000060.snap";
    let refused = restore(Arc::new(rig.disk.clone()), name, Arc::new(SimDisk::new()), &keys());
    assert!(matches!(refused, Err(JournalError::NotABackup { .. })));
}

/// A change of these bytes is a change of format.
#[test]
fn the_bytes_of_a_snapshot_stay_as_they_are() {
    let (mut encoder, header) = SnapshotEncoder::begin(*b"0123456789abcdef", UnixTime::from_millis(5), &keys());
    assert_eq!(&header[..24], b"TSRS\x01\0\0\x000123456789abcdef");
    assert_eq!((header[24], header[32]), (0x88, 5));
    let content = SectionContent { kind: 16, schema: 2, scope: 3, items: 4, payload: b"payload" };
    let section = encoder.section(&content, &keys());
    assert_eq!(section.len(), 64 + 16 + 16);
    assert_eq!(&section[..8], b"TSRX\x10\0\x02\0");
    assert_eq!(section[8..40].chunks(8).map(|field| field[0]).collect::<Vec<_>>(), [0, 3, 4, 7]);
    assert_eq!(section[56..60], crc32c::crc32c(b"payload").to_le_bytes());
    assert_eq!(section[60..64], crc32c::crc32c(&section[..60]).to_le_bytes());
    assert_eq!(&section[64..80], b"payload\0\0\0\0\0\0\0\0\0");
    let extent = SnapshotExtent {
        start_lsn: Lsn::new(1),
        end_lsn: Lsn::new(2),
        high_water: UnixTime::from_millis(3),
        epoch: 6,
        sections: 0,
        items: 0,
    };
    let (footer, extent) = encoder.finish(extent, &keys());
    assert_eq!((extent.sections, extent.items), (1, 4));
    assert_eq!(footer[64..112].chunks(8).map(|field| field[0]).collect::<Vec<_>>(), [1, 2, 3, 1, 4, 6]);
    let directory = Directory::new({
        let disk = SimDisk::new();
        disk.put("x", [&header[..], &section, &footer].concat());
        Arc::new(disk)
    });
    assert_eq!(read_snapshot(&directory, "x", None, &keys(), &mut |_| {}).unwrap().0, extent);
}

#[test]
fn an_open_without_a_look_at_snapshots_refuses_what_was_retired() {
    let disk = journal_with_snapshots(&[20, 40]).close();
    let opened = open_without_threads(Arc::new(disk), options(2), Rig::clock(), &mut |_| {});
    assert!(matches!(opened, Err(JournalError::Missing { .. })));
}
