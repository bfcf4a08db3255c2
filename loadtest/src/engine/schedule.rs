//! When requests are due.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// How far apart requests are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arrivals {
    /// All equally far.
    Even,
    /// As those of many callers who do not know of each other: a Poisson process.
    Poisson,
}

/// The moments at which requests are due, as time since the beginning, rising, up to the end.
pub(crate) struct Schedule {
    arrivals: Arrivals,
    /// The mean distance of two requests, in seconds.
    period: f64,
    /// Where the even ones begin, or the last of the others was.
    at: f64,
    number: u64,
    end: Duration,
    random: fastrand::Rng,
}

impl Schedule {
    /// Share `number` of `shares` of so many requests a second. The even ones of all shares together are even too.
    pub(crate) fn new(
        arrivals: Arrivals,
        per_second: f64,
        end: Duration,
        (number, shares): (u32, u32),
        seed: u64,
    ) -> Self {
        let at = match arrivals {
            Arrivals::Even => f64::from(number) / per_second,
            Arrivals::Poisson => 0.0,
        };
        let random = fastrand::Rng::with_seed(seed.wrapping_add(u64::from(number)));
        Self { arrivals, period: f64::from(shares) / per_second, at, number: 0, end, random }
    }

    fn next_seconds(&mut self) -> f64 {
        match self.arrivals {
            // A product and no sum: errors of rounding do not add up.
            Arrivals::Even => {
                let seconds = self.at + self.number as f64 * self.period;
                self.number += 1;
                seconds
            }
            Arrivals::Poisson => {
                self.at -= (1.0 - self.random.f64()).ln() * self.period;
                self.at
            }
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = Duration::try_from_secs_f64(self.next_seconds()).unwrap_or(Duration::MAX);
        (due < self.end).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Duration = Duration::from_secs(10);

    #[test]
    fn even_requests_are_due_at_multiples_of_the_period_and_end_with_the_run() {
        let due: Vec<_> = Schedule::new(Arrivals::Even, 1000.0, END, (0, 1), 0).collect();
        assert_eq!(due.len(), 10_000);
        for (number, due) in due.iter().enumerate() {
            let expected = Duration::from_millis(number.try_into().unwrap());
            assert!(due.abs_diff(expected) < Duration::from_nanos(10), "{number}: {due:?}");
        }
    }

    #[test]
    fn shares_interleave_to_the_whole() {
        let whole: Vec<_> = Schedule::new(Arrivals::Even, 700.0, END, (0, 1), 0).collect();
        let mut shares: Vec<_> =
            (0..3).flat_map(|share| Schedule::new(Arrivals::Even, 700.0, END, (share, 3), 0)).collect();
        shares.sort_unstable();
        assert_eq!(shares.len(), whole.len());
        assert!(shares.iter().zip(&whole).all(|(one, other)| one.abs_diff(*other) < Duration::from_nanos(10)));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_are_as_uneven_as_they_should_be() {
        let due: Vec<_> = Schedule::new(Arrivals::Poisson, 10_000.0, END, (0, 1), 7).collect();
        let gaps: Vec<_> = due.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((due.len() as f64 / 100_000.0 - 1.0).abs() < 0.02, "{}", due.len());
        // The distances of a Poisson process deviate by as much as they are long.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{}", variance.sqrt() / mean);
    }
}
