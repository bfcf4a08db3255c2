//! RFC 7662: token introspection, and our batches of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{START_SECONDS, TestServer, admin};
use crate::http::{Answer, Credentials, Request};

const INACTIVE: &str = r#"{"active":false}"#;

/// Tokens that are none, made from one that is.
fn forgeries(token: &str) -> Vec<String> {
    let cut = (1..token.len()).map(|length| token[..length].to_owned());
    let flipped = (0..token.len()).flat_map(|position| {
        [1, 2, 0x20].map(|bit| {
            let mut bytes = token.as_bytes().to_vec();
            bytes[position] ^= bit;
            String::from_utf8(bytes).unwrap()
        })
    });
    let others = [
        format!("{token}A"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\0"),
        format!("{token}{token}"),
        token.to_uppercase(),
        "tsr_at_".to_owned(),
        "unknown".to_owned(),
        "é".to_owned(),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
        "x".repeat(16_000),
    ];
    cut.chain(flipped).chain(others).collect()
}

#[test]
fn section_2_1_the_caller_must_authenticate() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let token = server.issue(&app);
    let ask = |request: Request| server.ask(&request.form(&[("token", &token)])).error();
    let unauthenticated = (401, "invalid_client".to_owned());
    assert_eq!(ask(Request::post("/oauth2/introspect")), unauthenticated);
    assert_eq!(ask(Request::post("/oauth2/introspect").basic(&Credentials::new("app", "wrong"))), unauthenticated);
    assert_eq!(ask(Request::post("/oauth2/introspect").bearer(&token)), unauthenticated);
    let batch = json!({ "tokens": [token] });
    for request in [
        Request::post("/oauth2/introspect/batch"),
        Request::post("/oauth2/introspect/batch").basic(&Credentials::new("app", "wrong")),
        Request::post("/oauth2/introspect/batch").bearer(&token),
    ] {
        assert_eq!(server.ask(&request.json(&batch)).error(), unauthenticated);
    }
}

#[test]
fn section_2_1_a_token_is_required() {
    let server = TestServer::start();
    for body in ["", "token=", "token", "token_type_hint=access_token", "Token=a", "tokens=a"] {
        let answer = server.ask(&Request::post("/oauth2/introspect").basic(&admin()).form_bytes(body));
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{body}");
    }
}

#[test]
fn section_2_1_a_hint_changes_nothing() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let token = server.issue(&app);
    let without = server.introspect(&app, &token);
    for hint in ["access_token", "refresh_token", "unknown", "\u{0}"] {
        let parameters = [("token", &*token), ("token_type_hint", hint)];
        let with = server.ask(&Request::post("/oauth2/introspect").basic(&app).form(&parameters));
        assert_eq!(with, without, "{hint:?}");
    }
}

#[test]
fn section_2_2_an_active_answer_has_exactly_these_members() {
    let server = TestServer::start();
    let audience = json!(["https://api.example/", "urn:other"]);
    let app = server.register(&json!({
        "client_id": "app", "scope": "read write", "audience": audience, "access_token_lifetime_seconds": 60,
    }));
    server.time.advance(Duration::from_millis(1_999));
    let token = server.issue(&app);
    server.time.advance(Duration::from_secs(10));
    let answer = server.introspect(&app, &token);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let expected = json!({
        "active": true, "client_id": "app", "sub": "app", "scope": "read write", "aud": audience, "iss": server.issuer,
        "token_type": "Bearer", "iat": START_SECONDS + 1, "exp": START_SECONDS + 61,
    });
    assert_eq!(answer.json(), expected);
}

#[test]
fn section_2_2_members_without_a_value_are_left_out() {
    let server = TestServer::start();
    let bare = server.register(&json!({ "client_id": "bare" }));
    let document = server.introspect(&bare, &server.issue(&bare)).json();
    assert_eq!((document.get("scope"), document.get("aud")), (None, None));
    assert_eq!(document["active"], true);
}

