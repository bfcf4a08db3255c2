//! People's grants in a shard: what it can be asked about them, and how it decides.
//!
//! Each request is one message, handled alone: of a hundred redemptions of one code the first succeeds, and the others find it
//! gone. Every answer, a refusal too, waits until all that it rests on is durable.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix::{Context, Handler, Message};
use dashmap::DashMap;
use rkyv::util::AlignedVec;
use tokio::sync::oneshot;

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::grant::authorization_code::{self, CodeProof};
use crate::grant::device_code;
use crate::grant::refresh_token::{self, RefreshProof, RefreshRefused, Refreshing};
use crate::grant::resource;
use crate::journal::{self, Entry, Pressure};
use crate::oauth::audience::Audience;
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::scope::{OPENID_SCOPE, Scope};
use crate::oauth::subject::Subject;
use crate::shard::actor::Shard;
use crate::shard::message::ShardMessage;
use crate::shard::proof::proof_entry;
use crate::shard::{ShardError, Shards};
use crate::token::access_token::{Partition, RoutingId};
use crate::token::code::CodeReference;
use crate::token::digest::TokenDigest;
use crate::token::grant::{ClientTerms, GrantTerms};
use crate::token::grant_id::GrantId;
use crate::token::person::{
    DeviceDecision, Gone, Pending, PendingCode, PendingDevice, PersonGrant, PersonTerms, RefreshState, Standing,
};
use crate::token::person_event::{
    AccessIssued, KIND_CODE_STORED, KIND_DEVICE_STORED, KIND_GRANT_ENDED, KIND_GRANT_STORED, SCHEMA, encode_code,
    encode_device, encode_grant, encode_grant_ended, encode_kept,
};
use crate::token::proof::ProofDigest;
use crate::token::refresh_token::{FIRST_GENERATION, RefreshReference};
use crate::token::state::{KnownToken, ShardState};

/// Why a request about a person's grant came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonError {
    /// The shard could not be asked; nothing was changed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The shard refused.
    #[error(transparent)]
    Refused(#[from] OAuthError),
}

/// An access token that a worker has minted for a person's grant.
#[derive(Clone, Copy, Debug)]
pub struct MintedAccess {
    /// What it is known by.
    pub digest: TokenDigest,
    /// How long it will live, in seconds.
    pub lifetime_seconds: u32,
}

/// The first refresh token of a grant, as a worker has minted it.
#[derive(Clone, Copy, Debug)]
pub struct MintedRefresh {
    /// What it is known by.
    pub digest: TokenDigest,
    /// How long the grant lives, however often it is refreshed, in seconds.
    pub lifetime_seconds: u32,
    /// How long it lives without being refreshed, in seconds.
    pub idle_seconds: u32,
}

/// A code or device code that a client presents.
#[derive(Clone, Debug)]
pub struct RedeemCode {
    /// Which code.
    pub code: CodeReference,
    /// Who presents it.
    pub client_id: ClientId,
    /// What comes with it.
    pub proof: Proof,
    /// Whom the access token shall be for, of those that were granted; `None` for all.
    pub resources: Option<Audience>,
    /// The access token that it shall give; `None` to learn of its terms first, for what is signed states them.
    pub access: Option<MintedAccess>,
    /// The refresh token that it shall give; `None` where the client gets none.
    pub refresh: Option<MintedRefresh>,
    /// When.
    pub now: UnixTime,
}

/// What comes with a code.
#[derive(Clone, Debug)]
pub enum Proof {
    /// With an authorization code: see [`CodeProof`].
    Authorization {
        /// `redirect_uri`, if it was sent.
        redirect_uri: Option<String>,
        /// SHA-256 of `code_verifier`, if it was sent.
        code_challenge: Option<[u8; 32]>,
    },
    /// With a device code: nothing.
    Device,
}

/// A refresh token that a client presents.
#[derive(Clone, Debug)]
pub struct RefreshGrant {
    /// Which refresh token.
    pub reference: RefreshReference,
    /// Who presents it.
    pub client_id: ClientId,
    /// What of its scope is asked for; `None` for all.
    pub scope: Option<Scope>,
    /// See [`RedeemCode::resources`].
    pub resources: Option<Audience>,
    /// See [`RedeemCode::access`].
    pub access: Option<MintedAccess>,
    /// Whether that was drawn at random. Else it follows from the refresh token, and a retry names it again.
    pub is_access_new: bool,
    /// The refresh token that shall take its place; `None` where it stays.
    pub successor: Option<TokenDigest>,
    /// See [`RefreshProof::retry_seconds`].
    pub retry_seconds: u32,
    /// See [`MintedRefresh::idle_seconds`].
    pub idle_seconds: u32,
    /// When.
    pub now: UnixTime,
}

/// What becomes of a refresh token that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Its client gets that access token.
    Granted(GrantedToken),
    /// It was answered before, and the access token of that answer lives no more: it has expired or was revoked. The successor is
    /// as good as it was, so ask once more, with an access token that is new.
    Outlived,
}

/// What becomes of a code or refresh token that is good.
#[derive(Debug)]
pub(super) enum Exchanged<T> {
    /// It was exchanged.
    Done(T),
    /// No access token was named, so nothing has changed. These would be its terms.
    Described(GrantTerms),
}

