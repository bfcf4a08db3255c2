//! Access tokens that are JWTs (RFC 9068), for the resources that were asked for (RFC 8707).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use serde_json::{Value, json};
use tessera::config::Config;
use tessera::config::value::{Durability, KeyAlgorithms};

use crate::browser::{Browser, destination, hidden, query};
use crate::harness::{START_SECONDS, TestServer};
use crate::http::{Answer, Credentials, Request};
use crate::keys::until;
use crate::person::{
    self, DEVICE_GRANT_TYPE, SUBJECT, authorization_request_with, code_for, log_in, log_in_as, poll, redemption,
    refreshing, tokens,
};
use crate::process::program::{Home, Program};

const ALGORITHMS: [&str; 5] = ["EdDSA", "ES256", "ES384", "RS256", "PS256"];
const CLIENTS: &str = "/admin/v1/clients";
const A: &str = "https://a.example/api";
const B: &str = "urn:example:b";
/// Of no client.
const C: &str = "https://c.example/";
const LIFETIME: Duration = Duration::from_secs(3600);

fn configure(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA").unwrap();
    person::log_in_elsewhere(config);
}

fn start() -> TestServer {
    TestServer::start_with(configure)
}

/// A client whose tokens are of that format, for both resources, by every grant.
#[track_caller]
fn register(server: &TestServer, client_id: &str, format: &str) -> Credentials {
    let more = json!({
        "access_token_format": format, "audience": [A, B], "introspection": "any",
        "grant_types": ["client_credentials", "authorization_code", "refresh_token", DEVICE_GRANT_TYPE],
    });
    person::register(server, client_id, &more)
}

#[track_caller]
fn access_token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("token_type"), "Bearer");
    answer.text("access_token")
}

fn part(token: &str, number: usize) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap()
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&part(token, 0)).unwrap()
}

fn claims(token: &str) -> Value {
    assert_eq!(token.split('.').count(), 3, "{token}");
    serde_json::from_slice(&part(token, 1)).unwrap()
}

/// The key of the JWK Set that the token names.
#[track_caller]
fn key_of(server: &TestServer, token: &str) -> Option<Value> {
    let keys = server.ask(&Request::get("/oauth2/jwks")).json()["keys"].take();
    keys.as_array().unwrap().iter().find(|key| key["kid"] == header(token)["kid"]).cloned()
}

/// What a resource server does that knows the JWK Set alone.
#[track_caller]
fn is_verified(server: &TestServer, token: &str) -> bool {
    let Some(key) = key_of(server, token) else { return false };
    let number = |member: &str| URL_SAFE_NO_PAD.decode(key[member].as_str().unwrap()).unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (message, signature) = (signed.as_bytes(), part(token, 2));
    let point = || [vec![4], number("x"), number("y")].concat();
    let rsa = |parameters: &'static RsaParameters| {
        PublicKeyComponents { n: number("n"), e: number("e") }.verify(parameters, message, &signature)
    };
    let verified = match key["alg"].as_str().unwrap() {
        "EdDSA" => UnparsedPublicKey::new(&ED25519, number("x")).verify(message, &signature),
        "ES256" => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point()).verify(message, &signature),
        "ES384" => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point()).verify(message, &signature),
        "RS256" => rsa(&RSA_PKCS1_2048_8192_SHA256),
        "PS256" => rsa(&RSA_PSS_2048_8192_SHA256),
        other => panic!("{other}"),
    };
    verified.is_ok()
}

