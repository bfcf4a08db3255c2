//! Where workers find a client, without a lock.

use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::Client;
use crate::client::id::ClientId;
use crate::client::initial_access::{InitialAccessId, InitialAccessToken};
use crate::clock::UnixTime;

/// The generation of a client that is in force: it changes when the client is deleted, and every token of an older one is
/// dead from then on. 0 is the generation of a client that never was. Never goes back, not even by re-creation.
#[derive(Debug, Default)]
pub struct Generation(AtomicU64);

impl Generation {
    /// The generation in force. Durable: [`ClientRegistry`] is changed only after the commit.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Raises it, once that is durable.
    pub(crate) fn raise_to(&self, generation: u64) {
        self.0.fetch_max(generation, Ordering::AcqRel);
    }
}

/// The clients as the journal has them: what stands here is durable. Read by every worker, written by
/// [`ClientActor`](crate::client::actor::ClientActor) alone.
#[derive(Debug, Default)]
pub struct ClientRegistry {
    clients: papaya::HashMap<ClientId, Arc<Client>>,
    /// Outlives its client, so that a client of the same name starts above it.
    generations: papaya::HashMap<ClientId, Arc<Generation>>,
    initial_access: papaya::HashMap<InitialAccessId, Arc<InitialAccessToken>>,
}

/// The clients while they are looked at: see [`ClientRegistry::read`].
pub struct ReadClients<'a>(papaya::HashMapRef<'a, ClientId, Arc<Client>, RandomState, papaya::LocalGuard<'a>>);

impl ReadClients<'_> {
    /// The client of that name.
    #[must_use]
    pub fn find(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.0.get(client_id)
    }
}

impl fmt::Debug for ReadClients<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReadClients(..)")
    }
}

impl ClientRegistry {
    /// The client of that name.
    #[must_use]
    pub fn find(&self, client_id: &str) -> Option<Arc<Client>> {
        self.read().find(client_id).cloned()
    }

    /// The clients, to look at without a count that other workers share. What is removed meanwhile is freed afterwards, so
    /// do not wait with it in hand.
    #[must_use]
    pub fn read(&self) -> ReadClients<'_> {
        ReadClients(self.clients.pin())
    }

    /// How many clients there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is no client.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The generation of a client, there or not.
    #[must_use]
    pub fn generation(&self, client_id: &ClientId) -> Arc<Generation> {
        Arc::clone(self.generations.pin().get_or_insert_with(client_id.clone(), Arc::default))
    }

    /// Every client, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.clients.pin().values().cloned().collect()
    }

    /// The initial access token of that id.
    #[must_use]
    pub fn initial_access(&self, id: InitialAccessId) -> Option<Arc<InitialAccessToken>> {
        self.initial_access.pin().get(&id).cloned()
    }

    /// Every initial access token, in the order of their ids.
    #[must_use]
    pub fn all_initial_access(&self) -> Vec<Arc<InitialAccessToken>> {
        let mut tokens: Vec<_> = self.initial_access.pin().values().cloned().collect();
        tokens.sort_unstable_by_key(|token| token.id);
        tokens
    }

    /// Whether a client may register itself now, if it has the right token.
    #[must_use]
    pub fn is_open_to_registration(&self, now: UnixTime) -> bool {
        self.initial_access.pin().values().any(|token| token.check(now).is_ok())
    }

    /// Every generation above 0, of clients that are there and of clients that were, in no order.
    pub(super) fn generations(&self) -> Vec<(ClientId, u64)> {
        let pinned = self.generations.pin();
        let values = pinned.iter().map(|(client_id, generation)| (client_id.clone(), generation.value()));
        values.filter(|(_, generation)| *generation > 0).collect()
    }

    /// Shows a client that is durable.
    pub(super) fn publish(&self, client: &Arc<Client>) {
        client.in_force.raise_to(client.generation);
        self.clients.pin().insert(client.id.clone(), Arc::clone(client));
    }

    /// Shows an initial access token that is durable, or that a registration has counted on.
    pub(super) fn publish_initial_access(&self, token: &Arc<InitialAccessToken>) {
        self.initial_access.pin().insert(token.id, Arc::clone(token));
    }

    /// Takes away an initial access token whose revocation is durable.
    pub(super) fn withdraw_initial_access(&self, id: InitialAccessId) {
        self.initial_access.pin().remove(&id);
    }

    /// Counts on, at recovery: so many have registered with that token, at least.
    pub(super) fn recover_registrations(&self, id: InitialAccessId, registrations: u32) {
        if let Some(token) = self.initial_access(id).filter(|token| token.registrations < registrations) {
            self.publish_initial_access(&Arc::new(InitialAccessToken {
                registrations,
                ..InitialAccessToken::clone(&token)
            }));
        }
    }

    /// Takes away a client whose deletion is durable, and kills its tokens.
    pub(super) fn withdraw(&self, client_id: &ClientId, generation: u64) {
        self.generation(client_id).raise_to(generation);
        self.clients.pin().remove(client_id);
    }
}