impl<T> Exchanged<T> {
    /// What was exchanged, where that was asked for.
    pub(super) fn done(self) -> Result<T, PersonError> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Described(_) => Err(ShardError::Unavailable.into()),
        }
    }

    /// The terms, where these were asked for.
    pub(super) fn described(self) -> Result<GrantTerms, PersonError> {
        match self {
            Self::Described(terms) => Ok(terms),
            Self::Done(_) => Err(ShardError::Unavailable.into()),
        }
    }
}

/// An access token that a grant has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedToken {
    /// When it was issued, in seconds since the epoch.
    pub issued_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
    /// What it allows.
    pub scope: Scope,
    /// Of whom an ID token speaks that comes with it; `None` where none does.
    pub identity: Option<Identity>,
}

/// What an ID token says of a person's grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who granted it, and how they had proved who they are.
    pub person: Arc<PersonTerms>,
    /// `nonce` of the authorization request, where a code of it is redeemed (`OpenID` Connect Core §12.2).
    pub nonce: Option<Box<str>>,
    /// What the client has asked by name to know.
    pub claims: Option<ClaimsRequest>,
}

impl Identity {
    /// That of a grant, where `scope` asks for it.
    fn of(terms: &GrantTerms, scope: &Scope, nonce: Option<Box<str>>) -> Option<Self> {
        let person = terms.person.as_ref().filter(|_| scope.contains(OPENID_SCOPE))?;
        Some(Self { person: Arc::clone(person), nonce, claims: terms.client.claims.clone() })
    }
}

/// An authorization code that a worker has minted.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// What it is known by.
    pub code: CodeReference,
    /// What it will grant, and by whom: the person's grant is that of the code.
    pub terms: GrantTerms,
    /// The redirect URI of the request, if it named one.
    pub redirect_uri: Option<String>,
    /// SHA-256 of the verifier that will be presented.
    pub code_challenge: Option<[u8; 32]>,
    /// `nonce` of the request.
    pub nonce: Option<String>,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
}

/// A device that a worker has let in.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// What its device code is known by; its grant's routing id is that of the user code.
    pub code: CodeReference,
    /// What the client asks for, without a person yet.
    pub terms: GrantTerms,
    /// From where it asks, as far as that is known.
    pub requested_from: Option<IpAddr>,
    /// When, in seconds since the epoch.
    pub requested_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
}

/// A device that waits for a person, for people to look at.
#[derive(Clone, Debug)]
pub struct DeviceRequest {
    /// What the client asks for.
    pub terms: GrantTerms,
    /// When the device asked, in seconds since the epoch.
    pub requested_at: u32,
    /// From where, as far as that is known.
    pub requested_from: Option<IpAddr>,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
}

/// What a person says to a device.
#[derive(Clone, Debug)]
pub enum DeviceAnswer {
    /// Yes.
    Approve {
        /// Who.
        subject: Subject,
        /// The subject's generation.
        subject_generation: u64,
        /// That generation, as it changes.
        subject_in_force: Arc<crate::client::registry::Generation>,
        /// When they last proved who they are, in seconds since the epoch.
        auth_time: u32,
        /// How they did.
        context: AuthenticationContext,
    },
    /// No.
    Deny,
}

/// A person's grant, for people to look at.
#[derive(Clone, Debug)]
pub struct GrantSummary {
    /// Which grant.
    pub id: GrantId,
    /// What was granted, and by whom.
    pub terms: GrantTerms,
    /// When it was made, in seconds since the epoch.
    pub created_at: u32,
    /// When it was last refreshed; `None` where it has no refresh token.
    pub refreshed_at: Option<u32>,
    /// When nothing of it is left unless it is refreshed, in seconds since the epoch.
    pub live_until: u32,
}

/// Which grants a subject has. A hint: who follows it asks the shard.
#[derive(Debug, Default)]
pub struct SubjectGrants(DashMap<Subject, Vec<GrantId>>);

impl SubjectGrants {
    fn add(&self, subject: &Subject, id: GrantId) {
        let mut ids = self.0.entry(subject.clone()).or_default();
        if !ids.contains(&id) {
            // Most have one, so there is room for no more than there are.
            ids.reserve_exact(1);
            ids.push(id);
        }
    }

    fn remove(&self, subject: &Subject, id: GrantId) {
        if let Some(mut ids) = self.0.get_mut(subject) {
            ids.retain(|own| *own != id);
        }
        self.0.remove_if(subject, |_, ids| ids.is_empty());
    }

    fn of(&self, subject: &Subject) -> Vec<GrantId> {
        self.0.get(subject).map(|ids| ids.clone()).unwrap_or_default()
    }
}

/// How many devices of each client wait.
#[derive(Debug, Default)]
pub struct DeviceQuota(DashMap<ClientId, Arc<AtomicU32>>);

/// The most devices of one client that may wait for people at a time.
pub const DEVICES_PENDING_MAX: u32 = 1000;

impl DeviceQuota {
    /// Counts one more, if there may be one more.
    #[must_use]
    pub fn take(&self, client_id: &ClientId) -> bool {
        let count = self.count(client_id);
        count
            .try_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < DEVICES_PENDING_MAX).then_some(count + 1))
            .is_ok()
    }

    /// Counts one less.
    pub fn give_back(&self, client_id: &ClientId) {
        self.give_back_many(client_id, 1);
    }

    fn give_back_many(&self, client_id: &ClientId, devices: u32) {
        let less = |count: u32| Some(count.saturating_sub(devices));
        let _ = self.count(client_id).try_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    fn count(&self, client_id: &ClientId) -> Arc<AtomicU32> {
        if let Some(count) = self.0.get(client_id) {
            return Arc::clone(&count);
        }
        Arc::clone(&self.0.entry(client_id.clone()).or_default())
    }

    fn note(&self, client_id: &ClientId, devices: u32) {
        self.count(client_id).fetch_add(devices, Ordering::AcqRel);
    }
}

