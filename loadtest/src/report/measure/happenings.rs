//! Series: what callers notice while a snapshot is written, PostgreSQL is away, many tokens expire.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Connection, Credentials};
use crate::cluster::Cluster;
use crate::engine::load::Load;
use crate::engine::scenario::Scenario;
use crate::engine::settings::Settings;
use crate::engine::site::{Measured, Site};
use crate::format;
use crate::projection::Projection;
use crate::report::figures::{self, SHARE};
use crate::report::measure::facts::latency;
use crate::report::measure::metrics::{Metrics, TOKENS_EXPIRED};
use crate::report::measure::{PhaseError, Run};
use crate::report::model::{Event, Series, SeriesKind};

/// A snapshot of all live tokens is written beside introspections.
pub(super) async fn snapshot(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let load = run.load(Scenario::Introspect, Some(run.introspections(SHARE)?), run.pace.series);
    let (measured, snapshot) = site.beside_snapshot(&load, INTERVAL, run.pace.quiet).await?;
    let event = event("a snapshot is written", snapshot.begin, snapshot.end);
    run.snapshot_bytes = Some(snapshot.bytes);
    run.series(SeriesKind::Snapshot, &load, measured, vec![event]);
    Ok(())
}

/// Many tokens expire within a second, beside introspections of others.
pub(super) async fn expiry(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let load = run.load(Scenario::Introspect, Some(run.introspections(SHARE)?), run.pace.quiet + FORGOTTEN);
    let (address, count, quiet) = (site.address(), run.pace.expiring_tokens, run.pace.quiet);
    let before = Metrics::scrape(address).await?.sum(TOKENS_EXPIRED)?;
    let fill = Duration::from_secs(u64::try_from(count / EXPIRING_PER_SECOND_MIN).unwrap_or_default() + 1);
    let at = Instant::now() + fill + load.warm_up + quiet;
    site.issue_expiring(count, at).await?;
    sleep_until((at - quiet).checked_sub(load.warm_up).unwrap_or(at)).await;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand")]
    let all = before + count as f64;
    let meanwhile = async |begin: Instant| {
        let end = begin + load.duration;
        while Instant::now() < end {
            sleep(PAUSE).await;
            if Metrics::scrape(address).await?.sum(TOKENS_EXPIRED)? >= all {
                let name = "tokens expire and are forgotten";
                return Ok(Some(event(name, at.saturating_duration_since(begin), begin.elapsed())));
            }
        }
        Ok::<_, PhaseError>(None)
    };
    let (measured, forgotten) = site.series(&load, INTERVAL, meanwhile).await?;
    let event = forgotten?;
    if event.is_none() {
        run.fail("expiry", format!("{count} tokens had expired, and not all were forgotten at the end of the series"));
    }
    run.series(SeriesKind::Expiry, &load, measured, event.into_iter().collect());
    run.note(format!("In the series of mass expiry {count} tokens that nobody asks for expire within about a second."));
    Ok(())
}

/// PostgreSQL is stopped and catches up, beside issues and a few introspections.
pub(super) async fn outage(run: &mut Run) -> Result<(), PhaseError> {
    let cluster = Cluster::create(&[]).await?;
    run.capacity.settings.postgres_version = version(&cluster).await;
    let url = ["--database-url".into(), cluster.url().into()];
    let settings = Settings { tokens: DATABASE_TOKENS, server_arg: url.into(), ..run.settings.clone() };
    let mut site = Site::start(settings, Scenario::Issue).await?;
    wait_for_all(site.address()).await?;
    let rate = (run.share_of_knee(figures::ISSUE, ISSUE_SHARE)?).min(ISSUE_PER_SECOND_MAX);
    let load = run.load(Scenario::Issue, Some(rate), run.pace.series);
    let (address, quiet, length) = (site.address(), run.pace.quiet, run.pace.outage);
    let gateway = site.material().gateways.first().cloned();
    let token = site.material().live.iter().next().unwrap_or_default().to_owned();
    let is_over = Cell::new(false);
    let meanwhile = async |begin: Instant| {
        let work = async {
            sleep_until(begin + quiet).await;
            cluster.stop().await?;
            let stopped = begin.elapsed();
            sleep(length).await;
            cluster.start().await?;
            let started = begin.elapsed();
            wait_for(address, |projection| projection.is_connected() && projection.lag_records as f64 <= rate).await?;
            let caught_up = event("it catches up", started, begin.elapsed());
            sleep_until(begin + load.duration).await;
            Ok::<_, PhaseError>(vec![event("PostgreSQL is stopped", stopped, started), caught_up])
        };
        let work = async {
            let done = work.await;
            is_over.set(true);
            done
        };
        tokio::join!(work, introspect(address, gateway.as_ref(), &token, &is_over))
    };
    let (measured, (events, introspected)) = site.series(&load, INTERVAL, meanwhile).await?;
    run.series(SeriesKind::DatabaseOutage, &load, measured, events?);
    let Introspected { micros, errors } = introspected?;
    let (asked, seen) = (micros.len(), latency(micros));
    run.note(format!(
        "Beside the outage of PostgreSQL {asked} introspections were asked one after the other, p50 {}, p99 {}, {errors} wrong. \
         PostgreSQL had all cores.",
        format::whole_micros(seen.p50),
        format::whole_micros(seen.p99)
    ));
    if errors > 0 {
        run.fail("database outage", format!("{errors} introspections were not answered rightly"));
    }
    wait_for_all(address).await?;
    Ok(site.stop().await?)
}

