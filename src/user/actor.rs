//! The single writer of the registry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message};
use ring::rand::SecureRandom;
use tokio::sync::oneshot;

use crate::client::id::ClientId;
use crate::clock::{Clock, UnixTime};
use crate::journal::{Entry, Lane, NoRoom, PAYLOAD_BYTES_MAX, Pressure};
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::password::hash::PasswordHash;
use crate::telemetry::message::{MessageKind, MessageMetrics};
use crate::user::User;
use crate::user::consent::Consent;
use crate::user::event::UserEvent;
use crate::user::name::UserName;
use crate::user::profile::Profile;
use crate::user::registry::UserRegistry;
use crate::user::session::{Session, SessionDigest, SessionToken, USER_AGENT_BYTES_MAX, shown};

/// Registers, changes and deletes users, and starts and ends their sessions, one message at a time. A change is journaled first
/// and shown to workers by the commit that made it durable; each reply waits for that commit too.
pub struct UserActor {
    /// Every user as this actor last changed it, durable or not yet.
    users: HashMap<Subject, Arc<User>>,
    /// Their names, in order.
    names: BTreeMap<UserName, Subject>,
    /// The generations that this process has raised: that may not be durable, and so not in the registry yet.
    raised: HashMap<Subject, u64>,
    sessions: HashMap<SessionDigest, Arc<Session>>,
    /// The sessions of each subject, the oldest first.
    sessions_of: HashMap<Subject, Vec<SessionDigest>>,
    /// When each session is over, to forget it then.
    ends: BTreeSet<(UnixTime, SessionDigest)>,
    consents: HashMap<Subject, HashMap<ClientId, Consent>>,
    limits: SessionLimits,
    registry: Arc<UserRegistry>,
    lane: Lane,
    clock: Arc<Clock>,
    random: Arc<dyn SecureRandom + Send + Sync>,
    metrics: Arc<MessageMetrics<UserMessage>>,
}

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// From the login on, in seconds.
    pub lifetime_seconds: u32,
    /// Unused, in seconds.
    pub idle_seconds: u32,
}

/// What a [`UserActor`] is made of.
pub struct UserActorParts {
    /// What recovery found.
    pub registry: Arc<UserRegistry>,
    /// The way to the journal.
    pub lane: Lane,
    /// How long sessions live.
    pub limits: SessionLimits,
    /// The time.
    pub clock: Arc<Clock>,
    /// Where subjects and session tokens come from.
    pub random: Arc<dyn SecureRandom + Send + Sync>,
    /// What is counted.
    pub metrics: Arc<MessageMetrics<UserMessage>>,
}

/// Why nothing was changed or listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No user has that subject.
    #[error("no user has this sub")]
    Unknown,
    /// A user has that name or subject.
    #[error("a user with this username or sub is registered already")]
    Exists,
    /// The user may not log in, or not any more by what they proved.
    #[error("the user is disabled, or has another password by now")]
    LoginRefused,
    /// No session of the subject has that id.
    #[error("the user has no session of this id")]
    NoSession,
    /// The record would be larger than the journal takes.
    #[error("the record is larger than 64 KiB")]
    TooLarge,
    /// The actor or the journal has no room now; nothing was changed, and the same request may succeed later.
    #[error("too much is waiting to be written")]
    Busy,
    /// The journal has too little room left for this; nothing was changed.
    #[error("the journal is near its disk budget, or its disk is full, so this is refused until there is room again")]
    NoDiskSpace,
}

impl From<NoRoom> for UserError {
    fn from(reason: NoRoom) -> Self {
        match reason {
            NoRoom::OnTheWay => Self::Busy,
            NoRoom::OnDisk => Self::NoDiskSpace,
        }
    }
}

/// Sends a request to the actor and waits until its answer is durable.
///
/// # Errors
///
/// What the request answers; [`UserError::Busy`] when the actor's mailbox is full or it is stopping.
pub async fn ask<R: UserRequest>(actor: &Addr<UserActor>, request: R) -> Result<R::Answer, UserError> {
    let (answer, answered) = oneshot::channel();
    actor.try_send(Asked { request, answer }).map_err(|_| UserError::Busy)?;
    answered.await.unwrap_or(Err(UserError::Busy))
}

/// Notes that a session was used, if that is due. Nobody waits for it, and where there is no room it is left out.
pub fn touch(actor: &Addr<UserActor>, session: &Session, now: UnixTime) {
    if session.is_touch_due(now) {
        let (answer, _) = oneshot::channel();
        let _ = actor.try_send(Asked { request: TouchSession { digest: session.digest }, answer });
    }
}

/// Something that the actor can be asked. One type each, below.
pub trait UserRequest: Send + 'static {
    /// What it is answered with.
    type Answer: Send + 'static;
    /// Its name in metrics.
    const KIND: UserMessage;
    /// How near to its end the journal's disk space may be no more; `None` for what needs none.
    const REFUSED_FROM: Option<Pressure>;

    /// Says what is to be changed, journaled and answered. Changes nothing itself.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError>;
}

/// What a request comes to: changes, and an answer that waits for them.
pub struct Decision<T> {
    /// Two at most.
    events: Vec<UserEvent>,
    answer: T,
}

impl<T> Decision<T> {
    const fn nothing(answer: T) -> Self {
        Self { events: Vec::new(), answer }
    }
}

/// A login beyond so many live sessions of one subject ends the oldest.
pub const SESSIONS_PER_SUBJECT_MAX: usize = 64;
/// A session is forgotten so long after its end: what was still on its way to the journal then has arrived.
const FORGET_AFTER_SECONDS: u64 = 60;
/// Sessions that are forgotten with one message.
const FORGOTTEN_AT_ONCE_MAX: usize = 16;