/// What shards know together of people's grants.
#[derive(Clone, Debug, Default)]
pub struct PeopleIndex {
    /// By subject.
    pub subjects: Arc<SubjectGrants>,
    /// By client.
    pub devices: Arc<DeviceQuota>,
}

/// What a shard has put into the index. It outlives the shard's state, which a panic takes away.
pub(super) struct Indexed {
    index: PeopleIndex,
    /// How many devices of each client are counted for this shard.
    devices: HashMap<ClientId, u32>,
}

impl Indexed {
    /// Puts in what a shard has after its recovery.
    pub(super) fn new(index: PeopleIndex, state: &ShardState) -> Self {
        for (id, grant) in state.grants_in_force() {
            if let Some(person) = &grant.terms.person {
                index.subjects.add(&person.subject, id);
            }
        }
        let devices = count_devices(state);
        for (client_id, count) in &devices {
            index.devices.note(client_id, *count);
        }
        Self { index, devices }
    }

    /// Takes out what the shard has no more.
    pub(super) fn take_out(&mut self, gone: Vec<Gone>) {
        for gone in gone {
            match gone {
                Gone::Grant { grant_id, subject } => self.index.subjects.remove(&subject, grant_id),
                Gone::Device { client_id } => self.take_out_device(&client_id),
            }
        }
    }

    /// The shard has that state now: devices that it has lost with the one before, for they have expired since, wait no more.
    pub(super) fn replace(&mut self, state: &ShardState) {
        let before = std::mem::replace(&mut self.devices, count_devices(state));
        for (client_id, before) in before {
            let left = self.devices.get(&client_id).copied().unwrap_or_default();
            self.index.devices.give_back_many(&client_id, before.saturating_sub(left));
        }
    }

    /// A device is there, which whoever stored it has taken from the quota.
    fn has_device(&mut self, client_id: &ClientId) {
        *self.devices.entry(client_id.clone()).or_default() += 1;
    }

    fn take_out_device(&mut self, client_id: &ClientId) {
        self.index.devices.give_back(client_id);
        if let Some(count) = self.devices.get_mut(client_id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.devices.remove(client_id);
            }
        }
    }
}

fn count_devices(state: &ShardState) -> HashMap<ClientId, u32> {
    let mut counts = HashMap::new();
    for device in state.devices() {
        *counts.entry(device.terms.client.id.clone()).or_default() += 1;
    }
    counts
}

/// Where an answer goes once it is durable.
type PersonReply<T> = oneshot::Sender<Result<T, PersonError>>;

/// One request about people's grants. All of them are one message to actix: what they are is told apart here.
pub(super) enum PersonRequest {
    /// Answers whether the code may be redeemed.
    StoreCode(NewCode, PersonReply<bool>),
    StoreDevice(NewDevice, PersonReply<()>),
    FindDevice(RoutingId, UnixTime, PersonReply<Option<DeviceRequest>>),
    DecideDevice(RoutingId, DeviceAnswer, UnixTime, PersonReply<bool>),
    Redeem(RedeemCode, PersonReply<Exchanged<GrantedToken>>),
    Refresh(RefreshGrant, PersonReply<Exchanged<Refreshed>>),
    /// Of that client, or whoever's it is.
    End(GrantId, Option<ClientId>, PersonReply<bool>),
    Describe(GrantId, UnixTime, PersonReply<Option<GrantSummary>>),
    /// Answers whether it is the first use.
    UseProof(ProofDigest, u32, PersonReply<bool>),
    /// Records that make again what stands behind a place, and the last place among them.
    Walk(Option<WalkPlace>, PersonReply<WalkedGrants>),
}

/// A part of what a shard has.
pub(super) struct WalkedGrants {
    pub(super) records: Vec<Entry>,
    /// Where the next part begins; `None` at the end.
    pub(super) after: Option<WalkPlace>,
}

/// Where a walk is: at people's grants, or behind them at the proofs that were used.
#[derive(Clone, Copy)]
pub(super) enum WalkPlace {
    Grant(GrantId),
    Proof(ProofDigest),
}

/// Records of one part of a walk: what a shard encodes between two other messages.
const WALK_RECORDS: usize = 256;

pub(super) struct AboutPerson {
    pub(super) partition: Partition,
    pub(super) request: PersonRequest,
}

impl Message for AboutPerson {
    type Result = ();
}

impl PersonRequest {
    const fn kind(&self) -> ShardMessage {
        match self {
            Self::StoreCode(..) => ShardMessage::StoreCode,
            Self::StoreDevice(..) | Self::FindDevice(..) | Self::DecideDevice(..) => ShardMessage::Device,
            Self::Redeem(..) => ShardMessage::Redeem,
            Self::Refresh(..) => ShardMessage::Refresh,
            Self::End(..) => ShardMessage::EndGrant,
            Self::Describe(..) => ShardMessage::DescribeGrant,
            Self::UseProof(..) => ShardMessage::UseProof,
            Self::Walk(..) => ShardMessage::WalkGrants,
        }
    }
}

