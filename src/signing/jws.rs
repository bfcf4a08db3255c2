//! Signed texts: the compact serialization (RFC 7515 §7.1), written here because the key is kept parsed and the header encoded.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::signing::private_key::PrivateKey;

/// A header that all texts of one key and one `typ` share.
#[derive(Clone, Debug)]
pub struct JwsHeader {
    /// With the dot behind it.
    encoded: String,
}

impl JwsHeader {
    /// The header of texts of this `typ` that `key` signs. It is as long whatever the key, for every `alg` has five characters
    /// and every `kid` is a thumbprint.
    #[must_use]
    pub fn new(typ: &str, key: &PrivateKey) -> Self {
        let (algorithm, kid) = (key.public().algorithm.as_str(), key.public().thumbprint());
        let mut encoded = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","typ":"{typ}","kid":"{kid}"}}"#));
        encoded.push('.');
        Self { encoded }
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
        let payload_characters = payload.len().div_ceil(3) * 4;
        // As long as it will ever be, so that no copy of it stays behind.
        let capacity = self.encoded.len() + payload_characters + 1 + SIGNATURE_CHARACTERS_MAX;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        text.push_str(&self.encoded);
        URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        let signature = key.sign(text.as_bytes(), random)?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }
}

/// Of RSA with 4096 bits.
const SIGNATURE_CHARACTERS_MAX: usize = 684;
