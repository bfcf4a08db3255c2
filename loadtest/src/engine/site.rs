//! A server, what it holds, and who loads it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Pid;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use crate::client::{Bearer, Connection, Credentials, NoAnswer, get};
use crate::engine::crowd::{Crowd, CrowdError};
use crate::engine::generator::{GeneratorError, Outcome};
use crate::engine::host::{Host, HostError, Process, Redis};
use crate::engine::issuer::{IssueError, Issuer};
use crate::engine::load::{Load, Running, whole};
use crate::engine::scenario::{Material, Recipe, Scenario};
use crate::engine::search::{Found, Ladder, Plan, climb, search};
use crate::engine::settings::{Placement, Settings};
use crate::fill::ClientKind;
use crate::machine;
use crate::measured::{Interval, Objective, Step, Subject, Sweep};
use crate::server::{Installation, Server};

/// A server, what it holds, and who loads it. Dropping it kills the server.
pub(crate) struct Site {
    settings: Settings,
    placement: Placement,
    host: Host,
    issuer: Issuer,
    material: Material,
    /// What the server held of memory before there were any tokens, in bytes.
    empty_bytes: u64,
    /// The same when there were all that it is started with.
    filled_bytes: u64,
    /// How long it took to issue them.
    filling: Duration,
    /// Where the server's files are.
    folder: TempDir,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Crowd(#[from] CrowdError),
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the server answered {what} with {status}")]
    Refused { what: &'static str, status: u16 },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What was measured at one rate.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) step: Step,
    /// One for each interval, where one was asked for.
    pub(crate) intervals: Vec<Interval>,
}

/// A snapshot that was taken beside a load: when, from the beginning of its first interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) bytes: u64,
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
}

impl Site {
    /// Starts the server and fills it with live tokens.
    pub(crate) async fn start(settings: Settings, scenario: Scenario) -> Result<Self, SiteError> {
        let (settings, placement) = settings.placed()?;
        machine::raise_open_files()?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("tessera-load-");
        let folder = match &settings.directory {
            Some(directory) => builder.tempdir_in(directory)?,
            None => builder.tempdir()?,
        };
        let mut random = fastrand::Rng::new();
        let cores = &placement.server;
        let workers = settings.workers(cores);
        let (host, issuer) = match (settings.subject, &settings.target) {
            (Subject::Tessera, Some(address)) => {
                let admin = settings.admin.clone().unwrap_or_else(|| Credentials::new("", ""));
                let issuer = Issuer::of_tessera(*address, &admin, settings.durability).await?;
                (Host::Other { address: *address, pid: settings.target_pid.and_then(Pid::from_raw) }, issuer)
            }
            (Subject::Tessera, None) => {
                let arguments = settings.tessera_arguments(cores);
                let data_dir = folder.path().join("tessera-data");
                let program = settings.server.as_deref();
                let installation =
                    Installation::new(program, data_dir, &arguments, &mut random).map_err(HostError::from)?;
                let server = start_tessera(&installation, &placement).await?.0;
                let issuer = Issuer::of_tessera(installation.address, &installation.admin, settings.durability).await?;
                (Host::Tessera { installation, server: Some(server) }, issuer)
            }
            (Subject::Floor | Subject::Rival, Some(_)) => return Err(HostError::NoTarget.into()),
            (Subject::Floor, None) => {
                let bytes = settings.body_bytes.unwrap_or_else(|| scenario.answer_body_bytes());
                let arguments = ["--body-bytes".to_owned(), bytes.to_string()];
                let process = Process::start("floor", &arguments, (workers, cores)).await?;
                (Host::Floor(process), Issuer::Floor)
            }
            (Subject::Rival, None) => {
                let program = &settings.redis_server;
                let redis = Redis::start(program, folder.path(), settings.durability, &placement.redis).await?;
                let arguments = ["--redis".to_owned(), redis.url()];
                let handler = Process::start("rival", &arguments, (workers, cores)).await?;
                let issuer = Issuer::of_rival(redis.url()).await?;
                (Host::Rival { handler, redis }, issuer)
            }
        };
        let mut site = Self {
            settings,
            placement,
            host,
            issuer,
            material: Material::default(),
            empty_bytes: 0,
            filled_bytes: 0,
            filling: Duration::ZERO,
            folder,
        };
        site.fill().await?;
        Ok(site)
    }

