//! How long everything takes: the full run is done in under ten minutes on two cores.

use std::time::Duration;

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What does not count, before each step.
    pub(super) warm_up: Duration,
    /// One step of a sweep.
    pub(super) step: Duration,
    /// Rates of a sweep, as shares of what is answered when each connection asks again at once; rising. Budgets are about two
    /// of them: 0.3 and 0.7.
    pub(super) shares: &'static [f64],
    /// One step whose percentiles are drawn.
    pub(super) steady: Duration,
    /// One kind of token.
    pub(super) mix: Duration,
    /// A run in which something happens, and when it does.
    pub(super) series: Duration,
    pub(super) quiet: Duration,
    /// How long PostgreSQL is away.
    pub(super) outage: Duration,
    /// Revocations whose delay is timed.
    pub(super) revocations: usize,
    /// Live tokens where their number does not matter much.
    pub(super) few_tokens: u64,
    /// Tokens that expire at once.
    pub(super) expiring_tokens: usize,
    /// How long one page is synced again and again.
    pub(super) syncs: Duration,
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Pace {
    pub(super) const FULL: Self = Self {
        warm_up: millis(300),
        step: millis(1200),
        shares: &[0.1, 0.3, 0.5, 0.7, 0.85, 1.0, 1.15],
        steady: millis(4000),
        mix: millis(2500),
        series: millis(13_000),
        quiet: millis(4000),
        outage: millis(4000),
        revocations: 500,
        few_tokens: 200_000,
        expiring_tokens: 200_000,
        syncs: millis(1000),
    };

    pub(super) const QUICK: Self = Self {
        warm_up: millis(300),
        step: millis(700),
        shares: &[0.3, 0.5, 0.7, 0.85, 0.95, 1.1],
        steady: millis(1500),
        mix: millis(700),
        series: millis(5000),
        quiet: millis(1500),
        outage: millis(1500),
        revocations: 100,
        few_tokens: 50_000,
        expiring_tokens: 20_000,
        syncs: millis(300),
    };
}
