//! Accounts: what was due, what was answered and when, and who was late.
//!
//! Nothing here reads a clock or a socket. Every time is since the beginning of the run.
//!
//! ```text
//!  0        warm_up                              end
//!  |-----------|==================================|- - - - -|
//!    does not    the window: requests that are due   answers of the
//!    count       here count                          window's requests
//! ```
//!
//! A request's time counts from the moment at which it was due, whether or not it could be sent then. One that was never
//! answered is an error, and its time counts up to the moment at which nobody waited any longer: a server that stalls pays
//! for all who would have come meanwhile.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::engine::schedule::Schedule;
use crate::measured::Latency;

/// When the next request is sent.
pub(crate) enum Pace {
    /// At its moment.
    Open(Peekable<Schedule>),
    /// As soon as a connection is idle.
    Closed,
}

/// What of a run counts, and how finely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) end: Duration,
    /// The length of one interval of a series; none is kept where there is none.
    pub(crate) interval: Option<Duration>,
}

impl Window {
    fn holds(&self, time: Duration) -> bool {
        self.warm_up <= time && time < self.end
    }

    pub(crate) fn length(&self) -> Duration {
        self.end.saturating_sub(self.warm_up)
    }
}

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Since when.
    pub(crate) at: Duration,
    /// Whether it was sent before, on a connection that the server had closed.
    pub(crate) is_again: bool,
    /// Whether its time counts, and not only its answer.
    pub(crate) is_timed: bool,
}

/// The accounts of one thread.
pub(crate) struct Ledger {
    pace: Pace,
    window: Window,
    /// Due and not sent, oldest first.
    waiting: VecDeque<Due>,
    waiting_max: usize,
    /// Sent and not answered.
    asked: usize,
    has_run_out: bool,
    tally: Tally,
}

impl Ledger {
    /// With room for so many requests that wait: more of them cut the run short.
    pub(crate) fn new(pace: Pace, window: Window, waiting_max: usize) -> Self {
        let tally = Tally::new(&window);
        Self { pace, window, waiting: VecDeque::new(), waiting_max, asked: 0, has_run_out: false, tally }
    }

    /// Notes what is due by now.
    pub(crate) fn advance(&mut self, now: Duration) {
        let Pace::Open(schedule) = &mut self.pace else { return };
        while let Some(at) = schedule.next_if(|at| *at <= now) {
            self.waiting.push_back(Due { at, is_again: false, is_timed: true });
        }
    }

    /// Takes the request that a connection sends that is idle since then.
    pub(crate) fn take(&mut self, now: Duration, idle_since: Duration) -> Option<Due> {
        if self.has_run_out {
            return None;
        }
        let due = match (self.waiting.pop_front(), &self.pace) {
            (Some(due), _) => due,
            (None, Pace::Closed) if now < self.window.end => Due { at: now, is_again: false, is_timed: true },
            (None, _) => return None,
        };
        if self.window.holds(due.at) && !due.is_again {
            record(&mut self.tally.late, now.saturating_sub(due.at.max(idle_since)));
        }
        self.asked += 1;
        Some(due)
    }

    /// There is nothing to send for a request that was taken, nor for any later: the run is over before its time.
    pub(crate) fn run_out(&mut self) {
        self.asked = self.asked.saturating_sub(1);
        self.has_run_out = true;
        self.waiting.clear();
    }

    /// The server had closed the connection before the request came. It is sent again, once.
    pub(crate) fn give_back(&mut self, due: Due, now: Duration) {
        if due.is_again {
            return self.fail(due, now);
        }
        self.asked = self.asked.saturating_sub(1);
        self.tally.sent_again += 1;
        self.waiting.push_front(Due { is_again: true, ..due });
    }

    pub(crate) fn answer(&mut self, due: Due, now: Duration, is_right: bool) {
        if !is_right {
            return self.fail(due, now);
        }
        self.asked = self.asked.saturating_sub(1);
        if due.is_timed {
            self.time(due, now);
        }
        if self.window.holds(now) {
            self.tally.answered += 1;
            if let Some(interval) = self.tally.interval(&self.window, now) {
                interval.answered += 1;
            }
        }
    }

    /// The request was not answered, or not rightly.
    pub(crate) fn fail(&mut self, due: Due, now: Duration) {
        self.asked = self.asked.saturating_sub(1);
        self.charge(due, now);
    }

