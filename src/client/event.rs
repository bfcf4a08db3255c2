//! What the journal holds of a client. Events carry the whole state, so that replaying one twice changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use serde::Serialize;

use crate::client::id::ClientId;
use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
use crate::client::registry::ClientRegistry;
use crate::client::secret::{ImportedSecret, SecretDigest};
use crate::client::{Client, Credential};
use crate::clock::UnixTime;
use crate::journal::Entry;
use crate::password::hash::PasswordHash;

/// The `kind` of a journal record that stores a client. Kinds 1 to 15 are this room's.
pub const KIND_STORED: u16 = 1;
/// The `kind` of a journal record that deletes a client.
pub const KIND_DELETED: u16 = 2;
/// The `kind` of a journal record that stores a client whose secret came with a hash.
pub const KIND_IMPORTED: u16 = 3;
/// The kinds of this room with their names.
pub const KINDS: &[(u16, &str)] =
    &[(KIND_STORED, "client_stored"), (KIND_DELETED, "client_deleted"), (KIND_IMPORTED, "client_imported")];
/// The newest `schema` of all of them.
pub const SCHEMA: u16 = 1;

/// A client was registered or changed.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Debug)]
pub(super) struct ClientStored {
    client_id: String,
    generation: u64,
    created_at_ms: u64,
    secret_sha256: Option<[u8; 32]>,
    /// JSON of [`ClientMetadataDocument`]: changes of clients are rare, and a member that a later version adds needs no new
    /// schema.
    metadata: String,
}

/// A client was registered or changed that had a secret before.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct ClientImported {
    stored: ClientStored,
    secret_hash: String,
}

/// A client was deleted; its tokens of an older generation are dead.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Debug)]
pub(super) struct ClientDeleted {
    client_id: String,
    generation: u64,
}

/// A record that cannot be read although its bytes are what was written: of a newer version, or a bug.
#[derive(Debug, thiserror::Error)]
#[error("client record of kind {kind}, schema {schema} cannot be read: {reason}; start the version that wrote it")]
pub struct UnreadableRecord {
    kind: u16,
    schema: u16,
    reason: String,
}

/// The record of a client: its kind and its payload.
pub(crate) fn encode_stored(client: &Client) -> Result<(u16, AlignedVec), rancor::Error> {
    let stored = ClientStored {
        client_id: client.id.as_str().to_owned(),
        generation: client.generation,
        created_at_ms: client.created_at.as_millis(),
        secret_sha256: match client.credential {
            Credential::Generated(digest) => Some(*digest.as_bytes()),
            Credential::Missing | Credential::Configured(_) | Credential::Imported(_) => None,
        },
        metadata: serde_json::to_string(&client.metadata.to_document()).unwrap_or_default(),
    };
    let secret_hash = match &client.credential {
        Credential::Imported(imported) => Some(imported.hash().as_str().to_owned()),
        _ => None,
    };
    encode_with_hash(stored, secret_hash)
}

fn encode_with_hash(stored: ClientStored, secret_hash: Option<String>) -> Result<(u16, AlignedVec), rancor::Error> {
    Ok(match secret_hash {
        None => (KIND_STORED, rkyv::to_bytes(&stored)?),
        Some(secret_hash) => (KIND_IMPORTED, rkyv::to_bytes(&ClientImported { stored, secret_hash })?),
    })
}

pub(crate) fn encode_deleted(client_id: &ClientId, generation: u64) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&ClientDeleted { client_id: client_id.as_str().to_owned(), generation })
}

/// Hands out records that make the registry what it is now, while it changes: a snapshot of this room. What changes meanwhile
/// is in it or not, and is in later records of the journal in any case.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn records_of(registry: &ClientRegistry, push: &mut dyn FnMut(&Entry)) -> Result<(), rancor::Error> {
    let entry = |kind, payload| Entry { kind, schema: SCHEMA, routing_id: 0, payload };
    let mut stored: HashMap<ClientId, u64> = HashMap::new();
    for client in registry.all() {
        let (kind, payload) = encode_stored(&client)?;
        push(&entry(kind, payload));
        stored.insert(client.id.clone(), client.generation);
    }
    for (client_id, generation) in registry.generations() {
        // A generation that no client has is what its deletion left.
        if generation > stored.get(&client_id).copied().unwrap_or_default() {
            push(&entry(KIND_DELETED, encode_deleted(&client_id, generation)?));
        }
    }
    Ok(())
}

