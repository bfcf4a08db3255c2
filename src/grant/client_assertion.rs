//! Assertions that clients authenticate with: `private_key_jwt` (RFC 7523 §2.2 and §3, `OpenID` Connect Core §9).
//!
//! What costs little is checked first and the signature last, once and with one key, so that nobody can make the server verify
//! much. Nothing in the text decides what it is verified with: the algorithm has to be one that the client's registration allows,
//! and keys that come along, or names of keys elsewhere, are refused.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::clock::UnixTime;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::unique_members::UniqueMembers;
use crate::signing::jwk_set::JwkSet;
use crate::signing::verify::verify;

/// The `client_assertion_type` of them (RFC 7523 §2.2).
pub const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest assertion, in bytes.
pub const ASSERTION_BYTES_MAX: usize = 8 * 1024;
/// How far ahead `exp` may be, in seconds.
pub const ASSERTION_SECONDS_MAX: u32 = 600;
/// How far a client's clock may be off, in seconds.
pub const SKEW_SECONDS: u32 = 30;
/// How long ago `iat` may be, in seconds.
const AGE_SECONDS_MAX: u32 = 3_600;
/// The longest `jti`, in bytes.
const JTI_BYTES_MAX: usize = 256;

/// Why an assertion is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client_assertion: {0}")]
pub struct InvalidAssertion(pub(crate) &'static str);

/// An assertion that says what it must say here and now. Who has signed it is not known yet.
#[derive(Debug)]
pub struct ClientAssertion<'a> {
    text: &'a str,
    algorithm: SigningAlgorithm,
    kid: Option<String>,
    /// Who it says that it is.
    pub client_id: String,
    /// What names it among those of the client.
    pub jti: String,
    /// From when on it is refused for its age, in seconds since the epoch.
    pub expires_at: u32,
}

impl<'a> ClientAssertion<'a> {
    /// Reads an assertion that is meant for the server of that issuer. Its audience is the issuer; the address of the token
    /// endpoint, which many clients send, is as good, for no other server has it.
    ///
    /// # Errors
    ///
    /// [`InvalidAssertion`].
    pub fn read(text: &'a str, issuer: &str, token_endpoint: &str, now: UnixTime) -> Result<Self, InvalidAssertion> {
        if text.len() > ASSERTION_BYTES_MAX {
            return Err(InvalidAssertion("it is longer than 8192 bytes"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidAssertion("it is no JWT of three parts (RFC 7515 section 7.1)"));
        };
        let header = Members::decode(header).ok_or(InvalidAssertion(HEADER))?;
        let (algorithm, kid) = check_header(&header)?;
        let claims = Members::decode(claims).ok_or(InvalidAssertion(CLAIMS))?;
        let client_id = claims.text("iss").ok_or(InvalidAssertion("iss must be the client_id"))?;
        if claims.text("sub") != Some(client_id) {
            return Err(InvalidAssertion("sub must be the client_id, as iss is"));
        }
        let audience = claims.audience().ok_or(InvalidAssertion(AUDIENCE))?;
        if audience != issuer && audience != token_endpoint {
            return Err(InvalidAssertion(AUDIENCE));
        }
        let expires_at = claims.check_times(now.as_seconds_u32())?;
        let jti = claims.text("jti").filter(|jti| (1..=JTI_BYTES_MAX).contains(&jti.len()));
        let jti = jti.ok_or(InvalidAssertion("jti must be a text of 1 to 256 bytes"))?;
        let (client_id, jti) = (client_id.to_owned(), jti.to_owned());
        Ok(Self { text, algorithm, kid, client_id, jti, expires_at })
    }

    /// Whether there may be newer keys than these that it was signed with: they lack the one that it names; or it names none, and none
    /// of them has signed it.
    #[must_use]
    pub fn needs_newer_keys(&self, keys: &JwkSet, only: Option<SigningAlgorithm>) -> bool {
        match &self.kid {
            Some(kid) => !keys.has(kid),
            None => self.verify(keys, only).is_err(),
        }
    }

    /// Whether a key of that client has signed it, with the algorithm that it has registered if it has registered one.
    ///
    /// # Errors
    ///
    /// [`InvalidAssertion`], the same for every reason.
    pub fn verify(&self, keys: &JwkSet, only: Option<SigningAlgorithm>) -> Result<(), InvalidAssertion> {
        let unproven = || InvalidAssertion(UNPROVEN);
        if only.is_some_and(|only| only != self.algorithm) {
            return Err(unproven());
        }
        let key = keys.find(self.kid.as_deref(), self.algorithm).ok_or_else(unproven)?;
        verify::<IgnoredAny>(self.text, &key, None).map(drop).map_err(|_| unproven())
    }
}

/// What is said of an assertion that no client has signed, there or not.
pub const UNPROVEN: &str = "it is of no client that signs with private_key_jwt, or not signed by a key that the client has registered for its alg and kid";
const HEADER: &str = "its header must be a JSON object in base64url, with no member twice";
const CLAIMS: &str = "its claims must be a JSON object in base64url, with no member twice";
const AUDIENCE: &str = "aud must be this server's issuer alone, as a text or as the one member of an array";

fn check_header(header: &Members) -> Result<(SigningAlgorithm, Option<String>), InvalidAssertion> {
    if ["jwk", "jku", "x5u", "x5c"].into_iter().any(|member| header.0.contains_key(member)) {
        return Err(InvalidAssertion("its header must not bring a key, or say where one is: jwk, jku, x5u, x5c"));
    }
    if ["crit", "b64", "enc", "zip"].into_iter().any(|member| header.0.contains_key(member)) {
        return Err(InvalidAssertion("its header must not have crit, b64, enc or zip"));
    }
    let is_typ = |typ: &Value| {
        // RFC 7515 §4.1.9: names of media types know no case, and may leave out `application/`.
        let typ = typ.as_str().unwrap_or_default().to_ascii_lowercase();
        matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "client-authentication+jwt")
    };
    if !header.0.get("typ").is_none_or(is_typ) {
        return Err(InvalidAssertion("typ must be client-authentication+jwt or JWT, or be left out"));
    }
    let algorithm = header.text("alg").and_then(SigningAlgorithm::parse);
    let algorithm = algorithm.ok_or(InvalidAssertion("alg must be EdDSA, ES256, ES384, RS256 or PS256"))?;
    match header.0.get("kid") {
        None => Ok((algorithm, None)),
        Some(Value::String(kid)) => Ok((algorithm, Some(kid.clone()))),
        Some(_) => Err(InvalidAssertion("kid must be a text")),
    }
}

