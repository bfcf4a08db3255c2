//! The single writer of the keys.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

use crate::clock::{Clock, UnixTime};
use crate::journal::{Entry, Lane, NoRoom, Pressure, Reply};
use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::event::{KeyEvent, StoredKey};
use crate::signing::private_key::PrivateKey;
use crate::signing::registry::{KeyRegistry, SigningKey};
use crate::signing::seal::{Purpose, Sealer};

/// Stores and removes keys, one message at a time. A change is journaled first and shown to workers by the commit that made it
/// durable; each reply waits for that commit too.
pub struct KeyActor {
    /// Every key as this actor last changed it, durable or not yet.
    keys: BTreeMap<String, (StoredKey, Arc<SigningKey>)>,
    parts: KeyActorParts,
}

/// What the actor is made of.
pub struct KeyActorParts {
    /// The keys, recovered and open.
    pub registry: Arc<KeyRegistry>,
    /// Its way to the journal.
    pub lane: Lane,
    /// What seals the private halves.
    pub sealer: Sealer,
    /// The time.
    pub clock: Arc<Clock>,
    /// For what seals.
    pub random: Arc<dyn SecureRandom + Send + Sync>,
}

/// Why a key was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key has that `kid`.
    #[error("no key has this kid")]
    Unknown,
    /// The key is there already.
    #[error("this key is there already")]
    Exists,
    /// There are as many as there may be.
    #[error("there are 64 keys already: rotate again when some of them are gone")]
    TooMany,
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    NoRandomness,
    /// The actor or the journal has no room now; nothing was changed, and the same request may succeed later.
    #[error("too much is waiting to be written")]
    Busy,
    /// The journal has too little room left for this; nothing was changed.
    #[error("the journal is near its disk budget, or its disk is full, so this is refused until there is room again")]
    NoDiskSpace,
}

impl From<NoRoom> for KeyError {
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
/// What the request answers; [`KeyError::Busy`] when the actor's mailbox is full or it is stopping.
pub async fn ask<R: KeyRequest>(actor: &Addr<KeyActor>, request: R) -> Result<(), KeyError> {
    let (answer, answered) = oneshot::channel();
    actor.try_send(Asked { request, answer }).map_err(|_| KeyError::Busy)?;
    answered.await.unwrap_or(Err(KeyError::Busy))
}

/// Something that the actor can be asked. One type each, below.
pub trait KeyRequest: Send + 'static {
    /// Changes the actor, and says what is to be journaled and then shown; `None` where it changes nothing.
    ///
    /// # Errors
    ///
    /// Why it is refused; the actor is then as it was.
    fn decide(self, actor: &mut KeyActor) -> Result<Option<Change>, KeyError>;
}

/// What is to be journaled, and the key that is then ready; `None` where it is removed.
pub struct Change {
    entry: Entry,
    event: KeyEvent,
    ready: Option<Arc<SigningKey>>,
}

impl Change {
    fn new(event: KeyEvent, ready: Option<Arc<SigningKey>>) -> Result<Self, KeyError> {
        let entry = event.encode().map_err(|_| KeyError::Busy)?;
        Ok(Self { entry, event, ready })
    }
}

/// Makes a new key, which may take a second, on a thread of its own, and keeps it. Answers when it is durable and published.
///
/// # Errors
///
/// [`KeyError`]; there is no new key then, unless the server is stopping.
pub async fn make_key(
    actor: &Addr<KeyActor>,
    algorithm: SigningAlgorithm,
    signs_from: UnixTime,
) -> Result<(), KeyError> {
    let (done, made) = oneshot::channel();
    let make = move || drop(done.send(PrivateKey::generate(algorithm, &SystemRandom::new())));
    std::thread::Builder::new().name("key".to_owned()).spawn(make).map_err(|_| KeyError::Busy)?;
    let key = made.await.map_err(|_| KeyError::Busy)?.map_err(|_| KeyError::NoRandomness)?;
    ask(actor, StoreKey { key, signs_from }).await
}

/// Keeps a new key.
pub struct StoreKey {
    /// The key.
    pub key: PrivateKey,
    /// From when on it signs; a millisecond later for each key of its algorithm that signs from that moment already.
    pub signs_from: UnixTime,
}

