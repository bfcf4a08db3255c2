//! All that a capacity report shows, as it is written to JSON. What a run did not measure is absent.
//!
//! Rates are per second, sizes in bytes, times in the unit that the name ends with.

use serde::{Deserialize, Serialize};

use crate::check::budget::Verdict;
use crate::measured::{Durability, Interval, Latency, Step, Subject, Sweep};

/// What one run has measured of one machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Capacity {
    /// The version of the server, as it says itself.
    pub(crate) version: String,
    pub(crate) commit: Commit,
    /// When the run began: RFC 3339, UTC.
    pub(crate) started: String,
    /// How long it took.
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    /// At most one for each subject, scenario and durability.
    pub(crate) sweeps: Vec<Sweep>,
    /// Longer steps at [`Steady::share`] of a knee, whose percentiles are drawn.
    pub(crate) steady: Vec<Steady>,
    /// Kinds of tokens, introspected at the same rate.
    pub(crate) mixes: Vec<Mix>,
    pub(crate) series: Vec<Series>,
    /// By rising number of live tokens.
    pub(crate) populations: Vec<Population>,
    pub(crate) journal: Option<JournalUse>,
    pub(crate) revocation: Option<RevocationDelay>,
    /// By rising number of workers, each with one more core.
    pub(crate) workers: Vec<Workers>,
    /// Those that are measured on a machine. What this run has no figure for has no value.
    pub(crate) budgets: Vec<Verdict>,
    /// What a reader has to know besides.
    pub(crate) notes: Vec<String>,
    /// What was to be measured and was not, or did not hold.
    pub(crate) failures: Vec<Failure>,
}

/// The source that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Commit {
    /// Its hash; empty where it is not known.
    pub(crate) id: String,
    /// Files differed from it.
    pub(crate) is_dirty: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// The name that the processor has for itself.
    pub(crate) cpu: String,
    pub(crate) cores: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// How many threads wanted to run in the minute before the run.
    pub(crate) load_at_start: f64,
    /// The device that the data directory was on.
    pub(crate) disk: String,
    pub(crate) file_system: String,
    /// One `fdatasync` of one page, alone.
    pub(crate) sync: Option<Latency>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Cores that the server, and each that stands beside it, was pinned to.
    pub(crate) server_cores: Vec<u32>,
    pub(crate) generator_cores: Vec<u32>,
    /// Cores of what a server needs besides: Redis, PostgreSQL.
    pub(crate) helper_cores: Vec<u32>,
    pub(crate) workers: u32,
    pub(crate) shards: u32,
    pub(crate) clients: u32,
    pub(crate) warm_up_seconds: f64,
    pub(crate) step_seconds: f64,
    /// As they say themselves; absent where there was none.
    pub(crate) redis_version: Option<String>,
    pub(crate) postgres_version: Option<String>,
    /// Others that somebody needs to do it again: name and value.
    pub(crate) others: Vec<(String, String)>,
}

/// A constant rate, a fixed share of a knee.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Steady {
    pub(crate) subject: Subject,
    pub(crate) scenario: String,
    pub(crate) durability: Durability,
    /// Of the subject's own knee.
    pub(crate) share: f64,
    pub(crate) step: Step,
}

/// Introspections of one kind of token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mix {
    /// What is asked for: `active`, `expired`, `revoked`, `unknown`, or a mixture in words.
    pub(crate) name: String,
    /// Of the knee of `introspect`.
    pub(crate) share: f64,
    pub(crate) step: Step,
}

/// A run in which something happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) kind: SeriesKind,
    /// What callers asked for: the name of a scenario.
    pub(crate) scenario: String,
    pub(crate) offered_per_second: f64,
    pub(crate) events: Vec<Event>,
    pub(crate) intervals: Vec<Interval>,
}

/// What happens in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SeriesKind {
    /// A snapshot of all live tokens is written.
    Snapshot,
    /// PostgreSQL is stopped, and catches up later.
    DatabaseOutage,
    /// Many tokens expire at once.
    Expiry,
}

/// Something that went on for a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) name: String,
    /// From the beginning of the series.
    pub(crate) begin_seconds: f64,
    pub(crate) end_seconds: f64,
}

/// A server with so many live tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Population {
    pub(crate) live_tokens: u64,
    /// Introspections of them.
    pub(crate) step: Option<Step>,
    /// With all of them, before anybody asks.
    pub(crate) resident_bytes: u64,
    /// What is resident more than in a server without tokens, over all tokens.
    pub(crate) bytes_per_token: f64,
    pub(crate) snapshot_bytes: Option<u64>,
    /// What a restart reads of the journal after the snapshot.
    pub(crate) journal_bytes: Option<u64>,
    /// From the start of the process to its first right answer, after `kill -9`.
    pub(crate) restart_seconds: Option<f64>,
}

/// What changes take of the journal, padding included.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct JournalUse {
    /// Blocks are whole pages of 4 KiB: how many changes share one depends on the rate.
    pub(crate) bytes_per_issue: f64,
    pub(crate) issues_per_second: f64,
    pub(crate) bytes_per_revocation: f64,
    pub(crate) revocations_per_second: f64,
    /// How fast a restart reads it; absent where it was too short to tell.
    pub(crate) read_bytes_per_second: Option<f64>,
}

/// From the moment that a revocation is sent to the first introspection, on another connection, that says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RevocationDelay {
    pub(crate) revocations: u64,
    pub(crate) latency: Latency,
    /// From the answer to the revocation: zero where it was in effect when it was answered.
    pub(crate) after_answer: Latency,
    /// Introspections that were asked after the answer and still said active.
    pub(crate) late: u64,
}

/// `introspect` with so many workers, each on its own core.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Workers {
    pub(crate) workers: u32,
    pub(crate) step: Step,
}

/// A part of the run that went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) phase: String,
    /// In words, with figures.
    pub(crate) what: String,
}