impl Handler<AboutPerson> for Shard {
    type Result = ();

    fn handle(&mut self, AboutPerson { partition, request }: AboutPerson, context: &mut Context<Self>) {
        self.handle_with(request.kind(), context, |shard| shard.answer_about_person(request, partition));
    }
}

impl Shard {
    pub(super) fn answer_about_person(&mut self, request: PersonRequest, partition: Partition) -> bool {
        match request {
            PersonRequest::StoreCode(code, reply) => {
                self.decide(reply, Some(Pressure::NoLongLived), |shard, state| shard.store_code(state, &code))
            }
            PersonRequest::StoreDevice(device, reply) => {
                let store = |shard: &mut Self, state: &mut ShardState| shard.store_device(state, &device);
                let is_stored = self.decide(reply, Some(Pressure::NoLongLived), store);
                if is_stored {
                    self.indexed().has_device(&device.terms.client.id);
                }
                is_stored
            }
            PersonRequest::FindDevice(routing_id, now, reply) => {
                self.decide(reply, None, |_, state| Decided::answered(Ok(find_device(state, routing_id, now))))
            }
            PersonRequest::DecideDevice(routing_id, answer, now, reply) => {
                self.decide(reply, Some(Pressure::RevocationsOnly), |shard, state| {
                    shard.decide_device(state, routing_id, answer, now)
                })
            }
            PersonRequest::Redeem(request, reply) => {
                self.decide(reply, Some(Pressure::RevocationsOnly), |shard, state| {
                    shard.redeem(state, &request, partition)
                })
            }
            PersonRequest::Refresh(request, reply) => {
                self.decide(reply, Some(Pressure::RevocationsOnly), |shard, state| {
                    shard.refresh(state, &request, partition)
                })
            }
            PersonRequest::End(id, caller, reply) => {
                self.decide(reply, Some(Pressure::Full), |shard, state| shard.end(state, id, caller.as_ref()))
            }
            PersonRequest::Describe(id, now, reply) => {
                self.decide(reply, None, |_, state| Decided::answered(Ok(describe(state, id, now))))
            }
            PersonRequest::UseProof(digest, expires_at, reply) => {
                // A client that cannot authenticate can revoke nothing.
                self.decide(reply, Some(Pressure::Full), |shard, state| shard.use_proof(state, digest, expires_at))
            }
            PersonRequest::Walk(after, reply) => {
                // Nothing waits here: who walks waits at the end, once for all that it has seen.
                let walked = self.walk_grants(after);
                let is_ok = walked.is_ok();
                let _ = reply.send(walked);
                is_ok
            }
        }
    }

