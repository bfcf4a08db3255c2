//! `loadtest report`: one run that measures all that a capacity report shows.
//!
//! | module | what it measures |
//! |---|---|
//! | `facts` | the machine, its disk, the programs |
//! | `pace` | nothing: how long everything takes |
//! | `rates` | sweeps, steady rates, mixes, workers; floor and rival |
//! | `populations` | memory, snapshot and restart with many live tokens |
//! | `happenings` | series while a snapshot is written, PostgreSQL is away, many tokens expire |
//! | `revocation` | how soon a revocation is in effect |
//! | `metrics` | what the server says of itself |
//!
//! All is measured in one session, so that ratios hold. A phase that fails is said in the report, and the others go on. One
//! server with the live tokens stands through all phases that it can stand through; while floor and rival are measured it
//! has nothing to do. The large population is on the server that issues with durability `relaxed`: filling it does not wait
//! for the disk.

mod facts;
mod happenings;
mod metrics;
mod pace;
mod populations;
mod rates;
mod revocation;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use tokio::time::{Instant, timeout};

use crate::check::budget::Verdict;
use crate::client::NoAnswer;
use crate::cluster::ClusterError;
use crate::engine::scenario::Scenario;
use crate::engine::settings::Settings;
use crate::engine::site::{Site, SiteError};
use crate::format;
use crate::measured::{Durability, Subject};
use crate::report::measure::pace::Pace;
use crate::report::model::{self, Capacity, Failure};
use crate::report::{budgets, render_html};

/// What is measured, and where the report goes.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Where the page goes.
    #[arg(long, value_name = "FILE", default_value = "capacity.html")]
    html: PathBuf,
    /// Where all figures go, for `loadtest render` and `loadtest plan`.
    #[arg(long, value_name = "FILE", default_value = "capacity.json")]
    json: PathBuf,
    /// Short steps and fewer tokens, for a first look in some minutes.
    #[arg(long)]
    quick: bool,
    /// Live tokens; by default 1000000, with --quick 200000.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1000..))]
    tokens: Option<u64>,
    /// Live tokens of the large population, 0 for none; by default 10000000, with --quick 1000000.
    #[arg(long)]
    large_tokens: Option<u64>,
    /// Where the large population would take the run beyond this, it is left out.
    #[arg(long, value_name = "DURATION", default_value = "9m30s")]
    time_limit: humantime::Duration,
    /// Leave the outage of PostgreSQL out.
    #[arg(long)]
    no_postgres: bool,
    /// The tessera program, a release build; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// The Redis program of the rival.
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    redis_server: PathBuf,
    /// Where the servers' files go: the disk that is measured. By default TMPDIR.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error("{path} is not built with `--release`: what it costs says nothing. Build it with `cargo build --release`")]
    DebugBuild { path: PathBuf },
    #[error("there is no {path}: build it with `cargo build --release`, or name it with --server")]
    NoServer { path: PathBuf },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a phase has no figures.
