//! What steps and sweeps have measured, as cells of tables: for terminals, pages and READMEs alike.

use crate::format;
use crate::measured::{Latency, Step, Sweep};

/// What [`steps`] has in its columns.
pub(crate) const STEP_HEADER: [&str; 14] = [
    "asked a second",
    "answered",
    "errors",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "CPU a request",
    "server cores",
    "helper cores",
    "generator busy",
    "sent late, p99",
    "one sync",
];

/// All steps of a sweep; the knee is named, and what broke the objective.
pub(crate) fn steps(sweep: &Sweep) -> Vec<Vec<String>> {
    let row = |(place, step): (usize, &Step)| {
        let mark = match (sweep.knee == Some(place), step.is_cut_short) {
            (true, _) => " ◀ knee",
            (false, true) => ", cut short",
            (false, false) if !sweep.objective.is_met_by(step) => ", broken",
            (false, false) => "",
        };
        let mut cells = step_cells(step);
        if let Some(first) = cells.first_mut() {
            first.push_str(mark);
        }
        cells
    };
    sweep.steps.iter().enumerate().map(row).collect()
}

/// p50, p90, p99, p99.9 and the maximum.
pub(crate) fn latency(latency: &Latency) -> [String; 5] {
    let Latency { p50, p90, p99, p999, max } = *latency;
    [p50, p90, p99, p999, max].map(format::whole_micros)
}

/// One step, as [`STEP_HEADER`] names its columns.
pub(crate) fn step_cells(step: &Step) -> Vec<String> {
    let first = vec![
        format::count(step.offered_per_second),
        format::count(step.answered_per_second),
        format::whole(step.errors),
    ];
    let last = vec![
        format::micros(step.cpu_micros_per_request),
        format::three(step.server_cores),
        format::three(step.helper_cores),
        format::percent(step.generator_busy),
        format::whole_micros(step.generator_late_micros),
        step.sync_micros.map_or_else(String::new, format::micros),
    ];
    [first, latency(&step.latency).into(), last].concat()
}