    /// Lets `decide` look at the state and change it, appends what it decided, and answers once that is durable. Answers itself
    /// whether that is a success.
    fn decide<T: Send + 'static>(
        &mut self,
        reply: PersonReply<T>,
        refused_from: Option<Pressure>,
        decide: impl FnOnce(&mut Self, &mut ShardState) -> Decided<T>,
    ) -> bool {
        // Taken out, so that both can be changed; a panic leaves no state, which is what a panic means.
        let Some(mut state) = self.take_state() else {
            let _ = reply.send(Err(ShardError::Unavailable.into()));
            return false;
        };
        if let Err(reason) = self.lane.check_room(refused_from) {
            self.put_state(state);
            let _ = reply.send(Err(ShardError::from(reason).into()));
            return false;
        }
        let Decided { record, answer, is_final } = decide(self, &mut state);
        self.put_state(state);
        let is_ok = answer.is_ok();
        let answer: journal::Reply = Box::new(move || {
            // Who asked may have gone away meanwhile.
            let _ = reply.send(answer);
        });
        match record {
            Some(entry) => {
                self.lane.append(entry, Some(answer));
            }
            // It may rest on a change that a crash would take back.
            None if is_final => self.lane.reply_when_durable(answer),
            // Nobody is told: whoever asked comes back with what it was asked for, and waits then.
            None => answer(),
        }
        is_ok
    }

    /// The records of the next people's grants behind an id.
    pub(super) fn walk_grants(&self, after: Option<WalkPlace>) -> Result<WalkedGrants, PersonError> {
        walk(self.state().ok_or(ShardError::Unavailable)?, after)
    }

    fn store_code(&self, state: &mut ShardState, new: &NewCode) -> Decided<bool> {
        let NewCode { code, terms, redirect_uri, code_challenge, nonce, expires_at } = new;
        if state.person_grant(code.grant_id).is_some() {
            // It was redeemed. Whatever became of the grant, there is no second one from this code.
            return Decided::answered(Ok(false));
        }
        let pending = PendingCode {
            digest: code.digest,
            terms: terms.clone(),
            redirect_uri: redirect_uri.as_deref().map(Box::from),
            code_challenge: *code_challenge,
            nonce: nonce.as_deref().map(Box::from),
            expires_at: *expires_at,
        };
        let Ok(payload) = encode_code(code.grant_id, &pending) else { return Decided::busy() };
        state.store_pending(code.grant_id, Pending::Code(pending));
        Decided::changed(entry(KIND_CODE_STORED, code.grant_id, payload), true)
    }

    fn store_device(&self, state: &mut ShardState, new: &NewDevice) -> Decided<()> {
        let id = new.code.grant_id;
        if state.device(id.routing_id()).is_some() {
            // Two devices have drawn the same user code: the worker draws another.
            return Decided::answered(Err(ShardError::Busy.into()));
        }
        let device = PendingDevice {
            digest: new.code.digest,
            terms: new.terms.clone(),
            requested_at: new.requested_at,
            requested_from: new.requested_from,
            expires_at: new.expires_at,
            decision: DeviceDecision::Awaited,
        };
        let Ok(payload) = encode_device(id, &device) else { return Decided::busy() };
        state.store_pending(id, Pending::Device(device));
        Decided::changed(entry(KIND_DEVICE_STORED, id, payload), ())
    }

    fn decide_device(
        &self,
        state: &mut ShardState,
        routing_id: RoutingId,
        answer: DeviceAnswer,
        now: UnixTime,
    ) -> Decided<bool> {
        let awaited = state.device(routing_id).filter(|(_, device)| {
            device.decision == DeviceDecision::Awaited && now.as_seconds_u32() < device.expires_at
        });
        let Some((id, device)) = awaited else { return Decided::answered(Ok(false)) };
        let device = decided_device(id, device, answer);
        let Ok(payload) = encode_device(id, &device) else { return Decided::busy() };
        state.replace_pending(id, Pending::Device(device));
        Decided::changed(entry(KIND_DEVICE_STORED, id, payload), true)
    }

    fn redeem(
        &mut self,
        state: &mut ShardState,
        request: &RedeemCode,
        partition: Partition,
    ) -> Decided<Exchanged<GrantedToken>> {
        let CodeReference { grant_id: id, digest } = request.code;
        let checked = match (&request.proof, state.pending(id)) {
            (Proof::Authorization { redirect_uri, code_challenge }, Some(Pending::Code(code)))
                if code.digest == digest =>
            {
                let (redirect_uri, code_challenge) = (redirect_uri.as_deref(), code_challenge.as_ref());
                let proof = CodeProof { client_id: &request.client_id, redirect_uri, code_challenge };
                let checked = authorization_code::check(code, &proof, request.now);
                checked.map(|()| (code.terms.clone(), code.nonce.clone()))
            }
            (Proof::Device, Some(Pending::Device(device))) if device.digest == digest => {
                let is_own = device.terms.client.id == request.client_id;
                let has_waited = !is_own || state.note_poll(id, request.now);
                // Looked up again, for the poll has changed the state.
                let Some(Pending::Device(device)) = state.pending(id) else { return self.redeem_again(state, request) };
                let checked = device_code::check(device, &request.client_id, has_waited, request.now);
                checked.map(|()| (device.terms.clone(), None))
            }
            _ => return self.redeem_again(state, request),
        };
        let (terms, nonce) = match checked {
            Ok(checked) => checked,
            Err(error) => return Decided::answered(Err(error.into())),
        };
        let audience = match resource::narrowed(request.resources.as_ref(), &terms.client.audience) {
            Ok(audience) => audience,
            Err(error) => return Decided::answered(Err(error.into())),
        };
        let Some(access) = &request.access else { return Decided::described(terms.narrowed(None, audience)) };
        let now = request.now.as_seconds_u32();
        let access = issued(access, None, audience, now);
        let grant = PersonGrant {
            terms,
            created_at: now,
            redeemed: digest,
            refresh: request.refresh.map(|refresh| RefreshState {
                generation: FIRST_GENERATION,
                current: refresh.digest,
                previous: None,
                refreshed_at: now,
                idle_until: now.saturating_add(refresh.idle_seconds),
                expires_at: now.saturating_add(refresh.lifetime_seconds),
            }),
            access_expires_at: access.expires_at,
        };
        if let Some(person) = &grant.terms.person {
            self.indexed().index.subjects.add(&person.subject, id);
        }
        store_grant(state, id, grant, &access, nonce, partition).map(Exchanged::Done)
    }

    /// A code that is not there: unknown, expired, or redeemed before. In the last case somebody else may have it too, so what
    /// it gave is revoked (RFC 6749 §4.1.2).
    fn redeem_again(&self, state: &mut ShardState, request: &RedeemCode) -> Decided<Exchanged<GrantedToken>> {
        let CodeReference { grant_id: id, digest } = request.code;
        let refused = |description: &'static str| {
            Err(PersonError::from(OAuthError::new(OAuthErrorCode::InvalidGrant, description)))
        };
        let was_redeemed = state.person_grant(id).is_some_and(|grant| grant.redeemed == digest);
        match request.proof {
            Proof::Authorization { .. } if was_redeemed => {
                let answer = refused("the code was used before, so what it gave is revoked");
                self.end_with(state, id, answer)
            }
            Proof::Device if was_redeemed => Decided::answered(refused("the device code was used before")),
            _ => Decided::answered(refused("the code is unknown or has expired")),
        }
    }

    fn refresh(
        &self,
        state: &mut ShardState,
        request: &RefreshGrant,
        partition: Partition,
    ) -> Decided<Exchanged<Refreshed>> {
        let id = request.reference.grant_id;
        let unknown = || OAuthError::new(OAuthErrorCode::InvalidGrant, "the refresh token has expired or was revoked");
        let Some(grant) = state.person_grant(id) else { return Decided::answered(Err(unknown().into())) };
        let proof = RefreshProof {
            reference: request.reference,
            client_id: &request.client_id,
            retry_seconds: request.retry_seconds,
            serving_since: self.serving_since(),
        };
        match (refresh_token::decide(grant, &proof, request.now), &request.access) {
            // The client rotates no more, so nothing that the worker has made is what was answered before.
            (Ok(Refreshing::Again), _) if request.successor.is_none() => Decided::answered(Err(unknown().into())),
            // The worker has derived the same access token: it is as old as it is.
            (Ok(Refreshing::Again), Some(access)) if !request.is_access_new => {
                Decided::answered(Ok(Exchanged::Done(answered_before(state, access, request.now))))
            }
            (Ok(refreshing), access) => match narrowed(request, &grant.terms.client) {
                Ok((scope, audience)) => {
                    let Some(access) = access else { return Decided::described(grant.terms.narrowed(scope, audience)) };
                    let access = issued(access, scope, audience, request.now.as_seconds_u32());
                    let grant = refreshed(grant, refreshing, request, &access);
                    store_grant(state, id, grant, &access, None, partition).map(Refreshed::Granted).map(Exchanged::Done)
                }
                Err(error) => Decided::answered(Err(error.into())),
            },
            (Err(RefreshRefused { error, is_reuse: false }), _) => Decided::answered(Err(error.into())),
            (Err(RefreshRefused { error, is_reuse: true }), _) => self.end_with(state, id, Err(error.into())),
        }
    }

    fn end(&self, state: &mut ShardState, id: GrantId, caller: Option<&ClientId>) -> Decided<bool> {
        let Some(grant) = state.person_grant(id) else { return Decided::answered(Ok(false)) };
        if caller.is_some_and(|caller| grant.terms.client.id != *caller) {
            return Decided::answered(Err(ShardError::NotOwner.into()));
        }
        self.end_with(state, id, Ok(true))
    }

    /// Ends a grant, if it has not been ended, and answers that.
    fn end_with<T>(&self, state: &mut ShardState, id: GrantId, answer: Result<T, PersonError>) -> Decided<T> {
        let Ok(payload) = encode_grant_ended(id) else { return Decided::busy() };
        let is_first = state.end_grant(id, self.lane.appended() + 1);
        let record = is_first.then(|| entry(KIND_GRANT_ENDED, id, payload));
        Decided { record, answer, is_final: true }
    }
}

