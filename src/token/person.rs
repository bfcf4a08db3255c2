//! People's grants: what a person allowed a client, from the code to the last refresh, and all that hangs on it.
//!
//! ```text
//! code or device request ──redeemed──▶ PersonGrant ──refreshed──▶ PersonGrant ──ended, expired──▶ nothing
//!        (pending)                        │  └ generation, current and previous refresh token
//!                                         └ access tokens, in the table
//! ```
//!
//! A grant that was ended stays here until the last of its tokens would have expired, so that whatever is still on its way finds
//! it ended.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::id::ClientId;
use crate::client::registry::Generation;
use crate::clock::UnixTime;
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::subject::Subject;
use crate::token::access_token::RoutingId;
use crate::token::digest::TokenDigest;
use crate::token::expiry::ExpiryBuckets;
use crate::token::grant::GrantTerms;
use crate::token::grant_id::GrantId;
use crate::token::shared_terms::SharedTerms;

/// The person of a grant, and whether it still stands. Shared by the grant and everything that reads its tokens.
#[derive(Debug)]
pub struct PersonTerms {
    /// The grant: no two grants have equal terms.
    pub grant_id: GrantId,
    /// Who granted it.
    pub subject: Subject,
    /// The subject's generation at that time.
    pub subject_generation: u64,
    /// When the person last proved who they are, in seconds since the epoch (`auth_time`, `OpenID` Connect Core §2).
    pub auth_time: u32,
    /// How they did.
    pub context: AuthenticationContext,
    /// What may end it. Not a part of what was granted: equal terms may differ in it.
    pub standing: Standing,
}

impl PersonTerms {
    /// The shard's sequence of the grant's end; 0 while it has none.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.standing.ended.load(Ordering::Acquire)
    }

    /// Whether all that the subject granted was not revoked meanwhile.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.standing.subject.value() == self.subject_generation
    }

    pub(super) fn end(&self, sequence: u64) {
        // Only the first end counts.
        let _ = self.standing.ended.compare_exchange(0, sequence, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl PartialEq for PersonTerms {
    fn eq(&self, other: &Self) -> bool {
        let Self { grant_id, subject, subject_generation, auth_time, context, standing: _ } = self;
        *grant_id == other.grant_id
            && *subject == other.subject
            && *subject_generation == other.subject_generation
            && *auth_time == other.auth_time
            && *context == other.context
    }
}

impl Eq for PersonTerms {}

impl Hash for PersonTerms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // No two grants have one id.
        self.grant_id.hash(state);
    }
}

/// What may end a person's grant.
#[derive(Debug, Default)]
pub struct Standing {
    /// The shard's sequence of its end; 0 while it has none.
    ended: AtomicU64,
    /// The subject's generation that is in force.
    subject: Arc<Generation>,
}

impl Standing {
    /// Of a grant of that subject that nobody has ended.
    #[must_use]
    pub const fn new(subject: Arc<Generation>) -> Self {
        Self { ended: AtomicU64::new(0), subject }
    }
}

/// A code that was not redeemed yet (RFC 6749 §4.1.2).
#[derive(Clone, Debug)]
pub struct PendingCode {
    /// What it is known by.
    pub digest: TokenDigest,
    /// What it will grant.
    pub terms: GrantTerms,
    /// The redirect URI of the request, if it named one: the token request must name it again (RFC 6749 §4.1.3).
    pub redirect_uri: Option<Box<str>>,
    /// SHA-256 of the verifier that will be presented (RFC 7636 §4.2).
    pub code_challenge: Option<[u8; 32]>,
    /// `nonce` of the request, for the ID token.
    pub nonce: Option<Box<str>>,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
}

/// A device that waits for a person (RFC 8628 §3.2).
#[derive(Clone, Debug)]
pub struct PendingDevice {
    /// What its device code is known by.
    pub digest: TokenDigest,
    /// What the client asks for; without a person until one has approved.
    pub terms: GrantTerms,
    /// When the device asked, in seconds since the epoch.
    pub requested_at: u32,
    /// From where it asked, as far as that is known.
    pub requested_from: Option<IpAddr>,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
    /// What the person said.
    pub decision: DeviceDecision,
}

