//! Proofs that count once, in a shard: of however many uses of one proof the first succeeds, and none after a restart.

use crate::journal::Entry;
use crate::shard::actor::Shard;
use crate::shard::people::{Decided, PersonError, PersonRequest};
use crate::shard::{ShardError, Shards};
use crate::token::proof::{KIND_PROOF_USED, ProofDigest, SCHEMA_PROOF_USED, encode_proof_used};
use crate::token::state::ShardState;

impl Shard {
    pub(super) fn use_proof(&self, state: &mut ShardState, digest: ProofDigest, expires_at: u32) -> Decided<bool> {
        // By the clock by which this shard forgets proofs: whoever asked may have waited since it looked at its own.
        if expires_at <= self.now().as_seconds_u32() || state.is_proof_used(digest) {
            return Decided::answered(Ok(false));
        }
        let Ok(record) = proof_entry(digest, expires_at) else { return Decided::busy() };
        state.note_proof(digest, expires_at);
        Decided::changed(record, true)
    }
}

pub(super) fn proof_entry(digest: ProofDigest, expires_at: u32) -> Result<Entry, ShardError> {
    let payload = encode_proof_used(digest, expires_at).map_err(|_| ShardError::Busy)?;
    Ok(Entry { kind: KIND_PROOF_USED, schema: SCHEMA_PROOF_USED, routing_id: digest.routing_id().0, payload })
}

impl Shards {
    /// Uses a proof, which would be refused for its age from `expires_at` on, in seconds since the epoch. Answers whether this is
    /// its first use, when that is durable; so a restart knows it too.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`]; the proof then counts for nothing, and may have been used up.
    pub async fn use_proof(&self, digest: ProofDigest, expires_at: u32) -> Result<bool, PersonError> {
        self.ask_about(digest.routing_id(), |reply| PersonRequest::UseProof(digest, expires_at, reply)).await
    }
}