/// `aud` as a list, whatever it stands as.
fn audience(claims: &Value) -> Vec<String> {
    let members = claims["aud"].as_array().cloned().unwrap_or_else(|| vec![claims["aud"].clone()]);
    members.iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

#[test]
fn section_2_1_each_algorithm_signs_what_the_key_of_the_jwk_set_verifies() {
    let server = TestServer::start_with(|config| {
        config.tokens.key_algorithms = KeyAlgorithms::parse(&ALGORITHMS.join(",")).unwrap();
    });
    // Keys of RSA come a little after the start.
    until(|| server.ask(&Request::get("/oauth2/jwks")).json()["keys"].as_array().unwrap().len() == ALGORITHMS.len());
    for (alg, expected) in ALGORITHMS.map(|alg| (Some(alg), alg)).into_iter().chain([(None, "EdDSA")]) {
        let client_id = format!("app-{alg:?}");
        let mut document = json!({ "client_id": client_id, "scope": "read", "access_token_format": "jwt" });
        if let Some(alg) = alg {
            document["access_token_signing_alg"] = json!(alg);
        }
        let app = server.register(&document);
        let token = server.issue(&app);
        let kid = key_of(&server, &token).unwrap()["kid"].clone();
        assert_eq!(header(&token), json!({ "alg": expected, "typ": "at+jwt", "kid": kid }));
        assert_eq!(key_of(&server, &token).unwrap()["alg"], expected);
        assert!(is_verified(&server, &token), "{token}");
        assert!(server.is_active(&app, &token), "{token}");
        assert_ne!(server.issue(&app), token, "each has its own jti");
    }
}

/// Tokens of every grant, of a person of whom much is known.
#[track_caller]
fn tokens_of_every_grant(server: &TestServer, app: &Credentials) -> [(&'static str, String); 4] {
    let told = json!({ "subject": SUBJECT, "amr": ["pwd", "otp"], "acr": "urn:example:sure" });
    let mut browser = log_in_as(server, &app.id, &told);
    let code = code_for(server, &mut browser, &app.id, &[]);
    let (by_code, refresh) = tokens(&server.ask_for_token(app, &redemption(&code, &[])));
    let (by_refresh, _) = tokens(&server.ask_for_token(app, &refreshing(&refresh)));
    let device_code = person::device_code(server, &mut browser, app);
    let by_device = access_token(&server.ask_for_token(app, &poll(&device_code)));
    [("client", server.issue(app)), ("code", by_code), ("refresh", by_refresh), ("device", by_device)]
}

#[test]
fn section_2_2_the_claims_are_the_same_as_introspection_has_them_for_every_grant() {
    let server = start();
    let app = register(&server, "app", "jwt");
    for (grant, token) in tokens_of_every_grant(&server, &app) {
        let claims = claims(&token);
        let scope = if grant == "device" { "read" } else { "read write" };
        let mut expected = json!({
            "iss": server.issuer, "client_id": "app", "aud": [A, B], "scope": scope,
            "iat": START_SECONDS, "exp": START_SECONDS + 3600, "jti": claims["jti"],
        });
        if grant == "client" {
            expected["sub"] = json!("app");
        } else {
            expected["sub"] = json!(SUBJECT);
            expected["auth_time"] = json!(START_SECONDS);
            expected["acr"] = json!("urn:example:sure");
            expected["amr"] = json!(["pwd", "otp"]);
        }
        assert_eq!(claims, expected, "{grant}");
        assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
        assert!(is_verified(&server, &token), "{grant}");
        let introspected = server.introspect(&app, &token).json();
        assert_eq!(introspected["active"], true, "{grant}");
        for member in ["iss", "sub", "client_id", "aud", "scope", "iat", "exp", "auth_time", "acr"] {
            assert_eq!(introspected.get(member), expected.get(member), "{grant} {member}");
        }
    }
}

#[test]
fn section_2_2_who_is_for_nobody_is_for_this_server() {
    let server = start();
    let app = server.register(&json!({ "client_id": "app", "scope": "read", "access_token_format": "jwt" }));
    let token = server.issue(&app);
    assert_eq!(claims(&token)["aud"], json!(server.issuer));
    assert_eq!(server.introspect(&app, &token).json()["aud"], json!([server.issuer]));
}

/// What is asked for at one place, and whom the token is for then; `None` where that is refused.
type Named = (&'static [&'static str], Option<&'static [&'static str]>);

fn with_resources<'a>(form: &[(&'a str, &'a str)], resources: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    form.iter().copied().chain(resources.iter().map(|resource| ("resource", *resource))).collect()
}