    async fn fill(&mut self) -> Result<(), SiteError> {
        let lifetime_seconds = LIFETIME_SECONDS;
        let any = ClientKind { lifetime_seconds, introspection: "any" };
        let own = ClientKind { lifetime_seconds, introspection: "own" };
        self.material.gateways = self.issuer.clients(any, GATEWAYS).await?;
        self.material.revoker = self.issuer.clients(own, 1).await?.pop();
        self.material.clients = self.issuer.clients(own, self.settings.clients as usize).await?;
        self.empty_bytes = self.resident_bytes();
        let tokens = usize::try_from(self.settings.tokens).unwrap_or(usize::MAX);
        let began = Instant::now();
        self.material.live = self.issuer.issue(&self.material.clients, tokens).await?;
        self.filling = began.elapsed();
        self.filled_bytes = self.resident_bytes();
        Ok(())
    }

    /// Requests at one rate.
    pub(crate) async fn step(&mut self, load: &Load) -> Result<Step, SiteError> {
        Ok(self.measure(load, None).await?.step)
    }

    /// Requests at one rate, seen interval by interval, while something happens: that is told when the first interval begins.
    pub(crate) async fn series<T>(
        &mut self,
        load: &Load,
        interval: Duration,
        meanwhile: impl AsyncFnOnce(Instant) -> T,
    ) -> Result<(Measured, T), SiteError> {
        self.measure_while(load, Some(interval), meanwhile).await
    }

    /// Requests at one rate, seen interval by interval. A snapshot of all live tokens is taken so long after the first began.
    pub(crate) async fn beside_snapshot(
        &mut self,
        load: &Load,
        interval: Duration,
        after: Duration,
    ) -> Result<(Measured, Snapshot), SiteError> {
        let (bearer, address) = (self.bearer().await?, self.address());
        let meanwhile = async |begin: Instant| {
            let asked = begin + after;
            sleep_until(asked).await;
            let bytes = take_snapshot(address, &bearer).await?;
            let end = begin.elapsed();
            Ok::<_, SiteError>(Snapshot { bytes, begin: after, end })
        };
        let (measured, taken) = self.series(load, interval, meanwhile).await?;
        Ok((measured, taken?))
    }

    /// Takes a snapshot: how many bytes it has.
    pub(crate) async fn snapshot(&self) -> Result<u64, SiteError> {
        take_snapshot(self.address(), &self.bearer().await?).await
    }

    /// What opens the admin API of Tessera.
    async fn bearer(&self) -> Result<Bearer, SiteError> {
        let Host::Tessera { installation, .. } = &self.host else { return Err(HostError::NotOurs.into()) };
        let answer = Connection::open(self.address()).await?.ask(installation.admin.issue()).await?;
        let refused = || SiteError::Refused { what: "a request for the admin's token", status: answer.status.as_u16() };
        Ok(Bearer::new(&answer.access_token().ok_or_else(refused)?))
    }

    /// Raises the rate until the objective breaks, and looks for the highest that meets it.
    pub(crate) async fn sweep(&mut self, load: &Load, plan: &Plan) -> Result<Sweep, SiteError> {
        let server_cores = self.settings.workers(&self.placement.server);
        let found = search(plan, server_cores, async |per_second| {
            self.step(&Load { per_second: Some(per_second), ..load.clone() }).await
        });
        let found = found.await?;
        Ok(self.swept(load, plan.objective, None, found))
    }

