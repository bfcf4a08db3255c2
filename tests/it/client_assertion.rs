//! Clients that sign: `private_key_jwt` (RFC 7523, `OpenID` Connect Core §9). CA-3 of the catalogue of bad inputs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use tessera::oauth::algorithm::SigningAlgorithm;
use tessera::signing::private_key::PrivateKey;

use crate::harness::{START_SECONDS, TestServer, admin};
use crate::http::{Answer, Request};
use crate::keys::until;

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client that signs.
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) key: PrivateKey,
}

impl Signer {
    pub(crate) fn register(server: &TestServer, id: &str, more: &Value) -> Self {
        let key = new_key();
        let mut metadata = metadata_of(&key);
        metadata["client_id"] = json!(id);
        metadata["scope"] = json!("read");
        let members = more.as_object().unwrap().clone();
        metadata.as_object_mut().unwrap().extend(members);
        let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&metadata));
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(answer.json().get("client_secret").is_none(), "{answer:?}");
        Self { id: id.to_owned(), key }
    }

    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(text.as_bytes(), &SystemRandom::new(), <[u8]>::to_vec).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn claims(&self, server: &TestServer, jti: &str) -> Value {
        json!({ "iss": self.id, "sub": self.id, "aud": server.issuer, "jti": jti, "exp": START_SECONDS + 60 })
    }

    pub(crate) fn assertion(&self, server: &TestServer, jti: &str) -> String {
        self.sign(r#"{"alg":"EdDSA"}"#, &self.claims(server, jti).to_string())
    }
}

pub(crate) fn new_key() -> PrivateKey {
    PrivateKey::generate(SigningAlgorithm::EdDsa, &SystemRandom::new()).unwrap()
}

fn metadata_of(key: &PrivateKey) -> Value {
    json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key.public().to_jwk()] } })
}

fn ask(server: &TestServer, path: &str, assertion: &str, parameters: &[(&str, &str)]) -> Answer {
    let mut form = vec![("client_assertion_type", TYPE), ("client_assertion", assertion)];
    form.extend(parameters);
    server.ask(&Request::post(path).form(&form))
}

pub(crate) fn ask_for_token(server: &TestServer, assertion: &str) -> Answer {
    ask(server, "/oauth2/token", assertion, &[("grant_type", "client_credentials")])
}

/// The assertion is refused with 401, and the description has that part.
#[track_caller]
fn check(server: &TestServer, name: &str, assertion: &str, expected: &str) {
    let answer = ask_for_token(server, assertion);
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()), "{name}: {answer:?}");
    assert!(answer.text("error_description").contains(expected), "{name}: {answer:?}");
}

#[test]
fn a_client_that_registers_itself_may_bring_its_keys() {
    let server = TestServer::start();
    let policy = json!({ "policy": { "grant_types": ["client_credentials"], "scope": "read" } });
    let token = server.ask_socket(&Request::post("/admin/v1/initial-access-tokens").json(&policy));
    let register = |metadata: &Value| {
        let request = Request::post("/oauth2/register").bearer(&token.text("initial_access_token"));
        server.ask(&request.json(metadata))
    };
    let key = new_key();
    let mut metadata = metadata_of(&key);
    metadata["grant_types"] = json!(["client_credentials"]);
    let answer = register(&metadata);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.json().get("client_secret").is_none(), "{answer:?}");
    let signer = Signer { id: answer.text("client_id"), key };
    assert_eq!(ask_for_token(&server, &signer.assertion(&server, "a")).status, 200);

    metadata["jwks"] = json!({ "keys": [] });
    assert_eq!(register(&metadata).error(), (400, "invalid_client_metadata".to_owned()));
}

