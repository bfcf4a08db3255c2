//! Access tokens that are JWTs (RFC 9068): their text, and where it is looked up.
//!
//! ```text
//! header           .  payload                                          .  signature
//! 110 characters      {"jti":"32 characters","iss":…                      of all before
//!                             base64url(routing id ‖ random)
//!                                       8 bytes      16 bytes
//! ```
//!
//! The `jti` comes first, and the header has the same length whatever the key, so the routing id stands at a fixed place: nothing is
//! parsed to find the shard. There a token is known by the digest of its whole text. A hit proves that the text is one that this
//! server signed, so a signature is never verified here.

use base64_simd::{Out, URL_SAFE_NO_PAD};
use ring::rand::SecureRandom;
use smallvec::SmallVec;

use crate::signing::registry::SigningKey;
use crate::token::access_token::{AccessToken, RoutingId, TokenReference};
use crate::token::digest::TokenDigest;
use crate::token::grant::GrantTerms;

/// What a token says beside its `jti` (RFC 9068 §2.2).
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// Who issues it.
    pub issuer: &'a str,
    /// What it is good for, and whose it is.
    pub terms: &'a GrantTerms,
    /// When it is issued, in seconds since the epoch.
    pub issued_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
}

const ROUTING_BYTES: usize = 8;
const RANDOM_BYTES: usize = 16;
const JTI_BYTES: usize = ROUTING_BYTES + RANDOM_BYTES;
/// What every payload begins with.
const PAYLOAD_START: &[u8] = br#"{"jti":""#;
const HEADER_CHARACTERS: usize = 110;
/// The characters of a payload that hold its start and the routing id.
const START_CHARACTERS: usize = 28;
const START_BYTES: usize = START_CHARACTERS / 4 * 3;
/// The characters of a `jti` that hold the routing id.
const ROUTING_CHARACTERS: usize = 12;

impl AccessToken {
    /// A new JWT that `key` signs; of a grant it lives where the grant does.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn signed(
        claims: &Claims<'_>,
        routing_id: Option<RoutingId>,
        key: &SigningKey,
        random: &dyn SecureRandom,
    ) -> Result<Self, ring::error::Unspecified> {
        let mut id = [0; JTI_BYTES];
        random.fill(&mut id)?;
        let (routing, _) = id.split_first_chunk_mut::<ROUTING_BYTES>().ok_or(ring::error::Unspecified)?;
        if let Some(routing_id) = routing_id {
            *routing = routing_id.0.to_le_bytes();
        }
        let routing_id = RoutingId(u64::from_le_bytes(*routing));
        let text = key.access_token_header.sign(&key.key, &claims.write(&id), random)?;
        let digest = TokenDigest::of(&text);
        Ok(Self::of_parts(text, TokenReference { routing_id, digest }))
    }
}