#[track_caller]
fn check_audience(server: &TestServer, app: &Credentials, answer: &Answer, format: &str, (asked, expected): Named) {
    let Some(expected) = expected else {
        assert_eq!(answer.error(), (400, "invalid_target".to_owned()), "{format} {asked:?}");
        return;
    };
    let token = access_token(answer);
    let introspected = server.introspect(app, &token).json();
    assert_eq!(audience(&introspected), expected, "{format} {asked:?}");
    if format == "jwt" {
        assert_eq!(audience(&claims(&token)), expected, "{asked:?}");
        assert_eq!(claims(&token)["aud"].is_string(), expected.len() == 1, "{asked:?}");
    }
}

/// Those that are refused everywhere.
const REFUSED: [&[&str]; 6] =
    [&[C], &[A, C], &["api"], &["/api"], &["https://a.example/api#f"], &["https://a.example"]];

#[test]
fn rfc_8707_section_2_a_client_names_some_of_its_resources() {
    let server = start();
    for format in ["opaque", "jwt"] {
        let app = register(&server, format, format);
        let good: [Named; 5] = [
            (&[], Some(&[A, B])),
            (&[A], Some(&[A])),
            (&[B, A], Some(&[B, A])),
            (&[A, A], Some(&[A])),
            (&[""], Some(&[A, B])),
        ];
        for named in good.into_iter().chain(REFUSED.map(|refused| (refused, None))) {
            let form = with_resources(&[("grant_type", "client_credentials")], named.0);
            check_audience(&server, &app, &server.ask_for_token(&app, &form), format, named);
        }
    }
}

#[test]
fn rfc_8707_section_2_1_a_person_is_asked_for_resources_that_the_client_may_have() {
    let server = start();
    register(&server, "app", "jwt");
    let mut browser = log_in(&server, "app");
    for refused in REFUSED {
        let resources = with_resources(&[], refused);
        let answer = browser.get(&server, &authorization_request_with("app", &resources));
        assert_eq!(query(&destination(&answer))["error"], "invalid_target", "{refused:?}");
    }
}

#[test]
fn rfc_8707_section_2_2_what_was_granted_is_narrowed_at_the_token_endpoint_and_at_refresh() {
    let server = start();
    for format in ["opaque", "jwt"] {
        let app = register(&server, format, format);
        let mut browser = log_in(&server, format);
        let of_all: [Named; 4] = [(&[], Some(&[A, B])), (&[B], Some(&[B])), (&[B, A], Some(&[A, B])), (&[B, C], None)];
        let of_a: [Named; 4] = [(&[], Some(&[A])), (&[A], Some(&[A])), (&[B], None), (&[A, B], None)];
        for (granted, table) in [(&[][..], of_all), (&[A, B], of_all), (&[A], of_a)] {
            let code = |browser: &mut Browser| code_for(&server, browser, format, &with_resources(&[], granted));
            for named in table {
                let code = code(&mut browser);
                let form = with_resources(&redemption(&code, &[]), named.0);
                check_audience(&server, &app, &server.ask_for_token(&app, &form), format, named);
            }
            let code = code(&mut browser);
            let refused = with_resources(&redemption(&code, &[]), &[C]);
            check_audience(&server, &app, &server.ask_for_token(&app, &refused), format, (&[C], None));
            let (_, mut refresh) = tokens(&server.ask_for_token(&app, &redemption(&code, &[])));
            for named in table {
                let form = with_resources(&refreshing(&refresh), named.0);
                let answer = server.ask_for_token(&app, &form);
                check_audience(&server, &app, &answer, format, named);
                if answer.status == 200 {
                    refresh = answer.text("refresh_token");
                }
            }
        }
    }
}

