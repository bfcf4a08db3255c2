//! `loadtest check`: what speed may cost, held against what it costs.
//!
//! | module | what it has |
//! |---|---|
//! | `budget` | `benches/budgets.toml`, and the verdict on each line of it |
//! | `counts` | instructions, allocations and bytes, as the benches print them: they do not move with the machine |
//! | `figure` | how each figure that has a budget follows from what is measured; for the report as well |
//! | `figures` | what is measured here: Tessera, the floor and the rival in turn, so that what else the machine does is in all |

pub(crate) mod budget;
mod counts;
pub(crate) mod figure;
mod figures;

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::check::budget::{Budgets, InvalidBudgets};
use crate::check::counts::{Counts, InvalidCounts};
use crate::engine::site::SiteError;
use crate::measured::Figures;

/// What is to be held against the budgets.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The budgets.
    #[arg(long, value_name = "FILE", default_value = "benches/budgets.toml")]
    budgets: PathBuf,
    /// What `cargo bench --features bench --bench instructions --bench allocations -- --output-format=json` has printed; may
    /// be repeated. `benches/counts` does both.
    #[arg(long, value_name = "FILE", required_unless_present = "measure")]
    counts: Vec<PathBuf>,
    /// Measure what moves with the machine, too: about five minutes, with nothing else running.
    #[arg(long)]
    measure: bool,
    #[command(flatten)]
    rounds: figures::Rounds,
    /// Write the verdicts there too, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("{path}: {reason}")]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{path}: {reason}")]
    Budgets { path: PathBuf, reason: InvalidBudgets },
    #[error("{path}: {reason}")]
    Counts { path: PathBuf, reason: InvalidCounts },
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Holds what was counted, and what is measured, against the budgets. Answers whether all of them held.
pub(crate) async fn run(options: &Options) -> Result<bool, CheckError> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|reason| CheckError::Unreadable { path: path.clone(), reason })
    };
    let budgets = Budgets::parse(&read(&options.budgets)?)
        .map_err(|reason| CheckError::Budgets { path: options.budgets.clone(), reason })?;
    let mut verdicts = Vec::new();
    if !options.counts.is_empty() {
        let mut counts = Counts::default();
        for path in &options.counts {
            let text = read(path)?;
            counts.read(&text).map_err(|reason| CheckError::Counts { path: path.clone(), reason })?;
        }
        verdicts.extend(budgets.judge_counts(&counts));
    }
    if options.measure {
        let figures: Figures = figures::measure(&options.rounds).await?;
        verdicts.extend(budgets.judge_figures(&figures));
    }
    println!("{}", budget::table(&verdicts));
    if let Some(path) = &options.report {
        std::fs::write(path, serde_json::to_string_pretty(&verdicts).map_err(io::Error::other)?)?;
    }
    Ok(verdicts.iter().all(budget::Verdict::holds))
}
