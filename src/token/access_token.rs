//! Opaque access tokens: their text.
//!
//! ```text
//! tsr_at_  54 characters                    6 characters
//! prefix   base64url(routing id ‖ secret)   base64url(CRC-32C of all before)
//!          8 bytes      32 bytes
//! ```
//!
//! The prefix and the checksum let secret scanners find a leaked token without false alarms. The checksum proves nothing:
//! a token is known by its digest alone, which is that of the 45 bytes whose base64url is all that stands behind the prefix.
//! These fit one block of SHA-256, the text itself does not.

use std::fmt;

use base64_simd::{Out, URL_SAFE_NO_PAD};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::oauth::text::{self, CHECKSUM_CHARACTERS};
use crate::token::digest::TokenDigest;
use crate::token::jwt;

/// An access token in the clear, opaque or a JWT, on its way to its owner. Never printed, zeroed when dropped.
pub struct AccessToken {
    text: Zeroizing<String>,
    reference: TokenReference,
}

/// What of a presented token finds it: the shard by the routing id, the token by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenReference {
    /// Which shard has it.
    pub routing_id: RoutingId,
    /// Which token it is.
    pub digest: TokenDigest,
}

/// The first 64 random bits of a token, which choose its shard. All tokens of one grant share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoutingId(pub u64);

/// One of 65,536 parts of all tokens: the first 16 bits of a keyed hash of the routing id. A shard has a run of them, so a
/// token that is known by its partition finds its shard whatever number of shards there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

const PREFIX: &str = "tsr_at_";
const ROUTING_BYTES: usize = 8;
/// What is secret of a token, in bytes.
pub(super) const SECRET_BYTES: usize = 32;
const BODY_BYTES: usize = ROUTING_BYTES + SECRET_BYTES;
const BODY_CHARACTERS: usize = 54;
const CODED_CHARACTERS: usize = BODY_CHARACTERS + CHECKSUM_CHARACTERS;
/// What the characters of body and checksum decode to.
const CODED_BYTES: usize = CODED_CHARACTERS / 4 * 3;
const TOKEN_CHARACTERS: usize = PREFIX.len() + CODED_CHARACTERS;

impl AccessToken {
    /// A new token of 64 + 256 random bits.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut body = Zeroizing::new([0_u8; BODY_BYTES]);
        random.fill(body.as_mut())?;
        Ok(Self::of_body(&body))
    }

    /// A new token of a grant, which lives where the grant does.
    ///
    /// # Errors
    ///
    /// As [`AccessToken::random`].
    pub fn random_of(routing_id: RoutingId, random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut secret = Zeroizing::new([0_u8; SECRET_BYTES]);
        random.fill(secret.as_mut())?;
        Ok(Self::derived(routing_id, &secret))
    }

    /// The token of a grant with this secret.
    pub(super) fn derived(routing_id: RoutingId, secret: &[u8; SECRET_BYTES]) -> Self {
        let mut body = Zeroizing::new([0_u8; BODY_BYTES]);
        let (routing, rest) = body.split_at_mut(ROUTING_BYTES);
        routing.copy_from_slice(&routing_id.0.to_le_bytes());
        rest.copy_from_slice(secret);
        Self::of_body(&body)
    }

    fn of_body(body: &[u8; BODY_BYTES]) -> Self {
        let text = text::write(PREFIX, body);
        let coded = Zeroizing::new(decode(&text).unwrap_or([0; CODED_BYTES]));
        debug_assert!(coded.starts_with(body), "what was written is read");
        Self { text, reference: TokenReference::of_coded(&coded) }
    }

    /// One of another kind.
    pub(super) const fn of_parts(text: Zeroizing<String>, reference: TokenReference) -> Self {
        Self { text, reference }
    }

    /// The text of it, to be given to its owner and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What it will be found by.
    #[must_use]
    pub const fn reference(&self) -> TokenReference {
        self.reference
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AccessToken(..)")
    }
}

impl TokenReference {
    /// Where a presented text would be found, if it has the shape of a token. The checksum is not looked at: what only looks
    /// like a token costs what an unknown one costs, and answers as late.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        decode(text).map_or_else(|| jwt::reference_of(text), |coded| Some(Self::of_coded(&coded)))
    }

    fn of_coded(coded: &[u8; CODED_BYTES]) -> Self {
        let routing = coded.first_chunk().copied().unwrap_or_default();
        Self { routing_id: RoutingId(u64::from_le_bytes(routing)), digest: TokenDigest::of_bytes(coded) }
    }
}

/// What stands behind the prefix. Two texts never decode to the same: every bit of the characters is a bit of the bytes.
fn decode(text: &str) -> Option<[u8; CODED_BYTES]> {
    if text.len() != TOKEN_CHARACTERS {
        return None;
    }
    let mut characters = [ZERO_BITS; CODED_CHARACTERS + PADDING_CHARACTERS];
    *characters.first_chunk_mut()? = *text.strip_prefix(PREFIX)?.as_bytes().first_chunk::<CODED_CHARACTERS>()?;
    let mut decoded = [0; CODED_BYTES + PADDING_CHARACTERS / 4 * 3];
    URL_SAFE_NO_PAD.decode(&characters, Out::from_slice(&mut decoded)).ok()?;
    decoded.first_chunk().copied()
}

/// The decoder takes 32 characters at a time as long as six more follow, and the rest one by one: with so many behind them,
/// it takes all of ours so.
const PADDING_CHARACTERS: usize = 12;
const ZERO_BITS: u8 = b'A';

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> AccessToken {
        AccessToken::random(&ring::rand::SystemRandom::new()).unwrap()
    }

    #[test]
    fn a_token_is_found_by_what_it_was_minted_with() {
        let token = token();
        assert_eq!(token.reveal().len(), 67);
        assert_eq!(TokenReference::of(token.reveal()), Some(token.reference()));
    }

    #[test]
    fn a_text_that_differs_anywhere_is_another_token_or_none() {
        let token = token();
        let text = token.reveal();
        for position in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[position] ^= 1;
            let changed = TokenReference::of(&String::from_utf8(bytes).unwrap());
            assert!(changed.is_none_or(|changed| changed.digest != token.reference().digest), "at {position}");
        }
    }

    #[test]
    fn a_text_without_the_shape_of_a_token_is_none() {
        let token = token();
        let text = token.reveal();
        for cut in 0..text.len() {
            assert_eq!(TokenReference::of(&text[..cut]), None, "cut at {cut}");
        }
        for changed in [format!("{text}A"), format!(" {text}"), format!("{text}="), String::new(), "é".repeat(40)] {
            assert_eq!(TokenReference::of(&changed), None, "{changed:?}");
        }
        assert_eq!(TokenReference::of(&text.replacen("tsr_at_", "tsr_at_!", 1)[..67]), None);
    }

    #[test]
    fn the_last_characters_are_the_checksum_of_all_before() {
        let token = token();
        let (checked, presented) = token.reveal().split_at(TOKEN_CHARACTERS - CHECKSUM_CHARACTERS);
        assert_eq!(presented.as_bytes(), text::checksum(checked));
        assert!(checked["tsr_at_".len()..].len() == BODY_CHARACTERS);
    }

    #[test]
    fn a_token_does_not_print() {
        assert_eq!(format!("{:?}", token()), "AccessToken(..)");
    }
}