#[test]
fn rfc_8707_a_device_names_resources_too() {
    let server = start();
    for format in ["opaque", "jwt"] {
        let app = register(&server, format, format);
        let mut browser = log_in(&server, format);
        let refused = Request::post("/oauth2/device_authorization").basic(&app).form(&[("resource", C)]);
        assert_eq!(server.ask(&refused).error(), (400, "invalid_target".to_owned()));
        let begin = Request::post("/oauth2/device_authorization").basic(&app);
        let begun = server.ask(&begin.form(&[("scope", "read"), ("resource", B), ("resource", A)]));
        let user_code = begun.text("user_code");
        let csrf = hidden(&browser.get(&server, "/device"), "csrf");
        let shown = browser.post(&server, "/device", &[("csrf", &csrf), ("user_code", &user_code)]);
        let csrf = hidden(&shown, "csrf");
        browser.post(&server, "/device", &[("csrf", &csrf), ("user_code", &user_code), ("decision", "allow")]);
        let device_code = begun.text("device_code");
        for named in [(&[C][..], None), (&[A][..], Some(&[A][..]))] {
            let form = with_resources(&poll(&device_code), named.0);
            check_audience(&server, &app, &server.ask_for_token(&app, &form), format, named);
        }
    }
}

/// RFC 8037 Appendix A.1.
const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn signed(header: &Value, claims: &Value) -> String {
    let key = Ed25519KeyPair::from_seed_unchecked(&URL_SAFE_NO_PAD.decode(SEED).unwrap()).unwrap();
    let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()));
    format!("{text}.{signature}")
}

#[test]
fn what_the_key_of_this_server_signed_elsewhere_is_inactive() {
    let server = start();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "d": SEED, "x": PUBLIC }).to_string();
    let import = json!({ "alg": "EdDSA", "key": jwk, "at_once": true });
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/keys").json(&import)).status, 201);
    server.time.advance(Duration::from_secs(1));
    let app = register(&server, "app", "jwt");
    let token = server.issue(&app);
    let (header, claims) = (header(&token), claims(&token));
    let changed = |member: &str, value: Value| {
        let mut claims = claims.clone();
        claims[member] = value;
        claims
    };
    for forged in [claims.clone(), changed("scope", json!("read admin")), changed("exp", json!(4_000_000_000_u32))] {
        let forged = signed(&header, &forged);
        assert!(is_verified(&server, &forged), "it is our key: {forged}");
        // Members in another order, so even the same claims are another text.
        assert!(forged == token || !server.is_active(&app, &forged), "{forged}");
    }
    assert!(server.is_active(&app, &token));
}

#[test]
fn a_token_is_known_by_its_whole_text() {
    let server = start();
    let app = register(&server, "app", "jwt");
    let (token, other) = (server.issue(&app), server.issue(&app));
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let other_signature = other.rsplit_once('.').unwrap().1;
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let wider = String::from_utf8(part(&token, 1)).unwrap().replace("read write", "read admin");
    let mut changed = vec![
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{header}.{payload}.{other_signature}"),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(wider)),
        format!("{token}="),
        format!("{token}."),
        format!("{token} "),
        format!(" {token}"),
        token.to_uppercase(),
        payload.to_owned(),
        // Of the last character of a signature some bits mean nothing.
        format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'B' } else { 'A' }),
    ];
    changed.extend((1..token.len()).step_by(37).map(|cut| token[..cut].to_owned()));
    changed.extend((0..token.len()).step_by(29).map(|position| {
        let mut bytes = token.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    }));
    for changed in changed.iter().filter(|changed| **changed != token) {
        let answer = server.introspect(&app, changed);
        assert_eq!((answer.status, answer.json()), (200, json!({ "active": false })), "{changed:?}");
        assert_eq!(server.revoke(&app, changed).status, 200, "{changed:?}");
    }
    assert!(server.is_active(&app, &token) && server.is_active(&app, &other));
    let batch = json!({ "tokens": [token, changed[0], other] });
    let answer = server.ask(&Request::post("/oauth2/introspect/batch").basic(&app).json(&batch)).json();
    assert_eq!([0, 1, 2].map(|place| answer["results"][place]["active"] == true), [true, false, true]);
}

