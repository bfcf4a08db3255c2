//! `OpenID` Connect RP-Initiated Logout 1.0.

use form_urlencoded::Serializer;
use serde_json::json;

use crate::browser::{Browser, destination, hidden};
use crate::harness::TestServer;
use crate::http::{Answer, Request};
use crate::openid::{register, sign_in, start};
use crate::person::{log_in, log_in_as};

const SESSION_COOKIE: &str = "__Host-tessera-session";
const BYE: &str = "https://client.example/bye?from=tessera";

fn logout(parameters: &[(&str, &str)]) -> String {
    format!("/oauth2/logout?{}", Serializer::new(String::new()).extend_pairs(parameters).finish())
}

/// A server with a client that may be come back to, a browser where somebody is logged in, and an ID token of theirs.
fn signed_in() -> (TestServer, Browser, String) {
    let server = start();
    let app = register(&server, "app", &json!({ "client_name": "The <App>", "post_logout_redirect_uris": [BYE] }));
    let mut browser = log_in(&server, "app");
    let id_token = sign_in(&server, &mut browser, &app, &[]).text("id_token");
    (server, browser, id_token)
}

#[track_caller]
fn check_ended(browser: &mut Browser, stolen: &mut Browser, server: &TestServer) {
    assert_eq!(browser.cookie(SESSION_COOKIE), None);
    let page = stolen.get(server, "/logout");
    assert!(page.body.contains("You are signed out"), "the session ended, not the cookie alone: {page:?}");
}

#[test]
fn section_2_a_client_with_an_id_token_of_the_person_is_taken_at_its_word() {
    let (server, mut browser, id_token) = signed_in();
    let mut stolen = browser.clone();
    let asked = [("id_token_hint", &*id_token), ("post_logout_redirect_uri", BYE), ("state", "a&b")];
    let answer = browser.get(&server, &logout(&asked));
    assert_eq!(
        (answer.status, answer.field("location")),
        (303, Some("https://client.example/bye?from=tessera&state=a%26b"))
    );
    check_ended(&mut browser, &mut stolen, &server);
    let again = browser.get(&server, &logout(&asked));
    assert_eq!(destination(&again), destination(&answer), "who is logged out already comes back too");
    let (server, mut browser, id_token) = signed_in();
    let answer =
        browser.get(&server, &logout(&[("id_token_hint", &id_token), ("ui_locales", "de"), ("logout_hint", "x")]));
    assert_eq!(answer.field("location"), Some("/logout"));
    assert!(browser.get(&server, "/logout").body.contains("You are signed out"));
}

#[test]
fn section_2_without_an_id_token_of_theirs_the_person_is_asked() {
    for hint in [false, true] {
        let (server, mut browser, id_token) = signed_in();
        let mut asked = vec![("client_id", "app"), ("post_logout_redirect_uri", BYE), ("state", "s")];
        if hint {
            // Of somebody else who has logged in at the same client.
            asked.push(("id_token_hint", &id_token));
            browser = log_in_as(&server, "app", &json!({ "subject": "bob" }));
        }
        let mut stolen = browser.clone();
        let page = browser.get(&server, &logout(&asked));
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains("The &lt;App&gt;") && page.body.contains("Sign out?"), "{page:?}");
        let (csrf, sealed) = (hidden(&page, "csrf"), hidden(&page, "request"));
        let own = hidden(&browser.get(&server, "/logout"), "csrf");
        let foreign = browser.post(&server, "/logout", &[("csrf", &own), ("request", &sealed)]);
        assert_eq!(foreign.status, 403, "the token of one form does not do for another");
        let answer = browser.post(&server, "/logout", &[("csrf", &csrf), ("request", &sealed)]);
        assert_eq!(destination(&answer), format!("{BYE}&state=s"));
        check_ended(&mut browser, &mut stolen, &server);
    }
    let (server, mut browser, _) = signed_in();
    let page = browser.get(&server, "/oauth2/logout");
    assert!(page.body.contains("Sign out?") && !page.body.contains("asks you"), "{page:?}");
}

#[test]
fn section_2_a_request_that_is_posted_is_taken_up_by_get_with_the_browsers_cookies() {
    let (server, mut browser, id_token) = signed_in();
    let form = [("id_token_hint", &*id_token), ("post_logout_redirect_uri", BYE)];
    // Another site's page: the browser sends no cookie with it.
    let posted = server.ask(&Request::post("/oauth2/logout").form(&form));
    let next = destination(&posted);
    assert!(next.starts_with("/oauth2/logout?request=") && !next.contains(&id_token), "{next}");
    assert_eq!(destination(&browser.get(&server, &next)), BYE);
    assert_eq!(browser.cookie(SESSION_COOKIE), None);
}

