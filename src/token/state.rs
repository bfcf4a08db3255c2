//! What a shard knows: its tokens, their grants, and when they expire.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::client::registry::ClientRegistry;
use crate::clock::UnixTime;
use crate::signing::registry::KeyRegistry;
use crate::token::access_token::{Partition, RoutingId};
use crate::token::digest::TokenDigest;
use crate::token::event::{InvalidRecord, TermsView, TokenEvent};
use crate::token::expiry::ExpiryBuckets;
use crate::token::grant::{ClientTerms, GrantBook, GrantTerms};
use crate::token::grant_id::GrantId;
use crate::token::person::{Gone, Kept, Pending, PendingCode, PendingDevice, PersonGrant, PersonGrants, PersonTerms};
use crate::token::person_event::{AccessIssued, AccessView, GrantView, PersonEvent, PersonView};
use crate::token::proof::{ProofDigest, UsedProofs};
use crate::token::section::TokenSectionView;
use crate::token::slot::{SEQUENCE_MAX, SlotData};
use crate::token::table::{Home, TokenReader, TokenTable};
use crate::user::registry::UserRegistry;

/// The state of a shard. Changed by events in their order, live and at recovery alike.
pub struct ShardState {
    table: TokenTable,
    grants: GrantBook,
    expiry: ExpiryBuckets<u32>,
    expired: u64,
    people: PersonGrants,
    proofs: UsedProofs,
}

/// Where a replay finds the generations that are in force.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// Those of clients.
    pub clients: Arc<ClientRegistry>,
    /// Those of subjects.
    pub users: Arc<UserRegistry>,
    /// The keys that sign, which have none.
    pub keys: Arc<KeyRegistry>,
}

/// What a shard knows of a token, for the decision to revoke it.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownToken<'a> {
    /// What it was granted.
    pub terms: &'a GrantTerms,
    /// When it was issued, in seconds since the epoch.
    pub issued_at: u32,
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
        Self {
            table: TokenTable::new(),
            grants: GrantBook::new(issuer),
            expiry: ExpiryBuckets::default(),
            expired: 0,
            people: PersonGrants::default(),
            proofs: UsedProofs::default(),
        }
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
        let terms = self.grants.terms(data.grant_id)?;
        let (issued_at, expires_at) = (data.issued_at, data.expires_at);
        Some(KnownToken { terms, issued_at, expires_at, is_revoked: data.revoked != 0 })
    }

    /// A token is there from now on. One that is there already stays as it is.
    pub fn issue(&mut self, token: &NewToken, terms: &GrantTerms) {
        let grant_id = self.grants.hold(terms);
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
        let may_have_more = self.people.expire(now) | self.proofs.expire(now);
        let Some(homes) = self.expiry.pop_due(now) else { return may_have_more };
        for home in &homes {
            let grants = &mut self.grants;
            let removed = self.table.remove_expired(*home, now, |grant_id| grants.release(grant_id));
            self.expired += removed as u64;
        }
        true
    }

    /// Whether a proof was used, durably or not yet.
    #[must_use]
    pub fn is_proof_used(&self, digest: ProofDigest) -> bool {
        self.proofs.contains(digest)
    }

    /// A proof is used from now on, until it expires.
    pub fn note_proof(&mut self, digest: ProofDigest, expires_at: u32) {
        self.proofs.note(digest, expires_at);
    }

    /// Up to `limit` proofs that were used, behind `after` in the order of their digests, each with when it expires.
    pub fn used_proofs(&self, after: Option<ProofDigest>, limit: usize) -> impl Iterator<Item = (ProofDigest, u32)> {
        self.proofs.page(after, limit)
    }

    /// What waits to be redeemed under that id.
    #[must_use]
    pub fn pending(&self, id: GrantId) -> Option<&Pending> {
        self.people.pending(id)
    }

    /// The device request that a user code leads to.
    #[must_use]
    pub fn device(&self, routing_id: RoutingId) -> Option<(GrantId, &PendingDevice)> {
        self.people.device(routing_id)
    }

    /// A person's grant. It may have been ended, or have expired.
    #[must_use]
    pub fn person_grant(&self, id: GrantId) -> Option<&PersonGrant> {
        self.people.grant(id)
    }

    /// What waits to be redeemed from now on.
    pub fn store_pending(&mut self, id: GrantId, pending: Pending) {
        self.people.store_pending(id, pending);
    }

    /// What waits under that id is this from now on.
    pub fn replace_pending(&mut self, id: GrantId, pending: Pending) {
        self.people.replace_pending(id, pending);
    }

    /// Every device that waits for a person.
    pub fn devices(&self) -> impl Iterator<Item = &PendingDevice> {
        self.people.devices()
    }

    /// What a person's grant is from now on, with the access token that is issued with the change.
    pub fn store_grant(
        &mut self,
        id: GrantId,
        grant: PersonGrant,
        access: Option<&AccessIssued>,
        partition: Partition,
    ) {
        let terms = &self.people.store_grant(id, grant).terms;
        let Some(AccessIssued { digest, issued_at, expires_at, scope, audience }) = access else { return };
        let terms = terms.narrowed(scope.clone(), audience.clone());
        let (digest, issued_at, expires_at) = (*digest, *issued_at, *expires_at);
        self.issue(&NewToken { digest, partition, issued_at, expires_at }, &terms);
    }

    /// Notes that a device asks. Answers whether it has waited long enough (RFC 8628 §3.5).
    pub fn note_poll(&mut self, id: GrantId, now: UnixTime) -> bool {
        self.people.note_poll(id, now)
    }

    /// A person's grant is ended from `sequence` on, which is not 0, and all that hangs on it is dead. Answers whether it was
    /// there and had not been ended.
    pub fn end_grant(&mut self, id: GrantId, sequence: u64) -> bool {
        self.people.end(id, sequence)
    }

    /// Up to `limit` people's grants, and what is to become some, behind `after` in the order of their ids.
    pub fn kept(&self, after: Option<GrantId>, limit: usize) -> impl Iterator<Item = (GrantId, Kept<'_>)> {
        self.people.page(after, limit)
    }

    /// Every person's grant that is in force.
    pub fn grants_in_force(&self) -> impl Iterator<Item = (GrantId, &PersonGrant)> {
        self.people.in_force()
    }

    /// What of people's grants has left since the last call.
    pub fn take_gone(&mut self) -> Vec<Gone> {
        self.people.take_gone()
    }
}