/// Registers a user.
pub struct CreateUser {
    /// The subject that they shall have; a random one by default.
    pub subject: Option<Subject>,
    /// What they log in with.
    pub name: UserName,
    /// What is known of them.
    pub profile: Profile,
    /// The hash of their password.
    pub password: Option<PasswordHash>,
    /// Whether they may not log in.
    pub is_disabled: bool,
}

impl UserRequest for CreateUser {
    type Answer = Arc<User>;
    const KIND: UserMessage = UserMessage::Create;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::NoLongLived);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let subject = match self.subject {
            Some(subject) => subject,
            None => random_subject(&*actor.random)?,
        };
        if actor.users.contains_key(&subject) || actor.names.contains_key(&self.name) {
            return Err(UserError::Exists);
        }
        let (now, generation) = (actor.clock.now(), actor.generation(&subject));
        let Self { name, profile, password, is_disabled, .. } = self;
        let (created_at, updated_at) = (now, now);
        let user = Arc::new(User { subject, name, profile, password, is_disabled, created_at, updated_at });
        let event = UserEvent::UserStored { user: Arc::clone(&user), generation };
        Ok(Decision { events: vec![event], answer: user })
    }
}

/// Changes what is known of a user, or whether they may log in. Who is disabled loses all sessions and all that was granted.
pub struct UpdateUser {
    /// Who.
    pub subject: Subject,
    /// What they log in with from now on.
    pub name: Option<UserName>,
    /// What is known of them from now on.
    pub profile: Option<Profile>,
    /// Whether they may not log in from now on.
    pub is_disabled: Option<bool>,
}

impl UserRequest for UpdateUser {
    type Answer = Arc<User>;
    const KIND: UserMessage = UserMessage::Update;
    /// To disable somebody takes access away.
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let before = actor.existing(&self.subject)?;
        let name = self.name.unwrap_or_else(|| before.name.clone());
        if actor.names.get(&name).is_some_and(|holder| *holder != self.subject) {
            return Err(UserError::Exists);
        }
        let is_disabled = self.is_disabled.unwrap_or(before.is_disabled);
        let is_revoking = is_disabled && !before.is_disabled;
        if !is_revoking {
            actor.lane.check_room(Some(Pressure::RevocationsOnly))?;
        }
        let generation = actor.generation(&self.subject).saturating_add(u64::from(is_revoking));
        let profile = self.profile.unwrap_or_else(|| before.profile.clone());
        let updated_at = actor.clock.now();
        let user = Arc::new(User { name, profile, is_disabled, updated_at, ..User::clone(before) });
        let event = UserEvent::UserStored { user: Arc::clone(&user), generation };
        Ok(Decision { events: vec![event], answer: user })
    }
}

/// Gives a user another password, and ends their sessions but that of who does so. What was granted lives on.
pub struct SetPassword {
    /// Who.
    pub subject: Subject,
    /// The hash of the new password; `None` lets nobody log in.
    pub password: Option<PasswordHash>,
    /// The session that goes on.
    pub keep: Option<SessionDigest>,
}

impl UserRequest for SetPassword {
    type Answer = Arc<User>;
    const KIND: UserMessage = UserMessage::SetPassword;
    /// It takes access away from who has learned the old password.
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let before = actor.existing(&self.subject)?;
        let updated_at = actor.clock.now();
        let user = Arc::new(User { password: self.password, updated_at, ..User::clone(before) });
        let generation = actor.generation(&self.subject);
        let ended = actor.ending(&self.subject, |digest| self.keep != Some(*digest));
        let stored = UserEvent::UserStored { user: Arc::clone(&user), generation };
        Ok(Decision { events: ended.into_iter().chain([stored]).collect(), answer: user })
    }
}

/// Puts a hash of ours in the place of one that was imported, of the same password.
pub struct RenewHash {
    /// Whose.
    pub subject: Subject,
    /// What the password was checked against.
    pub checked: PasswordHash,
    /// What takes its place.
    pub renewed: PasswordHash,
}

impl UserRequest for RenewHash {
    type Answer = ();
    const KIND: UserMessage = UserMessage::RenewHash;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::NoLongLived);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let before = actor.existing(&self.subject)?;
        if before.password.as_ref() != Some(&self.checked) {
            return Err(UserError::LoginRefused);
        }
        let user = Arc::new(User { password: Some(self.renewed), ..User::clone(before) });
        let event = UserEvent::UserStored { user, generation: actor.generation(&self.subject) };
        Ok(Decision { events: vec![event], answer: () })
    }
}

/// Deletes a user, with sessions and consents, and kills all that was granted.
pub struct DeleteUser {
    /// Who.
    pub subject: Subject,
}

impl UserRequest for DeleteUser {
    type Answer = ();
    const KIND: UserMessage = UserMessage::Delete;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        actor.existing(&self.subject)?;
        let generation = actor.generation(&self.subject).saturating_add(1);
        let event = UserEvent::UserDeleted { subject: self.subject, generation };
        Ok(Decision { events: vec![event], answer: () })
    }
}

/// Kills all that was granted to a subject, with sessions and consents. Also for a subject that is no user here.
pub struct RevokeSubject {
    /// Whose.
    pub subject: Subject,
}

impl UserRequest for RevokeSubject {
    type Answer = ();
    const KIND: UserMessage = UserMessage::Revoke;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let generation = actor.generation(&self.subject).saturating_add(1);
        let event = UserEvent::SubjectRevoked { subject: self.subject, generation };
        Ok(Decision { events: vec![event], answer: () })
    }
}

