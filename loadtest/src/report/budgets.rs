//! The figures of `loadtest check` that a report measures too, held against their budgets.

use std::slice;

use crate::check::budget::{Budgets, InvalidBudgets, Verdict};
use crate::check::figure;
use crate::measured::{Durability, Figures, Step, Subject};
use crate::report::figures::{self, BATCH, INTROSPECT, ISSUE};
use crate::report::model::Capacity;

/// One for each budget of what is measured on a machine; without a value where a report does not measure it as `check` does.
pub(super) fn verdicts(capacity: &Capacity) -> Result<Vec<Verdict>, InvalidBudgets> {
    Ok(Budgets::of_this_build()?.judge_figures(&measured(capacity)))
}

fn measured(capacity: &Capacity) -> Figures {
    let found = [
        introspection(capacity, Subject::Floor, figure::introspect_cpu_to_floor, closed),
        introspection(capacity, Subject::Floor, figure::introspect_p99_to_floor, busy),
        introspection(capacity, Subject::Floor, figure::introspect_p999_to_floor, busy),
        introspection(capacity, Subject::Rival, figure::introspect_throughput_to_rival, closed),
        closed(capacity, (Subject::Tessera, BATCH, Durability::Sync)).map(figure::batch_tokens_per_core_second),
        issue(capacity, (Durability::Sync, Subject::Floor), figure::issue_sync_throughput_to_floor, closed),
        issue(capacity, (Durability::Memory, Subject::Floor), figure::issue_memory_throughput_to_floor, closed),
        issue(capacity, (Durability::Sync, Subject::Rival), figure::issue_sync_throughput_to_rival, closed),
        issue(capacity, (Durability::Sync, Subject::Floor), figure::issue_sync_p50_over_floor_in_syncs, quiet),
        capacity.populations.first().map(|population| figure::bytes_per_token(population.bytes_per_token)),
    ];
    found.into_iter().flatten().collect()
}

/// A sweep: of whom, of what, and how durable.
type Which<'a> = (Subject, &'a str, Durability);
/// A step of a sweep, as one round.
type Pick = for<'a> fn(&'a Capacity, Which<'_>) -> Option<&'a [Step]>;
/// A figure, by what we and somebody else did.
type Ratio = fn(&[Step], &[Step]) -> (String, f64);

fn introspection(capacity: &Capacity, other: Subject, ratio: Ratio, pick: Pick) -> Option<(String, f64)> {
    let of = |subject| pick(capacity, (subject, INTROSPECT, Durability::Sync));
    Some(ratio(of(Subject::Tessera)?, of(other)?))
}

fn issue(
    capacity: &Capacity,
    (durability, other): (Durability, Subject),
    ratio: Ratio,
    pick: Pick,
) -> Option<(String, f64)> {
    let of = |subject| pick(capacity, (subject, ISSUE, durability));
    Some(ratio(of(Subject::Tessera)?, of(other)?))
}

fn closed<'a>(capacity: &'a Capacity, (subject, scenario, durability): Which<'_>) -> Option<&'a [Step]> {
    figures::sweep(capacity, subject, scenario, durability)?.closed.as_ref().map(slice::from_ref)
}

fn busy<'a>(capacity: &'a Capacity, which: Which<'_>) -> Option<&'a [Step]> {
    at(capacity, which, figure::SHARE)
}

fn quiet<'a>(capacity: &'a Capacity, which: Which<'_>) -> Option<&'a [Step]> {
    at(capacity, which, figure::QUIET_SHARE)
}

/// The step at that share of the own peak.
fn at<'a>(capacity: &'a Capacity, (subject, scenario, durability): Which<'_>, share: f64) -> Option<&'a [Step]> {
    let sweep = figures::sweep(capacity, subject, scenario, durability)?;
    let wanted = sweep.closed.as_ref()?.answered_per_second * share;
    let is_there = |step: &&Step| (step.offered_per_second - wanted).abs() < wanted * TOLERANCE;
    sweep.steps.iter().find(is_there).map(slice::from_ref)
}

/// Shares that are told from each other lie further apart.
const TOLERANCE: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[track_caller]
    fn check(capacity: &Capacity, name: &str, value: Option<f64>) {
        let verdicts = verdicts(capacity).unwrap();
        let verdict = verdicts.iter().find(|verdict| verdict.name == name).unwrap();
        let is_near = match (verdict.value, value) {
            (Some(found), Some(value)) => (found - value).abs() < 1e-9,
            (found, value) => found == value,
        };
        assert!(is_near, "{name}: {:?}, not {value:?}", verdict.value);
    }

    fn with_closed(subject: Subject, per_second: f64, cpu_micros: f64) -> Capacity {
        let mut capacity = sample::capacity();
        for sweep in &mut capacity.sweeps {
            let step = sweep.steps.first().cloned().unwrap();
            let (answered, cpu) = if sweep.subject == subject { (per_second, cpu_micros) } else { (1000.0, 10.0) };
            sweep.closed = Some(Step { answered_per_second: answered, cpu_micros_per_request: cpu, ..step });
        }
        capacity
    }

    #[test]
    fn ratios_are_of_what_is_answered_in_a_closed_loop() {
        let capacity = with_closed(Subject::Tessera, 1500.0, 12.0);
        check(&capacity, "introspect_cpu_to_floor", Some(1.2));
        check(&capacity, "introspect_throughput_to_rival", Some(1.5));
        check(&capacity, "issue_sync_throughput_to_floor", Some(1.5));
        check(&capacity, "issue_memory_throughput_to_floor", Some(1.5));
        check(&capacity, "batch_tokens_per_core_second", Some(1e9 / 12.0));
    }

    #[test]
    fn tails_are_compared_at_the_same_share_of_each_peak() {
        let mut capacity = with_closed(Subject::Tessera, 2000.0, 10.0);
        for sweep in &mut capacity.sweeps {
            let (peak, tail) = if sweep.subject == Subject::Tessera { (2000.0, 300) } else { (1000.0, 200) };
            for (step, share) in sweep.steps.iter_mut().zip([0.3, 0.5, 0.7]) {
                step.offered_per_second = peak * share;
                step.latency.p99 = if share == 0.7 { tail / 2 } else { 1 };
                step.latency.p999 = if share == 0.7 { tail } else { 1 };
                step.latency.p50 = if share == 0.3 { tail } else { 1 };
                step.sync_micros = Some(50.0);
            }
        }
        check(&capacity, "introspect_p99_to_floor", Some(1.5));
        check(&capacity, "introspect_p999_to_floor", Some(1.5));
        check(&capacity, "issue_sync_p50_over_floor_in_syncs", Some(2.0));
        capacity.sweeps.iter_mut().for_each(|sweep| sweep.steps.truncate(1));
        check(&capacity, "introspect_p999_to_floor", None);
    }

    #[test]
    fn what_a_report_does_not_measure_is_named_and_not_broken() {
        let verdicts = verdicts(&Capacity::default()).unwrap();
        assert!(verdicts.len() > 9);
        assert!(verdicts.iter().all(|verdict| verdict.value.is_none() && !verdict.is_broken() && !verdict.holds()));
    }
}
