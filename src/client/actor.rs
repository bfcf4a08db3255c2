//! The single writer of the registry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message};
use ring::rand::SecureRandom;
use rkyv::util::AlignedVec;
use tokio::sync::oneshot;

use crate::client::event::{
    InitialAccessRow, KIND_DELETED, SCHEMA, encode_deleted, encode_initial_access, encode_stored,
};
use crate::client::id::ClientId;
use crate::client::initial_access::{InitialAccessId, InitialAccessRefused, InitialAccessText, InitialAccessToken};
use crate::client::metadata::ClientMetadata;
use crate::client::registration::Registration;
use crate::client::registration_policy::RegistrationPolicy;
use crate::client::registry::ClientRegistry;
use crate::client::secret::{ClientSecret, ImportedSecret, SecretDigest};
use crate::client::{Client, Credential};
use crate::clock::Clock;
use crate::journal::{Entry, Lane, NoRoom, PAYLOAD_BYTES_MAX, Pressure};
use crate::password::hash::PasswordHash;
use crate::telemetry::message::{MessageKind, MessageMetrics};

/// Registers, changes and deletes clients, one message at a time. A change is journaled first and shown to workers by the
/// commit that made it durable; each reply waits for that commit too.
pub struct ClientActor {
    /// Every client as this actor last changed it, durable or not yet, in the order of their names.
    clients: BTreeMap<ClientId, Arc<Client>>,
    /// The generations that this process has ended: their deletions may not be durable, and so not in the registry yet.
    ended: HashMap<ClientId, u64>,
    /// Those that have registered themselves.
    dynamic: BTreeSet<ClientId>,
    initial_access: BTreeMap<InitialAccessId, Arc<InitialAccessToken>>,
    registry: Arc<ClientRegistry>,
    lane: Lane,
    clock: Arc<Clock>,
    random: Arc<dyn SecureRandom + Send + Sync>,
    metrics: Arc<MessageMetrics<ClientMessage>>,
}

/// Why a client was not changed or listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No client has that name.
    #[error("no client has this client_id")]
    Unknown,
    /// A client of that name is registered.
    #[error("a client with this client_id is registered already")]
    Exists,
    /// A client that is public, or proves itself by assertions, has no secret and needs none.
    #[error("a client whose token_endpoint_auth_method is none or private_key_jwt has no secret")]
    Secretless,
    /// A client that wants to register itself has no right to.
    #[error(transparent)]
    InitialAccess(#[from] InitialAccessRefused),
    /// As many clients have registered themselves as may.
    #[error("as many clients have registered themselves as the operator allows")]
    TooManyDynamic,
    /// No initial access token has that id.
    #[error("no initial access token has this id")]
    UnknownInitialAccess,
    /// There are [`INITIAL_ACCESS_MAX`].
    #[error("there are 1000 initial access tokens: revoke some that have expired or are used up")]
    TooManyInitialAccess,
    /// The client's record would be larger than the journal takes.
    #[error("the client's metadata is larger than 64 KiB")]
    TooLarge,
    /// The actor or the journal has no room now; nothing was changed, and the same request may succeed later.
    #[error("too much is waiting to be written")]
    Busy,
    /// The journal has too little room left for this; nothing was changed.
    #[error("the journal is near its disk budget, or its disk is full, so this is refused until there is room again")]
    NoDiskSpace,
}

impl From<NoRoom> for ClientError {
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
/// What the request answers; [`ClientError::Busy`] when the actor's mailbox is full or it is stopping.
pub async fn ask<R: ClientRequest>(actor: &Addr<ClientActor>, request: R) -> Result<R::Answer, ClientError> {
    let (answer, answered) = oneshot::channel();
    actor.try_send(Asked { request, answer }).map_err(|_| ClientError::Busy)?;
    answered.await.unwrap_or(Err(ClientError::Busy))
}

/// Something that the actor can be asked. One type each, below.
pub trait ClientRequest: Send + 'static {
    /// What it is answered with.
    type Answer: Send + 'static;
    /// Its name in metrics.
    const KIND: ClientMessage;
    /// How near to its end the journal's disk space may be no more; `None` for what needs none.
    const REFUSED_FROM: Option<Pressure>;

    /// Changes the actor, and says what is to be journaled and answered.
    ///
    /// # Errors
    ///
    /// Why it is refused; the actor is then as it was.
    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError>;
}

