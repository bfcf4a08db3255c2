//! What a shard knows: its tokens, their grants, and when they expire.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::client::id::ClientId;
use crate::client::registry::{ClientRegistry, Generation};
use crate::token::access_token::Partition;
use crate::token::digest::TokenDigest;
use crate::token::event::{InvalidRecord, TermsView, TokenEvent};
use crate::token::expiry::ExpiryBuckets;
use crate::token::grant::{GrantBook, GrantTerms};
use crate::token::section::TokenSectionView;
use crate::token::slot::{SEQUENCE_MAX, SlotData};
use crate::token::table::{Home, TokenReader, TokenTable};

/// The state of a shard. Changed by events in their order, live and at recovery alike.
pub struct ShardState {
    table: TokenTable,
    grants: GrantBook,
    expiry: ExpiryBuckets,
    expired: u64,
}

/// What a shard knows of a token, for the decision to revoke it.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownToken<'a> {
    /// The client that it was issued to.
    pub client_id: &'a ClientId,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
    /// Whether it is revoked, durably or not yet.
    pub is_revoked: bool,
}

/// A token that a shard is to keep.
#[derive(Clone, Copy, Debug)]
pub struct NewToken {
    /// Which token.
    pub digest: TokenDigest,
    /// Decides which shard has it.
    pub partition: Partition,
    /// When it was issued, in seconds since the epoch.
    pub issued_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
}

impl ShardState {
    /// A shard without tokens. `issuer` is the `iss` that its tokens are introspected with.
    #[must_use]
    pub fn new(issuer: Arc<str>) -> Self {
        Self { table: TokenTable::new(), grants: GrantBook::new(issuer), expiry: ExpiryBuckets::default(), expired: 0 }
    }

    /// What other threads may read of it, now and after every later change.
    #[must_use]
    pub fn reader(&self) -> TokenReader {
        self.table.reader(self.grants.directory())
    }

    /// How many tokens it holds.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        self.table.len()
    }

    /// How many tokens have been removed because they had expired.
    #[must_use]
    pub const fn expired(&self) -> u64 {
        self.expired
    }

    /// A token, as this shard knows it.
    #[must_use]
    pub fn find(&self, digest: TokenDigest) -> Option<KnownToken<'_>> {
        let data = self.table.find(digest)?;
        let client_id = &self.grants.terms(data.grant_id)?.client_id;
        Some(KnownToken { client_id, expires_at: data.expires_at, is_revoked: data.revoked != 0 })
    }

    /// A token is there from now on. One that is there already stays as it is.
    pub fn issue(&mut self, token: &NewToken, terms: &Arc<GrantTerms>, in_force: &Arc<Generation>) {
        let grant_id = self.grants.hold(terms, in_force);
        if !self.insert(token, grant_id, 0) {
            self.grants.release(grant_id);
        }
    }

    fn insert(&mut self, token: &NewToken, grant_id: u64, revoked: u64) -> bool {
        let NewToken { digest, partition, issued_at, expires_at } = *token;
        let (digest, partition) = (digest.words(), partition.0);
        let is_new = self.table.insert(SlotData { digest, grant_id, issued_at, expires_at, revoked, partition });
        if is_new {
            self.expiry.push(expires_at, Home::packed(digest));
        }
        is_new
    }

    /// A token is revoked from `sequence` on, which is not 0. Nothing happens to one that is not there, or is revoked.
    ///
    /// # Panics
    ///
    /// When the sequence does not fit 48 bits, after years of a million changes a second: restart before.
    pub fn revoke(&mut self, digest: TokenDigest, sequence: u64) {
        assert!(sequence <= SEQUENCE_MAX, "a shard has used up its sequences");
        self.table.revoke(digest, sequence);
    }

    /// Removes some tokens that have expired: one bounded step, which leaves the rest to the next. Answers whether there may
    /// be a rest.
    pub fn expire(&mut self, now: u32) -> bool {
        let Some(homes) = self.expiry.pop_due(now) else { return false };
        for home in &homes {
            let grants = &mut self.grants;
            let removed = self.table.remove_expired(*home, now, |grant_id| grants.release(grant_id));
            self.expired += removed as u64;
        }
        true
    }
}

