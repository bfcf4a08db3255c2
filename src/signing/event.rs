//! What the journal holds of a key. Events carry the whole state, so that replaying one twice changes nothing.

use rkyv::rancor;
use serde::Serialize;

use crate::clock::UnixTime;
use crate::journal::{Entry, PAYLOAD_BYTES_MAX};
use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::registry::KeyRegistry;

/// The `kind` of a journal record that stores a key. Kinds 48 to 63 are this room's.
pub const KIND_STORED: u16 = 48;
/// The `kind` of a journal record that removes a key.
pub const KIND_REMOVED: u16 = 49;
/// The kinds of this room with their names.
pub const KINDS: &[(u16, &str)] = &[(KIND_STORED, "key_stored"), (KIND_REMOVED, "key_removed")];
/// The newest `schema` of all of them.
pub const SCHEMA: u16 = 1;

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct KeyStored {
    kid: String,
    algorithm: String,
    created_at_ms: u64,
    signs_from_ms: u64,
    tokens_until: u32,
    sealed: String,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct KeyRemoved {
    kid: String,
}

/// A record that cannot be read although its bytes are what was written: of a newer version, or a bug.
#[derive(Debug, thiserror::Error)]
#[error("key record of kind {kind}, schema {schema} cannot be read: {reason}; start the version that wrote it")]
pub struct UnreadableRecord {
    kind: u16,
    schema: u16,
    reason: String,
}

/// What a record of this room says, all of it checked but what only the master key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A key was made, or will be good for longer.
    Stored(StoredKey),
    /// A key was removed.
    Removed {
        /// Which.
        kid: String,
    },
}

/// A key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The thumbprint of its public half (RFC 7638).
    pub kid: String,
    /// What it signs with.
    pub algorithm: SigningAlgorithm,
    /// When it was made or imported.
    pub created_at: UnixTime,
    /// From when on it signs, unless a later key of the algorithm does; it is published from the beginning.
    pub signs_from: UnixTime,
    /// No token that it has signed expires later, in seconds since the epoch.
    pub tokens_until: u32,
    /// The private half as PKCS#8, sealed with the master key.
    pub sealed: String,
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StoredKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl KeyEvent {
    /// The record that says this.
    ///
    /// # Errors
    ///
    /// None in practice: rkyv's signature has one.
    pub fn encode(&self) -> Result<Entry, rancor::Error> {
        let (kind, payload) = match self {
            Self::Stored(key) => (
                KIND_STORED,
                rkyv::to_bytes(&KeyStored {
                    kid: key.kid.clone(),
                    algorithm: key.algorithm.as_str().to_owned(),
                    created_at_ms: key.created_at.as_millis(),
                    signs_from_ms: key.signs_from.as_millis(),
                    tokens_until: key.tokens_until,
                    sealed: key.sealed.clone(),
                })?,
            ),
            Self::Removed { kid } => (KIND_REMOVED, rkyv::to_bytes(&KeyRemoved { kid: kid.clone() })?),
        };
        Ok(Entry { kind, schema: SCHEMA, routing_id: 0, payload })
    }

    /// Reads a record. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn decode(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        let unreadable = |reason: &dyn ToString| UnreadableRecord { kind, schema, reason: reason.to_string() };
        if !matches!(kind, KIND_STORED | KIND_REMOVED) {
            return Ok(None);
        }
        if schema != SCHEMA {
            return Err(unreadable(&"unknown schema"));
        }
        if kind == KIND_REMOVED {
            let removed = rkyv::from_bytes::<KeyRemoved, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
            let kid = parse_kid(removed.kid).map_err(|reason| unreadable(&reason))?;
            return Ok(Some(Self::Removed { kid }));
        }
        let stored = rkyv::from_bytes::<KeyStored, rancor::Error>(payload).map_err(|error| unreadable(&error))?;
        let algorithm = SigningAlgorithm::parse(&stored.algorithm).ok_or_else(|| unreadable(&"unknown algorithm"))?;
        if stored.sealed.len() > PAYLOAD_BYTES_MAX / 2 {
            return Err(unreadable(&"the key is too long"));
        }
        Ok(Some(Self::Stored(StoredKey {
            kid: parse_kid(stored.kid).map_err(|reason| unreadable(&reason))?,
            algorithm,
            created_at: UnixTime::from_millis(stored.created_at_ms),
            signs_from: UnixTime::from_millis(stored.signs_from_ms),
            tokens_until: stored.tokens_until,
            sealed: stored.sealed,
        })))
    }
}

/// A SHA-256 in base64url.
const KID_CHARACTERS: usize = 43;

fn parse_kid(kid: String) -> Result<String, &'static str> {
    let is_allowed = |character: u8| character.is_ascii_alphanumeric() || matches!(character, b'-' | b'_');
    if kid.len() == KID_CHARACTERS && kid.bytes().all(is_allowed) { Ok(kid) } else { Err("a kid is no thumbprint") }
}

/// Hands out records that make the registry what it is now: a snapshot of this room.
///
/// # Errors
///
/// None in practice: rkyv's signature has one.
pub fn records_of(registry: &KeyRegistry, push: &mut dyn FnMut(&Entry)) -> Result<(), rancor::Error> {
    for key in registry.stored() {
        push(&KeyEvent::Stored(key).encode()?);
    }
    Ok(())
}

/// Applies a record of this room to the registry, at recovery. The answer says whether it was one of ours.
///
/// # Errors
///
/// [`UnreadableRecord`] when the record is ours and cannot be read. Nothing may be skipped: the caller refuses to start.
pub fn replay(registry: &KeyRegistry, kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    let event = KeyEvent::decode(kind, schema, payload)?;
    let is_ours = event.is_some();
    if let Some(event) = event {
        registry.recover(event);
    }
    Ok(is_ours)
}

/// Whether a record is of this room. Checks it as [`replay`] does.
///
/// # Errors
///
/// [`UnreadableRecord`] when it is ours and cannot be read.
pub fn check(kind: u16, schema: u16, payload: &[u8]) -> Result<bool, UnreadableRecord> {
    Ok(KeyEvent::decode(kind, schema, payload)?.is_some())
}

/// What a record of this room says, for people: nothing of the private half.
#[derive(Serialize)]
#[serde(untagged)]
pub enum KeySummary {
    /// A key was made, or will be good for longer.
    Stored {
        /// Its `kid`.
        kid: String,
        /// Its `alg`.
        alg: SigningAlgorithm,
        /// As RFC 3339 writes it.
        created_at_rfc3339: String,
        /// As RFC 3339 writes it.
        signs_from_rfc3339: String,
    },
    /// A key was removed.
    Removed {
        /// Its `kid`.
        kid: String,
    },
}

impl KeySummary {
    /// Reads a record as [`replay`] does. `None` for a kind that is another room's.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] when the record is ours and cannot be read.
    pub fn of(kind: u16, schema: u16, payload: &[u8]) -> Result<Option<Self>, UnreadableRecord> {
        Ok(KeyEvent::decode(kind, schema, payload)?.map(|event| match event {
            KeyEvent::Stored(key) => Self::Stored {
                kid: key.kid,
                alg: key.algorithm,
                created_at_rfc3339: key.created_at.to_string(),
                signs_from_rfc3339: key.signs_from.to_string(),
            },
            KeyEvent::Removed { kid } => Self::Removed { kid },
        }))
    }
}
