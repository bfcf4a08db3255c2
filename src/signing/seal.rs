//! Sealed texts: what the server would have to remember travels with the browser instead, and only the server can read or make
//! it.
//!
//! ```text
//! base64url( version u8 │ sealed at, ms u64 LE │ salt 16 B │ nonce 12 B │ ciphertext │ tag 16 B )
//! ```
//!
//! AES-256-GCM. The key of each text is the HMAC-SHA-256 of its purpose and its random salt under the sealing key, so that no
//! number of texts wears a key out, and one of another purpose does not open. The bytes before the ciphertext are authenticated.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::clock::UnixTime;

/// Seals and opens texts.
pub struct Sealer {
    key: hmac::Key,
}

/// What a text is sealed for. It opens for that alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An authorization request that a browser carries through login and consent.
    AuthorizationRequest,
    /// An authorization request that a client has pushed (RFC 9126).
    PushedRequest,
    /// A request that waits for the operator's own login page.
    LoginChallenge,
    /// What the operator's own login page has decided.
    LoginVerifier,
    /// What a client asks for when a person logs out.
    Logout,
    /// The private half of a key: it stays in the journal and in the database.
    SigningKey,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::AuthorizationRequest => b"authorization request",
            Self::PushedRequest => b"pushed request",
            Self::LoginChallenge => b"login challenge",
            Self::LoginVerifier => b"login verifier",
            Self::Logout => b"logout",
            Self::SigningKey => b"signing key",
        }
    }
}

/// What was sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The bytes.
    pub content: Vec<u8>,
    /// When.
    pub sealed_at: UnixTime,
    /// Names this text and no other: its salt.
    pub id: [u8; 16],
}

/// Why a content is not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is longer than [`CONTENT_BYTES_MAX`].
    #[error("the request is longer than a browser carries: at most 24 KiB")]
    TooLong,
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    NoRandomness,
}

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        Self::NoRandomness
    }
}

/// Why a text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not made here, for something else, or changed.
    #[error("it was not made by this server for this purpose, or it was changed")]
    Broken,
    /// Too long ago.
    #[error("it has expired")]
    Expired,
}

/// The longest content that is sealed, in bytes.
pub const CONTENT_BYTES_MAX: usize = 24 * 1024;

const VERSION: u8 = 1;
const TIME_BYTES: usize = 8;
const SALT_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + TIME_BYTES + SALT_BYTES + NONCE_LEN;
const TAG_BYTES: usize = 16;
/// No longer text is looked at.
const TEXT_BYTES_MAX: usize = (HEADER_BYTES + CONTENT_BYTES_MAX + TAG_BYTES).div_ceil(3) * 4;

impl Sealer {
    /// A sealer with [`DerivedKeys::seal`](crate::signing::derivation::DerivedKeys::seal).
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// Seals a content for a purpose.
    ///
    /// # Errors
    ///
    /// [`SealError`]; nothing is sealed then.
    pub fn seal(
        &self,
        purpose: Purpose,
        content: &[u8],
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<String, SealError> {
        if content.len() > CONTENT_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_LEN]);
        random.fill(&mut salt)?;
        random.fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + content.len() + TAG_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(&now.as_millis().to_le_bytes());
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(&nonce);
        let header = Aad::from(sealed.clone());
        let mut content = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.text_key(purpose, &salt)?.seal_in_place_append_tag(nonce, header, &mut content)?;
        sealed.extend_from_slice(&content);
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a text that was sealed for this purpose at most `seconds_max` ago.
    ///
    /// # Errors
    ///
    /// [`OpenError::Broken`] for anything else but a text that is too old, which is [`OpenError::Expired`].
    pub fn open(&self, purpose: Purpose, text: &str, seconds_max: u32, now: UnixTime) -> Result<Opened, OpenError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(OpenError::Broken);
        }
        let mut sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| OpenError::Broken)?;
        let (header, ciphertext) = sealed.split_at_mut_checked(HEADER_BYTES).ok_or(OpenError::Broken)?;
        let Some(Header { sealed_at, salt, nonce }) = Header::read(header) else { return Err(OpenError::Broken) };
        let key = self.text_key(purpose, &salt).map_err(|_| OpenError::Broken)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let content =
            key.open_in_place(nonce, Aad::from(&*header), ciphertext).map_err(|_| OpenError::Broken)?.to_vec();
        let age_ms = now.as_millis().saturating_sub(sealed_at.as_millis());
        if age_ms > u64::from(seconds_max).saturating_mul(1000) {
            return Err(OpenError::Expired);
        }
        Ok(Opened { content, sealed_at, id: salt })
    }

    /// Bytes that follow from a sealed text and from who brings it: always the same, and nobody else foretells them. `label` says
    /// what for, and is none of a [`Purpose`].
    #[must_use]
    pub fn derive(&self, opened: &Opened, who: &[u8; 32], label: &str) -> Zeroizing<[u8; 32]> {
        // As in `text_key`, only the last part has no fixed length.
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&opened.id);
        context.update(who);
        context.update(label.as_bytes());
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(context.sign().as_ref());
        derived
    }

    fn text_key(&self, purpose: Purpose, salt: &[u8; SALT_BYTES]) -> Result<LessSafeKey, Unspecified> {
        // The salt has a fixed length, so no two pairs are written alike.
        let mut context = hmac::Context::with_key(&self.key);
        context.update(salt);
        context.update(purpose.label());
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).map(LessSafeKey::new)
    }
}

