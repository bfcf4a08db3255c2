//! What fetches count.

use std::time::Duration;

use crate::telemetry::cell::{Counter, Gauge, Histogram};

/// What came of fetches, as metrics name it: those of [`FetchError`](crate::fetch::client::FetchError), a set of keys that is none, and
/// `ok`.
pub const OUTCOMES: [&str; 13] = [
    "ok",
    "not_allowed",
    "unresolved",
    "address_refused",
    "unconnected",
    "tls",
    "http",
    "redirect",
    "status",
    "encoded",
    "too_long",
    "overdue",
    "no_keys",
];

/// Counts of all fetches.
#[derive(Debug, Default)]
pub struct FetchMetrics {
    /// By outcome, in the order of [`OUTCOMES`].
    pub by_outcome: [Counter; OUTCOMES.len()],
    /// How long each took, in nanoseconds.
    pub duration: Histogram,
    /// Sets of keys in memory, or noted as not to be had.
    pub key_sets: Gauge,
    /// Assertions that were checked with keys that should have been fetched again, and could not be.
    pub stale: Counter,
}

impl FetchMetrics {
    pub(super) fn record(&self, outcome: &str, duration: Duration) {
        let place = OUTCOMES.iter().position(|known| *known == outcome);
        if let Some(counter) = place.and_then(|place| self.by_outcome.get(place)) {
            counter.increment();
        }
        self.duration.observe_duration(duration);
    }
}