/// What a request comes to: perhaps a record, and an answer that waits until it is durable, if it is the last.
pub(super) struct Decided<T> {
    record: Option<Entry>,
    answer: Result<T, PersonError>,
    is_final: bool,
}

impl<T> Decided<T> {
    pub(super) const fn answered(answer: Result<T, PersonError>) -> Self {
        Self { record: None, answer, is_final: true }
    }

    pub(super) const fn changed(record: Entry, answer: T) -> Self {
        Self { record: Some(record), answer: Ok(answer), is_final: true }
    }

    pub(super) const fn busy() -> Self {
        Self::answered(Err(PersonError::Shard(ShardError::Busy)))
    }

    fn map<U>(self, of: impl FnOnce(T) -> U) -> Decided<U> {
        Decided { record: self.record, answer: self.answer.map(of), is_final: self.is_final }
    }
}

impl<T> Decided<Exchanged<T>> {
    const fn described(terms: GrantTerms) -> Self {
        Self { record: None, answer: Ok(Exchanged::Described(terms)), is_final: false }
    }
}

fn entry(kind: u16, id: GrantId, payload: AlignedVec) -> Entry {
    Entry { kind, schema: SCHEMA, routing_id: id.routing_id().0, payload }
}

fn issued(access: &MintedAccess, scope: Option<Scope>, audience: Option<Audience>, now: u32) -> AccessIssued {
    let expires_at = now.saturating_add(access.lifetime_seconds);
    AccessIssued { digest: access.digest, issued_at: now, expires_at, scope, audience }
}

fn store_grant(
    state: &mut ShardState,
    id: GrantId,
    grant: PersonGrant,
    access: &AccessIssued,
    nonce: Option<Box<str>>,
    partition: Partition,
) -> Decided<GrantedToken> {
    let Ok(payload) = encode_grant(id, &grant, Some(access)) else { return Decided::busy() };
    let scope = access.scope.as_ref().unwrap_or(&grant.terms.client.scope).clone();
    let identity = Identity::of(&grant.terms, &scope, nonce);
    state.store_grant(id, grant, Some(access), partition);
    let token = GrantedToken { issued_at: access.issued_at, expires_at: access.expires_at, scope, identity };
    Decided::changed(entry(KIND_GRANT_STORED, id, payload), token)
}

/// What a client gets again, if it could still use it.
fn answered_before(state: &ShardState, access: &MintedAccess, now: UnixTime) -> Refreshed {
    let lives = |token: &KnownToken<'_>| !token.is_revoked && now.as_seconds_u32() < token.expires_at;
    state.find(access.digest).filter(lives).map_or(
        Refreshed::Outlived,
        |KnownToken { issued_at, expires_at, terms, .. }| {
            let scope = terms.client.scope.clone();
            let identity = Identity::of(terms, &scope, None);
            Refreshed::Granted(GrantedToken { issued_at, expires_at, scope, identity })
        },
    )
}

