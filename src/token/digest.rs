//! What a token is known by.

use std::fmt;

use ring::digest;
use sha2::block_api::compress256;

/// The first 128 bits of the SHA-256 of a token. All that is kept of a token, in memory and at rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 16]);

impl TokenDigest {
    /// The digest of a token's text.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self::of_bytes(token.as_bytes())
    }

    /// The digest of a token that is known by other bytes than those of its text.
    #[must_use]
    pub fn of_bytes(token: &[u8]) -> Self {
        let short = if has_sha_instructions() { sha256_of_short(token) } else { None };
        Self(short.unwrap_or_else(|| sha256(token)))
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

/// The SHA-256 of a text, as much of it as is kept.
fn sha256(text: &[u8]) -> [u8; 16] {
    digest::digest(&digest::SHA256, text).as_ref().first_chunk().copied().unwrap_or_default()
}

/// Whether the processor has instructions for SHA-256. Where it has none, `ring` is the faster of the two.
fn has_sha_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

/// The same for bytes that fit [`SHORT_BLOCKS`] with their padding, as those of every token of ours do: what is around the
/// compressions of it takes a library a third of the time.
#[expect(clippy::big_endian_bytes, reason = "numbers in SHA-256 are big-endian (FIPS 180-4 §3.1)")]
fn sha256_of_short(text: &[u8]) -> Option<[u8; 16]> {
    let mut message = [[0_u8; BLOCK_BYTES]; SHORT_BLOCKS];
    let blocks = message.get_mut(..(text.len() + PADDING_BYTES_MIN).div_ceil(BLOCK_BYTES))?;
    let (start, padding) = blocks.as_flattened_mut().split_at_mut_checked(text.len())?;
    start.copy_from_slice(text);
    *padding.first_mut()? = PADDING_FIRST;
    *padding.last_chunk_mut()? = (u64::try_from(text.len()).ok()? * 8).to_be_bytes();
    let mut state = SHA256_INITIAL;
    compress256(&mut state, blocks);
    let kept = state.iter().take(4).fold(0, |kept: u128, word| kept << u32::BITS | u128::from(*word));
    Some(kept.to_be_bytes())
}

const SHORT_BLOCKS: usize = 2;
const BLOCK_BYTES: usize = 64;
/// FIPS 180-4 §5.1.1: a bit that is set, others that are not up to the end of a block, and the length in bits.
const PADDING_FIRST: u8 = 0x80;
const PADDING_BYTES_MIN: usize = 1 + 8;
/// FIPS 180-4 §5.3.3.
const SHA256_INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_same_digest_however_long_it_is() {
        let text: Vec<u8> = (0..200).collect();
        for length in 0..text.len() {
            let short = sha256_of_short(&text[..length]);
            assert_eq!(short.is_some(), length + PADDING_BYTES_MIN <= SHORT_BLOCKS * BLOCK_BYTES);
            assert!(short.is_none_or(|short| short == sha256(&text[..length])), "{length} bytes");
        }
    }

    /// Journals hold it.
    #[test]
    fn a_digest_is_the_first_half_of_sha_256() {
        let digest = u128::from_le_bytes(*TokenDigest::of("abc").as_bytes()).swap_bytes();
        assert_eq!(digest, 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223);
    }
}