/// What a record of this room says, all of it checked.
enum ClientEvent {
    Stored {
        id: ClientId,
        metadata: Box<ClientMetadata>,
        credential: Credential,
        created_at: UnixTime,
        generation: u64,
    },
    Deleted {
        id: ClientId,
        generation: u64,
    },
}

impl ClientEvent {
    /// Reads a record. `None` for a kind that is another room's.
    fn decode(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        let unreadable = |reason: &dyn ToString| UnreadableRecord { kind, schema, reason: reason.to_string() };
        if !matches!(kind, KIND_STORED | KIND_DELETED | KIND_IMPORTED) {
            return Ok(None);
        }
        if schema != SCHEMA {
            return Err(unreadable(&"unknown schema"));
        }
        if kind == KIND_STORED {
            let stored =
                rkyv::from_bytes::<ClientStored, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            return stored.parse(None).map(Some).map_err(|reason| unreadable(&reason));
        }
        if kind == KIND_IMPORTED {
            let imported =
                rkyv::from_bytes::<ClientImported, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            let parsed = imported.stored.parse(Some(&imported.secret_hash));
            return parsed.map(Some).map_err(|reason| unreadable(&reason));
        }
        let deleted = rkyv::from_bytes::<ClientDeleted, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
        let id = ClientId::parse(&deleted.client_id).map_err(|error| unreadable(&error))?;
        Ok(Some(Self::Deleted { id, generation: deleted.generation }))
    }
}

/// A client as one record states it, for a copy that people can query and a server can be rebuilt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// Its `client_id`.
    pub client_id: String,
    /// The generation that is in force from this record on.
    pub generation: u64,
    /// `None` where the record deletes the client.
    pub registration: Option<RegistrationRow>,
}

/// What a [`ClientRow`] says of a client that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRow {
    /// When it was registered.
    pub created_at: UnixTime,
    /// The digest of its generated secret.
    pub secret_sha256: Option<[u8; 32]>,
    /// The hash of its secret, where it came with one.
    pub secret_hash: Option<String>,
    /// JSON of [`ClientMetadataDocument`].
    pub metadata: String,
}

impl ClientRow {
    /// Reads a record and checks all of it, as a replay does. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn decode(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        let Some(event) = ClientEvent::decode(kind, schema, payload)? else { return Ok(None) };
        Ok(Some(match event {
            ClientEvent::Deleted { id, generation } => {
                Self { client_id: id.as_str().to_owned(), generation, registration: None }
            }
            ClientEvent::Stored { id, metadata, credential, created_at, generation } => Self {
                client_id: id.as_str().to_owned(),
                generation,
                registration: Some(RegistrationRow {
                    created_at,
                    secret_sha256: match &credential {
                        Credential::Generated(digest) => Some(*digest.as_bytes()),
                        _ => None,
                    },
                    secret_hash: match &credential {
                        Credential::Imported(imported) => Some(imported.hash().as_str().to_owned()),
                        _ => None,
                    },
                    metadata: serde_json::to_string(&metadata.to_document()).unwrap_or_default(),
                }),
            },
        }))
    }

    /// The record that states this, checked as a replay checks it.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when a replay would refuse it.
    pub fn to_entry(&self) -> Result<Entry, UnreadableRecord> {
        let encoded = match &self.registration {
            None => {
                let Self { client_id, generation, .. } = self.clone();
                let payload = rkyv::to_bytes::<rancor::Error>(&ClientDeleted { client_id, generation });
                payload.map(|payload| (KIND_DELETED, payload))
            }
            Some(RegistrationRow { created_at, secret_sha256, secret_hash, metadata }) => {
                let stored = ClientStored {
                    client_id: self.client_id.clone(),
                    generation: self.generation,
                    created_at_ms: created_at.as_millis(),
                    secret_sha256: *secret_sha256,
                    metadata: metadata.clone(),
                };
                encode_with_hash(stored, secret_hash.clone())
            }
        };
        let (kind, payload) = encoded.map_err(|error| UnreadableRecord {
            kind: KIND_STORED,
            schema: SCHEMA,
            reason: error.to_string(),
        })?;
        ClientEvent::decode(kind, SCHEMA, &payload)?;
        Ok(Entry { kind, schema: SCHEMA, routing_id: 0, payload })
    }
}

