//! What was measured, as it is written to JSON: the engine makes it, reports and budgets read it.
//!
//! Times are in microseconds, rates per second, sizes in bytes.

use clap::ValueEnum;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Figures by their names.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// This server.
    Tessera,
    /// A bare actix-web server with a canned answer of the same size.
    Floor,
    /// What teams build in house: an actix-web handler that keeps digests in Redis.
    Rival,
}

/// What the disk has seen of a change when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    /// All of it.
    Sync,
    /// All of it soon, where it is an issued token.
    Relaxed,
    /// Nothing.
    Memory,
}

/// One scenario against one subject, at rates that rise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sweep {
    pub(crate) subject: Subject,
    /// The name of the scenario, as `loadtest run` takes it.
    pub(crate) scenario: String,
    pub(crate) durability: Durability,
    pub(crate) connections: u32,
    /// Tokens that were live.
    pub(crate) live_tokens: u64,
    pub(crate) objective: Objective,
    /// As often as connections that each ask again at once; absent where that was not measured.
    #[serde(default)]
    pub(crate) closed: Option<Step>,
    /// By rising rate.
    pub(crate) steps: Vec<Step>,
    /// The last step that met the objective: its place in `steps`. `None` if none did.
    pub(crate) knee: Option<usize>,
    /// What limited the sweep.
    pub(crate) limit: Limit,
}

/// What a step must meet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Objective {
    pub(crate) p99_micros_max: u64,
    /// Of the requests that were due, the share that may fail.
    pub(crate) errors_max: f64,
    /// Of the offered rate, the share that must have been answered within the step.
    pub(crate) answered_min: f64,
}

/// Why a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// The objective broke while the generator had time to spare.
    Server,
    /// The generator had no time left: the server may be able to do more.
    Generator,
    /// The highest rate that was asked for was met.
    Rate,
}

/// A constant rate for a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Requests due a second.
    pub(crate) offered_per_second: f64,
    /// Right answers a second.
    pub(crate) answered_per_second: f64,
    pub(crate) seconds: f64,
    /// Requests that were not answered, or not rightly.
    pub(crate) errors: u64,
    /// From the moment that a request was due to its whole answer.
    pub(crate) latency: Latency,
    /// Latency by percentile, for a plot: (percentile from 0 to 100, microseconds), rising.
    pub(crate) percentiles: Vec<(f64, u64)>,
    /// User and system time of the server's process over right answers.
    pub(crate) cpu_micros_per_request: f64,
    /// The share of one core that the server's process used; 2.0 is two cores.
    pub(crate) server_cores: f64,
    /// The same of processes that the server needs besides: the rival's Redis.
    pub(crate) helper_cores: f64,
    /// The share of its time that the generator did not wait.
    pub(crate) generator_busy: f64,
    /// How late the generator itself sent what an idle connection waited for, at its 99th percentile.
    pub(crate) generator_late_micros: u64,
    /// Resident memory of the server at the end.
    pub(crate) resident_bytes: u64,
    /// Mean time of one sync of the journal meanwhile; `None` where none happened.
    pub(crate) sync_micros: Option<f64>,
    /// Tokens of one request: more than one in batches.
    #[serde(default = "one")]
    pub(crate) tokens_per_request: u32,
    /// Whether it was ended before its time, because too many requests waited or there were none left to send. Figures are
    /// of the time until then.
    #[serde(default)]
    pub(crate) is_cut_short: bool,
    /// What went wrong first, in words, if anything did.
    #[serde(default)]
    pub(crate) first_failure: Option<String>,
}

const fn one() -> u32 {
    1
}

/// Percentiles of one histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// One second, or another fixed interval, of a run in which something happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// From the beginning of the run to the beginning of the interval.
    pub(crate) at_seconds: f64,
    pub(crate) answered_per_second: f64,
    pub(crate) errors: u64,
    pub(crate) latency: Latency,
    pub(crate) server_cores: f64,
    pub(crate) resident_bytes: u64,
}

impl Durability {
    /// As `tessera serve --durability` takes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Relaxed => "relaxed",
            Self::Memory => "memory",
        }
    }
}

impl Subject {
    /// As `loadtest run --subject` takes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tessera => "tessera",
            Self::Floor => "floor",
            Self::Rival => "rival",
        }
    }
}