struct Header {
    sealed_at: UnixTime,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_LEN],
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (sealed_at, rest) = rest.split_first_chunk::<TIME_BYTES>()?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>()?;
        let sealed_at = UnixTime::from_millis(u64::from_le_bytes(*sealed_at));
        let header = Self { sealed_at, salt: *salt, nonce: rest.try_into().ok()? };
        (*version == VERSION).then_some(header)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer(..)")
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Opened").field("sealed_at", &self.sealed_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_000);

    fn sealer() -> Sealer {
        Sealer::new(&[1; 32])
    }

    fn seal(content: &[u8]) -> String {
        sealer().seal(Purpose::PushedRequest, content, NOW, &SystemRandom::new()).unwrap()
    }

    fn open(text: &str) -> Result<Vec<u8>, OpenError> {
        sealer().open(Purpose::PushedRequest, text, 60, NOW).map(|opened| opened.content)
    }

    #[test]
    fn a_text_opens_as_it_was() {
        for content in [&b""[..], b"a", &[0xff; CONTENT_BYTES_MAX]] {
            assert_eq!(open(&seal(content)).as_deref(), Ok(content));
        }
        let opened = sealer().open(Purpose::PushedRequest, &seal(b"a"), 0, NOW).unwrap();
        assert_eq!(opened.sealed_at, NOW);
        let too_long = sealer().seal(Purpose::PushedRequest, &[0; CONTENT_BYTES_MAX + 1], NOW, &SystemRandom::new());
        assert_eq!(too_long, Err(SealError::TooLong));
    }

    #[test]
    fn a_text_opens_for_its_purpose_alone() {
        let text = seal(b"a");
        for purpose in [Purpose::AuthorizationRequest, Purpose::LoginChallenge, Purpose::LoginVerifier] {
            assert_eq!(sealer().open(purpose, &text, 60, NOW), Err(OpenError::Broken), "{purpose:?}");
        }
        assert_eq!(Sealer::new(&[2; 32]).open(Purpose::PushedRequest, &text, 60, NOW), Err(OpenError::Broken));
    }

    #[test]
    fn a_text_opens_within_its_age() {
        let text = seal(b"a");
        let at = |ms| sealer().open(Purpose::PushedRequest, &text, 60, UnixTime::from_millis(ms)).map(|_| ());
        assert_eq!([at(1_060_000), at(1_060_001)], [Ok(()), Err(OpenError::Expired)]);
    }

    #[test]
    fn a_text_of_which_one_bit_was_changed_does_not_open() {
        let text = seal(b"content");
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[position] ^= 1 << bit;
                assert_eq!(open(&URL_SAFE_NO_PAD.encode(changed)), Err(OpenError::Broken), "{position} {bit}");
            }
        }
        for length in 0..bytes.len() {
            assert_eq!(open(&URL_SAFE_NO_PAD.encode(&bytes[..length])), Err(OpenError::Broken), "{length}");
        }
        for text in ["", "a", "é", &format!("{text}A"), &format!("{text}="), &"A".repeat(TEXT_BYTES_MAX + 1)] {
            assert_eq!(open(text), Err(OpenError::Broken), "{text}");
        }
    }

    #[test]
    fn what_follows_from_a_text_is_its_own_and_that_of_who_brings_it() {
        let [one, other] = [(); 2].map(|()| sealer().open(Purpose::PushedRequest, &seal(b"a"), 60, NOW).unwrap());
        let derived = sealer().derive(&one, &[1; 32], "label");
        assert_eq!(*derived, *sealer().derive(&one, &[1; 32], "label"));
        for differing in [
            sealer().derive(&other, &[1; 32], "label"),
            sealer().derive(&one, &[2; 32], "label"),
            sealer().derive(&one, &[1; 32], "another label"),
            Sealer::new(&[2; 32]).derive(&one, &[1; 32], "label"),
        ] {
            assert_ne!(*derived, *differing);
        }
    }

    #[test]
    fn no_two_texts_are_the_same() {
        assert_ne!(seal(b"a"), seal(b"a"));
    }
}
