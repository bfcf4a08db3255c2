//! How the knee is found: the rate is doubled until the objective breaks, and then halved in between.

use std::time::Duration;

use crate::measured::{Limit, Objective, Step};

/// Where to look, and what must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) objective: Objective,
    /// The first rate, in requests a second.
    pub(crate) from: f64,
    /// The highest.
    pub(crate) to: f64,
    /// How often the gap between a rate that meets the objective and one that breaks it is divided.
    pub(crate) refinements: u32,
}

impl Plan {
    /// As wide as servers on a few cores need.
    pub(crate) fn new(p99_max: Duration) -> Self {
        let p99_micros_max = u64::try_from(p99_max.as_micros()).unwrap_or(u64::MAX);
        let objective = Objective { p99_micros_max, errors_max: ERRORS_MAX, answered_min: ANSWERED_MIN };
        Self { objective, from: FROM, to: TO, refinements: REFINEMENTS }
    }
}

/// Where the search begins and ends, where nobody says.
pub(crate) const FROM: f64 = 5000.0;
pub(crate) const TO: f64 = 1_000_000.0;
/// The last gap is so narrow that its ends are 4 % apart.
pub(crate) const REFINEMENTS: u32 = 4;
/// How often the rate is halved where even the first is too high.
const DESCENTS_MAX: u32 = 4;
pub(crate) const ERRORS_MAX: f64 = 0.0001;
pub(crate) const ANSWERED_MIN: f64 = 0.98;
/// A generator that is busier than this has no time left.
const BUSY_MAX: f64 = 0.95;
/// A server that uses more of its cores than this has none left.
const SERVER_BUSY: f64 = 0.9;
/// Where a smaller share is answered than this, another try would not be better.
const HOPELESS: f64 = 0.75;
/// Rates one after the other that break the objective before no higher one is tried.
const BROKEN_MAX: u32 = 2;
/// The same where none has met it yet.
const BROKEN_MAX_FIRST: u32 = 5;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// By rising rate.
    pub(crate) steps: Vec<Step>,
    pub(crate) knee: Option<usize>,
    pub(crate) limit: Limit,
}

impl Objective {
    /// Whether a step meets it.
    pub(crate) fn is_met_by(&self, step: &Step) -> bool {
        let due = (step.offered_per_second * step.seconds).max(1.0);
        !step.is_cut_short
            && step.latency.p99 <= self.p99_micros_max
            && step.errors as f64 <= self.errors_max * due
            && step.answered_per_second >= self.answered_min * step.offered_per_second
    }
}

impl Step {
    /// Whether so much was not answered that it was no bad moment.
    fn is_hopeless(&self) -> bool {
        self.answered_per_second < HOPELESS * self.offered_per_second
    }

    /// Whether the generator, and not the server, had no more time. `server_cores` is how many the server may use.
    pub(crate) fn is_limited_by_generator(&self, server_cores: usize) -> bool {
        self.generator_busy > BUSY_MAX && self.server_cores < SERVER_BUSY * server_cores as f64
    }
}

/// Looks for the highest rate at which what is measured meets the objective. A rate at which it does not is measured once
/// more, for neighbours on the machine come and go.
pub(crate) async fn search<E>(
    plan: &Plan,
    server_cores: usize,
    mut measure: impl AsyncFnMut(f64) -> Result<Step, E>,
) -> Result<Found, E> {
    let mut trial = async |per_second: f64| trial(plan.objective, per_second, &mut measure).await;
    let mut steps = Vec::new();
    // The highest rate that met the objective, and the lowest that broke it.
    let (mut met, mut broken) = (None, None);
    let mut per_second = plan.from.min(plan.to);
    let mut descents = 0;
    loop {
        let (step, is_met) = trial(per_second).await?;
        steps.push((step, is_met));
        if is_met {
            met = Some(per_second);
            if broken.is_some() || per_second >= plan.to {
                break;
            }
            per_second = (per_second * 2.0).min(plan.to);
        } else {
            broken = Some(per_second);
            if met.is_some() || descents == DESCENTS_MAX {
                break;
            }
            descents += 1;
            per_second /= 2.0;
        }
    }
    for _ in 0..plan.refinements {
        let (Some(low), Some(high)) = (met, broken) else { break };
        per_second = f64::midpoint(low, high);
        let (step, is_met) = trial(per_second).await?;
        steps.push((step, is_met));
        *(if is_met { &mut met } else { &mut broken }) = Some(per_second);
    }
    Ok(Found::of(steps, server_cores))
}

