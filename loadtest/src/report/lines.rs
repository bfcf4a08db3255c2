//! The figures in words and cells, for the page, the terminal and the README alike.

use crate::cells;
use crate::check::budget::{Bound, Verdict};
use crate::format;
use crate::measured::{Durability, Latency, Limit, Step, Subject, Sweep};
use crate::report::figures::{self, INTROSPECT, ISSUE, Row};
use crate::report::model::{Capacity, Commit, Population};

pub(super) const SUMMARY_HEADER: [&str; 11] = [
    "scenario",
    "a second at the knee",
    "÷ floor",
    "÷ rival",
    "CPU a request",
    "÷ floor",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
];

pub(super) const BUDGET_HEADER: [&str; 4] = ["budget", "bound", "measured", "holds"];

pub(super) const POPULATION_HEADER: [&str; 10] = [
    "live tokens",
    "resident",
    "bytes a token",
    "CPU a request",
    "p50",
    "p99",
    "p99.9",
    "snapshot",
    "restart",
    "restart a million",
];

/// Version, commit, machine and time in a sentence.
pub(super) fn one_line(capacity: &Capacity) -> String {
    let Capacity { version, commit, started, seconds, machine, .. } = capacity;
    format!(
        "Version {version}, commit {}, measured on {} with {} cores, {started}, in {}.",
        self::commit(commit),
        machine.cpu,
        machine.cores,
        format::seconds(*seconds)
    )
}

fn commit(commit: &Commit) -> String {
    let short: String = commit.id.chars().take(12).collect();
    match (short.is_empty(), commit.is_dirty) {
        (true, _) => "unknown".into(),
        (false, true) => format!("{short} with changes that are not committed"),
        (false, false) => short,
    }
}

/// The summary's rows, floor and rival below what they stand beside.
pub(super) fn summary(capacity: &Capacity) -> Vec<Vec<String>> {
    figures::rows(capacity).iter().map(summary_row).collect()
}

fn summary_row(row: &Row<'_>) -> Vec<String> {
    let ratio = |value: Option<f64>| value.map_or_else(String::new, format::ratio);
    let rate = row.knee.map_or_else(|| "none".to_owned(), |step| rate(row.sweep, step));
    let cpu = row.busiest.map_or_else(String::new, |step| format::micros(step.cpu_micros_per_request));
    let latency = row.steady.map_or_else(|| vec![String::new(); 5], |step| cells::latency(&step.latency).into());
    let first = vec![
        figures::name(row.sweep),
        rate,
        ratio(row.rate_to_floor),
        ratio(row.rate_to_rival),
        cpu,
        ratio(row.cpu_ratio),
    ];
    [first, latency].concat()
}

/// Answers a second, or tokens where one request has many.
fn rate(sweep: &Sweep, step: &Step) -> String {
    let (bound, answered) = (figures::bound(sweep), step.answered_per_second);
    match step.tokens_per_request {
        0 | 1 => format!("{bound}{}", format::count(answered)),
        tokens => format!("{bound}{} tokens", format::count(answered * f64::from(tokens))),
    }
}

/// The few figures that matter: a figure, and what it says.
pub(super) fn headlines(capacity: &Capacity) -> Vec<(String, String)> {
    let mut headlines = Vec::new();
    let cores = figures::server_cores(capacity);
    for (scenario, says) in [(INTROSPECT, "introspections"), (ISSUE, "tokens issued, each answered after its fsync,")] {
        let Some(sweep) = figures::sweep(capacity, Subject::Tessera, scenario, Durability::Sync) else { continue };
        let row = Row::of(capacity, sweep);
        let Some(step) = row.knee else { continue };
        let rate = format::count(step.answered_per_second / cores);
        let p99 = format::whole_micros(sweep.objective.p99_micros_max);
        let beside = ratios(&row);
        headlines.push((
            format!("{}{rate}", figures::bound(sweep)),
            format!("{says} a second on a core with p99 ≤ {p99}{beside}"),
        ));
    }
    if let Some(population) = figures::largest(capacity) {
        let tokens = format::whole(population.live_tokens);
        let bytes = format::bytes(population.bytes_per_token);
        headlines.push((bytes, format!("of memory for each of {tokens} live tokens")));
        if let Some(restart) = population.restart_seconds {
            headlines.push((
                format::seconds(restart),
                format!("from kill -9 to the first answer with {tokens} live tokens"),
            ));
        }
    }
    if let Some(revocation) = &capacity.revocation {
        let p99 = format::whole_micros(revocation.latency.p99);
        headlines.push((p99, "from sending a revocation to its effect everywhere, p99".to_owned()));
    }
    headlines
}

