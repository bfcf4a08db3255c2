//! `loadtest database`: what PostgreSQL costs callers, and how it catches up after an outage.
//!
//! ```text
//!   introspection, 1000 a second ─┐   ┌─────────┐            ┌────────────┐
//!                                 ├──▶│ tessera │──▶ journal │ PostgreSQL │
//!   issue, half of the peak ──────┘   └─────────┘     └─────▶└────────────┘
//! ```
//!
//! Server, PostgreSQL and load share all cores, as on one small machine. The same load goes on in every phase: without a
//! database; with one, on a new server; while PostgreSQL is stopped; while it catches up. What must hold:
//!
//! - Callers notice PostgreSQL no more than they may notice abuse: the p99 of introspection is at most twice what it was
//!   without, or at most a millisecond longer. A phase that fails is measured again, a few times.
//! - No caller gets another answer than the right one, in any phase.
//! - Records come to the database at least `CATCH_UP_RATIO_MIN` times as fast as new ones are made, once it is back.
//! - In the end every token that was issued is in the tables once, and no record was refused.

mod report;
mod site;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use crate::callers::{PrepareError, Rate};
use crate::client::{Connection, NoAnswer};
use crate::cluster::{Cluster, ClusterError};
use crate::database::report::{CatchUp, Contents, Lag, Report};
use crate::database::site::{Load, Site, projection};
use crate::machine;
use crate::projection::Projection;
use crate::server::{Installation, ServerError};

/// What a run is to do.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long PostgreSQL is stopped.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    outage_seconds: u64,
    /// How long each other phase takes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Tokens a second that are issued, whether or not the last was; by default half of what the server can issue without
    /// a database.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    issue_rate: Option<u32>,
    /// How often the phases with and without PostgreSQL are measured before they fail.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// The tessera program; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// An argument for every start of the server; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    server_arg: Vec<OsString>,
    /// Write the report there too, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    NotPrepared(#[from] PrepareError),
    #[error("the server does not say how far the database is: {0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("the server does not say how far the database is: is it older than --database-url?")]
    NoDatabase,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Introspections a second, and over how many connections.
const INTROSPECTION: Rate = Rate { per_second: 1000, connections: 16 };
/// Over how many connections tokens are issued where each waits for the last. A sync of the disk makes as many at once safe.
const PEAK_CONNECTIONS: u32 = 64;
/// And where none waits: so many may be under way while the disk is slow.
const ISSUE_CONNECTIONS: u32 = 256;
/// How long there is load before it counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// Under load the database has caught up when it lacks no more than what so long a time brings: a batch is under way always.
const CLOSE: Duration = Duration::from_secs(1);
/// How often the server is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the database may take for the rest, once there is no load.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Measures and reports. Answers whether all held.
pub(crate) async fn run(options: &Options) -> Result<bool, DatabaseError> {
    let folder = tempfile::Builder::new().prefix("tessera-database-").tempdir()?;
    let report = Run { options, folder: folder.path(), random: fastrand::Rng::new() }.measure().await?;
    print!("{report}");
    if let Some(path) = &options.report {
        std::fs::write(path, report.to_json())?;
    }
    Ok(report.has_passed())
}

struct Run<'a> {
    options: &'a Options,
    folder: &'a Path,
    random: fastrand::Rng,
}