/// What a person has said to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceDecision {
    /// Nothing yet.
    Awaited,
    /// The terms of the request have the person.
    Approved,
    /// No.
    Denied,
}

/// What waits to be redeemed.
#[derive(Clone, Debug)]
pub enum Pending {
    /// An authorization code.
    Code(PendingCode),
    /// A device code.
    Device(PendingDevice),
}

impl Pending {
    /// When it expires, in seconds since the epoch.
    #[must_use]
    pub const fn expires_at(&self) -> u32 {
        match self {
            Self::Code(code) => code.expires_at,
            Self::Device(device) => device.expires_at,
        }
    }
}

/// A person's grant.
#[derive(Clone, Debug)]
pub struct PersonGrant {
    /// What was granted, and by whom.
    pub terms: GrantTerms,
    /// When it was made, in seconds since the epoch.
    pub created_at: u32,
    /// The code that it was made of: whoever presents that again is told apart from garbage.
    pub redeemed: TokenDigest,
    /// The refresh token; `None` where the client has none.
    pub refresh: Option<RefreshState>,
    /// When the last of its access tokens expires, in seconds since the epoch.
    pub access_expires_at: u32,
}

/// Where the chain of a grant's refresh tokens stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshState {
    /// The generation of the token that is good now.
    pub generation: u32,
    /// What that is known by.
    pub current: TokenDigest,
    /// What the one before is known by.
    pub previous: Option<TokenDigest>,
    /// When the grant was last refreshed, or made, in seconds since the epoch.
    pub refreshed_at: u32,
    /// When it expires unless it is refreshed before, in seconds since the epoch.
    pub idle_until: u32,
    /// When it expires in any case, in seconds since the epoch.
    pub expires_at: u32,
}

impl RefreshState {
    /// When the refresh token that is good now expires.
    #[must_use]
    pub fn live_until(&self) -> u32 {
        self.expires_at.min(self.idle_until)
    }
}

impl PersonGrant {
    /// When nothing of it is left, in seconds since the epoch.
    #[must_use]
    pub fn live_until(&self) -> u32 {
        self.refresh.map_or(0, |refresh| refresh.live_until()).max(self.access_expires_at)
    }

    /// Whether nobody has ended it, durably or not yet.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.terms.are_in_force()
    }
}

/// What a shard no longer has.
#[derive(Debug, PartialEq, Eq)]
pub enum Gone {
    /// A grant that has expired.
    Grant {
        /// Which grant.
        grant_id: GrantId,
        /// Whose it was.
        subject: Subject,
    },
    /// A device request that was redeemed or has expired.
    Device {
        /// The client that made it.
        client_id: ClientId,
    },
}

/// The people's grants of a shard, and what will become some.
#[derive(Default)]
pub(super) struct PersonGrants {
    /// In the order of their ids, so that a walk may stop and go on while they change. Boxed, for a tree keeps
    /// room for entries that it has not.
    grants: BTreeMap<GrantId, Box<PersonGrant>>,
    /// What clients may do by these grants.
    shared: SharedTerms,
    pending: BTreeMap<GrantId, Pending>,
    /// Devices by where their user code leads.
    devices: HashMap<RoutingId, GrantId>,
    /// When to look at a grant or at what is pending: it may have been extended meanwhile.
    due: ExpiryBuckets<GrantId>,
    /// When devices last asked. Not journaled: after a restart they begin anew.
    polls: HashMap<GrantId, Poll>,
    gone: Vec<Gone>,
}

/// When a device asked last, and how long it has to wait between two questions (RFC 8628 §3.5).
#[derive(Clone, Copy)]
struct Poll {
    at: UnixTime,
    interval_seconds: u32,
}

/// How long a device waits between two questions if it is not told otherwise, in seconds (RFC 8628 §3.2).
pub const POLL_INTERVAL_SECONDS: u32 = 5;
/// By how much a device that does not wait has to wait longer, in seconds (RFC 8628 §3.5).
const SLOW_DOWN_SECONDS: u32 = 5;

impl PersonGrants {
    pub(super) fn grant(&self, id: GrantId) -> Option<&PersonGrant> {
        self.grants.get(&id).map(|grant| &**grant)
    }

