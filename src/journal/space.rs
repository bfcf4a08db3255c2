//! What of the disk the journal may use, what it uses, and the [`Pressure`] that follows.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::journal::Options;
use crate::journal::catalog::{Catalog, SegmentEntry, lock};
use crate::journal::frame::{PAGE_BYTES, RECORD_HEADER_BYTES, block_bytes_max, payload_bytes_max};
use crate::journal::metrics::JournalMetrics;
use crate::journal::pressure::{Pressure, PressureCell};

/// The bounds that follow from [`Options::journal_bytes_max`].
///
/// # Why a commit never meets a full disk
///
/// A block goes to the active segment, to a whole spare or to a reserve segment, whose room the file system has given
/// before. A lane takes a record only while what it has sent and not yet made durable stays within
/// [`Budget::lane_bytes_max`]; the commit thread gives that room back only after it has measured what its block left.
/// So whatever is on its way when [`Pressure::Full`] is stored was on its way, or had its room, when the measurement
/// before found [`Budget::margin_bytes`] or more: it fits, and nothing follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    segment_bytes: u64,
    /// Segments that are kept aside: 5 % of the budget, and at least what is needed twice over by what is on its way.
    pub(crate) reserve_segments: u64,
    /// Bytes of records that one lane may have on their way.
    pub(crate) lane_bytes_max: u64,
    /// What all that is on its way may take on the disk, with the padding of its blocks.
    margin_bytes: u64,
    /// From here on the rest is for revocations: the reserve, and the margin before it for what is on its way by then.
    ordinary_bytes: u64,
}

impl Budget {
    /// `None` when the budget has no room for the reserve and two segments beside it.
    pub(crate) fn new(options: &Options) -> Option<Self> {
        let Options { segment_bytes, journal_bytes_max: bytes_max, .. } = *options;
        let lanes = options.lanes as u64;
        let record_bytes_max = (payload_bytes_max(segment_bytes) + RECORD_HEADER_BYTES) as u64;
        let lane_bytes_max = (segment_bytes / 8 / lanes).max(2 * record_bytes_max);
        // A full block is 64 KiB of records at the least, so padding is less than an eighth; then each lane may have one
        // record on its way that becomes a block of its own, and a mark follows.
        let margin_bytes = lane_bytes_max * lanes / 8 * 9 + 2 * PAGE_BYTES as u64 * (lanes + 4);
        let margin_bytes = if segment_bytes < SOUND_SEGMENT_BYTES { segment_bytes / 4 } else { margin_bytes };
        let sketch =
            Self { bytes_max, segment_bytes, reserve_segments: 1, lane_bytes_max, margin_bytes, ordinary_bytes: 0 };
        let for_the_margin = 1 + (2 * margin_bytes).saturating_sub(sketch.usable_bytes()) / sketch.sure_bytes().max(1);
        let reserve_segments = bytes_max.div_ceil(20).div_ceil(segment_bytes).max(for_the_margin);
        let ordinary_segments = (bytes_max / segment_bytes).checked_sub(reserve_segments)?;
        let ordinary_bytes = (ordinary_segments * segment_bytes).saturating_sub(margin_bytes);
        (ordinary_segments >= 2 && ordinary_bytes > 0).then_some(Self { reserve_segments, ordinary_bytes, ..sketch })
    }

    fn reserve_bytes(&self) -> u64 {
        self.reserve_segments * self.segment_bytes
    }

    /// What a new segment takes of blocks.
    fn usable_bytes(&self) -> u64 {
        self.segment_bytes - PAGE_BYTES as u64
    }

    /// What it takes whatever the sizes of blocks are: one that does not fit the rest goes to the next segment.
    fn sure_bytes(&self) -> u64 {
        self.usable_bytes().saturating_sub(block_bytes_max(self.segment_bytes))
    }

    /// What can surely be written without asking the file system for room.
    fn room_bytes(&self, active_left_bytes: u64, prepared_segments: u64) -> u64 {
        match prepared_segments.checked_sub(1) {
            None => active_left_bytes,
            Some(others) => {
                let active = active_left_bytes.saturating_sub(block_bytes_max(self.segment_bytes));
                active + self.usable_bytes() + others * self.sure_bytes()
            }
        }
    }

