//! From what was measured to what to buy: cores, memory, disk and restart time for a demand.
//!
//! The formulas stand once, in [`formulas`]. They are evaluated here, shown with names and with numbers, and written as
//! the script of the report's form.

mod coefficients;
mod expression;

use std::fmt;

use crate::format;
use crate::measured::Durability;
use crate::report::figures;

pub(super) use coefficients::{Coefficients, Kind, Point};
pub(super) use expression::{Expression, Notation};

use expression::{Values, ceiling, largest, name, number};

/// What is wanted of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Demand {
    pub(super) introspections_per_second: f64,
    pub(super) issues_per_second: f64,
    pub(super) revocations_per_second: f64,
    /// At the same time; what is issued in a lifetime if that is more.
    pub(super) live_tokens: f64,
    /// How long a token lives on average.
    pub(super) lifetime_seconds: f64,
    pub(super) p99_micros_max: u64,
    /// How long the database may be away while all changes are kept for it.
    pub(super) outage_seconds: f64,
    pub(super) durability: Durability,
}

/// Something that a plan computes.
pub(super) struct Formula {
    /// Its name in formulas that follow.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) expression: Expression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Count,
    Bytes,
    BytesPerSecond,
    Seconds,
}

/// What a demand needs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) lines: Vec<Line>,
    /// The measured rate that the plan rests on, for each kind that is wanted.
    pub(super) rests_on: Vec<(Kind, Point)>,
    pub(super) warnings: Vec<String>,
}

/// One figure of a plan, and how it comes about.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) value: f64,
    pub(super) with_names: String,
    pub(super) with_numbers: String,
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    #[error("the report has no {}: a plan cannot be made of it", .lacks.join(", no "))]
    NotMeasured { lacks: Vec<String> },
    #[error("the report has no sweep of issue with durability {durability}")]
    NoDurability { durability: &'static str },
    #[error(
        "a p99 of {wanted} was met at no measured rate of {scenario}: the lowest was {lowest}. Allow more, or measure \
         lower rates"
    )]
    Unreachable { scenario: &'static str, wanted: String, lowest: String },
}

/// What was assumed, and what a plan does not cover.
pub(super) const NOT_COVERED: [&str; 7] = [
    "The machine is like the one that was measured: processor, disk, kernel, network on loopback. TLS ends elsewhere.",
    "Cores are the server's own. Leave some to the kernel's network work, to PostgreSQL, and to what else runs there.",
    "Kinds of requests share cores in proportion to their rates; that they disturb each other no more than this is \
     an assumption.",
    "All changes go through one journal: more cores do not make its disk faster.",
    "Bytes of journal a change were measured at one rate. Blocks are padded to 4 KiB: at lower rates fewer changes share \
     one, and each takes more.",
    "Peaks: the rates asked for must be those of the busiest minute, not of the day.",
    "The history in PostgreSQL is not planned here, nor is a second machine to fail over to.",
];

/// The least bytes of journal after which a snapshot is due.
const SNAPSHOT_DUE_BYTES_MIN: f64 = 256.0 * 1024.0 * 1024.0;

/// All that a plan computes; each may use the names before it. [`MEANINGS`] says what the names stand for.
pub(super) fn formulas() -> Vec<Formula> {
    let cores = name("w")
        * (name("R") / name("r_introspect") + name("I") / name("r_issue") + name("V") / name("r_revoke"))
        / name("h");
    let outage = name("O") * name("changes") / name("h");
    let formula = |name, title, unit, expression| Formula { name, title, unit, expression };
    vec![
        formula("live", "live tokens", Unit::Count, largest([name("T"), name("I") * name("L")])),
        formula("cores", "cores", Unit::Count, largest([number(1.0), ceiling(cores)])),
        formula("memory", "memory", Unit::Bytes, (name("m") + name("live") * name("b")) * name("g") * name("reserve")),
        formula(
            "due",
            "journal between snapshots",
            Unit::Bytes,
            largest([number(SNAPSHOT_DUE_BYTES_MIN), name("live") * name("s") / number(2.0)]),
        ),
        formula(
            "changes",
            "journal written",
            Unit::BytesPerSecond,
            name("I") * name("j_issue") + name("V") * name("j_revoke"),
        ),
        formula("between", "time between snapshots", Unit::Seconds, name("due") / name("changes")),
        formula("journal", "journal budget", Unit::Bytes, number(5.0) * name("due") + outage),
        formula("snapshots", "snapshots", Unit::Bytes, number(3.0) * name("live") * name("s")),
        formula("disk", "disk", Unit::Bytes, name("journal") + name("snapshots")),
        formula("restart", "restart", Unit::Seconds, name("live") * name("t") + number(2.0) * name("due") * name("q")),
    ]
}