impl ClientStored {
    fn parse(&self, secret_hash: Option<&str>) -> Result<ClientEvent, String> {
        let document: ClientMetadataDocument =
            serde_json::from_str(&self.metadata).map_err(|error| error.to_string())?;
        Ok(ClientEvent::Stored {
            id: ClientId::parse(&self.client_id).map_err(|error| error.to_string())?,
            metadata: Box::new(ClientMetadata::parse(&document).map_err(|error| error.to_string())?),
            credential: match (secret_hash, self.secret_sha256) {
                (Some(hash), _) => {
                    let hash = PasswordHash::parse(hash).map_err(|error| error.to_string())?;
                    Credential::Imported(Arc::new(ImportedSecret::new(hash)))
                }
                (None, Some(bytes)) => Credential::Generated(SecretDigest::from_bytes(bytes)),
                (None, None) => Credential::Missing,
            },
            created_at: UnixTime::from_millis(self.created_at_ms),
            generation: self.generation,
        })
    }
}

/// Applies a record of this room to the registry, at recovery. Records of other rooms are none of its business:
/// the answer says whether it was one of ours.
///
/// # Errors
///
/// [`UnreadableRecord`] when the record is ours and cannot be read. Nothing may be skipped: the caller refuses to start.
pub fn replay(registry: &ClientRegistry, kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    match ClientEvent::decode(kind, schema, payload)? {
        None => return Ok(false),
        Some(ClientEvent::Stored { id, metadata, credential, created_at, generation }) => {
            let in_force = registry.generation(&id);
            registry.publish(&Arc::new(Client {
                id,
                metadata: *metadata,
                credential,
                created_at,
                generation,
                in_force,
            }));
        }
        Some(ClientEvent::Deleted { id, generation }) => registry.withdraw(&id, generation),
    }
    Ok(true)
}

/// Whether a record is of this room. Checks all of it, as [`replay`] does.
///
/// # Errors
///
/// [`UnreadableRecord`] when it is ours and cannot be read.
pub fn check(kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    Ok(ClientEvent::decode(kind, schema, payload)?.is_some())
}

/// What a record of this room says, for people: that there is a secret, but nothing of it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum ClientSummary {
    /// A client was registered or changed.
    Stored {
        /// Its `client_id`.
        client_id: String,
        /// See [`Client::generation`].
        generation: u64,
        /// When it was registered, in seconds since the epoch.
        created_at: u64,
        /// The same as RFC 3339 writes it.
        created_at_rfc3339: String,
        /// Whether it has a secret that we made or know a hash of; a secret of the configuration is not journaled.
        has_secret: bool,
        /// See [`Client::metadata`].
        metadata: Box<ClientMetadataDocument>,
    },
    /// A client was deleted.
    Deleted {
        /// Its `client_id`.
        client_id: String,
        /// The generation whose tokens are dead, with all before it.
        generation: u64,
    },
}

impl ClientSummary {
    /// Reads a record as [`replay`] does. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn of(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        Ok(ClientEvent::decode(kind, schema, payload)?.map(|event| match event {
            ClientEvent::Stored { id, metadata, credential, created_at, generation } => Self::Stored {
                client_id: id.as_str().to_owned(),
                generation,
                created_at: created_at.as_seconds(),
                created_at_rfc3339: created_at.to_string(),
                has_secret: !matches!(credential, Credential::Missing),
                metadata: Box::new(metadata.to_document()),
            },
            ClientEvent::Deleted { id, generation } => Self::Deleted { client_id: id.as_str().to_owned(), generation },
        }))
    }
}
