//! What a plan takes from the figures that were measured.

use serde::Serialize;

use crate::format;
use crate::measured::{Durability, Step, Subject, Sweep};
use crate::report::figures::{self, INTROSPECT, ISSUE, REVOKE};
use crate::report::model::{Capacity, Population, SeriesKind};
use crate::report::planner::expression::Values;

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Kind {
    Introspect,
    Issue,
    Revoke,
}

impl Kind {
    pub(in crate::report) const ALL: [Self; 3] = [Self::Introspect, Self::Issue, Self::Revoke];

    pub(in crate::report) const fn scenario(self) -> &'static str {
        match self {
            Self::Introspect => INTROSPECT,
            Self::Issue => ISSUE,
            Self::Revoke => REVOKE,
        }
    }

    /// The name in the formulas of what one core answers.
    pub(in crate::report) const fn rate_name(self) -> &'static str {
        match self {
            Self::Introspect => "r_introspect",
            Self::Issue => "r_issue",
            Self::Revoke => "r_revoke",
        }
    }

    /// The name in the formulas of what is wanted.
    pub(in crate::report) const fn demand_name(self) -> &'static str {
        match self {
            Self::Introspect => "R",
            Self::Issue => "I",
            Self::Revoke => "V",
        }
    }
}

/// A rate that was measured, and the p99 at it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Point {
    pub(in crate::report) p99_micros: u64,
    pub(in crate::report) rate_per_core: f64,
    /// Of all cores that the server had.
    pub(in crate::report) answered_per_second: f64,
    pub(in crate::report) cpu_micros: f64,
}

/// What was measured of one durability.
#[derive(Clone, Debug, Serialize)]
pub(in crate::report) struct Rates {
    pub(in crate::report) durability: Durability,
    pub(in crate::report) introspect: Vec<Point>,
    pub(in crate::report) issue: Vec<Point>,
    pub(in crate::report) revoke: Vec<Point>,
}

/// What one machine was measured to need.
#[derive(Clone, Debug)]
pub(in crate::report) struct Coefficients {
    /// `sync`, and `relaxed` if it was measured.
    pub(in crate::report) rates: Vec<Rates>,
    /// What the names in the formulas stand for on this machine.
    pub(in crate::report) values: Values,
    /// What a reader has to know of how they were got.
    pub(in crate::report) remarks: Vec<String>,
}

/// The growth of memory, and what is kept free of it, over what was measured.
const MEMORY_RESERVE: f64 = 1.3;

impl Coefficients {
    /// # Errors
    ///
    /// What the capacity lacks, in words.
    pub(in crate::report) fn of(capacity: &Capacity) -> Result<Self, Vec<String>> {
        let mut lacks = Vec::new();
        let rates: Vec<Rates> = [Durability::Sync, Durability::Relaxed]
            .into_iter()
            .filter_map(|durability| Rates::of(capacity, durability))
            .collect();
        if rates.is_empty() {
            lacks.push("sweeps of introspect and of issue".to_owned());
        }
        let population = figures::largest(capacity);
        if population.is_none() {
            lacks.push("memory with many live tokens".to_owned());
        }
        let snapshot = population.and_then(|population| population.snapshot_bytes);
        let restart = population.and_then(|population| population.restart_seconds);
        if snapshot.is_none() || restart.is_none() {
            lacks.push("a snapshot of them and a restart from it".to_owned());
        }
        if capacity.journal.is_none() {
            lacks.push("bytes of journal a change".to_owned());
        }
        let values = population.and_then(|population| values(capacity, population));
        let (Some(values), true) = (values, lacks.is_empty()) else { return Err(lacks) };
        Ok(Self { rates, values, remarks: remarks(capacity) })
    }

    pub(in crate::report) fn rates(&self, durability: Durability) -> Option<&Rates> {
        self.rates.iter().find(|rates| rates.durability == durability)
    }
}

impl Rates {
    fn of(capacity: &Capacity, durability: Durability) -> Option<Self> {
        let find = |kind: Kind, durability| figures::sweep(capacity, Subject::Tessera, kind.scenario(), durability);
        // Reading is the same in every class of durability, and a revocation always waits for its sync.
        let any = |kind: Kind| {
            let swept = [durability, Durability::Sync].into_iter().find_map(|durability| find(kind, durability));
            swept.or_else(|| figures::ours(capacity).find(|sweep| sweep.scenario == kind.scenario()))
        };
        let issue = find(Kind::Issue, durability)?;
        let revoke = find(Kind::Revoke, Durability::Sync).or_else(|| find(Kind::Issue, Durability::Sync));
        let points = |sweep: &Sweep| points(sweep, figures::server_cores(capacity));
        Some(Self {
            durability,
            introspect: points(any(Kind::Introspect)?),
            issue: points(issue),
            revoke: points(revoke.unwrap_or(issue)),
        })
    }