/// What of a grant's scope and audience a refresh asks for, where that is less.
fn narrowed(request: &RefreshGrant, granted: &ClientTerms) -> Result<(Option<Scope>, Option<Audience>), OAuthError> {
    let scope = refresh_token::narrowed(request.scope.as_ref(), &granted.scope)?;
    Ok((scope, resource::narrowed(request.resources.as_ref(), &granted.audience)?))
}

/// A grant with one more access token. Where its refresh token was rotated before, it stays as it was: what was answered then lives
/// no more, or is signed, and so there is another beside the same successor.
fn refreshed(
    grant: &PersonGrant,
    refreshing: Refreshing,
    request: &RefreshGrant,
    access: &AccessIssued,
) -> PersonGrant {
    let now = request.now.as_seconds_u32();
    let rotated = |before: RefreshState| {
        let used = RefreshState { refreshed_at: now, idle_until: now.saturating_add(request.idle_seconds), ..before };
        match request.successor {
            None => used,
            Some(successor) => RefreshState {
                generation: before.generation.saturating_add(1),
                current: successor,
                previous: Some(before.current),
                ..used
            },
        }
    };
    let refresh = match refreshing {
        Refreshing::Current => grant.refresh.map(rotated),
        Refreshing::Again => grant.refresh,
    };
    PersonGrant { refresh, access_expires_at: grant.access_expires_at.max(access.expires_at), ..grant.clone() }
}

fn decided_device(id: GrantId, device: &PendingDevice, answer: DeviceAnswer) -> PendingDevice {
    match answer {
        DeviceAnswer::Deny => PendingDevice { decision: DeviceDecision::Denied, ..device.clone() },
        DeviceAnswer::Approve { subject, subject_generation, subject_in_force, auth_time, context } => {
            let standing = Standing::new(subject_in_force);
            let person = PersonTerms { grant_id: id, subject, subject_generation, auth_time, context, standing };
            let terms = device.terms.granted_by(person);
            PendingDevice { decision: DeviceDecision::Approved, terms, ..device.clone() }
        }
    }
}

fn find_device(state: &ShardState, routing_id: RoutingId, now: UnixTime) -> Option<DeviceRequest> {
    let (_, device) = state.device(routing_id)?;
    let is_awaited = device.decision == DeviceDecision::Awaited && now.as_seconds_u32() < device.expires_at;
    is_awaited.then(|| DeviceRequest {
        terms: device.terms.clone(),
        requested_at: device.requested_at,
        requested_from: device.requested_from,
        expires_at: device.expires_at,
    })
}

fn describe(state: &ShardState, id: GrantId, now: UnixTime) -> Option<GrantSummary> {
    let grant = state.person_grant(id)?;
    let is_live = grant.is_in_force() && now.as_seconds_u32() < grant.live_until();
    is_live.then(|| GrantSummary {
        id,
        terms: grant.terms.clone(),
        created_at: grant.created_at,
        refreshed_at: grant.refresh.map(|refresh| refresh.refreshed_at),
        live_until: grant.live_until(),
    })
}

fn walk(state: &ShardState, after: Option<WalkPlace>) -> Result<WalkedGrants, PersonError> {
    let after = match after {
        Some(WalkPlace::Proof(digest)) => return walk_proofs(state, Some(digest)),
        Some(WalkPlace::Grant(id)) => Some(id),
        None => None,
    };
    let mut walked = WalkedGrants { records: Vec::new(), after: None };
    for (seen, (id, kept)) in state.kept(after, WALK_RECORDS).enumerate() {
        walked.after = (seen + 1 == WALK_RECORDS).then_some(WalkPlace::Grant(id));
        // What was ended is left out: the snapshot counts only once that is durable.
        if !kept.is_in_force() {
            continue;
        }
        let (kind, payload) = encode_kept(id, kept).map_err(|_| ShardError::Busy)?;
        walked.records.push(entry(kind, id, payload));
    }
    if walked.after.is_none() {
        let proofs = walk_proofs(state, None)?;
        walked.records.extend(proofs.records);
        walked.after = proofs.after;
    }
    Ok(walked)
}

fn walk_proofs(state: &ShardState, after: Option<ProofDigest>) -> Result<WalkedGrants, PersonError> {
    let mut walked = WalkedGrants { records: Vec::new(), after: None };
    for (seen, (digest, expires_at)) in state.used_proofs(after, WALK_RECORDS).enumerate() {
        walked.after = (seen + 1 == WALK_RECORDS).then_some(WalkPlace::Proof(digest));
        walked.records.push(proof_entry(digest, expires_at)?);
    }
    Ok(walked)
}

impl Shards {
    /// Keeps an authorization code until it is redeemed or expires. Answers when it is durable: whether it may be redeemed, which
    /// one that was redeemed before may not be.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`]; the code is then not acknowledged.
    pub async fn store_code(&self, code: NewCode) -> Result<bool, PersonError> {
        let routing_id = code.code.grant_id.routing_id();
        self.ask_about(routing_id, |reply| PersonRequest::StoreCode(code, reply)).await
    }

    /// Keeps a device until its code is redeemed or expires. Answers when it is durable.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`]: [`ShardError::Busy`] also when another device has drawn the same user code.
    pub async fn store_device(&self, device: NewDevice) -> Result<(), PersonError> {
        let routing_id = device.code.grant_id.routing_id();
        self.ask_about(routing_id, |reply| PersonRequest::StoreDevice(device, reply)).await
    }

