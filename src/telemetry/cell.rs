//! Counters and histograms that are recorded without a lock.
//!
//! Each has one writing thread, or few: a hot path gives every thread its own and the scrape adds them up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many observations fell into each power of two, with their sum. The unit is the caller's.
#[derive(Debug)]
pub struct Histogram {
    /// Bucket `i` counts observations `v` with `2^(i-1) <= v < 2^i`; bucket 0 counts zeros.
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// One bucket for each bit length of a `u64`, and one for zero.
pub const BUCKETS: usize = 65;

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts one duration, in nanoseconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what has been observed so far to `totals`.
    pub fn add_to(&self, totals: &mut HistogramTotals) {
        for (total, count) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += count.load(Ordering::Relaxed);
        }
        totals.sum = totals.sum.wrapping_add(self.sum.load(Ordering::Relaxed));
    }
}

/// The sum of one or more histograms.
#[derive(Clone, Debug)]
pub struct HistogramTotals {
    /// Observations by bit length.
    pub buckets: [u64; BUCKETS],
    /// The sum of all observations, in their unit.
    pub sum: u64,
}

impl Default for HistogramTotals {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl HistogramTotals {
    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_lands_in_the_bucket_of_its_bit_length() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, u64::MAX] {
            histogram.observe(value);
        }
        let mut totals = HistogramTotals::default();
        histogram.add_to(&mut totals);
        assert_eq!((totals.buckets[0], totals.buckets[1], totals.buckets[2], totals.buckets[3]), (1, 1, 2, 1));
        assert_eq!(totals.buckets[64], 1);
        assert_eq!(totals.count(), 6);
    }
}
