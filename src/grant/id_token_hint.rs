//! ID tokens that clients bring back (`id_token_hint`: `OpenID` Connect Core §3.1.2.1, RP-Initiated Logout §2): whether a text is one
//! that this server has signed, and of whom it speaks.

use serde::Deserialize;

use crate::client::id::ClientId;
use crate::oauth::subject::Subject;
use crate::signing::registry::KeySet;
use crate::signing::verify::{kid_of, verify};
use crate::token::id_token::TYP;

/// What an ID token says that was issued here. It may have expired long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTokenHint {
    /// Of whom it speaks.
    pub subject: Subject,
    /// Whom it was issued to (`aud`).
    pub client_id: ClientId,
    /// When that person had proved who they are, in seconds since the epoch.
    pub auth_time: u32,
}

/// A text that is no ID token of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id_token_hint is no ID token that this server has issued, or its key is gone")]
pub struct InvalidIdTokenHint;

/// The longest ID token that is read, in bytes.
pub const ID_TOKEN_HINT_BYTES_MAX: usize = 8192;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    auth_time: u32,
}

impl IdTokenHint {
    /// Reads an ID token that one of `keys` has signed, whether it still signs or not, for this issuer. Its time counts for nothing, and
    /// so does what its header says of an algorithm: that is the key's. One signature is verified at most, and only one that names
    /// a key.
    ///
    /// # Errors
    ///
    /// [`InvalidIdTokenHint`].
    pub fn read(text: &str, keys: &KeySet, issuer: &str) -> Result<Self, InvalidIdTokenHint> {
        let kid = Some(text).filter(|text| text.len() <= ID_TOKEN_HINT_BYTES_MAX).and_then(kid_of);
        let key = kid.and_then(|kid| keys.find(&kid)).ok_or(InvalidIdTokenHint)?;
        let claims: Claims = verify(text, key.key.public(), Some(TYP)).map_err(|_| InvalidIdTokenHint)?;
        if claims.iss != issuer {
            return Err(InvalidIdTokenHint);
        }
        Ok(Self {
            subject: Subject::parse(&claims.sub).map_err(|_| InvalidIdTokenHint)?,
            client_id: ClientId::parse(&claims.aud).map_err(|_| InvalidIdTokenHint)?,
            auth_time: claims.auth_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::clock::UnixTime;
    use crate::oauth::algorithm::SigningAlgorithm;
    use crate::oauth::authentication_context::AuthenticationContext;
    use crate::signing::jws::JwsHeader;
    use crate::signing::private_key::PrivateKey;
    use crate::signing::registry::SigningKey;
    use crate::token::access_token::AccessToken;
    use crate::token::grant_id::GrantId;
    use crate::token::id_token::IdTokenClaims;
    use crate::token::person::{PersonTerms, Standing};

    const ISSUER: &str = "https://as.example";
    const NOW: u32 = 1_800_000_000;

    fn key(algorithm: SigningAlgorithm) -> SigningKey {
        let key = PrivateKey::generate(algorithm, &SystemRandom::new()).unwrap();
        SigningKey::of_test(key, UnixTime::from_seconds(NOW.into()))
    }

    fn id_token(key: &SigningKey, issuer: &str) -> String {
        let random = SystemRandom::new();
        let person = PersonTerms {
            grant_id: GrantId::from_bytes([1; 16]),
            subject: Subject::parse("ada").unwrap(),
            subject_generation: 0,
            auth_time: NOW - 9,
            context: AuthenticationContext::default(),
            standing: Standing::default(),
        };
        let claims = IdTokenClaims {
            issuer,
            client_id: &ClientId::parse("app").unwrap(),
            person: &person,
            nonce: None,
            access_token: &AccessToken::random(&random).unwrap(),
            issued_at: NOW,
            // It has been over for years.
            expires_at: 60,
            more: &Map::new(),
        };
        claims.sign(key, &random).unwrap().to_string()
    }

    fn signed(key: &SigningKey, typ: &str, payload: &Value) -> String {
        let payload = payload.to_string();
        JwsHeader::new(typ, &key.key).sign(&key.key, payload.as_bytes(), &SystemRandom::new()).unwrap().to_string()
    }

    #[test]
    fn what_this_server_has_signed_it_knows_again_however_old_it_is() {
        let keys = [SigningAlgorithm::EdDsa, SigningAlgorithm::Es384].map(key);
        let texts = keys.each_ref().map(|key| id_token(key, ISSUER));
        let keys = KeySet::of_test(keys);
        for text in texts {
            let expected = IdTokenHint {
                subject: Subject::parse("ada").unwrap(),
                client_id: ClientId::parse("app").unwrap(),
                auth_time: NOW - 9,
            };
            assert_eq!(IdTokenHint::read(&text, &keys, ISSUER), Ok(expected));
            assert_eq!(IdTokenHint::read(&text, &keys, "https://as.example/"), Err(InvalidIdTokenHint));
        }
    }

    #[test]
    fn nothing_else_is_one() {
        let (own, other) = (key(SigningAlgorithm::EdDsa), key(SigningAlgorithm::EdDsa));
        let claims = json!({ "iss": ISSUER, "sub": "ada", "aud": "app", "auth_time": 1 });
        let good = signed(&own, "JWT", &claims);
        let (text, signature) = good.rsplit_once('.').unwrap();
        let without = |member: &str| {
            let mut claims = claims.clone();
            claims.as_object_mut().unwrap().remove(member);
            signed(&own, "JWT", &claims)
        };
        let with = |member: &str, value: Value| {
            let mut claims = claims.clone();
            claims[member] = value;
            signed(&own, "JWT", &claims)
        };
        let long = with("more", json!("a".repeat(ID_TOKEN_HINT_BYTES_MAX)));
        let none = format!("eyJhbGciOiJub25lIn0.{}.", text.split_once('.').unwrap().1);
        let wrong = [
            String::new(),
            "a.b.c".to_owned(),
            text.to_owned(),
            format!("{text}."),
            format!("{text}.{}", signature.chars().rev().collect::<String>()),
            none,
            signed(&other, "JWT", &claims),
            signed(&own, "at+jwt", &claims),
            with("iss", json!("https://evil.example")),
            with("aud", json!(["app"])),
            with("sub", json!(7)),
            with("sub", json!("")),
            without("iss"),
            without("sub"),
            without("aud"),
            without("auth_time"),
            long,
        ];
        let keys = KeySet::of_test([own]);
        assert!(IdTokenHint::read(&good, &keys, ISSUER).is_ok());
        for text in wrong {
            assert_eq!(IdTokenHint::read(&text, &keys, ISSUER), Err(InvalidIdTokenHint), "{text}");
        }
    }
}
