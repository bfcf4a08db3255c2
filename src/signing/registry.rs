//! Where workers find the keys, without a lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::UnixTime;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::event::{KeyEvent, StoredKey};
use crate::signing::jws::JwsHeader;
use crate::signing::private_key::PrivateKey;
use crate::signing::public_key::Jwk;
use crate::signing::seal::{Purpose, Sealer};

/// The keys as the journal has them: what stands here is durable. Read by every worker, written by
/// [`KeyActor`](crate::signing::actor::KeyActor) alone.
#[derive(Debug, Default)]
pub struct KeyRegistry {
    /// As they are kept. The lock is for the one writer and for snapshots.
    stored: Mutex<BTreeMap<String, StoredKey>>,
    ready: ArcSwap<KeySet>,
}

/// A key that is ready to sign.
pub struct SigningKey {
    /// Its `kid`.
    pub kid: String,
    /// From when on it signs.
    pub signs_from: UnixTime,
    /// When it was made or imported.
    pub created_at: UnixTime,
    /// The parsed key.
    pub key: PrivateKey,
    /// The header of access tokens (RFC 9068 §2.1).
    pub access_token_header: JwsHeader,
    /// The header of ID tokens (`OpenID` Connect Core §2).
    pub id_token_header: JwsHeader,
    tokens_until: AtomicU32,
}

/// The keys at one moment.
#[derive(Debug, Default)]
pub struct KeySet {
    /// In the order in which they sign, and of their `kid`.
    keys: Vec<Arc<SigningKey>>,
    /// The JWK Set (RFC 7517 §5) that tells of all of them.
    pub jwks: JwksDocument,
}

/// A document with what tells it from others.
#[derive(Clone, Debug, Default)]
pub struct JwksDocument {
    /// JSON.
    pub body: String,
    /// With its quotes (RFC 9110 §8.8.3).
    pub etag: String,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Others learn of it before it signs.
    Published,
    /// It signs.
    Signing,
    /// Another signs; tokens that it has signed are still good.
    Retired,
}

/// A key that is kept does not open: the master key is another, or the bytes were changed.
#[derive(Debug, thiserror::Error)]
#[error("the key {kid} cannot be opened with this master key")]
pub struct UnopenedKey {
    kid: String,
}

impl KeyRegistry {
    /// The keys now. Cheap: no lock, no count that workers share.
    pub fn keys(&self) -> arc_swap::Guard<Arc<KeySet>> {
        self.ready.load()
    }

    /// The keys as they are kept.
    pub(super) fn stored(&self) -> Vec<StoredKey> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes a record of the journal or of a snapshot; no key is ready before [`Self::open`].
    pub(super) fn recover(&self, event: KeyEvent) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            KeyEvent::Stored(key) => drop(stored.insert(key.kid.clone(), key)),
            KeyEvent::Removed { kid } => drop(stored.remove(&kid)),
        }
    }

    /// Makes every key ready that is kept.
    ///
    /// # Errors
    ///
    /// [`UnopenedKey`] for one that this master key does not open.
    pub fn open(&self, sealer: &Sealer, now: UnixTime) -> Result<(), UnopenedKey> {
        let keys = self.stored().into_iter().map(|stored| SigningKey::open(&stored, sealer, now).map(Arc::new));
        self.show(keys.collect::<Result<_, _>>()?);
        Ok(())
    }

    /// Shows what is durable.
    pub(super) fn publish(&self, event: KeyEvent, ready: Option<Arc<SigningKey>>) {
        let kid = match &event {
            KeyEvent::Stored(key) => key.kid.clone(),
            KeyEvent::Removed { kid } => kid.clone(),
        };
        self.recover(event);
        let others = self.keys().keys.iter().filter(|key| key.kid != kid).cloned().collect::<Vec<_>>();
        self.show(others.into_iter().chain(ready).collect());
    }

    fn show(&self, keys: Vec<Arc<SigningKey>>) {
        self.ready.store(Arc::new(KeySet::new(keys)));
    }
}

