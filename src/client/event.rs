//! What the journal holds of a client. Events carry the whole state, so that replaying one twice changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use serde::Serialize;

use crate::client::id::ClientId;
use crate::client::initial_access::{InitialAccessId, InitialAccessToken, LABEL_BYTES_MAX};
use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
use crate::client::registration::Registration;
use crate::client::registration_policy::{RegistrationPolicy, RegistrationPolicyDocument};
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
/// The `kind` of a journal record that stores a client which has registered itself.
pub const KIND_REGISTERED: u16 = 4;
/// The `kind` of a journal record that stores an initial access token.
pub const KIND_INITIAL_ACCESS_STORED: u16 = 5;
/// The `kind` of a journal record that revokes an initial access token.
pub const KIND_INITIAL_ACCESS_REVOKED: u16 = 6;
/// The kinds of this room with their names.
pub const KINDS: &[(u16, &str)] = &[
    (KIND_STORED, "client_stored"),
    (KIND_DELETED, "client_deleted"),
    (KIND_IMPORTED, "client_imported"),
    (KIND_REGISTERED, "client_registered"),
    (KIND_INITIAL_ACCESS_STORED, "initial_access_stored"),
    (KIND_INITIAL_ACCESS_REVOKED, "initial_access_revoked"),
];
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

/// A client has registered itself, or one that has was changed. Counts as the use of an initial access token too, so that both
/// are in the journal or neither.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct ClientRegistered {
    stored: ClientStored,
    initial_access: u64,
    number: u32,
    used_at_ms: u64,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct InitialAccessStored {
    id: u64,
    sha256: [u8; 32],
    label: Option<String>,
    created_at_ms: u64,
    expires_at_ms: u64,
    registrations_max: Option<u32>,
    registrations: u32,
    /// JSON of [`RegistrationPolicyDocument`].
    policy: String,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(super) struct InitialAccessRevoked {
    id: u64,
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
    let registration = client.registration.as_deref().map(DynamicRow::of);
    encode_with(stored, secret_hash, registration)
}

fn encode_with(
    stored: ClientStored,
    secret_hash: Option<String>,
    dynamic: Option<DynamicRow>,
) -> Result<(u16, AlignedVec), rancor::Error> {
    Ok(match (dynamic, secret_hash) {
        (Some(DynamicRow { initial_access, number, used_at }), _) => {
            let (initial_access, used_at_ms) = (initial_access.value(), used_at.as_millis());
            (KIND_REGISTERED, rkyv::to_bytes(&ClientRegistered { stored, initial_access, number, used_at_ms })?)
        }
        (None, None) => (KIND_STORED, rkyv::to_bytes(&stored)?),
        (None, Some(secret_hash)) => (KIND_IMPORTED, rkyv::to_bytes(&ClientImported { stored, secret_hash })?),
    })
}

/// The record of an initial access token.
pub(crate) fn encode_initial_access(token: &InitialAccessToken) -> Result<Entry, rancor::Error> {
    let payload = rkyv::to_bytes(&InitialAccessStored {
        id: token.id.value(),
        sha256: *token.digest.as_bytes(),
        label: token.label.clone(),
        created_at_ms: token.created_at.as_millis(),
        expires_at_ms: token.expires_at.as_millis(),
        registrations_max: token.registrations_max,
        registrations: token.registrations,
        policy: serde_json::to_string(&token.policy.to_document()).unwrap_or_default(),
    })?;
    Ok(Entry { kind: KIND_INITIAL_ACCESS_STORED, schema: SCHEMA, routing_id: 0, payload })
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
    // Before the clients, whose records count on.
    for token in registry.all_initial_access() {
        push(&encode_initial_access(&token)?);
    }
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
        dynamic: Option<DynamicRow>,
    },
    Deleted {
        id: ClientId,
        generation: u64,
    },
    InitialAccessStored(Arc<InitialAccessToken>),
    InitialAccessRevoked(InitialAccessId),
}