/// Lists users in the order of their names.
pub struct ListUsers {
    /// The last name of the page before.
    pub after: Option<UserName>,
    /// The most users to list.
    pub limit: usize,
}

/// A page of [`ListUsers`].
pub struct UserPage {
    /// The users of this page.
    pub users: Vec<Arc<User>>,
    /// Whether there are more behind the last one.
    pub has_more: bool,
}

impl UserRequest for ListUsers {
    type Answer = UserPage;
    const KIND: UserMessage = UserMessage::List;
    const REFUSED_FROM: Option<Pressure> = None;

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let after = self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut following = actor.names.range::<UserName, _>((after, Bound::Unbounded));
        let subjects = following.by_ref().take(self.limit).map(|(_, subject)| subject);
        let users = subjects.filter_map(|subject| actor.users.get(subject).cloned()).collect();
        Ok(Decision::nothing(UserPage { users, has_more: following.next().is_some() }))
    }
}

/// Starts a session, under a new token.
pub struct StartSession {
    /// Whose.
    pub subject: Subject,
    /// The hash that a password was checked against: the session begins only if it is still the user's, and they may log in.
    /// `None` for a person whom another system has let in.
    pub checked: Option<PasswordHash>,
    /// By what they proved who they are (`amr`, RFC 8176).
    pub amr: Vec<String>,
    /// How sure that is: see [`Session::acr`].
    pub acr: Option<String>,
    /// How long the session shall live, in seconds; [`SessionLimits::lifetime_seconds`] by default, and at most.
    pub lifetime_seconds: Option<u32>,
    /// What the browser calls itself.
    pub user_agent: Option<String>,
    /// Where from.
    pub address: Option<IpAddr>,
    /// The session that this one takes the place of, if the browser had one.
    pub replaces: Option<SessionDigest>,
}

impl UserRequest for StartSession {
    type Answer = (Arc<Session>, SessionToken);
    const KIND: UserMessage = UserMessage::StartSession;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::RevocationsOnly);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        match (actor.users.get(&self.subject), self.checked) {
            (Some(user), Some(checked)) if !user.is_disabled && user.password == Some(checked.clone()) => {}
            (Some(user), None) if !user.is_disabled => {}
            (None, None) => {}
            _ => return Err(UserError::LoginRefused),
        }
        let token = SessionToken::random(&*actor.random).map_err(|_| UserError::Busy)?;
        let digest = SessionDigest::of(token.reveal()).ok_or(UserError::Busy)?;
        let now = actor.clock.now();
        let lifetime_seconds = self.lifetime_seconds.unwrap_or(u32::MAX).min(actor.limits.lifetime_seconds);
        let session = Session {
            digest,
            generation: actor.generation(&self.subject),
            auth_time: now,
            amr: self.amr,
            acr: self.acr,
            created_at: now,
            expires_at: now.plus_seconds(u64::from(lifetime_seconds)),
            idle_seconds: actor.limits.idle_seconds,
            last_seen_at: now,
            user_agent: self.user_agent.map(|text| shown(&text, USER_AGENT_BYTES_MAX)),
            address: self.address,
            in_force: actor.registry.generation(&self.subject),
            subject: self.subject,
        };
        // A session that somebody else began in this browser ends here too.
        let replaced = self.replaces.and_then(|digest| actor.sessions.get(&digest));
        let foreign = replaced.filter(|replaced| replaced.subject != session.subject);
        let ended = match foreign {
            Some(foreign) => {
                Some(UserEvent::SessionsEnded { subject: foreign.subject.clone(), digests: vec![foreign.digest] })
            }
            None => {
                let mut surplus = actor.sessions_len(&session.subject).saturating_sub(SESSIONS_PER_SUBJECT_MAX - 1);
                actor.ending(&session.subject, |digest| {
                    let is_surplus = surplus > 0;
                    surplus = surplus.saturating_sub(1);
                    is_surplus || self.replaces == Some(*digest)
                })
            }
        };
        let stored = UserEvent::SessionStored(Box::new(session.clone()));
        let events = ended.into_iter().chain([stored]).collect();
        Ok(Decision { events, answer: (Arc::new(session), token) })
    }
}

/// Notes that a session was used. At most once a minute: see [`touch`].
pub struct TouchSession {
    /// Which.
    pub digest: SessionDigest,
}

impl UserRequest for TouchSession {
    type Answer = ();
    const KIND: UserMessage = UserMessage::TouchSession;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::NoLongLived);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let now = actor.clock.now();
        let session = actor.sessions.get(&self.digest).filter(|session| session.is_live(now));
        let session = session.ok_or(UserError::NoSession)?;
        if !session.is_touch_due(now) {
            return Ok(Decision::nothing(()));
        }
        let touched = Session { last_seen_at: now, ..Session::clone(session) };
        Ok(Decision { events: vec![UserEvent::SessionStored(Box::new(touched))], answer: () })
    }
}

/// Ends a session. One that is not there has ended.
pub struct EndSession {
    /// Which.
    pub digest: SessionDigest,
}

impl UserRequest for EndSession {
    type Answer = ();
    const KIND: UserMessage = UserMessage::EndSession;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let ended = actor.sessions.get(&self.digest).map(|session| UserEvent::SessionsEnded {
            subject: session.subject.clone(),
            digests: vec![session.digest],
        });
        Ok(Decision { events: ended.into_iter().collect(), answer: () })
    }
}

/// Ends sessions of a subject. Answers how many.
pub struct EndSessionsOf {
    /// Whose.
    pub subject: Subject,
    /// Which.
    pub which: WhichSessions,
}

