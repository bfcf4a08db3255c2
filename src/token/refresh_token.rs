//! Refresh tokens (RFC 6749 §1.5): their text, and how one follows from the other.
//!
//! ```text
//! tsr_rt_  80 characters                                          6 characters
//! prefix   base64url(grant id ‖ generation ‖ secret ‖ tag)        checksum
//!          16 bytes   4 bytes      32 bytes  8 bytes
//! ```
//!
//! The tag is keyed: only who has the installation's key can make one, so a valid tag of an older generation is a token that
//! was given out and used before, and a wrong tag is garbage. The successor's secret, and that of the access token beside it,
//! are keyed hashes of the token that was presented: who presents it again gets the same again, and nothing is stored for it.

use std::fmt;

use ring::hmac;
use ring::rand::SecureRandom;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::oauth::text;
use crate::token::access_token::{AccessToken, SECRET_BYTES};
use crate::token::digest::TokenDigest;
use crate::token::grant_id::GrantId;

/// Makes refresh tokens and knows them again.
#[derive(Clone)]
pub struct RefreshKey(hmac::Key);

/// A refresh token in the clear, on its way to its owner. Never printed, zeroed when dropped.
pub struct RefreshToken {
    text: Zeroizing<String>,
    digest: TokenDigest,
}

/// A refresh token that was presented and is one of ours: its tag is right. Whether it is still good is for its shard to say.
pub struct PresentedRefreshToken {
    /// Which refresh token.
    pub reference: RefreshReference,
    text: Zeroizing<String>,
}

/// What of a presented refresh token its shard must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshReference {
    /// The grant that it belongs to.
    pub grant_id: GrantId,
    /// Which of the grant's refresh tokens: the first is 1.
    pub generation: u32,
    /// What it is known by.
    pub digest: TokenDigest,
}

const PREFIX: &str = "tsr_rt_";
const GRANT_BYTES: usize = 16;
const GENERATION_BYTES: usize = 4;
const TAG_BYTES: usize = 8;
const TAGGED_BYTES: usize = GRANT_BYTES + GENERATION_BYTES + SECRET_BYTES;
const BODY_BYTES: usize = TAGGED_BYTES + TAG_BYTES;
/// The generation of the first refresh token of a grant.
pub const FIRST_GENERATION: u32 = 1;

impl RefreshKey {
    /// The key of the installation.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The first refresh token of a grant, of 256 random bits.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn first(
        &self,
        grant_id: GrantId,
        random: &dyn SecureRandom,
    ) -> Result<RefreshToken, ring::error::Unspecified> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random.fill(secret.as_mut())?;
        Ok(self.token(grant_id, FIRST_GENERATION, &secret))
    }

    /// Reads a presented text, if it is a refresh token that this installation has made.
    #[must_use]
    pub fn read(&self, presented: &str) -> Option<PresentedRefreshToken> {
        let body = text::read::<BODY_BYTES>(PREFIX, presented)?;
        let (tagged, tag) = body.split_first_chunk::<TAGGED_BYTES>()?;
        if !bool::from(self.tag(tagged).ct_eq(tag)) {
            return None;
        }
        let (grant_id, rest) = tagged.split_first_chunk()?;
        let generation = u32::from_le_bytes(*rest.first_chunk()?);
        let reference = RefreshReference {
            grant_id: GrantId::from_bytes(*grant_id),
            generation,
            digest: TokenDigest::of(presented),
        };
        Some(PresentedRefreshToken { reference, text: Zeroizing::new(presented.to_owned()) })
    }

    /// The token that takes the place of a presented one: always the same.
    #[must_use]
    pub fn successor(&self, presented: &PresentedRefreshToken) -> RefreshToken {
        let RefreshReference { grant_id, generation, .. } = presented.reference;
        self.token(grant_id, generation.saturating_add(1), &self.derive("successor", presented))
    }

    /// The access token that comes with the successor: always the same.
    #[must_use]
    pub fn access_token(&self, presented: &PresentedRefreshToken) -> AccessToken {
        AccessToken::derived(presented.reference.grant_id.routing_id(), &self.derive("access token", presented))
    }

    fn derive(&self, label: &str, presented: &PresentedRefreshToken) -> Zeroizing<[u8; SECRET_BYTES]> {
        self.hash(label, presented.text.as_bytes())
    }

    fn tag(&self, tagged: &[u8; TAGGED_BYTES]) -> [u8; TAG_BYTES] {
        self.hash("tag", tagged).first_chunk().copied().unwrap_or_default()
    }

    fn hash(&self, label: &str, text: &[u8]) -> Zeroizing<[u8; SECRET_BYTES]> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label.as_bytes());
        context.update(&[0]);
        context.update(text);
        let mut hash = Zeroizing::new([0; SECRET_BYTES]);
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    fn token(&self, grant_id: GrantId, generation: u32, secret: &[u8; SECRET_BYTES]) -> RefreshToken {
        let mut tagged = Zeroizing::new([0; TAGGED_BYTES]);
        let (grant, rest) = tagged.split_at_mut(GRANT_BYTES);
        let (number, own_secret) = rest.split_at_mut(GENERATION_BYTES);
        grant.copy_from_slice(grant_id.as_bytes());
        number.copy_from_slice(&generation.to_le_bytes());
        own_secret.copy_from_slice(secret);
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        let (head, tag) = body.split_at_mut(TAGGED_BYTES);
        head.copy_from_slice(&*tagged);
        tag.copy_from_slice(&self.tag(&tagged));
        let text = text::write(PREFIX, &*body);
        let digest = TokenDigest::of(&text);
        RefreshToken { text, digest }
    }
}

