//! Every key of the installation derives from the master key by HKDF-SHA-256 (RFC 5869), each under its own label.

use std::fmt;

use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The keys that derive from a master key. Whoever has the data directory without the master key can neither make a journal
/// that verifies nor foretell a token's shard.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DerivedKeys {
    /// Keys the MACs of the journal.
    pub journal_mac: [u8; 32],
    /// Tells a journal of this master key from that of another. Not secret.
    pub journal_key_id: u64,
    /// Keys the hash that finds a token's shard.
    pub shard_hash: [u8; 16],
    /// Keys the texts that the server seals for itself: see [`crate::signing::seal`].
    pub seal: [u8; 32],
    /// Keys refresh tokens: see [`RefreshKey`](crate::token::refresh_token::RefreshKey).
    pub refresh_token: [u8; 32],
    /// Keys the hash that finds the shard of a device: see [`UserCodeKey`](crate::token::user_code::UserCodeKey).
    pub user_code: [u8; 32],
    /// Keys the digests of proofs that count once: see [`ProofKey`](crate::token::proof::ProofKey).
    pub proof: [u8; 32],
    /// Keys the tokens of forms.
    pub csrf: [u8; 32],
}

impl DerivedKeys {
    /// Derives all keys.
    #[must_use]
    pub fn of(master_key: &[u8; 32]) -> Self {
        let master = Salt::new(HKDF_SHA256, b"tessera").extract(master_key);
        Self {
            journal_mac: expand(&master, "journal mac"),
            journal_key_id: u64::from_le_bytes(expand(&master, "journal key id")),
            shard_hash: expand(&master, "shard hash"),
            seal: expand(&master, "seal"),
            refresh_token: expand(&master, "refresh token"),
            user_code: expand(&master, "user code"),
            proof: expand(&master, "proof"),
            csrf: expand(&master, "csrf"),
        }
    }
}

impl fmt::Debug for DerivedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DerivedKeys(..)")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[expect(clippy::expect_used, reason = "RFC 5869 allows 255 × 32 bytes, and these are at most 32")]
fn expand<const N: usize>(master: &Prk, label: &str) -> [u8; N] {
    let mut key = [0; N];
    master
        .expand(&[label.as_bytes()], Length(N))
        .and_then(|okm| okm.fill(&mut key))
        .expect("the length is within bounds");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_a_function_of_the_master_key_and_their_label() {
        let [keys, same, other] = [[1; 32], [1; 32], [2; 32]].map(|master| DerivedKeys::of(&master));
        assert_eq!(
            (keys.journal_mac, keys.journal_key_id, keys.shard_hash, keys.seal),
            (same.journal_mac, same.journal_key_id, same.shard_hash, same.seal)
        );
        assert_ne!(keys.journal_mac, other.journal_mac);
        assert_ne!(keys.seal, other.seal);
        assert_ne!(keys.seal, keys.journal_mac);
        assert_eq!(keys.csrf, same.csrf);
        assert_ne!(keys.csrf, other.csrf);
        assert_ne!(keys.csrf, keys.journal_mac);
        assert_ne!(keys.journal_key_id, other.journal_key_id);
        assert_ne!(keys.journal_mac[..16], keys.shard_hash);
    }

    #[test]
    fn the_derivation_does_not_change_between_versions() {
        // A data directory of an older version must open: these bytes stand for ever.
        assert_eq!(DerivedKeys::of(&[7; 32]).journal_key_id, GOLDEN_KEY_ID);
    }

    const GOLDEN_KEY_ID: u64 = 6_604_500_764_802_933_564;
}
