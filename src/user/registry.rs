//! Where workers and shards find what stands of a user, without a lock.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use papaya::Operation;

use crate::client::Client;
use crate::client::id::ClientId;
use crate::client::registry::Generation;
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;
use crate::password::hash::PasswordHash;
use crate::user::User;
use crate::user::consent::Consent;
use crate::user::name::UserName;
use crate::user::session::{Session, SessionDigest};

/// The users, their sessions and consents as the journal has them: what stands here is durable. Read by every worker, written
/// by [`UserActor`](crate::user::actor::UserActor) alone.
#[derive(Debug)]
pub struct UserRegistry {
    users: papaya::HashMap<Subject, Arc<User>>,
    names: papaya::HashMap<UserName, Arc<User>>,
    /// Of every subject that was granted anything, users of our own and of others alike. Outlives its user.
    generations: papaya::HashMap<Subject, Arc<Generation>>,
    sessions: papaya::HashMap<SessionDigest, Arc<Session>>,
    sessions_of: papaya::HashMap<Subject, Arc<[SessionDigest]>>,
    consents: papaya::HashMap<Subject, Arc<[Consent]>>,
    /// Ways in which people logged in, at most [`CONTEXTS_MAX`]: see [`UserRegistry::share`].
    contexts: Mutex<HashSet<AuthenticationContext>>,
    /// Hashes of users, to check where there is no user: see [`UserRegistry::stand_in`].
    stand_ins: Box<[ArcSwapOption<PasswordHash>]>,
    hasher: RandomState,
}

const STAND_INS: usize = 64;
const CONTEXTS_MAX: usize = 1024;