#[test]
fn section_2_2_what_the_caller_may_not_know_is_inactive_to_the_byte() {
    let server = TestServer::start();
    let (app, other, doomed) =
        (server.register_app("app"), server.register_app("other"), server.register_app("doomed"));
    let (live, revoked, foreign) = (server.issue(&app), server.issue(&app), server.issue(&other));
    let brief = server.register(&json!({ "access_token_lifetime_seconds": 1 }));
    let (expired, of_deleted) = (server.issue(&brief), server.issue(&doomed));
    assert_eq!(server.revoke(&app, &revoked).status, 200);
    let deleted = server.ask_socket(&Request::new("DELETE", "/admin/v1/clients/doomed"));
    assert_eq!(deleted.status, 204);
    server.time.advance(Duration::from_secs(1));

    let expected = server.introspect(&app, "unknown");
    assert_eq!((expected.status, &*expected.body), (200, INACTIVE));
    assert_eq!(expected.field("cache-control"), Some("no-store"));
    assert_eq!(server.introspect(&app, &foreign), expected, "a token of another client");
    for caller in [&app, &brief, &admin()] {
        for (token, what) in [(&revoked, "revoked"), (&expired, "expired"), (&of_deleted, "of a deleted client")] {
            assert_eq!(server.introspect(caller, token), expected, "{what}, to {}", caller.id);
        }
    }
    assert!(server.is_active(&app, &live) && server.is_active(&other, &foreign));
    let mut connection = server.connect();
    for forged in forgeries(&live) {
        let request = Request::post("/oauth2/introspect").basic(&admin()).form(&[("token", &forged)]);
        assert_eq!(connection.ask(&request).body, INACTIVE, "{forged:?}");
    }
}

#[test]
fn section_2_2_a_token_is_active_until_the_very_second_that_it_expires_in() {
    let server = TestServer::start();
    let app = server.register(&json!({ "access_token_lifetime_seconds": 30 }));
    let token = server.issue(&app);
    server.time.advance(Duration::from_millis(29_999));
    assert!(server.is_active(&app, &token));
    server.time.advance(Duration::from_millis(1));
    assert!(!server.is_active(&app, &token));
    server.time.set_wall(tessera::clock::UnixTime::from_seconds(START_SECONDS));
    assert!(!server.is_active(&app, &token), "a wall clock that is set back revives nothing");
}

#[test]
fn section_4_a_client_sees_the_tokens_that_its_introspection_rule_allows() {
    let server = TestServer::start();
    let owner = server.register(&json!({ "client_id": "owner", "audience": ["audience", "x"] }));
    let token = server.issue(&owner);
    for (rule, own, foreign) in
        [("none", false, false), ("own", true, false), ("audience", true, true), ("any", true, true)]
    {
        // The client is in the audience of the owner's token only under the name `audience`.
        let caller = server.register(&json!({ "client_id": rule, "introspection": rule }));
        assert_eq!(server.is_active(&caller, &server.issue(&caller)), own, "{rule}, its own");
        assert_eq!(server.is_active(&caller, &token), foreign, "{rule}, another's");
    }
    let elsewhere = server.register(&json!({ "client_id": "elsewhere", "introspection": "audience" }));
    assert!(!server.is_active(&elsewhere, &token), "the audience does not name it");
    let unsaid = server.register(&json!({}));
    assert!(!server.is_active(&unsaid, &token) && server.is_active(&unsaid, &server.issue(&unsaid)), "own by default");
}

#[test]
fn section_2_3_a_caller_that_is_deleted_cannot_ask() {
    let server = TestServer::start();
    let (app, doomed) =
        (server.register_app("app"), server.register(&json!({ "client_id": "doomed", "introspection": "any" })));
    let token = server.issue(&app);
    assert!(server.is_active(&doomed, &token));
    server.ask_socket(&Request::new("DELETE", "/admin/v1/clients/doomed"));
    assert_eq!(server.introspect(&doomed, &token).error(), (401, "invalid_client".to_owned()));
}