    /// Measures at rising shares of what the server answers when nobody waits, until the objective breaks.
    pub(crate) async fn climb(&mut self, load: &Load, ladder: &Ladder<'_>) -> Result<Sweep, SiteError> {
        let server_cores = self.settings.workers(&self.placement.server);
        let closed = Load { per_second: None, duration: ladder.closed, ..load.clone() };
        let closed = self.step(&closed).await?;
        let peak = closed.answered_per_second.max(PEAK_MIN);
        let rates = ladder.shares.iter().map(|share| share * peak);
        let found = climb(ladder.objective, rates, server_cores, async |per_second| {
            self.step(&Load { per_second: Some(per_second), ..load.clone() }).await
        });
        let found = found.await?;
        Ok(self.swept(load, ladder.objective, Some(closed), found))
    }

    fn swept(&self, load: &Load, objective: Objective, closed: Option<Step>, found: Found) -> Sweep {
        Sweep {
            subject: self.settings.subject,
            scenario: load.scenario.name(),
            durability: self.settings.durability,
            connections: load.connections,
            live_tokens: self.settings.tokens,
            objective,
            closed,
            steps: found.steps,
            knee: found.knee,
            limit: found.limit,
        }
    }

    /// Requests at one rate, and a series where an interval is given.
    pub(crate) async fn measure(&mut self, load: &Load, interval: Option<Duration>) -> Result<Measured, SiteError> {
        Ok(self.measure_while(load, interval, async |_| ()).await?.0)
    }

    async fn measure_while<T>(
        &mut self,
        load: &Load,
        interval: Option<Duration>,
        meanwhile: impl AsyncFnOnce(Instant) -> T,
    ) -> Result<(Measured, T), SiteError> {
        self.prepare(load).await?;
        let (seed, material) = (fastrand::u64(..), self.material.clone());
        let recipe = Recipe::new(load.scenario, load.shares, self.settings.subject, material, seed);
        let Placement { server, load: cores, redis } = &self.placement;
        let shares_cores = cores.overlap(server) || (self.host.helper_pid().is_some() && cores.overlap(redis));
        let mut running = Running::start(load, self.host.address(), &recipe, cores, shares_cores, interval).await?;
        let begin = running.began + load.warm_up;
        let (seen, done) = tokio::join!(self.look_on(&mut running, load, interval), meanwhile(begin));
        let seen = seen?;
        let outcome = running.finish().await?;
        Ok((self.conclude(load, &outcome, seen, interval), done))
    }

    /// Samples the server until the load is over.
    async fn look_on(
        &self,
        running: &mut Running,
        load: &Load,
        interval: Option<Duration>,
    ) -> Result<Seen, GeneratorError> {
        let bar = progress_bar(load);
        let begin = running.began + load.warm_up;
        sleep_until(running.began + load.warm_up / 2).await;
        let syncs_before = self.syncs().await;
        sleep_until(begin).await;
        let before = self.usage();
        let (mut samples, mut at, end) = (Vec::new(), begin, running.began + load.end());
        let mut is_done = false;
        while !is_done && at < end {
            at = end.min(at + interval.unwrap_or(load.duration));
            is_done = watch(running, at, &bar).await?;
            samples.push(self.usage());
        }
        bar.finish_and_clear();
        Ok(Seen { before, samples, syncs: self.syncs().await.since(syncs_before) })
    }

