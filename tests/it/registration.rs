//! Clients that register themselves: `POST /oauth2/register` (RFC 7591), `/admin/v1/initial-access-tokens`, and how long they stay.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tessera::client::initial_access::{INITIAL_ACCESS_PREFIX, InitialAccessText};
use tessera::command::registration::run;
use tessera::config::Config;
use tessera::config::cli::Command;
use tessera::config::value::Durability;
use tessera::oauth::text;

use crate::harness::{START_SECONDS, TestServer, admin};
use crate::http::{Answer, Credentials, Request};
use crate::person::{self, CALLBACK};
use crate::process::program::{Home, Program};

const REGISTER: &str = "/oauth2/register";
const TOKENS: &str = "/admin/v1/initial-access-tokens";
const DAY: u64 = 86_400;

/// A new initial access token.
#[track_caller]
fn give(server: &TestServer, document: &Value) -> String {
    let answer = server.ask_socket(&Request::post(TOKENS).json(document));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text("initial_access_token")
}

fn register(server: &TestServer, token: &str, metadata: &Value) -> Answer {
    server.ask(&Request::post(REGISTER).bearer(token).json(metadata))
}

#[track_caller]
fn registered(answer: &Answer) -> Credentials {
    assert_eq!(answer.status, 201, "{answer:?}");
    let secret = answer.json()["client_secret"].as_str().unwrap_or_default().to_owned();
    Credentials { id: answer.text("client_id"), secret }
}

/// A policy for clients that act for themselves.
fn services() -> Value {
    json!({ "policy": { "grant_types": ["client_credentials"], "scope": "read write" } })
}

/// What such a client asks for.
fn service() -> Value {
    json!({ "grant_types": ["client_credentials"] })
}

fn listed(server: &TestServer) -> Vec<Value> {
    let page = server.ask_socket(&Request::get("/admin/v1/clients?limit=1000")).json();
    page["clients"].as_array().unwrap().clone()
}

fn is_there(server: &TestServer, client: &Credentials) -> bool {
    listed(server).iter().any(|listed| listed["client_id"] == client.id.as_str())
}

#[test]
fn nobody_registers_until_an_operator_lets_them() {
    let server = TestServer::start();
    let endpoint = |server: &TestServer| {
        let metadata = server.ask(&Request::get("/.well-known/oauth-authorization-server")).json();
        metadata.get("registration_endpoint").cloned()
    };
    assert_eq!(endpoint(&server), None);
    assert_eq!(server.ask(&Request::post(REGISTER).json(&service())).error(), (401, "invalid_token".to_owned()));
    let token = give(&server, &json!({ "registrations_max": 1, "policy": { "grant_types": ["client_credentials"] } }));
    assert_eq!(endpoint(&server), Some(json!(format!("{}{REGISTER}", server.issuer))));
    registered(&register(&server, &token, &service()));
    assert_eq!(endpoint(&server), None, "it was good for one");
}

#[test]
fn section_3_2_1_the_answer_has_all_that_is_registered() {
    let server = TestServer::start();
    let token = give(&server, &json!({ "policy": { "scope": "read write", "audience": ["https://api.example"] } }));
    let answer = register(&server, &token, &json!({ "redirect_uris": [CALLBACK] }));
    assert_eq!((answer.field("cache-control"), answer.field("pragma")), (Some("no-store"), Some("no-cache")));
    let client = registered(&answer);
    assert_eq!((client.id.len(), client.secret.len()), (32, 43));
    let expected = json!({
        "client_id": client.id, "client_secret": client.secret, "client_secret_expires_at": 0,
        "client_id_issued_at": START_SECONDS, "redirect_uris": [CALLBACK], "grant_types": ["authorization_code"],
        "response_types": ["code"], "token_endpoint_auth_method": "client_secret_basic", "application_type": "web",
        "scope": "read write", "audience": ["https://api.example"], "introspection": "own",
        "require_pushed_authorization_requests": false, "nonce_instead_of_pkce": false, "skip_consent": false,
    });
    assert_eq!(answer.json(), expected);

    let asked = json!({
        "redirect_uris": ["com.example.app:/cb"], "application_type": "native", "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "scope": "read",
        "client_name": "Beispiel", "client_uri": "https://client.example/", "logo_uri": "https://client.example/logo.png",
        "tos_uri": "https://client.example/tos", "policy_uri": "https://client.example/policy",
        "contacts": ["ops@client.example"], "software_id": "4NRB1-0XZABZI9E6-5SM3R", "software_version": "2.0",
        "require_pushed_authorization_requests": true,
    });
    let answer = register(&server, &token, &asked);
    let described = answer.json();
    for (member, value) in asked.as_object().unwrap() {
        assert_eq!(&described[member], value, "{member}");
    }
    assert!(described.get("client_secret").is_none() && described.get("client_secret_expires_at").is_none());
    // What is registered is in force.
    let authorize = person::authorization_request(&client.id).replace("read+write", "read");
    assert_ne!(server.ask(&Request::get(&authorize)).status, 400);
}