#[test]
fn a_client_that_signs_authenticates_wherever_clients_do() {
    let server = TestServer::start();
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let grants = json!({
        "grant_types": ["client_credentials", "authorization_code", device], "redirect_uris": ["https://app.example/cb"],
    });
    let app = Signer::register(&server, "app", &grants);
    let issued = ask_for_token(&server, &app.assertion(&server, "1"));
    assert_eq!(issued.status, 200, "{issued:?}");
    let token = issued.text("access_token");
    let introspected = ask(&server, "/oauth2/introspect", &app.assertion(&server, "2"), &[("token", &token)]);
    assert_eq!(introspected.json()["active"], true, "{introspected:?}");
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let request = [
        ("response_type", "code"),
        ("redirect_uri", "https://app.example/cb"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ];
    let pushed = ask(&server, "/oauth2/par", &app.assertion(&server, "3"), &request);
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let started = ask(&server, "/oauth2/device_authorization", &app.assertion(&server, "4"), &[("client_id", "app")]);
    assert_eq!(started.status, 200, "{started:?}");
    let revoked = ask(&server, "/oauth2/revoke", &app.assertion(&server, "5"), &[("token", &token)]);
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert!(!server.is_active(&admin(), &token));
    for path in ["introspect", "par", "device_authorization", "revoke", "token"] {
        let again = ask(&server, &format!("/oauth2/{path}"), &app.assertion(&server, "1"), &[("token", &token)]);
        assert_eq!(again.error(), (401, "invalid_client".to_owned()), "{path}: a jti counts once wherever it is used");
    }
}

#[test]
fn a_client_that_signs_may_name_several_resources() {
    let server = TestServer::start();
    let resources = ["https://a.example", "https://b.example"];
    let grants = json!({
        "grant_types": ["client_credentials", "authorization_code"], "redirect_uris": ["https://app.example/cb"],
        "audience": resources,
    });
    let app = Signer::register(&server, "app", &grants);
    let [a, b] = resources.map(|resource| ("resource", resource));
    let request = [("grant_type", "client_credentials"), a, b];
    let issued = ask(&server, "/oauth2/token", &app.assertion(&server, "1"), &request);
    assert_eq!(issued.status, 200, "{issued:?}");
    let request = [
        ("response_type", "code"),
        ("redirect_uri", "https://app.example/cb"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
        a,
        b,
    ];
    let pushed = ask(&server, "/oauth2/par", &app.assertion(&server, "2"), &request);
    assert_eq!(pushed.status, 201, "{pushed:?}");
}

#[test]
fn ca_3_a_bad_assertion_is_refused_with_what_is_wrong_with_it() {
    let server = TestServer::start();
    let app = Signer::register(&server, "app", &json!({}));
    let other = Signer::register(&server, "other", &json!({}));
    let good = app.claims(&server, "j").to_string();
    let with = |member: &str, value: Value| {
        let mut claims = app.claims(&server, "j");
        claims[member] = value;
        claims.to_string()
    };
    let without = |member: &str| {
        let mut claims = app.claims(&server, "j");
        claims.as_object_mut().unwrap().remove(member);
        claims.to_string()
    };
    let unproven = "not signed by a key";
    for alg in ["none", "None", "nOnE", "HS256", "RS512", "eddsa", ""] {
        check(&server, alg, &app.sign(&json!({ "alg": alg }).to_string(), &good), "alg must be");
    }
    check(&server, "no alg", &app.sign("{}", &good), "alg must be");
    for alg in ["ES256", "ES384", "RS256", "PS256"] {
        check(&server, alg, &app.sign(&json!({ "alg": alg }).to_string(), &good), unproven);
    }
    for kid in ["../../etc/passwd", "' OR 1=1 --", "https://evil.example/key", ""] {
        check(&server, kid, &app.sign(&json!({ "alg": "EdDSA", "kid": kid }).to_string(), &good), unproven);
    }
    let brought = serde_json::to_value(other.key.public().to_jwk()).unwrap();
    let headers = [
        (json!({ "jwk": brought }), "must not bring a key"),
        (json!({ "jku": "https://evil.example/" }), "must not bring a key"),
        (json!({ "x5u": "https://evil.example/" }), "must not bring a key"),
        (json!({ "x5c": ["MII"] }), "must not bring a key"),
        (json!({ "crit": ["exp"] }), "must not have crit"),
        (json!({ "crit": null }), "must not have crit"),
        (json!({ "b64": false, "crit": ["b64"] }), "must not have crit"),
        (json!({ "b64": false }), "must not have crit"),
        (json!({ "zip": "DEF" }), "must not have crit"),
        (json!({ "enc": "A128GCM" }), "must not have crit"),
        (json!({ "typ": "at+jwt" }), "typ must be"),
        (json!({ "typ": "dpop+jwt" }), "typ must be"),
        (json!({ "typ": "application/logout+jwt" }), "typ must be"),
        (json!({ "typ": 7 }), "typ must be"),
        (json!({ "kid": 7 }), "kid must be"),
    ];
    for (members, expected) in headers {
        let mut header = json!({ "alg": "EdDSA" });
        header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        check(&server, &header.to_string(), &app.sign(&header.to_string(), &good), expected);
    }
    let now = START_SECONDS;
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let claims = [
        (without("iss"), "iss must be"),
        (with("iss", json!(["app"])), "iss must be"),
        (with("iss", json!("other")), "sub must be"),
        (without("sub"), "sub must be"),
        (with("sub", json!("other")), "sub must be"),
        (without("aud"), "aud must be"),
        (with("aud", json!("https://other.example")), "aud must be"),
        (with("aud", json!([server.issuer, "https://other.example"])), "aud must be"),
        (with("aud", json!([])), "aud must be"),
        (with("aud", json!(format!("{}/oauth2/revoke", server.issuer))), "aud must be"),
        (with("aud", json!({ "0": server.issuer })), "aud must be"),
        (without("exp"), "exp is missing"),
        (good.replace(&(now + 60).to_string(), "1e308"), "must be numbers"),
        (good.replace(&(now + 60).to_string(), "1e999"), "its claims must be"),
        (with("exp", json!(-1)), "must be numbers"),
        (with("exp", json!((now + 60).to_string())), "must be numbers"),
        (with("exp", json!(null)), "must be numbers"),
        (with("exp", json!(now - 30)), "has expired"),
        (with("exp", json!(now + 631)), "600 seconds ahead"),
        (with("iat", json!(now + 31)), "iat is in the future"),
        (with("iat", json!(now - 3601)), "more than an hour"),
        (with("iat", json!("now")), "must be numbers"),
        (with("nbf", json!(now + 31)), "nbf is in the future"),
        (without("jti"), "jti must be"),
        (with("jti", json!("")), "jti must be"),
        (with("jti", json!(7)), "jti must be"),
        (with("jti", json!("j".repeat(257))), "jti must be"),
        (good.replace('}', r#","sub":"app"}"#), "no member twice"),
        (good.replace('}', r#","x":1,"x":1}"#), "no member twice"),
        (good.replace('}', &format!(r#","x":{deep}}}"#)), "its claims must be"),
        ("[]".to_owned(), "its claims must be"),
        (String::new(), "its claims must be"),
        (with("x", json!("x".repeat(8192))), "longer than 8192"),
    ];
    for (claims, expected) in claims {
        check(&server, &claims, &app.sign(r#"{"alg":"EdDSA"}"#, &claims), expected);
    }
    let doubled = app.sign(r#"{"alg":"none","alg":"EdDSA"}"#, &good);
    check(&server, "alg twice", &doubled, "its header must be");
    let signed = app.sign(r#"{"alg":"EdDSA"}"#, &good);
    let (text, _) = signed.rsplit_once('.').unwrap();
    check(&server, "no signature", &format!("{text}."), unproven);
    check(&server, "a signature of zeros", &format!("{text}.{}", URL_SAFE_NO_PAD.encode([0; 64])), unproven);
    check(&server, "another's", &other.sign(r#"{"alg":"EdDSA"}"#, &good), unproven);
    check(&server, "detached", &signed.replacen(text.split_once('.').unwrap().1, "", 1), "its claims must be");
    for text in ["a", "a.b", "a.b.c.d", "..", "a.b.c"] {
        check(&server, text, text, "it");
    }
    let nobody = good.replace("\"app\"", "\"nobody\"");
    check(&server, "nobody's", &app.sign(r#"{"alg":"EdDSA"}"#, &nobody), unproven);
    let admins = good.replace("\"app\"", "\"admin\"");
    check(&server, "of a client with a secret", &app.sign(r#"{"alg":"EdDSA"}"#, &admins), unproven);
    // None of these has used up the jti, and what is allowed passes.
    assert_eq!(ask_for_token(&server, &signed).status, 200);
    check(&server, "again", &signed, "its jti was used before");
    let same_jti = other.assertion(&server, "j");
    assert_eq!(ask_for_token(&server, &same_jti).status, 200, "another client's jti is another");
    for (number, (member, value)) in [
        ("aud", json!([server.issuer])),
        ("aud", json!(format!("{}/oauth2/token", server.issuer))),
        ("exp", json!(now + 630)),
        ("exp", json!(now - 29)),
        ("exp", json!(f64::from(u32::try_from(now).unwrap()) + 0.5)),
        ("iat", json!(now + 30)),
        ("nbf", json!(now + 30)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut claims = app.claims(&server, &format!("good {number}"));
        claims[member] = value;
        for typ in ["JWT", "application/client-authentication+jwt"].iter().take(1 + number % 2).skip(number % 2) {
            let header = json!({ "alg": "EdDSA", "typ": typ, "kid": app.key.public().thumbprint() }).to_string();
            let answer = ask_for_token(&server, &app.sign(&header, &claims.to_string()));
            assert_eq!(answer.status, 200, "{claims}: {answer:?}");
        }
    }
}

#[test]
fn an_assertion_stands_alone_and_says_what_it_is() {
    let server = TestServer::start();
    let app = Signer::register(&server, "app", &json!({}));
    let assertion = app.assertion(&server, "1");
    let ask = |request: Request, form: &[(&str, &str)]| {
        let form: Vec<_> = form.iter().copied().chain([("grant_type", "client_credentials")]).collect();
        server.ask(&request.form(&form)).error()
    };
    let token = || Request::post("/oauth2/token");
    let (kind, text) = (("client_assertion_type", TYPE), ("client_assertion", assertion.as_str()));
    let invalid_client = (401, "invalid_client".to_owned());
    let invalid_request = (400, "invalid_request".to_owned());
    assert_eq!(ask(token(), &[text]), invalid_client);
    assert_eq!(ask(token(), &[kind]), invalid_client);
    let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    assert_eq!(ask(token(), &[text, ("client_assertion_type", saml)]), invalid_client);
    assert_eq!(ask(token(), &[kind, text, ("client_id", "admin")]), invalid_client);
    assert_eq!(ask(token(), &[kind, text, ("client_id", "app"), ("client_secret", "s")]), invalid_request);
    assert_eq!(ask(token().basic(&admin()), &[kind, text]), invalid_request);
    assert_eq!(ask(token(), &[("client_id", "app")]), invalid_client, "it is no public client");
    assert_eq!(ask(token(), &[("client_id", "app"), ("client_secret", "s")]), invalid_client);
    assert_eq!(ask_for_token(&server, &assertion).status, 200);
}

#[test]
fn what_is_registered_decides_the_algorithm() {
    let server = TestServer::start();
    let key = PrivateKey::generate(SigningAlgorithm::Es256, &SystemRandom::new()).unwrap();
    let mut jwk = serde_json::to_value(key.public().to_jwk()).unwrap();
    jwk["kid"] = json!("ec");
    let ed = PrivateKey::generate(SigningAlgorithm::EdDsa, &SystemRandom::new()).unwrap();
    let keys = json!({ "keys": [jwk, ed.public().to_jwk()] });
    let more = json!({ "jwks": keys, "token_endpoint_auth_signing_alg": "ES256" });
    Signer::register(&server, "app", &more);
    let [ec, ed] = [key, ed].map(|key| Signer { id: "app".to_owned(), key });
    let claims = |jti| ec.claims(&server, jti).to_string();
    assert_eq!(ask_for_token(&server, &ec.sign(r#"{"alg":"ES256","kid":"ec"}"#, &claims("1"))).status, 200);
    check(&server, "the other key", &ed.sign(r#"{"alg":"EdDSA"}"#, &claims("2")), "not signed by a key");
}

#[test]
fn an_assertion_that_was_used_stays_so_until_it_has_expired() {
    let mut server = TestServer::start_durable();
    let app = Signer::register(&server, "app", &json!({}));
    let used = app.assertion(&server, "1");
    assert_eq!(ask_for_token(&server, &used).status, 200);
    for _ in 0..2 {
        server = server.restart_with(|config| {
            config.storage.durability = tessera::config::value::Durability::Sync;
        });
        // Each start has a port, and so an issuer, of its own.
        let claims = app.claims(&server, "1").to_string();
        check(&server, "after a restart", &app.sign(r#"{"alg":"EdDSA"}"#, &claims), "its jti was used before");
        let snapshot = server.ask_socket(&Request::post("/admin/v1/snapshots"));
        assert!(snapshot.status < 300, "{snapshot:?}");
    }
    server.time.advance(Duration::from_secs(60 + 30 + 32));
    server.tick();
    let mut claims = app.claims(&server, "1");
    claims["exp"] = json!(START_SECONDS + 200);
    let again = app.sign(r#"{"alg":"EdDSA"}"#, &claims.to_string());
    // A name is free again once nothing of it can come back, and its shard has come to it.
    until(|| ask_for_token(&server, &again).status == 200);
}

#[test]
fn of_many_uses_at_once_one_succeeds() {
    let server = TestServer::start_with(|config| config.http.workers = 2);
    let app = Signer::register(&server, "app", &json!({}));
    let mut connections: Vec<_> = (0..32).map(|_| server.connect()).collect();
    for round in 0..8 {
        let assertion = app.assertion(&server, &round.to_string());
        let form =
            [("client_assertion_type", TYPE), ("client_assertion", &assertion), ("grant_type", "client_credentials")];
        let request = Request::post("/oauth2/token").form(&form).to_bytes();
        let (all_but_last, last) = request.split_at(request.len() - 1);
        for part in [all_but_last, last] {
            assert!(connections.iter_mut().all(|connection| connection.send(part)));
        }
        let answers = connections.iter_mut().map(|connection| connection.answer().expect("an answer").status);
        let (good, others): (Vec<_>, Vec<_>) = answers.partition(|status| *status == 200);
        assert_eq!((good.len(), others), (1, vec![401; 31]), "round {round}");
    }
}

#[test]
fn an_assertion_leaves_the_answers_before_it_alone() {
    let server = TestServer::start();
    let app = Signer::register(&server, "app", &json!({}));
    let assertion = app.assertion(&server, "1");
    let form = [("client_assertion_type", TYPE), ("client_assertion", &assertion), ("token", "none")];
    let first = Request::post("/oauth2/introspect").basic(&admin()).form(&[("token", "none")]).to_bytes();
    let second = Request::post("/oauth2/introspect").form(&form).to_bytes();
    let mut connection = server.connect();
    assert!(connection.send(&[first.clone(), second, first].concat()));
    for _ in 0..3 {
        let answer = connection.answer().expect("an answer");
        assert_eq!((answer.status, answer.json()), (200, json!({ "active": false })));
    }
}

#[test]
fn a_client_has_no_secret_beside_its_keys_and_fetched_keys_are_refused() {
    let server = TestServer::start();
    Signer::register(&server, "app", &json!({}));
    let ask = |path: &str, document: &Value| {
        let answer = server.ask_socket(&Request::post(path).json(document));
        (answer.status, answer.text("error_description"))
    };
    let (status, reason) = ask("/admin/v1/clients/app/secret", &json!({}));
    assert!(status == 400 && reason.contains("has no secret"), "{status} {reason}");
    let uri = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.example/keys" });
    let (status, reason) = ask("/admin/v1/clients", &uri);
    assert!(status == 400 && reason.contains("jwks_uri"), "{status} {reason}");
    let private = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "AA" }] });
    let keys = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": private });
    let (status, reason) = ask("/admin/v1/clients", &keys);
    assert!(status == 400 && reason.contains("private"), "{status} {reason}");
}