impl RefreshToken {
    /// The text of it, to be given to its owner and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What it is known by.
    #[must_use]
    pub const fn digest(&self) -> TokenDigest {
        self.digest
    }
}

impl fmt::Debug for RefreshKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RefreshKey(..)")
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RefreshToken(..)")
    }
}

impl fmt::Debug for PresentedRefreshToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PresentedRefreshToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(key: &RefreshKey) -> RefreshToken {
        let random = ring::rand::SystemRandom::new();
        key.first(GrantId::random(&random).unwrap(), &random).unwrap()
    }

    #[test]
    fn a_token_is_read_by_the_key_that_made_it_alone() {
        let [key, other] = [[1; 32], [2; 32]].map(|bytes| RefreshKey::new(&bytes));
        let token = first(&key);
        assert_eq!(token.reveal().len(), 93);
        let read = key.read(token.reveal()).unwrap();
        assert_eq!((read.reference.generation, read.reference.digest), (1, token.digest()));
        assert!(other.read(token.reveal()).is_none());
    }

    #[test]
    fn what_differs_anywhere_is_garbage_even_with_a_right_checksum() {
        let key = RefreshKey::new(&[1; 32]);
        let token = first(&key);
        let body = text::read::<BODY_BYTES>(PREFIX, token.reveal()).unwrap();
        for position in 0..BODY_BYTES {
            let mut changed = *body;
            changed[position] ^= 1;
            assert!(key.read(&text::write(PREFIX, &changed)).is_none(), "at {position}");
        }
    }

    #[test]
    fn a_successor_is_always_the_same_and_follows_from_no_other_token() {
        let key = RefreshKey::new(&[1; 32]);
        let [one, other] = [first(&key), first(&key)].map(|token| key.read(token.reveal()).unwrap());
        let successor = key.successor(&one);
        assert_eq!(successor.reveal(), key.successor(&one).reveal());
        assert_ne!(successor.reveal(), key.successor(&other).reveal());
        let read = key.read(successor.reveal()).unwrap();
        assert_eq!((read.reference.generation, read.reference.grant_id), (2, one.reference.grant_id));
        let access_token = key.access_token(&one);
        assert_eq!(access_token.reveal(), key.access_token(&one).reveal());
        assert_ne!(access_token.reveal(), key.access_token(&read).reveal());
        assert_eq!(access_token.reference().routing_id, one.reference.grant_id.routing_id());
    }

    #[test]
    fn nothing_of_it_prints() {
        let key = RefreshKey::new(&[1; 32]);
        let token = first(&key);
        let read = key.read(token.reveal()).unwrap();
        assert_eq!(
            format!("{key:?} {token:?} {:?}", read),
            "RefreshKey(..) RefreshToken(..) PresentedRefreshToken(..)"
        );
    }
}
