//! `OpenID` Connect Core 1.0: ID tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use serde_json::{Value, json};
use tessera::config::Config;
use tessera::config::value::{Durability, KeyAlgorithms};

use crate::browser::{Browser, destination, query};
use crate::harness::{START_SECONDS, TestServer};
use crate::http::{Answer, Credentials, Request};
use crate::keys::until;
use crate::person::{
    self, CALLBACK, CHALLENGE, DEVICE_GRANT_TYPE, SUBJECT, log_in, log_in_as, poll, redeem, refreshing,
};

fn with_keys(config: &mut Config) {
    config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA").unwrap();
    person::log_in_elsewhere(config);
}

/// A server that signs, and where people log in elsewhere.
pub(crate) fn start() -> TestServer {
    TestServer::start_with(with_keys)
}

/// A client that may ask for all that this server has for `OpenID` Connect.
#[track_caller]
pub(crate) fn register(server: &TestServer, client_id: &str, more: &Value) -> Credentials {
    let mut metadata = json!({
        "grant_types": ["authorization_code", "refresh_token", DEVICE_GRANT_TYPE, "client_credentials"],
        "scope": "openid profile email address phone read write",
    });
    for (member, value) in more.as_object().unwrap() {
        metadata[member] = value.clone();
    }
    person::register(server, client_id, &metadata)
}

/// An authorization request for `openid`, with these parameters in place of the usual ones; one without a value is left out.
pub(crate) fn request(client_id: &str, changes: &[(&str, &str)]) -> String {
    let usual = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", CALLBACK),
        ("scope", "openid read"),
        ("nonce", "n-0S6_WzA2Mj"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let kept = usual.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let set = changes.iter().filter(|(_, value)| !value.is_empty());
    format!("/oauth2/authorize?{}", Serializer::new(String::new()).extend_pairs(kept.chain(set)).finish())
}

/// What a client gets for a request of this browser.
#[track_caller]
pub(crate) fn sign_in(
    server: &TestServer,
    browser: &mut Browser,
    client: &Credentials,
    changes: &[(&str, &str)],
) -> Answer {
    let location = destination(&browser.get(server, &request(&client.id, changes)));
    let code = query(&location).remove("code").unwrap_or_else(|| panic!("{location}"));
    let answer = redeem(server, client, &code);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// What the ID token of an answer says, as a client reads it that knows the JWK Set: with the algorithm that it expects.
#[track_caller]
pub(crate) fn id_token(server: &TestServer, client_id: &str, algorithm: &str, answer: &Answer) -> Value {
    tessera::signing::provider::install();
    let token = answer.text("id_token");
    let header = decode_header(&token).unwrap();
    let keys: JwkSet = serde_json::from_str(&server.ask(&Request::get("/oauth2/jwks")).body).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(header.alg).unwrap(), algorithm);
    let mut validation = Validation::new(algorithm.parse().unwrap());
    validation.set_audience(&[client_id]);
    validation.set_issuer(&[&server.issuer]);
    // It knows the machine's clock alone.
    validation.validate_exp = false;
    decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
}

fn at_hash(access_token: &str, algorithm: &'static Algorithm) -> String {
    let hash = digest(algorithm, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

#[test]
fn core_3_1_3_6_an_id_token_says_who_logged_in_and_is_signed_as_the_client_wants_it() {
    let server = TestServer::start_with(|config| {
        with_keys(config);
        config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA,ES256,ES384,RS256,PS256").unwrap();
    });
    // Keys of RSA come a little after the start.
    until(|| server.ask(&Request::get("/oauth2/jwks")).json()["keys"].as_array().unwrap().len() == 5);
    let mut now = START_SECONDS;
    for (algorithm, hash, format) in [
        (None, &SHA256, "opaque"),
        (Some("RS256"), &SHA256, "jwt"),
        (Some("PS256"), &SHA256, "opaque"),
        (Some("ES256"), &SHA256, "jwt"),
        (Some("ES384"), &SHA384, "opaque"),
        (Some("EdDSA"), &SHA512, "jwt"),
    ] {
        let client_id = format!("app-{algorithm:?}");
        let mut metadata = json!({ "access_token_format": format });
        if let Some(algorithm) = algorithm {
            metadata["id_token_signed_response_alg"] = json!(algorithm);
        }
        let app = register(&server, &client_id, &metadata);
        let told = json!({ "subject": SUBJECT, "amr": ["pwd", "otp"], "acr": "urn:example:sure" });
        let mut browser = log_in_as(&server, &client_id, &told);
        server.time.advance(Duration::from_secs(7));
        now += 7;
        let answer = sign_in(&server, &mut browser, &app, &[]);
        let expected = json!({
            "iss": server.issuer, "sub": SUBJECT, "aud": client_id, "iat": now, "exp": now + 3600,
            "auth_time": now - 7, "nonce": "n-0S6_WzA2Mj", "acr": "urn:example:sure", "amr": ["pwd", "otp"],
            "at_hash": at_hash(&answer.text("access_token"), hash),
        });
        let claims = id_token(&server, &client_id, algorithm.unwrap_or("RS256"), &answer);
        assert_eq!(claims, expected, "{algorithm:?}");
        let header = decode_header(answer.text("id_token")).unwrap();
        assert_eq!(header.typ.as_deref(), Some("JWT"));
    }
}

#[test]
fn core_3_1_2_1_there_is_no_id_token_without_openid() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let mut browser = log_in(&server, "app");
    let answer = sign_in(&server, &mut browser, &app, &[("scope", "read profile")]);
    assert_eq!(answer.json().get("id_token"), None);
    let refreshed = server.ask_for_token(&app, &refreshing(&answer.text("refresh_token")));
    assert_eq!((refreshed.status, refreshed.json().get("id_token")), (200, None));
    let own = server.ask_for_token(&app, &[("grant_type", "client_credentials"), ("scope", "openid")]);
    assert_eq!((own.status, own.json().get("id_token")), (200, None), "a client that acts for itself is no person");
}

#[test]
fn core_12_2_a_refresh_tells_the_same_of_the_person_and_no_nonce() {
    let server = start();
    let mut now = START_SECONDS;
    for (client_id, metadata) in [
        ("rotating", json!({})),
        ("signed", json!({ "access_token_format": "jwt" })),
        ("steady", json!({ "refresh_token_rotation": false })),
    ] {
        let app = register(&server, client_id, &metadata);
        let told = json!({ "subject": SUBJECT, "amr": ["pwd"] });
        let mut browser = log_in_as(&server, client_id, &told);
        let auth_time = now;
        let begun = sign_in(&server, &mut browser, &app, &[]);
        server.time.advance(Duration::from_secs(100));
        now += 100;
        let refresh_token = begun.text("refresh_token");
        let form = refreshing(&refresh_token);
        let refreshed = server.ask_for_token(&app, &form);
        assert_eq!(refreshed.status, 200, "{refreshed:?}");
        let expected = |answer: &Answer| {
            json!({
                "iss": server.issuer, "sub": SUBJECT, "aud": client_id, "iat": now, "exp": now + 3600,
                "auth_time": auth_time, "amr": ["pwd"], "at_hash": at_hash(&answer.text("access_token"), &SHA512),
            })
        };
        assert_eq!(id_token(&server, client_id, "EdDSA", &refreshed), expected(&refreshed), "{client_id}");
        let again = server.ask_for_token(&app, &form);
        assert_eq!(id_token(&server, client_id, "EdDSA", &again), expected(&again), "{client_id} again");
        let next = again.text("refresh_token");
        let narrowed = [("grant_type", "refresh_token"), ("refresh_token", &*next), ("scope", "read")];
        let narrowed = server.ask_for_token(&app, &narrowed);
        assert_eq!((narrowed.status, narrowed.json().get("id_token")), (200, None), "{client_id} without openid");
    }
}

#[test]
fn a_device_gets_an_id_token_too() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let mut browser = log_in(&server, "app");
    for (scope, has_id_token) in [("openid read", true), ("read", false)] {
        let device_code = person::device_code_for(&server, &mut browser, &app, scope);
        let answer = server.ask_for_token(&app, &poll(&device_code));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json().get("id_token").is_some(), has_id_token, "{scope}");
        if has_id_token {
            let claims = id_token(&server, "app", "EdDSA", &answer);
            assert_eq!((&claims["sub"], claims.get("nonce")), (&json!(SUBJECT), None));
            assert_eq!(claims["auth_time"], START_SECONDS);
        }
    }
}