impl SigningKey {
    /// A key that is kept, ready to sign.
    pub(super) fn open(stored: &StoredKey, sealer: &Sealer, now: UnixTime) -> Result<Self, UnopenedKey> {
        let unopened = || UnopenedKey { kid: stored.kid.clone() };
        let opened = sealer.open(Purpose::SigningKey, &stored.sealed, u32::MAX, now).map_err(|_| unopened())?;
        let key = PrivateKey::of_pkcs8(stored.algorithm, Zeroizing::new(opened.content)).map_err(|_| unopened())?;
        Some(Self::new(key, stored)).filter(|key| key.key.public().thumbprint() == stored.kid).ok_or_else(unopened)
    }

    pub(super) fn new(key: PrivateKey, stored: &StoredKey) -> Self {
        Self {
            kid: stored.kid.clone(),
            signs_from: stored.signs_from,
            created_at: stored.created_at,
            access_token_header: JwsHeader::new("at+jwt", &key),
            id_token_header: JwsHeader::new("JWT", &key),
            tokens_until: AtomicU32::new(stored.tokens_until),
            key,
        }
    }

    /// A key that signs from `now` on and of which nothing is kept.
    #[cfg(test)]
    pub(crate) fn of_test(key: PrivateKey, now: UnixTime) -> Self {
        let (kid, algorithm) = (key.public().thumbprint(), key.public().algorithm);
        let sealed = String::new();
        Self::new(key, &StoredKey { kid, algorithm, created_at: now, signs_from: now, tokens_until: 0, sealed })
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.key.public().algorithm
    }

    /// Until when it may sign tokens that expire then: what is signed beyond this needs
    /// [`CoverTokens`](crate::signing::actor::CoverTokens) first.
    pub fn tokens_until(&self) -> u32 {
        self.tokens_until.load(Ordering::Acquire)
    }

    pub(super) fn raise_tokens_until(&self, tokens_until: u32) {
        self.tokens_until.fetch_max(tokens_until, Ordering::AcqRel);
    }
}

impl KeySet {
    fn new(mut keys: Vec<Arc<SigningKey>>) -> Self {
        keys.sort_by(|left, right| (left.signs_from, &left.kid).cmp(&(right.signs_from, &right.kid)));
        let jwks = JwksDocument::new(&keys);
        Self { keys, jwks }
    }

    /// Keys of which nothing is kept.
    #[cfg(test)]
    pub(crate) fn of_test(keys: impl IntoIterator<Item = SigningKey>) -> Self {
        Self::new(keys.into_iter().map(Arc::new).collect())
    }

    /// The key that signs now.
    #[must_use]
    pub fn signing(&self, algorithm: SigningAlgorithm, now: UnixTime) -> Option<&Arc<SigningKey>> {
        self.keys.iter().rev().find(|key| key.algorithm() == algorithm && key.signs_from <= now)
    }

    /// The key with this `kid`, whether it signs or not.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&Arc<SigningKey>> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// Every key with where it is in its life, in the order in which they sign.
    pub fn all(&self, now: UnixTime) -> impl Iterator<Item = (&Arc<SigningKey>, KeyState)> {
        self.keys.iter().map(move |key| (key, self.state(key, now)))
    }

    fn state(&self, key: &Arc<SigningKey>, now: UnixTime) -> KeyState {
        if key.signs_from > now {
            return KeyState::Published;
        }
        match self.signing(key.algorithm(), now) {
            Some(signing) if signing.kid == key.kid => KeyState::Signing,
            _ => KeyState::Retired,
        }
    }

    /// Whether there is a key of which no token is good any more.
    #[must_use]
    pub fn has_spent(&self, now: UnixTime) -> bool {
        !self.spent(now).is_empty()
    }

    /// The keys of which no token is good any more: retired, and every token that they signed has expired.
    pub(super) fn spent(&self, now: UnixTime) -> Vec<String> {
        let is_spent = |key: &SigningKey| key.tokens_until() <= now.as_seconds_u32();
        let retired = self.all(now).filter(|(key, state)| *state == KeyState::Retired && is_spent(key));
        retired.map(|(key, _)| key.kid.clone()).collect()
    }
}

impl JwksDocument {
    fn new(keys: &[Arc<SigningKey>]) -> Self {
        #[derive(Serialize)]
        struct JwkSet {
            keys: Vec<Jwk>,
        }
        let keys = keys.iter().map(|key| key.key.public().to_jwk()).collect();
        let body = serde_json::to_string(&JwkSet { keys }).unwrap_or_default();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&SHA256, body.as_bytes())));
        Self { body, etag }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}