/// Sessions of one subject.
pub enum WhichSessions {
    /// Every one.
    All,
    /// All but this one.
    AllBut(SessionDigest),
    /// The one that lists name so: see [`SessionDigest::id`].
    Named(String),
}

impl UserRequest for EndSessionsOf {
    type Answer = usize;
    const KIND: UserMessage = UserMessage::EndSessionsOf;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let ended = actor.ending(&self.subject, |digest| match &self.which {
            WhichSessions::All => true,
            WhichSessions::AllBut(kept) => kept != digest,
            WhichSessions::Named(id) => digest.id() == *id,
        });
        let count = match &ended {
            Some(UserEvent::SessionsEnded { digests, .. }) => digests.len(),
            _ if matches!(self.which, WhichSessions::Named(_)) => return Err(UserError::NoSession),
            _ => 0,
        };
        Ok(Decision { events: ended.into_iter().collect(), answer: count })
    }
}

/// Remembers what a person allowed a client, beside what they allowed it before.
pub struct StoreConsent {
    /// Whose.
    pub subject: Subject,
    /// To whom.
    pub client_id: ClientId,
    /// The client's generation, as it was when it asked.
    pub client_generation: u64,
    /// What.
    pub scope: Scope,
}

impl UserRequest for StoreConsent {
    type Answer = ();
    const KIND: UserMessage = UserMessage::StoreConsent;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::RevocationsOnly);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let Self { subject, client_id, client_generation, scope } = self;
        let subject_generation = actor.generation(&subject);
        let before = actor.consents.get(&subject).and_then(|consents| consents.get(&client_id));
        let before = before.filter(|before| {
            before.client_generation == client_generation && before.subject_generation == subject_generation
        });
        let scope = match before {
            Some(before) if scope.is_subset_of(&before.scope) => return Ok(Decision::nothing(())),
            Some(before) => {
                let both = format!("{} {}", before.scope.as_str(), scope.as_str());
                Scope::parse(both.trim()).map_err(|_| UserError::TooLarge)?
            }
            None => scope,
        };
        let granted_at = actor.clock.now();
        let consent = Consent { client_id, client_generation, subject_generation, scope, granted_at };
        Ok(Decision { events: vec![UserEvent::ConsentStored { subject, consent }], answer: () })
    }
}

/// Forgets what a person allowed a client. What was granted lives on: that is the shards'.
pub struct WithdrawConsent {
    /// Whose.
    pub subject: Subject,
    /// From whom.
    pub client_id: ClientId,
}

impl UserRequest for WithdrawConsent {
    type Answer = ();
    const KIND: UserMessage = UserMessage::WithdrawConsent;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &UserActor) -> Result<Decision<Self::Answer>, UserError> {
        let Self { subject, client_id } = self;
        let is_there = actor.consents.get(&subject).is_some_and(|consents| consents.contains_key(&client_id));
        let withdrawn = is_there.then_some(UserEvent::ConsentWithdrawn { subject, client_id });
        Ok(Decision { events: withdrawn.into_iter().collect(), answer: () })
    }
}

impl UserActor {
    /// An actor that goes on from what the registry holds after recovery.
    #[must_use]
    pub fn new(parts: UserActorParts) -> Self {
        let UserActorParts { registry, lane, limits, clock, random, metrics } = parts;
        let mut actor = Self {
            users: HashMap::new(),
            names: BTreeMap::new(),
            raised: HashMap::new(),
            sessions: HashMap::new(),
            sessions_of: HashMap::new(),
            ends: BTreeSet::new(),
            consents: HashMap::new(),
            limits,
            registry: Arc::clone(&registry),
            lane,
            clock,
            random,
            metrics,
        };
        for user in registry.all() {
            actor.keep_user(user);
        }
        let mut sessions = registry.all_sessions();
        sessions.sort_unstable_by_key(|session| session.created_at);
        sessions.iter().for_each(|session| actor.keep_session(session));
        for (subject, consents) in registry.all_consents() {
            let by_client = consents.iter().map(|consent| (consent.client_id.clone(), consent.clone())).collect();
            actor.consents.insert(subject, by_client);
        }
        actor
    }

    /// Handles a request as if it had come through the mailbox.
    #[cfg(test)]
    pub(crate) fn tell<R: UserRequest>(&mut self, request: R) -> oneshot::Receiver<Result<R::Answer, UserError>> {
        let (answer, answered) = oneshot::channel();
        self.handle(Asked { request, answer }, &mut Context::new());
        answered
    }

    fn existing(&self, subject: &Subject) -> Result<&Arc<User>, UserError> {
        self.users.get(subject).ok_or(UserError::Unknown)
    }

    fn generation(&self, subject: &Subject) -> u64 {
        let raised = self.raised.get(subject).copied().unwrap_or_default();
        raised.max(self.registry.generation(subject).value())
    }

    fn sessions_len(&self, subject: &Subject) -> usize {
        self.sessions_of.get(subject).map_or(0, Vec::len)
    }

    /// That these sessions of a subject end; `None` where there is none of them.
    fn ending(&self, subject: &Subject, mut is_ending: impl FnMut(&SessionDigest) -> bool) -> Option<UserEvent> {
        let digests = self.sessions_of.get(subject)?;
        let digests: Vec<_> = digests.iter().filter(|digest| is_ending(digest)).copied().collect();
        (!digests.is_empty()).then(|| UserEvent::SessionsEnded { subject: subject.clone(), digests })
    }