/// What the names mean, and where each comes from.
pub(super) const MEANINGS: [(&str, &str); 16] = [
    ("R, I, V", "introspections, issues and revocations a second that are wanted"),
    ("T, L", "live tokens at the same time; the mean lifetime of a token, in seconds"),
    ("O", "the longest time that PostgreSQL may be away, in seconds"),
    ("r_introspect", "introspections a second on one core, at the highest measured rate whose p99 met the objective"),
    ("r_issue", "the same of issue"),
    ("r_revoke", "the same of revocation"),
    ("h", "headroom: the share of those rates to plan for"),
    ("w", "CPU time a request with more workers over that with one; 1 if it was less or not measured"),
    ("m, b", "bytes resident in a server without tokens; bytes more for each live token"),
    ("g", "most bytes resident while a snapshot was written, over those before"),
    ("reserve", "memory kept free besides: an assumption"),
    ("due", "bytes of journal after which a snapshot is written: at least 256 MiB, or half of the last snapshot"),
    ("journal", "a snapshot is due after a fifth of the budget at the latest, and two of them keep their journal"),
    ("s", "bytes of snapshot for each live token: two are kept while a third is written"),
    ("j_issue, j_revoke", "bytes of journal for each, padding of blocks included"),
    ("t, q", "seconds of restart for each live token, and for each byte of journal behind the snapshot"),
];

/// What the demand needs, by the figures of one machine.
pub(super) fn plan(coefficients: &Coefficients, demand: &Demand) -> Result<Plan, PlanError> {
    let durability = figures::durability(demand.durability);
    let rates = coefficients.rates(demand.durability).ok_or(PlanError::NoDurability { durability })?;
    let mut values = coefficients.values.clone();
    values.extend(demand.values());
    let mut rests_on = Vec::new();
    for kind in Kind::ALL {
        let point = if demand.rate(kind) > 0.0 { Some(best(rates.of_kind(kind), kind, demand)?) } else { None };
        values.insert(kind.rate_name(), point.map_or(f64::INFINITY, |point| point.rate_per_core));
        rests_on.extend(point.map(|point| (kind, point)));
    }
    let lines = formulas().into_iter().map(|formula| formula.line(&mut values)).collect();
    let warnings = warnings(demand, &rests_on);
    Ok(Plan { lines, rests_on, warnings })
}

/// The highest measured rate that met the objective.
fn best(points: &[Point], kind: Kind, demand: &Demand) -> Result<Point, PlanError> {
    let is_met = |point: &&Point| point.p99_micros <= demand.p99_micros_max;
    let met = points.iter().filter(is_met).max_by(|one, other| one.rate_per_core.total_cmp(&other.rate_per_core));
    met.copied().ok_or_else(|| {
        let lowest = points.iter().min_by_key(|point| point.p99_micros);
        let say = |point: &Point| {
            let (p99, rate) = (format::whole_micros(point.p99_micros), format::count(point.answered_per_second));
            format!("{p99}, at {rate} a second")
        };
        PlanError::Unreachable {
            scenario: kind.scenario(),
            wanted: format::whole_micros(demand.p99_micros_max),
            lowest: lowest.map_or_else(|| "none, for no step was answered".to_owned(), say),
        }
    })
}