/// Registers a client, under a random name if none is given, with a new secret unless it is public.
pub struct CreateClient {
    /// The name that it shall have.
    pub id: Option<ClientId>,
    /// What it may do.
    pub metadata: ClientMetadata,
}

impl ClientRequest for CreateClient {
    type Answer = (Arc<Client>, Option<ClientSecret>);
    const KIND: ClientMessage = ClientMessage::Create;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::NoLongLived);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let id = actor.free_id(self.id)?;
        let (secret, credential) = actor.credential_for(&self.metadata)?;
        let client = actor.new_client(id, self.metadata, credential);
        let record = Some(encode_within_bounds(&client)?);
        Ok(actor.store(client, record, |client| (client, secret)))
    }
}

/// Registers a client that has a secret already, of which a hash is known. [`CreateClient`] otherwise.
pub struct ImportClient {
    /// The name that it shall have.
    pub id: Option<ClientId>,
    /// What it may do.
    pub metadata: ClientMetadata,
    /// The hash of its secret.
    pub secret_hash: PasswordHash,
}

impl ClientRequest for ImportClient {
    type Answer = Arc<Client>;
    const KIND: ClientMessage = ClientMessage::Import;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::NoLongLived);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        if !self.metadata.has_secret() {
            return Err(ClientError::Secretless);
        }
        let id = actor.free_id(self.id)?;
        let credential = Credential::Imported(Arc::new(ImportedSecret::new(self.secret_hash)));
        let client = actor.new_client(id, self.metadata, credential);
        let record = Some(encode_within_bounds(&client)?);
        Ok(actor.store(client, record, |client| client))
    }
}

/// Makes sure that a client is there with this metadata, and lets it authenticate with this secret while the process lives.
/// The secret was chosen by a person, and so does not go into the journal, not even hashed.
pub struct EnsureClient {
    /// Its name.
    pub id: ClientId,
    /// What it may do from now on.
    pub metadata: ClientMetadata,
    /// The digest of its secret.
    pub secret: SecretDigest,
}

impl ClientRequest for EnsureClient {
    type Answer = Arc<Client>;
    const KIND: ClientMessage = ClientMessage::Ensure;
    /// A server that has no room is to start nevertheless: what it needs is in its journal already.
    const REFUSED_FROM: Option<Pressure> = None;

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let credential = Credential::Configured(self.secret);
        let (client, is_journaled) = match actor.existing(&self.id) {
            Ok(client) => {
                let is_generated = matches!(client.credential, Credential::Generated(_) | Credential::Imported(_));
                let is_journaled = client.metadata == self.metadata && !is_generated;
                (Client { metadata: self.metadata, credential, ..client }, is_journaled)
            }
            Err(_) => (actor.new_client(self.id, self.metadata, credential), false),
        };
        let record = if is_journaled {
            None
        } else {
            actor.lane.check_room(Some(Pressure::Full))?;
            Some(encode_within_bounds(&client)?)
        };
        Ok(actor.store(client, record, |client| client))
    }
}

/// Replaces what a client may do. Tokens that it has stay as they are. A client that is to have none loses its secret; one that
/// is to have one gets it by [`RotateSecret`].
pub struct UpdateClient {
    /// Its name.
    pub id: ClientId,
    /// What it may do from now on.
    pub metadata: ClientMetadata,
}

impl ClientRequest for UpdateClient {
    type Answer = Arc<Client>;
    const KIND: ClientMessage = ClientMessage::Update;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::RevocationsOnly);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let existing = actor.existing(&self.id)?;
        let credential = if self.metadata.has_secret() { existing.credential } else { Credential::Missing };
        let client = Client { metadata: self.metadata, credential, ..existing };
        let record = Some(encode_within_bounds(&client)?);
        Ok(actor.store(client, record, |client| client))
    }
}

/// Gives a client a new secret; the old one stops working at once.
pub struct RotateSecret {
    /// Its name.
    pub id: ClientId,
}

impl ClientRequest for RotateSecret {
    type Answer = (Arc<Client>, ClientSecret);
    const KIND: ClientMessage = ClientMessage::RotateSecret;
    /// It takes access away from who has learned the old secret.
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let existing = actor.existing(&self.id)?;
        if !existing.metadata.has_secret() {
            return Err(ClientError::Secretless);
        }
        let secret = actor.random_secret()?;
        let credential = Credential::Generated(SecretDigest::of(secret.reveal()));
        let client = Client { credential, ..existing };
        let record = Some(encode_within_bounds(&client)?);
        Ok(actor.store(client, record, |client| (client, secret)))
    }
}