/// What somebody saw who introspects one token again and again.
struct Introspected {
    micros: Vec<u64>,
    errors: u64,
}

async fn introspect(
    server: SocketAddr,
    gateway: Option<&Credentials>,
    token: &str,
    is_over: &Cell<bool>,
) -> Result<Introspected, PhaseError> {
    let mut seen = Introspected { micros: Vec::new(), errors: 0 };
    let Some(gateway) = gateway else { return Ok(seen) };
    let mut connection = Connection::open(server).await?;
    while !is_over.get() {
        let asked = Instant::now();
        let answer = connection.ask(gateway.introspect(token)).await?;
        match answer.is_active() {
            Some(true) => seen.micros.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX)),
            _ => seen.errors += 1,
        }
        sleep(INTROSPECTION_PAUSE).await;
    }
    Ok(seen)
}

/// Waits until the database has every record.
async fn wait_for_all(server: SocketAddr) -> Result<(), PhaseError> {
    wait_for(server, Projection::is_caught_up).await
}

async fn wait_for(server: SocketAddr, is_far_enough: impl Fn(&Projection) -> bool) -> Result<(), PhaseError> {
    let (began, mut connection) = (Instant::now(), Connection::open(server).await?);
    while began.elapsed() < CATCH_UP_LIMIT {
        if Projection::ask(&mut connection).await?.is_some_and(|projection| is_far_enough(&projection)) {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(PhaseError::Late { limit: CATCH_UP_LIMIT })
}

async fn version(cluster: &Cluster) -> Option<String> {
    let mut connection = cluster.connect().await.ok()?;
    sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await.ok()
}

/// From the beginning of its series.
fn event(name: &str, begin: Duration, end: Duration) -> Event {
    Event { name: name.to_owned(), begin_seconds: begin.as_secs_f64(), end_seconds: end.as_secs_f64() }
}

impl Run {
    /// Keeps a series. What was not answered rightly meanwhile is a failure.
    fn series(&mut self, kind: SeriesKind, load: &Load, measured: Measured, events: Vec<Event>) {
        let Measured { step, intervals } = measured;
        if step.errors > 0 {
            let phase = match kind {
                SeriesKind::Snapshot => "snapshot",
                SeriesKind::DatabaseOutage => "database outage",
                SeriesKind::Expiry => "expiry",
            };
            let why = step.first_failure.unwrap_or_else(|| "they were not answered in time".to_owned());
            self.fail(phase, format!("{} requests were not answered rightly: {why}", step.errors));
        }
        let offered_per_second = load.per_second.unwrap_or_default();
        self.capacity.series.push(Series {
            kind,
            scenario: load.scenario.name(),
            offered_per_second,
            events,
            intervals,
        });
    }
}

/// Tokens are forgotten at most 16 s after they have expired; and what a busy machine takes besides.
const FORGOTTEN: Duration = Duration::from_secs(18);
const INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks at the server.
const PAUSE: Duration = Duration::from_millis(50);
/// So fast at least tokens are issued that are to expire together.
const EXPIRING_PER_SECOND_MIN: usize = 25_000;
/// Tokens that the database has when it is stopped.
const DATABASE_TOKENS: u64 = 20_000;
/// Issues beside the outage: of the knee, and at most.
const ISSUE_SHARE: f64 = 0.3;
const ISSUE_PER_SECOND_MAX: f64 = 5000.0;
const INTROSPECTION_PAUSE: Duration = Duration::from_millis(5);
/// How long the database may take for what it lacks.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
