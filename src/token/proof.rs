//! Proofs that count once: assertions of clients (RFC 7523 §3, `jti`), and whatever else is signed for one use.
//!
//! A proof is known by a keyed digest of whose it is and what names it, and is kept until it would be refused for its age.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Bound;

use ring::hmac;
use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use crate::token::access_token::RoutingId;
use crate::token::expiry::ExpiryBuckets;

/// The `kind` of a journal record of a proof that was used.
pub const KIND_PROOF_USED: u16 = 22;
/// The newest `schema` of it.
pub const SCHEMA_PROOF_USED: u16 = 1;

/// What a proof is known by: 128 bits, of which nothing can be read and which nobody without the key can foretell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProofDigest([u8; 16]);

/// Makes the digests of proofs.
#[derive(Clone)]
pub struct ProofKey(hmac::Key);

/// What kind of proof. Two kinds never meet, whatever names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// An assertion that a client authenticates with; its owner is the `client_id`.
    ClientAssertion,
}

impl ProofKey {
    /// The key of the installation.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The digest of the proof that `name` names among those of its owner.
    #[must_use]
    pub fn digest(&self, kind: ProofKind, owner: &str, name: &str) -> ProofDigest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[match kind {
            ProofKind::ClientAssertion => 1,
        }]);
        // The length before the text, so that no two proofs are hashed from the same bytes.
        context.update(&(owner.len() as u64).to_le_bytes());
        context.update(owner.as_bytes());
        context.update(name.as_bytes());
        ProofDigest(context.sign().as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl ProofDigest {
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

    /// Where it lives.
    #[must_use]
    pub fn routing_id(&self) -> RoutingId {
        RoutingId(u64::from_le_bytes(self.0.first_chunk().copied().unwrap_or_default()))
    }
}

impl fmt::Debug for ProofDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ProofDigest(..)")
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ProofKey(..)")
    }
}

/// A proof was used.
#[derive(Archive, Serialize)]
struct ProofUsed {
    digest: [u8; 16],
    expires_at: u32,
}

/// The payload of a record of a proof that was used and counts no more before it expires, in seconds since the epoch.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn encode_proof_used(digest: ProofDigest, expires_at: u32) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&ProofUsed { digest: digest.0, expires_at })
}

pub(super) fn decode_proof_used(payload: &[u8]) -> Result<(ProofDigest, u32), rancor::Error> {
    let used = rkyv::access::<ArchivedProofUsed, rancor::Error>(payload)?;
    Ok((ProofDigest(used.digest), used.expires_at.to_native()))
}

/// The proofs of a shard that were used and have not expired.
#[derive(Default)]
pub(super) struct UsedProofs {
    /// When each expires. In order, so that a walk may stop and go on while they change.
    used: BTreeMap<ProofDigest, u32>,
    due: ExpiryBuckets<ProofDigest>,
}

impl UsedProofs {
    /// A proof is used. Answers whether that is the first time.
    pub(super) fn note(&mut self, digest: ProofDigest, expires_at: u32) -> bool {
        match self.used.entry(digest) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(expires_at);
                self.due.push(expires_at, digest);
                true
            }
        }
    }

    pub(super) fn contains(&self, digest: ProofDigest) -> bool {
        self.used.contains_key(&digest)
    }

    /// Up to `limit` behind `after`, each with when it expires.
    pub(super) fn page(&self, after: Option<ProofDigest>, limit: usize) -> impl Iterator<Item = (ProofDigest, u32)> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.used.range(from).map(|(digest, expires_at)| (*digest, *expires_at)).take(limit)
    }

    /// Lets go of some that have expired: one bounded step. Answers whether there may be a rest.
    pub(super) fn expire(&mut self, now: u32) -> bool {
        let Some(due) = self.due.pop_due(now) else { return false };
        for digest in due {
            self.used.remove(&digest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ProofKey {
        ProofKey::new(&[7; 32])
    }

    #[test]
    fn a_proof_is_its_owners_own() {
        let digest = |owner, name| key().digest(ProofKind::ClientAssertion, owner, name);
        assert_eq!(digest("app", "1"), digest("app", "1"));
        for (owner, name) in [("app", "2"), ("ap", "p1"), ("app1", ""), ("other", "1")] {
            assert_ne!(digest("app", "1"), digest(owner, name), "{owner} {name}");
        }
        assert_ne!(digest("app", "1"), ProofKey::new(&[8; 32]).digest(ProofKind::ClientAssertion, "app", "1"));
    }

    #[test]
    fn a_proof_counts_once_and_leaves_when_it_has_expired() {
        let mut proofs = UsedProofs::default();
        let digest = |number: u32| key().digest(ProofKind::ClientAssertion, "app", &number.to_string());
        for number in 0..1000 {
            assert!(proofs.note(digest(number), 100));
            assert!(!proofs.note(digest(number), 900));
        }
        assert!(proofs.note(digest(1000), 900));
        assert!(!proofs.expire(100) && proofs.contains(digest(1)), "the bucket is not wholly past");
        let mut steps = 0;
        while proofs.expire(200) {
            steps += 1;
        }
        assert!(steps >= 7, "{steps} steps");
        assert_eq!(proofs.page(None, 9).collect::<Vec<_>>(), [(digest(1000), 900)]);
        assert!(proofs.page(Some(digest(1000)), 9).next().is_none());
    }
}
