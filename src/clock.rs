//! Time: the only reader of the machine's clocks.
//!
//! [`Clock::now`] runs on the monotonic clock from an origin that only moves forward, so a wall clock that is set back
//! revives no expired token. [`Clock::tick`], called every second, decides when the wall clock is followed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    millis: u64,
}

impl UnixTime {
    /// The moment `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// The moment `seconds` seconds after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self { millis: seconds.saturating_mul(1000) }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// Whole seconds since the epoch, rounded down: the unit of `iat` and `exp` (RFC 7519 §2, `NumericDate`).
    #[must_use]
    pub const fn as_seconds(self) -> u64 {
        self.millis / 1000
    }

    /// The moment so many seconds later; the last one there is where that is beyond it.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self { millis: self.millis.saturating_add(seconds.saturating_mul(1000)) }
    }

    /// As HTTP's `Date` writes it (RFC 9110 §5.6.7); a moment after the year 9999 as the last second of that year.
    #[must_use]
    pub fn to_http_date(self) -> String {
        let seconds = self.as_seconds().min(HTTP_DATE_SECONDS_MAX);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// Whole seconds since the epoch in the width that a token slot has; saturates in the year 2106.
    #[must_use]
    pub fn as_seconds_u32(self) -> u32 {
        u32::try_from(self.as_seconds()).unwrap_or(u32::MAX)
    }
}

/// 9999-12-31T23:59:59Z.
const HTTP_DATE_SECONDS_MAX: u64 = 253_402_300_799;

/// As RFC 3339 writes it, in UTC; after the year 9999, in milliseconds.
impl fmt::Display for UnixTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.millis) * 1_000_000);
        match moment.ok().and_then(|moment| moment.format(&Rfc3339).ok()) {
            Some(text) => formatter.write_str(&text),
            None => write!(formatter, "{} ms", self.millis),
        }
    }
}

/// What the machine says the time is. Tests bring their own: [`ManualTime`].
pub trait TimeSource: Send + Sync {
    /// The wall clock, which may jump either way.
    fn wall(&self) -> UnixTime;
    /// Time since a fixed moment in this process; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The time that decides about tokens: never goes back, follows the wall clock with care.
pub struct Clock {
    source: Box<dyn TimeSource>,
    /// Milliseconds since the epoch at the moment that the monotonic clock calls zero. Only ever grows.
    origin_ms: AtomicU64,
    /// Since when (monotonic) the wall clock has been ahead by more than [`STEP_MAX`].
    ahead_since: Mutex<Option<Duration>>,
}

/// What [`Clock::tick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// The clocks agree within [`STEP_MAX`], or the wall clock is behind and is not followed.
    Steady,
    /// The wall clock has just stepped forward by this much; it is not followed yet.
    SteppedForward(Duration),
    /// The wall clock is still ahead; it is not followed yet.
    Waiting,
    /// The step has held for [`STEP_HOLD`] and is now followed.
    Followed(Duration),
}

/// A wall clock that is ahead by more than this is not followed at once.
pub const STEP_MAX: Duration = Duration::from_secs(60);
/// A forward step is followed after it has held for this long.
pub const STEP_HOLD: Duration = Duration::from_secs(600);

impl Clock {
    /// A clock on the machine's own time.
    #[must_use]
    pub fn system() -> Self {
        Self::on(Box::new(SystemTimeSource { start: SystemTimeSource::instant() }))
    }

    /// A clock on the given source of time.
    #[must_use]
    pub fn on(source: Box<dyn TimeSource>) -> Self {
        let origin_ms = source.wall().as_millis().saturating_sub(millis(source.monotonic()));
        Self { source, origin_ms: AtomicU64::new(origin_ms), ahead_since: Mutex::new(None) }
    }

    /// The time now. Never goes back in the life of the process.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.at(self.source.monotonic())
    }

    /// The time at a moment of the monotonic clock: one clock read serves both a duration and a decision.
    #[must_use]
    pub fn at(&self, monotonic: Duration) -> UnixTime {
        UnixTime::from_millis(self.origin_ms.load(Ordering::Relaxed).saturating_add(millis(monotonic)))
    }

    /// Time since a fixed moment in this process, for durations.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.source.monotonic()
    }

    /// Moves the time to at least `high_water`: the journal has seen that moment, so it has been.
    pub fn raise_to(&self, high_water: UnixTime) {
        let origin_ms = high_water.as_millis().saturating_sub(millis(self.source.monotonic()));
        self.origin_ms.fetch_max(origin_ms, Ordering::Relaxed);
    }

    /// Compares the wall clock with ours and follows it where that is safe. Call it about once a second.
    pub fn tick(&self) -> Tick {
        let monotonic = self.source.monotonic();
        let wall = self.source.wall();
        let ahead = Duration::from_millis(wall.as_millis().saturating_sub(self.at(monotonic).as_millis()));
        let mut ahead_since = self.ahead_since.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead <= STEP_MAX {
            *ahead_since = None;
            self.raise_to(wall);
            return Tick::Steady;
        }
        let Some(since) = *ahead_since else {
            *ahead_since = Some(monotonic);
            return Tick::SteppedForward(ahead);
        };
        if monotonic.saturating_sub(since) < STEP_HOLD {
            return Tick::Waiting;
        }
        *ahead_since = None;
        self.raise_to(wall);
        Tick::Followed(ahead)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Clock").field("now", &self.now()).finish_non_exhaustive()
    }
}

