//! The capacity report: what a machine can do, for people who did not measure it.
//!
//! | module | what it has |
//! |---|---|
//! | `measure` | `loadtest report`: the run that measures all of it |
//! | `model` | all that a report shows, as JSON has it |
//! | `figures` | what follows from it: knees, ratios to floor and rival |
//! | `budgets` | the same figures as `loadtest check` has, held against their budgets |
//! | `planner` | from a demand to cores, memory, disk and restart time |
//! | `lines` | figures in words and cells |
//! | `text` | the summary on a terminal, and for the README |
//! | `html`, `plot` | the page, and the plots in it |
//!
//! ```text
//!  measure ──▶ Capacity ──▶ JSON ──▶ loadtest render, loadtest plan
//!                   └──────▶ page, text
//! ```

mod budgets;
mod figures;
mod html;
mod lines;
mod measure;
mod model;
mod planner;
mod plot;
#[cfg(test)]
mod sample;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::measured::Durability;
use crate::report::planner::{Coefficients, Demand, PlanError};

pub(crate) use html::render_html;
pub(crate) use measure::{Options, run};
pub(crate) use model::*;

/// A saved report, and how it is to be shown.
#[derive(Args, Debug)]
pub(crate) struct RenderOptions {
    /// The report, as JSON.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Write the page there.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print tables for a README instead of the summary.
    #[arg(long)]
    markdown: bool,
}

/// A demand, and the report to plan it by.
#[derive(Args, Debug)]
pub(crate) struct PlanOptions {
    /// The report, as JSON.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Introspections a second.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    introspect_rate: f64,
    /// Tokens issued a second.
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = rate)]
    issue_rate: f64,
    /// Revocations a second.
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = rate)]
    revoke_rate: f64,
    /// Live tokens at the same time; at least those that are issued in a lifetime.
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = rate)]
    tokens: f64,
    /// How long a token lives on average.
    #[arg(long, default_value = "1h")]
    lifetime: humantime::Duration,
    /// What 99 of 100 requests of each kind must be faster than.
    #[arg(long)]
    p99: humantime::Duration,
    /// How long PostgreSQL may be away while the journal keeps all changes for it.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    outage: humantime::Duration,
    /// What a token that is answered has behind it.
    #[arg(long, value_enum, default_value_t = PlannedDurability::Sync)]
    durability: PlannedDurability,
    /// Print the formulas too.
    #[arg(long)]
    formulas: bool,
}

/// The classes of durability that keep what they acknowledge.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PlannedDurability {
    /// Each change is answered after its sync.
    Sync,
    /// A token may be answered before.
    Relaxed,
}

/// Why a saved report could not be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a report: {source}. `loadtest report` makes one")]
    Format { path: PathBuf, source: serde_json::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Plan(String),
}

/// Shows a saved report again.
pub(crate) fn render(options: &RenderOptions) -> Result<bool, ReportError> {
    let capacity = read(&options.from)?;
    if let Some(path) = &options.html {
        let write = |source| ReportError::Write { path: path.clone(), source };
        fs::write(path, render_html(&capacity)).map_err(write)?;
    }
    if options.markdown {
        print!("{}", text::markdown(&capacity))
    } else {
        print!("{capacity}")
    }
    Ok(true)
}

/// Plans a demand by a saved report.
pub(crate) fn plan(options: &PlanOptions) -> Result<bool, ReportError> {
    let capacity = read(&options.from)?;
    let said = |error: PlanError| ReportError::Plan(error.to_string());
    let coefficients = Coefficients::of(&capacity).map_err(|lacks| said(PlanError::NotMeasured { lacks }))?;
    let demand = options.demand();
    let plan = planner::plan(&coefficients, &demand).map_err(said)?;
    print!("{}", text::plan(&capacity, &coefficients, &demand, &plan, options.formulas));
    Ok(true)
}

fn read(path: &Path) -> Result<Capacity, ReportError> {
    let path = path.to_owned();
    let bytes = fs::read(&path).map_err(|source| ReportError::Read { path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| ReportError::Format { path, source })
}

impl PlanOptions {
    fn demand(&self) -> Demand {
        Demand {
            introspections_per_second: self.introspect_rate,
            issues_per_second: self.issue_rate,
            revocations_per_second: self.revoke_rate,
            live_tokens: self.tokens,
            lifetime_seconds: self.lifetime.as_secs_f64(),
            p99_micros_max: u64::try_from(self.p99.as_micros()).unwrap_or(u64::MAX),
            outage_seconds: self.outage.as_secs_f64(),
            durability: match self.durability {
                PlannedDurability::Sync => Durability::Sync,
                PlannedDurability::Relaxed => Durability::Relaxed,
            },
        }
    }
}

/// A number of which there cannot be less than none.
fn rate(text: &str) -> Result<f64, String> {
    let value: f64 = text.replace('_', "").parse().map_err(|_| "this is not a number".to_owned())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("this is not a rate".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: PlanOptions,
    }

    #[test]
    fn a_demand_is_read_from_arguments() {
        let arguments = "plan --from r.json --introspect-rate 50_000 --issue-rate 1e3 --lifetime 30m --p99 2ms";
        let demand = Arguments::try_parse_from(arguments.split(' ')).unwrap().options.demand();
        assert_eq!((demand.introspections_per_second, demand.issues_per_second), (50_000.0, 1000.0));
        assert_eq!((demand.lifetime_seconds, demand.p99_micros_max), (1800.0, 2000));
        assert_eq!((demand.outage_seconds, demand.durability), (3600.0, Durability::Sync));
        for wrong in ["-1", "inf", "many"] {
            assert!(
                Arguments::try_parse_from(["plan", "--from", "r", "--p99", "1ms", "--introspect-rate", wrong]).is_err()
            );
        }
    }

    #[test]
    fn a_saved_report_says_what_it_said_and_a_part_of_one_is_read_too() {
        let saved = serde_json::to_string(&sample::capacity()).unwrap();
        let read: Capacity = serde_json::from_str(&saved).unwrap();
        assert_eq!(read.to_string(), sample::capacity().to_string());
        let part: Capacity = serde_json::from_str(r#"{"version":"1","machine":{"cores":2}}"#).unwrap();
        assert_eq!((part.version.as_str(), part.machine.cores, part.sweeps.len()), ("1", 2, 0));
    }
}
