//! Sessions: that a person has logged in with this browser.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::client::registry::Generation;
use crate::clock::UnixTime;
use crate::oauth::subject::Subject;

/// What a browser proves its session with: 256 random bits. A new one at every login. Never printed, zeroed when dropped.
#[derive(Clone)]
pub struct SessionToken(Zeroizing<String>);

/// Length of a [`SessionToken`], in characters.
pub const SESSION_TOKEN_CHARACTERS: usize = 43;

impl SessionToken {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random.fill(bytes.as_mut())?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    /// The text of it, for the cookie alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionToken(..)")
    }
}

/// SHA-256 of a [`SessionToken`]: all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionDigest([u8; 32]);

impl SessionDigest {
    /// The digest of a presented token; `None` for a text that cannot be one.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        if token.len() != SESSION_TOKEN_CHARACTERS {
            return None;
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Some(Self(bytes))
    }

    /// The digest with those bytes, as the journal holds it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Half of it in hexadecimal: names the session in lists, and finds no cookie.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for SessionDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionDigest(..)")
    }
}

/// That somebody has logged in. Never changed in place: a touch replaces it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Finds it.
    pub digest: SessionDigest,
    /// Who.
    pub subject: Subject,
    /// The subject's generation that it began under; it is dead under any other.
    pub generation: u64,
    /// When the person proved who they are (`auth_time`, `OpenID` Connect Core §2).
    pub auth_time: UnixTime,
    /// By what (`amr`, RFC 8176).
    pub amr: Vec<String>,
    /// How sure that is (`acr`, `OpenID` Connect Core §2), where somebody says so.
    pub acr: Option<String>,
    /// When it began.
    pub created_at: UnixTime,
    /// When it ends, used or not.
    pub expires_at: UnixTime,
    /// How long it may lie unused, in seconds.
    pub idle_seconds: u32,
    /// When it was last used, up to [`TOUCH_SECONDS`] late.
    pub last_seen_at: UnixTime,
    /// What the browser called itself, for the person to know it by.
    pub user_agent: Option<String>,
    /// Where the person logged in from.
    pub address: Option<IpAddr>,
    /// The subject's generation that is in force now.
    pub in_force: Arc<Generation>,
}

/// A use is noted when the one noted before is at least this old.
pub const TOUCH_SECONDS: u64 = 60;
/// The longest [`Session::user_agent`], in bytes.
pub const USER_AGENT_BYTES_MAX: usize = 255;

impl Session {
    /// Whether it may be used: neither over, nor too long unused, nor revoked.
    #[must_use]
    pub fn is_live(&self, now: UnixTime) -> bool {
        now < self.expires_at && now < self.idle_end() && self.in_force.value() == self.generation
    }

    /// Whether a use is to be noted: see [`TouchSession`](crate::user::actor::TouchSession).
    #[must_use]
    pub fn is_touch_due(&self, now: UnixTime) -> bool {
        now.as_seconds() >= self.last_seen_at.as_seconds().saturating_add(TOUCH_SECONDS)
    }

    /// What names it in lists: see [`SessionDigest::id`].
    #[must_use]
    pub fn id(&self) -> String {
        self.digest.id()
    }

    fn idle_end(&self) -> UnixTime {
        self.last_seen_at.plus_seconds(u64::from(self.idle_seconds))
    }
}

/// A text as a list may show it: without control characters, cut to `bytes_max`.
#[must_use]
pub fn shown(text: &str, bytes_max: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if shown.len() + character.len_utf8() > bytes_max {
            break;
        }
        shown.push(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(expires_at: u64, idle_seconds: u32, last_seen_at: u64) -> Session {
        Session {
            digest: SessionDigest::from_bytes([7; 32]),
            subject: Subject::parse("a").unwrap(),
            generation: 0,
            auth_time: UnixTime::from_seconds(100),
            amr: vec!["pwd".to_owned()],
            acr: None,
            created_at: UnixTime::from_seconds(100),
            expires_at: UnixTime::from_seconds(expires_at),
            idle_seconds,
            last_seen_at: UnixTime::from_seconds(last_seen_at),
            user_agent: None,
            address: None,
            in_force: Arc::default(),
        }
    }

    #[test]
    fn a_session_ends_by_its_age_by_disuse_or_with_its_generation() {
        let at = UnixTime::from_seconds;
        let session = session(1000, 300, 600);
        assert!(session.is_live(at(899)) && !session.is_live(at(900)), "unused for 300 s");
        let used = Session { last_seen_at: at(950), ..session.clone() };
        assert!(used.is_live(at(999)) && !used.is_live(at(1000)), "over");
        session.in_force.raise_to(1);
        assert!(!session.is_live(at(601)), "revoked");
    }

    #[test]
    fn a_touch_is_due_once_a_minute() {
        let session = session(1000, 300, 600);
        assert!(!session.is_touch_due(UnixTime::from_seconds(659)));
        assert!(session.is_touch_due(UnixTime::from_seconds(660)));
    }

    #[test]
    fn a_token_is_found_by_its_digest_and_neither_prints() {
        let token = SessionToken::random(&ring::rand::SystemRandom::new()).unwrap();
        let digest = SessionDigest::of(token.reveal()).unwrap();
        assert_eq!(token.reveal().len(), SESSION_TOKEN_CHARACTERS);
        assert_eq!(SessionDigest::of(&token.reveal()[1..]), None);
        assert_eq!(format!("{token:?} {digest:?}"), "SessionToken(..) SessionDigest(..)");
        assert_eq!(digest.id().len(), 32);
    }

    #[test]
    fn what_a_browser_calls_itself_is_cut_between_characters() {
        assert_eq!(shown("a\u{0}b\nc", 255), "abc");
        assert_eq!(shown("ääää", 5), "ää");
    }
}
