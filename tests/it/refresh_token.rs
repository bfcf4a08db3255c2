//! Refresh tokens: RFC 6749 §6, RFC 9700 §4.14.2.

use std::time::Duration;

use serde_json::json;
use tessera::clock::UnixTime;

use crate::harness::{START_SECONDS, TestServer, admin};
use crate::http::{Answer, Credentials, Request};
use crate::person::{self, grant, register, tokens};

fn refresh_with(server: &TestServer, client: &Credentials, token: &str, more: &[(&str, &str)]) -> Answer {
    let form = [&[("grant_type", "refresh_token"), ("refresh_token", token)], more].concat();
    server.ask_for_token(client, &form)
}

fn refresh(server: &TestServer, client: &Credentials, token: &str) -> Answer {
    refresh_with(server, client, token, &[])
}

#[track_caller]
fn assert_refused(answer: &Answer, why: &str) {
    assert_eq!(answer.error(), (400, "invalid_grant".to_owned()), "{why} {answer:?}");
}

#[test]
fn rt_1_inside_the_window_the_same_is_answered_again_and_outside_the_grant_ends() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let (first_access, first) = grant(&server, &app);
    let second = tokens(&refresh(&server, &app, &first));
    assert!(second.1 != first && second.0 != first_access);
    server.time.advance(Duration::from_secs(29));
    assert_eq!(tokens(&refresh(&server, &app, &first)), second, "the answer was lost");
    server.time.advance(Duration::from_secs(1));
    assert_refused(&refresh(&server, &app, &first), "used before");
    for access in [&first_access, &second.0] {
        assert!(!server.is_active(&app, access));
    }
    assert_refused(&refresh(&server, &app, &second.1), "the grant is gone");
}

#[test]
fn rt_1_a_retry_gives_another_access_token_where_its_client_has_revoked_the_one_before() {
    let server = person::start_durable();
    let app = register(&server, "app", &json!({}));
    let (_, first) = grant(&server, &app);
    let (access, second) = tokens(&refresh(&server, &app, &first));
    assert_eq!(server.revoke(&app, &access).status, 200);
    let server = server.restart();
    for _ in 0..2 {
        let answer = refresh_with(&server, &app, &first, &[("scope", "read")]);
        let again = tokens(&answer);
        assert_eq!((&again.1, &*answer.text("scope")), (&second, "read"), "the same successor");
        assert_eq!(answer.json()["expires_in"], 3600);
        assert!(server.is_active(&app, &again.0) && !server.is_active(&app, &access));
    }
    let wider = refresh_with(&server, &app, &first, &[("scope", "read admin")]);
    assert_eq!(wider.error(), (400, "invalid_scope".to_owned()));
    let (last, _) = tokens(&refresh(&server, &app, &second));
    assert!(server.restart().is_active(&app, &last), "and it goes on");
}

#[test]
fn rt_1_a_retry_gives_a_live_access_token_where_that_of_the_lost_answer_has_expired() {
    let server = person::start_durable();
    let more = json!({ "access_token_lifetime_seconds": 10, "refresh_token_retry_seconds": 300 });
    let app = register(&server, "app", &more);
    let (_, first) = grant(&server, &app);
    let (access, second) = tokens(&refresh(&server, &app, &first));
    server.time.advance(Duration::from_secs(9));
    assert_eq!(tokens(&refresh(&server, &app, &first)), (access.clone(), second.clone()), "it lives");
    // At its end it is still in memory, after a restart it is not.
    server.time.advance(Duration::from_secs(1));
    let retry = |server: &TestServer| {
        let answer = refresh(server, &app, &first);
        let (again, successor) = tokens(&answer);
        assert_eq!((answer.json()["expires_in"].as_u64(), &successor), (Some(10), &second), "the same successor");
        assert!(again != access && server.is_active(&app, &again) && !server.is_active(&app, &access));
        again
    };
    let renewed = [retry(&server), retry(&server)];
    assert!(renewed[0] != renewed[1] && renewed.iter().all(|access| server.is_active(&app, access)));
    let server = server.restart();
    server.time.advance(Duration::from_secs(20));
    retry(&server);
    let renewed = retry(&server);
    let (last, third) = tokens(&refresh(&server, &app, &second));
    assert!(server.is_active(&app, &last) && server.is_active(&app, &renewed), "and it goes on");
    assert_refused(&refresh(&server, &app, &first), "two before");
    assert!(!server.is_active(&app, &last) && !server.is_active(&app, &renewed), "reuse ends what a retry gave too");
    assert_refused(&refresh(&server, &app, &third), "the grant is gone");
}