/// Kills all of a client's tokens and everything that people have granted it. The client itself stays.
pub struct RevokeClient {
    /// Its name.
    pub id: ClientId,
}

impl ClientRequest for RevokeClient {
    type Answer = ();

    const KIND: ClientMessage = ClientMessage::Revoke;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let existing = actor.existing(&self.id)?;
        let client = Client { generation: existing.generation.saturating_add(1), ..existing };
        let record = Some(encode_within_bounds(&client)?);
        Ok(actor.store(client, record, |_| ()))
    }
}

/// Deletes a client and kills all of its tokens.
pub struct DeleteClient {
    /// Its name.
    pub id: ClientId,
}

impl ClientRequest for DeleteClient {
    type Answer = ();
    const KIND: ClientMessage = ClientMessage::Delete;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        Ok(Decision { change: Some(actor.delete(self.id)?), answer: () })
    }
}

/// Makes an initial access token.
pub struct CreateInitialAccess {
    /// For whom or for what; at most [`LABEL_BYTES_MAX`](crate::client::initial_access::LABEL_BYTES_MAX) bytes.
    pub label: Option<String>,
    /// How long it lives, 1 to [`INITIAL_ACCESS_SECONDS_MAX`](crate::client::initial_access::INITIAL_ACCESS_SECONDS_MAX) seconds.
    pub lifetime_seconds: u32,
    /// How many clients may register with it.
    pub registrations_max: Option<u32>,
    /// What they may be.
    pub policy: RegistrationPolicy,
}

/// The most initial access tokens, those that have expired too.
pub const INITIAL_ACCESS_MAX: usize = 1000;

impl ClientRequest for CreateInitialAccess {
    type Answer = (Arc<InitialAccessToken>, InitialAccessText);
    const KIND: ClientMessage = ClientMessage::CreateInitialAccess;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::NoLongLived);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        if actor.initial_access.len() >= INITIAL_ACCESS_MAX {
            return Err(ClientError::TooManyInitialAccess);
        }
        let text = InitialAccessText::random(&*actor.random).map_err(|_| ClientError::Busy)?;
        if actor.initial_access.contains_key(&text.id()) {
            return Err(ClientError::Busy);
        }
        let created_at = actor.clock.now();
        let token = Arc::new(InitialAccessToken {
            id: text.id(),
            digest: SecretDigest::of(text.reveal()),
            label: self.label,
            created_at,
            expires_at: created_at.plus_seconds(u64::from(self.lifetime_seconds)),
            registrations_max: self.registrations_max,
            registrations: 0,
            policy: Arc::new(self.policy),
        });
        let entry = encode_initial_access(&token).map_err(|_| ClientError::TooLarge)?;
        if entry.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(ClientError::TooLarge);
        }
        actor.initial_access.insert(token.id, Arc::clone(&token));
        let effect = Effect::PublishInitialAccess(Arc::clone(&token));
        let change = Change { record: Some((entry.kind, entry.payload)), effect };
        Ok(Decision { change: Some(change), answer: (token, text) })
    }
}

/// Revokes an initial access token. The clients that have registered with it stay.
pub struct RevokeInitialAccess {
    /// Which.
    pub id: InitialAccessId,
}

impl ClientRequest for RevokeInitialAccess {
    type Answer = ();
    const KIND: ClientMessage = ClientMessage::RevokeInitialAccess;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let entry = InitialAccessRow::Revoked(self.id).to_entry().map_err(|_| ClientError::TooLarge)?;
        actor.initial_access.remove(&self.id).ok_or(ClientError::UnknownInitialAccess)?;
        let effect = Effect::WithdrawInitialAccess(self.id);
        let change = Change { record: Some((entry.kind, entry.payload)), effect };
        Ok(Decision { change: Some(change), answer: () })
    }
}

/// Registers a client that asks for it itself, under a random name that no client has had, and counts it on its initial access
/// token.
pub struct RegisterClient {
    /// With which it comes, proven.
    pub initial_access: InitialAccessId,
    /// What it may do, as the token's policy has admitted it.
    pub metadata: ClientMetadata,
    /// How many clients may have registered themselves at a time.
    pub clients_max: usize,
}