fn ratios(row: &Row<'_>) -> String {
    let floor = row.rate_to_floor.map(|ratio| format!("{} the floor", format::ratio(ratio)));
    let rival = row.rate_to_rival.map(|ratio| format!("{} the rival", format::ratio(ratio)));
    let both: Vec<String> = floor.into_iter().chain(rival).collect();
    if both.is_empty() { String::new() } else { format!(": {}", both.join(", ")) }
}

/// One budget that does not hold, as a sentence.
pub(super) fn budget(Verdict { name, value, bound }: &Verdict) -> String {
    let measured = value.map_or_else(|| "not measured".to_owned(), format::count);
    match bound {
        Some(bound) => format!("{name} is {measured}, and must be {}", at(*bound)),
        None => format!("{name} is {measured}, and has no budget"),
    }
}

/// What a report does not measure as `loadtest check` does is named, too.
pub(super) fn budgets(capacity: &Capacity) -> Vec<Vec<String>> {
    let row = |verdict: &Verdict| {
        let holds = match (verdict.value, verdict.holds()) {
            (None, _) => "not measured here: loadtest check",
            (Some(_), true) => "yes",
            (Some(_), false) => "NO",
        };
        let measured = verdict.value.map_or_else(String::new, format::count);
        let bound = verdict.bound.map_or_else(String::new, at);
        vec![verdict.name.clone(), bound, measured, holds.to_owned()]
    };
    capacity.budgets.iter().map(row).collect()
}

fn at(bound: Bound) -> String {
    match bound {
        Bound::AtMost(most) => format!("at most {}", format::count(most)),
        Bound::AtLeast(least) => format!("at least {}", format::count(least)),
    }
}

/// What went wrong first at each rate, in words.
pub(super) fn step_failures(sweep: &Sweep) -> Vec<String> {
    let say = |step: &Step| {
        let failure = step.first_failure.as_ref()?;
        Some(format!("at {} a second: {failure}", format::count(step.offered_per_second)))
    };
    sweep.steps.iter().filter_map(say).collect()
}

/// Live tokens, memory, restart.
pub(super) fn populations(capacity: &Capacity) -> Vec<Vec<String>> {
    capacity.populations.iter().map(population_row).collect()
}

fn population_row(population: &Population) -> Vec<String> {
    let step = population.step.as_ref();
    let of =
        |read: fn(&Latency) -> u64| step.map_or_else(String::new, |step| format::whole_micros(read(&step.latency)));
    let optional = |value: Option<f64>| value.map_or_else(|| "not measured".to_owned(), format::seconds);
    vec![
        format::whole(population.live_tokens),
        format::whole_bytes(population.resident_bytes),
        format::bytes(population.bytes_per_token),
        step.map_or_else(String::new, |step| format::micros(step.cpu_micros_per_request)),
        of(|latency| latency.p50),
        of(|latency| latency.p99),
        of(|latency| latency.p999),
        population.snapshot_bytes.map_or_else(|| "not measured".to_owned(), format::whole_bytes),
        optional(population.restart_seconds),
        optional(figures::restart_per_million(population)),
    ]
}

/// How a sweep was made and why it ended.
pub(super) fn conditions(sweep: &Sweep) -> String {
    let Sweep { connections, live_tokens, objective, .. } = sweep;
    let unmet = if sweep.knee.is_none() { " No rate met the objective." } else { "" };
    let ended = match sweep.limit {
        Limit::Server | Limit::Generator => "Limited by",
        Limit::Rate => "Stopped by",
    };
    format!(
        "{connections} connections, {} live tokens. Objective: p99 ≤ {}, errors ≤ {}, answered ≥ {} of what was asked. \
         {ended} {}.{unmet}",
        format::whole(*live_tokens),
        format::whole_micros(objective.p99_micros_max),
        format::percent(objective.errors_max),
        format::percent(objective.answered_min),
        figures::limit(sweep.limit)
    )
}