impl ClientEvent {
    /// Reads a record. `None` for a kind that is another room's.
    fn decode(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        let unreadable = |reason: &dyn ToString| UnreadableRecord { kind, schema, reason: reason.to_string() };
        if !KINDS.iter().any(|(own, _)| *own == kind) {
            return Ok(None);
        }
        if schema != SCHEMA {
            return Err(unreadable(&"unknown schema"));
        }
        if kind == KIND_STORED {
            let stored =
                rkyv::from_bytes::<ClientStored, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            return stored.parse(None, None).map(Some).map_err(|reason| unreadable(&reason));
        }
        if kind == KIND_REGISTERED {
            let registered =
                rkyv::from_bytes::<ClientRegistered, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            let dynamic = DynamicRow {
                initial_access: InitialAccessId::new(registered.initial_access),
                number: registered.number,
                used_at: UnixTime::from_millis(registered.used_at_ms),
            };
            return registered.stored.parse(None, Some(dynamic)).map(Some).map_err(|reason| unreadable(&reason));
        }
        if kind == KIND_INITIAL_ACCESS_STORED {
            let stored =
                rkyv::from_bytes::<InitialAccessStored, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            return stored.parse().map(Some).map_err(|reason| unreadable(&reason));
        }
        if kind == KIND_INITIAL_ACCESS_REVOKED {
            let revoked =
                rkyv::from_bytes::<InitialAccessRevoked, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            return Ok(Some(Self::InitialAccessRevoked(InitialAccessId::new(revoked.id))));
        }
        if kind == KIND_IMPORTED {
            let imported =
                rkyv::from_bytes::<ClientImported, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            let parsed = imported.stored.parse(Some(&imported.secret_hash), None);
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
    /// How it has registered itself; `None` where an operator has registered it.
    pub dynamic: Option<DynamicRow>,
}

/// What a [`RegistrationRow`] says of a client that has registered itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicRow {
    /// With which initial access token.
    pub initial_access: InitialAccessId,
    /// As which of those that did, from 1 on.
    pub number: u32,
    /// When it was last of use, about.
    pub used_at: UnixTime,
}

impl DynamicRow {
    fn of(registration: &Registration) -> Self {
        let Registration { token: initial_access, number, .. } = *registration;
        Self { initial_access, number, used_at: registration.used_at() }
    }
}

/// What a record says of an initial access token, for a copy that people can query and a server can be rebuilt from.
#[derive(Clone, Debug)]
pub enum InitialAccessRow {
    /// It is there.
    Stored(Arc<InitialAccessToken>),
    /// It was revoked.
    Revoked(InitialAccessId),
}

impl InitialAccessRow {
    /// Reads a record and checks all of it, as a replay does. `None` for any other kind.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is one and cannot be read.
    pub fn decode(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        if !matches!(kind, KIND_INITIAL_ACCESS_STORED | KIND_INITIAL_ACCESS_REVOKED) {
            return Ok(None);
        }
        Ok(match ClientEvent::decode(kind, schema, payload)? {
            Some(ClientEvent::InitialAccessStored(token)) => Some(Self::Stored(token)),
            Some(ClientEvent::InitialAccessRevoked(id)) => Some(Self::Revoked(id)),
            _ => None,
        })
    }

