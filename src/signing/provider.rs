//! `ring` behind `jsonwebtoken`. Its factories are called for each signature, so what signs often has a
//! [`PrivateKey`] of its own and does not come here; verification of what others sign does.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, UnparsedPublicKey, VerificationAlgorithm,
};

use zeroize::Zeroizing;

use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::private_key::PrivateKey;

/// Makes `jsonwebtoken` use `ring`, in the whole process. A second call changes nothing.
pub fn install() {
    let _ = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(RingSigner::new(*algorithm, key)?)),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier::new(*algorithm, key)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

struct RingSigner {
    algorithm: Algorithm,
    key: PrivateKey,
}

impl RingSigner {
    fn new(algorithm: Algorithm, key: &EncodingKey) -> Result<Self> {
        let ours = ours(algorithm).filter(|_| key.family() == algorithm.family());
        let ours = ours.ok_or(ErrorKind::InvalidAlgorithm)?;
        let key = PrivateKey::of_pkcs8(ours, Zeroizing::new(key.as_bytes().to_vec()));
        Ok(Self { algorithm, key: key.map_err(|_| ErrorKind::InvalidKeyFormat)? })
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        self.key.sign(message, &SystemRandom::new(), <[u8]>::to_vec).map_err(|_| Error::new())
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

pub(super) struct RingVerifier {
    algorithm: Algorithm,
    ours: SigningAlgorithm,
    key: DecodingKey,
}

impl RingVerifier {
    pub(super) fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        let ours = ours(algorithm).filter(|_| key.family() == algorithm.family());
        Ok(Self { algorithm, ours: ours.ok_or(ErrorKind::InvalidAlgorithm)?, key: key.clone() })
    }

    fn verify_with(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<()> {
        let key = UnparsedPublicKey::new(algorithm, self.key.try_get_as_bytes().ok()?);
        key.verify(message, signature).ok()
    }

    fn verify_rsa(&self, parameters: &'static RsaParameters, message: &[u8], signature: &[u8]) -> Option<()> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(_) => self.verify_with(parameters, message, signature),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                PublicKeyComponents { n, e }.verify(parameters, message, signature).ok()
            }
        }
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match self.ours {
            SigningAlgorithm::EdDsa => self.verify_with(&ED25519, message, signature),
            SigningAlgorithm::Es256 => self.verify_with(&ECDSA_P256_SHA256_FIXED, message, signature),
            SigningAlgorithm::Es384 => self.verify_with(&ECDSA_P384_SHA384_FIXED, message, signature),
            SigningAlgorithm::Rs256 => self.verify_rsa(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            SigningAlgorithm::Ps256 => self.verify_rsa(&RSA_PSS_2048_8192_SHA256, message, signature),
        };
        verified.ok_or_else(Error::new)
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// What the other crate calls an algorithm.
pub(super) const fn theirs(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::Es384 => Algorithm::ES384,
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Ps256 => Algorithm::PS256,
    }
}

fn ours(algorithm: Algorithm) -> Option<SigningAlgorithm> {
    SigningAlgorithm::ALL.into_iter().find(|ours| theirs(*ours) == algorithm)
}
