//! What a run has measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::abuse::attack::{Abuse, Deeds};
use crate::abuse::callers::Calls;

/// How many times the p99 of the baseline the callers' p99 may be.
pub(super) const RATIO_MAX: f64 = 2.0;
/// A p99 that is longer than the baseline's by no more than this is no failure, whatever the ratio.
pub(super) const FLOOR: Duration = Duration::from_millis(1);
/// What the server may hold for one connection, in bytes.
pub(super) const MEMORY_BYTES_PER_CONNECTION: u64 = 32 * 1024;
/// What the server may hold besides, in bytes.
pub(super) const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// What a run has measured.
#[derive(Serialize)]
pub(super) struct Report {
    rate: u32,
    baseline: Phase,
    pub(super) phases: Vec<Phase>,
}

/// What callers saw and the server held in one phase.
#[derive(Serialize)]
pub(super) struct Phase {
    /// None: the baseline.
    abuse: Option<Abuse>,
    answered: u64,
    errors: u64,
    p50: Duration,
    p99: Duration,
    p999: Duration,
    memory_bytes: u64,
    /// The most connections of a phase so far: what an allocator once had it keeps for a while.
    connections: usize,
    deeds: BTreeMap<String, u64>,
}

impl Phase {
    /// The callers alone.
    pub(super) fn baseline(calls: &Calls, memory_bytes: u64) -> Self {
        Self::of(None, calls, memory_bytes, 0, Deeds::default())
    }

    /// The callers beside those who behave badly.
    pub(super) fn under(abuse: Abuse, calls: &Calls, memory_bytes: u64, connections: usize, deeds: Deeds) -> Self {
        Self::of(Some(abuse), calls, memory_bytes, connections, deeds)
    }

    fn of(abuse: Option<Abuse>, calls: &Calls, memory_bytes: u64, connections: usize, deeds: Deeds) -> Self {
        Self {
            abuse,
            answered: calls.answered(),
            errors: calls.errors,
            p50: calls.percentile(50.0),
            p99: calls.percentile(99.0),
            p999: calls.percentile(99.9),
            memory_bytes,
            connections,
            deeds: deeds.into_counts(),
        }
    }

    fn ratio(&self, baseline: &Self) -> f64 {
        self.p99.as_secs_f64() / baseline.p99.as_secs_f64()
    }

    /// What did not hold, in words.
    fn failures(&self, baseline: &Self) -> Vec<String> {
        let is_slow = self.ratio(baseline) > RATIO_MAX && self.p99 > baseline.p99 + FLOOR;
        let memory_max =
            MEMORY_BYTES + MEMORY_BYTES_PER_CONNECTION * u64::try_from(self.connections).unwrap_or(u64::MAX);
        let memory = self.memory_bytes.saturating_sub(baseline.memory_bytes);
        let failures = [
            is_slow.then(|| format!("p99 is {:.1} times the baseline's, and may be {RATIO_MAX}", self.ratio(baseline))),
            (memory > memory_max).then(|| format!("{} more of memory, and it may be {}", mib(memory), mib(memory_max))),
            (self.errors > 0).then(|| format!("{} callers were not answered rightly", self.errors)),
        ];
        failures.into_iter().flatten().collect()
    }

    fn cells(&self, baseline: &Self) -> Vec<String> {
        let millis = |latency: Duration| format!("{:.2} ms", latency.as_secs_f64() * 1000.0);
        let grown = self.memory_bytes.saturating_sub(baseline.memory_bytes);
        vec![
            self.abuse.map_or_else(|| "nobody".to_owned(), |abuse| abuse.to_string()),
            millis(self.p50),
            millis(self.p99),
            millis(self.p999),
            format!("{:.2}", self.ratio(baseline)),
            self.answered.to_string(),
            self.errors.to_string(),
            mib(self.memory_bytes),
            format!("+{}", mib(grown)),
        ]
    }
}

impl Report {
    pub(super) const fn new(rate: u32, baseline: Phase) -> Self {
        Self { rate, baseline, phases: Vec::new() }
    }

    /// Whether everything held.
    pub(super) fn has_passed(&self) -> bool {
        self.phases.iter().all(|phase| phase.failures(&self.baseline).is_empty()) && self.baseline.errors == 0
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "abuse",
            "p50",
            "p99",
            "p99.9",
            "p99 ÷ nobody",
            "answered",
            "errors",
            "RSS",
            "grown",
        ]);
        for phase in std::iter::once(&self.baseline).chain(&self.phases) {
            table.add_row(phase.cells(&self.baseline));
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "callers: {} introspections a second\n\n{}\n", self.rate, self.table().trim_fmt())?;
        for phase in &self.phases {
            let deeds: Vec<_> = phase.deeds.iter().map(|(deed, count)| format!("{deed} {count}")).collect();
            let name = phase.abuse.map(|abuse| abuse.to_string()).unwrap_or_default();
            writeln!(formatter, "{name}: {}", deeds.join(", "))?;
        }
        for phase in &self.phases {
            for failure in phase.failures(&self.baseline) {
                let name = phase.abuse.map(|abuse| abuse.to_string()).unwrap_or_default();
                writeln!(formatter, "FAIL  {name}: {failure}")?;
            }
        }
        Ok(())
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