    /// When the next request is due that is not yet.
    pub(crate) fn next_due(&mut self) -> Option<Duration> {
        match &mut self.pace {
            Pace::Open(schedule) => schedule.peek().copied(),
            Pace::Closed => None,
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.pace, Pace::Closed)
    }

    /// Whether there is nothing to wait for: all is answered, time is up, or more wait than may.
    pub(crate) fn is_over(&mut self, now: Duration) -> bool {
        let nothing_comes = match &mut self.pace {
            Pace::Open(schedule) => schedule.peek().is_none() && self.waiting.is_empty(),
            Pace::Closed => now >= self.window.end,
        };
        let is_done = (nothing_comes || self.has_run_out) && self.asked == 0;
        is_done || now >= self.window.end + DRAIN_LIMIT || self.waiting.len() > self.waiting_max
    }

    /// How long this thread had nothing to do, from the first moment to the second.
    pub(crate) fn rest(&mut self, from: Duration, to: Duration) {
        self.tally.rested += to.min(self.window.end).saturating_sub(from.max(self.window.warm_up));
    }

    /// Ends the accounts with those that are still under way.
    pub(crate) fn close(mut self, under_way: impl Iterator<Item = Due>, now: Duration) -> Tally {
        self.tally.is_cut_short = self.waiting.len() > self.waiting_max || self.has_run_out;
        self.tally.window = now.min(self.window.end).saturating_sub(self.window.warm_up);
        let waiting = if self.has_run_out { VecDeque::new() } else { std::mem::take(&mut self.waiting) };
        for due in waiting.into_iter().chain(under_way) {
            self.charge(due, now);
        }
        self.tally
    }

    fn charge(&mut self, due: Due, now: Duration) {
        if self.window.holds(due.at) {
            self.tally.errors += 1;
            if let Some(interval) = self.tally.interval(&self.window, due.at) {
                interval.errors += 1;
            }
        }
        if due.is_timed {
            self.time(due, now);
        }
    }

    fn time(&mut self, due: Due, now: Duration) {
        if self.window.holds(due.at) {
            let latency = now.saturating_sub(due.at);
            record(&mut self.tally.latencies, latency);
            if let Some(interval) = self.tally.interval(&self.window, due.at) {
                record(&mut interval.latencies, latency);
            }
        }
    }
}

/// How long answers are waited for after the last request was due.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What one thread, or all together, have seen in the window.
#[derive(Debug)]
pub(crate) struct Tally {
    /// From the moment that a request was due to its whole answer, in microseconds.
    latencies: Histogram<u64>,
    /// How long a request was not sent that a connection was there for, in microseconds.
    late: Histogram<u64>,
    /// Right answers that came.
    pub(crate) answered: u64,
    /// Requests that were due, and not answered, or not rightly.
    pub(crate) errors: u64,
    /// Requests that were sent a second time, for the server had closed the connection. No error by itself.
    pub(crate) sent_again: u64,
    /// Time without work.
    rested: Duration,
    /// More requests waited than may, or there were no more to send.
    pub(crate) is_cut_short: bool,
    pub(crate) intervals: Vec<IntervalTally>,
    /// How long the window was in the end.
    pub(crate) window: Duration,
    /// The busiest thread's share of the window.
    busy: f64,
}

/// What was seen in one interval: requests that were due in it, answers that came in it.
#[derive(Clone, Debug)]
pub(crate) struct IntervalTally {
    latencies: Histogram<u64>,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
}

impl Tally {
    fn new(window: &Window) -> Self {
        let interval = IntervalTally { latencies: histogram(INTERVAL_SIGNIFICANT_DIGITS), answered: 0, errors: 0 };
        let count = window.interval.map_or(0, |length| window.length().as_nanos().div_ceil(length.as_nanos()));
        let intervals = vec![interval; usize::try_from(count).unwrap_or_default()];
        Self {
            latencies: histogram(SIGNIFICANT_DIGITS),
            late: histogram(SIGNIFICANT_DIGITS),
            answered: 0,
            errors: 0,
            sent_again: 0,
            rested: Duration::ZERO,
            is_cut_short: false,
            intervals,
            window: window.length(),
            busy: 0.0,
        }
    }

    fn interval(&mut self, window: &Window, time: Duration) -> Option<&mut IntervalTally> {
        let length = window.interval?.as_nanos();
        let number = time.checked_sub(window.warm_up)?.as_nanos().checked_div(length)?;
        self.intervals.get_mut(usize::try_from(number).ok()?)
    }