    pub(in crate::report) fn of_kind(&self, kind: Kind) -> &[Point] {
        match kind {
            Kind::Introspect => &self.introspect,
            Kind::Issue => &self.issue,
            Kind::Revoke => &self.revoke,
        }
    }
}

/// The steps that were answered: errors and lost requests rule a rate out whatever the objective.
fn points(sweep: &Sweep, cores: f64) -> Vec<Point> {
    let is_answered = |step: &&Step| {
        figures::error_share(step) <= sweep.objective.errors_max
            && step.answered_per_second >= step.offered_per_second * sweep.objective.answered_min
    };
    let point = |step: &Step| Point {
        p99_micros: step.latency.p99,
        rate_per_core: step.answered_per_second / cores,
        answered_per_second: step.answered_per_second,
        cpu_micros: step.cpu_micros_per_request,
    };
    sweep.steps.iter().filter(is_answered).map(point).collect()
}

/// What the names stand for, but those that the demand and the objective decide.
#[expect(clippy::cast_precision_loss, reason = "a plan has no more digits than a float")]
fn values(capacity: &Capacity, population: &Population) -> Option<Values> {
    let journal = capacity.journal?;
    let tokens = population.live_tokens.max(1) as f64;
    let read_seconds = journal.read_bytes_per_second.map_or(0.0, |rate| 1.0 / rate);
    let tail_seconds = population.journal_bytes.unwrap_or_default() as f64 * read_seconds;
    let empty_bytes = population.bytes_per_token.mul_add(-tokens, population.resident_bytes as f64);
    Some(Values::from([
        ("h", figures::SHARE),
        ("w", figures::worker_ratio(capacity).unwrap_or(1.0).max(1.0)),
        ("m", empty_bytes.max(0.0)),
        ("b", population.bytes_per_token),
        ("g", snapshot_growth(capacity)),
        ("reserve", MEMORY_RESERVE),
        ("s", population.snapshot_bytes? as f64 / tokens),
        ("j_issue", journal.bytes_per_issue),
        ("j_revoke", journal.bytes_per_revocation),
        ("t", (population.restart_seconds? - tail_seconds).max(0.0) / tokens),
        ("q", read_seconds),
    ]))
}

/// By how much more was resident while a snapshot was written.
#[expect(clippy::cast_precision_loss, reason = "a ratio has no more digits than a float")]
fn snapshot_growth(capacity: &Capacity) -> f64 {
    let series = capacity.series.iter().find(|series| series.kind == SeriesKind::Snapshot);
    let resident: Vec<u64> = series.iter().flat_map(|series| &series.intervals).map(|at| at.resident_bytes).collect();
    match (resident.first(), resident.iter().max()) {
        (Some(first), Some(most)) if *first > 0 => *most as f64 / *first as f64,
        _ => 1.0,
    }
}

fn remarks(capacity: &Capacity) -> Vec<String> {
    let mut remarks = vec![match figures::worker_ratio(capacity) {
        Some(ratio) => format!(
            "That twice the cores do twice the work is an assumption. Measured: with {} workers one introspection cost \
             {} the CPU time that it cost with one; w has it, if it is more than 1.",
            capacity.workers.last().map_or(0, |most| most.workers),
            format::ratio(ratio)
        ),
        None => {
            "That twice the cores do twice the work is an assumption: more than one worker was not measured.".into()
        }
    }];
    if figures::sweep(capacity, Subject::Tessera, REVOKE, Durability::Sync).is_none() {
        remarks.push("Revocation was not swept; it is taken to cost what issue with durability sync costs.".into());
    }
    if capacity.journal.is_some_and(|journal| journal.read_bytes_per_second.is_none()) {
        remarks
            .push("How fast a restart reads the journal was not measured: its time has the measured tail only.".into());
    }
    remarks.extend(larger_population(capacity));
    remarks.extend(figures::limited(capacity).into_iter().map(|limited| format!("{limited}.")));
    remarks
}

/// What many live tokens did to the CPU time of an introspection.
fn larger_population(capacity: &Capacity) -> Option<String> {
    let (first, last) = (capacity.populations.first()?, capacity.populations.last()?);
    let ratio = last.step.as_ref()?.cpu_micros_per_request / first.step.as_ref()?.cpu_micros_per_request;
    (first.live_tokens < last.live_tokens).then(|| {
        format!(
            "Rates were measured with the live tokens that the sweeps name. With {} an introspection cost {} the CPU \
             time that it cost with {}; the plan does not scale by it.",
            format::whole(last.live_tokens),
            format::ratio(ratio),
            format::whole(first.live_tokens)
        )
    })
}