    /// The record that says this.
    ///
    /// # Errors
    ///
    /// None in practice: rkyv's signature has one.
    pub fn to_entry(&self) -> Result<Entry, rancor::Error> {
        match self {
            Self::Stored(token) => encode_initial_access(token),
            Self::Revoked(id) => {
                let payload = rkyv::to_bytes(&InitialAccessRevoked { id: id.value() })?;
                Ok(Entry { kind: KIND_INITIAL_ACCESS_REVOKED, schema: SCHEMA, routing_id: 0, payload })
            }
        }
    }
}

impl ClientRow {
    /// Reads a record about a client and checks all of it, as a replay does. `None` for any other kind.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn decode(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        let Some(event) = ClientEvent::decode(kind, schema, payload)? else { return Ok(None) };
        Ok(Some(match event {
            ClientEvent::InitialAccessStored(_) | ClientEvent::InitialAccessRevoked(_) => return Ok(None),
            ClientEvent::Deleted { id, generation } => {
                Self { client_id: id.as_str().to_owned(), generation, registration: None }
            }
            ClientEvent::Stored { id, metadata, credential, created_at, generation, dynamic } => Self {
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
                    dynamic,
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
            Some(RegistrationRow { created_at, secret_sha256, secret_hash, metadata, dynamic }) => {
                let stored = ClientStored {
                    client_id: self.client_id.clone(),
                    generation: self.generation,
                    created_at_ms: created_at.as_millis(),
                    secret_sha256: *secret_sha256,
                    metadata: metadata.clone(),
                };
                encode_with(stored, secret_hash.clone(), *dynamic)
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
    fn parse(&self, secret_hash: Option<&str>, dynamic: Option<DynamicRow>) -> Result<ClientEvent, String> {
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
            dynamic,
        })
    }
}

impl InitialAccessStored {
    fn parse(&self) -> Result<ClientEvent, String> {
        if self.label.as_ref().is_some_and(|label| label.len() > LABEL_BYTES_MAX) {
            return Err("the label is too long".to_owned());
        }
        let policy: RegistrationPolicyDocument =
            serde_json::from_str(&self.policy).map_err(|error| error.to_string())?;
        Ok(ClientEvent::InitialAccessStored(Arc::new(InitialAccessToken {
            id: InitialAccessId::new(self.id),
            digest: SecretDigest::from_bytes(self.sha256),
            label: self.label.clone(),
            created_at: UnixTime::from_millis(self.created_at_ms),
            expires_at: UnixTime::from_millis(self.expires_at_ms),
            registrations_max: self.registrations_max,
            registrations: self.registrations,
            policy: Arc::new(RegistrationPolicy::parse(&policy).map_err(|error| error.to_string())?),
        })))
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
        Some(ClientEvent::InitialAccessStored(token)) => registry.publish_initial_access(&token),
        Some(ClientEvent::InitialAccessRevoked(id)) => registry.withdraw_initial_access(id),
        Some(ClientEvent::Stored { id, metadata, credential, created_at, generation, dynamic }) => {
            let in_force = registry.generation(&id);
            let registration = dynamic.map(|DynamicRow { initial_access, number, used_at }| {
                registry.recover_registrations(initial_access, number);
                let before = registry.find(id.as_str()).and_then(|client| client.registration.clone());
                let is_same = |own: &Arc<Registration>| (own.token, own.number) == (initial_access, number);
                // All that a client is one after the other shares one.
                match before.filter(is_same) {
                    Some(registration) => {
                        registration.recover_use(used_at);
                        registration
                    }
                    None => Arc::new(Registration::new(initial_access, number, used_at)),
                }
            });
            registry.publish(&Arc::new(Client {
                id,
                metadata: *metadata,
                credential,
                created_at,
                generation,
                in_force,
                registration,
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
        /// With which initial access token it has registered itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        initial_access_token: Option<InitialAccessId>,
        /// When one that has registered itself was last of use, about, as RFC 3339 writes it.
        #[serde(skip_serializing_if = "Option::is_none")]
        used_at_rfc3339: Option<String>,
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
    /// An initial access token was made.
    InitialAccessStored {
        /// Which.
        initial_access_token: InitialAccessId,
        /// For whom or for what.
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// As RFC 3339 writes it.
        created_at_rfc3339: String,
        /// As RFC 3339 writes it.
        expires_at_rfc3339: String,
        /// How many may register with it, if that is bounded.
        #[serde(skip_serializing_if = "Option::is_none")]
        registrations_max: Option<u32>,
        /// How many have.
        registrations: u32,
        /// What they may be.
        policy: Box<RegistrationPolicyDocument>,
    },
    /// An initial access token was revoked.
    InitialAccessRevoked {
        /// Which.
        initial_access_token: InitialAccessId,
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
            ClientEvent::InitialAccessStored(token) => Self::InitialAccessStored {
                initial_access_token: token.id,
                label: token.label.clone(),
                created_at_rfc3339: token.created_at.to_string(),
                expires_at_rfc3339: token.expires_at.to_string(),
                registrations_max: token.registrations_max,
                registrations: token.registrations,
                policy: Box::new(token.policy.to_document()),
            },
            ClientEvent::InitialAccessRevoked(id) => Self::InitialAccessRevoked { initial_access_token: id },
            ClientEvent::Stored { id, metadata, credential, created_at, generation, dynamic } => Self::Stored {
                client_id: id.as_str().to_owned(),
                generation,
                created_at: created_at.as_seconds(),
                created_at_rfc3339: created_at.to_string(),
                has_secret: !matches!(credential, Credential::Missing),
                initial_access_token: dynamic.map(|dynamic| dynamic.initial_access),
                used_at_rfc3339: dynamic.map(|dynamic| dynamic.used_at.to_string()),
                metadata: Box::new(metadata.to_document()),
            },
            ClientEvent::Deleted { id, generation } => Self::Deleted { client_id: id.as_str().to_owned(), generation },
        }))
    }
}