/// Rates to measure, where what a server answers at most is estimated first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ladder<'a> {
    pub(crate) objective: Objective,
    /// Of what the server answers when each connection asks again at once; rising.
    pub(crate) shares: &'a [f64],
    /// How long that is measured.
    pub(crate) closed: Duration,
}

/// Measures at rising rates, until the objective is broken by two of them one after the other, or by far; by more of them
/// where none has met it yet: then it was the machine, perhaps.
pub(crate) async fn climb<E>(
    objective: Objective,
    rates: impl IntoIterator<Item = f64>,
    server_cores: usize,
    mut measure: impl AsyncFnMut(f64) -> Result<Step, E>,
) -> Result<Found, E> {
    let (mut steps, mut broken, mut broken_max) = (Vec::new(), 0, BROKEN_MAX_FIRST);
    for per_second in rates {
        let (step, is_met) = trial(objective, per_second, &mut measure).await?;
        (broken, broken_max) = match is_met {
            true => (0, BROKEN_MAX),
            false if step.is_hopeless() => (broken + BROKEN_MAX, broken_max),
            false => (broken + 1, broken_max),
        };
        steps.push((step, is_met));
        if broken >= broken_max {
            break;
        }
    }
    Ok(Found::of(steps, server_cores))
}

/// Measures at one rate, and once more where the objective was nearly met: the better of both, and whether it met it.
async fn trial<E>(
    objective: Objective,
    per_second: f64,
    measure: &mut impl AsyncFnMut(f64) -> Result<Step, E>,
) -> Result<(Step, bool), E> {
    let first = measure(per_second).await?;
    let is_met = objective.is_met_by(&first);
    if is_met || first.is_hopeless() {
        return Ok((first, is_met));
    }
    let second = measure(per_second).await?;
    let is_met = objective.is_met_by(&second);
    let better = if is_met || second.latency.p99 < first.latency.p99 { second } else { first };
    Ok((better, is_met))
}

