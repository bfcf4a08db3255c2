//! Initial access tokens (RFC 7591 §1.2): what an operator gives to somebody whose clients may register themselves.
//!
//! ```text
//! tsr_ia_  base64url(id, 8 bytes  secret, 34 bytes)  checksum
//! ```
//!
//! The text is shown once; what is kept is its digest.

use std::fmt;
use std::sync::Arc;

use ring::rand::SecureRandom;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::client::registration_policy::RegistrationPolicy;
use crate::client::secret::SecretDigest;
use crate::clock::UnixTime;
use crate::oauth::text;

/// How every initial access token begins.
pub const INITIAL_ACCESS_PREFIX: &str = "tsr_ia_";
/// The longest life of one, in seconds: 365 days.
pub const INITIAL_ACCESS_SECONDS_MAX: u32 = 31_536_000;
/// The longest label of one, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;

/// Which initial access token. No secret: it stands in lists, in the journal and in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InitialAccessId(u64);

impl InitialAccessId {
    /// The id of that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Reads 16 hexadecimal digits in lower case, as they are shown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_shown_so = text.len() == 16 && text.bytes().all(is_digit);
        is_shown_so.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for InitialAccessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl Serialize for InitialAccessId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text of an initial access token, on its way to its owner. Never printed, zeroed when dropped.
pub struct InitialAccessText {
    id: InitialAccessId,
    text: Zeroizing<String>,
}

impl InitialAccessText {
    /// A new one of 336 random bits, of which 64 are its id.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        random.fill(body.as_mut())?;
        let text = text::write(INITIAL_ACCESS_PREFIX, &*body);
        Ok(Self { id: id_of(&body), text })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> InitialAccessId {
        self.id
    }

    /// The text of it, to be shown to its owner and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The id in a text that somebody presents, if it is one of an initial access token. Proves nothing.
    #[must_use]
    pub fn id_in(text: &str) -> Option<InitialAccessId> {
        text::read::<BODY_BYTES>(INITIAL_ACCESS_PREFIX, text).map(|body| id_of(&body))
    }
}

impl fmt::Debug for InitialAccessText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "InitialAccessText({}, ..)", self.id)
    }
}

const BODY_BYTES: usize = 42;

fn id_of(body: &[u8; BODY_BYTES]) -> InitialAccessId {
    InitialAccessId(u64::from_le_bytes(body.first_chunk().copied().unwrap_or_default()))
}

/// An initial access token as it is kept. Never changed in place: a registration replaces it.
#[derive(Clone, Debug)]
pub struct InitialAccessToken {
    /// Which.
    pub id: InitialAccessId,
    /// The digest of its text.
    pub digest: SecretDigest,
    /// For whom or for what it was made, for operators; at most [`LABEL_BYTES_MAX`] bytes.
    pub label: Option<String>,
    /// When it was made.
    pub created_at: UnixTime,
    /// From when on nobody may register with it.
    pub expires_at: UnixTime,
    /// How many clients may register with it; `None` for any number.
    pub registrations_max: Option<u32>,
    /// How many have.
    pub registrations: u32,
    /// What they may be.
    pub policy: Arc<RegistrationPolicy>,
}

/// Why a client may not register with an initial access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitialAccessRefused {
    /// There is none of this text; it may have been revoked.
    #[error("the initial access token is unknown or was revoked")]
    Unknown,
    /// Its time is over.
    #[error("the initial access token has expired")]
    Expired,
    /// As many clients have registered with it as may.
    #[error("the initial access token is used up")]
    UsedUp,
}

impl InitialAccessToken {
    /// Whether one more client may register with it now.
    ///
    /// # Errors
    ///
    /// [`InitialAccessRefused`] says why not.
    pub fn check(&self, now: UnixTime) -> Result<(), InitialAccessRefused> {
        if self.expires_at <= now {
            Err(InitialAccessRefused::Expired)
        } else if self.registrations_max.is_some_and(|most| self.registrations >= most) {
            Err(InitialAccessRefused::UsedUp)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_its_id_and_no_other_text_does() {
        let token = InitialAccessText::random(&ring::rand::SystemRandom::new()).unwrap();
        let text = token.reveal();
        assert_eq!((text.len(), InitialAccessText::id_in(text)), (69, Some(token.id())));
        for position in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(InitialAccessText::id_in(std::str::from_utf8(&changed).unwrap()), None, "{position}");
        }
        for text in ["", "tsr_ia_", &text[1..], &text[..68], &format!("{text}A"), "tsr_ia_é23456"] {
            assert_eq!(InitialAccessText::id_in(text), None, "{text}");
        }
        assert!(!format!("{token:?}").contains(&text[20..40]));
    }

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = InitialAccessId::new(0x00ab_cdef);
        assert_eq!(
            (id.to_string().as_str(), InitialAccessId::parse("0000000000abcdef")),
            ("0000000000abcdef", Some(id))
        );
        for text in ["", "abcdef", "0000000000ABCDEF", "+000000000abcdef", "00000000000abcdef"] {
            assert_eq!(InitialAccessId::parse(text), None, "{text}");
        }
    }
}