/// What a reader must not overlook in this plan.
fn warnings(demand: &Demand, rests_on: &[(Kind, Point)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let changes = demand.issues_per_second + demand.revocations_per_second;
    let shown = rests_on.iter().filter(|(kind, _)| *kind != Kind::Introspect);
    let most = shown.map(|(_, point)| point.answered_per_second).fold(0.0, f64::max);
    if changes > most {
        warnings.push(format!(
            "{} changes a second go through one journal, and no more than {} a second were measured within the \
             objective: whether the disk can do that is not shown.",
            format::count(changes),
            format::count(most)
        ));
    }
    let issued = demand.issues_per_second * demand.lifetime_seconds;
    if issued > demand.live_tokens * 1.05 && demand.live_tokens > 0.0 {
        warnings.push(format!(
            "{} tokens a second that live {} are {} live tokens, more than the {} asked for: planned for the former.",
            format::count(demand.issues_per_second),
            format::seconds(demand.lifetime_seconds),
            format::count(issued),
            format::count(demand.live_tokens)
        ));
    }
    warnings
}

impl Demand {
    pub(super) const fn rate(&self, kind: Kind) -> f64 {
        match kind {
            Kind::Introspect => self.introspections_per_second,
            Kind::Issue => self.issues_per_second,
            Kind::Revoke => self.revocations_per_second,
        }
    }

    /// What is wanted, by the names in the formulas.
    pub(super) fn values(&self) -> [(&'static str, f64); 6] {
        [
            ("R", self.introspections_per_second),
            ("I", self.issues_per_second),
            ("V", self.revocations_per_second),
            ("T", self.live_tokens),
            ("L", self.lifetime_seconds),
            ("O", self.outage_seconds),
        ]
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} introspections, {} issues ({}) and {} revocations a second, p99 ≤ {}; {} live tokens that live {}; \
             PostgreSQL away for {}",
            format::count(self.introspections_per_second),
            format::count(self.issues_per_second),
            figures::durability(self.durability),
            format::count(self.revocations_per_second),
            format::whole_micros(self.p99_micros_max),
            format::count(self.live_tokens),
            format::seconds(self.lifetime_seconds),
            format::seconds(self.outage_seconds),
        )
    }
}

impl Formula {
    /// Its value, which those after it may use.
    fn line(self, values: &mut Values) -> Line {
        let Self { name, title, unit, expression } = self;
        let value = expression.value(values);
        let (with_names, with_numbers) =
            (expression.write(Notation::Names), expression.write(Notation::Numbers(values)));
        values.insert(name, value);
        Line { name, title, unit, value, with_names, with_numbers }
    }
}

impl Unit {
    pub(super) fn write(self, value: f64) -> String {
        match self {
            Self::Count => format::count(value),
            Self::Bytes => format::bytes(value),
            Self::BytesPerSecond => format!("{}/s", format::bytes(value)),
            Self::Seconds => format::seconds(value),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Seconds => "seconds",
        }
    }
}

impl Plan {
    /// One figure by its name, as it is shown.
    pub(super) fn written(&self, name: &str) -> String {
        self.line(name).map_or_else(String::new, Line::written)
    }

    fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }
}