    fn conclude(
        &self,
        load: &Load,
        Outcome { tally, first_failure }: &Outcome,
        Seen { before, samples, syncs }: Seen,
        interval: Option<Duration>,
    ) -> Measured {
        let after = samples.last().copied().unwrap_or(before);
        let used = after.since(before);
        let step = Step {
            offered_per_second: load.per_second.unwrap_or_else(|| tally.answered_per_second()),
            answered_per_second: tally.answered_per_second(),
            seconds: tally.window.as_secs_f64(),
            errors: tally.errors,
            latency: tally.latency(),
            percentiles: tally.percentiles(),
            cpu_micros_per_request: used.server.as_secs_f64() * 1e6 / (tally.answered as f64).max(1.0),
            server_cores: used.server_cores(),
            helper_cores: used.helper_cores(),
            generator_busy: tally.busy(),
            generator_late_micros: tally.late_micros(),
            resident_bytes: after.resident_bytes,
            sync_micros: syncs.mean_micros(),
            tokens_per_request: load.scenario.tokens_per_request(),
            is_cut_short: tally.is_cut_short,
            first_failure: first_failure.clone(),
        };
        let length = interval.unwrap_or_default();
        let each =
            tally.intervals.iter().zip(&samples).scan((Duration::ZERO, before), |(at, before), (seen, after)| {
                let (used, began) = (after.since(*before), *at);
                (*before, *at) = (*after, began + length);
                let seconds = length.min(tally.window.saturating_sub(began)).as_secs_f64();
                Some(Interval {
                    at_seconds: began.as_secs_f64(),
                    answered_per_second: seen.answered as f64 / seconds.max(f64::MIN_POSITIVE),
                    errors: seen.errors,
                    latency: seen.latency(),
                    server_cores: used.server_cores(),
                    resident_bytes: after.resident_bytes,
                })
            });
        Measured { step, intervals: each.collect() }
    }

    /// Makes the tokens that a scenario is about.
    async fn prepare(&mut self, load: &Load) -> Result<(), SiteError> {
        let dead = DEAD_TOKENS.min(self.material.live.len());
        let needs = |kind: Scenario| load.scenario == kind || load.scenario == Scenario::IntrospectMix;
        if needs(Scenario::IntrospectUnknown) && self.material.unknown.len() == 0 {
            self.material.unknown = self.issuer.unknown(dead);
        }
        if needs(Scenario::IntrospectExpired) && self.material.expired.len() == 0 {
            self.material.expired = self.issuer.expired(dead).await?;
        }
        if let (true, Some(owner)) = (needs(Scenario::IntrospectRevoked), self.material.revoker.clone())
            && self.material.revoked.len() == 0
        {
            self.material.revoked = self.issuer.revoked(&owner, dead).await?;
        }
        if needs(Scenario::Refresh) {
            self.prepare_grants().await?;
        }
        let revoked = load.requests_max() * load.scenario.revoking_share(&load.shares);
        if let (true, Some(owner)) = (revoked > 0.0, self.material.revoker.clone()) {
            let count = whole(revoked * POOL_MARGIN) + POOL_SPARE;
            self.material.pool = self.issuer.issue(&[owner], count).await?;
        }
        Ok(())
    }

    /// Has people let a client act for them, as often as it takes. Only Tessera has people.
    async fn prepare_grants(&mut self) -> Result<(), SiteError> {
        let client = match (&self.issuer, self.settings.subject) {
            (_, Subject::Rival) => return Err(HostError::NoPeople.into()),
            (Issuer::Tessera { admin_token, .. }, _) => {
                let missing = GRANTS.saturating_sub(self.material.leaves.lock().map_or(0, |leaves| leaves.len()));
                let known = self.material.people_client.clone();
                let crowd = Crowd { server: self.host.address(), bearer: Bearer::new(admin_token) };
                let (client, leaves) = crowd.grant(known, missing).await?;
                if let Ok(mut known) = self.material.leaves.lock() {
                    known.extend(leaves);
                }
                client
            }
            (Issuer::Rival(_) | Issuer::Floor, _) => self.issuer.clients(PEOPLE_CLIENT, 1).await?.pop(),
        };
        self.material.people_client = client;
        Ok(())
    }

    fn usage(&self) -> Usage {
        let pid = self.host.pid();
        Usage {
            at: Instant::now(),
            server: machine::cpu_time(pid),
            helper: machine::cpu_time(self.host.helper_pid()),
            resident_bytes: machine::resident_bytes(pid),
        }
    }

    /// What Tessera says of its syncs so far.
    async fn syncs(&self) -> Syncs {
        let (Host::Tessera { .. } | Host::Other { .. }) = self.host else { return Syncs::default() };
        let Ok(mut connection) = Connection::open(self.host.address()).await else { return Syncs::default() };
        let answer = connection.ask(get("/metrics")).await.ok();
        answer.and_then(|answer| Syncs::read(str::from_utf8(&answer.body).ok()?)).unwrap_or_default()
    }