impl ClientRequest for RegisterClient {
    type Answer = (Arc<Client>, Option<ClientSecret>);
    const KIND: ClientMessage = ClientMessage::Register;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::NoLongLived);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let token = actor.initial_access.get(&self.initial_access).ok_or(InitialAccessRefused::Unknown)?;
        let now = actor.clock.now();
        token.check(now)?;
        if actor.dynamic.len() >= self.clients_max {
            return Err(ClientError::TooManyDynamic);
        }
        let number = token.registrations.saturating_add(1);
        let token = Arc::new(InitialAccessToken { registrations: number, ..InitialAccessToken::clone(token) });
        let id = actor.free_id(None)?;
        let (secret, credential) = actor.credential_for(&self.metadata)?;
        let client = actor.new_client(id, self.metadata, credential);
        if client.generation != 1 {
            // A client has had that name: another time another one is drawn.
            return Err(ClientError::Busy);
        }
        let registration = Some(Arc::new(Registration::new(token.id, number, now)));
        let client = Client { registration, ..client };
        let record = Some(encode_within_bounds(&client)?);
        actor.initial_access.insert(token.id, Arc::clone(&token));
        let client = actor.keep(client);
        let effect = Effect::Register(Arc::clone(&client), token);
        Ok(Decision { change: Some(Change { record, effect }), answer: (client, secret) })
    }
}

/// Looks at some of the clients that have registered themselves: deletes one that lay idle, or journals when one was of use. At most
/// one of both, so ask again from where the answer says.
pub struct SweepIdleClient {
    /// The last client that was looked at; `None` to begin.
    pub after: Option<ClientId>,
    /// How long a client may lie idle, in seconds; `None` for ever. See [`Registration::is_idle`].
    pub idle_seconds: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Where to go on; `None` at the end.
    pub after: Option<ClientId>,
    /// The client that was deleted.
    pub deleted: Option<ClientId>,
}

/// Clients that are looked at between two other messages.
const SWEPT_AT_ONCE_MAX: usize = 256;

impl ClientRequest for SweepIdleClient {
    type Answer = Swept;
    const KIND: ClientMessage = ClientMessage::Sweep;
    const REFUSED_FROM: Option<Pressure> = Some(Pressure::Full);

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let now = actor.clock.now();
        let has_room = actor.lane.check_room(Some(Pressure::NoLongLived)).is_ok();
        let mut after = self.after;
        for _ in 0..SWEPT_AT_ONCE_MAX {
            let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = actor.dynamic.range::<ClientId, _>((from, Bound::Unbounded)).next().cloned();
            let Some(id) = next else { return Ok(Decision { change: None, answer: Swept::default() }) };
            after = Some(id.clone());
            let Some(client) = actor.clients.get(&id) else { continue };
            let Some(registration) = &client.registration else { continue };
            if client.is_held() {
                registration.note_use(now);
            }
            if self.idle_seconds.is_some_and(|seconds| registration.is_idle(now, seconds)) {
                let change = Some(actor.delete(id.clone())?);
                return Ok(Decision { change, answer: Swept { after, deleted: Some(id) } });
            }
            if has_room && registration.take_statement() {
                let client = Client::clone(client);
                let record = Some(encode_within_bounds(&client)?);
                return Ok(actor.store(client, record, |_| Swept { after, deleted: None }));
            }
        }
        Ok(Decision { change: None, answer: Swept { after, deleted: None } })
    }
}

/// Lists clients in the order of their names.
pub struct ListClients {
    /// The last name of the page before.
    pub after: Option<ClientId>,
    /// The most clients to list.
    pub limit: usize,
}

/// A page of [`ListClients`].
pub struct ClientPage {
    /// The clients of this page.
    pub clients: Vec<Arc<Client>>,
    /// Whether there are more behind the last one.
    pub has_more: bool,
}

impl ClientRequest for ListClients {
    type Answer = ClientPage;
    const KIND: ClientMessage = ClientMessage::List;
    const REFUSED_FROM: Option<Pressure> = None;

    fn decide(self, actor: &mut ClientActor) -> Result<Decision<Self::Answer>, ClientError> {
        let after = self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut following = actor.clients.range::<ClientId, _>((after, Bound::Unbounded)).map(|(_, client)| client);
        let clients = following.by_ref().take(self.limit).cloned().collect();
        Ok(Decision { change: None, answer: ClientPage { clients, has_more: following.next().is_some() } })
    }
}