#[test]
fn rt_4_after_two_rotations_the_first_ends_the_grant() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let (_, first) = grant(&server, &app);
    let (_, second) = tokens(&refresh(&server, &app, &first));
    let (access, third) = tokens(&refresh(&server, &app, &second));
    assert_refused(&refresh(&server, &app, &first), "two before");
    assert!(!server.is_active(&app, &access));
    assert_refused(&refresh(&server, &app, &third), "the grant is gone");
}

#[test]
fn rt_5_a_window_and_a_reuse_outlive_restarts_and_clocks() {
    let server = person::start_durable();
    let app = register(&server, "app", &json!({}));
    let (_, first) = grant(&server, &app);
    let second = tokens(&refresh(&server, &app, &first));
    server.time.advance(Duration::from_secs(20));
    let server = server.restart();
    server.time.advance(Duration::from_secs(20));
    assert_eq!(tokens(&refresh(&server, &app, &first)), second, "the window counts the time of serving");
    server.time.advance(Duration::from_secs(11));
    assert_refused(&refresh(&server, &app, &first), "used before");
    let server = server.restart();
    assert!(!server.is_active(&app, &second.0));
    assert_refused(&refresh(&server, &app, &second.1), "the grant stays gone");
}

#[test]
fn rt_6_a_refresh_token_is_its_clients_own() {
    let server = person::start();
    let (app, other) = (register(&server, "app", &json!({})), register(&server, "other", &json!({})));
    let (access, token) = grant(&server, &app);
    assert_refused(&refresh(&server, &other, &token), "another client");
    assert_eq!(server.revoke(&other, &token).status, 400, "another client");
    assert!(server.is_active(&app, &access));
    assert_eq!(refresh(&server, &app, &token).status, 200, "what others try costs its owner nothing");
}

#[test]
fn rt_6_a_grant_dies_with_its_client_and_with_its_person() {
    for (request, expected) in [
        (Request::post("/admin/v1/clients/app/revoke"), (400, "invalid_grant")),
        (Request::new("DELETE", "/admin/v1/clients/app"), (401, "invalid_client")),
        (Request::post("/admin/v1/users/ann/revoke"), (400, "invalid_grant")),
    ] {
        let server = person::start_durable();
        let app = register(&server, "app", &json!({}));
        let (access, token) = grant(&server, &app);
        let done = server.ask_socket(&request);
        assert!(done.status < 300, "{done:?}");
        let server = server.restart();
        assert!(!server.is_active(&admin(), &access), "{request:?}");
        let answer = refresh(&server, &app, &token);
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{request:?}");
    }
}

#[test]
fn rt_6_a_grant_that_an_administrator_ends_is_gone() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let (access, token) = grant(&server, &app);
    let list = server.ask_socket(&Request::get("/admin/v1/grants?sub=ann")).json();
    let id = list["grants"][0]["id"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned();
    let done = server.ask_socket(&Request::new("DELETE", &format!("/admin/v1/grants/{id}")));
    assert!(done.status < 300, "{done:?}");
    assert!(!server.is_active(&app, &access));
    assert_refused(&refresh(&server, &app, &token), "ended");
}

#[test]
fn rt_5_a_clock_that_is_set_back_gives_nothing_back() {
    let server = person::start_durable();
    let app = register(&server, "app", &json!({}));
    let (_, first) = grant(&server, &app);
    let (_, second) = tokens(&refresh(&server, &app, &first));
    let (_, third) = tokens(&refresh(&server, &app, &second));
    server.time.set_wall(UnixTime::from_seconds(START_SECONDS - 86_400));
    let server = server.restart();
    let (access, _) = tokens(&refresh(&server, &app, &third));
    assert_refused(&refresh(&server, &app, &first), "used before");
    assert!(!server.is_active(&app, &access));
}

