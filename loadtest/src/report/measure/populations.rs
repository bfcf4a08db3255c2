//! Memory, snapshot and restart with many live tokens.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Connection;
use crate::engine::scenario::Scenario;
use crate::engine::site::Site;
use crate::format;
use crate::report::measure::metrics::{JOURNAL_TAIL, Metrics, TOKENS};
use crate::report::measure::{PhaseError, Run};
use crate::report::model::{Population, SeriesKind, Steady};

/// The live tokens of the first server: their snapshot was taken before, in a series.
pub(super) async fn first(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let live_tokens = Metrics::scrape(site.address()).await?.count(TOKENS)?;
    let (resident_bytes, bytes_per_token) = memory(site, site.filled_bytes(), live_tokens)?;
    let is_same = |steady: &&Steady| steady.scenario == Scenario::Introspect.name();
    let step = run.capacity.steady.iter().find(is_same).map(|steady| steady.step.clone());
    let population = Population {
        live_tokens,
        step,
        resident_bytes,
        bytes_per_token,
        snapshot_bytes: run.snapshot_bytes,
        journal_bytes: None,
        restart_seconds: None,
    };
    run.capacity.populations.push(population);
    if !run.capacity.series.iter().any(|series| series.kind == SeriesKind::Snapshot) {
        return Err(PhaseError::Lacks("a snapshot to restart from".to_owned()));
    }
    restart(run, site).await
}

/// Issues many more tokens on the same server, if there is time.
pub(super) async fn fill(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let wanted = run.large_tokens;
    let held = Metrics::scrape(site.address()).await?.count(TOKENS)?;
    let lacking = wanted.saturating_sub(held);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (filling, others) = (lacking as f64 / site.settings().tokens.max(1) as f64, wanted as f64 / 1e6);
    let estimate = site.filling().mul_f64(filling) + OTHERS + OTHERS_PER_MILLION.mul_f64(others);
    let left = run.time_limit.saturating_sub(run.began.elapsed());
    if estimate > left {
        return Err(PhaseError::LeftOut(format!(
            "left out, for it would take about {} and {} were left of the time limit: raise --time-limit, or ask for \
             fewer with --large-tokens",
            format::seconds(estimate.as_secs_f64()),
            format::seconds(left.as_secs_f64())
        )));
    }
    run.note(format!(
        "The server with {} live tokens was filled with durability {}: they are there to be looked up, and to be read again.",
        format::whole(wanted),
        site.settings().durability.name()
    ));
    let count = usize::try_from(lacking).unwrap_or(usize::MAX);
    Ok(site.issue_more(count, (count / KEPT).max(1)).await?)
}

/// Memory, introspections, a snapshot and a restart with them.
pub(super) async fn large(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let live_tokens = Metrics::scrape(site.address()).await?.count(TOKENS)?;
    let (resident_bytes, bytes_per_token) = memory(site, site.resident_bytes(), live_tokens)?;
    let rate = run.introspections(SHARE)?;
    let step = site.step(&run.load(Scenario::Introspect, Some(rate), run.pace.mix)).await?;
    run.capacity.populations.push(Population {
        live_tokens,
        step: Some(step),
        resident_bytes,
        bytes_per_token,
        snapshot_bytes: None,
        journal_bytes: None,
        restart_seconds: None,
    });
    let snapshot = site.snapshot().await?;
    if let Some(population) = run.capacity.populations.last_mut() {
        population.snapshot_bytes = Some(snapshot);
    }
    restart(run, site).await
}

/// Of the knee of `introspect`.
const SHARE: f64 = 0.5;
/// Tokens of a large population that are asked about: any of so many, evenly spread over all.
const KEPT: usize = 1_000_000;
/// What is done with a large population besides filling it takes about so long, and more for each million.
const OTHERS: Duration = Duration::from_secs(6);
const OTHERS_PER_MILLION: Duration = Duration::from_millis(900);

/// What is resident, and what of it each token takes that the server had not without any.
#[expect(clippy::cast_precision_loss, reason = "a mean has no more digits than a float")]
fn memory(site: &Site, resident_bytes: u64, live_tokens: u64) -> Result<(u64, f64), PhaseError> {
    let tokens = resident_bytes.saturating_sub(site.empty_bytes());
    if resident_bytes == 0 || live_tokens == 0 {
        return Err(PhaseError::Lacks("the memory of the server's process".to_owned()));
    }
    Ok((resident_bytes, tokens as f64 / live_tokens as f64))
}

/// Kills the server and starts it again, and waits for the first right answer.
async fn restart(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let (journal, took) = restart_timed(site).await?;
    if let Some(population) = run.capacity.populations.last_mut() {
        (population.journal_bytes, population.restart_seconds) = (Some(journal), Some(took.as_secs_f64()));
    }
    Ok(())
}

/// Restarts a server with a long journal behind its snapshot: how fast it is read, if the restart with the snapshot alone
/// was timed.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) async fn journal(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let (bytes, took) = restart_timed(site).await?;
    let without = run.capacity.populations.first().and_then(|population| population.restart_seconds);
    let without = without.ok_or_else(|| PhaseError::Lacks("a restart from a snapshot alone".to_owned()))?;
    let seconds = took.as_secs_f64() - without;
    run.journal_read = (bytes >= READ_MIN && seconds > 0.0).then(|| bytes as f64 / seconds);
    Ok(())
}

/// Less journal than this is read in too short a time to tell how fast.
const READ_MIN: u64 = 32 << 20;

/// Kills the server and starts it again: how many bytes of journal it read, and how long it took to the first right answer.
async fn restart_timed(site: &mut Site) -> Result<(u64, Duration), PhaseError> {
    let journal = Metrics::scrape(site.address()).await?.count(JOURNAL_TAIL)?;
    let ready = site.restart().await?;
    let asked = Instant::now();
    let material = site.material();
    let token = material.live.iter().next().unwrap_or_default();
    let gateway = material.gateways.first().ok_or_else(|| PhaseError::Lacks("a client that may ask".to_owned()))?;
    let answer = Connection::open(site.address()).await?.ask(gateway.introspect(token)).await?;
    if answer.is_active() != Some(true) {
        return Err(PhaseError::Refused {
            what: "the first introspection after a restart",
            status: answer.status.as_u16(),
        });
    }
    Ok((journal, ready + asked.elapsed()))
}
