//! What a token is known by.

use std::fmt;

use ring::digest;

/// The first 128 bits of the SHA-256 of a token's text. All that is kept of a token, in memory and at rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 16]);

impl TokenDigest {
    /// The digest of a token's text.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 16];
        for (byte, hashed) in bytes.iter_mut().zip(digest::digest(&digest::SHA256, token.as_bytes()).as_ref()) {
            *byte = *hashed;
        }
        Self(bytes)
    }

    /// The digest with those bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The digest of both halves.
    pub(super) fn from_words([low, high]: [u64; 2]) -> Self {
        Self((u128::from(low) | u128::from(high) << 64).to_le_bytes())
    }

    /// Both halves, as a slot stores them.
    pub(super) fn words(self) -> [u64; 2] {
        let bits = u128::from_le_bytes(self.0);
        let mask = u128::from(u64::MAX);
        [(bits & mask), (bits >> 64)].map(|half| u64::try_from(half).unwrap_or_default())
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenDigest(..)")
    }
}
