//! CSRF tokens: that a form which comes back is one that this server gave to this very browser.
//!
//! ```text
//! base64url( given at, ms u64 LE │ HMAC-SHA-256( given at │ purpose │ cookie │ about ), 32 B )
//! ```
//!
//! Nothing is remembered. A token holds for one purpose, for one cookie (that of the session, or where there is none that of the
//! login form), for what the form is about, and for [`LIFETIME_MS`]. The cookie is another one after every login, and no session
//! is found by it after a logout.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::clock::UnixTime;

/// Makes and checks tokens.
pub struct Csrf {
    key: hmac::Key,
}

/// What a form does. A token for one is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Logs a person in.
    Login,
    /// Ends the session of this browser.
    Logout,
    /// Allows a client what it asks for, or does not.
    Consent,
    /// Ends sessions, or takes back what was allowed.
    Account,
    /// Names a device.
    DeviceCode,
    /// Allows a device what it asks for, or does not.
    Device,
}

/// A token is none, or not of this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form is not one that this browser was given lately")]
pub struct InvalidCsrf;

/// How long a form may lie open, in milliseconds.
pub const LIFETIME_MS: u64 = 2 * 60 * 60 * 1000;

const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 32;

impl Csrf {
    /// Tokens under this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// The token of a form. `cookie` is the text of the cookie that it is bound to, `about` what the form is about besides its
    /// purpose: for a consent the sealed request, so that no other scope or client can be put in its place.
    #[must_use]
    pub fn token(&self, purpose: Purpose, cookie: &str, about: &str, now: UnixTime) -> String {
        let time = now.as_millis().to_le_bytes();
        let mac = self.mac(time, purpose, cookie, about);
        URL_SAFE_NO_PAD.encode([&time, mac.as_ref()].concat())
    }

    /// Checks the token that came with a form, in constant time.
    ///
    /// # Errors
    ///
    /// [`InvalidCsrf`].
    pub fn verify(
        &self,
        token: Option<&str>,
        purpose: Purpose,
        cookie: &str,
        about: &str,
        now: UnixTime,
    ) -> Result<(), InvalidCsrf> {
        let bytes = URL_SAFE_NO_PAD.decode(token.ok_or(InvalidCsrf)?).map_err(|_| InvalidCsrf)?;
        let (time, mac) = bytes.split_first_chunk::<TIME_BYTES>().ok_or(InvalidCsrf)?;
        let expected = self.mac(*time, purpose, cookie, about);
        if mac.len() != MAC_BYTES || !bool::from(mac.ct_eq(expected.as_ref())) {
            return Err(InvalidCsrf);
        }
        let age_ms = now.as_millis().saturating_sub(u64::from_le_bytes(*time));
        if age_ms < LIFETIME_MS { Ok(()) } else { Err(InvalidCsrf) }
    }

    fn mac(&self, time: [u8; TIME_BYTES], purpose: Purpose, cookie: &str, about: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&time);
        // With its length before it, no part can be taken for the beginning of the next.
        for part in [purpose.label(), cookie, about] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        context.sign()
    }
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Consent => "consent",
            Self::Account => "account",
            Self::DeviceCode => "device code",
            Self::Device => "device",
        }
    }
}

impl fmt::Debug for Csrf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Csrf(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_800_000_000_000;

    /// Checks a token of the consent to `request` in the session `mine` as if it came with another form.
    #[track_caller]
    fn check(token: Option<&str>, purpose: Purpose, cookie: &str, about: &str, now_ms: u64, expected: bool) {
        let csrf = Csrf::new(&[7; 32]);
        let valid = csrf.verify(token, purpose, cookie, about, UnixTime::from_millis(now_ms)).is_ok();
        assert_eq!(valid, expected, "{token:?} {purpose:?} {cookie} {about} {now_ms}");
    }

    fn token(key: u8) -> String {
        Csrf::new(&[key; 32]).token(Purpose::Consent, "mine", "request", UnixTime::from_millis(START_MS))
    }

    #[test]
    fn a_token_is_of_one_purpose_one_cookie_and_one_matter() {
        let own = token(7);
        check(Some(&own), Purpose::Consent, "mine", "request", START_MS, true);
        check(None, Purpose::Consent, "mine", "request", START_MS, false);
        check(Some(""), Purpose::Consent, "mine", "request", START_MS, false);
        check(Some(&own), Purpose::Login, "mine", "request", START_MS, false);
        check(Some(&own), Purpose::Consent, "another's", "request", START_MS, false);
        check(Some(&own), Purpose::Consent, "", "request", START_MS, false);
        check(Some(&own), Purpose::Consent, "mine", "request for more", START_MS, false);
        check(Some(&own), Purpose::Consent, "minere", "quest", START_MS, false);
        check(Some(&token(8)), Purpose::Consent, "mine", "request", START_MS, false);
    }

    #[test]
    fn a_token_has_its_age_inside() {
        let own = token(7);
        check(Some(&own), Purpose::Consent, "mine", "request", START_MS + LIFETIME_MS - 1, true);
        check(Some(&own), Purpose::Consent, "mine", "request", START_MS + LIFETIME_MS, false);
        let mut younger = URL_SAFE_NO_PAD.decode(&own).unwrap();
        younger[..8].copy_from_slice(&(START_MS + LIFETIME_MS).to_le_bytes());
        let younger = URL_SAFE_NO_PAD.encode(younger);
        check(Some(&younger), Purpose::Consent, "mine", "request", START_MS + LIFETIME_MS, false);
    }

    #[test]
    fn no_character_of_a_token_may_change() {
        let own = token(7);
        for place in 0..own.len() {
            let mut other = own.clone().into_bytes();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            check(Some(&String::from_utf8(other).unwrap()), Purpose::Consent, "mine", "request", START_MS, false);
            check(Some(&own[..place]), Purpose::Consent, "mine", "request", START_MS, false);
        }
        check(Some(&format!("{own}A")), Purpose::Consent, "mine", "request", START_MS, false);
    }
}