impl ClientActor {
    /// An actor that goes on from what the registry holds after recovery.
    pub fn new(
        registry: Arc<ClientRegistry>,
        lane: Lane,
        clock: Arc<Clock>,
        random: Arc<dyn SecureRandom + Send + Sync>,
        metrics: Arc<MessageMetrics<ClientMessage>>,
    ) -> Self {
        let clients: BTreeMap<_, _> = registry.all().into_iter().map(|client| (client.id.clone(), client)).collect();
        let dynamic = clients.values().filter(|client| client.registration.is_some()).map(|client| client.id.clone());
        let dynamic = dynamic.collect();
        let initial_access = registry.all_initial_access().into_iter().map(|token| (token.id, token)).collect();
        Self { clients, ended: HashMap::new(), dynamic, initial_access, registry, lane, clock, random, metrics }
    }

    /// Handles a request as if it had come through the mailbox.
    #[cfg(test)]
    pub(crate) fn tell<R: ClientRequest>(&mut self, request: R) -> oneshot::Receiver<Result<R::Answer, ClientError>> {
        let (answer, answered) = oneshot::channel();
        self.handle(Asked { request, answer }, &mut Context::new());
        answered
    }

    fn existing(&self, id: &ClientId) -> Result<Client, ClientError> {
        self.clients.get(id).map(|client| Client::clone(client)).ok_or(ClientError::Unknown)
    }

    /// The name for a new client: the one that it shall have, or a random one.
    fn free_id(&self, id: Option<ClientId>) -> Result<ClientId, ClientError> {
        let id = match id {
            Some(id) => id,
            None => ClientId::random(&*self.random).map_err(|_| ClientError::Busy)?,
        };
        if self.clients.contains_key(&id) { Err(ClientError::Exists) } else { Ok(id) }
    }

    fn new_client(&self, id: ClientId, metadata: ClientMetadata, credential: Credential) -> Client {
        let in_force = self.registry.generation(&id);
        let ended = self.ended.get(&id).copied().unwrap_or_default();
        let generation = ended.max(in_force.value()).saturating_add(1);
        let created_at = self.clock.now();
        Client { id, metadata, credential, created_at, generation, in_force, registration: None }
    }

    fn random_secret(&self) -> Result<ClientSecret, ClientError> {
        ClientSecret::random(&*self.random).map_err(|_| ClientError::Busy)
    }

    /// A new secret, if the client is to have one, and what it is known by.
    fn credential_for(&self, metadata: &ClientMetadata) -> Result<(Option<ClientSecret>, Credential), ClientError> {
        if !metadata.has_secret() {
            return Ok((None, Credential::Missing));
        }
        let secret = self.random_secret()?;
        let credential = Credential::Generated(SecretDigest::of(secret.reveal()));
        Ok((Some(secret), credential))
    }

    fn delete(&mut self, id: ClientId) -> Result<Change, ClientError> {
        let generation = self.existing(&id)?.generation.saturating_add(1);
        let payload = encode_deleted(&id, generation).map_err(|_| ClientError::TooLarge)?;
        self.clients.remove(&id);
        self.dynamic.remove(&id);
        self.ended.insert(id.clone(), generation);
        Ok(Change { record: Some((KIND_DELETED, payload)), effect: Effect::Withdraw(id, generation) })
    }

    fn keep(&mut self, client: Client) -> Arc<Client> {
        let client = Arc::new(client);
        if client.registration.is_some() {
            self.dynamic.insert(client.id.clone());
        }
        self.clients.insert(client.id.clone(), Arc::clone(&client));
        client
    }

    /// Keeps `client`, and says that `record` is to be journaled for it; `None` where the journal says so already.
    fn store<T>(
        &mut self,
        client: Client,
        record: Option<(u16, AlignedVec)>,
        answer: impl FnOnce(Arc<Client>) -> T,
    ) -> Decision<T> {
        let client = self.keep(client);
        let change = Change { record, effect: Effect::Publish(Arc::clone(&client)) };
        Decision { change: Some(change), answer: answer(client) }
    }

