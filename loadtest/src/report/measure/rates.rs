//! Sweeps, steady rates, mixes, workers: of Tessera and of what it is compared with.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::engine::command::p99_max;
use crate::engine::load::Load;
use crate::engine::scenario::Scenario;
use crate::engine::search::{self, Ladder};
use crate::engine::settings::Settings;
use crate::engine::site::Site;
use crate::format;
use crate::machine::Cores;
use crate::measured::{Durability, Step, Subject, Sweep};
use crate::report::figures::{self, SHARE};
use crate::report::measure::metrics::{JOURNAL_RECORDS, JOURNAL_WRITTEN, Metrics};
use crate::report::measure::{JournalRate, PhaseError, Run};
use crate::report::model::{Mix, Steady, Workers};

/// A sweep, and a longer step at a share of its knee.
pub(super) async fn sweep(run: &mut Run, site: &mut Site, scenario: Scenario) -> Result<(), PhaseError> {
    let load = run.load(scenario, None, run.pace.step);
    let plan = search::Plan::new(objective(scenario));
    let ladder = Ladder { objective: plan.objective, shares: run.pace.shares, closed: run.pace.step };
    let swept = site.climb(&load, &ladder).await?;
    let knee = knee(&swept);
    if figures::knee(&swept).is_none() {
        run.note(format!(
            "{}: without a knee, half of what was answered at most is taken for it.",
            figures::name(&swept)
        ));
    }
    run.capacity.sweeps.push(swept);
    steady(run, site, scenario, knee?).await
}

/// What the 99th percentile may be: a batch is as much work as many requests.
const fn objective(scenario: Scenario) -> Duration {
    match scenario {
        Scenario::IntrospectBatch => BATCH_P99_MAX,
        _ => p99_max(scenario),
    }
}

const BATCH_P99_MAX: Duration = Duration::from_millis(10);

async fn steady(run: &mut Run, site: &mut Site, scenario: Scenario, knee: f64) -> Result<(), PhaseError> {
    let load = run.load(scenario, Some(knee * SHARE), run.pace.steady);
    let Settings { subject, durability, .. } = *site.settings();
    let is_kept = subject == Subject::Tessera && durability == Durability::Sync && scenario.is_change();
    let step = if is_kept { journaled(run, site, &load).await? } else { site.step(&load).await? };
    judge(run, &format!("{} of {} at 70 % of the knee", subject.name(), scenario.name()), &step);
    run.capacity.steady.push(Steady { subject, scenario: scenario.name(), durability, share: SHARE, step });
    Ok(())
}

/// A step, and what it takes of the journal.
async fn journaled(run: &mut Run, site: &mut Site, load: &Load) -> Result<Step, PhaseError> {
    let address = site.address();
    let meanwhile = async |begin: Instant| {
        sleep_until(begin).await;
        let before = Metrics::scrape(address).await?;
        sleep_until(begin + load.duration).await;
        Ok::<_, PhaseError>((before, Metrics::scrape(address).await?))
    };
    let (measured, scraped) = site.series(load, load.duration, meanwhile).await?;
    let (before, after) = scraped?;
    let records = after.sum(JOURNAL_RECORDS)? - before.sum(JOURNAL_RECORDS)?;
    let bytes = after.sum(JOURNAL_WRITTEN)? - before.sum(JOURNAL_WRITTEN)?;
    if records > 0.0 {
        let rate = JournalRate { bytes: bytes / records, per_second: measured.step.answered_per_second };
        let [issue, revocation] = &mut run.journal;
        *(if load.scenario == Scenario::Revoke { revocation } else { issue }) = Some(rate);
    }
    Ok(measured.step)
}

