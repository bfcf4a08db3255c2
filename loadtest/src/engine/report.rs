//! What a run or a sweep has measured, for people and for programs.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::engine::load::Load;
use crate::engine::settings::Settings;
use crate::measured::{Interval, Limit, Objective, Step, Sweep};

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
        writeln!(formatter, "{}\n", steps(sweep).trim_fmt())?;
        let objective = format!("p99 at most {}", time(sweep.objective.p99_micros_max));
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
    let mut table = table();
    let latency = step.latency;
    let answered = format!("{:.0} a second of {:.0}", step.answered_per_second, step.offered_per_second);
    let batch = f64::from(step.tokens_per_request);
    let rows = [
        ("answered", Some(answered)),
        ("tokens", (batch > 1.0).then(|| format!("{:.0} a second", step.answered_per_second * batch))),
        ("errors", Some(step.errors.to_string())),
        ("p50", Some(time(latency.p50))),
        ("p90", Some(time(latency.p90))),
        ("p99", Some(time(latency.p99))),
        ("p99.9", Some(time(latency.p999))),
        ("max", Some(time(latency.max))),
        ("server CPU per request", Some(format!("{:.2} µs", step.cpu_micros_per_request))),
        ("server cores", Some(format!("{:.2}", step.server_cores))),
        ("Redis cores", (step.helper_cores > 0.0).then(|| format!("{:.2}", step.helper_cores))),
        ("server memory", Some(format!("{:.0} MiB", step.resident_bytes as f64 / f64::from(1 << 20)))),
        ("mean sync of the journal", step.sync_micros.map(|micros| format!("{:.2} ms", micros / 1000.0))),
        ("generator busy", Some(format!("{:.0} %", step.generator_busy * 100.0))),
        ("generator late, p99", Some(time(step.generator_late_micros))),
        ("took", Some(format!("{:.1} s", step.seconds))),
    ];
    for (name, figure) in rows {
        if let Some(figure) = figure {
            table.add_row([name.to_owned(), figure]);
        }
    }
    table
}

fn steps(sweep: &Sweep) -> Table {
    let mut table = table();
    table.set_header([
        "",
        "offered/s",
        "answered/s",
        "errors",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "CPU/request",
        "cores",
        "helper",
        "sync",
        "generator",
        "late p99",
    ]);
    for (number, step) in sweep.steps.iter().enumerate() {
        let mark = match sweep.knee {
            Some(knee) if knee == number => "knee",
            _ if sweep.objective.is_met_by(step) => "",
            _ => "broken",
        };
        let latency = step.latency;
        table.add_row([
            mark.to_owned(),
            format!("{:.0}", step.offered_per_second),
            format!("{:.0}", step.answered_per_second),
            step.errors.to_string(),
            time(latency.p50),
            time(latency.p90),
            time(latency.p99),
            time(latency.p999),
            time(latency.max),
            format!("{:.2} µs", step.cpu_micros_per_request),
            format!("{:.2}", step.server_cores),
            format!("{:.2}", step.helper_cores),
            step.sync_micros.map_or_else(|| "–".to_owned(), |micros| format!("{:.2} ms", micros / 1000.0)),
            format!("{:.0} %", step.generator_busy * 100.0),
            time(step.generator_late_micros),
        ]);
    }
    right_align(table)
}

fn series(intervals: &[Interval]) -> Table {
    let mut table = table();
    table.set_header(["at", "answered/s", "errors", "p50", "p99", "p99.9", "max", "cores", "memory"]);
    for interval in intervals {
        let latency = interval.latency;
        table.add_row([
            format!("{:.1} s", interval.at_seconds),
            format!("{:.0}", interval.answered_per_second),
            interval.errors.to_string(),
            time(latency.p50),
            time(latency.p99),
            time(latency.p999),
            time(latency.max),
            format!("{:.2}", interval.server_cores),
            format!("{:.0} MiB", interval.resident_bytes as f64 / f64::from(1 << 20)),
        ]);
    }
    right_align(table)
}

/// Microseconds in the unit that suits.
fn time(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

fn right_align(mut table: Table) -> Table {
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
