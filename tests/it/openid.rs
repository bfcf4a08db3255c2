//! `OpenID` Connect Core 1.0: ID tokens, and the parameters of requests for them.

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

use crate::browser::{Browser, destination, hidden, query};
use crate::harness::{START_SECONDS, TestServer};
use crate::http::{Answer, Credentials, Request};
use crate::keys::until;
use crate::person::{
    self, CALLBACK, CHALLENGE, DEVICE_GRANT_TYPE, LOGIN_PAGE, SUBJECT, log_in, log_in_as, poll, redeem, refreshing,
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

/// What becomes of a request of this browser: a code, an error, or a page.
fn outcome(server: &TestServer, browser: &mut Browser, request: &str) -> String {
    let answer = browser.get(server, request);
    let Some(location) = answer.field("location") else { return format!("page {}", answer.status) };
    if location.starts_with(LOGIN_PAGE) {
        return "login".to_owned();
    }
    let told = query(location);
    told.get("error").cloned().unwrap_or_else(|| format!("code {}", told.contains_key("code")))
}

/// The name that a client gets for a request that it pushes.
#[track_caller]
fn pushed(server: &TestServer, client: &Credentials, changes: &[(&str, &str)]) -> Answer {
    let request = request(&client.id, changes);
    let (_, form) = request.split_once('?').unwrap();
    server.ask(&Request::post("/oauth2/par").basic(client).form_bytes(form))
}

/// FC-2 and FC-3 of the reference, and what else a request may get wrong: told to the client, however it asks.
#[test]
fn fc_2_fc_3_parameters_that_mean_nothing_are_refused() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let mut browser = log_in(&server, "app");
    let long = "a".repeat(16_000);
    let deep = format!("{{\"userinfo\":{}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    let large = format!("{{\"userinfo\":{{\"{}\":null}}}}", "a".repeat(5_000));
    for (name, value) in [
        ("max_age", "-1"),
        ("max_age", "+1"),
        ("max_age", "1.5"),
        ("max_age", "1e3"),
        ("max_age", " 1"),
        ("max_age", "0x10"),
        ("max_age", "4294967296"),
        ("max_age", "99999999999999999999999999"),
        ("max_age", "never"),
        ("prompt", "none login"),
        ("prompt", "none consent"),
        ("prompt", "login login"),
        ("prompt", "\"><svg/onload=alert(1)>"),
        ("login_hint", &long),
        ("nonce", &long),
        ("state", &long),
        ("claims", "[]"),
        ("claims", "null"),
        ("claims", "email"),
        ("claims", "{"),
        ("claims", "{}{}"),
        ("claims", r#"{"userinfo":["email"]}"#),
        ("claims", r#"{"userinfo":{"email":true}}"#),
        ("claims", r#"{"id_token":{"acr":{"values":"a"}}}"#),
        ("claims", r#"{"id_token":{"sub":{"value":7}}}"#),
        ("claims", r#"{"id_token":{"sub":{"value":""}}}"#),
        ("claims", &deep),
        ("claims", &large),
        ("id_token_hint", "x"),
        ("id_token_hint", "a.b.c"),
        ("id_token_hint", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."),
        ("id_token_hint", &long),
    ] {
        let shown = &value[..value.len().min(40)];
        assert_eq!(
            outcome(&server, &mut browser, &request("app", &[(name, value)])),
            "invalid_request",
            "{name} {shown}"
        );
        let answer = pushed(&server, &app, &[(name, value)]);
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{name} {shown}");
        let twice = format!("{}&{name}=1&{name}=1", request("app", &[(name, "")]));
        assert_eq!(outcome(&server, &mut browser, &twice), "invalid_request", "{name} twice");
    }
}

#[test]
fn core_3_1_2_1_what_need_not_be_honoured_is_ignored() {
    let server = start();
    register(&server, "app", &json!({}));
    let mut browser = log_in(&server, "app");
    for (name, value) in [
        ("display", "page"),
        ("display", "hologram"),
        ("ui_locales", "de-CH fr xx"),
        ("ui_locales", "\"><svg/onload=alert(1)>"),
        ("claims_locales", "de"),
        ("acr_values", "urn:a urn:b"),
        ("login_hint", "\"><svg/onload=alert(1)>"),
        ("max_age", "4294967295"),
        ("nonce", "\r\n</script>"),
        ("claims", "{}"),
        ("claims", r#"{"userinfo":{"unknown":{"essential":true}},"other":[]}"#),
    ] {
        assert_eq!(outcome(&server, &mut browser, &request("app", &[(name, value)])), "code true", "{name} {value}");
    }
}

/// FC-2, FC-3: what came with the request stands on the page as text.
#[test]
fn a_login_hint_fills_in_the_form_escaped() {
    let server = TestServer::start_with(|config| config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA").unwrap());
    register(&server, "app", &json!({}));
    let hint = "\"><svg/onload=alert(1)>";
    let page =
        Browser::default().get(&server, &request("app", &[("login_hint", hint), ("nonce", hint), ("state", hint)]));
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("svg&#x2f;onload=alert(1)") || page.body.contains("svg/onload=alert(1)&gt;"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("<svg/onload"), "{}", page.body);
}

#[test]
fn core_3_1_2_1_max_age_wants_a_recent_login_and_auth_time_tells_of_it() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let strict = register(&server, "strict", &json!({ "default_max_age": 60, "require_auth_time": true }));
    let mut browser = log_in(&server, "app");
    server.time.advance(Duration::from_secs(100));
    let ask = |browser: &mut Browser, client_id: &str, changes: &[(&str, &str)]| {
        outcome(&server, browser, &request(client_id, changes))
    };
    assert_eq!(ask(&mut browser, "app", &[("max_age", "100")]), "code true");
    assert_eq!(ask(&mut browser, "app", &[("max_age", "99")]), "login");
    assert_eq!(ask(&mut browser, "app", &[("max_age", "0")]), "login");
    assert_eq!(ask(&mut browser, "app", &[("max_age", "99"), ("prompt", "none")]), "login_required");
    assert_eq!(ask(&mut browser, "strict", &[]), "login", "its own");
    assert_eq!(ask(&mut browser, "strict", &[("max_age", "100")]), "code true", "the request's counts");
    let pushed = pushed(&server, &app, &[("max_age", "99")]).text("request_uri");
    let by_name =
        Serializer::new(String::new()).extend_pairs([("client_id", "app"), ("request_uri", &pushed)]).finish();
    assert_eq!(ask(&mut browser, "app", &[("max_age", "100")]), "code true");
    assert_eq!(outcome(&server, &mut browser, &format!("/oauth2/authorize?{by_name}")), "login", "pushed");
    let mut again = log_in(&server, "strict");
    let answer = sign_in(&server, &mut again, &strict, &[]);
    assert_eq!(id_token(&server, "strict", "EdDSA", &answer)["auth_time"], START_SECONDS + 100);
}

/// Lets the operator's page log somebody in for a request, and answers where the browser is sent then.
#[track_caller]
fn log_in_for(server: &TestServer, browser: &mut Browser, request: &str, told: &Value) -> String {
    let sent = destination(&browser.get(server, request));
    let challenge = sent.strip_prefix(&format!("{LOGIN_PAGE}?login_challenge=")).unwrap_or_else(|| panic!("{sent}"));
    let accept = Request::post(&format!("/admin/v1/logins/{challenge}/accept")).json(told);
    let back = server.ask_socket(&accept).text("redirect_to");
    let answer = browser.open(server, &back);
    destination(&answer)
}

#[test]
fn core_3_1_2_2_an_id_token_hint_is_about_one_person() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let mut browser = log_in(&server, "app");
    let hint = sign_in(&server, &mut browser, &app, &[]).text("id_token");
    server.time.advance(Duration::from_secs(7200));
    // It has expired, which does not matter.
    let mut ann = log_in(&server, "app");
    let mut bob = log_in_as(&server, "app", &json!({ "subject": "bob" }));
    let with = |more: &[(&'static str, &'static str)]| {
        let changes = [("id_token_hint", &*hint)].into_iter().chain(more.iter().copied()).collect::<Vec<_>>();
        request("app", &changes)
    };
    assert_eq!(outcome(&server, &mut ann, &with(&[])), "code true");
    assert_eq!(outcome(&server, &mut ann, &with(&[("prompt", "none")])), "code true");
    assert_eq!(outcome(&server, &mut bob, &with(&[("prompt", "none")])), "login_required");
    assert_eq!(outcome(&server, &mut Browser::default(), &with(&[("prompt", "none")])), "login_required");
    assert_eq!(outcome(&server, &mut bob, &with(&[])), "login");
    let by_bob = log_in_for(&server, &mut bob.clone(), &with(&[]), &json!({ "subject": "bob" }));
    assert_eq!(query(&by_bob)["error"], "login_required", "once more would be the same");
    let by_ann = log_in_for(&server, &mut bob, &with(&[]), &json!({ "subject": SUBJECT }));
    assert!(query(&by_ann).contains_key("code"), "{by_ann}");
    let other = [("claims", r#"{"id_token":{"sub":{"value":"bob"}}}"#)];
    assert_eq!(outcome(&server, &mut ann, &with(&other)), "invalid_request", "two people at once");
    assert_eq!(outcome(&server, &mut ann, &request("app", &[other[0], ("prompt", "none")])), "login_required");
    let pushed = pushed(&server, &app, &[("id_token_hint", &hint), ("prompt", "none")]).text("request_uri");
    let by_name =
        Serializer::new(String::new()).extend_pairs([("client_id", "app"), ("request_uri", &pushed)]).finish();
    let by_name = format!("/oauth2/authorize?{by_name}");
    let mut bob = log_in_as(&server, "app", &json!({ "subject": "bob" }));
    assert_eq!(outcome(&server, &mut bob, &by_name), "login_required");
    assert_eq!(outcome(&server, &mut ann, &by_name), "code true");
    let of_another = start();
    register(&of_another, "app", &json!({}));
    let mut stranger = log_in(&of_another, "app");
    assert_eq!(outcome(&of_another, &mut stranger, &with(&[])), "invalid_request", "of another server");
}

#[test]
fn core_5_5_1_1_an_essential_acr_is_reached_or_nothing_is_granted() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let with = |asked: &str| request("app", &[("claims", &format!(r#"{{"id_token":{{"acr":{asked}}}}}"#))]);
    let sure = with(r#"{"essential":true,"values":["urn:sure","urn:surer"]}"#);
    let mut browser = log_in_as(&server, "app", &json!({ "subject": SUBJECT, "acr": "urn:usual" }));
    assert_eq!(outcome(&server, &mut browser, &with(r#"{"values":["urn:sure"]}"#)), "code true", "voluntary");
    assert_eq!(outcome(&server, &mut browser, &sure), "login");
    let usual = log_in_for(&server, &mut browser.clone(), &sure, &json!({ "subject": SUBJECT, "acr": "urn:usual" }));
    assert_eq!(query(&usual)["error"], "access_denied");
    let reached = log_in_for(&server, &mut browser, &sure, &json!({ "subject": SUBJECT, "acr": "urn:surer" }));
    let answer = redeem(&server, &app, &query(&reached)["code"]);
    assert_eq!(id_token(&server, "app", "EdDSA", &answer)["acr"], "urn:surer");
}

/// What is asked for by name is told as long as the grant lives: after a restart, and after a refresh too.
#[test]
fn core_5_5_claims_that_are_asked_for_by_name_are_told_where_they_were_asked_for() {
    let server = TestServer::start_with(|config| {
        with_keys(config);
        config.storage.durability = Durability::Sync;
    });
    let document = json!({ "sub": SUBJECT, "username": "ann", "name": "Ann Bee", "email": "ann@example.com" });
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/users").json(&document)).status, 201);
    let app = register(&server, "app", &json!({ "scope": "openid profile read write" }));
    let claims = json!({
        "userinfo": { "preferred_username": null, "email": { "essential": true }, "name": { "value": "Bob" } },
        "id_token": { "name": { "essential": true }, "email": null, "shoe_size": null },
    });
    let mut browser = log_in(&server, "app");
    let answer = sign_in(&server, &mut browser, &app, &[("claims", &claims.to_string())]);
    let check = |server: &TestServer, answer: &Answer| {
        let told = id_token(server, "app", "EdDSA", answer);
        // The client is not registered for the scope email.
        assert_eq!((&told["name"], told.get("email")), (&json!("Ann Bee"), None));
        let info = server.ask(&Request::get("/oauth2/userinfo").bearer(&answer.text("access_token")));
        assert_eq!(info.json(), json!({ "sub": SUBJECT, "preferred_username": "ann" }));
    };
    check(&server, &answer);
    let server = server.restart();
    let info = server.ask(&Request::get("/oauth2/userinfo").bearer(&answer.text("access_token")));
    assert_eq!(info.json(), json!({ "sub": SUBJECT, "preferred_username": "ann" }), "after a restart");
    let refresh_token = answer.text("refresh_token");
    check(&server, &server.ask_for_token(&app, &refreshing(&refresh_token)));
    let plain = sign_in(&server, &mut log_in(&server, "app"), &app, &[]);
    assert_eq!(id_token(&server, "app", "EdDSA", &plain).get("name"), None);
    let pushed = pushed(&server, &app, &[("claims", &claims.to_string())]).text("request_uri");
    let by_name =
        Serializer::new(String::new()).extend_pairs([("client_id", "app"), ("request_uri", &pushed)]).finish();
    let location = log_in_for(
        &server,
        &mut Browser::default(),
        &format!("/oauth2/authorize?{by_name}"),
        &json!({ "subject": SUBJECT }),
    );
    check(&server, &redeem(&server, &app, &query(&location)["code"]));
}

/// Otherwise a client could ask by name for what nobody has let it have.
#[test]
fn a_person_is_asked_for_the_scope_of_a_claim_that_is_asked_for_by_name() {
    let server = start();
    register(&server, "app", &json!({ "skip_consent": false }));
    let mut browser = Browser::default();
    let told = json!({ "subject": SUBJECT });
    let sent = destination(&browser.get(&server, &request("app", &[])));
    let challenge = sent.strip_prefix(&format!("{LOGIN_PAGE}?login_challenge=")).unwrap();
    let accept = Request::post(&format!("/admin/v1/logins/{challenge}/accept")).json(&told);
    let page = browser.open(&server, &server.ask_socket(&accept).text("redirect_to"));
    let [csrf, sealed] = ["csrf", "request"].map(|name| hidden(&page, name));
    let allow = [("csrf", &*csrf), ("request", &sealed), ("decision", "allow")];
    let allowed = browser.post(&server, "/oauth2/consent", &allow);
    assert!(query(&destination(&allowed)).contains_key("code"), "{allowed:?}");
    assert_eq!(outcome(&server, &mut browser, &request("app", &[])), "code true", "allowed before");
    let email = request("app", &[("claims", r#"{"userinfo":{"email":null}}"#)]);
    let page = browser.get(&server, &email);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("email address"), "{}", page.body);
    let silently = request("app", &[("claims", r#"{"userinfo":{"email":null}}"#), ("prompt", "none")]);
    assert_eq!(outcome(&server, &mut browser, &silently), "consent_required");
}