/// The members of a header, or of claims.
struct Members(BTreeMap<String, Value>);

impl Members {
    fn decode(part: &str) -> Option<Self> {
        // Of a value that nests deeper than 128 the parser says that it does.
        let UniqueMembers(members) = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        Some(Self(members))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn audience(&self) -> Option<&str> {
        match self.0.get("aud")? {
            Value::String(audience) => Some(audience),
            Value::Array(members) => match members.as_slice() {
                [Value::String(only)] => Some(only),
                _ => None,
            },
            _ => None,
        }
    }

    /// `NumericDate` (RFC 7519 §2) as a whole number of seconds, if it is there.
    fn time(&self, name: &'static str) -> Result<Option<u32>, InvalidAssertion> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let whole = value.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        let fraction = || {
            let seconds = value.as_f64().filter(|seconds| (0.0..f64::from(u32::MAX)).contains(seconds))?;
            format!("{:.0}", seconds.floor()).parse().ok()
        };
        let time = whole.or_else(fraction);
        time.map(Some).ok_or(InvalidAssertion("exp, iat and nbf must be numbers of seconds since 1970"))
    }

    /// Answers from when on it is refused for its age.
    fn check_times(&self, now: u32) -> Result<u32, InvalidAssertion> {
        let latest = now.saturating_add(SKEW_SECONDS);
        let exp = self.time("exp")?.ok_or(InvalidAssertion("exp is missing"))?;
        let expires_at = exp.saturating_add(SKEW_SECONDS);
        if expires_at <= now {
            return Err(InvalidAssertion("it has expired"));
        }
        if exp > latest.saturating_add(ASSERTION_SECONDS_MAX) {
            return Err(InvalidAssertion("exp is more than 600 seconds ahead"));
        }
        if self.time("nbf")?.is_some_and(|nbf| nbf > latest) {
            return Err(InvalidAssertion("nbf is in the future"));
        }
        match self.time("iat")? {
            Some(iat) if iat > latest => Err(InvalidAssertion("iat is in the future")),
            Some(iat) if iat.saturating_add(AGE_SECONDS_MAX) < now => {
                Err(InvalidAssertion("iat is more than an hour ago"))
            }
            _ => Ok(expires_at),
        }
    }
}