/// Builds the state of a shard from the journal's events.
pub struct Replay {
    state: ShardState,
    registry: Arc<ClientRegistry>,
    /// Terms that have been made already, by the hash of what a record says of them.
    terms: HashMap<u64, MadeTerms>,
    hasher: RandomState,
    /// A token that had expired by then is left out.
    now: u32,
}

/// The sequence of everything that a replay brings: it is durable.
pub const RECOVERED_SEQUENCE: u64 = 1;

#[derive(Clone)]
struct MadeTerms {
    terms: Arc<GrantTerms>,
    in_force: Arc<Generation>,
}

impl Replay {
    /// A replay that begins with nothing.
    #[must_use]
    pub fn new(issuer: Arc<str>, registry: Arc<ClientRegistry>, now: u32) -> Self {
        let state = ShardState::new(issuer);
        Self { state, registry, terms: HashMap::new(), hasher: RandomState::new(), now }
    }

    /// Applies the next event of this shard, about a token in `partition`.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`]: nothing may be skipped, so the caller refuses to start.
    pub fn apply(&mut self, event: &TokenEvent<'_>, partition: Partition) -> Result<(), InvalidRecord> {
        match event {
            TokenEvent::Revoked { digest, .. } => self.state.revoke(*digest, RECOVERED_SEQUENCE),
            TokenEvent::Issued { expires_at, .. } if *expires_at <= self.now => {}
            TokenEvent::Issued { digest, issued_at, expires_at, terms } => {
                let made = self.terms(terms)?;
                let (digest, issued_at, expires_at) = (*digest, *issued_at, *expires_at);
                self.state.issue(&NewToken { digest, partition, issued_at, expires_at }, &made.terms, &made.in_force);
            }
        }
        Ok(())
    }

    /// Takes over the tokens of a snapshot's section whose partition `is_own`.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] as for [`Replay::apply`].
    pub fn load(
        &mut self,
        section: &TokenSectionView<'_>,
        is_own: impl Fn(Partition) -> bool,
    ) -> Result<(), InvalidRecord> {
        let terms: Vec<_> = section.terms().collect();
        let now = self.now;
        let is_wanted = |token: &NewToken| token.expires_at > now && is_own(token.partition);
        let wanted = section.tokens().filter(|(token, ..)| is_wanted(token));
        self.state.table.reserve(wanted.map(|(token, ..)| Home::packed(token.digest.words())));
        // By the index of the terms: their grant, and how many of its tokens came from this section.
        let mut held: Vec<Option<(u64, u64)>> = vec![None; terms.len()];
        for (token, terms_index, is_revoked) in section.tokens() {
            if !is_wanted(&token) {
                continue;
            }
            let (Some(held), Some(terms)) = (held.get_mut(terms_index), terms.get(terms_index)) else {
                return Err(InvalidRecord("reference to terms"));
            };
            let (grant_id, tokens) = match held {
                Some(held) => held,
                None => held.insert((self.hold(terms)?, 0)),
            };
            let revoked = if is_revoked { RECOVERED_SEQUENCE } else { 0 };
            *tokens += u64::from(self.state.insert(&token, *grant_id, revoked));
        }
        for (grant_id, tokens) in held.into_iter().flatten() {
            self.state.grants.hold_more(grant_id, tokens);
            self.state.grants.release(grant_id);
        }
        Ok(())
    }

    /// The grant of these terms, with a token on it that is only thought of.
    fn hold(&mut self, terms: &TermsView<'_>) -> Result<u64, InvalidRecord> {
        let made = self.terms(terms)?;
        Ok(self.state.grants.hold(&made.terms, &made.in_force))
    }