#[test]
fn a_revocation_holds_for_a_jwt_also_after_a_restart_and_from_a_snapshot() {
    let server = start();
    let app = register(&server, "app", "jwt");
    let doomed = tokens_of_every_grant(&server, &app);
    let kept = tokens_of_every_grant(&server, &app);
    let other = server.register_app("other");
    server.revoke(&other, &kept[0].1);
    for (grant, token) in &doomed {
        assert_eq!(server.revoke(&app, token).status, 200, "{grant}");
        assert!(!server.is_active(&app, token), "{grant}");
        assert!(is_verified(&server, token), "its signature is none the worse");
    }
    let check = |server: &TestServer| {
        assert!(kept.iter().all(|(_, token)| server.is_active(&app, token) && is_verified(server, token)));
        assert!(doomed.iter().all(|(_, token)| !server.is_active(&app, token)));
    };
    check(&server);
    let server = server.restart();
    check(&server);
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/snapshots")).status, 201);
    let server = server.restart();
    check(&server);
    server.time.advance(LIFETIME);
    assert!(kept.iter().all(|(_, token)| !server.is_active(&app, token)), "they have expired");
}

#[test]
fn section_4_a_grant_that_ends_takes_its_jwts_with_it() {
    let server = start();
    let app = register(&server, "app", "jwt");
    let code = code_for(&server, &mut log_in(&server, "app"), "app", &[]);
    let (first, refresh) = tokens(&server.ask_for_token(&app, &redemption(&code, &[])));
    let (second, refresh) = tokens(&server.ask_for_token(&app, &refreshing(&refresh)));
    assert!(server.is_active(&app, &first) && server.is_active(&app, &second));
    assert_eq!(server.revoke(&app, &refresh).status, 200);
    assert!(!server.is_active(&app, &first) && !server.is_active(&app, &second));
}

#[test]
fn a_code_that_comes_again_is_no_good_for_a_jwt_either_and_ends_its_grant() {
    let server = start();
    let app = register(&server, "app", "jwt");
    let code = code_for(&server, &mut log_in(&server, "app"), "app", &[]);
    let (access, _) = tokens(&server.ask_for_token(&app, &redemption(&code, &[])));
    assert!(server.is_active(&app, &access));
    let again = server.ask_for_token(&app, &redemption(&code, &[]));
    assert_eq!(again.error(), (400, "invalid_grant".to_owned()));
    assert!(!server.is_active(&app, &access));
    let server = server.restart();
    assert!(!server.is_active(&app, &access));
}

#[test]
fn a_retried_refresh_gives_another_jwt_beside_the_same_successor_and_reuse_ends_all() {
    let server = start();
    let app = register(&server, "app", "jwt");
    let code = code_for(&server, &mut log_in(&server, "app"), "app", &[]);
    let (_, first) = tokens(&server.ask_for_token(&app, &redemption(&code, &[])));
    let (lost, second) = tokens(&server.ask_for_token(&app, &refreshing(&first)));
    server.time.advance(Duration::from_secs(29));
    let narrowed = [&refreshing(&first)[..], &[("scope", "read"), ("resource", A)]].concat();
    let retried = server.ask_for_token(&app, &narrowed);
    let (again, successor) = tokens(&retried);
    assert_eq!(successor, second);
    assert_eq!((&claims(&again)["scope"], &claims(&again)["aud"]), (&json!("read"), &json!(A)));
    assert_eq!((&claims(&again)["iat"], &claims(&lost)["iat"]), (&json!(START_SECONDS + 29), &json!(START_SECONDS)));
    assert_eq!(claims(&again)["auth_time"], START_SECONDS, "nobody has logged in since");
    assert!(again != lost && server.is_active(&app, &again) && server.is_active(&app, &lost));
    let server = server.restart();
    assert!(server.is_active(&app, &again) && server.is_active(&app, &lost));
    let (third, _) = tokens(&server.ask_for_token(&app, &refreshing(&second)));
    let reuse = server.ask_for_token(&app, &refreshing(&first));
    assert_eq!(reuse.error(), (400, "invalid_grant".to_owned()));
    assert!([&lost, &again, &third].iter().all(|token| !server.is_active(&app, token)));
}