    fn level(&self, usage: Usage, stock: Stock) -> Pressure {
        let prepared_segments = stock.reserve_segments + u64::from(stock.spare_is_whole);
        if self.room_bytes(usage.active_left_bytes, prepared_segments) < self.margin_bytes {
            return Pressure::Full;
        }
        self.level_of_budget(usage.used_bytes()).max(self.level_of_disk(usage.active_left_bytes, stock))
    }

    fn level_of_budget(&self, used_bytes: u64) -> Pressure {
        // 95 parts are what is for ordinary use, so that all levels move with the reserve.
        let reaches = |parts| used_bytes >= self.ordinary_bytes / 95 * parts;
        match () {
            () if used_bytes >= self.ordinary_bytes => Pressure::RevocationsOnly,
            () if reaches(85) => Pressure::NoLongLived,
            () if reaches(70) => Pressure::Warned,
            () => Pressure::Normal,
        }
    }

    /// A disk that is full while the budget is not. Who has begun with the reserve leaves what is left to revocations.
    fn level_of_disk(&self, active_left_bytes: u64, stock: Stock) -> Pressure {
        if !stock.disk_is_full {
            Pressure::Normal
        } else if !stock.spare_is_whole
            && (active_left_bytes < self.segment_bytes / 4 || stock.reserve_segments < self.reserve_segments)
        {
            Pressure::RevocationsOnly
        } else {
            Pressure::NoLongLived
        }
    }
}

/// What the segments use.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// Length of all segments.
    segments_bytes: u64,
    /// What is not used of the active one.
    active_left_bytes: u64,
}

impl Usage {
    fn used_bytes(self) -> u64 {
        self.segments_bytes.saturating_sub(self.active_left_bytes)
    }
}

/// What is prepared for later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stock {
    pub(crate) spare_is_whole: bool,
    pub(crate) reserve_segments: u64,
    /// The last attempt to prepare something found no room on the disk.
    pub(crate) disk_is_full: bool,
}

/// Measures, and publishes the level.
pub(crate) struct Space {
    pub(crate) budget: Budget,
    pub(crate) pressure: PressureCell,
    /// One measurement at a time, so that none is replaced by an older one.
    gauge: Mutex<Gauge>,
}

#[derive(Default)]
struct Gauge {
    segments_bytes: u64,
    active: Option<Arc<SegmentEntry>>,
    /// `None` until somebody has looked.
    stock: Option<Stock>,
}

impl Space {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, pressure: PressureCell::default(), gauge: Mutex::default() }
    }

    /// Measures everything. To be called whenever there are more or fewer segments.
    pub(crate) fn measure(&self, catalog: &Catalog, metrics: &JournalMetrics) {
        catalog.measure(metrics);
        let mut gauge = lock(&self.gauge);
        (gauge.segments_bytes, gauge.active) = catalog.extent();
        self.publish(&gauge, metrics);
    }

    /// Measures after a block. To be called before its lanes get their room back: see [`Budget`].
    pub(crate) fn measure_active(&self, metrics: &JournalMetrics) {
        self.publish(&lock(&self.gauge), metrics);
    }

    /// Measures with what is prepared now.
    pub(crate) fn measure_stock(&self, stock: Stock, metrics: &JournalMetrics) {
        let mut gauge = lock(&self.gauge);
        gauge.stock = Some(stock);
        self.publish(&gauge, metrics);
    }

    /// Whether the budget has room for one more spare, beside the reserve as it is to be.
    pub(crate) fn allows_spare(&self) -> bool {
        self.allows(self.budget.reserve_bytes() + self.budget.segment_bytes)
    }

    /// Whether the budget has room for one more reserve segment.
    pub(crate) fn allows_reserve(&self, spare_segments: u64, reserve_segments: u64) -> bool {
        self.allows((spare_segments + reserve_segments + 1) * self.budget.segment_bytes)
    }

    fn allows(&self, more_bytes: u64) -> bool {
        lock(&self.gauge).segments_bytes + more_bytes <= self.budget.bytes_max
    }

    fn publish(&self, gauge: &MutexGuard<'_, Gauge>, metrics: &JournalMetrics) {
        let (Some(active), Some(stock)) = (&gauge.active, gauge.stock) else { return };
        let usage = Usage { segments_bytes: gauge.segments_bytes, active_left_bytes: active.left_bytes() };
        let level = self.budget.level(usage, stock);
        metrics.budget_bytes.set(self.budget.bytes_max);
        metrics.used_bytes.set(usage.used_bytes());
        metrics.reserve_bytes.set(stock.reserve_segments * self.budget.segment_bytes);
        metrics.pressure.set(u64::from(level.number()));
        let before = self.pressure.value();
        if level != before {
            self.pressure.set(level);
            self.tell(before, level, usage, stock);
        }
    }

    fn tell(&self, before: Pressure, level: Pressure, usage: Usage, stock: Stock) {
        let (used_bytes, journal_bytes_max) = (usage.used_bytes(), self.budget.bytes_max);
        let advice = match (level < before, stock.disk_is_full) {
            (true, _) => {
                tracing::info!(%level, used_bytes, journal_bytes_max, "the journal has more room again");
                return;
            }
            (false, true) => "its disk is full: free space on the disk of the data directory",
            (false, false) => "its budget is nearly used: see why segments are not retired, or raise journal_bytes_max",
        };
        match level {
            Pressure::Normal | Pressure::Warned => {
                tracing::warn!(used_bytes, journal_bytes_max, "the journal runs short of room; {advice}");
            }
            Pressure::NoLongLived => {
                tracing::warn!(
                    used_bytes,
                    journal_bytes_max,
                    "the journal runs short of room, and no client is registered; {advice}"
                );
            }
            Pressure::RevocationsOnly => {
                tracing::error!(
                    used_bytes,
                    journal_bytes_max,
                    "the journal has hardly any room, and no token is issued; {advice}"
                );
            }
            Pressure::Full => {
                tracing::error!(
                    used_bytes,
                    journal_bytes_max,
                    "the journal has no room left, and tokens cannot even be revoked; {advice}"
                );
            }
        }
    }
}