impl Run<'_> {
    async fn measure(mut self) -> Result<Report, DatabaseError> {
        let machine_load = machine::load();
        let mut known = None;
        for attempt in 1.. {
            eprintln!("without a database, attempt {attempt}");
            let mut site = self.open(&format!("without-{attempt}"), None).await?;
            let load = match known {
                Some(load) => load,
                None => self.load(&mut site).await,
            };
            known = Some(load);
            let without = self.under(load, &mut site).await;
            site.server.stop().await?;

            eprintln!("with PostgreSQL, attempt {attempt}");
            let mut cluster = Cluster::create(&[]).await?;
            let mut site = self.open(&format!("with-{attempt}"), Some(&cluster)).await?;
            let mut with = self.under(load, &mut site).await;
            with.lag = Some(Lag::of(&projection(site.installation.address).await?));
            let mut report = Report::new(machine_load, load, without, with);
            if report.has_passed() || attempt >= self.options.attempts {
                self.interrupt(load, &mut site, &mut cluster, &mut report).await?;
                report.contents = Some(contents(&site, &cluster).await?);
                site.server.stop().await?;
                return Ok(report);
            }
            site.server.stop().await?;
        }
        Err(DatabaseError::NoDatabase)
    }

    /// A new server in a directory of its own.
    async fn open(&mut self, name: &str, cluster: Option<&Cluster>) -> Result<Site, DatabaseError> {
        let url = cluster.into_iter().flat_map(|cluster| ["--database-url".into(), cluster.url().into()]);
        let arguments: Vec<_> = self.options.server_arg.iter().cloned().chain(url).collect();
        let data_dir = self.folder.join(name);
        let installation = Installation::new(self.options.server.as_deref(), data_dir, &arguments, &mut self.random)?;
        Site::open(installation).await
    }

    /// The load of all phases, and the peak that it is half of.
    async fn load(&self, site: &mut Site) -> Load {
        let peak = match self.options.issue_rate {
            Some(_) => None,
            None => Some(site.peak(PEAK_CONNECTIONS, Duration::from_secs(self.options.seconds)).await),
        };
        let per_second = self.options.issue_rate.or_else(|| peak.map(|peak| peak / 2)).unwrap_or_default().max(1);
        Load { introspection: INTROSPECTION, issue: Rate { per_second, connections: ISSUE_CONNECTIONS }, peak }
    }

    async fn under(&self, load: Load, site: &mut Site) -> report::Phase {
        site.load_while(load, sleep(WARM_UP)).await;
        site.load_while(load, sleep(Duration::from_secs(self.options.seconds))).await.0
    }

    /// Stops PostgreSQL for a while and starts it again, under load all the time.
    async fn interrupt(
        &self,
        load: Load,
        site: &mut Site,
        cluster: &mut Cluster,
        report: &mut Report,
    ) -> Result<(), DatabaseError> {
        let (outage, address) = (Duration::from_secs(self.options.outage_seconds), site.installation.address);
        eprintln!("an outage of {} s", outage.as_secs());
        let work = async {
            cluster.stop().await?;
            let began = Instant::now();
            let before = projection(address).await?;
            sleep(outage).await;
            let after = projection(address).await?;
            Ok::<_, DatabaseError>((began.elapsed(), before, after))
        };
        let (phase, watched) = site.load_while(load, work).await;
        let (lasted, before, after) = watched?;
        report.outage = Some(phase);

        eprintln!("catching up");
        let new_per_second = rate(after.durable_lsn.saturating_sub(before.durable_lsn), lasted);
        let mut catch_up = CatchUp::new(lasted, &after, new_per_second);
        let limit = 2 * outage + REST_LIMIT;
        let mut connection = Connection::open(address).await?;
        let is_close = |seen: &Projection| rate(seen.lag_records, CLOSE) <= new_per_second;
        let work = async {
            cluster.start().await?;
            let started = Instant::now();
            while catch_up.caught_up_after.is_none() && started.elapsed() < limit {
                let asked = started.elapsed();
                let seen = Projection::ask(&mut connection).await?.ok_or(DatabaseError::NoDatabase)?;
                catch_up.see(&seen, asked, started.elapsed(), is_close(&seen));
                sleep(PAUSE).await;
            }
            Ok::<_, DatabaseError>(())
        };
        let (phase, watched) = site.load_while(load, work).await;
        watched?;
        report.catching_up = Some(phase);
        report.catch_up = Some(catch_up);
        Ok(())
    }
}

/// What the tables hold once all that was issued had the time to come there.
async fn contents(site: &Site, cluster: &Cluster) -> Result<Contents, DatabaseError> {
    let began = Instant::now();
    let mut lag_records = projection(site.installation.address).await?.lag_records;
    while lag_records > 0 && began.elapsed() < REST_LIMIT {
        sleep(PAUSE).await;
        lag_records = projection(site.installation.address).await?.lag_records;
    }
    let mut connection = cluster.connect().await.map_err(ClusterError::from)?;
    let mut count = async |sql: &'static str| -> Result<u64, ClusterError> {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    };
    Ok(Contents {
        acknowledged: site.issued,
        unknown: site.unknown,
        events: count("SELECT count(*) FROM tessera.token_events WHERE kind = 1").await?,
        dead_letters: count("SELECT count(*) FROM tessera.dead_letters").await?,
        lag_records,
    })
}

/// So many in that time, a second.
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