    /// Together with another thread's.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.busy = self.busy().max(other.busy());
        self.latencies += &other.latencies;
        self.late += &other.late;
        self.answered += other.answered;
        self.errors += other.errors;
        self.sent_again += other.sent_again;
        self.is_cut_short |= other.is_cut_short;
        self.window = self.window.min(other.window);
        for (one, other) in self.intervals.iter_mut().zip(&other.intervals) {
            one.latencies += &other.latencies;
            one.answered += other.answered;
            one.errors += other.errors;
        }
        self
    }

    /// The share of its time in which the busiest thread did not wait.
    pub(crate) fn busy(&self) -> f64 {
        let rested = self.rested.as_secs_f64() / self.window.as_secs_f64().max(f64::MIN_POSITIVE);
        self.busy.max(1.0 - rested.min(1.0))
    }

    pub(crate) fn latency(&self) -> Latency {
        latency(&self.latencies)
    }

    /// Right answers a second.
    pub(crate) fn answered_per_second(&self) -> f64 {
        if self.window.is_zero() { 0.0 } else { self.answered as f64 / self.window.as_secs_f64() }
    }

    /// How late requests were sent that a connection was there for, at the 99th percentile, in microseconds.
    pub(crate) fn late_micros(&self) -> u64 {
        self.late.value_at_percentile(99.0)
    }

    /// The latency at percentiles that lie closer the nearer they are to 100.
    pub(crate) fn percentiles(&self) -> Vec<(f64, u64)> {
        let values = self.latencies.iter_quantiles(TICKS_PER_HALF_DISTANCE);
        values.map(|value| (value.percentile(), value.value_iterated_to())).collect()
    }
}

impl IntervalTally {
    pub(crate) fn latency(&self) -> Latency {
        latency(&self.latencies)
    }
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    Latency {
        p50: histogram.value_at_percentile(50.0),
        p90: histogram.value_at_percentile(90.0),
        p99: histogram.value_at_percentile(99.0),
        p999: histogram.value_at_percentile(99.9),
        max: histogram.max(),
    }
}

fn histogram(significant_digits: u8) -> Histogram<u64> {
    let histogram = Histogram::new_with_max(LATENCY_MICROS_MAX, significant_digits);
    histogram.expect("such a maximum and so many digits are allowed")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
}

