//! What a run has measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use crate::abuse::attack::{Abuse, Deeds, Target};
use crate::callers::{Calls, Latencies};
use crate::table::table;

/// What the server may hold besides connections, in bytes.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// What a run has measured.
#[derive(Serialize)]
pub(super) struct Report {
    rate: u32,
    load: f64,
    pub(super) phases: Vec<Phase>,
}

/// What callers saw and the server held beside one kind of abuse.
#[derive(Serialize)]
pub(super) struct Phase {
    abuse: Abuse,
    alone: Latencies,
    beside: Latencies,
    answered: u64,
    errors: u64,
    memory: Memory,
    deeds: BTreeMap<String, u64>,
}

/// The most that the server held in memory, and what it may.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Memory {
    pub(super) bytes: u64,
    pub(super) allowance: Allowance,
}

/// How much the server may hold.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Allowance {
    /// What it held before all abuse.
    before_bytes: u64,
    /// For the connections of the dearest kind so far: what an allocator once had it keeps for a while.
    connections_bytes: u64,
}

impl Allowance {
    pub(super) const fn above(before_bytes: u64) -> Self {
        Self { before_bytes, connections_bytes: 0 }
    }

    /// With the connections of that kind.
    pub(super) fn with(self, abuse: Abuse, target: &Target) -> Self {
        let connections = u64::try_from(abuse.connections(target)).unwrap_or(u64::MAX);
        let bytes = connections.saturating_mul(abuse.connection_bytes());
        Self { connections_bytes: self.connections_bytes.max(bytes), ..self }
    }

    const fn bytes(self) -> u64 {
        self.before_bytes + MEMORY_BYTES + self.connections_bytes
    }
}

impl Phase {
    pub(super) fn new(abuse: Abuse, alone: &Calls, beside: &Calls, memory: Memory, deeds: Deeds) -> Self {
        Self {
            abuse,
            alone: Latencies::of(alone),
            beside: Latencies::of(beside),
            answered: beside.answered(),
            errors: alone.errors + beside.errors,
            memory,
            deeds: deeds.into_counts(),
        }
    }

    /// Whether everything held.
    pub(super) fn has_passed(&self) -> bool {
        self.failures().is_empty()
    }

    /// What did not hold, in words.
    fn failures(&self) -> Vec<String> {
        let Memory { bytes, allowance } = self.memory;
        let own = [
            (bytes > allowance.bytes())
                .then(|| format!("RSS is {}, and may be {}", mib(bytes), mib(allowance.bytes()))),
            (self.errors > 0).then(|| format!("{} calls were not answered rightly", self.errors)),
        ];
        [self.beside.failures(self.alone), own.into_iter().flatten().collect()].concat()
    }

    fn cells(&self) -> Vec<String> {
        let millis = |latency: Duration| format!("{:.2} ms", latency.as_secs_f64() * 1000.0);
        let Latencies { p50, p99, p999 } = self.beside;
        let grown = self.memory.bytes.saturating_sub(self.memory.allowance.before_bytes);
        let latencies = [self.alone.p50, self.alone.p99, p50, p99, p999].map(millis);
        let rest = [
            format!("{:.2}", self.beside.ratio(self.alone)),
            self.answered.to_string(),
            self.errors.to_string(),
            mib(self.memory.bytes),
            format!("+{}", mib(grown)),
        ];
        [&[self.abuse.to_string()], &latencies[..], &rest[..]].concat()
    }
}

const HEADER: [&str; 11] =
    ["beside", "p50 alone", "p99 alone", "p50", "p99", "p99.9", "p99 ÷ alone", "answered", "errors", "RSS", "grown"];

impl Report {
    pub(super) const fn new(rate: u32, load: f64) -> Self {
        Self { rate, load, phases: Vec::new() }
    }

    /// Whether everything held in every phase.
    pub(super) fn has_passed(&self) -> bool {
        self.phases.iter().all(Phase::has_passed)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn table(&self) -> Table {
        table(&HEADER, self.phases.iter().map(Phase::cells))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, load, .. } = self;
        writeln!(formatter, "callers: {rate} introspections a second; load of the machine before: {load}\n")?;
        writeln!(formatter, "{}\n", self.table().trim_fmt())?;
        for Phase { abuse, deeds, .. } in &self.phases {
            let deeds: Vec<_> = deeds.iter().map(|(deed, count)| format!("{deed} {count}")).collect();
            writeln!(formatter, "{abuse}: {}", deeds.join(", "))?;
        }
        for phase in &self.phases {
            for failure in phase.failures() {
                writeln!(formatter, "FAIL  {}: {failure}", phase.abuse)?;
            }
        }
        Ok(())
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A phase of idle connections, which may hold 100 MiB.
    fn phase(alone_micros: u64, beside_micros: u64) -> Phase {
        let latencies = |micros| {
            let p99 = Duration::from_micros(micros);
            Latencies { p50: p99, p99, p999: p99 }
        };
        let allowance = Allowance { before_bytes: 30 * MIB, connections_bytes: 6 * MIB };
        Phase {
            abuse: Abuse::Idle,
            alone: latencies(alone_micros),
            beside: latencies(beside_micros),
            answered: 1000,
            errors: 0,
            memory: Memory { bytes: 100 * MIB, allowance },
            deeds: BTreeMap::new(),
        }
    }

    #[test]
    fn a_phase_that_callers_notice_fails() {
        assert!(phase(3000, 6000).has_passed());
        assert!(!phase(3000, 6001).has_passed());
    }

    #[test]
    fn a_wrong_answer_and_memory_beyond_the_allowance_fail() {
        assert!(!Phase { errors: 1, ..phase(200, 200) }.has_passed());
        let Memory { bytes, allowance } = phase(200, 200).memory;
        let memory = Memory { bytes: bytes + 1, allowance };
        assert!(!Phase { memory, ..phase(200, 200) }.has_passed());
    }
}