/// Otherwise a client could not check it, or had lost what it came with.
#[test]
fn a_code_is_kept_where_no_key_signs_its_id_token() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let mut browser = log_in(&server, "app");
    let mut code = |changes: &[(&str, &str)]| {
        query(&destination(&browser.get(&server, &request("app", changes)))).remove("code").unwrap()
    };
    let (with, without) = (code(&[]), code(&[("scope", "read")]));
    assert_eq!(redeem(&server, &app, &with).error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(redeem(&server, &app, &without).status, 200);
    let rotated =
        server.ask_socket(&Request::post("/admin/v1/keys/rotate").json(&json!({ "alg": "EdDSA", "at_once": true })));
    assert_eq!(rotated.status, 201, "{rotated:?}");
    assert_eq!(redeem(&server, &app, &with).status, 200, "now there is one");
}

/// Rotated at once and forgotten at once, a key would be gone while its ID tokens are good.
#[test]
fn a_key_that_has_signed_an_id_token_is_published_until_that_has_expired() {
    let server = TestServer::start_with(|config| {
        with_keys(config);
        config.storage.durability = Durability::Sync;
        config.tokens.id_token_lifetime_seconds = 86_400;
        config.tokens.access_token_lifetime_seconds = 60;
    });
    let app = register(&server, "app", &json!({}));
    let answer = sign_in(&server, &mut log_in(&server, "app"), &app, &[]);
    let kid = decode_header(answer.text("id_token")).unwrap().kid.unwrap();
    let rotate = Request::post("/admin/v1/keys/rotate").json(&json!({ "alg": "EdDSA", "at_once": true }));
    assert_eq!(server.ask_socket(&rotate).status, 201);
    let server = server.restart();
    let is_published = |server: &TestServer| server.ask(&Request::get("/oauth2/jwks")).body.contains(&kid);
    server.time.advance(Duration::from_secs(86_399));
    server.tick();
    assert!(is_published(&server));
    server.time.advance(Duration::from_secs(6 * 3600 + 1));
    until(|| {
        server.tick();
        !is_published(&server)
    });
}

#[test]
fn an_algorithm_that_no_key_has_is_refused_when_the_client_is_registered() {
    let server = start();
    for (algorithm, reason) in [
        ("ES256", "id_token_signed_response_alg: must be one of EdDSA"),
        ("none", "unknown variant"),
        ("HS256", "unknown variant"),
    ] {
        let document = json!({ "scope": "openid", "id_token_signed_response_alg": algorithm });
        let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&document));
        assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()), "{algorithm}");
        assert!(answer.text("error_description").contains(reason), "{answer:?}");
    }
}
