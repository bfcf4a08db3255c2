//! Clients: what is registered, who may change it, and where workers read it.
//!
//! [`registry::ClientRegistry`] is the concurrent map that workers read. [`actor::ClientActor`] is its single writer: it
//! journals a change, and publishes it to the registry once it is durable.

pub mod about;
pub mod actor;
pub mod event;
pub mod id;
pub mod initial_access;
pub mod metadata;
pub mod name;
pub mod registration;
pub mod registration_policy;
pub mod registration_request;
pub mod registry;
pub mod secret;

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::client::id::ClientId;
use crate::client::metadata::ClientMetadata;
use crate::client::registration::Registration;
use crate::client::registry::Generation;
use crate::client::secret::{ImportedSecret, SecretDigest};
use crate::clock::UnixTime;

/// A registered client (RFC 6749 §2) as the registry holds it. Never changed in place: an update replaces it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `client_id`, for ever its own.
    pub id: ClientId,
    /// What it may do.
    pub metadata: ClientMetadata,
    /// How it proves itself.
    pub credential: Credential,
    /// When it was registered.
    pub created_at: UnixTime,
    /// How it has registered itself; `None` for one that an operator has registered. Dropped before the generation: see
    /// `Client::is_held`.
    pub registration: Option<Arc<Registration>>,
    /// The generation under which it gets its tokens; a token of an older one is dead.
    pub generation: u64,
    /// The generation that is in force now, shared with every grant of the client.
    pub in_force: Arc<Generation>,
}

impl Client {
    /// Remembers that it is of use now, where that decides how long it stays.
    pub fn note_use(&self, now: UnixTime) {
        if let Some(registration) = &self.registration {
            registration.note_use(now);
        }
    }

    /// Whether anything in memory holds on to the generation of this one that has registered itself, beside the registry and what
    /// the client is and was: a token, a code, a device, a grant. Answers yes also where that has just gone.
    ///
    /// What a client was is freed at some time after it was replaced. Until then it holds its generation, and its registration
    /// too, which nothing else holds; so the two counts differ by the others. Of what is being freed meanwhile the generation is seen
    /// longer than the registration, never shorter.
    fn is_held(&self) -> bool {
        let Some(registration) = &self.registration else { return true };
        let holders = Arc::strong_count(&self.in_force);
        fence(Ordering::Acquire);
        holders > Arc::strong_count(registration) + HELD_BY_NAME
    }
}

/// The registry holds each generation once, by the name of its client.
const HELD_BY_NAME: usize = 1;

/// What a client proves itself with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing: it cannot authenticate.
    Missing,
    /// A secret that we made, journaled as its digest.
    Generated(SecretDigest),
    /// A secret that a person put into the configuration: it may be guessable, so not even its digest is journaled.
    Configured(SecretDigest),
    /// A secret of which only a hash came, of a kind that is slow to check.
    Imported(Arc<ImportedSecret>),
}

impl Credential {
    /// The digest that a presented secret is compared with. `None` also where the secret has not been proven yet.
    #[must_use]
    pub fn secret_digest(&self) -> Option<&SecretDigest> {
        match self {
            Self::Missing => None,
            Self::Generated(digest) | Self::Configured(digest) => Some(digest),
            Self::Imported(imported) => imported.proven(),
        }
    }
}