    /// With every core said.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it holds, and who may ask.
    pub(crate) const fn material(&self) -> &Material {
        &self.material
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.host.address()
    }

    /// What the server held of memory when it had its live tokens and nobody had asked yet, in bytes.
    pub(crate) const fn filled_bytes(&self) -> u64 {
        self.filled_bytes
    }

    /// How long it took to issue the live tokens that it was started with.
    pub(crate) const fn filling(&self) -> Duration {
        self.filling
    }

    /// Resident memory of the server, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        machine::resident_bytes(self.host.pid())
    }

    /// What the server held of memory with all of its clients and no tokens, in bytes.
    pub(crate) const fn empty_bytes(&self) -> u64 {
        self.empty_bytes
    }

    /// Issues so many tokens more, and keeps every so manieth to ask for.
    pub(crate) async fn issue_more(&mut self, count: usize, kept: usize) -> Result<(), SiteError> {
        let live = Arc::make_mut(&mut self.material.live);
        Ok(self.issuer.issue_more(&self.material.clients, (count, kept), live).await?)
    }

    /// Issues tokens that expire at about the same moment, whenever each was issued.
    pub(crate) async fn issue_expiring(&mut self, count: usize, at: Instant) -> Result<(), SiteError> {
        for begin in (0..count).step_by(EXPIRING_TOKENS) {
            let seconds = at.saturating_duration_since(Instant::now()).as_secs();
            let lifetime_seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
            let clients = self.issuer.clients(ClientKind { lifetime_seconds, introspection: "own" }, 1).await?;
            self.issuer.issue(&clients, EXPIRING_TOKENS.min(count - begin)).await?;
        }
        Ok(())
    }

    /// Kills Tessera and starts it again: how long it took until it was ready.
    pub(crate) async fn restart(&mut self) -> Result<Duration, SiteError> {
        let Host::Tessera { installation, server } = &mut self.host else { return Err(HostError::NotOurs.into()) };
        if let Some(server) = server.take() {
            server.kill().await.map_err(HostError::from)?;
        }
        let (started, took) = start_tessera(installation, &self.placement).await?;
        *server = Some(started);
        Ok(took)
    }

    /// Ends the server as an operator does.
    pub(crate) async fn stop(self) -> Result<(), SiteError> {
        self.host.stop().await?;
        Ok(self.folder.close()?)
    }
}

/// On a connection of its own: an idle one might be closed by then.
async fn take_snapshot(server: SocketAddr, bearer: &Bearer) -> Result<u64, SiteError> {
    let answer = Connection::open(server).await?.ask(bearer.take_snapshot()).await?;
    let document = serde_json::from_slice::<SnapshotDocument>(&answer.body).ok();
    let refused = || SiteError::Refused { what: "a request for a snapshot", status: answer.status.as_u16() };
    Ok(document.ok_or_else(refused)?.bytes)
}

#[derive(Deserialize)]
struct SnapshotDocument {
    bytes: u64,
}

async fn start_tessera(installation: &Installation, placement: &Placement) -> Result<(Server, Duration), HostError> {
    let mut server = placement.server.start(|| installation.start(&[]))??;
    let took = server.ready().await?;
    Ok((server, took))
}

/// Lets the load go on until then, or until it is over: whether it is.
async fn watch(running: &mut Running, until: Instant, bar: &ProgressBar) -> Result<bool, GeneratorError> {
    loop {
        let (answered, errors) = running.progress();
        bar.set_position(u64::try_from(running.began.elapsed().as_millis()).unwrap_or_default());
        bar.set_message(format!("{answered} answered, {errors} errors"));
        // Without a terminal there is nothing to wake up for.
        let next = if bar.is_hidden() { until } else { until.min(Instant::now() + BAR_PERIOD) };
        tokio::select! {
            done = running.done() => return done.map(|()| true),
            () = sleep_until(next) => {}
        }
        if next == until {
            return Ok(false);
        }
    }
}