impl Found {
    fn of(mut steps: Vec<(Step, bool)>, server_cores: usize) -> Self {
        steps.sort_by(|(one, _), (other, _)| one.offered_per_second.total_cmp(&other.offered_per_second));
        let knee = steps.iter().rposition(|(_, is_met)| *is_met);
        let first_broken = steps.get(knee.map_or(0, |knee| knee + 1));
        let limit = match first_broken {
            None => Limit::Rate,
            Some((step, _)) if step.is_limited_by_generator(server_cores) => Limit::Generator,
            Some(_) => Limit::Server,
        };
        Self { steps: steps.into_iter().map(|(step, _)| step).collect(), knee, limit }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::measured::Latency;

    /// A step at which everything is well.
    fn step(per_second: f64) -> Step {
        Step {
            offered_per_second: per_second,
            answered_per_second: per_second,
            seconds: 1.0,
            errors: 0,
            latency: Latency { p99: 100, ..Latency::default() },
            percentiles: Vec::new(),
            cpu_micros_per_request: 1.0,
            server_cores: 1.0,
            helper_cores: 0.0,
            generator_busy: 0.5,
            generator_late_micros: 0,
            resident_bytes: 0,
            sync_micros: None,
            tokens_per_request: 1,
            is_cut_short: false,
            first_failure: None,
        }
    }

    fn plan() -> Plan {
        Plan::new(Duration::from_millis(1))
    }

    /// Searches a server that can do so much, and whose every `flicker`th measurement fails: what was found, and at which
    /// rates it was measured.
    fn found(capacity: f64, flicker: usize, overload: impl Fn(&mut Step)) -> (Found, Vec<f64>) {
        let rates = RefCell::new(Vec::new());
        let plan = plan();
        let found = search(&plan, 1, async |per_second| {
            let mut step = step(per_second);
            rates.borrow_mut().push(per_second);
            if per_second > capacity || (flicker > 0 && rates.borrow().len() % flicker == 0) {
                overload(&mut step);
            }
            Ok::<_, Infallible>(step)
        });
        let found = found.now_or_never().unwrap().unwrap();
        (found, rates.into_inner())
    }

    fn slow(step: &mut Step) {
        step.latency.p99 = 1001;
    }

    fn knee(found: &Found) -> Option<f64> {
        found.knee.map(|knee| found.steps[knee].offered_per_second)
    }

    #[test]
    fn the_rate_is_doubled_until_it_breaks_and_then_halved_in_between() {
        let (found, rates) = found(93_000.0, 0, slow);
        let twice = [160_000.0, 160_000.0, 120_000.0, 120_000.0, 100_000.0, 100_000.0, 90_000.0, 95_000.0, 95_000.0];
        assert_eq!(rates, [&[5000.0, 10_000.0, 20_000.0, 40_000.0, 80_000.0], &twice[..]].concat());
        assert_eq!((knee(&found), found.limit), (Some(90_000.0), Limit::Server));
        assert!(found.steps.is_sorted_by_key(|step| step.offered_per_second));
    }

    #[test]
    fn a_climb_ends_after_two_rates_that_break_the_objective_or_one_that_does_by_far() {
        let climbed = |overload: fn(&mut Step)| {
            let found = climb(plan().objective, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, async |thousands| {
                let mut step = step(thousands * 1000.0);
                if !(1.5..=3.5).contains(&thousands) {
                    overload(&mut step);
                }
                Ok::<_, Infallible>(step)
            });
            found.now_or_never().unwrap().unwrap()
        };
        let late = climbed(slow);
        assert_eq!((late.steps.len(), knee(&late)), (5, Some(3000.0)));
        let lost = climbed(|step| step.answered_per_second /= 2.0);
        assert_eq!((lost.steps.len(), knee(&lost)), (4, Some(3000.0)));
    }

    #[test]
    fn one_bad_moment_is_not_the_end() {
        let (found, _) = found(93_000.0, 3, slow);
        assert_eq!(knee(&found), Some(90_000.0));
    }

    #[test]
    fn where_even_the_first_rate_is_too_high_lower_ones_are_tried() {
        let (few, _) = found(2000.0, 0, slow);
        assert_eq!((knee(&few), few.limit), (Some(1953.125), Limit::Server));
        let (none, _) = found(1.0, 0, slow);
        assert_eq!((knee(&none), none.limit), (None, Limit::Server));
    }

    #[test]
    fn a_search_that_ends_at_the_highest_rate_says_so() {
        let (found, _) = found(f64::MAX, 0, slow);
        assert_eq!((knee(&found), found.limit), (Some(TO), Limit::Rate));
    }

    #[test]
    fn a_generator_without_time_is_the_limit_unless_the_server_has_none_either() {
        let (by_generator, _) = found(93_000.0, 0, |step| {
            slow(step);
            (step.generator_busy, step.server_cores) = (0.99, 0.7);
        });
        assert_eq!(by_generator.limit, Limit::Generator);
        let (by_both, _) = found(93_000.0, 0, |step| {
            slow(step);
            step.generator_busy = 0.99;
        });
        assert_eq!(by_both.limit, Limit::Server);
    }

    #[test]
    fn every_part_of_the_objective_counts() {
        let check = |change: fn(&mut Step), is_met: bool| {
            let mut step = step(10_000.0);
            change(&mut step);
            assert_eq!(plan().objective.is_met_by(&step), is_met, "{step:?}");
        };
        check(|_| {}, true);
        check(|step| step.latency.p99 = 1000, true);
        check(slow, false);
        check(|step| step.errors = 1, true);
        check(|step| step.errors = 2, false);
        check(|step| step.answered_per_second = 9800.0, true);
        check(|step| step.answered_per_second = 9799.0, false);
        check(|step| step.is_cut_short = true, false);
    }
}
