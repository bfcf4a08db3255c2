//! Clients: what is registered, who may change it, and where workers read it.
//!
//! [`registry::ClientRegistry`] is the concurrent map that workers read. [`actor::ClientActor`] is its single writer: it
//! journals a change, and publishes it to the registry once it is durable.

pub mod actor;
pub mod event;
pub mod id;
pub mod metadata;
pub mod registry;
pub mod secret;

use std::sync::Arc;

use crate::client::id::ClientId;
use crate::client::metadata::ClientMetadata;
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
    /// The generation under which it gets its tokens; a token of an older one is dead.
    pub generation: u64,
    /// The generation that is in force now, shared with every grant of the client.
    pub in_force: Arc<Generation>,
}

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