/// Hidden where there is no terminal.
fn progress_bar(load: &Load) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(load.end().as_millis()).unwrap_or_default());
    let rate = load.per_second.map_or_else(|| "closed".to_owned(), |rate| format!("{rate:.0}/s"));
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(format!("{} {rate}", load.scenario.name()));
    bar
}

/// What was sampled while there was load.
struct Seen {
    before: Usage,
    /// At the end of each interval.
    samples: Vec<Usage>,
    syncs: Syncs,
}

/// What processes have used so far.
#[derive(Clone, Copy, Debug)]
struct Usage {
    at: Instant,
    server: Duration,
    helper: Duration,
    resident_bytes: u64,
}

/// What they have used between two moments.
struct Used {
    time: Duration,
    server: Duration,
    helper: Duration,
}

impl Usage {
    fn since(&self, before: Self) -> Used {
        Used {
            time: self.at.duration_since(before.at),
            server: self.server.saturating_sub(before.server),
            helper: self.helper.saturating_sub(before.helper),
        }
    }
}

impl Used {
    fn server_cores(&self) -> f64 {
        self.server.as_secs_f64() / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn helper_cores(&self) -> f64 {
        self.helper.as_secs_f64() / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// How many syncs the journal has made, and how long all of them took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Syncs {
    count: f64,
    seconds: f64,
}

impl Syncs {
    fn read(metrics: &str) -> Option<Self> {
        // Between a name and its value stand its labels, though it has none.
        let value = |line: &str| line.trim_start_matches("{}").strip_prefix(' ')?.parse().ok();
        let find = |name: &str| metrics.lines().find_map(|line| value(line.strip_prefix(name)?));
        Some(Self {
            count: find("tessera_journal_sync_duration_seconds_count")?,
            seconds: find("tessera_journal_sync_duration_seconds_sum")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, seconds: self.seconds - before.seconds }
    }

    fn mean_micros(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.seconds / self.count * 1e6)
    }
}

/// Clients that introspect anybody's tokens.
const GATEWAYS: usize = 16;
const LIFETIME_SECONDS: u32 = 86_400;
/// Of those who have no people.
const PEOPLE_CLIENT: ClientKind = ClientKind { lifetime_seconds: LIFETIME_SECONDS, introspection: "own" };
/// Grants that are refreshed in turn.
const GRANTS: usize = 10_000;
/// Tokens of each kind that is not live, if there are as many live ones.
const DEAD_TOKENS: usize = 100_000;
/// So many more tokens are made to be revoked than should be needed.
const POOL_MARGIN: f64 = 1.02;
const POOL_SPARE: usize = 1000;
/// Tokens that are issued with the same lifetime, in a fraction of a second.
const EXPIRING_TOKENS: usize = 10_000;
/// What a server is taken to answer where it answers less.
const PEAK_MIN: f64 = 100.0;
/// How often the bar moves.
const BAR_PERIOD: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_the_syncs_between_two_scrapes() {
        let scrape = |count: u32, seconds: f64| {
            format!(
                "# TYPE tessera_journal_sync_duration_seconds histogram\n\
                tessera_journal_sync_duration_seconds_sum{{}} {seconds}\n\
                tessera_journal_sync_duration_seconds_count{{}} {count}\n\
                tessera_journal_sync_duration_seconds_bucket{{le=\"0.001\"}} 5\n"
            )
        };
        let (before, after) = (Syncs::read(&scrape(10, 0.5)).unwrap(), Syncs::read(&scrape(14, 0.508)).unwrap());
        assert!((after.since(before).mean_micros().unwrap() - 2000.0).abs() < 1e-6);
        assert_eq!(after.since(after).mean_micros(), None);
        assert_eq!(Syncs::read("tessera_http_requests_total 5\n"), None);
    }
}