/// The kinds of tokens, one after the other, at the same rate.
pub(super) async fn mixes(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let rate = run.introspections(SHARE)?;
    let shares = crate::engine::scenario::Shares::default();
    let percent = |share: f64| format::percent(share);
    let mixture = format!(
        "{} active, {} unknown, the rest dead",
        percent(1.0 - shares.dead_share - shares.unknown_share),
        percent(shares.unknown_share)
    );
    let kinds = [
        (Scenario::Introspect, "active"),
        (Scenario::IntrospectExpired, "expired"),
        (Scenario::IntrospectRevoked, "revoked"),
        (Scenario::IntrospectUnknown, "unknown"),
        (Scenario::IntrospectGarbage, "garbage"),
        (Scenario::IntrospectMix, &mixture),
    ];
    for (scenario, name) in kinds {
        let step = site.step(&run.load(scenario, Some(rate), run.pace.mix)).await?;
        judge(run, &format!("introspection of tokens that are {name}"), &step);
        run.capacity.mixes.push(Mix { name: name.to_owned(), share: SHARE, step });
    }
    Ok(())
}

/// One worker and two, each with a core of its own if there are enough.
pub(super) async fn workers(run: &mut Run) -> Result<(), PhaseError> {
    let all = Cores::all()?;
    if all.count() < 2 {
        return Err(PhaseError::LeftOut("this machine has one core".to_owned()));
    }
    let load_cores = all.after(WORKERS).unwrap_or_else(|| all.last());
    let shares_a_core = all.count() <= WORKERS;
    let one = run.introspections(WORKERS_SHARE)? / figures::server_cores(&run.capacity);
    for workers in 1..=WORKERS {
        let number = u32::try_from(workers).unwrap_or(u32::MAX);
        let settings = Settings {
            tokens: run.pace.few_tokens,
            workers: u16::try_from(workers).ok(),
            shards: u16::try_from(workers).ok(),
            server_cores: Some(all.first(workers)),
            load_cores: Some(load_cores.clone()),
            ..run.settings.clone()
        };
        let rate = if shares_a_core { one } else { one * f64::from(number) };
        let mut site = Site::start(settings, Scenario::Introspect).await?;
        let step = site.step(&run.load(Scenario::Introspect, Some(rate), run.pace.steady)).await?;
        site.stop().await?;
        run.capacity.workers.push(Workers { workers: number, step });
    }
    if shares_a_core {
        run.note(format!(
            "Of two workers one shared its core with the load generator, for there are {} cores; both were asked as often \
             together as the one alone. What counts there is CPU a request, and not latency.",
            all.count()
        ));
    }
    Ok(())
}

const WORKERS: usize = 2;
/// Of the knee of one worker.
const WORKERS_SHARE: f64 = 0.5;

/// What was not answered rightly at a rate that the server had met before is a failure of the run.
fn judge(run: &mut Run, phase: &str, step: &Step) {
    if figures::error_share(step) > search::ERRORS_MAX {
        let why = step.first_failure.clone().unwrap_or_else(|| "they were not answered in time".to_owned());
        let due = format::count(step.offered_per_second * step.seconds);
        run.fail(phase, format!("{} of {due} requests were not answered rightly: {why}", step.errors));
    }
}

/// The rate of the knee. Where no rate met the objective: half of what was answered at most.
fn knee(sweep: &Sweep) -> Result<f64, PhaseError> {
    let most = sweep.steps.iter().map(|step| step.answered_per_second).fold(0.0, f64::max);
    let knee = figures::knee(sweep).map_or(most / 2.0, |step| step.offered_per_second);
    if knee > 0.0 { Ok(knee) } else { Err(PhaseError::Lacks(format!("an answer to {}", figures::name(sweep)))) }
}

impl Run {
    /// Even arrivals, at a pace's times.
    pub(super) fn load(&self, scenario: Scenario, per_second: Option<f64>, duration: Duration) -> Load {
        Load { warm_up: self.pace.warm_up, ..Load::new(scenario, per_second, duration) }
    }

    /// A share of the rate of the knee of `introspect`.
    pub(super) fn introspections(&self, share: f64) -> Result<f64, PhaseError> {
        self.share_of_knee(figures::INTROSPECT, share)
    }

    /// A share of the rate of a knee of Tessera's, with durability `sync`.
    pub(super) fn share_of_knee(&self, scenario: &str, share: f64) -> Result<f64, PhaseError> {
        let swept = figures::sweep(&self.capacity, Subject::Tessera, scenario, Durability::Sync);
        let lacks = || PhaseError::Lacks(format!("a sweep of {scenario}"));
        Ok(knee(swept.ok_or_else(lacks)?)? * share)
    }
}