    /// The device that waits for a person and whose user code leads to `routing_id`.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`].
    pub async fn find_device(
        &self,
        routing_id: RoutingId,
        now: UnixTime,
    ) -> Result<Option<DeviceRequest>, PersonError> {
        self.ask_about(routing_id, |reply| PersonRequest::FindDevice(routing_id, now, reply)).await
    }

    /// Tells a device what a person said. Answers whether there is a device that waits for it, when that is durable.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`]; the device then waits on.
    pub async fn decide_device(
        &self,
        routing_id: RoutingId,
        answer: DeviceAnswer,
        now: UnixTime,
    ) -> Result<bool, PersonError> {
        self.ask_about(routing_id, |reply| PersonRequest::DecideDevice(routing_id, answer, now, reply)).await
    }

    /// Exchanges a code for a grant and its first tokens: once, of however many that ask. Answers when it is durable.
    ///
    /// # Errors
    ///
    /// [`PersonError::Refused`] with what RFC 6749 §5.2 or RFC 8628 §3.5 has for it, or [`PersonError::Shard`]; the tokens are
    /// then nobody's.
    pub async fn redeem(&self, request: RedeemCode) -> Result<GrantedToken, PersonError> {
        self.exchange_code(request).await?.done()
    }

    /// The terms of the access token that [`Shards::redeem`] would give for this request, which names none yet. Nothing is exchanged.
    ///
    /// # Errors
    ///
    /// As [`Shards::redeem`].
    pub async fn describe_code(&self, request: RedeemCode) -> Result<GrantTerms, PersonError> {
        self.exchange_code(RedeemCode { access: None, ..request }).await?.described()
    }

    async fn exchange_code(&self, request: RedeemCode) -> Result<Exchanged<GrantedToken>, PersonError> {
        let routing_id = request.code.grant_id.routing_id();
        self.ask_about(routing_id, |reply| PersonRequest::Redeem(request, reply)).await
    }

    /// Exchanges a refresh token for an access token, and for its successor where it has one. Answers when it is durable.
    ///
    /// # Errors
    ///
    /// As [`Shards::redeem`]. One that was used before ends its whole grant.
    pub async fn refresh(&self, request: RefreshGrant) -> Result<Refreshed, PersonError> {
        self.exchange_refresh_token(request).await?.done()
    }

    /// The terms of the access token that [`Shards::refresh`] would give for this request, which names none yet. Nothing is exchanged.
    ///
    /// # Errors
    ///
    /// As [`Shards::refresh`].
    pub async fn describe_refresh(&self, request: RefreshGrant) -> Result<GrantTerms, PersonError> {
        self.exchange_refresh_token(RefreshGrant { access: None, ..request }).await?.described()
    }

    async fn exchange_refresh_token(&self, request: RefreshGrant) -> Result<Exchanged<Refreshed>, PersonError> {
        let routing_id = request.reference.grant_id.routing_id();
        self.ask_about(routing_id, |reply| PersonRequest::Refresh(request, reply)).await
    }

    /// Ends a person's grant with all that hangs on it. Answers whether there is such a grant, when its end is durable, whoever
    /// ended it.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`]: [`ShardError::NotOwner`] where it is not that client's; the grant is then as it was.
    pub async fn end_grant(&self, id: GrantId, caller: Option<&ClientId>) -> Result<bool, PersonError> {
        let caller = caller.cloned();
        self.ask_about(id.routing_id(), |reply| PersonRequest::End(id, caller, reply)).await
    }

    /// A person's grant, if it is in force.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`].
    pub async fn find_grant(&self, id: GrantId, now: UnixTime) -> Result<Option<GrantSummary>, PersonError> {
        self.ask_about(id.routing_id(), |reply| PersonRequest::Describe(id, now, reply)).await
    }

    /// What a subject has granted and is in force, the oldest first.
    ///
    /// # Errors
    ///
    /// [`PersonError::Shard`].
    pub async fn grants_of(&self, subject: &Subject, now: UnixTime) -> Result<Vec<GrantSummary>, PersonError> {
        let mut grants = Vec::new();
        for id in self.people.subjects.of(subject) {
            grants.extend(self.find_grant(id, now).await?);
        }
        grants.sort_unstable_by_key(|grant| (grant.created_at, grant.id));
        Ok(grants)
    }

    /// How many devices of each client wait.
    #[must_use]
    pub fn device_quota(&self) -> &DeviceQuota {
        &self.people.devices
    }

    /// The next part of a walk through what a shard has of people.
    pub(super) fn walk_grants(&self, shard: usize, after: Option<WalkPlace>) -> Result<WalkedGrants, PersonError> {
        let shard = self.shards.get(shard).ok_or(ShardError::Unavailable)?;
        let (reply, replied) = oneshot::channel();
        let request = PersonRequest::Walk(after, reply);
        shard.send(AboutPerson { partition: Partition(0), request })?;
        replied.blocking_recv().unwrap_or(Err(ShardError::Unavailable.into()))
    }

    pub(super) async fn ask_about<T>(
        &self,
        routing_id: RoutingId,
        request: impl FnOnce(PersonReply<T>) -> PersonRequest,
    ) -> Result<T, PersonError> {
        let partition = self.router.partition_of(routing_id);
        let shard = self.shard(partition)?;
        let (reply, replied) = oneshot::channel();
        shard.send(AboutPerson { partition, request: request(reply) })?;
        replied.await.unwrap_or(Err(ShardError::Unavailable.into()))
    }
}