impl Default for UserRegistry {
    fn default() -> Self {
        Self {
            users: papaya::HashMap::default(),
            names: papaya::HashMap::default(),
            generations: papaya::HashMap::default(),
            sessions: papaya::HashMap::default(),
            sessions_of: papaya::HashMap::default(),
            consents: papaya::HashMap::default(),
            contexts: Mutex::default(),
            stand_ins: (0..STAND_INS).map(|_| ArcSwapOption::empty()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl UserRegistry {
    /// The user of that subject.
    #[must_use]
    pub fn find(&self, subject: &Subject) -> Option<Arc<User>> {
        self.users.pin().get(subject).cloned()
    }

    /// The user who logs in with that name.
    #[must_use]
    pub fn find_by_name(&self, name: &UserName) -> Option<Arc<User>> {
        self.names.pin().get(name).cloned()
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Every user, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<User>> {
        self.users.pin().values().cloned().collect()
    }

    /// The session of that digest, live or over: ask [`Session::is_live`].
    #[must_use]
    pub fn session(&self, digest: &SessionDigest) -> Option<Arc<Session>> {
        self.sessions.pin().get(digest).cloned()
    }

    /// The sessions of a subject, live or over, the oldest first.
    #[must_use]
    pub fn sessions_of(&self, subject: &Subject) -> Vec<Arc<Session>> {
        let digests = self.sessions_of.pin().get(subject).cloned();
        let sessions = self.sessions.pin();
        digests.iter().flat_map(|digests| digests.iter()).filter_map(|digest| sessions.get(digest).cloned()).collect()
    }

    /// How many sessions there are, with those that are over and not yet forgotten.
    #[must_use]
    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// A way to log in, in the copy that all who came that way share: there are few ways and many grants. The lock is for those who
    /// log in and for recovery.
    #[must_use]
    pub fn share(&self, context: AuthenticationContext) -> AuthenticationContext {
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = contexts.get(&context) {
            return shared.clone();
        }
        if contexts.len() < CONTEXTS_MAX {
            contexts.insert(context.clone());
        }
        context
    }

    /// What the subject lets the client have without being asked again.
    #[must_use]
    pub fn consent(&self, subject: &Subject, client: &Client) -> Option<Scope> {
        let generation = self.generation(subject).value();
        let consents = self.consents.pin().get(subject).cloned()?;
        let consent = consents.iter().find(|consent| consent.client_id == client.id)?;
        let is_in_force = consent.client_generation == client.generation && consent.subject_generation == generation;
        is_in_force.then(|| consent.scope.clone())
    }

    /// All that the subject allowed to any client and has not withdrawn. Some of it may be dead: see [`UserRegistry::consent`].
    #[must_use]
    pub fn consents_of(&self, subject: &Subject) -> Arc<[Consent]> {
        self.consents.pin().get(subject).cloned().unwrap_or_default()
    }

    /// The generation of a subject, known or not: raised when all that was granted to it is revoked.
    #[must_use]
    pub fn generation(&self, subject: &Subject) -> Arc<Generation> {
        Arc::clone(self.generations.pin().get_or_insert_with(subject.clone(), Arc::default))
    }

    /// The hash to check a password against where there is no user of that name: that of some user, always the same for the same
    /// name. So the time that it takes says nothing, even where hashes of several kinds were imported. `None` where no user
    /// has a password.
    #[must_use]
    pub fn stand_in(&self, name: &str) -> Option<PasswordHash> {
        let start = self.place_of(name);
        let (after, before) = (self.stand_ins.iter().skip(start), self.stand_ins.iter().take(start));
        after.chain(before).find_map(ArcSwapOption::load_full).map(|hash| PasswordHash::clone(&hash))
    }

    fn place_of(&self, text: &str) -> usize {
        let places = self.stand_ins.len().max(1) as u64;
        usize::try_from(self.hasher.hash_one(text) % places).unwrap_or_default()
    }

    /// Every session, in no order.
    pub(super) fn all_sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.pin().values().cloned().collect()
    }

    /// All consents, in no order.
    pub(super) fn all_consents(&self) -> Vec<(Subject, Arc<[Consent]>)> {
        let pinned = self.consents.pin();
        pinned.iter().map(|(subject, consents)| (subject.clone(), Arc::clone(consents))).collect()
    }

    /// Every generation above 0, in no order.
    pub(super) fn generations(&self) -> Vec<(Subject, u64)> {
        let pinned = self.generations.pin();
        let values = pinned.iter().map(|(subject, generation)| (subject.clone(), generation.value()));
        values.filter(|(_, generation)| *generation > 0).collect()
    }

    /// Shows a user who is durable.
    pub(super) fn publish(&self, user: &Arc<User>, generation: u64) {
        self.raise(&user.subject, generation);
        let before = self.users.pin().insert(user.subject.clone(), Arc::clone(user)).cloned();
        if let Some(before) = before.filter(|before| before.name != user.name) {
            self.free_name(&before);
        }
        self.names.pin().insert(user.name.clone(), Arc::clone(user));
        if let Some(place) = self.stand_ins.get(self.place_of(user.subject.as_str())) {
            place.store(user.password.clone().map(Arc::new));
        }
    }

    /// Takes away a user whose deletion is durable, with all that was granted.
    pub(super) fn withdraw(&self, subject: &Subject, generation: u64) {
        self.raise(subject, generation);
        if let Some(user) = self.users.pin().remove(subject) {
            self.free_name(user);
        }
        self.consents.pin().remove(subject);
        if let Some(place) = self.stand_ins.get(self.place_of(subject.as_str())) {
            place.store(None);
        }
    }

    fn free_name(&self, user: &User) {
        let is_theirs = |_: &UserName, holder: &Arc<User>| holder.subject == user.subject;
        let _ = self.names.pin().remove_if(&user.name, is_theirs);
    }

    /// Kills all that was granted to a subject, and its sessions and consents.
    pub(super) fn raise(&self, subject: &Subject, generation: u64) {
        self.generation(subject).raise_to(generation);
        self.retain_consents(subject, |consent| consent.subject_generation >= generation);
        let over = self.sessions_of(subject).into_iter().filter(|session| session.generation < generation);
        let over: Vec<_> = over.map(|session| session.digest).collect();
        self.end_sessions(subject, &over);
    }

    /// Shows a session that is durable.
    pub(super) fn publish_session(&self, session: Session) {
        let (digest, subject) = (session.digest, session.subject.clone());
        let in_force = self.generation(&subject);
        self.sessions.pin().insert(digest, Arc::new(Session { in_force, ..session }));
        self.sessions_of.pin().compute(subject, |entry| match entry {
            None => Operation::<_, ()>::Insert(Arc::from([digest])),
            Some((_, digests)) if digests.contains(&digest) => Operation::Abort(()),
            Some((_, digests)) => Operation::Insert(digests.iter().copied().chain([digest]).collect()),
        });
    }

    /// Takes away sessions.
    pub(super) fn end_sessions(&self, subject: &Subject, ended: &[SessionDigest]) {
        if ended.is_empty() {
            return;
        }
        let sessions = self.sessions.pin();
        for digest in ended {
            sessions.remove(digest);
        }
        self.sessions_of.pin().compute(subject.clone(), |entry| {
            let Some((_, digests)) = entry else { return Operation::Abort(()) };
            let left: Arc<[_]> = digests.iter().copied().filter(|digest| !ended.contains(digest)).collect();
            if left.is_empty() { Operation::Remove } else { Operation::Insert(left) }
        });
    }

    /// Shows a consent that is durable, in the place of one to the same client.
    pub(super) fn publish_consent(&self, subject: &Subject, consent: &Consent) {
        self.consents.pin().compute(subject.clone(), |entry| {
            let others = entry.iter().flat_map(|(_, consents)| consents.iter());
            let others = others.filter(|other| other.client_id != consent.client_id).cloned();
            Operation::<_, ()>::Insert(others.chain([consent.clone()]).collect())
        });
    }

    /// Takes away a consent whose withdrawal is durable.
    pub(super) fn withdraw_consent(&self, subject: &Subject, client_id: &ClientId) {
        self.retain_consents(subject, |consent| consent.client_id != *client_id);
    }

    fn retain_consents(&self, subject: &Subject, is_kept: impl Fn(&Consent) -> bool) {
        self.consents.pin().compute(subject.clone(), |entry| match entry {
            Some((_, consents)) if !consents.iter().all(&is_kept) => {
                let kept: Arc<[_]> = consents.iter().filter(|consent| is_kept(consent)).cloned().collect();
                if kept.is_empty() { Operation::Remove } else { Operation::Insert(kept) }
            }
            _ => Operation::Abort(()),
        });
    }

    /// Forgets a session that is over by its age: that needs no record.
    pub(super) fn forget_session(&self, over: &Session) {
        self.end_sessions(&over.subject, &[over.digest]);
    }
}
