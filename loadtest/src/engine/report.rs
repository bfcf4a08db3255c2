//! What a run or a sweep has measured, for people and for programs.

use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use crate::cells;
use crate::engine::load::Load;
use crate::engine::settings::Settings;
use crate::format;
use crate::measured::{Interval, Limit, Objective, Step, Sweep};
use crate::table::{list, table};

/// What was measured at one rate.
#[derive(Serialize)]
pub(super) struct StepReport {
    pub(super) machine_load: f64,
    pub(super) settings: Settings,
    pub(super) load: Load,
    pub(super) objective: Objective,
    pub(super) step: Step,
    pub(super) intervals: Vec<Interval>,
}

/// What was measured at rising rates.
#[derive(Serialize)]
pub(super) struct SweepReport {
    pub(super) machine_load: f64,
    pub(super) settings: Settings,
    pub(super) load: Load,
    pub(super) sweep: Sweep,
}

impl StepReport {
    pub(super) fn has_passed(&self) -> bool {
        self.objective.is_met_by(&self.step)
    }
}

impl fmt::Display for StepReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n", heading(&self.settings, &self.load, self.machine_load))?;
        writeln!(formatter, "{}", figures(&self.step).trim_fmt())?;
        if !self.intervals.is_empty() {
            writeln!(formatter, "\n{}", series(&self.intervals).trim_fmt())?;
        }
        writeln!(formatter)?;
        if self.step.is_limited_by_generator(self.settings.server_cores.as_ref().map_or(1, |cores| cores.count())) {
            writeln!(formatter, "the generator had no time left: this says nothing of the server's limit")?;
        }
        if self.step.is_cut_short {
            writeln!(formatter, "cut short: too many requests waited, or there were no more to send")?;
        }
        if let Some(failure) = &self.step.first_failure {
            writeln!(formatter, "the first failure: {failure}")?;
        }
        writeln!(formatter, "{}", if self.has_passed() { "the objective held" } else { "the objective did not hold" })
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine_load, settings, load, sweep } = self;
        writeln!(formatter, "{}\n", heading(settings, load, *machine_load))?;
        writeln!(formatter, "{}\n", table(&cells::STEP_HEADER, cells::steps(sweep)).trim_fmt())?;
        let objective = format!("p99 at most {}", format::whole_micros(sweep.objective.p99_micros_max));
        let knee = sweep.knee.and_then(|knee| sweep.steps.get(knee));
        match knee {
            Some(knee) => writeln!(formatter, "the knee: {:.0} a second, {objective}", knee.offered_per_second)?,
            None => writeln!(formatter, "no rate met the objective: {objective}")?,
        }
        let limit = match sweep.limit {
            Limit::Server => "beyond it the server does not keep the objective",
            Limit::Generator => "beyond it the generator has no time left: the server may be able to do more",
            Limit::Rate => "the highest rate that was asked for was met: raise --to",
        };
        writeln!(formatter, "{limit}")?;
        match sweep.steps.iter().find_map(|step| step.first_failure.as_ref()) {
            Some(failure) => writeln!(formatter, "the first failure: {failure}"),
            None => Ok(()),
        }
    }
}

fn heading(settings: &Settings, load: &Load, machine_load: f64) -> String {
    let cores = |cores: &Option<crate::machine::Cores>| cores.clone().unwrap_or_default();
    format!(
        "{} on {}, durability {}, {} live tokens, {} connections; server on core {}, load on core {}; load of the \
         machine before: {machine_load:.1}",
        load.scenario.name(),
        settings.subject.name(),
        settings.durability.name(),
        settings.tokens,
        load.connections,
        cores(&settings.server_cores),
        cores(&settings.load_cores),
    )
}

fn figures(step: &Step) -> Table {
    let latency = step.latency;
    let answered = format!("{:.0} a second of {:.0}", step.answered_per_second, step.offered_per_second);
    let batch = f64::from(step.tokens_per_request);
    let rows = [
        ("answered", Some(answered)),
        ("tokens", (batch > 1.0).then(|| format!("{:.0} a second", step.answered_per_second * batch))),
        ("errors", Some(step.errors.to_string())),
        ("p50", Some(format::whole_micros(latency.p50))),
        ("p90", Some(format::whole_micros(latency.p90))),
        ("p99", Some(format::whole_micros(latency.p99))),
        ("p99.9", Some(format::whole_micros(latency.p999))),
        ("max", Some(format::whole_micros(latency.max))),
        ("server CPU per request", Some(format::micros(step.cpu_micros_per_request))),
        ("server cores", Some(format!("{:.2}", step.server_cores))),
        ("Redis cores", (step.helper_cores > 0.0).then(|| format!("{:.2}", step.helper_cores))),
        ("server memory", Some(format::whole_bytes(step.resident_bytes))),
        ("mean sync of the journal", step.sync_micros.map(format::micros)),
        ("generator busy", Some(format::percent(step.generator_busy))),
        ("generator late, p99", Some(format::whole_micros(step.generator_late_micros))),
        ("took", Some(format::seconds(step.seconds))),
    ];
    list(rows.into_iter().filter_map(|(name, figure)| Some((name, figure?))))
}

fn series(intervals: &[Interval]) -> Table {
    let row = |interval: &Interval| {
        let first = vec![
            format::seconds(interval.at_seconds),
            format::count(interval.answered_per_second),
            format::whole(interval.errors),
        ];
        let last = vec![format::three(interval.server_cores), format::whole_bytes(interval.resident_bytes)];
        [first, cells::latency(&interval.latency).into(), last].concat()
    };
    table(&SERIES_HEADER, intervals.iter().map(row))
}

const SERIES_HEADER: [&str; 10] =
    ["at", "answered", "errors", "p50", "p90", "p99", "p99.9", "max", "server cores", "resident"];
