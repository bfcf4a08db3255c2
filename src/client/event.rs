//! What the journal holds of a client. Events carry the whole state, so that replaying one twice changes nothing.

use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::client::id::ClientId;
use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
use crate::client::registry::ClientRegistry;
use crate::client::secret::SecretDigest;
use crate::client::{Client, Credential};
use crate::clock::UnixTime;

/// The `kind` of a journal record that stores a client. Kinds 1 to 15 are this room's.
pub const KIND_STORED: u16 = 1;
/// The `kind` of a journal record that deletes a client.
pub const KIND_DELETED: u16 = 2;
/// The newest `schema` of both.
pub const SCHEMA: u16 = 1;

/// A client was registered or changed.
#[derive(Archive, Serialize, Deserialize, Debug)]
pub(super) struct ClientStored {
    client_id: String,
    generation: u64,
    created_at_ms: u64,
    secret_sha256: Option<[u8; 32]>,
    /// JSON of [`ClientMetadataDocument`]: changes of clients are rare, and a member that a later version adds needs no new
    /// schema.
    metadata: String,
}

/// A client was deleted; its tokens of an older generation are dead.
#[derive(Archive, Serialize, Deserialize, Debug)]
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

pub(crate) fn encode_stored(client: &Client) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&ClientStored {
        client_id: client.id.as_str().to_owned(),
        generation: client.generation,
        created_at_ms: client.created_at.as_millis(),
        secret_sha256: match client.credential {
            Credential::Generated(digest) => Some(*digest.as_bytes()),
            Credential::Missing | Credential::Configured(_) => None,
        },
        metadata: serde_json::to_string(&client.metadata.to_document()).unwrap_or_default(),
    })
}

pub(crate) fn encode_deleted(client_id: &ClientId, generation: u64) -> Result<AlignedVec, rancor::Error> {
    rkyv::to_bytes(&ClientDeleted { client_id: client_id.as_str().to_owned(), generation })
}

/// Applies a record of this room to the registry, at recovery. Records of other rooms are none of its business:
/// the answer says whether it was one of ours.
///
/// # Errors
///
/// [`UnreadableRecord`] when the record is ours and cannot be read. Nothing may be skipped: the caller refuses to start.
pub fn replay(registry: &ClientRegistry, kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    let unreadable = |reason: &dyn ToString| UnreadableRecord { kind, schema, reason: reason.to_string() };
    if !matches!(kind, KIND_STORED | KIND_DELETED) {
        return Ok(false);
    }
    if schema != SCHEMA {
        return Err(unreadable(&"unknown schema"));
    }
    if kind == KIND_STORED {
        let stored = rkyv::from_bytes::<ClientStored, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
        let client = restore(registry, &stored).map_err(|reason| unreadable(&reason))?;
        registry.publish(&Arc::new(client));
    } else {
        let deleted = rkyv::from_bytes::<ClientDeleted, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
        let client_id = ClientId::parse(&deleted.client_id).map_err(|error| unreadable(&error))?;
        registry.withdraw(&client_id, deleted.generation);
    }
    Ok(true)
}

fn restore(registry: &ClientRegistry, stored: &ClientStored) -> Result<Client, String> {
    let id = ClientId::parse(&stored.client_id).map_err(|error| error.to_string())?;
    let document: ClientMetadataDocument = serde_json::from_str(&stored.metadata).map_err(|error| error.to_string())?;
    Ok(Client {
        in_force: registry.generation(&id),
        id,
        metadata: ClientMetadata::parse(&document).map_err(|error| error.to_string())?,
        credential: stored
            .secret_sha256
            .map_or(Credential::Missing, |bytes| Credential::Generated(SecretDigest::from_bytes(bytes))),
        created_at: UnixTime::from_millis(stored.created_at_ms),
        generation: stored.generation,
    })
}