/// What takes longer is recorded as this: a minute.
const LATENCY_MICROS_MAX: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
const INTERVAL_SIGNIFICANT_DIGITS: u8 = 2;
const TICKS_PER_HALF_DISTANCE: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::schedule::Arrivals;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A thousand requests a second for two seconds, of which the first does not count.
    fn ledger() -> Ledger {
        let window = Window { warm_up: SECOND, end: 2 * SECOND, interval: Some(SECOND / 2) };
        let schedule = Schedule::new(Arrivals::Even, 1000.0, window.end, (0, 1), 0);
        Ledger::new(Pace::Open(schedule.peekable()), window, 10_000)
    }

    /// Sends and answers all that is due, a connection being always there.
    fn serve(ledger: &mut Ledger, now: Duration, takes: Duration) {
        ledger.advance(now);
        while let Some(due) = ledger.take(now, Duration::ZERO) {
            ledger.answer(due, now + takes, true);
        }
    }

    #[test]
    fn what_is_due_in_the_warm_up_does_not_count() {
        let mut ledger = ledger();
        for millisecond in 0..2000 {
            let takes = if millisecond < 1000 { 100 * MILLISECOND } else { MILLISECOND };
            serve(&mut ledger, millisecond * MILLISECOND, takes);
        }
        let tally = ledger.close(std::iter::empty(), 3 * SECOND);
        assert_eq!(tally.latencies.len(), 1000);
        assert_eq!((tally.latency().p50, tally.latency().max), (1000, 1000));
        // Those of the last tenth of the warm-up came in the window; what was due in the last millisecond, after it.
        assert_eq!((tally.answered, tally.errors), (1000 + 100 - 1, 0));
    }

    #[test]
    fn a_server_that_stalls_is_charged_for_all_who_come_meanwhile() {
        let mut ledger = ledger();
        for millisecond in 0..1500 {
            serve(&mut ledger, millisecond * MILLISECOND, Duration::ZERO);
        }
        // From 1.5 s on nothing is answered for 400 ms; the one connection is busy with the request of 1.5 s.
        ledger.advance(1500 * MILLISECOND);
        let stalled = ledger.take(1500 * MILLISECOND, 1499 * MILLISECOND).unwrap();
        ledger.answer(stalled, 1900 * MILLISECOND, true);
        for millisecond in 1900..2000 {
            ledger.advance(millisecond * MILLISECOND);
            while let Some(due) = ledger.take(millisecond * MILLISECOND, 1900 * MILLISECOND) {
                ledger.answer(due, millisecond * MILLISECOND, true);
            }
        }
        let tally = ledger.close(std::iter::empty(), 2 * SECOND);
        assert_eq!((tally.answered, tally.errors), (1000, 0));
        // 400 of 1,000 had to wait, evenly between 0 and 400 ms.
        assert_eq!((tally.latency().p50, tally.latency().max), (0, 400_127));
        for (percentile, millis) in [(70.0, 100), (80.0, 200), (90.0, 300)] {
            let micros = tally.latencies.value_at_percentile(percentile);
            assert!(micros.abs_diff(millis * 1000) < 2500, "{percentile}: {micros}");
        }
        // It was the server's fault, not the generator's.
        assert_eq!(tally.late_micros(), 0);
        let [before, meanwhile] = &tally.intervals[..] else { panic!("{} intervals", tally.intervals.len()) };
        assert_eq!((before.latency().max, before.answered), (0, 500));
        assert!(meanwhile.latency().p50 > 90_000, "{}", meanwhile.latency().p50);
    }

    #[test]
    fn what_is_never_answered_is_an_error_and_counts_with_the_time_that_it_was_waited_for() {
        let mut ledger = ledger();
        ledger.advance(2 * SECOND);
        let due: Vec<_> = std::iter::from_fn(|| ledger.take(2 * SECOND, Duration::ZERO)).collect();
        assert_eq!(due.len(), 2000);
        assert!(!ledger.is_over(3 * SECOND) && ledger.is_over(4 * SECOND));
        let tally = ledger.close(due.into_iter(), 4 * SECOND);
        assert_eq!((tally.answered, tally.errors), (0, 1000));
        assert!(tally.latency().p50.abs_diff(2_500_000) < 3000 && tally.latency().max >= 3_000_000);
    }

    #[test]
    fn the_generator_is_late_only_where_a_connection_was_idle() {
        let mut late = ledger();
        for millisecond in 0..2000 {
            late.advance(millisecond * MILLISECOND);
            while let Some(due) = late.take((millisecond + 3) * MILLISECOND, Duration::ZERO) {
                late.answer(due, (millisecond + 3) * MILLISECOND, true);
            }
        }
        let tally = late.close(std::iter::empty(), 2 * SECOND);
        assert!(tally.late_micros().abs_diff(3000) < 3, "{}", tally.late_micros());
    }

    #[test]
    fn a_request_is_sent_again_once() {
        let mut ledger = ledger();
        ledger.advance(SECOND);
        while ledger.take(SECOND, Duration::ZERO).is_some_and(|due| due.at < SECOND) {}
        ledger.advance(SECOND + MILLISECOND);
        let first = ledger.take(SECOND + MILLISECOND, Duration::ZERO).unwrap();
        ledger.give_back(first, SECOND + MILLISECOND);
        let second = ledger.take(SECOND + MILLISECOND, Duration::ZERO).unwrap();
        assert_eq!((second.at, second.is_again), (first.at, true));
        ledger.give_back(second, SECOND + MILLISECOND);
        assert_eq!((ledger.tally.errors, ledger.tally.sent_again), (1, 1));
    }

    #[test]
    fn a_backlog_that_grows_too_long_cuts_the_run_short() {
        let mut ledger = ledger();
        ledger.waiting_max = 500;
        ledger.advance(499 * MILLISECOND);
        assert!(!ledger.is_over(499 * MILLISECOND));
        ledger.advance(500 * MILLISECOND);
        assert!(ledger.is_over(500 * MILLISECOND));
        assert!(ledger.close(std::iter::empty(), 500 * MILLISECOND).is_cut_short);
    }

    #[test]
    fn work_is_what_is_not_rest() {
        let mut ledger = ledger();
        ledger.rest(Duration::ZERO, 1250 * MILLISECOND);
        ledger.rest(1750 * MILLISECOND, 5 * SECOND);
        let tally = ledger.close(std::iter::empty(), 3 * SECOND);
        assert!((tally.busy() - 0.5).abs() < 1e-9, "{}", tally.busy());
    }
}