/// The least that a segment may be outside of tests. In shorter ones a few large records fill a segment, so that
/// [`Budget::margin_bytes`] would be more than there is: there it is a quarter of a segment, and no bound.
const SOUND_SEGMENT_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sim::{Random, Rig, SimDisk, options};
    use crate::journal::spare::SpareStep;

    const SEGMENT: u64 = 64 << 10;
    /// One segment is the reserve, and a quarter of one the margin.
    const ORDINARY: u64 = 19 * SEGMENT - SEGMENT / 4;

    fn level(rig: &Rig) -> Pressure {
        rig.lanes[0].pressure()
    }

    /// What the spare thread does until it waits.
    fn prepare(rig: &mut Rig) -> SpareStep {
        loop {
            match rig.committer.prepare_spare_step().unwrap() {
                SpareStep::Filled => {}
                step => return step,
            }
        }
    }

    fn has_reserve(disk: &SimDisk) -> bool {
        disk.names().contains(&"reserve-01.tmp".to_owned())
    }

    fn bytes_of(disk: &SimDisk, suffixes: &[&str]) -> u64 {
        let ours = |name: &String| suffixes.iter().any(|suffix| name.ends_with(suffix));
        disk.names().into_iter().filter(ours).map(|name| disk.bytes(&name).len() as u64).sum()
    }

    /// A journal whose disk has room for one segment and the reserve.
    fn on_a_small_disk() -> Rig {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        rig.disk.set_capacity(Some(usize::try_from(bytes_of(&rig.disk, &[""]) + SEGMENT / 2).unwrap()));
        assert_eq!((level(&rig), prepare(&mut rig)), (Pressure::Normal, SpareStep::DiskFull));
        rig
    }

    #[test]
    fn the_least_budget_has_one_reserve_segment_and_the_default_has_five_percent() {
        let budget = |journal_bytes_max: u64, lanes| {
            Budget::new(&Options { journal_bytes_max, segment_bytes: 64 << 20, ..options(lanes) })
        };
        let least = budget(256 << 20, 3).unwrap();
        assert_eq!(least.reserve_segments, 1);
        let default = budget(16 << 30, 17).unwrap();
        assert_eq!(default.reserve_segments, 13);
        assert!((94..=95).contains(&(default.ordinary_bytes * 100).div_ceil(16 << 30)));
        assert!(budget(256 << 20, 1025).is_none(), "so many lanes may have more on their way than there is");
        assert!(budget(16 << 30, 1025).is_some());
    }

    #[test]
    fn the_level_rises_with_what_is_used_and_the_files_stay_within_the_budget() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        let mut changes = vec![(Pressure::Normal, 0)];
        let mut records = 0_u64;
        while level(&rig) < Pressure::Full {
            prepare(&mut rig);
            rig.commit_one(&records.to_le_bytes());
            records += 1;
            if changes.last().unwrap().0 != level(&rig) {
                changes.push((level(&rig), rig.committer.shared.metrics.used_bytes.value()));
            }
            assert!(bytes_of(&rig.disk, &[".seg", ".tmp"]) <= 20 * SEGMENT);
        }
        let from = |parts: u64| (ORDINARY / 95 * parts).next_multiple_of(4096);
        let expected = [
            (Pressure::Normal, 0),
            (Pressure::Warned, from(70)),
            (Pressure::NoLongLived, from(85)),
            (Pressure::RevocationsOnly, ORDINARY),
            (Pressure::Full, 20 * SEGMENT - SEGMENT / 4 + 4096),
        ];
        assert_eq!(changes, expected);
        assert_eq!((rig.disk.segments().len(), has_reserve(&rig.disk)), (20, false));
        let rig = Rig::open(&rig.close()).unwrap();
        assert_eq!((rig.seen.len() as u64, level(&rig)), (records, Pressure::Full), "a restart is no way out");
    }

    #[test]
    fn commits_are_apart_while_only_revocations_are_taken() {
        let mut rig = on_a_small_disk();
        assert_eq!(rig.committer.pause(), None);
        while level(&rig) < Pressure::RevocationsOnly {
            rig.commit_one(b"x");
        }
        assert_eq!(rig.committer.pause(), Some(std::time::Duration::from_millis(5)));
    }

    #[test]
    fn a_full_disk_raises_the_level_before_it_is_met_and_room_lowers_it() {
        let mut rig = on_a_small_disk();
        let mut levels = Vec::new();
        while level(&rig) < Pressure::Full {
            levels.push((level(&rig), rig.disk.segments().len()));
            assert_eq!(prepare(&mut rig), SpareStep::DiskFull);
            rig.commit_one(b"x");
        }
        levels.dedup();
        let expected = [(Pressure::NoLongLived, 1), (Pressure::RevocationsOnly, 1), (Pressure::RevocationsOnly, 2)];
        assert_eq!((levels, has_reserve(&rig.disk)), (expected.to_vec(), false));
        rig.disk.set_capacity(None);
        assert_eq!((prepare(&mut rig), level(&rig)), (SpareStep::Ready, Pressure::Normal));
        assert!(has_reserve(&rig.disk));
    }

    #[test]
    fn a_whole_spare_goes_before_the_reserve() {
        let mut rig = Rig::open(&SimDisk::new()).unwrap();
        prepare(&mut rig);
        rig.disk.set_capacity(Some(0));
        for _ in 0..16 {
            rig.commit_one(b"x");
        }
        assert_eq!((rig.disk.segments().len(), has_reserve(&rig.disk)), (2, true));
    }

    #[test]
    fn a_restart_on_a_full_disk_uses_the_reserve_and_gives_it_back() {
        let mut rig = on_a_small_disk();
        rig.commit_one(b"kept");
        let disk = rig.close();
        let used = usize::try_from(bytes_of(&disk, &[""])).unwrap();
        let without = disk.killed();
        without.take("reserve-01.tmp");
        disk.set_capacity(Some(used));
        let rig = Rig::open(&disk).unwrap();
        assert_eq!((rig.payloads(), has_reserve(&disk)), (vec![b"kept".to_vec()], true));
        assert!(!disk.names().contains(&"recovery.tmp".to_owned()));
        without.set_capacity(Some(used - usize::try_from(SEGMENT).unwrap()));
        assert!(Rig::open(&without).is_err_and(|error| error.is_disk_full()));
    }

    #[test]
    fn a_crash_at_any_operation_of_a_restart_on_a_full_disk_leaves_one_that_can_be_restarted() {
        let mut rig = on_a_small_disk();
        rig.commit_one(b"kept");
        let full = rig.close();
        let used = usize::try_from(bytes_of(&full, &[""])).unwrap();
        for operation in 0.. {
            let disk = full.killed();
            disk.set_capacity(Some(used));
            disk.faults(|faults| faults.power_cut_in = Some(operation));
            let is_done = Rig::open(&disk).is_ok();
            for seed in 0..16 {
                let after = disk.crash(seed);
                after.set_capacity(Some(used));
                let opened = Rig::open(&after).map(|rig| rig.payloads());
                assert_eq!(opened.unwrap(), [b"kept"], "operation {operation}, seed {seed}: {:?}", after.names());
            }
            // Or the process alone was killed, and the power is cut during the next start.
            for second in 0..8 {
                let again = disk.killed();
                again.faults(|faults| faults.power_cut_in = Some(second));
                drop(Rig::open(&again));
                for seed in 0..12 {
                    let opened = Rig::open(&again.crash(seed)).map(|rig| rig.payloads());
                    assert_eq!(opened.unwrap(), [b"kept"], "operations {operation} and {second}, seed {seed}");
                }
            }
            if is_done {
                assert!(operation > 10);
                return;
            }
        }
    }

    #[test]
    fn a_reserve_file_is_kept_where_it_is_whole_and_else_made_anew() {
        let disk = Rig::open(&SimDisk::new()).unwrap().close();
        let length = usize::try_from(SEGMENT).unwrap();
        disk.put("reserve-01.tmp", vec![7; length]);
        disk.put("reserve-02.tmp", vec![7; length]);
        let disk = Rig::open(&disk).unwrap().close();
        assert_eq!((disk.bytes("reserve-01.tmp"), has_reserve(&disk)), (vec![7; length], true));
        assert!(!disk.names().contains(&"reserve-02.tmp".to_owned()), "one is enough");
        disk.put("reserve-01.tmp", vec![7; length - 1]);
        let disk = Rig::open(&disk).unwrap().close();
        assert_eq!(disk.bytes("reserve-01.tmp"), vec![0; length]);
    }

    #[test]
    fn a_crash_at_any_operation_around_the_taking_of_the_reserve_loses_nothing() {
        for operation in 0.. {
            let mut rig = on_a_small_disk();
            for number in 0..13_u8 {
                rig.commit_one(&[number]);
            }
            rig.disk.faults(|faults| faults.power_cut_in = Some(operation));
            for number in 13..20_u8 {
                rig.append(0, &[number]);
                if rig.committer.commit_ready().is_err() {
                    break;
                }
            }
            let acknowledged = usize::try_from(rig.lanes[0].durable().value()).unwrap() - 1;
            for seed in 0..8 {
                let mut after = Rig::open(&rig.disk.crash(seed)).unwrap();
                let numbers: Vec<_> = after.payloads().into_iter().map(|payload| payload[0]).collect();
                assert!(numbers.iter().copied().eq(0..u8::try_from(numbers.len()).unwrap()));
                assert!(numbers.len() >= acknowledged, "operation {operation}, seed {seed}");
                after.commit_one(b"goes on");
                assert_eq!(Rig::open(&after.close()).unwrap().payloads().len(), numbers.len() + 1);
            }
            if acknowledged == 20 {
                assert!(operation > 15 && !has_reserve(&rig.disk));
                return;
            }
        }
    }

    #[test]
    fn whatever_is_on_its_way_when_the_journal_is_full_fits() {
        for seed in 0..12 {
            let mut random = Random::new(seed);
            let options =
                Options { segment_bytes: 1 << 20, journal_bytes_max: 20 << 20, lane_capacity: 8192, ..options(3) };
            let mut rig = Rig::open_with(&SimDisk::new(), options).unwrap();
            rig.disk.set_capacity(Some(0));
            let longest = random.below(2) * 65_000 + 300;
            while level(&rig) < Pressure::Full {
                // Each time as much as the lanes take, and the commit thread falls behind.
                for _ in 0..1 + random.below(4000) {
                    let lane = usize::try_from(random.below(3)).unwrap();
                    let lane_has_room = rig.lanes[lane].has_room();
                    if lane_has_room && rig.lanes[lane].pressure() < Pressure::Full {
                        rig.append(lane, &vec![0; usize::try_from(random.below(longest)).unwrap()]);
                    }
                }
                rig.commit();
            }
            while matches!(rig.commit(), crate::journal::commit::CommitOutcome::Committed(_)) {}
            assert_eq!(rig.disk.segments().len(), 2);
        }
    }
}