#[test]
fn a_grant_gives_what_its_client_wants_at_that_time() {
    let server = start();
    let app = register(&server, "app", "opaque");
    let code = code_for(&server, &mut log_in(&server, "app"), "app", &[]);
    let (opaque, mut refresh) = tokens(&server.ask_for_token(&app, &redemption(&code, &[])));
    assert!(opaque.starts_with("tsr_at_"));
    let mut issued = vec![opaque];
    for format in ["jwt", "opaque", "jwt"] {
        let path = format!("{CLIENTS}/app");
        let mut document = server.ask_socket(&Request::get(&path)).json();
        for member in ["client_id", "client_id_issued_at", "client_secret_expires_at"] {
            document.as_object_mut().unwrap().remove(member);
        }
        document["access_token_format"] = json!(format);
        let updated = server.ask_socket(&Request::new("PUT", &path).json(&document));
        assert_eq!(updated.status, 200, "{updated:?}");
        let (access, next) = tokens(&server.ask_for_token(&app, &refreshing(&refresh)));
        assert_eq!(access.starts_with("tsr_at_"), format == "opaque", "{access}");
        issued.push(access);
        refresh = next;
    }
    assert!(issued.iter().all(|token| server.is_active(&app, token)), "the older ones are none the worse");
}

#[test]
fn a_key_that_was_rotated_is_published_until_the_last_token_that_it_signed_has_expired() {
    let server = start();
    let app = register(&server, "app", "jwt");
    let before = server.issue(&app);
    let rotate = |server: &TestServer, document: Value| {
        server.ask_socket(&Request::post("/admin/v1/keys/rotate").json(&document)).status
    };
    assert_eq!(rotate(&server, json!({})), 201);
    let published_ahead = server.issue(&app);
    assert_eq!(header(&published_ahead)["kid"], header(&before)["kid"], "the new key does not sign yet");
    server.time.advance(LIFETIME);
    let after = server.issue(&app);
    assert_ne!(header(&after)["kid"], header(&before)["kid"]);
    let server = server.restart();
    assert!(is_verified(&server, &before) && is_verified(&server, &after) && server.is_active(&app, &after));
    assert_eq!(rotate(&server, json!({ "at_once": true })), 201);
    server.time.advance(Duration::from_millis(1));
    let last = server.issue(&app);
    assert_ne!(header(&last)["kid"], header(&after)["kid"]);
    for token in [&after, &last] {
        assert!(is_verified(&server, token) && server.is_active(&app, token), "{token}");
    }
    // The first token's key may go now, and that of the second signed an hour longer.
    server.time.advance(6 * LIFETIME - Duration::from_millis(1));
    until(|| {
        server.tick();
        key_of(&server, &before).is_none()
    });
    for _ in 0..10 {
        server.tick();
        assert!(key_of(&server, &after).is_some() && key_of(&server, &last).is_some());
    }
}