    pub(super) fn pending(&self, id: GrantId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// The device request that a user code leads to.
    pub(super) fn device(&self, routing_id: RoutingId) -> Option<(GrantId, &PendingDevice)> {
        let id = *self.devices.get(&routing_id)?;
        match self.pending.get(&id)? {
            Pending::Device(device) => Some((id, device)),
            Pending::Code(_) => None,
        }
    }

    /// What waits from now on under that id, in place of what did.
    pub(super) fn store_pending(&mut self, id: GrantId, pending: Pending) {
        self.note_new(id, pending.expires_at());
        if matches!(pending, Pending::Device(_)) {
            self.devices.insert(id.routing_id(), id);
        }
        self.pending.insert(id, pending);
    }

    /// What is pending under that id is this from now on, and was something before.
    pub(super) fn replace_pending(&mut self, id: GrantId, pending: Pending) {
        if let Some(before) = self.pending.get_mut(&id) {
            *before = pending;
        }
    }

    /// Every device that waits.
    pub(super) fn devices(&self) -> impl Iterator<Item = &PendingDevice> {
        self.pending.values().filter_map(|pending| match pending {
            Pending::Device(device) => Some(device),
            Pending::Code(_) => None,
        })
    }

    /// The grant of that id from now on, in place of what was pending or granted under it.
    pub(super) fn store_grant(&mut self, id: GrantId, mut grant: PersonGrant) -> &PersonGrant {
        self.note_new(id, grant.live_until());
        self.remove_pending(id);
        match self.grants.entry(id) {
            Entry::Vacant(place) => {
                grant.terms.client = self.shared.hold(grant.terms.client);
                place.insert(Box::new(grant))
            }
            Entry::Occupied(place) => {
                let stored = place.into_mut();
                if !Arc::ptr_eq(&stored.terms.client, &grant.terms.client) {
                    grant.terms.client = self.shared.hold(grant.terms.client);
                    self.shared.release(&stored.terms.client);
                }
                **stored = grant;
                stored
            }
        }
    }

    /// Notes that a device asks. Answers whether it has waited long enough.
    pub(super) fn note_poll(&mut self, id: GrantId, now: UnixTime) -> bool {
        let Some(poll) = self.polls.get_mut(&id) else {
            self.polls.insert(id, Poll { at: now, interval_seconds: POLL_INTERVAL_SECONDS });
            return true;
        };
        let waited_ms = now.as_millis().saturating_sub(poll.at.as_millis());
        let has_waited = waited_ms >= u64::from(poll.interval_seconds) * 1000;
        poll.at = now;
        if !has_waited {
            poll.interval_seconds = poll.interval_seconds.saturating_add(SLOW_DOWN_SECONDS);
        }
        has_waited
    }

    /// Ends a grant. Answers whether it was there and had not been ended.
    pub(super) fn end(&mut self, id: GrantId, sequence: u64) -> bool {
        self.remove_pending(id);
        let Some(person) = self.grants.get(&id).and_then(|grant| grant.terms.person.as_ref()) else { return false };
        let is_first = person.ended() == 0;
        person.end(sequence);
        is_first
    }

    /// Up to `limit` grants and pending ones behind `after`, in the order of their ids.
    pub(super) fn page(&self, after: Option<GrantId>, limit: usize) -> impl Iterator<Item = (GrantId, Kept<'_>)> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut grants = self.grants.range(from).peekable();
        let mut pending = self.pending.range(from).peekable();
        // An id is in one of them alone.
        let merged = std::iter::from_fn(move || match (grants.peek(), pending.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => {
                pending.next().map(|(id, kept)| (*id, Kept::Pending(kept)))
            }
            (Some(_), _) => grants.next().map(|(id, kept)| (*id, Kept::Grant(kept))),
            (None, _) => pending.next().map(|(id, kept)| (*id, Kept::Pending(kept))),
        });
        merged.take(limit)
    }

    /// Every grant that is in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = (GrantId, &PersonGrant)> {
        self.grants.iter().filter(|(_, grant)| grant.is_in_force()).map(|(id, grant)| (*id, &**grant))
    }