    /// Makes the changes, and appends them with what waits for the last.
    fn make(&mut self, events: Vec<UserEvent>, entries: Vec<Entry>, reply: impl FnOnce() + Send + 'static) {
        let count = events.len();
        let mut reply = Some(reply);
        for (number, (event, entry)) in (1..).zip(events.into_iter().zip(entries)) {
            self.keep(&event);
            let registry = Arc::clone(&self.registry);
            let reply = if number == count { reply.take() } else { None };
            let on_durable = Box::new(move || {
                event.apply(&registry);
                reply.into_iter().for_each(|reply| reply());
            });
            self.lane.append(entry, Some(on_durable));
        }
        if let Some(reply) = reply {
            self.lane.reply_when_durable(Box::new(reply));
        }
    }

    fn keep(&mut self, event: &UserEvent) {
        match event {
            UserEvent::UserStored { user, generation } => {
                self.raise(&user.subject, *generation);
                self.keep_user(Arc::clone(user));
            }
            UserEvent::UserDeleted { subject, generation } => {
                self.raise(subject, *generation);
                if let Some(user) = self.users.remove(subject) {
                    self.names.remove(&user.name);
                }
            }
            UserEvent::SubjectRevoked { subject, generation } => self.raise(subject, *generation),
            UserEvent::SessionStored(session) => self.keep_session(&Arc::new(Session::clone(session))),
            UserEvent::SessionsEnded { subject, digests } => self.drop_sessions(subject, digests),
            UserEvent::ConsentStored { subject, consent } => {
                let consents = self.consents.entry(subject.clone()).or_default();
                consents.insert(consent.client_id.clone(), consent.clone());
            }
            UserEvent::ConsentWithdrawn { subject, client_id } => {
                self.consents.get_mut(subject).and_then(|consents| consents.remove(client_id));
            }
        }
    }

    fn keep_user(&mut self, user: Arc<User>) {
        if let Some(before) = self.users.get(&user.subject) {
            self.names.remove(&before.name);
        }
        self.names.insert(user.name.clone(), user.subject.clone());
        self.users.insert(user.subject.clone(), user);
    }

    fn keep_session(&mut self, session: &Arc<Session>) {
        if self.sessions.insert(session.digest, Arc::clone(session)).is_none() {
            self.sessions_of.entry(session.subject.clone()).or_default().push(session.digest);
            self.ends.insert((session.expires_at, session.digest));
        }
    }

    fn drop_sessions(&mut self, subject: &Subject, ended: &[SessionDigest]) {
        for digest in ended {
            if let Some(session) = self.sessions.remove(digest) {
                self.ends.remove(&(session.expires_at, *digest));
            }
        }
        if let Some(digests) = self.sessions_of.get_mut(subject) {
            digests.retain(|digest| !ended.contains(digest));
            if digests.is_empty() {
                self.sessions_of.remove(subject);
            }
        }
    }

    /// Drops what is dead under a higher generation.
    fn raise(&mut self, subject: &Subject, generation: u64) {
        if generation <= self.generation(subject) {
            return;
        }
        self.raised.insert(subject.clone(), generation);
        self.sessions_of.get(subject).cloned().into_iter().for_each(|all| self.drop_sessions(subject, &all));
        self.consents.remove(subject);
    }

    /// Forgets some sessions that are over by their age.
    fn forget_some(&mut self) {
        let now = self.clock.now();
        let until = now.as_seconds().saturating_sub(FORGET_AFTER_SECONDS);
        for _ in 0..FORGOTTEN_AT_ONCE_MAX {
            let Some((_, digest)) = self.ends.first().filter(|(end, _)| end.as_seconds() < until).copied() else {
                return;
            };
            let Some(session) = self.sessions.get(&digest).cloned() else { return };
            self.drop_sessions(&session.subject, &[digest]);
            self.registry.forget_session(&session);
        }
    }
}

fn random_subject(random: &dyn SecureRandom) -> Result<Subject, UserError> {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes).map_err(|_| UserError::Busy)?;
    Subject::parse(&format!("{:032x}", u128::from_le_bytes(bytes))).map_err(|_| UserError::Busy)
}

impl Actor for UserActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// Requests that may wait: logins and consents of some hundred milliseconds.
const MAILBOX_CAPACITY: usize = 1024;

struct Asked<R: UserRequest> {
    request: R,
    answer: oneshot::Sender<Result<R::Answer, UserError>>,
}

impl<R: UserRequest> Message for Asked<R> {
    type Result = ();
}

impl<R: UserRequest> Handler<Asked<R>> for UserActor {
    type Result = ();

    /// Decides, appends what was decided, and leaves the answer to the commit that makes it durable. A refusal waits
    /// likewise, for it may rest on a change that a crash would take back.
    ///
    /// A panic may have left a change here that is in no journal, so the process stops; a restart recovers what is durable.
    fn handle(&mut self, Asked { request, answer }: Asked<R>, _: &mut Self::Context) {
        let started = self.clock.monotonic();
        if let Err(error) = self.lane.check_room(R::REFUSED_FROM) {
            self.metrics.record(R::KIND, self.clock.monotonic().saturating_sub(started), false);
            let _ = answer.send(Err(error.into()));
            return;
        }
        let handled = catch_unwind(AssertUnwindSafe(|| {
            self.forget_some();
            let decided = request.decide(self).and_then(|decision| {
                let entries = encode_within_bounds(&decision.events)?;
                if !self.lane.has_room_for(entries.len().max(1)) {
                    return Err(UserError::Busy);
                }
                Ok((decision, entries))
            });
            let is_ok = decided.is_ok();
            match decided {
                Ok((Decision { events, answer: value }, entries)) => {
                    self.make(events, entries, move || drop(answer.send(Ok(value))));
                }
                Err(error) => self.lane.reply_when_durable(Box::new(move || drop(answer.send(Err(error))))),
            }
            is_ok
        }));
        let Ok(is_ok) = handled else {
            tracing::error!("the user actor panicked; the process stops, restart it to recover what is durable");
            std::process::abort();
        };
        self.metrics.record(R::KIND, self.clock.monotonic().saturating_sub(started), is_ok);
    }
}

