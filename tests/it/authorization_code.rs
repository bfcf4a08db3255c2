//! Authorization codes at the token endpoint: RFC 6749 §4.1.3, RFC 7636 §4.6.

use std::time::Duration;

use serde_json::json;

use crate::harness::{TestServer, admin};
use crate::http::{Answer, Credentials, Request};
use crate::person::{self, VERIFIER, code, grant, log_in, redeem, redemption, register, tokens};

#[track_caller]
fn assert_refused(answer: &Answer, why: &str) {
    assert_eq!(answer.error(), (400, "invalid_grant".to_owned()), "{why} {answer:?}");
}

/// A public client asks with its name alone.
fn redeem_publicly(server: &TestServer, changes: &[(&str, &str)], code: &str) -> Answer {
    server.ask(&Request::post("/oauth2/token").form(&redemption(code, changes)))
}

#[test]
fn co_1_a_code_that_comes_again_revokes_what_it_gave() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let code = code(&server, &mut log_in(&server, "app"), "app");
    let (access, refresh) = tokens(&redeem(&server, &app, &code));
    assert!(server.is_active(&app, &access));
    assert_refused(&redeem(&server, &app, &code), "again");
    assert!(!server.is_active(&app, &access));
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
    assert_refused(&server.ask_for_token(&app, &form), "what it gave");
}

#[test]
fn co_2_a_code_is_its_clients_own() {
    let server = person::start();
    let (app, other) = (register(&server, "app", &json!({})), register(&server, "other", &json!({})));
    register(&server, "public", &json!({ "token_endpoint_auth_method": "none" }));
    let code = code(&server, &mut log_in(&server, "app"), "app");
    assert_refused(&redeem(&server, &other, &code), "another client");
    assert_refused(&redeem_publicly(&server, &[("client_id", "public")], &code), "a public client");
    let nameless = redeem_publicly(&server, &[("client_id", "app")], &code);
    assert_eq!(nameless.error(), (401, "invalid_client".to_owned()));
    assert_eq!(redeem(&server, &app, &code).status, 200, "what others try costs its owner nothing");
}

#[test]
fn co_3_a_code_lives_a_minute() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let mut browser = log_in(&server, "app");
    for (seconds, status) in [(59, 200), (60, 400), (61, 400)] {
        let code = code(&server, &mut browser, "app");
        server.time.advance(Duration::from_secs(seconds));
        assert_eq!(redeem(&server, &app, &code).status, status, "{seconds}");
    }
}

#[test]
fn co_4_what_is_not_a_code_is_not_taken_for_one() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let (access, refresh) = grant(&server, &app);
    let code = code(&server, &mut log_in(&server, "app"), "app");
    let (head, last) = code.split_at(code.len() - 1);
    for forged in [
        head.to_owned(),
        format!("{code}A"),
        format!("{code}="),
        format!("{code} "),
        format!(" {code}"),
        format!("{code}+"),
        code.to_uppercase(),
        code.replacen("tsr_ac_", "tsr_dc_", 1),
        code.replacen("tsr_ac_", "", 1),
        access.clone(),
        refresh,
        "x".repeat(5_000),
        "\u{202e}😀\0".to_owned(),
    ] {
        assert_refused(&redeem(&server, &app, &forged), &forged);
    }
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        let forged = format!("{head}{other}");
        if !last.starts_with(other) {
            assert_refused(&redeem(&server, &app, &forged), "other last bits");
        }
    }
    let request = Request::get("/admin/v1/clients").bearer(&code);
    assert_eq!(server.ask(&request).status, 401, "a code as a bearer");
    assert!(!server.is_active(&admin(), &code), "a code is no token");
    assert_eq!(redeem(&server, &app, &code).status, 200, "what was tried cost it nothing");
    assert!(server.is_active(&app, &access));
}

#[test]
fn pk_1_a_code_needs_its_verifier_and_its_redirect_uri() {
    let server = person::start();
    let app = register(&server, "app", &json!({}));
    let code = code(&server, &mut log_in(&server, "app"), "app");
    let (long, longer) = ("a".repeat(128), "a".repeat(129));
    let flipped = VERIFIER.to_lowercase();
    for (changes, error) in [
        (("redirect_uri", ""), "invalid_grant"),
        (("redirect_uri", "https://client.example/cb/"), "invalid_grant"),
        (("redirect_uri", "HTTPS://client.example/cb"), "invalid_grant"),
        (("code_verifier", ""), "invalid_grant"),
        (("code_verifier", &flipped), "invalid_grant"),
        (("code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), "invalid_grant"),
        (("code_verifier", &long), "invalid_grant"),
        (("code_verifier", &longer), "invalid_request"),
        (("code_verifier", &VERIFIER[1..]), "invalid_request"),
        (("code_verifier", "dBjftJeZ4CVP mB92K27uhbUJU1p1r wW1gFWFOEjXk"), "invalid_request"),
        (("code_verifier", "dBjftJeZ4CVP+mB92K27uhbUJU1p1r/wW1gFWFOEjXk"), "invalid_request"),
        (("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk="), "invalid_request"),
        (("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjX\u{212a}"), "invalid_request"),
        (("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk\0"), "invalid_request"),
    ] {
        let answer = server.ask_for_token(&app, &redemption(&code, &[changes]));
        assert_eq!(answer.error(), (400, error.to_owned()), "{changes:?}");
    }
    assert_eq!(redeem(&server, &app, &code).status, 200);
}

#[test]
fn pk_2_a_public_client_proves_itself_by_its_verifier() {
    let server = person::start();
    register(&server, "public", &json!({ "token_endpoint_auth_method": "none" }));
    let code = code(&server, &mut log_in(&server, "public"), "public");
    let without = redeem_publicly(&server, &[("client_id", "public"), ("code_verifier", "")], &code);
    assert_refused(&without, "no verifier");
    let answer = redeem_publicly(&server, &[("client_id", "public")], &code);
    assert!(server.is_active(&admin(), &tokens(&answer).0));
}

#[test]
fn a_code_survives_a_restart_and_so_does_its_use() {
    let server = person::start_durable();
    let app = register(&server, "app", &json!({}));
    let code = code(&server, &mut log_in(&server, "app"), "app");
    let server = server.restart();
    let (access, _) = tokens(&redeem(&server, &app, &code));
    let server = server.restart();
    assert!(server.is_active(&app, &access));
    assert_refused(&redeem(&server, &app, &code), "again");
    assert!(!server.restart().is_active(&app, &access));
}

#[test]
fn a_code_dies_with_its_client_and_with_its_person() {
    for (request, is_client_there) in [
        (Request::post("/admin/v1/clients/app/revoke"), true),
        (Request::new("DELETE", "/admin/v1/clients/app"), false),
        (Request::post("/admin/v1/users/ann/revoke"), true),
    ] {
        let server = person::start();
        let app: Credentials = register(&server, "app", &json!({}));
        let code = code(&server, &mut log_in(&server, "app"), "app");
        let done = server.ask_socket(&request);
        assert!(done.status < 300, "{done:?}");
        let expected = if is_client_there { (400, "invalid_grant") } else { (401, "invalid_client") };
        assert_eq!(redeem(&server, &app, &code).error(), (expected.0, expected.1.to_owned()), "{request:?}");
    }
}