impl Claims<'_> {
    /// The payload. Only strings that need an escape are given to a serializer: all others are copied.
    fn write(&self, id: &[u8; JTI_BYTES]) -> Vec<u8> {
        let Self { issuer, terms, issued_at, expires_at } = self;
        let mut digits = itoa::Buffer::new();
        let mut payload = Vec::with_capacity(PAYLOAD_BYTES_USUAL);
        payload.extend_from_slice(PAYLOAD_START);
        URL_SAFE_NO_PAD.encode_append(id, &mut payload);
        payload.extend_from_slice(br#"","iss":"#);
        write_string(issuer, &mut payload);
        payload.extend_from_slice(br#","sub":"#);
        write_string(terms.subject(), &mut payload);
        payload.extend_from_slice(br#","aud":"#);
        match &*terms.client.audience.members().collect::<SmallVec<[&str; 4]>>() {
            // A resource server must be able to tell that it is meant (RFC 9068 §4); this server is, if nobody else.
            [] => write_string(issuer, &mut payload),
            [only] => write_string(only, &mut payload),
            members => write_strings(members, &mut payload),
        }
        payload.extend_from_slice(br#","client_id":"#);
        write_string(terms.client.id.as_str(), &mut payload);
        if !terms.client.scope.as_str().is_empty() {
            payload.extend_from_slice(br#","scope":"#);
            write_string(terms.client.scope.as_str(), &mut payload);
        }
        payload.extend_from_slice(br#","iat":"#);
        payload.extend_from_slice(digits.format(*issued_at).as_bytes());
        payload.extend_from_slice(br#","exp":"#);
        payload.extend_from_slice(digits.format(*expires_at).as_bytes());
        if let Some(person) = &terms.person {
            payload.extend_from_slice(br#","auth_time":"#);
            payload.extend_from_slice(digits.format(person.auth_time).as_bytes());
            if let Some(acr) = person.context.acr() {
                payload.extend_from_slice(br#","acr":"#);
                write_string(acr, &mut payload);
            }
            let amr: SmallVec<[&str; 4]> = person.context.amr().collect();
            if !amr.is_empty() {
                payload.extend_from_slice(br#","amr":"#);
                write_strings(&amr, &mut payload);
            }
        }
        payload.push(b'}');
        payload
    }
}

/// Room for the payload of most tokens.
const PAYLOAD_BYTES_USUAL: usize = 384;

/// A string as JSON has it (RFC 8259 §7).
fn write_string(text: &str, json: &mut Vec<u8>) {
    let needs_escape = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    if text.as_bytes().iter().any(needs_escape) {
        // Text can always be written, and a vector takes all.
        serde_json::to_writer(json, text).unwrap_or_default();
        return;
    }
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
}

fn write_strings(texts: &[&str], json: &mut Vec<u8>) {
    for (place, text) in texts.iter().enumerate() {
        json.push(if place == 0 { b'[' } else { b',' });
        write_string(text, json);
    }
    json.push(b']');
}

/// Where a presented text would be found, if the routing id of one stands at its place. All else the digest tells.
pub(super) fn reference_of(text: &str) -> Option<TokenReference> {
    let (_, behind_header) = text.as_bytes().split_at_checked(HEADER_CHARACTERS)?;
    let start = behind_header.strip_prefix(b".")?.get(..START_CHARACTERS)?;
    let mut decoded = [0; START_BYTES];
    URL_SAFE_NO_PAD.decode(start, Out::from_slice(&mut decoded)).ok()?;
    let id = decoded.strip_prefix(PAYLOAD_START)?.get(..ROUTING_CHARACTERS)?;
    let mut routing = [0; ROUTING_CHARACTERS / 4 * 3];
    URL_SAFE_NO_PAD.decode(id, Out::from_slice(&mut routing)).ok()?;
    let routing_id = RoutingId(u64::from_le_bytes(*routing.first_chunk()?));
    Some(TokenReference { routing_id, digest: TokenDigest::of(text) })
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::UnixTime;
    use crate::oauth::algorithm::SigningAlgorithm;
    use crate::oauth::audience::Audience;
    use crate::oauth::authentication_context::AuthenticationContext;
    use crate::oauth::subject::Subject;
    use crate::signing::private_key::PrivateKey;
    use crate::signing::verify::verify;
    use crate::token::grant::tests::terms;
    use crate::token::grant_id::GrantId;
    use crate::token::person::{PersonTerms, Standing};

    const NOW: u32 = 1_800_000_000;

    fn key(algorithm: SigningAlgorithm) -> SigningKey {
        let key = PrivateKey::generate(algorithm, &SystemRandom::new()).unwrap();
        SigningKey::of_test(key, UnixTime::from_seconds(NOW.into()))
    }

    fn claims(terms: &GrantTerms) -> Claims<'_> {
        Claims { issuer: "https://as.example", terms, issued_at: NOW, expires_at: NOW + 60 }
    }

    fn token(key: &SigningKey, terms: &GrantTerms) -> AccessToken {
        AccessToken::signed(&claims(terms), None, key, &SystemRandom::new()).unwrap()
    }

    fn payload(key: &SigningKey, token: &AccessToken) -> Value {
        verify(token.reveal(), key.key.public(), Some("at+jwt")).unwrap()
    }

    #[test]
    fn a_token_of_any_key_is_found_by_what_it_was_minted_with() {
        for algorithm in SigningAlgorithm::ALL {
            let (key, terms) = (key(algorithm), terms("read"));
            let token = token(&key, &terms);
            assert_eq!(TokenReference::of(token.reveal()), Some(token.reference()), "{algorithm:?}");
            let of_grant =
                AccessToken::signed(&claims(&terms), Some(RoutingId(7)), &key, &SystemRandom::new()).unwrap();
            assert_eq!(TokenReference::of(of_grant.reveal()), Some(of_grant.reference()));
            assert_eq!(of_grant.reference().routing_id, RoutingId(7));
            assert_eq!(payload(&key, &of_grant)["jti"].as_str().unwrap().get(..10), Some("BwAAAAAAAA"));
            assert_ne!(payload(&key, &token)["jti"], payload(&key, &of_grant)["jti"]);
        }
    }

    #[test]
    fn a_text_that_differs_anywhere_is_another_token_or_none() {
        let token = token(&key(SigningAlgorithm::EdDsa), &terms("read"));
        let text = token.reveal();
        for position in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[position] ^= 1;
            let changed = TokenReference::of(&String::from_utf8(bytes).unwrap());
            assert!(changed.is_none_or(|changed| changed.digest != token.reference().digest), "at {position}");
            let cut = TokenReference::of(&text[..position]);
            assert!(cut.is_none_or(|cut| cut.digest != token.reference().digest), "cut at {position}");
        }
        for changed in [format!("{text}A"), format!(" {text}"), format!("{text}="), "é".repeat(100), ".".repeat(200)] {
            let changed = TokenReference::of(&changed);
            assert!(changed.is_none_or(|changed| changed.digest != token.reference().digest));
        }
    }

    #[test]
    fn the_claims_are_those_of_rfc_9068_and_jti_is_the_first() {
        let (key, terms) = (key(SigningAlgorithm::EdDsa), terms("read write"));
        let token = token(&key, &terms);
        let claims = payload(&key, &token);
        let expected = json!({
            "jti": claims["jti"], "iss": "https://as.example", "sub": "app", "aud": "https://api.example", "client_id": "app",
            "scope": "read write", "iat": NOW, "exp": NOW + 60,
        });
        assert_eq!(claims, expected);
        assert_eq!(claims["jti"].as_str().map(str::len), Some(32));
        let encoded = token.reveal().split('.').nth(1).unwrap();
        assert!(URL_SAFE_NO_PAD.decode_to_vec(encoded.as_bytes()).unwrap().starts_with(PAYLOAD_START));
    }

    /// Each of these with its JSON by the serializer's own word.
    #[test]
    fn every_string_is_escaped_as_json_wants_it() {
        for text in ["", "a", "\"", "\\", "\u{0}\u{1f}", "\n\r\t", "é€😀", "\u{7f}\u{2028}", "a\"b\\c", "</script>"]
        {
            let mut json = Vec::new();
            write_string(text, &mut json);
            assert_eq!(json, serde_json::to_vec(text).unwrap(), "{text:?}");
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn an_audience_is_there_in_any_case() {
        let key = key(SigningAlgorithm::EdDsa);
        let aud = |members: &[&str]| {
            let audience = Audience::parse(members.iter().copied()).unwrap();
            let terms = terms("read").narrowed(None, Some(audience));
            payload(&key, &token(&key, &terms))["aud"].clone()
        };
        assert_eq!(aud(&[]), "https://as.example");
        assert_eq!(aud(&["urn:\"a"]), "urn:\"a");
        assert_eq!(aud(&["urn:a", "urn:b", "urn:c"]), json!(["urn:a", "urn:b", "urn:c"]));
    }

    #[test]
    fn a_persons_token_says_how_they_proved_who_they_are_as_far_as_that_is_known() {
        let key = key(SigningAlgorithm::EdDsa);
        let claims = |context: AuthenticationContext| {
            let (grant_id, subject) = (GrantId::from_bytes([1; 16]), Subject::parse("ada").unwrap());
            let standing = Standing::default();
            let person =
                PersonTerms { grant_id, subject, subject_generation: 0, auth_time: NOW - 9, context, standing };
            let claims = payload(&key, &token(&key, &terms("read").granted_by(person)));
            assert_eq!(
                (&claims["sub"], &claims["client_id"], &claims["auth_time"]),
                (&json!("ada"), &json!("app"), &json!(NOW - 9))
            );
            (claims.get("acr").cloned(), claims.get("amr").cloned())
        };
        assert_eq!(claims(AuthenticationContext::default()), (None, None));
        assert_eq!(claims(AuthenticationContext::new(["pwd"], None)), (None, Some(json!(["pwd"]))));
        let both = AuthenticationContext::new(["pwd", "otp"], Some("urn:x"));
        assert_eq!(claims(both), (Some(json!("urn:x")), Some(json!(["pwd", "otp"]))));
    }

    #[test]
    fn a_token_without_a_scope_has_no_such_claim() {
        let (key, terms) = (key(SigningAlgorithm::EdDsa), terms(""));
        assert_eq!(payload(&key, &token(&key, &terms)).get("scope"), None);
    }
}