fn encode_within_bounds(events: &[UserEvent]) -> Result<Vec<Entry>, UserError> {
    let encode = |event: &UserEvent| event.encode().ok().filter(|entry| entry.payload.len() <= PAYLOAD_BYTES_MAX);
    events.iter().map(|event| encode(event).ok_or(UserError::TooLarge)).collect()
}

/// The requests of [`UserActor`], as metrics name them.
#[derive(Clone, Copy, Debug)]
pub enum UserMessage {
    /// [`CreateUser`]
    Create,
    /// [`UpdateUser`]
    Update,
    /// [`SetPassword`]
    SetPassword,
    /// [`RenewHash`]
    RenewHash,
    /// [`DeleteUser`]
    Delete,
    /// [`RevokeSubject`]
    Revoke,
    /// [`ListUsers`]
    List,
    /// [`StartSession`]
    StartSession,
    /// [`TouchSession`]
    TouchSession,
    /// [`EndSession`]
    EndSession,
    /// [`EndSessionsOf`]
    EndSessionsOf,
    /// [`StoreConsent`]
    StoreConsent,
    /// [`WithdrawConsent`]
    WithdrawConsent,
}

impl MessageKind for UserMessage {
    const NAMES: &'static [&'static str] = &[
        "create",
        "update",
        "set_password",
        "renew_hash",
        "delete",
        "revoke",
        "list",
        "start_session",
        "touch_session",
        "end_session",
        "end_sessions_of",
        "store_consent",
        "withdraw_consent",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ring::rand::SystemRandom;

    use super::*;
    use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
    use crate::client::{Client, Credential};
    use crate::clock::ManualTime;
    use crate::journal::sim::{SimDisk, options};
    use crate::user::event::{records_of, replay};

    const START: u64 = 1_800_000_000;

    /// An actor and what workers see, at a time of the test's own.
    struct Scene {
        actor: UserActor,
        registry: Arc<UserRegistry>,
        time: ManualTime,
    }

    impl Scene {
        fn new() -> Self {
            Self::on(Arc::default(), Lane::memory(), ManualTime::new(UnixTime::from_seconds(START)))
        }

        fn on(registry: Arc<UserRegistry>, lane: Lane, time: ManualTime) -> Self {
            let actor = UserActor::new(UserActorParts {
                registry: Arc::clone(&registry),
                lane,
                limits: SessionLimits { lifetime_seconds: 1000, idle_seconds: 300 },
                clock: Arc::new(Clock::on(Box::new(time.clone()))),
                random: Arc::new(SystemRandom::new()),
                metrics: Arc::default(),
            });
            Self { actor, registry, time }
        }

        fn tell<R: UserRequest>(&mut self, request: R) -> Result<R::Answer, UserError> {
            self.actor.tell(request).try_recv().expect("nothing is waited for in memory")
        }

        fn at(&self, seconds: u64) {
            let passed = self.actor.clock.now().as_seconds() - START;
            self.time.advance(Duration::from_secs(seconds - passed));
        }

        fn create(&mut self, name: &str) -> Arc<User> {
            self.tell(creation(name)).unwrap()
        }

        fn start(&mut self, subject: &Subject) -> (Arc<Session>, SessionToken) {
            self.tell(login(subject)).unwrap()
        }

        fn is_live(&self, session: &Session) -> bool {
            let now = UnixTime::from_seconds(START);
            self.registry.session(&session.digest).is_some_and(|session| session.is_live(now))
        }
    }

    fn creation(name: &str) -> CreateUser {
        let name = UserName::parse(name).unwrap();
        CreateUser { subject: None, name, profile: Profile::default(), password: None, is_disabled: false }
    }

    fn login(subject: &Subject) -> StartSession {
        let (subject, amr) = (subject.clone(), vec!["pwd".to_owned()]);
        StartSession {
            subject,
            checked: None,
            amr,
            acr: None,
            lifetime_seconds: None,
            user_agent: None,
            address: None,
            replaces: None,
        }
    }

    fn update(subject: &Subject) -> UpdateUser {
        UpdateUser { subject: subject.clone(), name: None, profile: None, is_disabled: None }
    }

    fn hash(number: usize) -> PasswordHash {
        let text = format!("$pbkdf2-sha256$i=1$c2FsdHNhbHQ${}{}", "A".repeat(21), ["A", "Q", "g"][number]);
        PasswordHash::parse(&text).unwrap()
    }

    fn client(generation: u64) -> Client {
        Client {
            id: ClientId::parse("app").unwrap(),
            metadata: ClientMetadata::parse(&ClientMetadataDocument::default()).unwrap(),
            credential: Credential::Missing,
            created_at: UnixTime::default(),
            generation,
            in_force: Arc::default(),
            registration: None,
        }
    }

    fn allow(subject: &Subject, scope: &str) -> StoreConsent {
        let client_id = ClientId::parse("app").unwrap();
        StoreConsent { subject: subject.clone(), client_id, client_generation: 1, scope: Scope::parse(scope).unwrap() }
    }

    #[test]
    fn a_name_and_a_subject_are_one_persons() {
        let mut scene = Scene::new();
        let alice = scene.create("Alice");
        assert_eq!(scene.tell(creation("aLICE")).err(), Some(UserError::Exists));
        let twin = CreateUser { subject: Some(alice.subject.clone()), ..creation("bob") };
        assert_eq!(scene.tell(twin).err(), Some(UserError::Exists));
        let bob = scene.create("bob");
        let taken = UpdateUser { name: Some(alice.name.clone()), ..update(&bob.subject) };
        assert_eq!(scene.tell(taken).err(), Some(UserError::Exists));
        let renamed = UpdateUser { name: Some(UserName::parse("carol").unwrap()), ..update(&alice.subject) };
        scene.tell(renamed).unwrap();
        assert_eq!(scene.create("alice").name, alice.name, "a name that was given up is free");
        let carol = scene.registry.find_by_name(&UserName::parse("carol").unwrap()).unwrap();
        assert_eq!(carol.subject, alice.subject);
    }

    #[test]
    fn who_is_disabled_deleted_or_revoked_loses_all() {
        let ends: [fn(&mut Scene, Subject); 3] = [
            |scene, subject| drop(scene.tell(UpdateUser { is_disabled: Some(true), ..update(&subject) }).unwrap()),
            |scene, subject| scene.tell(DeleteUser { subject }).unwrap(),
            |scene, subject| scene.tell(RevokeSubject { subject }).unwrap(),
        ];
        for end in ends {
            let mut scene = Scene::new();
            let subject = scene.create("alice").subject.clone();
            let generation = scene.registry.generation(&subject);
            let (session, _) = scene.start(&subject);
            scene.tell(allow(&subject, "read")).unwrap();
            assert!(scene.is_live(&session) && scene.registry.consent(&subject, &client(1)).is_some());
            end(&mut scene, subject.clone());
            assert!(!scene.is_live(&session) && scene.registry.sessions_of(&subject).is_empty());
            assert_eq!(scene.registry.consent(&subject, &client(1)), None);
            assert_eq!(generation.value(), 1);
        }
    }

    #[test]
    fn a_subject_that_comes_back_is_above_its_generation() {
        let mut scene = Scene::new();
        let subject = scene.create("alice").subject.clone();
        scene.tell(DeleteUser { subject: subject.clone() }).unwrap();
        scene.tell(CreateUser { subject: Some(subject.clone()), ..creation("alice") }).unwrap();
        assert_eq!(scene.registry.generation(&subject).value(), 1);
        scene.tell(RevokeSubject { subject: subject.clone() }).unwrap();
        assert_eq!(scene.registry.generation(&subject).value(), 2);
        let elsewhere = Subject::parse("of-another-system").unwrap();
        scene.tell(RevokeSubject { subject: elsewhere.clone() }).unwrap();
        assert_eq!(scene.registry.generation(&elsewhere).value(), 1, "who is no user here has one too");
    }

    #[test]
    fn another_password_ends_the_other_sessions_and_no_grants() {
        let mut scene = Scene::new();
        let subject = scene.create("alice").subject.clone();
        let [(own, _), (other, _)] = [(); 2].map(|()| scene.start(&subject));
        let change = SetPassword { subject: subject.clone(), password: Some(hash(1)), keep: Some(own.digest) };
        scene.tell(change).unwrap();
        assert!(scene.is_live(&own) && !scene.is_live(&other));
        assert_eq!(scene.registry.generation(&subject).value(), 0);
    }

    #[test]
    fn a_session_begins_only_with_the_password_that_is_in_force() {
        let mut scene = Scene::new();
        let alice = scene.tell(CreateUser { password: Some(hash(1)), ..creation("alice") }).unwrap();
        let with = |number| StartSession { checked: Some(hash(number)), ..login(&alice.subject) };
        assert!(scene.tell(with(1)).is_ok());
        assert_eq!(scene.tell(with(2)).err(), Some(UserError::LoginRefused), "it was changed meanwhile");
        scene.tell(UpdateUser { is_disabled: Some(true), ..update(&alice.subject) }).unwrap();
        assert_eq!(scene.tell(with(1)).err(), Some(UserError::LoginRefused));
        assert_eq!(scene.tell(login(&alice.subject)).err(), Some(UserError::LoginRefused));
        scene.tell(DeleteUser { subject: alice.subject.clone() }).unwrap();
        assert_eq!(scene.tell(with(1)).err(), Some(UserError::LoginRefused));
        assert!(scene.tell(login(&alice.subject)).is_ok(), "another system lets in whom it knows");
    }

    #[test]
    fn sessions_of_a_subject_are_bounded_and_a_login_replaces_the_one_before() {
        let mut scene = Scene::new();
        let subject = scene.create("alice").subject.clone();
        let sessions: Vec<_> = (0..=SESSIONS_PER_SUBJECT_MAX).map(|_| scene.start(&subject).0).collect();
        assert_eq!(scene.registry.sessions_of(&subject).len(), SESSIONS_PER_SUBJECT_MAX);
        assert!(!scene.is_live(&sessions[0]) && scene.is_live(&sessions[1]));
        let mut replace = |subject: &Subject, digest| {
            scene.tell(StartSession { replaces: Some(digest), ..login(subject) }).unwrap().0.digest
        };
        let own = replace(&subject, sessions[5].digest);
        let elsewhere = Subject::parse("somebody-else").unwrap();
        replace(&elsewhere, own);
        assert!(!scene.is_live(&sessions[5]) && scene.registry.session(&own).is_none());
    }

    #[test]
    fn a_use_is_noted_once_a_minute_and_what_is_over_is_forgotten() {
        let mut scene = Scene::new();
        let subject = scene.create("alice").subject.clone();
        let (session, _) = scene.start(&subject);
        let seen = |scene: &Scene| scene.registry.session(&session.digest).map(|own| own.last_seen_at.as_seconds());
        for (seconds, expected) in [(59, START), (60, START + 60), (100, START + 60), (120, START + 120)] {
            scene.at(seconds);
            scene.tell(TouchSession { digest: session.digest }).unwrap();
            assert_eq!(seen(&scene), Some(expected), "{seconds}");
        }
        scene.at(421);
        assert_eq!(scene.tell(TouchSession { digest: session.digest }).err(), Some(UserError::NoSession), "unused");
        scene.at(1000 + FORGET_AFTER_SECONDS);
        scene.create("bob");
        assert!(seen(&scene).is_some());
        scene.at(1001 + FORGET_AFTER_SECONDS);
        scene.create("carol");
        assert_eq!((seen(&scene), scene.registry.sessions_of(&subject).len()), (None, 0));
    }

    #[test]
    fn consents_add_up_until_they_are_withdrawn() {
        let mut scene = Scene::new();
        let subject = Subject::parse("of-another-system").unwrap();
        for scope in ["read", "write read", "read"] {
            scene.tell(allow(&subject, scope)).unwrap();
        }
        let allowed = |scene: &Scene, generation| {
            scene.registry.consent(&subject, &client(generation)).map(|scope| scope.as_str().to_owned())
        };
        assert_eq!(allowed(&scene, 1).as_deref(), Some("read write"));
        assert_eq!(allowed(&scene, 2), None, "the client that was allowed is gone");
        let (subject, client_id) = (subject.clone(), ClientId::parse("app").unwrap());
        scene.tell(WithdrawConsent { subject, client_id }).unwrap();
        assert_eq!(allowed(&scene, 1), None);
    }

    #[test]
    fn users_are_listed_by_name() {
        let mut scene = Scene::new();
        for name in ["carol", "alice", "bob"] {
            scene.create(name);
        }
        let mut page = |after: Option<&str>, limit| {
            let after = after.map(|name| UserName::parse(name).unwrap());
            let page = scene.tell(ListUsers { after, limit }).unwrap();
            (page.users.iter().map(|user| user.name.to_string()).collect::<Vec<_>>(), page.has_more)
        };
        assert_eq!(page(None, 2), (vec!["alice".to_owned(), "bob".to_owned()], true));
        assert_eq!(page(Some("bob"), 2), (vec!["carol".to_owned()], false));
    }

    #[test]
    fn nothing_is_seen_before_it_is_durable() {
        let disk = SimDisk::new();
        let time = ManualTime::new(UnixTime::from_seconds(START));
        let clock = Arc::new(Clock::on(Box::new(time.clone())));
        let opened = crate::journal::open_without_threads(Arc::new(disk), options(1), clock, &mut |_| {}).unwrap();
        let (mut committer, mut lanes, _) = opened;
        let mut scene = Scene::on(Arc::default(), lanes.remove(0), time);
        let mut created = scene.actor.tell(creation("alice"));
        let mut refused = scene.actor.tell(creation("alice"));
        assert!(scene.registry.is_empty() && created.try_recv().is_err() && refused.try_recv().is_err());
        committer.commit_ready().unwrap();
        let subject = created.try_recv().unwrap().unwrap().subject.clone();
        assert_eq!((scene.registry.len(), refused.try_recv().unwrap().err()), (1, Some(UserError::Exists)));
        let mut started = scene.actor.tell(login(&subject));
        let mut revoked = scene.actor.tell(RevokeSubject { subject: subject.clone() });
        assert_eq!(scene.registry.generation(&subject).value(), 0);
        committer.commit_ready().unwrap();
        let (session, _) = started.try_recv().unwrap().unwrap();
        assert!(revoked.try_recv().unwrap().is_ok() && !scene.is_live(&session));
    }

    #[test]
    fn a_snapshot_brings_everything_back() {
        let mut scene = Scene::new();
        let alice = scene.tell(CreateUser { password: Some(hash(1)), ..creation("alice") }).unwrap();
        let gone = scene.create("gone").subject.clone();
        scene.tell(DeleteUser { subject: gone.clone() }).unwrap();
        let elsewhere = Subject::parse("of-another-system").unwrap();
        scene.tell(RevokeSubject { subject: elsewhere.clone() }).unwrap();
        scene.tell(RevokeSubject { subject: alice.subject.clone() }).unwrap();
        let (session, _) = scene.start(&alice.subject);
        scene.tell(allow(&alice.subject, "read")).unwrap();
        let again = Arc::new(UserRegistry::default());
        // Twice: replaying is idempotent.
        for _ in 0..2 {
            records_of(&scene.registry, &mut |entry| {
                assert!(replay(&again, entry.kind, entry.schema, &entry.payload).unwrap());
            })
            .unwrap();
        }
        assert_eq!((again.len(), again.find(&alice.subject)), (1, Some(alice.clone())));
        assert_eq!([&alice.subject, &gone, &elsewhere].map(|subject| again.generation(subject).value()), [1, 1, 1]);
        let found = again.session(&session.digest).unwrap();
        assert!(found.is_live(UnixTime::from_seconds(START)));
        assert_eq!(again.sessions_of(&alice.subject).len(), 1);
        assert!(again.consent(&alice.subject, &client(1)).is_some());
        let mut next = Scene::on(again, Lane::memory(), scene.time.clone());
        assert_eq!(next.tell(creation("alice")).err(), Some(UserError::Exists), "the actor goes on from there");
        next.tell(EndSession { digest: session.digest }).unwrap();
        assert!(!next.is_live(&session));
    }
}
