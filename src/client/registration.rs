//! Clients that have registered themselves (RFC 7591): by what right, and when they were last of use.
//!
//! A client that nobody uses is deleted: [`SweepIdleClient`](crate::client::actor::SweepIdleClient). It is in use as long as
//! anything of it is in memory: a token that has not expired, a code or a device that waits, a person's grant; each of them holds
//! the client's generation, so that they need not be searched for. It was in use when it last asked for a token, and when a sweep
//! last found it in use. That is remembered to the minute, and journaled when it is more than a day later than what the journal
//! says: so a client goes that lay idle for as long as the setting says and a day, however often the server was killed meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::initial_access::InitialAccessId;
use crate::clock::UnixTime;

/// How a client has registered itself. Shared by all that a client is one after the other.
#[derive(Debug)]
pub struct Registration {
    /// With which token.
    pub token: InitialAccessId,
    /// As which of those that did so, from 1 on.
    pub number: u32,
    used_at_ms: AtomicU64,
    /// What the journal says, or will say.
    stated_ms: AtomicU64,
}

/// A use is remembered if it is so much later than the last: workers seldom write what others read.
const NOTED_EVERY_MS: u64 = 60_000;
/// A use is journaled if it is so much later than the last that is.
const STATED_EVERY_MS: u64 = 86_400_000;

impl Registration {
    /// Of a client that was last used then, as the journal says.
    #[must_use]
    pub const fn new(token: InitialAccessId, number: u32, used_at: UnixTime) -> Self {
        let used_at_ms = used_at.as_millis();
        Self { token, number, used_at_ms: AtomicU64::new(used_at_ms), stated_ms: AtomicU64::new(used_at_ms) }
    }

    /// When it was last of use, about.
    #[must_use]
    pub fn used_at(&self) -> UnixTime {
        UnixTime::from_millis(self.used_at_ms.load(Ordering::Acquire))
    }

    /// Remembers that it is of use now.
    pub fn note_use(&self, now: UnixTime) {
        if now.as_millis() >= self.used_at_ms.load(Ordering::Relaxed).saturating_add(NOTED_EVERY_MS) {
            self.used_at_ms.fetch_max(now.as_millis(), Ordering::AcqRel);
        }
    }

    /// What the journal says of its last use, at recovery.
    pub(super) fn recover_use(&self, used_at: UnixTime) {
        self.used_at_ms.fetch_max(used_at.as_millis(), Ordering::AcqRel);
        self.stated_ms.fetch_max(used_at.as_millis(), Ordering::AcqRel);
    }

    /// Whether nobody has used it for so long, and the day by which the journal may be behind.
    #[must_use]
    pub fn is_idle(&self, now: UnixTime, idle_seconds: u64) -> bool {
        let idle_ms = idle_seconds.saturating_mul(1000).saturating_add(STATED_EVERY_MS);
        now.as_millis() >= self.used_at().as_millis().saturating_add(idle_ms)
    }

    /// Whether the journal is to be told of its last use. From then on it counts as told.
    pub(super) fn take_statement(&self) -> bool {
        let used_at_ms = self.used_at().as_millis();
        let is_due = used_at_ms > self.stated_ms.load(Ordering::Acquire).saturating_add(STATED_EVERY_MS);
        if is_due {
            self.stated_ms.fetch_max(used_at_ms, Ordering::AcqRel);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: UnixTime = UnixTime::from_seconds(1_800_000_000);
    const DAY: u64 = 86_400;

    #[test]
    fn a_client_is_idle_from_its_last_use_on() {
        let registration = Registration::new(InitialAccessId::new(1), 1, MADE);
        let is_idle = |days: u64| registration.is_idle(MADE.plus_seconds(days * DAY), 90 * DAY);
        assert_eq!([is_idle(90), is_idle(91)], [false, true]);
        registration.note_use(MADE.plus_seconds(50 * DAY));
        assert_eq!([is_idle(91), is_idle(140), is_idle(141)], [false, false, true]);
        registration.note_use(MADE.plus_seconds(DAY));
        assert_eq!(registration.used_at(), MADE.plus_seconds(50 * DAY), "it never goes back");
    }

    #[test]
    fn a_use_is_stated_once_when_it_is_a_day_later() {
        let registration = Registration::new(InitialAccessId::new(1), 1, MADE);
        registration.note_use(MADE.plus_seconds(DAY));
        assert!(!registration.take_statement());
        registration.note_use(MADE.plus_seconds(DAY + 60));
        assert!(registration.take_statement());
        assert!(!registration.take_statement());
    }
}