    /// Lets go of some that have expired: one bounded step. Answers whether there may be a rest.
    pub(super) fn expire(&mut self, now: u32) -> bool {
        let Some(due) = self.due.pop_due(now) else { return false };
        due.into_iter().for_each(|id| self.look_at(id, now));
        true
    }

    /// What has left since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    fn look_at(&mut self, id: GrantId, now: u32) {
        if let Some(pending) = self.pending.get(&id) {
            match pending.expires_at() {
                later if later > now => self.due.push(later, id),
                _ => self.remove_pending(id),
            }
        }
        let Some(grant) = self.grants.get(&id) else { return };
        let live_until = grant.live_until();
        if live_until > now {
            // It was refreshed since.
            self.due.push(live_until, id);
        } else if let Some(grant) = self.grants.remove(&id) {
            self.shared.release(&grant.terms.client);
            let gone = |person: &Arc<PersonTerms>| Gone::Grant { grant_id: id, subject: person.subject.clone() };
            self.gone.extend(grant.terms.person.as_ref().map(gone));
        }
    }

    /// One note for each id: what is extended is noted anew when the note comes up, and not at every refresh.
    fn note_new(&mut self, id: GrantId, at: u32) {
        if !self.pending.contains_key(&id) && !self.grants.contains_key(&id) {
            self.due.push(at, id);
        }
    }

    fn remove_pending(&mut self, id: GrantId) {
        if let Some(Pending::Device(device)) = self.pending.remove(&id) {
            // Another device may have drawn the same user code once this one had expired.
            if self.devices.get(&id.routing_id()) == Some(&id) {
                self.devices.remove(&id.routing_id());
            }
            self.polls.remove(&id);
            self.gone.push(Gone::Device { client_id: device.terms.client.id.clone() });
        }
    }
}

