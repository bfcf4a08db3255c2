//! Devices: RFC 8628 §3.2–3.5.

use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::{Browser, hidden};
use crate::harness::TestServer;
use crate::http::{Answer, Credentials, Request};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const PASSWORD: &str = "correct horse battery staple";

fn register(server: &TestServer, client_id: &str) -> Credentials {
    server.register(&json!({
        "client_id": client_id, "scope": "read", "grant_types": [GRANT_TYPE, "refresh_token"],
    }))
}

fn start() -> (TestServer, Credentials) {
    let server = TestServer::start();
    let user = json!({ "username": "ada", "password": PASSWORD });
    let answer = server.ask_socket(&Request::post("/admin/v1/users").json(&user));
    assert_eq!(answer.status, 201, "{answer:?}");
    let tv = register(&server, "tv");
    (server, tv)
}

fn begin(server: &TestServer, tv: &Credentials) -> Answer {
    server.ask(&Request::post("/oauth2/device_authorization").basic(tv).form(&[("scope", "read")]))
}

fn poll(server: &TestServer, tv: &Credentials, begun: &Value) -> Answer {
    let code = begun["device_code"].as_str().unwrap();
    server.ask_for_token(tv, &[("grant_type", GRANT_TYPE), ("device_code", code)])
}

#[track_caller]
fn assert_refused(answer: &Answer, error: &str) {
    assert_eq!(answer.error(), (400, error.to_owned()), "{answer:?}");
}

#[track_caller]
fn log_in(server: &TestServer, username: &str) -> Browser {
    let mut browser = Browser::default();
    let csrf = hidden(&browser.get(server, "/login"), "csrf");
    let form = [("csrf", &*csrf), ("username", username), ("password", PASSWORD)];
    assert_eq!(browser.post(server, "/login", &form).status, 303);
    browser
}

/// Somebody logs in and decides about the device.
#[track_caller]
fn decide(server: &TestServer, begun: &Value, decision: &str) {
    let mut browser = log_in(server, "ada");
    let user_code = begun["user_code"].as_str().unwrap();
    let typed = user_code.to_lowercase().replace('-', " ");
    let csrf = hidden(&browser.get(server, "/device"), "csrf");
    let shown = browser.post(server, "/device", &[("csrf", &csrf), ("user_code", &typed)]);
    let csrf = hidden(&shown, "csrf");
    let form = [("csrf", &*csrf), ("user_code", user_code), ("decision", decision)];
    assert_eq!(browser.post(server, "/device", &form).status, 303);
}

#[test]
fn a_device_waits_for_a_person_and_gets_its_tokens_once() {
    let (server, tv) = start();
    let begun = begin(&server, &tv).json();
    let expected = format!("{}/device", server.issuer);
    assert_eq!((&begun["verification_uri"], &begun["interval"]), (&json!(expected), &json!(5)));
    server.time.advance(Duration::from_secs(5));
    assert_refused(&poll(&server, &tv, &begun), "authorization_pending");
    decide(&server, &begun, "allow");
    server.time.advance(Duration::from_secs(5));
    let answer = poll(&server, &tv, &begun);
    assert!(server.is_active(&tv, &answer.text("access_token")));
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*answer.text("refresh_token"))];
    assert_eq!(server.ask_for_token(&tv, &form).status, 200);
    assert_refused(&poll(&server, &tv, &begun), "invalid_grant");
}

#[test]
fn dv_2_a_device_is_told_to_slow_down_denied_and_late() {
    let (server, tv) = start();
    let other = register(&server, "other");
    let begun = begin(&server, &tv).json();
    assert_refused(&poll(&server, &other, &begun), "invalid_grant");
    server.time.advance(Duration::from_secs(5));
    assert_refused(&poll(&server, &tv, &begun), "authorization_pending");
    server.time.advance(Duration::from_secs(4));
    assert_refused(&poll(&server, &tv, &begun), "slow_down");
    server.time.advance(Duration::from_secs(9));
    assert_refused(&poll(&server, &tv, &begun), "slow_down");
    server.time.advance(Duration::from_secs(15));
    assert_refused(&poll(&server, &tv, &begun), "authorization_pending");
    decide(&server, &begun, "deny");
    assert_refused(&poll(&server, &tv, &begun), "access_denied");
    let late = begin(&server, &tv).json();
    server.time.advance(Duration::from_secs(600));
    assert_refused(&poll(&server, &tv, &late), "expired_token");
}

#[test]
fn a_client_has_no_more_than_a_thousand_devices_waiting() {
    let (server, tv) = start();
    let mut connection = server.connect();
    let request = Request::post("/oauth2/device_authorization").basic(&tv).form(&[("scope", "read")]);
    for _ in 0..1_000 {
        assert_eq!(connection.ask(&request).status, 200);
    }
    assert_eq!(connection.ask(&request).status, 503);
    assert_eq!(begin(&server, &register(&server, "other")).status, 200, "another client's are its own");
}

