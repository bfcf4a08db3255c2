//! `loadtest run` and `loadtest sweep`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::engine::load::Load;
use crate::engine::report::{StepReport, SweepReport};
use crate::engine::scenario::{Scenario, Shares};
use crate::engine::schedule::Arrivals;
use crate::engine::search::{ANSWERED_MIN, ERRORS_MAX, FROM, Plan, REFINEMENTS, TO};
use crate::engine::settings::Settings;
use crate::engine::site::{Site, SiteError};
use crate::machine;
use crate::measured::Objective;

/// What is asked of which server, how often.
#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// What is asked.
    #[arg(value_enum)]
    scenario: Scenario,
    /// Requests a second.
    #[arg(long, required_unless_present = "closed", value_parser = rate)]
    rate: Option<f64>,
    /// Instead of a rate: each connection asks again as soon as it is answered. Latencies then leave out who had to wait.
    #[arg(long, conflicts_with = "rate")]
    closed: bool,
    /// How long it counts.
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Also report every interval of this length.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    interval: Option<Duration>,
    #[command(flatten)]
    load: LoadOptions,
    /// Fail where the 99th percentile is longer.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    objective_p99: Option<Duration>,
    #[command(flatten)]
    settings: Settings,
    /// Write the report there too, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Which server is asked what, and how far the rate is raised.
#[derive(Args, Debug)]
pub(crate) struct SweepOptions {
    /// What is asked.
    #[arg(value_enum)]
    scenario: Scenario,
    /// What the 99th percentile may be; by default 1 ms, or 20 ms where answers wait for the disk.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    objective_p99: Option<Duration>,
    /// The first rate, in requests a second.
    #[arg(long, default_value_t = FROM, value_parser = rate)]
    from: f64,
    /// The highest rate.
    #[arg(long, default_value_t = TO, value_parser = rate)]
    to: f64,
    /// How often the gap between a rate that meets the objective and one that breaks it is divided.
    #[arg(long, default_value_t = REFINEMENTS)]
    refinements: u32,
    /// How long each rate counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    step_seconds: u64,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    settings: Settings,
    /// Write the report there too, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct LoadOptions {
    /// Keep-alive connections; by default 32, 256 where answers wait for the disk, 8 for batches.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    connections: Option<u32>,
    /// How far apart requests are due.
    #[arg(long, value_enum, default_value = "even")]
    arrivals: Arrivals,
    /// How long there is load before it counts.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    warm_up: Duration,
    #[command(flatten)]
    shares: Shares,
}

impl LoadOptions {
    fn load(&self, scenario: Scenario, per_second: Option<f64>, duration: Duration) -> Load {
        Load {
            arrivals: self.arrivals,
            connections: self.connections.unwrap_or_else(|| scenario.connections()),
            warm_up: self.warm_up,
            shares: self.shares,
            ..Load::new(scenario, per_second, duration)
        }
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("{path}: {reason}")]
    Report { path: PathBuf, reason: io::Error },
}

/// Loads at one rate. Answers whether the objective held.
pub(crate) async fn run(options: &RunOptions) -> Result<bool, CommandError> {
    let load = options.load.load(options.scenario, options.rate, options.duration);
    let machine_load = machine::load();
    let mut site = open(&options.settings, options.scenario).await?;
    let measured = site.measure(&load, options.interval).await?;
    let p99_micros_max = options.objective_p99.map_or(u64::MAX, micros);
    let objective = Objective { p99_micros_max, errors_max: ERRORS_MAX, answered_min: ANSWERED_MIN };
    let report = StepReport {
        machine_load,
        settings: site.settings().clone(),
        load,
        objective,
        step: measured.step,
        intervals: measured.intervals,
    };
    site.stop().await?;
    print!("{report}");
    write(options.report.as_deref(), &report)?;
    Ok(report.has_passed())
}

/// Looks for the highest rate that meets the objective. Answers whether there is one.
pub(crate) async fn sweep(options: &SweepOptions) -> Result<bool, CommandError> {
    let load = options.load.load(options.scenario, None, Duration::from_secs(options.step_seconds));
    let p99_max = options.objective_p99.unwrap_or_else(|| p99_max(options.scenario));
    let plan = Plan { from: options.from, to: options.to, refinements: options.refinements, ..Plan::new(p99_max) };
    let machine_load = machine::load();
    let mut site = open(&options.settings, options.scenario).await?;
    let sweep = site.sweep(&load, &plan).await?;
    let report = SweepReport { machine_load, settings: site.settings().clone(), load, sweep };
    site.stop().await?;
    print!("{report}");
    write(options.report.as_deref(), &report)?;
    Ok(report.sweep.knee.is_some())
}

/// What the 99th percentile may be, where nobody says.
pub(crate) const fn p99_max(scenario: Scenario) -> Duration {
    if scenario.is_change() { CHANGE_P99_MAX } else { READ_P99_MAX }
}

const READ_P99_MAX: Duration = Duration::from_millis(1);
const CHANGE_P99_MAX: Duration = Duration::from_millis(20);

async fn open(settings: &Settings, scenario: Scenario) -> Result<Site, SiteError> {
    eprintln!("starting {} with {} live tokens", settings.subject.name(), settings.tokens);
    Site::start(settings.clone(), scenario).await
}

fn write(path: Option<&Path>, report: &impl Serialize) -> Result<(), CommandError> {
    let Some(path) = path else { return Ok(()) };
    let json = serde_json::to_string_pretty(report).unwrap_or_default();
    std::fs::write(path, json).map_err(|reason| CommandError::Report { path: path.to_owned(), reason })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn rate(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|rate| (RATE_MIN..=RATE_MAX).contains(rate)).ok_or("not a rate from 1 to 10000000")
}

const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 10_000_000.0;

/// A number with its unit: `500us`, `1ms`, `10s`, `2m`; at least a microsecond.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    const UNITS: [(&str, f64); 4] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let value = |(unit, seconds): (&str, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds);
    let seconds = UNITS.into_iter().find_map(value).filter(|seconds| (1e-6..=1e6).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("not a time such as 500us, 1ms, 10s or 2m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let check = |text: &str, micros: Option<u64>| {
            assert_eq!(duration(text).ok(), micros.map(Duration::from_micros), "{text}");
        };
        check("500us", Some(500));
        check("1ms", Some(1000));
        check("1.5s", Some(1_500_000));
        check("2m", Some(120_000_000));
        check("10", None);
        check("s", None);
        check("-1s", None);
        check("0s", None);
        check("infs", None);
    }
}