impl KeyRequest for StoreKey {
    fn decide(self, actor: &mut KeyActor) -> Result<Option<Change>, KeyError> {
        let KeyActorParts { sealer, clock, random, .. } = &actor.parts;
        let (kid, now) = (self.key.public().thumbprint(), clock.now());
        if actor.keys.contains_key(&kid) {
            return Err(KeyError::Exists);
        }
        if actor.keys.len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let sealed = sealer.seal(Purpose::SigningKey, self.key.as_pkcs8(), now, &**random);
        let stored = StoredKey {
            kid: kid.clone(),
            algorithm: self.key.public().algorithm,
            created_at: now,
            signs_from: actor.first_free_moment(self.key.public().algorithm, self.signs_from),
            tokens_until: 0,
            sealed: sealed.map_err(|_| KeyError::NoRandomness)?,
        };
        let ready = Arc::new(SigningKey::new(self.key, &stored));
        let change = Change::new(KeyEvent::Stored(stored.clone()), Some(Arc::clone(&ready)))?;
        actor.keys.insert(kid, (stored, ready));
        Ok(Some(change))
    }
}

const KEYS_MAX: usize = 64;

/// Lets a key sign tokens that expire later than any before. What is kept is rounded up, so that this is asked seldom.
pub struct CoverTokens {
    /// Which key.
    pub kid: String,
    /// When the token expires, in seconds since the epoch.
    pub expires_at: u32,
}

impl KeyRequest for CoverTokens {
    fn decide(self, actor: &mut KeyActor) -> Result<Option<Change>, KeyError> {
        let (stored, ready) = actor.keys.get_mut(&self.kid).ok_or(KeyError::Unknown)?;
        if stored.tokens_until >= self.expires_at {
            return Ok(None);
        }
        let tokens_until = self.expires_at.saturating_add(TOKENS_STEP_SECONDS);
        let covering = StoredKey { tokens_until, ..stored.clone() };
        let change = Change::new(KeyEvent::Stored(covering), Some(Arc::clone(ready)))?;
        stored.tokens_until = tokens_until;
        Ok(Some(change))
    }
}

const TOKENS_STEP_SECONDS: u32 = 6 * 3600;

/// Removes a key of which no token is good any more, if there is one: the next tick removes the next.
pub struct RemoveSpentKey;

impl KeyRequest for RemoveSpentKey {
    fn decide(self, actor: &mut KeyActor) -> Result<Option<Change>, KeyError> {
        let now = actor.parts.clock.now();
        let spent = actor.parts.registry.keys().spent(now);
        // One that may sign longer, durably or not yet, is not spent.
        let is_spent = |(stored, _): &(StoredKey, _)| stored.tokens_until <= now.as_seconds_u32();
        let Some(kid) = spent.into_iter().find(|kid| actor.keys.get(kid).is_some_and(is_spent)) else {
            return Ok(None);
        };
        let change = Change::new(KeyEvent::Removed { kid: kid.clone() }, None)?;
        actor.keys.remove(&kid);
        Ok(Some(change))
    }
}

impl KeyActor {
    /// An actor that goes on from what the registry holds after recovery.
    #[must_use]
    pub fn new(parts: KeyActorParts) -> Self {
        let ready = parts.registry.keys();
        let ready: BTreeMap<_, _> =
            ready.all(UnixTime::default()).map(|(key, _)| (key.kid.clone(), Arc::clone(key))).collect();
        let stored = parts.registry.stored().into_iter();
        let keys =
            stored.filter_map(|stored| Some((stored.kid.clone(), (stored.clone(), ready.get(&stored.kid).cloned()?))));
        let keys = keys.collect();
        Self { keys, parts }
    }

    /// When two keys sign from one moment on, the one that came last must be the one that signs: no two do.
    fn first_free_moment(&self, algorithm: SigningAlgorithm, wanted: UnixTime) -> UnixTime {
        let of_algorithm = self.keys.values().filter(|(_, key)| key.algorithm() == algorithm);
        let taken: BTreeSet<_> = of_algorithm.map(|(stored, _)| stored.signs_from.as_millis()).collect();
        let free = (wanted.as_millis()..).find(|millis| !taken.contains(millis));
        free.map_or(wanted, UnixTime::from_millis)
    }

    /// Handles a request as if it had come through the mailbox.
    #[cfg(test)]
    pub(crate) fn tell<R: KeyRequest>(&mut self, request: R) -> oneshot::Receiver<Result<(), KeyError>> {
        let (answer, answered) = oneshot::channel();
        self.handle(Asked { request, answer }, &mut Context::new());
        answered
    }

