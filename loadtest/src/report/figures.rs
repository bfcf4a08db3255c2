//! What follows from what was measured: knees, steps at a share of one, ratios to floor and rival.

use crate::measured::{Durability, Limit, Step, Subject, Sweep};
use crate::report::model::{Capacity, Population, Steady};

/// Names of scenarios, as `loadtest run` takes them, that the report knows how to compare.
pub(super) const INTROSPECT: &str = "introspect";
pub(super) const ISSUE: &str = "issue";
pub(super) const REVOKE: &str = "revoke";
pub(super) const BATCH: &str = "introspect-batch";

/// Percentiles are compared, and machines planned, at this share of the knee.
pub(super) const SHARE: f64 = 0.7;

/// The last step that met the sweep's objective.
pub(super) fn knee(sweep: &Sweep) -> Option<&Step> {
    sweep.steps.get(sweep.knee?)
}

/// The step that was nearest to a share of the knee; the longer one that was made for it if there is one.
pub(super) fn steady<'a>(capacity: &'a Capacity, sweep: &'a Sweep) -> Option<&'a Step> {
    let is_same = |steady: &&Steady| {
        (steady.subject, steady.durability) == (sweep.subject, sweep.durability) && steady.scenario == sweep.scenario
    };
    if let Some(steady) = capacity.steady.iter().find(is_same) {
        return Some(&steady.step);
    }
    let wanted = knee(sweep)?.offered_per_second * SHARE;
    let distance = |step: &&Step| (step.offered_per_second - wanted).abs();
    sweep.steps.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)))
}

/// The step in which most was answered. There CPU times are compared: a server that waits in between pays more for each
/// request.
pub(super) fn busiest(sweep: &Sweep) -> Option<&Step> {
    sweep.steps.iter().max_by(|one, other| one.answered_per_second.total_cmp(&other.answered_per_second))
}

/// The sweep of one scenario; of the floor and the rival there is one, whatever its durability is called.
pub(super) fn sweep<'a>(
    capacity: &'a Capacity,
    subject: Subject,
    scenario: &str,
    durability: Durability,
) -> Option<&'a Sweep> {
    let mut sweeps = capacity.sweeps.iter().filter(|sweep| sweep.subject == subject && sweep.scenario == scenario);
    match subject {
        Subject::Tessera => sweeps.find(|sweep| sweep.durability == durability),
        Subject::Floor | Subject::Rival => sweeps.next(),
    }
}

/// What floor and rival did in the same scenario.
pub(super) fn beside<'a>(capacity: &'a Capacity, ours: &Sweep) -> Vec<&'a Sweep> {
    let of = |subject| sweep(capacity, subject, &ours.scenario, ours.durability);
    [Subject::Floor, Subject::Rival].into_iter().filter_map(of).collect()
}

/// The sweeps of this server.
pub(super) fn ours(capacity: &Capacity) -> impl Iterator<Item = &Sweep> {
    capacity.sweeps.iter().filter(|sweep| sweep.subject == Subject::Tessera)
}

/// The figures of one sweep that a summary has, with ratios to those beside it.
pub(super) struct Row<'a> {
    pub(super) sweep: &'a Sweep,
    pub(super) knee: Option<&'a Step>,
    pub(super) steady: Option<&'a Step>,
    pub(super) busiest: Option<&'a Step>,
    /// CPU time a request where each is busiest, over the floor's.
    pub(super) cpu_ratio: Option<f64>,
    /// Answers a second at the knee over the floor's, and over the rival's.
    pub(super) rate_to_floor: Option<f64>,
    pub(super) rate_to_rival: Option<f64>,
}

impl<'a> Row<'a> {
    pub(super) fn of(capacity: &'a Capacity, ours: &'a Sweep) -> Self {
        let of = |subject| sweep(capacity, subject, &ours.scenario, ours.durability);
        let (floor, rival) = (of(Subject::Floor), of(Subject::Rival));
        let (knee_step, steady_step) = (knee(ours), steady(capacity, ours));
        let rate_to =
            |other: Option<&Sweep>| Some(knee_step?.answered_per_second / other.and_then(knee)?.answered_per_second);
        let busiest_step = busiest(ours);
        let floor_cpu = floor.and_then(busiest).map(|step| step.cpu_micros_per_request);
        let cpu_ratio = busiest_step.zip(floor_cpu).map(|(step, floor)| step.cpu_micros_per_request / floor);
        // To stand beside oneself says nothing.
        let is_ours = ours.subject == Subject::Tessera;
        Self {
            sweep: ours,
            knee: knee_step,
            steady: steady_step,
            busiest: busiest_step,
            cpu_ratio: cpu_ratio.filter(|_| ours.subject != Subject::Floor),
            rate_to_floor: rate_to(floor).filter(|_| ours.subject != Subject::Floor),
            rate_to_rival: rate_to(rival).filter(|_| is_ours),
        }
    }
}

