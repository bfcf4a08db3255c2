//! Signed texts: the compact serialization (RFC 7515 §7.1), written here because the key is kept parsed and the header encoded.

use base64_simd::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::signing::private_key::PrivateKey;

/// A header that all texts of one key and one `typ` share.
#[derive(Clone, Debug)]
pub struct JwsHeader {
    /// With the dot behind it.
    encoded: String,
    /// How long the signatures of the key are, encoded and with the dot before them.
    signature_characters: usize,
}

impl JwsHeader {
    /// The header of texts of this `typ` that `key` signs. It is as long whatever the key, for every `alg` has five characters
    /// and every `kid` is a thumbprint.
    #[must_use]
    pub fn new(typ: &str, key: &PrivateKey) -> Self {
        let (algorithm, kid) = (key.public().algorithm.as_str(), key.public().thumbprint());
        let header = format!(r#"{{"alg":"{algorithm}","typ":"{typ}","kid":"{kid}"}}"#);
        let mut encoded = URL_SAFE_NO_PAD.encode_to_string(header.as_bytes());
        encoded.push('.');
        let signature_characters = 1 + URL_SAFE_NO_PAD.encoded_length(key.signature_bytes());
        Self { encoded, signature_characters }
    }

    /// Signs a payload.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn sign(
        &self,
        key: &PrivateKey,
        payload: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Zeroizing<String>, ring::error::Unspecified> {
        // As long as it will ever be, so that no copy of it stays behind.
        let characters = self.encoded.len() + URL_SAFE_NO_PAD.encoded_length(payload.len()) + self.signature_characters;
        let mut text = Zeroizing::new(String::with_capacity(characters));
        text.push_str(&self.encoded);
        URL_SAFE_NO_PAD.encode_append(payload, &mut *text);
        let signature = key.sign(text.as_bytes(), random, SmallVec::<[u8; SIGNATURE_BYTES_USUAL]>::from_slice)?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_append(&signature, &mut *text);
        debug_assert_eq!(text.len(), characters, "it is as long as was thought");
        Ok(text)
    }
}

/// The longest signature but those of RSA, in bytes.
const SIGNATURE_BYTES_USUAL: usize = 96;
