//! Client secrets: shown once, kept as a digest.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SecureRandom;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::password::hash::PasswordHash;

/// A client secret (RFC 6749 §2.3.1) in the clear, on its way to its owner. Never printed, zeroed when dropped.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// A new secret of 256 random bits.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random.fill(bytes.as_mut())?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    /// The text of it, to be shown to its owner and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientSecret(..)")
    }
}

/// SHA-256 of a client secret. A fast hash is right for a secret of 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The digest with those bytes, as the journal holds it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `presented` is the secret. Takes the same time whether it is, and whether `expected` is there at all.
    #[must_use]
    pub fn verify(expected: Option<&Self>, presented: &str) -> bool {
        let presented = Self::of(presented);
        let is_equal = expected.unwrap_or(&NOBODYS).0.ct_eq(&presented.0);
        bool::from(is_equal) && expected.is_some()
    }
}

/// Stands in for the digest of a client that is not there; no secret is known that hashes to it.
const NOBODYS: SecretDigest = SecretDigest([0; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretDigest(..)")
    }
}

/// A secret that another system made, or a person chose, and of which only a hash is known. Once it has been presented and
/// proven its digest is remembered, in memory alone, and compared like that of any other secret from then on.
#[derive(Debug)]
pub struct ImportedSecret {
    hash: PasswordHash,
    proven: OnceLock<SecretDigest>,
    is_being_checked: AtomicBool,
}

/// The right to check a secret: there is one for each client, so that wrong secrets can take no more than a thread's share.
#[derive(Debug)]
pub struct SecretCheck<'a>(&'a ImportedSecret);

impl ImportedSecret {
    /// A secret that has not been presented yet.
    #[must_use]
    pub const fn new(hash: PasswordHash) -> Self {
        Self { hash, proven: OnceLock::new(), is_being_checked: AtomicBool::new(false) }
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> &PasswordHash {
        &self.hash
    }

    /// The digest of the secret, if that has been proven.
    #[must_use]
    pub fn proven(&self) -> Option<&SecretDigest> {
        self.proven.get()
    }

    /// The right to check it, unless somebody has it.
    #[must_use]
    pub fn begin_check(&self) -> Option<SecretCheck<'_>> {
        let was_being_checked = self.is_being_checked.swap(true, Ordering::Acquire);
        (!was_being_checked).then_some(SecretCheck(self))
    }
}

impl SecretCheck<'_> {
    /// Remembers a secret whose hash this is.
    pub fn prove(&self, secret: &str) {
        let _ = self.0.proven.set(SecretDigest::of(secret));
    }
}

impl Drop for SecretCheck<'_> {
    fn drop(&mut self) {
        self.0.is_being_checked.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_verifies() {
        let secret = ClientSecret::random(&ring::rand::SystemRandom::new()).unwrap();
        let digest = SecretDigest::of(secret.reveal());
        assert!(SecretDigest::verify(Some(&digest), secret.reveal()));
        assert!(!SecretDigest::verify(Some(&digest), &secret.reveal()[1..]));
        assert!(!SecretDigest::verify(Some(&digest), ""));
        assert!(!SecretDigest::verify(None, secret.reveal()));
    }

    #[test]
    fn an_imported_secret_is_checked_by_one_at_a_time_and_remembered() {
        let hash = PasswordHash::parse("$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm").unwrap();
        let imported = ImportedSecret::new(hash);
        let check = imported.begin_check().unwrap();
        assert!(imported.begin_check().is_none() && imported.proven().is_none());
        drop(check);
        imported.begin_check().unwrap().prove("correct horse");
        assert!(SecretDigest::verify(imported.proven(), "correct horse"));
        assert!(!SecretDigest::verify(imported.proven(), "correct horsf"));
    }

    #[test]
    fn a_secret_has_256_bits_and_does_not_print() {
        let secret = ClientSecret::random(&ring::rand::SystemRandom::new()).unwrap();
        assert_eq!(secret.reveal().len(), 43);
        assert_eq!(format!("{secret:?} {:?}", SecretDigest::of("a")), "ClientSecret(..) SecretDigest(..)");
    }
}