/// What is wrong is shown, leads nowhere and ends nothing.
#[track_caller]
fn check_shown(server: &TestServer, browser: &mut Browser, parameters: &[(&str, &str)], expected: &str) {
    let answer: Answer = browser.get(server, &logout(parameters));
    let told = answer.body.contains(expected);
    let leads = answer.field("location").or_else(|| answer.field("refresh"));
    assert_eq!((answer.status, leads, told), (400, None, true), "{parameters:?}: {answer:?}");
    let page = browser.get(server, "/logout");
    assert!(page.body.contains("Sign out?"), "{parameters:?}: {page:?}");
}

#[test]
fn ru_8_the_browser_is_sent_only_where_the_client_has_registered_byte_by_byte() {
    let (server, mut browser, id_token) = signed_in();
    server.register(&json!({ "client_id": "other", "scope": "read" }));
    for uri in [
        "https://client.example/bye?from=tessera&",
        "https://client.example/bye?from=tesser",
        "https://client.example/bye",
        "https://client.example/bye/?from=tessera",
        "https://client.example:443/bye?from=tessera",
        "https://client.example./bye?from=tessera",
        "HTTPS://client.example/bye?from=tessera",
        "https://CLIENT.example/bye?from=tessera",
        "https://client.example/%62ye?from=tessera",
        "https://client.example/x/../bye?from=tessera",
        "https://client.example//bye?from=tessera",
        "https://client.example\\@evil.example/bye?from=tessera",
        "https://client.example@evil.example/bye?from=tessera",
        "https://client.example/bye?from=tessera#",
        "https://client.example/bye?from=tessera\r\nSet-Cookie: a=b",
        "https://client.example/bye?from=tessera\0",
        "//client.example/bye?from=tessera",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://evil.example/",
        // What it may be sent to with a code is not where it may be sent to now.
        "https://client.example/cb",
    ] {
        check_shown(
            &server,
            &mut browser,
            &[("id_token_hint", &id_token), ("post_logout_redirect_uri", uri)],
            "has registered",
        );
    }
    check_shown(&server, &mut browser, &[("client_id", "other"), ("post_logout_redirect_uri", BYE)], "has registered");
    check_shown(&server, &mut browser, &[("post_logout_redirect_uri", BYE)], "needs a client");
}

#[test]
fn section_2_what_is_wrong_is_shown_and_ends_nothing() {
    let (server, mut browser, id_token) = signed_in();
    server.register(&json!({ "client_id": "other", "scope": "read" }));
    let long = "s".repeat(4097);
    let (head, signature) = id_token.rsplit_once('.').unwrap();
    let turned: String = signature.chars().rev().collect();
    for (parameters, expected) in [
        (vec![("id_token_hint", &*id_token), ("client_id", "other")], "another client"),
        (vec![("client_id", "nobody")], "no client has this client_id"),
        (vec![("id_token_hint", "garbage")], "no ID token"),
        (vec![("id_token_hint", &format!("{head}.{turned}"))], "no ID token"),
        (vec![("id_token_hint", &format!("{head}."))], "no ID token"),
        (vec![("client_id", "app"), ("client_id", "app")], "repeated"),
        (vec![("client_id", "app"), ("state", &long)], "at most 4096 bytes"),
        (vec![("request", "forged")], "not usable"),
    ] {
        check_shown(&server, &mut browser, &parameters, expected);
    }
}

#[test]
fn what_the_client_has_given_up_meanwhile_is_not_gone_to() {
    let (server, mut browser, _) = signed_in();
    let page = browser.get(&server, &logout(&[("client_id", "app"), ("post_logout_redirect_uri", BYE)]));
    let (csrf, sealed) = (hidden(&page, "csrf"), hidden(&page, "request"));
    let deleted = server.ask_socket(&Request::new("DELETE", "/admin/v1/clients/app"));
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let answer = browser.post(&server, "/logout", &[("csrf", &csrf), ("request", &sealed)]);
    assert_eq!((answer.status, answer.field("refresh"), answer.field("location")), (400, None, None), "{answer:?}");
}

#[test]
fn section_3_1_a_client_registers_where_people_go_after_the_logout() {
    let server = start();
    register(&server, "app", &json!({ "post_logout_redirect_uris": [BYE] }));
    let shown = server.ask_socket(&Request::get("/admin/v1/clients/app"));
    assert_eq!(shown.json()["post_logout_redirect_uris"], json!([BYE]));
    for uri in ["http://client.example/", "https://client.example/#", "javascript:alert(1)", "/bye"] {
        let metadata = json!({ "client_id": "bad", "scope": "read", "post_logout_redirect_uris": [uri] });
        let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&metadata));
        assert_eq!(answer.status, 400, "{uri}");
        assert!(answer.body.contains("post_logout_redirect_uris"), "{answer:?}");
    }
    let metadata = server.ask(&Request::get("/.well-known/openid-configuration")).json();
    assert_eq!(metadata["end_session_endpoint"], format!("{}/oauth2/logout", server.issuer));
}