#[test]
fn metadata_that_cannot_be_kept_is_refused_with_what_is_allowed() {
    let (server, without_keys) = (start(), TestServer::start());
    let jwt = |alg: &str| json!({ "access_token_format": "jwt", "access_token_signing_alg": alg });
    let cases = [
        (&server, json!({ "access_token_format": "JWT" }), "expected `opaque` or `jwt`"),
        (&server, jwt("HS256"), "expected one of `EdDSA`, `ES256`, `ES384`, `RS256`, `PS256`"),
        (&server, jwt("none"), "unknown variant `none`"),
        (&server, jwt("ES256"), "access_token_signing_alg: must be one of EdDSA"),
        (
            &server,
            json!({ "access_token_signing_alg": "EdDSA" }),
            "only tokens of the access_token_format jwt are signed",
        ),
        (&without_keys, json!({ "access_token_format": "jwt" }), "its setting key_algorithms names none"),
    ];
    // A client that comes with its secret's hash is imported.
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$1u0Q3xWd1tJxjZ8W6cbrkLtkJv3a0cdHYjhxH6Ww8v0";
    for (server, bad, expected) in cases {
        server.ask_socket(&Request::post(CLIENTS).json(&json!({ "client_id": "app" })));
        let with = |members: Value| {
            let mut document = bad.clone();
            document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            document
        };
        for request in [
            Request::post(CLIENTS).json(&with(json!({ "client_id": "new" }))),
            Request::post(CLIENTS).json(&with(json!({ "client_id": "imported", "client_secret_hash": hash }))),
            Request::new("PUT", &format!("{CLIENTS}/app")).json(&bad),
        ] {
            let answer = server.ask_socket(&request);
            assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()), "{bad}");
            let description = answer.text("error_description").replace('\'', "`");
            assert!(description.contains(expected), "{bad}: {description}");
        }
    }
    let app = server.register(&json!({ "access_token_format": "jwt", "access_token_signing_alg": "EdDSA" }));
    let shown = server.ask_socket(&Request::get(&format!("{CLIENTS}/{}", app.id))).json();
    assert_eq!((&shown["access_token_format"], &shown["access_token_signing_alg"]), (&json!("jwt"), &json!("EdDSA")));
}

#[test]
fn the_command_line_says_what_tokens_look_like() {
    let home = Home::new();
    let program = home.start(&["--key-algorithms", "EdDSA"]);
    let run = |arguments: &str| {
        let arguments = [&["client"][..], &arguments.split(' ').collect::<Vec<_>>()].concat();
        Program::spawn(&mut home.command(&arguments)).wait()
    };
    let created = run("create --client-id app --scope read --access-token-format jwt --access-token-signing-alg EdDSA");
    assert!(created.status.success(), "{}", created.stderr);
    let created: Value = serde_json::from_str(&created.stdout).unwrap();
    let app = Credentials::new("app", created["client_secret"].as_str().unwrap());
    assert_eq!(header(&program.issue(&app))["typ"], "at+jwt");
    let refused = run("update app --access-token-signing-alg ES256");
    assert!(!refused.status.success() && refused.stderr.contains("must be one of EdDSA"), "{}", refused.stderr);
    for (format, parts) in [("opaque", 1), ("jwt", 3)] {
        let updated = run(&format!("update app --access-token-format {format}"));
        assert!(updated.status.success(), "{}", updated.stderr);
        let token = program.issue(&app);
        assert_eq!(token.split('.').count(), parts, "{token}");
        assert!(program.is_active(&token));
    }
    program.stop();
}

/// Nobody is refused, or gets a token that nobody can verify, while one key takes the place of another.
#[test]
fn a_rotation_under_load_loses_no_request() {
    let server = TestServer::start_with(|config| {
        configure(config);
        config.http.workers = 2;
    });
    let app = register(&server, "app", "jwt");
    let rotations = 5;
    let done = std::sync::atomic::AtomicBool::new(false);
    let kids = std::thread::scope(|scope| {
        let issue = || {
            let (mut kids, mut is_last) = (Vec::new(), false);
            // One more after the last rotation.
            while !is_last {
                is_last = done.load(std::sync::atomic::Ordering::SeqCst);
                let token = server.issue(&app);
                assert!(is_verified(&server, &token) && server.is_active(&app, &token), "{token}");
                kids.push(header(&token)["kid"].as_str().unwrap().to_owned());
            }
            kids
        };
        let issuing: Vec<_> = (0..3).map(|_| scope.spawn(issue)).collect();
        for _ in 0..rotations {
            let rotate = Request::post("/admin/v1/keys/rotate").json(&json!({ "at_once": true }));
            assert_eq!(server.ask_socket(&rotate).status, 201);
            // It signs from the next moment on.
            server.time.advance(Duration::from_millis(1));
            server.tick();
            server.issue(&app);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        issuing.into_iter().flat_map(|issuing| issuing.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
    });
    assert!(kids.len() > 1, "{kids:?}");
}