    fn append(&mut self, change: Change, reply: impl FnOnce() + Send + 'static) {
        let registry = Arc::clone(&self.registry);
        let Change { record, effect } = change;
        let on_durable = Box::new(move || {
            match effect {
                Effect::Publish(client) => registry.publish(&client),
                Effect::Withdraw(id, generation) => registry.withdraw(&id, generation),
                Effect::Register(client, token) => {
                    registry.publish(&client);
                    // Nothing comes back that was revoked after this was decided: effects are applied in the order of the decisions.
                    registry.publish_initial_access(&token);
                }
                Effect::PublishInitialAccess(token) => registry.publish_initial_access(&token),
                Effect::WithdrawInitialAccess(id) => registry.withdraw_initial_access(id),
            }
            reply();
        });
        match record {
            Some((kind, payload)) => {
                self.lane.append(Entry { kind, schema: SCHEMA, routing_id: 0, payload }, Some(on_durable));
            }
            None => self.lane.reply_when_durable(on_durable),
        }
    }
}

/// What a request comes to: perhaps a change, and an answer that waits for it.
pub struct Decision<T> {
    change: Option<Change>,
    answer: T,
}

/// A change that the actor has made and that is to be journaled, and then shown to workers.
struct Change {
    /// Kind and payload; `None` where the journal says so already.
    record: Option<(u16, AlignedVec)>,
    effect: Effect,
}

enum Effect {
    Publish(Arc<Client>),
    Withdraw(ClientId, u64),
    Register(Arc<Client>, Arc<InitialAccessToken>),
    PublishInitialAccess(Arc<InitialAccessToken>),
    WithdrawInitialAccess(InitialAccessId),
}

fn encode_within_bounds(client: &Client) -> Result<(u16, AlignedVec), ClientError> {
    let (kind, payload) = encode_stored(client).map_err(|_| ClientError::TooLarge)?;
    if payload.len() > PAYLOAD_BYTES_MAX { Err(ClientError::TooLarge) } else { Ok((kind, payload)) }
}

impl Actor for ClientActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// Requests that may wait. Administration is rare: more than this is somebody's loop.
const MAILBOX_CAPACITY: usize = 256;

struct Asked<R: ClientRequest> {
    request: R,
    answer: oneshot::Sender<Result<R::Answer, ClientError>>,
}

impl<R: ClientRequest> Message for Asked<R> {
    type Result = ();
}

impl<R: ClientRequest> Handler<Asked<R>> for ClientActor {
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
        let Ok(decided) = catch_unwind(AssertUnwindSafe(|| request.decide(self))) else {
            tracing::error!("the client actor panicked; the process stops, restart it to recover what is durable");
            std::process::abort();
        };
        let is_ok = decided.is_ok();
        match decided {
            Ok(Decision { change: Some(change), answer: value }) => {
                self.append(change, move || drop(answer.send(Ok(value))));
            }
            Ok(Decision { change: None, answer: value }) => {
                self.lane.reply_when_durable(Box::new(move || drop(answer.send(Ok(value)))));
            }
            Err(error) => self.lane.reply_when_durable(Box::new(move || drop(answer.send(Err(error))))),
        }
        self.metrics.record(R::KIND, self.clock.monotonic().saturating_sub(started), is_ok);
    }
}

/// The requests of [`ClientActor`], as metrics name them.
#[derive(Clone, Copy, Debug)]
pub enum ClientMessage {
    /// [`CreateClient`]
    Create,
    /// [`EnsureClient`]
    Ensure,
    /// [`UpdateClient`]
    Update,
    /// [`RotateSecret`]
    RotateSecret,
    /// [`DeleteClient`]
    Delete,
    /// [`ListClients`]
    List,
    /// [`ImportClient`]
    Import,
    /// [`RevokeClient`]
    Revoke,
    /// [`RegisterClient`]
    Register,
    /// [`CreateInitialAccess`]
    CreateInitialAccess,
    /// [`RevokeInitialAccess`]
    RevokeInitialAccess,
    /// [`SweepIdleClient`]
    Sweep,
}

impl MessageKind for ClientMessage {
    const NAMES: &'static [&'static str] = &[
        "create",
        "ensure",
        "update",
        "rotate_secret",
        "delete",
        "list",
        "import",
        "revoke",
        "register",
        "create_initial_access",
        "revoke_initial_access",
        "sweep",
    ];

    fn index(self) -> usize {
        self as usize
    }
}