/// The page that answers a person who types a code.
#[track_caller]
fn type_code(server: &TestServer, browser: &mut Browser, typed: &str) -> Answer {
    let csrf = hidden(&browser.get(server, "/device"), "csrf");
    browser.post(server, "/device", &[("csrf", &csrf), ("user_code", typed)])
}

/// A code that is no device's: none has it but perhaps the one that waits, which then gets another's.
fn wrong(begun: &Value) -> &'static str {
    if begun["user_code"] == "BCDF-GHJK" { "LMNP-QRST" } else { "BCDF-GHJK" }
}

#[test]
fn dv_1_guesses_are_limited_by_person_and_by_place() {
    let server = TestServer::start_with(|config| config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
    for username in ["ada", "bob"] {
        let user = json!({ "username": username, "password": PASSWORD });
        assert_eq!(server.ask_socket(&Request::post("/admin/v1/users").json(&user)).status, 201);
    }
    let tv = register(&server, "tv");
    // Who has used up their guesses and where; who tries then and where; whether they may.
    for (number, (first, then, may)) in [
        (("ada", "192.0.2.1"), ("ada", "192.0.2.1"), false),
        (("ada", "192.0.2.2"), ("ada", "198.51.100.2"), false),
        (("ada", "192.0.2.3"), ("bob", "192.0.2.3"), false),
        (("ada", "2001:db8::1"), ("bob", "2001:db8::ffff:1"), false),
        (("ada", "192.0.2.4"), ("bob", "192.0.2.5"), true),
        (("ada", "2001:db8:0:1::1"), ("bob", "2001:db8:0:2::1"), true),
    ]
    .into_iter()
    .enumerate()
    {
        // All is forgiven.
        server.time.advance(Duration::from_secs(601));
        let begun = begin(&server, &tv).json();
        let wrong = wrong(&begun);
        let mut guesser = log_in(&server, first.0);
        guesser.move_to(first.1);
        for _ in 0..10 {
            let answer = type_code(&server, &mut guesser, wrong);
            assert_eq!(answer.status, 400, "{number} {answer:?}");
        }
        assert_eq!(type_code(&server, &mut guesser, wrong).status, 429, "{number}");
        // In a session of its own.
        let mut next = log_in(&server, then.0);
        next.move_to(then.1);
        let right = begun["user_code"].as_str().unwrap();
        let answer = type_code(&server, &mut next, right);
        assert_eq!(answer.status, if may { 200 } else { 429 }, "{number} {answer:?}");
        assert_eq!(
            answer.body.contains("<h1>Connect this device?"),
            may,
            "{number}: what is right is not told either {answer:?}"
        );
        server.time.advance(Duration::from_secs(60));
        assert_eq!(type_code(&server, &mut next, right).status, 200, "{number}: one more a minute");
        assert_eq!(type_code(&server, &mut next, right).status, 200, "{number}: who is right does not guess");
        assert_eq!(type_code(&server, &mut guesser, wrong).status, 400, "{number}");
        assert_eq!(type_code(&server, &mut guesser, wrong).status, 429, "{number}");
    }
}

#[test]
fn dv_1_what_is_typed_may_differ_in_case_and_dashes_alone() {
    let (server, tv) = start();
    let begun = begin(&server, &tv).json();
    let code = begun["user_code"].as_str().unwrap();
    let (bare, lower) = (code.replace('-', ""), code.to_lowercase());
    let mut browser = log_in(&server, "ada");
    for typed in [code, &bare, &lower, &code.replace('-', " "), &format!(" {lower} "), &format!("-{code}--")] {
        assert_eq!(type_code(&server, &mut browser, typed).status, 200, "{typed:?}");
    }
    let wide: String = bare.chars().map(|letter| char::from_u32(u32::from(letter) + 0xfee0).unwrap()).collect();
    for typed in [
        "",
        &code[1..],
        &format!("{code}B"),
        &code.replace('-', "_"),
        &code.replace('-', "."),
        &code.replace('-', "\t"),
        &code.replace('-', "\u{2010}"),
        &code.replace('-', "\u{a0}"),
        &format!("{code}\0"),
        &format!("{code}\u{301}"),
        &format!("{code}{}", "-".repeat(40)),
        &wide,
    ] {
        server.time.advance(Duration::from_secs(60));
        let begun = begin(&server, &tv);
        assert_eq!(begun.status, 200);
        assert_eq!(type_code(&server, &mut browser, typed).status, 400, "{typed:?}");
    }
}