    fn append(&mut self, Change { entry, event, ready }: Change, reply: Reply) {
        let registry = Arc::clone(&self.parts.registry);
        let on_durable = Box::new(move || {
            if let (KeyEvent::Stored(stored), Some(ready)) = (&event, &ready) {
                ready.raise_tokens_until(stored.tokens_until);
            }
            registry.publish(event, ready);
            reply();
        });
        self.parts.lane.append(entry, Some(on_durable));
    }
}

fn answering(answer: oneshot::Sender<Result<(), KeyError>>, with: Result<(), KeyError>) -> Reply {
    Box::new(move || {
        // Who asked may have gone away meanwhile.
        let _ = answer.send(with);
    })
}

impl Actor for KeyActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// Requests that may wait: workers may all need the same key to cover more at once.
const MAILBOX_CAPACITY: usize = 1024;

struct Asked<R: KeyRequest> {
    request: R,
    answer: oneshot::Sender<Result<(), KeyError>>,
}

impl<R: KeyRequest> Message for Asked<R> {
    type Result = ();
}

impl<R: KeyRequest> Handler<Asked<R>> for KeyActor {
    type Result = ();

    /// Decides, appends what was decided, and leaves the answer to the commit that makes it durable.
    ///
    /// A panic may have left a change here that is in no journal, so the process stops; a restart recovers what is durable.
    fn handle(&mut self, Asked { request, answer }: Asked<R>, _: &mut Self::Context) {
        if let Err(error) = self.parts.lane.check_room(Some(Pressure::RevocationsOnly)) {
            let _ = answer.send(Err(error.into()));
            return;
        }
        let handled = catch_unwind(AssertUnwindSafe(|| match request.decide(self) {
            Ok(Some(change)) => self.append(change, answering(answer, Ok(()))),
            Ok(None) => self.parts.lane.reply_when_durable(answering(answer, Ok(()))),
            Err(error) => self.parts.lane.reply_when_durable(answering(answer, Err(error))),
        }));
        if handled.is_err() {
            tracing::error!("the key actor panicked; the process stops, restart it to recover what is durable");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualTime;
    use crate::signing::event::replay;
    use crate::signing::registry::KeyState;

    const START: UnixTime = UnixTime::from_seconds(1_800_000_000);

    struct Scene {
        actor: KeyActor,
        registry: Arc<KeyRegistry>,
        time: ManualTime,
    }

    impl Scene {
        fn new() -> Self {
            let (registry, time) = (Arc::<KeyRegistry>::default(), ManualTime::new(START));
            let actor = KeyActor::new(KeyActorParts {
                registry: Arc::clone(&registry),
                lane: Lane::memory(),
                sealer: Sealer::new(&[1; 32]),
                clock: Arc::new(Clock::on(Box::new(time.clone()))),
                random: Arc::new(SystemRandom::new()),
            });
            Self { actor, registry, time }
        }

        fn now(&self) -> UnixTime {
            self.actor.parts.clock.now()
        }

        fn tell<R: KeyRequest>(&mut self, request: R) -> Result<(), KeyError> {
            self.actor.tell(request).try_recv().expect("nothing is waited for in memory")
        }

        /// Stores a new key, which signs so many seconds from now; answers its `kid`.
        fn store(&mut self, seconds: u64) -> String {
            let key = PrivateKey::generate(SigningAlgorithm::EdDsa, &SystemRandom::new()).unwrap();
            let kid = key.public().thumbprint();
            let signs_from = UnixTime::from_millis(self.now().as_millis() + seconds * 1000);
            self.tell(StoreKey { key, signs_from }).unwrap();
            kid
        }

        fn cover(&mut self, kid: &str, seconds: u32) -> Result<(), KeyError> {
            let expires_at = self.now().as_seconds_u32() + seconds;
            self.tell(CoverTokens { kid: kid.to_owned(), expires_at })
        }

        fn states(&self) -> Vec<(String, KeyState)> {
            self.registry.keys().all(self.now()).map(|(key, state)| (key.kid.clone(), state)).collect()
        }
    }

    #[test]
    fn a_retired_key_stays_until_the_last_token_that_it_signed_has_expired() {
        let mut scene = Scene::new();
        let first = scene.store(0);
        scene.cover(&first, 60).unwrap();
        let second = scene.store(10);
        assert_eq!(scene.states(), [(first.clone(), KeyState::Signing), (second.clone(), KeyState::Published)]);
        scene.time.advance(Duration::from_secs(10));
        assert_eq!(scene.states(), [(first.clone(), KeyState::Retired), (second.clone(), KeyState::Signing)]);
        scene.time.advance(Duration::from_secs(u64::from(TOKENS_STEP_SECONDS) + 49));
        scene.tell(RemoveSpentKey).unwrap();
        assert_eq!(scene.states().len(), 2);
        scene.time.advance(Duration::from_secs(1));
        scene.tell(RemoveSpentKey).unwrap();
        assert_eq!(scene.states(), [(second, KeyState::Signing)]);
        assert_eq!(scene.cover(&first, 60), Err(KeyError::Unknown));
    }

    #[test]
    fn of_two_keys_for_one_moment_the_one_that_came_last_signs() {
        let mut scene = Scene::new();
        let mut keys = [(); 2].map(|()| PrivateKey::generate(SigningAlgorithm::EdDsa, &SystemRandom::new()).unwrap());
        // What a key is called decides nothing: the last in the order of their names comes first.
        keys.sort_by_key(|key| Reverse(key.public().thumbprint()));
        let kids = keys.each_ref().map(|key| key.public().thumbprint());
        for key in keys {
            scene.tell(StoreKey { key, signs_from: START }).unwrap();
        }
        scene.time.advance(Duration::from_millis(1));
        let states = kids.into_iter().zip([KeyState::Retired, KeyState::Signing]).collect::<Vec<_>>();
        assert_eq!(scene.states(), states);
    }

    #[test]
    fn what_a_key_may_sign_is_journaled_seldom_and_never_shrinks() {
        let mut scene = Scene::new();
        let kid = scene.store(0);
        let until = |scene: &Scene| scene.registry.keys().all(scene.now()).next().unwrap().0.tokens_until();
        assert_eq!(until(&scene), 0);
        scene.cover(&kid, 60).unwrap();
        let (covered, appended) = (until(&scene), scene.actor.parts.lane.appended());
        assert_eq!(covered, START.as_seconds_u32() + 60 + TOKENS_STEP_SECONDS);
        scene.cover(&kid, TOKENS_STEP_SECONDS).unwrap();
        assert_eq!((until(&scene), scene.actor.parts.lane.appended()), (covered, appended));
    }

    #[test]
    fn a_key_is_there_once_and_there_are_not_too_many() {
        let mut scene = Scene::new();
        let key = PrivateKey::generate(SigningAlgorithm::Es256, &SystemRandom::new()).unwrap();
        let pkcs8 = zeroize::Zeroizing::new(key.as_pkcs8().to_vec());
        let same = PrivateKey::of_pkcs8(SigningAlgorithm::Es256, pkcs8).unwrap();
        scene.tell(StoreKey { key, signs_from: START }).unwrap();
        assert_eq!(scene.tell(StoreKey { key: same, signs_from: START }), Err(KeyError::Exists));
        for _ in 1..KEYS_MAX {
            scene.store(0);
        }
        let key = PrivateKey::generate(SigningAlgorithm::EdDsa, &SystemRandom::new()).unwrap();
        assert_eq!(scene.tell(StoreKey { key, signs_from: START }), Err(KeyError::TooMany));
    }

    #[test]
    fn what_is_kept_opens_with_its_master_key_alone() {
        let mut scene = Scene::new();
        scene.store(0);
        scene.store(5);
        let again = KeyRegistry::default();
        crate::signing::event::records_of(&scene.registry, &mut |entry| {
            assert!(replay(&again, entry.kind, entry.schema, &entry.payload).unwrap());
        })
        .unwrap();
        assert!(again.open(&Sealer::new(&[2; 32]), START).is_err());
        assert!(again.keys().jwks.body.is_empty());
        again.open(&Sealer::new(&[1; 32]), START).unwrap();
        assert_eq!(again.keys().jwks.body, scene.registry.keys().jwks.body);
        assert_eq!(again.keys().jwks.etag, scene.registry.keys().jwks.etag);
    }

    #[test]
    fn a_key_of_another_name_does_not_open() {
        let mut scene = Scene::new();
        let (first, second) = (scene.store(0), scene.store(0));
        let stored = scene.registry.stored();
        let sealed_of = |kid: &str| stored.iter().find(|key| key.kid == kid).unwrap().sealed.clone();
        let swapped =
            StoredKey { sealed: sealed_of(&second), ..stored.iter().find(|key| key.kid == first).unwrap().clone() };
        assert!(SigningKey::open(&swapped, &Sealer::new(&[1; 32]), START).is_err());
    }
}
