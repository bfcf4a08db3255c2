//! RFC 7009: token revocation.

use std::time::Duration;

use serde_json::json;

use crate::harness::{TestServer, admin};
use crate::http::{Answer, Credentials, Request};

#[track_caller]
fn assert_done(answer: &Answer) {
    assert_eq!((answer.status, &*answer.body), (200, "{}"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
}

#[test]
fn section_2_1_the_client_must_authenticate() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let token = server.issue(&app);
    for request in [
        Request::post("/oauth2/revoke"),
        Request::post("/oauth2/revoke").basic(&Credentials::new("app", "wrong")),
        Request::post("/oauth2/revoke").bearer(&token),
    ] {
        let answer = server.ask(&request.form(&[("token", &token)]));
        assert_eq!(answer.error(), (401, "invalid_client".to_owned()));
    }
    assert!(server.is_active(&app, &token));
}

#[test]
fn section_2_1_a_token_is_required() {
    let server = TestServer::start();
    for body in ["", "token=", "token_type_hint=access_token"] {
        let answer = server.ask(&Request::post("/oauth2/revoke").basic(&admin()).form_bytes(body));
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{body}");
    }
}

#[test]
fn section_2_1_the_token_is_dead_once_the_answer_is_there() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let tokens: Vec<_> = (0..20).map(|_| server.issue(&app)).collect();
    for token in &tokens {
        assert!(server.is_active(&app, token));
        assert_done(&server.revoke(&app, token));
        assert!(!server.is_active(&app, token) && !server.is_active(&admin(), token));
    }
}

#[test]
fn section_2_1_only_that_one_token_dies() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let (revoked, sibling) = (server.issue(&app), server.issue(&app));
    server.revoke(&app, &revoked);
    assert!(server.is_active(&app, &sibling));
}

#[test]
fn section_2_1_a_token_of_another_client_is_refused_and_lives() {
    let server = TestServer::start();
    let (app, other) = (server.register_app("app"), server.register_app("other"));
    let token = server.issue(&app);
    for stranger in [&other, &admin()] {
        assert_eq!(server.revoke(stranger, &token).error(), (400, "unauthorized_client".to_owned()), "{}", stranger.id);
        assert!(server.is_active(&app, &token));
    }
    assert_done(&server.revoke(&app, &token));
    // What is dead is dead for everybody: who it belonged to is no longer told.
    assert_done(&server.revoke(&other, &token));
}

#[test]
fn section_2_1_a_hint_changes_nothing() {
    let server = TestServer::start();
    let app = server.register_app("app");
    for hint in ["access_token", "refresh_token", "unknown", "\u{0}"] {
        let token = server.issue(&app);
        let parameters = [("token", &*token), ("token_type_hint", hint)];
        assert_done(&server.ask(&Request::post("/oauth2/revoke").basic(&app).form(&parameters)));
        assert!(!server.is_active(&app, &token), "{hint:?}");
    }
}

#[test]
fn section_2_2_an_invalid_token_is_answered_200() {
    let server = TestServer::start();
    let app = server.register(&json!({ "client_id": "app", "access_token_lifetime_seconds": 10 }));
    let other = server.register_app("other");
    let (live, expired) = (server.issue(&app), server.issue(&app));
    let truncated = &live[..live.len() - 1];
    for token in ["unknown", "tsr_at_", truncated, &format!("{live}="), &live.to_uppercase(), "é", &"x".repeat(16_000)]
    {
        assert_done(&server.revoke(&app, token));
    }
    assert!(server.is_active(&app, &live));
    server.time.advance(Duration::from_secs(10));
    assert_done(&server.revoke(&app, &expired));
    assert_done(&server.revoke(&other, &expired));
}

#[test]
fn section_2_2_revoking_twice_is_revoking_once() {
    let server = TestServer::start();
    let app = server.register_app("app");
    let token = server.issue(&app);
    for _ in 0..3 {
        assert_done(&server.revoke(&app, &token));
        assert!(!server.is_active(&app, &token));
    }
}

#[test]
fn a_revocation_holds_after_a_restart_and_the_other_tokens_live_on() {
    let server = TestServer::start_durable();
    let app = server.register_app("app");
    let (kept, revoked) = (server.issue(&app), server.issue(&app));
    assert_done(&server.revoke(&app, &revoked));
    let before = server.introspect(&app, &kept).json();
    let server = server.restart();
    let mut after = server.introspect(&app, &kept).json();
    after["iss"] = before["iss"].clone();
    assert_eq!(after, before);
    assert!(!server.is_active(&app, &revoked));
    assert_done(&server.revoke(&app, &kept));
    let server = server.restart();
    assert!(!server.is_active(&app, &kept) && !server.is_active(&app, &revoked));
}