/// What a walk comes by.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// A grant.
    Grant(&'a PersonGrant),
    /// What may become one.
    Pending(&'a Pending),
}

impl Kept<'_> {
    /// Whether nobody has ended it, durably or not yet.
    #[must_use]
    pub fn is_in_force(self) -> bool {
        match self {
            Self::Grant(grant) => grant.is_in_force(),
            Self::Pending(Pending::Code(code)) => code.terms.are_in_force(),
            Self::Pending(Pending::Device(device)) => device.terms.are_in_force(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::scope::Scope;
    use crate::token::grant::tests::terms;

    fn id(number: u8) -> GrantId {
        GrantId::from_bytes([number; 16])
    }

    fn digest() -> TokenDigest {
        TokenDigest::from_bytes([1; 16])
    }

    fn person_terms(id: GrantId) -> GrantTerms {
        let (subject, standing) = (Subject::parse("ada").unwrap(), Standing::default());
        let context = AuthenticationContext::default();
        let person = PersonTerms { grant_id: id, subject, subject_generation: 0, auth_time: 0, context, standing };
        terms("read").granted_by(person)
    }

    fn code(expires_at: u32) -> Pending {
        Pending::Code(PendingCode {
            digest: digest(),
            terms: person_terms(id(1)),
            redirect_uri: None,
            code_challenge: None,
            nonce: None,
            expires_at,
        })
    }

    fn device(expires_at: u32) -> Pending {
        Pending::Device(PendingDevice {
            digest: digest(),
            terms: terms("read"),
            requested_at: 0,
            requested_from: None,
            expires_at,
            decision: DeviceDecision::Awaited,
        })
    }

    fn grant(grant_id: GrantId, idle_until: u32) -> PersonGrant {
        let refresh = RefreshState {
            generation: 1,
            current: digest(),
            previous: None,
            refreshed_at: 0,
            idle_until,
            expires_at: 1000,
        };
        PersonGrant {
            terms: person_terms(grant_id),
            created_at: 0,
            redeemed: digest(),
            refresh: Some(refresh),
            access_expires_at: 10,
        }
    }

    fn expire(grants: &mut PersonGrants, now: u32) {
        while grants.expire(now) {}
    }

    #[test]
    fn a_grant_takes_the_place_of_its_code_and_goes_when_nothing_of_it_is_left() {
        let mut grants = PersonGrants::default();
        grants.store_pending(id(1), code(60));
        grants.store_grant(id(1), grant(id(1), 100));
        assert!(grants.pending(id(1)).is_none() && grants.grant(id(1)).is_some());
        grants.store_grant(id(1), grant(id(1), 500));
        expire(&mut grants, 400);
        assert!(grants.grant(id(1)).is_some(), "it was refreshed");
        expire(&mut grants, 600);
        assert!(grants.grant(id(1)).is_none());
        let subject = Subject::parse("ada").unwrap();
        assert_eq!(grants.take_gone(), [Gone::Grant { grant_id: id(1), subject }]);
        assert_eq!(grants.due.len(), 0);
    }

    #[test]
    fn refreshing_often_notes_nothing_more() {
        let mut grants = PersonGrants::default();
        for idle_until in 100..400 {
            grants.store_grant(id(1), grant(id(1), idle_until));
        }
        assert_eq!(grants.due.len(), 1);
    }

    #[test]
    fn grants_share_what_their_client_may_do_while_there_are_any() {
        let mut grants = PersonGrants::default();
        let client_of = |grants: &PersonGrants, number| Arc::clone(&grants.grant(id(number)).unwrap().terms.client);
        for number in [1, 2, 1] {
            grants.store_grant(id(number), grant(id(number), 100));
        }
        assert!(Arc::ptr_eq(&client_of(&grants, 1), &client_of(&grants, 2)));
        let narrower = grants.grant(id(1)).unwrap().terms.narrowed(Some(Scope::empty()), None);
        grants.store_grant(id(1), PersonGrant { terms: narrower, ..grant(id(1), 1000) });
        assert_eq!(grants.shared.len(), 2);
        expire(&mut grants, 200);
        assert_eq!(grants.shared.len(), 1);
        expire(&mut grants, 2000);
        assert_eq!(grants.shared.len(), 0);
    }

    #[test]
    fn a_device_is_found_by_its_user_code_until_it_expires() {
        let mut grants = PersonGrants::default();
        grants.store_pending(id(2), device(600));
        assert_eq!(grants.device(id(2).routing_id()).unwrap().0, id(2));
        expire(&mut grants, 700);
        assert!(grants.device(id(2).routing_id()).is_none());
        assert_eq!(grants.take_gone(), [Gone::Device { client_id: ClientId::parse("app").unwrap() }]);
    }

    #[test]
    fn a_device_that_goes_leaves_the_user_code_to_the_one_that_drew_it_since() {
        let mut grants = PersonGrants::default();
        let [mut before, mut since] = [[2; 16], [2; 16]];
        (before[15], since[15]) = (8, 9);
        let [before, since] = [before, since].map(GrantId::from_bytes);
        grants.store_pending(before, device(600));
        grants.store_pending(since, device(1200));
        expire(&mut grants, 700);
        assert_eq!(grants.device(since.routing_id()).map(|(id, _)| id), Some(since));
    }

    #[test]
    fn a_device_that_does_not_wait_has_to_wait_longer() {
        let mut grants = PersonGrants::default();
        let mut poll = |seconds| grants.note_poll(id(2), UnixTime::from_seconds(seconds));
        assert_eq!([0, 5, 8, 18, 27, 42].map(&mut poll), [true, true, false, true, false, true]);
    }

    #[test]
    fn a_grant_ends_once() {
        let mut grants = PersonGrants::default();
        grants.store_grant(id(1), grant(id(1), 100));
        assert!(grants.end(id(1), 7));
        assert!(!grants.end(id(1), 8));
        assert!(!grants.end(id(3), 8));
        assert_eq!(grants.grant(id(1)).unwrap().terms.person.as_ref().unwrap().ended(), 7);
        assert_eq!(grants.in_force().count(), 0);
    }

    #[test]
    fn a_walk_comes_by_everything_in_the_order_of_the_ids() {
        let mut grants = PersonGrants::default();
        grants.store_grant(id(1), grant(id(1), 100));
        grants.store_pending(id(2), device(600));
        grants.store_grant(id(3), grant(id(3), 100));
        grants.store_pending(id(4), code(60));
        let page = |after| grants.page(after, 3).map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(page(None), [id(1), id(2), id(3)]);
        assert_eq!(page(Some(id(3))), [id(4)]);
        assert_eq!(page(Some(id(4))), []);
    }
}