fn batch(server: &TestServer, caller: &Credentials, tokens: &[impl AsRef<str>]) -> Answer {
    let tokens: Vec<_> = tokens.iter().map(AsRef::as_ref).collect();
    server.ask(&Request::post("/oauth2/introspect/batch").basic(caller).json(&json!({ "tokens": tokens })))
}

#[test]
fn a_batch_answers_each_token_in_order_as_it_would_be_answered_alone() {
    let server = TestServer::start();
    let (app, other) = (server.register_app("app"), server.register_app("other"));
    let (live, revoked, foreign) = (server.issue(&app), server.issue(&app), server.issue(&other));
    server.revoke(&app, &revoked);
    let mut tokens = vec![live.clone(), revoked, foreign, String::new(), live.clone()];
    tokens.extend(forgeries(&live));
    tokens.push(live);
    for caller in [&app, &other, &admin()] {
        let answer = batch(&server, caller, &tokens);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let alone = |token: &String| {
            if token.is_empty() { INACTIVE.to_owned() } else { server.introspect(caller, token).body }
        };
        let expected: Vec<_> = tokens.iter().map(alone).collect();
        assert_eq!(answer.body, format!(r#"{{"results":[{}]}}"#, expected.join(",")), "to {}", caller.id);
    }
}

#[test]
fn a_batch_has_at_most_1000_tokens() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let token = server.issue(&app);
    for count in [0, 1, 1000] {
        let results = batch(&server, &app, &vec![&token; count]).json()["results"].take();
        let results = results.as_array().unwrap();
        assert_eq!(results.len(), count);
        assert!(results.iter().all(|result| result["active"] == true));
    }
    assert_eq!(batch(&server, &app, &vec![&token; 1001]).error(), (400, "invalid_request".to_owned()));
}

#[test]
fn a_batch_is_one_strict_json_object() {
    let server = TestServer::start();
    for text in [
        "",
        "[]",
        r#"[["a"]]"#,
        "{}",
        r#"{"tokens":"a"}"#,
        r#"{"tokens":[1]}"#,
        r#"{"tokens":[null]}"#,
        r#"{"tokens":["a"],"more":1}"#,
        r#"{"tokens":["a"],"tokens":["b"]}"#,
        r#"{"tokens":["a"]} x"#,
        r#"{"tokens":["a""#,
        "{\"tokens\":[\"\u{0}\"]}",
        r#"{"tokens":["\ud800"]}"#,
        &format!(r#"{{"tokens":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        let answer = server.ask(&Request::post("/oauth2/introspect/batch").basic(&admin()).json_text(text));
        let shown: String = text.chars().take(60).collect();
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{shown}");
    }
    let escaped = r#"{"tokens":["\u0061\"\\", "é"]}"#;
    let answer = server.ask(&Request::post("/oauth2/introspect/batch").basic(&admin()).json_text(escaped));
    assert_eq!(answer.json(), json!({ "results": [{ "active": false }, { "active": false }] }));
    let form = Request::post("/oauth2/introspect/batch").basic(&admin()).form(&[("tokens", "a")]);
    assert_eq!(server.ask(&form).error(), (415, "invalid_request".to_owned()));
}

#[test]
fn a_change_of_a_clients_rights_counts_from_the_next_answer_on() {
    let server = TestServer::start();
    let (app, gateway) = (server.register_app("app"), server.register(&json!({ "client_id": "gateway" })));
    let token = server.issue(&app);
    let put = |rule: &str| {
        let request = Request::new("PUT", "/admin/v1/clients/gateway").json(&json!({ "introspection": rule }));
        assert_eq!(server.ask_socket(&request).status, 200);
    };
    for (rule, is_active) in [("any", true), ("own", false), ("any", true), ("none", false)] {
        put(rule);
        assert_eq!(server.is_active(&gateway, &token), is_active, "{rule}");
        let results = batch(&server, &gateway, &[&token]).json()["results"].take();
        assert_eq!(results[0]["active"], Value::Bool(is_active), "{rule}");
    }
}
