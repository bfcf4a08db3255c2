//! The private half of a key: `ring` signs with it, parsed once and kept ready.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use rsa::BigUint;
use rsa::pkcs8::{EncodePrivateKey as _, SecretDocument};
use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::public_key::{PublicKey, PublicNumbers};

/// A private key. Never printed; its text is zeroed when dropped.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    NoRandomness,
    /// Neither PEM nor JWK.
    #[error("neither PEM with a PKCS#8 PRIVATE KEY nor a private JWK")]
    Format,
    /// Not a key of this algorithm.
    #[error(
        "no private key for this algorithm: RSA needs 2048 to 4096 bits, EdDSA Ed25519, ES256 P-256 and ES384 P-384"
    )]
    Key,
}

impl PrivateKey {
    /// A new key. One for RSA takes up to a second of a core: not on a thread that answers requests.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError::NoRandomness`].
    pub fn generate(algorithm: SigningAlgorithm, random: &dyn SecureRandom) -> Result<Self, PrivateKeyError> {
        let pkcs8 = match ecdsa_algorithm(algorithm) {
            Some(ecdsa) => EcdsaKeyPair::generate_pkcs8(ecdsa, random).map(|document| document.as_ref().to_vec()),
            None if algorithm == SigningAlgorithm::EdDsa => {
                Ed25519KeyPair::generate_pkcs8(random).map(|document| document.as_ref().to_vec())
            }
            None => return generate_rsa().and_then(|pkcs8| Self::of_pkcs8(algorithm, pkcs8)),
        };
        let pkcs8 = pkcs8.map_err(|_| PrivateKeyError::NoRandomness)?;
        Self::of_pkcs8(algorithm, Zeroizing::new(pkcs8))
    }

