//! ID tokens (`OpenID` Connect Core §2): what a client is told of the person who granted it something.
//!
//! Nothing of one is kept. It is for one client, so `aud` names that alone and there is no `azp`.

use base64_simd::URL_SAFE_NO_PAD;
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use ring::rand::SecureRandom;
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::client::id::ClientId;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::signing::registry::SigningKey;
use crate::token::access_token::AccessToken;
use crate::token::person::PersonTerms;

/// The `typ` of the header: that of access tokens is another, so neither passes for the other.
pub const TYP: &str = "JWT";

/// What an ID token says.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenClaims<'a> {
    /// Who issues it.
    pub issuer: &'a str,
    /// Whom it is for.
    pub client_id: &'a ClientId,
    /// Of whom it speaks.
    pub person: &'a PersonTerms,
    /// As the authorization request had it; `None` where it had none, and after a refresh (§12.2).
    pub nonce: Option<&'a str>,
    /// The access token that comes with it.
    pub access_token: &'a AccessToken,
    /// When it is issued, in seconds since the epoch.
    pub issued_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
    /// What the client has asked to be told beside (§5.5).
    pub more: &'a Map<String, Value>,
}

impl IdTokenClaims<'_> {
    /// The ID token that says this and that `key` signs.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn sign(
        &self,
        key: &SigningKey,
        random: &dyn SecureRandom,
    ) -> Result<Zeroizing<String>, ring::error::Unspecified> {
        let Self { issuer, client_id, person, nonce, access_token, issued_at, expires_at, more } = *self;
        let payload = Payload {
            iss: issuer,
            sub: person.subject.as_str(),
            aud: client_id.as_str(),
            exp: expires_at,
            iat: issued_at,
            auth_time: person.auth_time,
            nonce,
            acr: person.context.acr(),
            amr: person.context.amr().collect(),
            at_hash: at_hash(access_token, key.algorithm()),
            more,
        };
        // Text and numbers can always be written.
        key.id_token_header.sign(&key.key, &serde_json::to_vec(&payload).unwrap_or_default(), random)
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u32,
    iat: u32,
    auth_time: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    amr: Vec<&'a str>,
    at_hash: String,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

/// §3.1.3.6: the first half of the digest of the access token, by the hash of the algorithm that signs.
fn at_hash(access_token: &AccessToken, algorithm: SigningAlgorithm) -> String {
    let digest = digest(hash_of(algorithm), access_token.reveal().as_bytes());
    let half = digest.as_ref().split_at(digest.as_ref().len() / 2).0;
    URL_SAFE_NO_PAD.encode_to_string(half)
}

fn hash_of(algorithm: SigningAlgorithm) -> &'static Algorithm {
    match algorithm {
        SigningAlgorithm::Es256 | SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256 => &SHA256,
        SigningAlgorithm::Es384 => &SHA384,
        // Ed25519 hashes by SHA-512 itself (RFC 8032 §5.1).
        SigningAlgorithm::EdDsa => &SHA512,
    }
}