#[test]
fn rt_6_a_refresh_token_outlives_its_clients_secret() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let (_, token) = grant(&server, &app);
    let rotated = server.ask_socket(&Request::post("/admin/v1/clients/app/secret"));
    let renewed = Credentials::new("app", &rotated.text("client_secret"));
    assert_eq!(refresh(&server, &app, &token).error(), (401, "invalid_client".to_owned()));
    assert_eq!(refresh(&server, &renewed, &token).status, 200);
}

#[test]
fn rt_7_a_scope_is_narrowed_and_comes_back() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let (_, mut token) = grant(&server, &app);
    let many = (0..500).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    for scope in ["read write admin", "admin", "read\u{e9}", "read\nwrite", "read  write", " read", "\"", &many] {
        let error = refresh_with(&server, &app, &token, &[("scope", scope)]).error();
        assert_eq!(error, (400, "invalid_scope".to_owned()), "{:.40}", scope);
    }
    let huge = "a ".repeat(100_000);
    let answer = refresh_with(&server, &app, &token, &[("scope", &huge)]);
    assert!((400..500).contains(&answer.status), "{answer:?}");
    for (scope, expected) in
        [("write read", "read write"), ("read", "read"), ("read read", "read"), ("read write", "read write")]
    {
        let answer = refresh_with(&server, &app, &token, &[("scope", scope)]);
        let mut granted: Vec<_> = answer.text("scope").split(' ').map(str::to_owned).collect();
        granted.sort();
        assert_eq!(granted.join(" "), expected, "{scope}");
        token = tokens(&answer).1;
    }
    assert_eq!(refresh(&server, &app, &token).text("scope"), "read write");
}

#[test]
fn rt_8_a_refresh_token_is_no_access_token() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let (access, token) = grant(&server, &app);
    for hint in ["refresh_token", "access_token", "unknown"] {
        let form = [("token", &*token), ("token_type_hint", hint)];
        let answer = server.ask(&Request::post("/oauth2/introspect").basic(&app).form(&form));
        assert_eq!((answer.status, answer.json()), (200, json!({ "active": false })), "{hint}");
    }
    assert_eq!(server.ask(&Request::get("/admin/v1/clients").bearer(&token)).status, 401);
    assert_refused(&refresh(&server, &app, &access), "an access token");
    for forged in [&token[1..], &format!("{token}A"), &token.to_uppercase(), "tsr_rt_", ""] {
        let status = refresh(&server, &app, forged).status;
        assert_eq!((status, server.revoke(&app, &format!("{forged}x")).status), (400, 200), "{forged}");
    }
    assert!(server.is_active(&app, &access), "what was tried cost it nothing");
    assert_eq!(server.revoke(&app, &token).status, 200);
    assert!(!server.is_active(&app, &access), "the grant ends with its refresh token");
    assert_refused(&refresh(&server, &app, &token), "revoked");
}

#[test]
fn a_grant_expires_when_it_is_idle_and_in_any_case() {
    let server = person::start();
    let more = json!({ "refresh_token_idle_seconds": 100, "refresh_token_lifetime_seconds": 250 });
    let app = register(&server, "app", &more);
    let (_, idle) = grant(&server, &app);
    let (_, mut used) = grant(&server, &app);
    for _ in 0..2 {
        server.time.advance(Duration::from_secs(99));
        used = tokens(&refresh(&server, &app, &used)).1;
    }
    assert_refused(&refresh(&server, &app, &idle), "idle");
    server.time.advance(Duration::from_secs(52));
    assert_refused(&refresh(&server, &app, &used), "its time is over");
}

#[test]
fn without_rotation_a_refresh_token_stays() {
    let server = person::start();
    let app = register(&server, "app", &json!({ "refresh_token_rotation": false }));
    let (first, token) = grant(&server, &app);
    let (second, same) = tokens(&refresh(&server, &app, &token));
    assert_eq!(same, token);
    assert_ne!(tokens(&refresh(&server, &app, &token)).0, second);
    assert!(server.is_active(&app, &first));
}