    /// A key as PKCS#8 (RFC 5958) in DER.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError::Key`].
    pub fn of_pkcs8(algorithm: SigningAlgorithm, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, PrivateKeyError> {
        let (pair, numbers) = parse(algorithm, &pkcs8)?;
        Ok(Self { pkcs8, public: PublicKey { algorithm, numbers }, pair })
    }

    /// A key as an operator has it: PEM with PKCS#8, or a private JWK (RFC 7517).
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError`].
    pub fn import(algorithm: SigningAlgorithm, text: &str) -> Result<Self, PrivateKeyError> {
        let text = text.trim();
        if text.starts_with('{') {
            let jwk: PrivateJwk = serde_json::from_str(text).map_err(|_| PrivateKeyError::Format)?;
            return Self::of_pkcs8(algorithm, jwk.to_pkcs8(algorithm)?);
        }
        let (label, document) = SecretDocument::from_pem(text).map_err(|_| PrivateKeyError::Format)?;
        if label != "PRIVATE KEY" {
            return Err(PrivateKeyError::Format);
        }
        Self::of_pkcs8(algorithm, Zeroizing::new(document.as_bytes().to_vec()))
    }

    /// The key as it is sealed.
    #[must_use]
    pub fn as_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message and lets `take` have the signature, which is as a JWS has it: of ECDSA both numbers at their full length
    /// (RFC 7518 §3.4).
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn sign<T>(
        &self,
        message: &[u8],
        random: &dyn SecureRandom,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, ring::error::Unspecified> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(take(pair.sign(message).as_ref())),
            Pair::Ecdsa(pair) => Ok(take(pair.sign(random, message)?.as_ref())),
            Pair::Rsa(pair, encoding) => {
                let mut signature = [0; RSA_SIGNATURE_BYTES_MAX];
                let signature = signature.get_mut(..pair.public().modulus_len()).ok_or(ring::error::Unspecified)?;
                pair.sign(*encoding, random, message, signature)?;
                Ok(take(signature))
            }
        }
    }

    /// How long its signatures are, in bytes.
    #[must_use]
    pub fn signature_bytes(&self) -> usize {
        match (&self.pair, self.public.algorithm) {
            (Pair::Rsa(pair, _), _) => pair.public().modulus_len(),
            (_, SigningAlgorithm::Es384) => 96,
            _ => 64,
        }
    }
}

/// Of a key of 4096 bits.
const RSA_SIGNATURE_BYTES_MAX: usize = 512;

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

fn parse(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<(Pair, PublicNumbers), PrivateKeyError> {
    if let Some(ecdsa) = ecdsa_algorithm(algorithm) {
        let random = ring::rand::SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(ecdsa, pkcs8, &random).map_err(|_| PrivateKeyError::Key)?;
        let (_, point) = pair.public_key().as_ref().split_first().ok_or(PrivateKeyError::Key)?;
        let (x, y) = point.split_at(point.len() / 2);
        let numbers = PublicNumbers::Ec { x: x.to_vec(), y: y.to_vec() };
        return Ok((Pair::Ecdsa(pair), numbers));
    }
    if algorithm == SigningAlgorithm::EdDsa {
        // Version 1 of PKCS#8, as OpenSSL writes it, has no public half to check the private one against.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| PrivateKeyError::Key)?;
        let numbers = PublicNumbers::Okp { x: pair.public_key().as_ref().to_vec() };
        return Ok((Pair::Ed25519(pair), numbers));
    }
    let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| PrivateKeyError::Key)?;
    let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
    let encoding: &dyn RsaEncoding =
        if algorithm == SigningAlgorithm::Ps256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
    Ok((Pair::Rsa(pair, encoding), PublicNumbers::Rsa { n, e }))
}

const fn ecdsa_algorithm(algorithm: SigningAlgorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        SigningAlgorithm::Es256 => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
        SigningAlgorithm::Es384 => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
        SigningAlgorithm::EdDsa | SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256 => None,
    }
}

/// `ring` makes no RSA keys. What makes this one never signs with it.
fn generate_rsa() -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS);
    rsa_to_pkcs8(&key.map_err(|_| PrivateKeyError::NoRandomness)?)
}

const RSA_BITS: usize = 2048;

fn rsa_to_pkcs8(key: &rsa::RsaPrivateKey) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let document = key.to_pkcs8_der().map_err(|_| PrivateKeyError::Key)?;
    Ok(Zeroizing::new(document.as_bytes().to_vec()))
}

/// The members of a private JWK (RFC 7518 §6, RFC 8037 §2) that a key is made of.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct PrivateJwk {
    kty: String,
    crv: Option<String>,
    d: String,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    p: Option<String>,
    q: Option<String>,
}

impl PrivateJwk {
    fn to_pkcs8(&self, algorithm: SigningAlgorithm) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
        let d = bytes(Some(&self.d))?;
        match (algorithm, self.kty.as_str(), self.crv.as_deref()) {
            (SigningAlgorithm::EdDsa, "OKP", Some("Ed25519")) => {
                let x = bytes(self.x.as_ref())?;
                let key = Ed25519KeyPair::from_seed_and_public_key(&d, &x);
                key.map_err(|_| PrivateKeyError::Key)?;
                Ok(joined(&[ED25519_BEFORE_PRIVATE, &d]))
            }
            (SigningAlgorithm::Es256, "EC", Some("P-256")) => self.ec_to_pkcs8(&d, P256_TEMPLATE, 32),
            (SigningAlgorithm::Es384, "EC", Some("P-384")) => self.ec_to_pkcs8(&d, P384_TEMPLATE, 48),
            (SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256, "RSA", _) => {
                let number = |text: Option<&String>| bytes(text).map(|bytes| BigUint::from_bytes_be(&bytes));
                let primes = vec![number(self.p.as_ref())?, number(self.q.as_ref())?];
                let (n, e) = (number(self.n.as_ref())?, number(self.e.as_ref())?);
                let key = rsa::RsaPrivateKey::from_components(n, e, BigUint::from_bytes_be(&d), primes);
                rsa_to_pkcs8(&key.map_err(|_| PrivateKeyError::Key)?)
            }
            _ => Err(PrivateKeyError::Key),
        }
    }

    fn ec_to_pkcs8(
        &self,
        d: &[u8],
        [before_private, before_public]: [&[u8]; 2],
        field_bytes: usize,
    ) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
        let (x, y) = (bytes(self.x.as_ref())?, bytes(self.y.as_ref())?);
        if [d.len(), x.len(), y.len()] != [field_bytes; 3] {
            return Err(PrivateKeyError::Key);
        }
        Ok(joined(&[before_private, d, before_public, &x, &y]))
    }
}

fn bytes(text: Option<&String>) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(text.ok_or(PrivateKeyError::Format)?);
    bytes.map(Zeroizing::new).map_err(|_| PrivateKeyError::Format)
}

fn joined(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(parts.concat())
}

/// What stands in PKCS#8 before an Ed25519 key (RFC 8410 §7).
const ED25519_BEFORE_PRIVATE: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// What stands in PKCS#8 before the private and the public half of a key of P-256 (RFC 5915 §3).
const P256_TEMPLATE: [&[u8]; 2] = [
    b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
      \x04\x6d\x30\x6b\x02\x01\x01\x04\x20",
    b"\xa1\x44\x03\x42\x00\x04",
];
/// The same for P-384.
const P384_TEMPLATE: [&[u8]; 2] = [
    b"\x30\x81\xb6\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\
      \x04\x81\x9e\x30\x81\x9b\x02\x01\x01\x04\x30",
    b"\xa1\x64\x03\x62\x00\x04",
];