impl Line {
    pub(super) fn written(&self) -> String {
        self.unit.write(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Capacity;
    use crate::report::sample;

    const GIBIBYTE: f64 = 1024.0 * 1024.0 * 1024.0;

    fn coefficients() -> Coefficients {
        Coefficients::of(&sample::capacity()).unwrap()
    }

    fn demand() -> Demand {
        Demand {
            introspections_per_second: 100_000.0,
            issues_per_second: 1_000.0,
            revocations_per_second: 0.0,
            live_tokens: 10e6,
            lifetime_seconds: 3600.0,
            p99_micros_max: 10_000_000,
            outage_seconds: 0.0,
            durability: Durability::Sync,
        }
    }

    fn value(demand: Demand, name: &str) -> f64 {
        let plan = plan(&coefficients(), &demand).unwrap();
        plan.line(name).unwrap().value
    }

    #[track_caller]
    fn check(found: f64, expected: f64) {
        assert!((found - expected).abs() <= expected.abs() * 1e-6, "{found}, not {expected}");
    }

    #[test]
    fn cores_are_the_shares_of_their_rates_that_requests_take_over_the_headroom() {
        // Of the steps that lost nothing the highest answered 0.94 of 95 k and of 40 k on one core.
        let (introspect, issue) = (0.94 * 95e3, 0.94 * 40e3);
        let w = 10.9 / 10.4;
        let only = |introspections, issues| Demand {
            introspections_per_second: introspections,
            issues_per_second: issues,
            ..demand()
        };
        check(value(only(100e3, 0.0), "cores"), (w * 100e3 / introspect / 0.7_f64).ceil());
        check(value(only(0.0, 100e3), "cores"), (w * 100e3 / issue / 0.7_f64).ceil());
        check(value(only(2e6, 1e6), "cores"), (w * (2e6 / introspect + 1e6 / issue) / 0.7_f64).ceil());
        check(value(only(1.0, 0.0), "cores"), 1.0);
    }

    #[test]
    fn a_stricter_objective_rests_on_a_lower_rate_and_one_below_all_steps_is_refused() {
        let with =
            |p99_micros_max| plan(&coefficients(), &Demand { p99_micros_max, issues_per_second: 0.0, ..demand() });
        let rate = |plan: &Plan| plan.rests_on.first().unwrap().1;
        let lax = with(10_000_000).unwrap();
        let p99 = rate(&lax).p99_micros;
        let strict = with(p99 - 1).map(|plan| rate(&plan).rate_per_core);
        assert!(strict.is_ok_and(|strict| strict < rate(&lax).rate_per_core));
        let error = with(1).unwrap_err();
        assert!(matches!(error, PlanError::Unreachable { scenario: "introspect", .. }), "{error}");
    }

    #[test]
    fn what_is_not_asked_for_need_not_meet_the_objective() {
        let reads = Demand { issues_per_second: 0.0, p99_micros_max: 500, ..demand() };
        assert!(plan(&coefficients(), &reads).is_ok());
        let both = Demand { issues_per_second: 1.0, ..reads };
        assert!(matches!(plan(&coefficients(), &both), Err(PlanError::Unreachable { scenario: "issue", .. })));
    }

    #[test]
    fn memory_is_what_tokens_take_while_a_snapshot_is_written_and_a_reserve() {
        let growth = value(Demand { live_tokens: 10e6, ..demand() }, "memory") / (14e6 + 10e6 * 69.0) / 1.3;
        assert!(growth > 1.05 && growth < 1.07, "{growth}");
        check(value(Demand { live_tokens: 20e6, ..demand() }, "memory"), (14e6 + 20e6 * 69.0) * growth * 1.3);
    }

    #[test]
    fn tokens_that_are_issued_in_a_lifetime_are_live_whatever_was_asked_for() {
        let more = Demand { issues_per_second: 10_000.0, live_tokens: 1e6, ..demand() };
        check(value(more, "live"), 36e6);
        assert!(plan(&coefficients(), &more).unwrap().warnings.iter().any(|warning| warning.contains("36 M live")));
    }

    #[test]
    fn disk_is_five_times_what_a_snapshot_waits_for_what_an_outage_adds_and_three_snapshots() {
        let due = 0.25 * GIBIBYTE;
        check(value(demand(), "journal"), 5.0 * due);
        check(value(demand(), "between"), due / 210e3);
        let outage = Demand { outage_seconds: 7200.0, revocations_per_second: 10.0, ..demand() };
        check(value(outage, "journal"), 5.0 * due + 7200.0 * (210e3 + 960.0) / 0.7);
        check(value(demand(), "snapshots"), 3.0 * 10e6 * 34.0);
        check(value(demand(), "disk"), 5.0 * due + 3.0 * 10e6 * 34.0);
        check(value(Demand { live_tokens: 100e6, ..demand() }, "due"), 100e6 * 34.0 / 2.0);
    }

    #[test]
    fn a_restart_reads_the_tokens_and_the_journal_behind_them() {
        let token = (2.1 - 130e6 / 400e6) / 10e6;
        check(value(demand(), "restart"), 10e6 * token + 2.0 * 0.25 * GIBIBYTE / 400e6);
    }

    #[test]
    fn more_changes_than_were_ever_measured_are_planned_with_a_warning() {
        let plan = plan(&coefficients(), &Demand { issues_per_second: 100e3, ..demand() }).unwrap();
        assert!(plan.warnings.iter().any(|warning| warning.contains("one journal")));
    }

    #[test]
    fn a_report_that_lacks_a_part_says_which() {
        let lacks = Coefficients::of(&Capacity::default()).unwrap_err();
        assert_eq!(lacks.len(), 4);
        let capacity = Capacity { journal: None, ..sample::capacity() };
        assert_eq!(Coefficients::of(&capacity).unwrap_err(), ["bytes of journal a change"]);
    }

    #[test]
    fn a_step_that_lost_requests_is_no_measured_rate() {
        let mut capacity = sample::capacity();
        let lossy = capacity.sweeps.first_mut().unwrap().steps.iter_mut().skip(1);
        lossy.for_each(|step| step.errors = 1);
        let coefficients = Coefficients::of(&capacity).unwrap();
        let plan = plan(&coefficients, &demand()).unwrap();
        check(plan.rests_on.first().unwrap().1.rate_per_core, 9_500.0);
    }

    #[test]
    fn every_name_in_a_formula_has_a_value() {
        let plan = plan(&coefficients(), &demand()).unwrap();
        let unknown: Vec<&str> = plan.lines.iter().filter(|line| line.value.is_nan()).map(|line| line.name).collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }
}