/// All sweeps, each with its ratios; what is compared stands together.
pub(super) fn rows(capacity: &Capacity) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for ours in &capacity.sweeps {
        if seen.contains(&ours.scenario.as_str()) {
            continue;
        }
        seen.push(&ours.scenario);
        let same = capacity.sweeps.iter().filter(|sweep| sweep.scenario == ours.scenario);
        rows.extend(same.map(|sweep| Row::of(capacity, sweep)));
    }
    rows
}

/// How many cores the server had.
pub(super) fn server_cores(capacity: &Capacity) -> f64 {
    let cores = u32::try_from(capacity.settings.server_cores.len()).unwrap_or(u32::MAX);
    f64::from(cores.max(1))
}

/// CPU time a request with the most workers over that with one.
pub(super) fn worker_ratio(capacity: &Capacity) -> Option<f64> {
    let (one, most) = (capacity.workers.first()?, capacity.workers.last()?);
    (one.workers < most.workers).then(|| most.step.cpu_micros_per_request / one.step.cpu_micros_per_request)
}

/// The population with the most tokens.
pub(super) fn largest(capacity: &Capacity) -> Option<&Population> {
    capacity.populations.iter().max_by_key(|population| population.live_tokens)
}

#[expect(clippy::cast_precision_loss, reason = "a mean has no more digits than a float")]
pub(super) fn per_token(bytes: u64, population: &Population) -> f64 {
    bytes as f64 / (population.live_tokens.max(1)) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a mean has no more digits than a float")]
pub(super) fn restart_per_million(population: &Population) -> Option<f64> {
    Some(population.restart_seconds? * 1e6 / population.live_tokens.max(1) as f64)
}

/// What a reader calls a subject.
pub(super) const fn subject(subject: Subject) -> &'static str {
    match subject {
        Subject::Tessera => "tessera",
        Subject::Floor => "floor",
        Subject::Rival => "rival",
    }
}

pub(super) const fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Sync => "sync",
        Durability::Relaxed => "relaxed",
        Durability::Memory => "memory",
    }
}

/// A sweep by name: `issue, sync`, `floor of issue`.
pub(super) fn name(sweep: &Sweep) -> String {
    let Sweep { scenario, subject: whose, .. } = sweep;
    match whose {
        Subject::Tessera if changes(scenario) => format!("{scenario}, {}", durability(sweep.durability)),
        Subject::Tessera => scenario.clone(),
        Subject::Floor | Subject::Rival => format!("{} of {scenario}", subject(*whose)),
    }
}

/// Whether durability matters to a scenario.
fn changes(scenario: &str) -> bool {
    !matches!(scenario, INTROSPECT | BATCH)
}

/// Why a sweep ended, in words.
pub(super) const fn limit(limit: Limit) -> &'static str {
    match limit {
        Limit::Server => "the server: the objective broke while the generator had time to spare",
        Limit::Generator => "the load generator: the server may be able to do more",
        Limit::Rate => "nothing: the highest rate that was asked for was met",
    }
}

/// `≥` where the server may be able to do more.
pub(super) const fn bound(sweep: &Sweep) -> &'static str {
    match sweep.limit {
        Limit::Server => "",
        Limit::Generator | Limit::Rate => "≥ ",
    }
}

/// Sweeps in which the server was not what gave out, and those in which no rate met the objective, in words.
pub(super) fn limited(capacity: &Capacity) -> Vec<String> {
    let say = |sweep: &Sweep| match (sweep.limit, sweep.knee) {
        (_, None) => Some(format!("{}: no rate met the objective", name(sweep))),
        (Limit::Generator, _) => Some(format!("{}: limited by {}", name(sweep), limit(sweep.limit))),
        _ => None,
    };
    capacity.sweeps.iter().filter_map(say).collect()
}

/// The share of due requests that were not answered rightly.
#[expect(clippy::cast_precision_loss, reason = "a share has no more digits than a float")]
pub(super) fn error_share(step: &Step) -> f64 {
    step.errors as f64 / (step.offered_per_second * step.seconds).max(1.0)
}