#[test]
fn a_client_that_has_registered_itself_works_and_is_known_as_one() {
    let server = TestServer::start();
    let token = give(&server, &services());
    let client = registered(&register(&server, &token, &service()));
    let access = server.issue(&client);
    assert_eq!(server.introspect(&client, &access).json()["scope"], "read write");
    let id = server.ask_socket(&Request::get(TOKENS)).json()["initial_access_tokens"][0]["id"].clone();
    for listed in listed(&server) {
        let expected = json!({ "initial_access_token": id, "used_at": START_SECONDS });
        let dynamic = listed.get("dynamic_registration");
        assert_eq!(dynamic, (listed["client_id"] == client.id.as_str()).then_some(&expected), "{listed}");
    }
    // It stays one when an operator changes it.
    let path = format!("/admin/v1/clients/{}", client.id);
    let changed = server.ask_socket(&Request::new("PUT", &path).json(&json!({ "introspection": "any" }))).json();
    assert_eq!(
        (&changed["introspection"], &changed["dynamic_registration"]["initial_access_token"]),
        (&json!("any"), &id)
    );
}

#[test]
fn only_a_good_initial_access_token_counts() {
    let server = TestServer::start();
    let good = give(&server, &services());
    let [expired, used_up, revoked] = [json!({ "lifetime_seconds": 60 }), json!({ "registrations_max": 1 }), json!({})]
        .map(|more| {
            let mut document = services();
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            give(&server, &document)
        });
    registered(&register(&server, &used_up, &service()));
    let list = server.ask_socket(&Request::get(TOKENS)).json();
    let unlimited = list["initial_access_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|token| token.get("registrations_max").is_none() && token["expires_at"] == START_SECONDS + 7 * DAY);
    // Of the good one and the revoked one it is not known which is which, so the good one is made anew.
    let ids: Vec<_> = unlimited.map(|token| token["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2);
    for id in &ids {
        assert_eq!(server.ask_socket(&Request::new("DELETE", &format!("{TOKENS}/{id}"))).status, 204);
        assert_eq!(server.ask_socket(&Request::new("DELETE", &format!("{TOKENS}/{id}"))).status, 404);
    }
    let also_revoked = good;
    let good = give(&server, &services());
    server.time.advance(Duration::from_secs(60));
    let mut tampered = good.clone().into_bytes();
    tampered[20] ^= 1;
    let tampered = String::from_utf8(tampered).unwrap();
    // Whoever knows the id, which lists and logs show, can write all of a text but the secret.
    let mut forged = *text::read::<42>(INITIAL_ACCESS_PREFIX, &good).unwrap();
    forged[41] ^= 1;
    let forged = text::write(INITIAL_ACCESS_PREFIX, &forged);
    assert_eq!(InitialAccessText::id_in(&forged), InitialAccessText::id_in(&good));
    let clients = listed(&server).len();
    let missing = "Bearer realm=\"tessera\"";
    let invalid = "Bearer realm=\"tessera\", error=\"invalid_token\"";
    for (field, challenge, says) in [
        (None, missing, "Authorization"),
        (Some(admin().basic()), missing, "Authorization"),
        (Some(good.clone()), missing, "Authorization"),
        (Some(format!("Bearer {expired}")), invalid, "expired"),
        (Some(format!("Bearer {used_up}")), invalid, "used up"),
        (Some(format!("Bearer {revoked}")), invalid, "revoked"),
        (Some(format!("Bearer {also_revoked}")), invalid, "revoked"),
        (Some(format!("Bearer {tampered}")), invalid, "unknown"),
        (Some(format!("Bearer {}", *forged)), invalid, "unknown"),
        (Some(format!("Bearer {good} {good}")), invalid, "unknown"),
        (Some(format!("Bearer {}", server.issue(&admin()))), invalid, "unknown"),
        (Some("Bearer ".to_owned()), missing, "Authorization"),
    ] {
        let request = Request::post(REGISTER).json(&service());
        let request = field.iter().fold(request, |request, field| request.field("Authorization", field));
        let answer = server.ask(&request);
        assert_eq!(
            (answer.error(), answer.field("www-authenticate")),
            ((401, "invalid_token".to_owned()), Some(challenge))
        );
        assert!(answer.text("error_description").contains(says), "{field:?}: {answer:?}");
    }
    let twice = Request::post(REGISTER).bearer(&good).bearer(&good).json(&service());
    assert_eq!(server.ask(&twice).status, 401);
    assert_eq!(listed(&server).len(), clients);
    registered(&register(&server, &good, &service()));
}

/// DR-1 of the list of bad inputs: nothing of it registers anything.
#[test]
fn dr_1_what_is_not_allowed_is_refused_by_name() {
    let server = TestServer::start();
    let token = give(
        &server,
        &json!({ "policy": { "scope": "read", "token_endpoint_auth_methods": ["client_secret_basic"] } }),
    );
    let with = |member: &str, value: &str| format!(r#"{{"redirect_uris":["{CALLBACK}"],"{member}":{value}}}"#);
    let long = format!("\"{}\"", "a".repeat(256));
    let (metadata, uri) = ("invalid_client_metadata", "invalid_redirect_uri");
    let jwt = r#""eyJhbGciOiJSUzI1NiJ9.e30.c2ln""#;
    let many_uris = format!("[{}]", (0..33).map(|n| format!("\"{CALLBACK}{n}\"")).collect::<Vec<_>>().join(","));
    let cases = [
        // What is left out grants no more than what is named.
        ("{}".to_owned(), uri, "redirect_uris: "),
        (with("token_endpoint_auth_method", "\"none\""), metadata, "token_endpoint_auth_method: "),
        (with("token_endpoint_auth_method", "\"client_secret_post\""), metadata, "token_endpoint_auth_method: "),
        (with("grant_types", "[\"client_credentials\"]"), metadata, "grant_types: "),
        (with("grant_types", "[\"authorization_code\",\"client_credentials\"]"), metadata, "grant_types: "),
        (with("grant_types", "[]"), metadata, "grant_types: "),
        (with("scope", "\"read write\""), metadata, "scope: "),
        (with("scope", "\"tessera.admin\""), metadata, "scope: "),
        (with("audience", "[\"https://other.example\"]"), metadata, "audience: "),
        (with("introspection", "\"any\""), metadata, "introspection: "),
        (with("skip_consent", "true"), metadata, "skip_consent: "),
        (with("access_token_lifetime_seconds", "31536000"), metadata, "access_token_lifetime_seconds: "),
        (with("allowed_cors_origins", "[\"https://evil.example\"]"), metadata, "allowed_cors_origins: "),
        (with("client_id", "\"admin\""), metadata, "client_id: "),
        (with("client_secret", "\"guessable\""), metadata, "client_secret: "),
        // Types.
        (with("scope", "[\"read\"]"), metadata, "scope: "),
        (with("client_name", "{}"), metadata, "client_name: "),
        (with("client_name", "1"), metadata, "client_name: "),
        (with("contacts", "\"a@client.example\""), metadata, "contacts: "),
        (with("grant_types", "\"authorization_code\""), metadata, "grant_types: "),
        (with("response_types", "[\"token\"]"), metadata, "response_types: "),
        (with("response_types", "[\"code\",\"code\"]"), metadata, "response_types: "),
        (with("application_type", "\"service\""), metadata, "application_type: "),
        (
            with("require_pushed_authorization_requests", "\"true\""),
            metadata,
            "require_pushed_authorization_requests: ",
        ),
        (with("token_endpoint_auth_method", "\"private_key_jwt\""), metadata, "jwks: "),
        (format!(r#"{{"redirect_uris":"{CALLBACK}"}}"#), uri, "redirect_uris: "),
        (format!(r#"{{"redirect_uris":{{"0":"{CALLBACK}"}}}}"#), uri, "redirect_uris: "),
        ("[]".to_owned(), metadata, "the body must be a JSON object"),
        ("null".to_owned(), metadata, "the body must be a JSON object"),
        (String::new(), metadata, "the body must be a JSON object"),
        (format!(r#"["{CALLBACK}"]"#), metadata, "the body must be a JSON object"),
        (with("client_name", "\"a\"") + "x", metadata, ""),
        // Members twice, with the same value too, and unknown ones.
        (format!(r#"{{"redirect_uris":["{CALLBACK}"],"redirect_uris":["{CALLBACK}"]}}"#), metadata, "redirect_uris: "),
        (format!(r#"{{"redirect_uris":["{CALLBACK}"],"scope":"read","scope":"read write"}}"#), metadata, "scope: "),
        (format!(r#"{{"redirect_uris":["{CALLBACK}"],"sc\u006fpe":"read","scope":"read"}}"#), metadata, "scope: "),
        (format!(r#"{{"redirect_uris":["{CALLBACK}"],"x":1,"x":1}}"#), metadata, "x: "),
        // Redirect URIs.
        (r#"{"redirect_uris":[]}"#.to_owned(), uri, "redirect_uris: "),
        (r#"{"redirect_uris":["https://client.example/#a"]}"#.to_owned(), uri, "redirect_uris: "),
        (r#"{"redirect_uris":["http://client.example/"]}"#.to_owned(), uri, "redirect_uris: "),
        (r#"{"redirect_uris":["javascript:alert(1)"]}"#.to_owned(), uri, "redirect_uris: "),
        (r#"{"redirect_uris":["com.example.app:/cb"]}"#.to_owned(), uri, "redirect_uris: "),
        (r#"{"redirect_uris":["https://client.example/../"]}"#.to_owned(), uri, "redirect_uris: "),
        (format!(r#"{{"redirect_uris":["{CALLBACK}","{CALLBACK}"]}}"#), uri, "redirect_uris: "),
        (format!(r#"{{"redirect_uris":{many_uris}}}"#), uri, "redirect_uris: "),
        // Names and texts for people.
        (with("client_name", "\"\""), metadata, "client_name: "),
        (with("client_name", &long), metadata, "client_name: "),
        (with("client_name", r#""a\u0000""#), metadata, "client_name: "),
        (with("client_name", r#""\u202eresserT""#), metadata, "client_name: "),
        (with("client_name", r#""Tess\u200bera""#), metadata, "client_name: "),
        (with("client_name", r#""Tess\u0435ra""#), metadata, "client_name: "),
        (with("client_name", r#""Cafe\u0301""#), metadata, "client_name: "),
        (with("client_name", r#""a\ud800""#), metadata, ""),
        (with("client_uri", "\"http://client.example/\""), metadata, "client_uri: "),
        (with("logo_uri", "\"javascript:alert(1)\""), metadata, "logo_uri: "),
        (with("tos_uri", "\"data:text/html,a\""), metadata, "tos_uri: "),
        (with("policy_uri", "\"\""), metadata, "policy_uri: "),
        (with("contacts", "[\"\"]"), metadata, "contacts: "),
        (with("software_id", &long), metadata, "software_id: "),
        (with("software_version", &long), metadata, "software_version: "),
        // What others vouch for, and keys.
        (with("software_statement", jwt), "unapproved_software_statement", "software_statement: "),
        (with("software_statement", "\"a.b\""), "invalid_software_statement", "software_statement: "),
        (with("software_statement", "{}"), "invalid_software_statement", "software_statement: "),
        (with("jwks", "{\"keys\":[]}"), metadata, "jwks: "),
        (with("jwks_uri", "\"https://client.example/jwks\""), metadata, "jwks_uri: "),
        // Depth.
        (with("x", &("[".repeat(500) + &"]".repeat(500))), metadata, ""),
    ];
    for (body, error, start) in cases {
        let answer = server.ask(&Request::post(REGISTER).bearer(&token).json_text(&body));
        assert_eq!(answer.error(), (400, error.to_owned()), "{body}: {answer:?}");
        let description = answer.text("error_description");
        assert!(description.starts_with(start), "{body}: {description}");
    }
    let huge = with("x", &format!("\"{}\"", "a".repeat(16 * 1024)));
    assert_eq!(server.ask(&Request::post(REGISTER).bearer(&token).json_text(&huge)).status, 413);
    let form = Request::post(REGISTER).bearer(&token).form(&[("client_name", "a")]);
    assert_eq!(server.ask(&form).status, 415);
    assert_eq!(server.ask(&Request::get(REGISTER)).status, 405);
    assert_eq!(listed(&server).len(), 1, "only the administrator is there");
    registered(&register(
        &server,
        &token,
        &json!({ "redirect_uris": [CALLBACK], "client_name": "日本 App", "unknown": [{}] }),
    ));
}

#[test]
fn an_operator_may_not_name_a_client_deceptively_either() {
    let server = TestServer::start();
    let create =
        |name: &str| server.ask_socket(&Request::post("/admin/v1/clients").json(&json!({ "client_name": name })));
    assert_eq!(create("a\u{202e}b").error(), (400, "invalid_client_metadata".to_owned()));
    assert_eq!(create("Приложение App").status, 201, "an operator knows what two scripts are for");
}

#[test]
fn an_operators_mistakes_are_refused_by_name() {
    let server = TestServer::start();
    for (document, start) in [
        (json!({ "lifetime_seconds": 0 }), "lifetime_seconds"),
        (json!({ "lifetime_seconds": 31_536_001 }), "lifetime_seconds"),
        (json!({ "registrations_max": 0 }), "registrations_max"),
        (json!({ "label": "" }), "label"),
        (json!({ "label": "a\u{200b}" }), "label"),
        (json!({ "policy": { "scope": "read tessera.admin" } }), "policy.scope"),
        (json!({ "policy": { "scope": "a  b" } }), "policy.scope"),
        (json!({ "policy": { "grant_types": [] } }), "policy.grant_types"),
        (json!({ "policy": { "scopes": "a" } }), "unknown field"),
        (json!({ "scope": "a" }), "unknown field"),
    ] {
        let answer = server.ask_socket(&Request::post(TOKENS).json(&document));
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{document}");
        assert!(answer.text("error_description").starts_with(start), "{document}: {answer:?}");
    }
    for request in [Request::post(TOKENS).json(&json!({})), Request::get(TOKENS)] {
        assert_eq!(server.ask(&request).status, 401, "it is for administrators");
        let app = server.register(&json!({ "scope": "read" }));
        assert_eq!(server.ask(&request.bearer(&server.issue(&app))).status, 403);
    }
}

#[test]
fn of_parallel_registrations_with_a_token_good_for_one_one_succeeds() {
    let server = TestServer::start_with(|config| config.storage.durability = Durability::Sync);
    for round in 0..5 {
        let mut document = services();
        document["registrations_max"] = json!(1);
        let token = give(&server, &document);
        let request = Request::post(REGISTER).bearer(&token).json(&service());
        let statuses: Vec<u16> = thread::scope(|scope| {
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| server.ask(&request).status)).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        let succeeded = statuses.iter().filter(|status| **status == 201).count();
        assert_eq!(
            (succeeded, statuses.iter().filter(|status| **status == 401).count()),
            (1, 3),
            "{round}: {statuses:?}"
        );
    }
    assert_eq!(listed(&server).len(), 6);
}

#[test]
fn registrations_from_one_address_are_counted_and_those_that_come_to_nothing_are_not() {
    let server = TestServer::start_with(|config| {
        config.registration.registration_address_per_hour = 2;
        config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let tokens = [give(&server, &services()), give(&server, &services())];
    let from = |address: &str, token: &str, metadata: &Value| {
        server.ask(&Request::post(REGISTER).bearer(token).field("X-Forwarded-For", address).json(metadata))
    };
    for _ in 0..5 {
        assert_eq!(from("192.0.2.1", &tokens[0], &json!({})).status, 400);
        assert_eq!(from("192.0.2.1", "none", &service()).status, 401);
    }
    registered(&from("192.0.2.1", &tokens[0], &service()));
    registered(&from("192.0.2.1", &tokens[1], &service()));
    for token in &tokens {
        let refused = from("192.0.2.1", token, &service());
        assert_eq!(refused.error(), (429, "temporarily_unavailable".to_owned()));
        assert_eq!(refused.field("retry-after"), Some("1800"));
    }
    // An IPv6 address counts as its /64.
    registered(&from("2001:db8::1", &tokens[0], &service()));
    registered(&from("2001:db8::2", &tokens[0], &service()));
    assert_eq!(from("2001:db8::3", &tokens[0], &service()).status, 429);
    registered(&from("2001:db8:0:1::1", &tokens[0], &service()));
    server.time.advance(Duration::from_secs(1800));
    registered(&from("192.0.2.1", &tokens[0], &service()));
    assert_eq!(from("192.0.2.1", &tokens[0], &service()).status, 429);
}

#[test]
fn registrations_with_one_token_are_counted_wherever_they_come_from() {
    let server = TestServer::start_with(|config| {
        config.registration.registration_token_per_hour = 2;
        config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let token = give(&server, &services());
    let from = |address: &str| {
        server.ask(&Request::post(REGISTER).bearer(&token).field("X-Forwarded-For", address).json(&service()))
    };
    registered(&from("192.0.2.1"));
    registered(&from("192.0.2.2"));
    let refused = from("192.0.2.3");
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1800")));
    registered(&register(&server, &give(&server, &services()), &service()));
}

#[test]
fn there_are_never_more_clients_than_the_operator_allows() {
    let server = TestServer::start_with(|config| config.registration.dynamic_clients_max = 2);
    let token = give(&server, &services());
    let first = registered(&register(&server, &token, &service()));
    registered(&register(&server, &token, &service()));
    let refused = register(&server, &token, &service());
    assert_eq!(refused.error(), (503, "temporarily_unavailable".to_owned()));
    assert!(refused.field("retry-after").is_some());
    server.register_app("an-operators");
    server.ask_socket(&Request::new("DELETE", &format!("/admin/v1/clients/{}", first.id)));
    registered(&register(&server, &token, &service()));
}

#[test]
fn what_was_answered_is_there_after_a_restart_and_a_snapshot() {
    let mut server = TestServer::start_durable();
    let mut document = services();
    document["registrations_max"] = json!(3);
    let token = give(&server, &document);
    let first = registered(&register(&server, &token, &service()));
    server = server.restart();
    let second = registered(&register(&server, &token, &service()));
    let listed_before = listed(&server);
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/snapshots")).status, 201);
    server = server.restart();
    assert_eq!(listed(&server), listed_before);
    let tokens = server.ask_socket(&Request::get(TOKENS)).json();
    let described = &tokens["initial_access_tokens"][0];
    assert_eq!((&described["registrations"], &described["state"]), (&json!(2), &json!("usable")));
    let third = registered(&register(&server, &token, &service()));
    // A client that is deleted counts all the same.
    server.ask_socket(&Request::new("DELETE", &format!("/admin/v1/clients/{}", third.id)));
    server = server.restart();
    assert_eq!(register(&server, &token, &service()).status, 401);
    for client in [first, second] {
        server.issue(&client);
    }
    assert_eq!(server.ask(&crate::process::program::issue_request(&third)).status, 401);
}

#[test]
fn a_revoked_token_stays_revoked() {
    let mut server = TestServer::start_durable();
    let token = give(&server, &services());
    registered(&register(&server, &token, &service()));
    let id =
        server.ask_socket(&Request::get(TOKENS)).json()["initial_access_tokens"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.ask_socket(&Request::new("DELETE", &format!("{TOKENS}/{id}"))).status, 204);
    for _ in 0..2 {
        assert_eq!(register(&server, &token, &service()).status, 401);
        assert_eq!(server.ask_socket(&Request::post("/admin/v1/snapshots")).status, 201);
        server = server.restart();
    }
}

#[test]
fn the_token_itself_lies_nowhere() {
    let server = TestServer::start_durable();
    let token = give(&server, &services());
    let client = registered(&register(&server, &token, &service()));
    assert!(!server.ask_socket(&Request::get(TOKENS)).body.contains(&token[7..30]));
    server.ask_socket(&Request::post("/admin/v1/snapshots"));
    server.stop_and_read(|data_dir| {
        for entry in std::fs::read_dir(data_dir).unwrap() {
            let path = entry.unwrap().path();
            let Ok(bytes) = std::fs::read(&path) else { continue };
            for secret in [&token[30..60], &client.secret] {
                assert_eq!(memchr::memmem::find(&bytes, secret.as_bytes()), None, "{}", path.display());
            }
        }
    });
}

/// A client goes after a day, and another one by which the journal may be behind.
fn idle_for_a_day(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.registration.dynamic_client_idle_days = 1;
    config.tokens.access_token_lifetime_seconds = 60;
    person::log_in_elsewhere(config);
}

/// How many steps sweeps have taken.
fn steps(server: &TestServer) -> u64 {
    let metrics = server.ask(&Request::get("/metrics")).body;
    let is_of_sweep =
        |line: &&str| line.starts_with("tessera_actor_messages_total{") && line.contains("message=\"sweep\"");
    let line = metrics.lines().find(is_of_sweep).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Lets time go by, and sweeps, until it is so.
#[track_caller]
fn sweep_every(seconds: u64, server: &TestServer, mut is_so: impl FnMut() -> bool) {
    for _ in 0..ATTEMPTS_MAX {
        if is_so() {
            return;
        }
        server.time.advance(Duration::from_secs(seconds));
        server.tick();
        // What a shard has let go of it frees when it has something else to do.
        (0..4).for_each(|_| drop(server.issue(&admin())));
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it has not come to pass");
}

const ATTEMPTS_MAX: usize = 300;

/// Lets days go by until it is so.
#[track_caller]
fn sweep_until(server: &TestServer, is_so: impl FnMut() -> bool) {
    sweep_every(7_200, server, is_so);
}

/// At least one whole sweep, begun after this, within some hours.
fn sweep(server: &TestServer) {
    let before = steps(server);
    // One may have been under way, with a step for each of the few clients and one at its end.
    sweep_every(600, server, || steps(server) >= before + 8);
}

fn advance_days(server: &TestServer, days: u64) {
    server.time.advance(Duration::from_secs(days * DAY));
}

#[test]
fn a_client_that_nobody_uses_goes_and_one_in_use_stays() {
    let server = TestServer::start_with(idle_for_a_day);
    let token = give(&server, &services());
    let [idle, used] = [(); 2].map(|()| registered(&register(&server, &token, &service())));
    let operators = server.register_app("app");
    for _ in 0..3 {
        advance_days(&server, 1);
        server.issue(&used);
    }
    sweep_until(&server, || !is_there(&server, &idle));
    assert!(is_there(&server, &used) && is_there(&server, &operators));
    let is_counted = |line: &str| line.starts_with("tessera_idle_clients_deleted_total") && line.ends_with(" 1");
    sweep_every(600, &server, || server.ask(&Request::get("/metrics")).body.lines().any(is_counted));
    assert_eq!(server.ask(&crate::process::program::issue_request(&idle)).status, 401);
    let server = server.restart();
    assert!(!is_there(&server, &idle) && is_there(&server, &used));
}

#[test]
fn a_client_with_a_live_token_stays_however_long_it_lives() {
    let server = TestServer::start_with(|config| {
        idle_for_a_day(config);
        config.tokens.access_token_lifetime_seconds = 20 * 86_400;
    });
    let client = registered(&register(&server, &give(&server, &services()), &service()));
    let access = server.issue(&client);
    advance_days(&server, 10);
    sweep(&server);
    assert!(server.is_active(&client, &access));
    // What is held is found again by a start.
    let server = server.restart();
    advance_days(&server, 5);
    sweep(&server);
    assert!(server.is_active(&client, &access));
    advance_days(&server, 6);
    sweep(&server);
    assert!(is_there(&server, &client), "it was in use two days ago");
    advance_days(&server, 3);
    sweep_until(&server, || !is_there(&server, &client));
}

#[test]
fn a_client_with_a_persons_grant_stays() {
    let server = TestServer::start_with(idle_for_a_day);
    let token = give(&server, &json!({ "policy": { "scope": "read write" } }));
    let asked = json!({ "redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "refresh_token"] });
    let client = registered(&register(&server, &token, &asked));
    // People need not be asked in this test; that is the operator's to say.
    let path = format!("/admin/v1/clients/{}", client.id);
    let mut trusted = asked;
    trusted["scope"] = json!("read write");
    trusted["skip_consent"] = json!(true);
    assert_eq!(server.ask_socket(&Request::new("PUT", &path).json(&trusted)).status, 200);
    let (_, refresh) = person::grant(&server, &client);
    advance_days(&server, 5);
    sweep(&server);
    let server = server.restart();
    advance_days(&server, 5);
    sweep(&server);
    let answer = server.ask_for_token(&client, &person::refreshing(&refresh));
    let (_, refresh) = person::tokens(&answer);
    advance_days(&server, 13);
    sweep(&server);
    assert!(is_there(&server, &client));
    advance_days(&server, 5);
    sweep_until(&server, || !is_there(&server, &client));
    assert_eq!(server.ask_for_token(&client, &person::refreshing(&refresh)).status, 401);
}

#[test]
fn when_a_client_was_last_used_is_known_after_a_restart() {
    let mut server = TestServer::start_with(idle_for_a_day);
    let client = registered(&register(&server, &give(&server, &services()), &service()));
    advance_days(&server, 1);
    server.issue(&client);
    sweep(&server);
    advance_days(&server, 1);
    server.issue(&client);
    sweep(&server);
    server = server.restart();
    let path = format!("/admin/v1/clients/{}", client.id);
    let used_at = server.ask_socket(&Request::get(&path)).json()["dynamic_registration"]["used_at"].as_u64().unwrap();
    assert!(used_at >= START_SECONDS + DAY, "{used_at}");
    advance_days(&server, 1);
    sweep(&server);
    assert!(is_there(&server, &client));
    advance_days(&server, 2);
    sweep_until(&server, || !is_there(&server, &client));
}

#[test]
fn with_0_days_clients_stay_for_ever() {
    let server = TestServer::start_with(|config| config.registration.dynamic_client_idle_days = 0);
    let client = registered(&register(&server, &give(&server, &services()), &service()));
    advance_days(&server, 5_000);
    sweep(&server);
    assert!(is_there(&server, &client));
}

/// Runs `tessera registration …` against the server.
fn command(server: &TestServer, arguments: &[&str]) -> Value {
    let words = ["tessera", "registration"].iter().chain(arguments).map(Into::into);
    let Ok(Command::Registration(command)) = Command::read(words) else { panic!("{arguments:?}") };
    let printed = actix_rt::System::new().block_on(run(&command, &server.data_dir())).unwrap();
    serde_json::from_str(&printed).unwrap_or_default()
}

#[test]
fn the_command_line_makes_lists_and_revokes_tokens() {
    let server = TestServer::start();
    let made = command(
        &server,
        &[
            "token",
            "create",
            "--label",
            "Partner",
            "--lifetime-seconds",
            "3600",
            "--registrations-max",
            "2",
            "--grant-type",
            "device_code",
            "--grant-type",
            "refresh_token",
            "--scope",
            "read",
            "--token-endpoint-auth-method",
            "none",
            "--audience",
            "https://api.example",
        ],
    );
    let device_code = "urn:ietf:params:oauth:grant-type:device_code";
    let token = made["initial_access_token"].as_str().unwrap();
    let client = register(
        &server,
        token,
        &json!({
            "grant_types": [device_code, "refresh_token"], "token_endpoint_auth_method": "none",
        }),
    );
    assert_eq!(client.status, 201, "{client:?}");
    let listed = command(&server, &["token", "list"]);
    let expected = json!({ "initial_access_tokens": [{
        "id": made["id"], "label": "Partner", "state": "usable", "created_at": START_SECONDS,
        "expires_at": START_SECONDS + 3600, "registrations": 1, "registrations_max": 2,
        "policy": {
            "grant_types": [device_code, "refresh_token"], "scope": "read", "token_endpoint_auth_methods": ["none"],
            "audience": ["https://api.example"],
        },
    }] });
    assert_eq!(listed, expected);
    command(&server, &["token", "revoke", made["id"].as_str().unwrap()]);
    assert_eq!(command(&server, &["token", "list"]), json!({ "initial_access_tokens": [] }));
}

#[test]
fn a_client_whose_registration_was_answered_is_there_after_a_kill() {
    let home = Home::new();
    let token = {
        let program = home.start(&[]);
        let answer = program
            .ask(&Request::post(TOKENS).bearer(&program.issue(&crate::process::program::admin())).json(&services()));
        program.kill();
        answer.text("initial_access_token")
    };
    let mut clients = Vec::new();
    for _ in 0..3 {
        let program: Program = home.start(&[]);
        for client in &clients {
            program.issue(client);
        }
        let request = Request::post(REGISTER).bearer(&token).json(&service());
        clients.extend((0..3).map(|_| registered(&program.ask(&request))));
        program.kill();
    }
    let program = home.start(&[]);
    for client in &clients {
        program.issue(client);
    }
    let admin = program.issue(&crate::process::program::admin());
    let listed = program.ask(&Request::get(TOKENS).bearer(&admin)).json();
    assert_eq!(listed["initial_access_tokens"][0]["registrations"], 9);
}