/// Builds the state of a shard from the journal's events.
pub struct Replay {
    state: ShardState,
    registries: Registries,
    /// Terms of clients that have been made already, by the hash of what a record says of them.
    clients: HashMap<u64, Arc<ClientTerms>>,
    hasher: RandomState,
    /// People of grants: what shares one is not always read one after the other.
    people: HashMap<GrantId, Arc<PersonTerms>>,
    /// A token that had expired by then is left out.
    now: u32,
}

/// The sequence of everything that a replay brings: it is durable.
pub const RECOVERED_SEQUENCE: u64 = 1;

impl Replay {
    /// A replay that begins with nothing.
    #[must_use]
    pub fn new(issuer: Arc<str>, registries: Registries, now: u32) -> Self {
        let state = ShardState::new(issuer);
        let (clients, people) = (HashMap::new(), HashMap::new());
        Self { state, registries, clients, hasher: RandomState::new(), people, now }
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
                let terms = self.terms(terms)?;
                let (digest, issued_at, expires_at) = (*digest, *issued_at, *expires_at);
                self.state.issue(&NewToken { digest, partition, issued_at, expires_at }, &terms);
            }
            TokenEvent::ProofUsed { expires_at, .. } if *expires_at <= self.now => {}
            TokenEvent::ProofUsed { digest, expires_at } => self.state.note_proof(*digest, *expires_at),
            TokenEvent::Person(event) => self.apply_to_person(event, partition)?,
        }
        Ok(())
    }

    fn apply_to_person(&mut self, event: &PersonEvent<'_>, partition: Partition) -> Result<(), InvalidRecord> {
        match event {
            PersonEvent::CodeStored { grant_id, code } => {
                let terms = self.terms_of(*grant_id, &code.terms)?;
                if code.expires_at > self.now {
                    self.state.store_pending(
                        *grant_id,
                        Pending::Code(PendingCode {
                            digest: code.digest,
                            terms,
                            redirect_uri: code.redirect_uri.map(Box::from),
                            code_challenge: code.code_challenge,
                            nonce: code.nonce.map(Box::from),
                            expires_at: code.expires_at,
                        }),
                    );
                }
            }
            PersonEvent::DeviceStored { grant_id, device } => {
                let terms = self.terms(&device.terms)?;
                if device.expires_at > self.now {
                    self.state.store_pending(
                        *grant_id,
                        Pending::Device(PendingDevice {
                            digest: device.digest,
                            terms,
                            requested_at: device.requested_at,
                            requested_from: device.requested_from,
                            expires_at: device.expires_at,
                            decision: device.decision,
                        }),
                    );
                }
            }
            PersonEvent::GrantStored { grant_id, grant } => self.store_grant(*grant_id, grant, partition)?,
            PersonEvent::GrantEnded { grant_id } => {
                self.state.end_grant(*grant_id, RECOVERED_SEQUENCE);
                // Tokens of it may have been read of which the grant was not.
                if let Some(person) = self.people.get(grant_id) {
                    person.end(RECOVERED_SEQUENCE);
                }
            }
        }
        Ok(())
    }

    fn store_grant(&mut self, id: GrantId, view: &GrantView<'_>, partition: Partition) -> Result<(), InvalidRecord> {
        let terms = self.terms_of(id, &view.terms)?;
        let access = view.access.as_ref().map(AccessView::parse).transpose()?;
        let grant = PersonGrant {
            terms,
            created_at: view.created_at,
            redeemed: view.redeemed,
            refresh: view.refresh,
            access_expires_at: view.access_expires_at,
        };
        // What has expired is stored too: it takes the place of a code that must not be redeemed again.
        let access = access.filter(|access| access.expires_at > self.now);
        self.state.store_grant(id, grant, access.as_ref(), partition);
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
        let terms = section.terms();
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
        let terms = self.terms(terms)?;
        Ok(self.state.grants.hold(&terms))
    }

    /// The state after the last event.
    #[must_use]
    pub fn finish(mut self) -> ShardState {
        // What went before anybody counted it is nobody's loss.
        self.state.take_gone();
        self.state
    }

    fn terms(&mut self, view: &TermsView<'_>) -> Result<GrantTerms, InvalidRecord> {
        let client = self.client_terms(view)?;
        let person = view.person.as_ref().map(|person| self.person_terms(person)).transpose()?;
        Ok(GrantTerms { client, person })
    }

    /// The terms of a person's grant, which name that very grant.
    fn terms_of(&mut self, id: GrantId, view: &TermsView<'_>) -> Result<GrantTerms, InvalidRecord> {
        match &view.person {
            Some(person) if person.grant_id == id => self.terms(view),
            _ => Err(InvalidRecord("person")),
        }
    }

    fn client_terms(&mut self, view: &TermsView<'_>) -> Result<Arc<ClientTerms>, InvalidRecord> {
        let key = self.hasher.hash_one(view.client());
        if let Some(made) = self.clients.get(&key).filter(|made| view.describes(made)) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(view.parse_client(|id| self.registries.clients.generation(id))?);
        self.clients.insert(key, Arc::clone(&made));
        Ok(made)
    }

    fn person_terms(&mut self, view: &PersonView<'_>) -> Result<Arc<PersonTerms>, InvalidRecord> {
        let before = self.people.get(&view.grant_id);
        if let Some(made) = before.filter(|made| view.describes(made)) {
            return Ok(Arc::clone(made));
        }
        let users = &self.registries.users;
        let made = view.parse(|subject| users.generation(subject), users.share(view.context()))?;
        let made = Arc::new(made);
        if let Some(before) = before {
            // Asked for anew before it was redeemed: what has ended it holds.
            made.end(before.ended());
        }
        self.people.insert(view.grant_id, Arc::clone(&made));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use sdd::Guard;

    use super::*;
    use crate::token::event::{
        KIND_ISSUED, KIND_REVOKED, SCHEMA_ISSUED, SCHEMA_REVOKED, encode_issued, encode_revoked,
    };
    use crate::token::grant::tests::{client_terms, terms};

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
            state.issue(&new_token(number, expires_at), &terms("read"));
        }
        state
    }

    #[test]
    fn expired_tokens_leave_in_bounded_steps_and_take_their_grant_with_them() {
        let mut state = state_with(5000, 100);
        state.issue(&new_token(9999, 1000), &terms("write"));
        assert!(!state.expire(100), "the bucket is not wholly past");
        let mut steps = 0;
        while state.expire(200) {
            steps += 1;
        }
        assert!(steps >= 10, "{steps} steps");
        assert_eq!((state.tokens(), state.expired()), (1, 5000));
        assert!(state.find(digest(1)).is_none());
        let guard = Guard::new();
        assert!(state.reader().find(digest(1), &guard).unwrap().is_none());
        assert_eq!(
            state.reader().find(digest(9999), &guard).unwrap().unwrap().grant.terms().client.scope.as_str(),
            "write"
        );
    }

    #[test]
    fn a_token_is_revoked_once() {
        let mut state = state_with(1, 100);
        state.revoke(digest(0), 7);
        state.revoke(digest(0), 8);
        state.issue(&new_token(0, 100), &terms("read"));
        assert_eq!(state.reader().find(digest(0), &Guard::new()).unwrap().unwrap().revoked, 7);
        assert!(state.find(digest(0)).unwrap().is_revoked);
    }

    #[test]
    fn replaying_twice_is_replaying_once() {
        let mut replay = Replay::new(Arc::from("i"), Registries::default(), 50);
        let issued = [(0, 100), (1, 100), (2, 50)]
            .map(|(number, expires_at)| encode_issued(digest(number), 1, expires_at, &client_terms("read")).unwrap());
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
        let guard = Guard::new();
        let revoked = |number| state.reader().find(digest(number), &guard).unwrap().map(|found| found.revoked);
        assert_eq!([revoked(0), revoked(1), revoked(2)], [Some(0), Some(RECOVERED_SEQUENCE), None]);
    }
}