#[derive(Debug, thiserror::Error)]
enum PhaseError {
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the server answered {what} with {status}")]
    Refused { what: &'static str, status: u16 },
    #[error("there is no figure that it needs: {0}")]
    Lacks(String),
    #[error("it was not done after {}", format::seconds(limit.as_secs_f64()))]
    Late { limit: Duration },
    #[error("{0}")]
    LeftOut(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// No phase takes longer.
const PHASE_LIMIT: Duration = Duration::from_secs(300);

/// Measures, writes and prints the report. Answers whether all phases and budgets held.
pub(crate) async fn run(options: &Options) -> Result<bool, MeasureError> {
    let server = options.server.clone().map_or_else(beside_this_program, Ok)?;
    check_build(&server)?;
    let mut run = Run::new(options, server);
    run.measure().await;
    let capacity = run.conclude();
    write(&options.json, &serde_json::to_string_pretty(&capacity).unwrap_or_default())?;
    write(&options.html, &render_html(&capacity))?;
    print!("{capacity}");
    eprintln!("written: {}, {}", options.html.display(), options.json.display());
    Ok(capacity.failures.is_empty() && !capacity.budgets.iter().any(Verdict::is_broken))
}

fn beside_this_program() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("tessera"))
}

/// Cargo names the folder of programs after their profile. This program serves the floor and the rival, and so counts too.
fn check_build(server: &Path) -> Result<(), MeasureError> {
    let path = server.to_owned();
    if !path.exists() {
        return Err(MeasureError::NoServer { path });
    }
    if path.canonicalize()?.parent().is_some_and(|folder| folder.ends_with("debug")) {
        return Err(MeasureError::DebugBuild { path });
    }
    match cfg!(debug_assertions) {
        true => Err(MeasureError::DebugBuild { path: std::env::current_exe()? }),
        false => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), MeasureError> {
    fs::write(path, text).map_err(|source| MeasureError::Write { path: path.to_owned(), source })
}

/// A run, and what it has measured so far.
struct Run {
    began: Instant,
    pace: Pace,
    /// Of Tessera with durability `sync`.
    settings: Settings,
    large_tokens: u64,
    time_limit: Duration,
    with_postgres: bool,
    capacity: Capacity,
    /// Bytes of journal a record of issue and its rate; the same of revocation.
    journal: [Option<JournalRate>; 2],
    /// Bytes of it that a restart reads a second.
    journal_read: Option<f64>,
    /// The snapshot that was taken in a series.
    snapshot_bytes: Option<u64>,
}

/// What changes of one kind take of the journal.
#[derive(Clone, Copy, Debug)]
struct JournalRate {
    bytes: f64,
    per_second: f64,
}

impl Run {
    fn new(options: &Options, server: PathBuf) -> Self {
        let (tokens, large_tokens) = if options.quick { (200_000, 1_000_000) } else { (1_000_000, 10_000_000) };
        let settings = Settings {
            tokens: options.tokens.unwrap_or(tokens),
            server: Some(server),
            redis_server: options.redis_server.clone(),
            directory: options.directory.clone(),
            ..Settings::default()
        };
        Self {
            began: Instant::now(),
            pace: if options.quick { Pace::QUICK } else { Pace::FULL },
            settings,
            large_tokens: options.large_tokens.unwrap_or(large_tokens),
            time_limit: *options.time_limit,
            with_postgres: !options.no_postgres,
            capacity: Capacity::default(),
            journal: [None; 2],
            journal_read: None,
            snapshot_bytes: None,
        }
    }

    async fn measure(&mut self) {
        self.phase("machine", async |run| facts::gather(run)).await;
        let mut tessera = self.open("tessera", self.settings.clone(), Scenario::Introspect).await;
        self.on(&mut tessera, "settings", async |run, site| facts::settings(run, site)).await;
        self.on(&mut tessera, "introspect", async |run, site| rates::sweep(run, site, Scenario::Introspect).await)
            .await;
        self.beside(Subject::Floor, &[Scenario::Introspect]).await;
        self.beside(Subject::Rival, &[Scenario::Introspect, Scenario::Issue]).await;
        self.on(&mut tessera, "snapshot", happenings::snapshot).await;
        self.on(&mut tessera, "restart", populations::first).await;
        self.on(&mut tessera, "mixes", rates::mixes).await;
        let batch = Scenario::IntrospectBatch;
        self.on(&mut tessera, "introspect-batch", async |run, site| rates::sweep(run, site, batch).await).await;
        self.on(&mut tessera, "revocation", revocation::delay).await;
        self.on(&mut tessera, "expiry", happenings::expiry).await;
        self.on(&mut tessera, "issue, sync", async |run, site| rates::sweep(run, site, Scenario::Issue).await).await;
        self.on(&mut tessera, "revoke", async |run, site| rates::sweep(run, site, Scenario::Revoke).await).await;
        self.on(&mut tessera, "restart with a journal", populations::journal).await;
        self.close(tessera).await;
        self.beside(Subject::Floor, &[Scenario::Issue]).await;
        let memory = self.issue_with(Durability::Memory).await;
        self.close(memory).await;
        let mut relaxed = self.issue_with(Durability::Relaxed).await;
        if self.with_postgres {
            self.phase("database outage", happenings::outage).await;
        }
        self.phase("workers", rates::workers).await;
        if self.large_tokens > 0 && self.on(&mut relaxed, "large population: fill", populations::fill).await.is_some() {
            self.on(&mut relaxed, "large population", populations::large).await;
        }
        self.close(relaxed).await;
    }

    /// One scenario after the other against what Tessera is compared with.
    async fn beside(&mut self, subject: Subject, scenarios: &[Scenario]) {
        let mut site = None;
        for scenario in scenarios {
            let name = format!("{} of {}", subject.name(), scenario.name());
            if site.is_none() {
                let settings = Settings { subject, ..self.settings.clone() };
                site = self.open(&name, settings, *scenario).await;
            }
            if site.is_none() {
                return;
            }
            self.on(&mut site, &name, async |run, site| rates::sweep(run, site, *scenario).await).await;
        }
        self.close(site).await;
    }

    /// Issues with another durability than the first server's: on a server that is left as it is then.
    async fn issue_with(&mut self, durability: Durability) -> Option<Site> {
        let name = format!("issue, {}", durability.name());
        let settings = Settings { durability, tokens: self.pace.few_tokens, ..self.settings.clone() };
        let mut site = self.open(&name, settings, Scenario::Issue).await;
        self.on(&mut site, &name, async |run, site| rates::sweep(run, site, Scenario::Issue).await).await;
        site
    }

    /// Starts a server and fills it.
    async fn open(&mut self, name: &str, settings: Settings, scenario: Scenario) -> Option<Site> {
        let phase = format!("{name}: start with {} tokens", settings.tokens);
        self.phase(&phase, async |_| Ok(Site::start(settings, scenario).await?)).await
    }

    async fn close(&mut self, site: Option<Site>) {
        let Some(site) = site else { return };
        let name = site.settings().subject.name();
        self.phase(&format!("stop {name}"), async |_| Ok(site.stop().await?)).await;
    }

    /// A phase that needs a server. Where that could not be started, it is said that this was not measured either.
    async fn on(
        &mut self,
        site: &mut Option<Site>,
        name: &str,
        work: impl AsyncFnOnce(&mut Self, &mut Site) -> Result<(), PhaseError>,
    ) -> Option<()> {
        let Some(site) = site else {
            self.fail(name, "not measured, for its server was not started".to_owned());
            return None;
        };
        self.phase(name, async |run| work(run, site).await).await
    }

    /// Does a part of the run, says how long it took, and notes why it failed if it did.
    async fn phase<T>(&mut self, name: &str, work: impl AsyncFnOnce(&mut Self) -> Result<T, PhaseError>) -> Option<T> {
        let began = Instant::now();
        let done = timeout(PHASE_LIMIT, work(self)).await;
        let done = done.unwrap_or(Err(PhaseError::Late { limit: PHASE_LIMIT }));
        let outcome = match &done {
            Ok(_) => String::new(),
            Err(error) => format!(": {error}"),
        };
        let (at, took) = (self.began.elapsed().as_secs_f64(), began.elapsed().as_secs_f64());
        eprintln!("{at:6.1} s  {name}, {took:.1} s{outcome}");
        done.map_err(|error| self.fail(name, error.to_string())).ok()
    }

    fn fail(&mut self, phase: &str, what: String) {
        self.capacity.failures.push(Failure { phase: phase.to_owned(), what });
    }

    fn note(&mut self, note: String) {
        self.capacity.notes.push(note);
    }

    /// Ends the report with what follows from all of it.
    fn conclude(mut self) -> Capacity {
        if let [Some(issue), Some(revocation)] = self.journal {
            self.capacity.journal = Some(model::JournalUse {
                bytes_per_issue: issue.bytes,
                issues_per_second: issue.per_second,
                bytes_per_revocation: revocation.bytes,
                revocations_per_second: revocation.per_second,
                read_bytes_per_second: self.journal_read,
            });
        }
        match budgets::verdicts(&self.capacity) {
            Ok(verdicts) => self.capacity.budgets = verdicts,
            Err(error) => self.fail("budgets", error.to_string()),
        }
        self.capacity.seconds = self.began.elapsed().as_secs_f64();
        self.capacity
    }
}

/// Now, as RFC 3339 writes it.
fn now() -> String {
    let now = UNIX_EPOCH + UNIX_EPOCH.elapsed().unwrap_or_default();
    humantime::format_rfc3339_seconds(now).to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn run() -> Run {
        Run::new(&Arguments::parse_from(["report", "--quick"]).options, PathBuf::from("tessera"))
    }

    #[tokio::test]
    async fn a_phase_that_fails_is_in_the_report_and_the_next_goes_on() {
        let mut run = run();
        let lost: Option<()> = run.phase("one", async |_| Err(PhaseError::Lacks("a knee".to_owned()))).await;
        let found = run.phase("other", async |_| Ok(7)).await;
        assert_eq!((lost, found), (None, Some(7)));
        let capacity = run.conclude();
        let failures: Vec<_> = capacity.failures.iter().map(|failure| failure.phase.as_str()).collect();
        assert_eq!(failures, ["one"]);
    }

    #[test]
    fn the_journal_is_said_only_where_both_kinds_of_changes_were_measured() {
        let issue = Some(JournalRate { bytes: 200.0, per_second: 1000.0 });
        let half = Run { journal: [issue, None], ..run() };
        assert!(half.conclude().journal.is_none());
        let both = Run { journal: [issue; 2], ..run() };
        assert!(both.conclude().journal.is_some());
    }

    #[test]
    fn a_debug_build_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let debug = folder.path().join("debug");
        fs::create_dir(&debug).unwrap();
        fs::write(debug.join("tessera"), "").unwrap();
        assert!(matches!(check_build(&debug.join("tessera")), Err(MeasureError::DebugBuild { .. })));
        assert!(matches!(check_build(&debug.join("other")), Err(MeasureError::NoServer { .. })));
    }
}