    /// The state after the last event.
    #[must_use]
    pub fn finish(self) -> ShardState {
        self.state
    }

    fn terms(&mut self, view: &TermsView<'_>) -> Result<MadeTerms, InvalidRecord> {
        let key = self.hasher.hash_one(view);
        if let Some(made) = self.terms.get(&key).filter(|made| view.describes(&made.terms)) {
            return Ok(made.clone());
        }
        let terms = Arc::new(view.parse()?);
        let in_force = self.registry.generation(&terms.client_id);
        let made = MadeTerms { terms, in_force };
        self.terms.insert(key, made.clone());
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::event::{
        KIND_ISSUED, KIND_REVOKED, SCHEMA_ISSUED, SCHEMA_REVOKED, encode_issued, encode_revoked,
    };
    use crate::token::grant::tests::terms;

    fn digest(number: u32) -> TokenDigest {
        TokenDigest::of(&number.to_string())
    }

    fn new_token(number: u32, expires_at: u32) -> NewToken {
        NewToken { digest: digest(number), partition: PARTITION, issued_at: 0, expires_at }
    }

    const PARTITION: Partition = Partition(7);

    fn state_with(tokens: u32, expires_at: u32) -> ShardState {
        let mut state = ShardState::new(Arc::from("https://as.example"));
        for number in 0..tokens {
            state.issue(&new_token(number, expires_at), &terms("read"), &Arc::default());
        }
        state
    }

    #[test]
    fn expired_tokens_leave_in_bounded_steps_and_take_their_grant_with_them() {
        let mut state = state_with(5000, 100);
        state.issue(&new_token(9999, 1000), &terms("write"), &Arc::default());
        assert!(!state.expire(100), "the bucket is not wholly past");
        let mut steps = 0;
        while state.expire(200) {
            steps += 1;
        }
        assert!(steps >= 10, "{steps} steps");
        assert_eq!((state.tokens(), state.expired()), (1, 5000));
        assert!(state.find(digest(1)).is_none());
        assert!(state.reader().find(digest(1)).unwrap().is_none());
        assert_eq!(state.reader().find(digest(9999)).unwrap().unwrap().grant.terms().scope.as_str(), "write");
    }

    #[test]
    fn a_token_is_revoked_once() {
        let mut state = state_with(1, 100);
        state.revoke(digest(0), 7);
        state.revoke(digest(0), 8);
        state.issue(&new_token(0, 100), &terms("read"), &Arc::default());
        assert_eq!(state.reader().find(digest(0)).unwrap().unwrap().revoked, 7);
        assert!(state.find(digest(0)).unwrap().is_revoked);
    }

    #[test]
    fn replaying_twice_is_replaying_once() {
        let registry = Arc::new(ClientRegistry::default());
        let mut replay = Replay::new(Arc::from("i"), registry, 50);
        let issued = [(0, 100), (1, 100), (2, 50)]
            .map(|(number, expires_at)| encode_issued(digest(number), 1, expires_at, &terms("read")).unwrap());
        let revoked = encode_revoked(digest(1), 100).unwrap();
        for _ in 0..2 {
            for payload in &issued {
                let event = TokenEvent::decode(KIND_ISSUED, SCHEMA_ISSUED, payload).unwrap().unwrap();
                replay.apply(&event, PARTITION).unwrap();
            }
            let event = TokenEvent::decode(KIND_REVOKED, SCHEMA_REVOKED, &revoked).unwrap().unwrap();
            replay.apply(&event, PARTITION).unwrap();
        }
        let state = replay.finish();
        assert_eq!(state.tokens(), 2, "the one that had expired is left out");
        let revoked = |number| state.reader().find(digest(number)).unwrap().map(|found| found.revoked);
        assert_eq!([revoked(0), revoked(1), revoked(2)], [Some(0), Some(RECOVERED_SEQUENCE), None]);
    }
}