struct SystemTimeSource {
    start: Instant,
}

impl SystemTimeSource {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
    fn instant() -> Instant {
        Instant::now()
    }
}

impl TimeSource for SystemTimeSource {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    fn wall(&self) -> UnixTime {
        UnixTime::from_millis(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    fn monotonic(&self) -> Duration {
        Self::instant().duration_since(self.start)
    }
}

/// A source of time that moves only when told to, for tests. Clones share one time.
#[derive(Clone, Debug)]
pub struct ManualTime {
    state: std::sync::Arc<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl ManualTime {
    /// Stands still at `wall`.
    #[must_use]
    pub fn new(wall: UnixTime) -> Self {
        let state = ManualState { wall_ms: AtomicU64::new(wall.as_millis()), monotonic_ms: AtomicU64::new(0) };
        Self { state: std::sync::Arc::new(state) }
    }

    /// Lets both clocks run on by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.state.wall_ms.fetch_add(millis(duration), Ordering::Relaxed);
        self.state.monotonic_ms.fetch_add(millis(duration), Ordering::Relaxed);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, wall: UnixTime) {
        self.state.wall_ms.store(wall.as_millis(), Ordering::Relaxed);
    }
}

impl TimeSource for ManualTime {
    fn wall(&self) -> UnixTime {
        UnixTime::from_millis(self.state.wall_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.state.monotonic_ms.load(Ordering::Relaxed))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn paused() -> (ManualTime, Clock) {
        let time = ManualTime::new(START);
        (time.clone(), Clock::on(Box::new(time)))
    }

    #[test]
    fn a_moment_is_shown_as_rfc_3339_writes_it() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_800_000_000_120, "2027-01-15T08:00:00.12Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "253402300800000 ms"),
            (u64::MAX, "18446744073709551615 ms"),
        ] {
            assert_eq!(UnixTime::from_millis(millis).to_string(), expected);
        }
    }

    #[test]
    fn a_wall_clock_set_back_does_not_set_back_now() {
        let (time, clock) = paused();
        time.set_wall(UnixTime::from_seconds(1));
        time.advance(Duration::from_secs(5));
        assert_eq!(clock.tick(), Tick::Steady);
        assert_eq!(clock.now(), UnixTime::from_seconds(1_800_000_005));
    }

    #[test]
    fn now_starts_at_the_journals_high_water() {
        let (time, clock) = paused();
        clock.raise_to(UnixTime::from_seconds(1_800_000_100));
        time.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), UnixTime::from_seconds(1_800_000_101));
        clock.raise_to(START);
        assert_eq!(clock.now(), UnixTime::from_seconds(1_800_000_101));
    }

    #[test]
    fn a_small_forward_step_is_followed_at_once() {
        let (time, clock) = paused();
        time.set_wall(UnixTime::from_seconds(1_800_000_060));
        assert_eq!(clock.tick(), Tick::Steady);
        assert_eq!(clock.now(), UnixTime::from_seconds(1_800_000_060));
    }

    #[test]
    fn a_large_forward_step_is_followed_after_it_has_held() {
        let (time, clock) = paused();
        time.set_wall(UnixTime::from_seconds(1_800_003_600));
        assert_eq!(clock.tick(), Tick::SteppedForward(Duration::from_secs(3600)));
        time.advance(Duration::from_secs(599));
        assert_eq!(clock.tick(), Tick::Waiting);
        assert_eq!(clock.now(), UnixTime::from_seconds(1_800_000_599));
        time.advance(Duration::from_secs(1));
        assert_eq!(clock.tick(), Tick::Followed(Duration::from_secs(3600)));
        assert_eq!(clock.now(), UnixTime::from_seconds(1_800_004_200));
    }

    #[test]
    fn a_step_that_goes_away_is_forgotten() {
        let (time, clock) = paused();
        time.set_wall(UnixTime::from_seconds(1_800_003_600));
        clock.tick();
        time.set_wall(START);
        assert_eq!(clock.tick(), Tick::Steady);
        time.set_wall(UnixTime::from_seconds(1_800_003_600));
        time.advance(STEP_HOLD);
        assert!(matches!(clock.tick(), Tick::SteppedForward(_)));
    }
}
