//! RFC 9126: pushed authorization requests.

use serde_json::json;

use crate::harness::TestServer;
use crate::http::{Answer, Credentials, Request};

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "https://client.example/cb";
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

const GOOD: [(&str, &str); 6] = [
    ("response_type", "code"),
    ("redirect_uri", CALLBACK),
    ("scope", "read"),
    ("state", "s"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

fn register(server: &TestServer, client_id: &str) -> Credentials {
    server.register(&json!({
        "client_id": client_id, "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "read write",
    }))
}

fn register_public(server: &TestServer, client_id: &str) {
    let metadata = json!({
        "client_id": client_id, "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "read write",
        "token_endpoint_auth_method": "none",
    });
    let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&metadata));
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.json().get("client_secret").is_none(), "{answer:?}");
}

fn push(server: &TestServer, client: &Credentials, parameters: &[(&str, &str)]) -> Answer {
    server.ask(&Request::post("/oauth2/par").basic(client).form(parameters))
}

/// The good request with one parameter changed, added, or taken away by an empty value.
fn changed<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let others = GOOD.into_iter().filter(|(own, _)| *own != name);
    others.chain([(name, value)]).collect()
}

#[test]
fn section_2_2_a_pushed_request_gets_a_name_for_90_seconds() {
    let server = TestServer::start();
    let app = register(&server, "app");
    let answer = push(&server, &app, &GOOD);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.json()["expires_in"], 90);
    assert!(answer.text("request_uri").starts_with(PREFIX));
    assert_ne!(push(&server, &app, &GOOD).text("request_uri"), answer.text("request_uri"));
}

#[test]
fn section_2_1_who_has_a_secret_authenticates_and_who_has_none_does_not() {
    let server = TestServer::start();
    let app = register(&server, "app");
    register_public(&server, "browser");
    let with_id = |id| [&GOOD[..], &[("client_id", id)]].concat();
    let ask = |parameters: &[(&str, &str)]| server.ask(&Request::post("/oauth2/par").form(parameters));
    assert_eq!(ask(&with_id("browser")).status, 201);
    let confidential = ask(&with_id("app"));
    assert_eq!(confidential.error(), (401, "invalid_client".to_owned()));
    assert_eq!(ask(&with_id("nobody")), confidential, "whether a client is there is not said");
    assert_eq!(ask(&GOOD).error(), (401, "invalid_client".to_owned()));
    let wrong = Credentials::new("app", "wrong");
    assert_eq!(push(&server, &wrong, &GOOD).error(), (401, "invalid_client".to_owned()));
    let posted = [&with_id("app")[..], &[("client_secret", &app.secret)]].concat();
    assert_eq!(ask(&posted).status, 201);
    // A public client that shows a secret shows something that is not its own.
    let secret = [&with_id("browser")[..], &[("client_secret", "x")]].concat();
    assert_eq!(ask(&secret).error(), (401, "invalid_client".to_owned()));
    assert_eq!(push(&server, &app, &with_id("app")).status, 201);
    assert_eq!(push(&server, &app, &with_id("browser")).error(), (400, "invalid_request".to_owned()));
}

#[test]
fn section_2_3_a_request_that_would_be_refused_is_refused_here() {
    let server = TestServer::start();
    let app = register(&server, "app");
    let long = "s".repeat(5_000);
    for (name, value, error) in [
        ("request_uri", "urn:ietf:params:oauth:request_uri:x", "invalid_request"),
        ("request", "eyJhbGciOiJub25lIn0.e30.", "request_not_supported"),
        ("redirect_uri", "https://client.example/cb/", "invalid_request"),
        ("redirect_uri", "javascript:alert(1)", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("scope", "admin", "invalid_scope"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("state", &long, "invalid_request"),
        ("prompt", "none login", "invalid_request"),
    ] {
        let answer = push(&server, &app, &changed(name, value));
        assert_eq!(answer.error(), (400, error.to_owned()), "{name}={value}");
        assert_eq!(answer.field("location"), None);
    }
    let twice = [&GOOD[..], &[("scope", "write")]].concat();
    assert_eq!(push(&server, &app, &twice).error(), (400, "invalid_request".to_owned()));
    let resources = [&GOOD[..], &[("resource", "https://a.example"), ("resource", "https://b.example")]].concat();
    assert_eq!(push(&server, &app, &resources).error(), (400, "invalid_target".to_owned()));
    let of_both = server.register(&json!({
        "client_id": "of-both", "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "read",
        "audience": ["https://b.example", "https://a.example"],
    }));
    assert_eq!(push(&server, &of_both, &resources).status, 201);
    let machine = server.register_app("machine");
    assert_eq!(push(&server, &machine, &GOOD).error(), (400, "invalid_request".to_owned()));
}

#[test]
fn section_2_1_it_is_a_form_that_is_posted() {
    let server = TestServer::start();
    let app = register(&server, "app");
    let get = server.ask(&Request::get("/oauth2/par"));
    assert_eq!((get.error(), get.field("allow")), ((405, "invalid_request".to_owned()), Some("POST")));
    let json = server.ask(&Request::post("/oauth2/par").basic(&app).json(&json!({})));
    assert_eq!(json.error(), (415, "invalid_request".to_owned()));
    let query = server.ask(&Request::post("/oauth2/par?scope=read").basic(&app).form(&GOOD));
    assert_eq!(query.error(), (400, "invalid_request".to_owned()));
}
