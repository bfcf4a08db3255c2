//! Tokens, and what an introspection must say of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

/// A token, and all that is known of its life.
pub(super) struct Token {
    pub(super) text: String,
    /// Whom it was issued to.
    pub(super) client_id: String,
    pub(super) scope: String,
    /// Until then it is active, if nobody ends it.
    active_until: Instant,
    /// From then on it has expired.
    inactive_from: Instant,
    /// Somebody has asked for its end.
    is_ending: AtomicBool,
    /// Its end was acknowledged.
    has_ended: AtomicBool,
}

/// What an introspection must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Active,
    Inactive,
    /// The token ended while the question was under way, or nobody can know.
    Either,
}

/// What is known of a token before a question is sent.
pub(super) struct Question<'a> {
    token: &'a Token,
    expected: Expected,
}

/// Lifetimes begin and end at whole seconds of the server's clock.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

impl Token {
    /// A token that was asked for and answered at these moments.
    pub(super) fn issued(
        text: String,
        client_id: String,
        scope: String,
        lifetime: Duration,
        (sent, answered): (Instant, Instant),
    ) -> Self {
        let active_until = sent + lifetime.saturating_sub(CLOCK_TOLERANCE);
        let inactive_from = answered + lifetime + CLOCK_TOLERANCE;
        let [is_ending, has_ended] = [false, false].map(AtomicBool::new);
        Self { text, client_id, scope, active_until, inactive_from, is_ending, has_ended }
    }

    /// What is no token of this server.
    pub(super) fn never_issued(text: String, now: Instant) -> Self {
        let token = Self::issued(text, String::new(), String::new(), Duration::ZERO, (now, now));
        token.end();
        token
    }

    /// Of the right shape, checksum and all, but never issued.
    pub(super) fn unknown(now: Instant) -> Self {
        let body: Vec<_> = std::iter::repeat_with(|| fastrand::u8(..)).take(BODY_BYTES).collect();
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(body));
        let checksum = URL_SAFE_NO_PAD.encode(crc32c::crc32c(text.as_bytes()).to_le_bytes());
        Self::never_issued(text + &checksum, now)
    }

    /// Somebody is about to ask for its end.
    pub(super) fn begin_end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
    }

    /// Its end is acknowledged.
    pub(super) fn end(&self) {
        self.begin_end();
        self.has_ended.store(true, Ordering::SeqCst);
    }

    /// How long it is surely active.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.active_until.saturating_duration_since(now)
    }

    /// To be called before the question is sent.
    pub(super) fn ask(&self, now: Instant) -> Question<'_> {
        let must_be_inactive = self.has_ended.load(Ordering::SeqCst) || now >= self.inactive_from;
        Question { token: self, expected: if must_be_inactive { Expected::Inactive } else { Expected::Active } }
    }
}

impl Question<'_> {
    /// What its answer must say, to be called when it has come.
    pub(super) fn expected(&self, now: Instant) -> Expected {
        let may_have_ended = self.token.is_ending.load(Ordering::SeqCst) || now >= self.token.active_until;
        if self.expected == Expected::Active && may_have_ended { Expected::Either } else { self.expected }
    }

    pub(super) const fn token(&self) -> &Token {
        self.token
    }
}

const PREFIX: &str = "tsr_at_";
const BODY_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    fn token(now: Instant) -> Token {
        Token::issued("t".into(), "c".into(), "s".into(), LIFETIME, (now, now + SECOND))
    }

    #[track_caller]
    fn check(asked_after: Duration, answered_after: Duration, expected: Expected) {
        let now = Instant::now();
        let token = token(now);
        assert_eq!(token.ask(now + asked_after).expected(now + answered_after), expected);
    }

    #[test]
    fn a_token_is_active_until_it_expires_and_around_that_either_is_right() {
        check(SECOND, SECOND * 2, Expected::Active);
        check(SECOND, LIFETIME - SECOND, Expected::Either);
        check(LIFETIME + SECOND, LIFETIME + SECOND * 3, Expected::Either);
        check(LIFETIME + SECOND * 2, LIFETIME + SECOND * 3, Expected::Inactive);
    }

    #[test]
    fn a_token_is_inactive_once_its_end_is_acknowledged_and_either_while_it_is_asked_for() {
        let now = Instant::now();
        let token = token(now);
        let before = token.ask(now);
        assert_eq!(before.expected(now), Expected::Active);
        token.begin_end();
        let meanwhile = token.ask(now);
        assert_eq!((before.expected(now), meanwhile.expected(now)), (Expected::Either, Expected::Either));
        token.end();
        assert_eq!((meanwhile.expected(now), token.ask(now).expected(now)), (Expected::Either, Expected::Inactive));
    }

    #[test]
    fn what_was_never_issued_is_inactive() {
        let now = Instant::now();
        let unknown = Token::unknown(now);
        assert_eq!(unknown.ask(now).expected(now), Expected::Inactive);
        assert_eq!((unknown.text.len(), &unknown.text[..7]), (67, "tsr_at_"));
    }
}
