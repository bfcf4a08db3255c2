//! `GET|POST /oauth2/userinfo`: `OpenID` Connect Core 1.0 §5.3 and §5.4, RFC 6750.

use std::time::Duration;

use serde_json::json;

use crate::harness::{START_SECONDS, TestServer};
use crate::http::{Answer, Request};
use crate::openid::{register, sign_in, start};
use crate::person::{SUBJECT, log_in, refreshing};

const PATH: &str = "/oauth2/userinfo";
const ORIGIN: &str = "https://app.example";

fn ask(server: &TestServer, token: &str) -> Answer {
    server.ask(&Request::get(PATH).bearer(token))
}

#[track_caller]
fn create_user(server: &TestServer) {
    let document = json!({
        "sub": SUBJECT, "username": "ann", "name": "Ann Bee", "email": "ann@example.com", "nickname": "A", "locale": "de-CH",
        "phone_number": "+41 1", "address": { "country": "CH" },
    });
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/users").json(&document)).status, 201);
}

/// An access token of this scope.
#[track_caller]
fn token(server: &TestServer, scope: &str) -> String {
    let app = crate::http::Credentials::new("app", "");
    let registered = server.ask_socket(&Request::get("/admin/v1/clients/app"));
    let app = if registered.status == 404 {
        register(server, "app", &json!({ "allowed_cors_origins": [ORIGIN] }))
    } else {
        let secret = server.ask_socket(&Request::post("/admin/v1/clients/app/secret")).text("client_secret");
        crate::http::Credentials { secret, ..app }
    };
    sign_in(server, &mut log_in(server, "app"), &app, &[("scope", scope)]).text("access_token")
}

#[test]
fn core_5_4_a_scope_asks_for_its_claims_and_for_no_other() {
    let server = start();
    create_user(&server);
    let profile = [
        ("name", json!("Ann Bee")),
        ("nickname", json!("A")),
        ("locale", json!("de-CH")),
        ("preferred_username", json!("ann")),
        ("updated_at", json!(START_SECONDS)),
    ];
    let email = [("email", json!("ann@example.com")), ("email_verified", json!(false))];
    let phone = [("phone_number", json!("+41 1")), ("phone_number_verified", json!(false))];
    for (scope, claims) in [
        ("openid", vec![]),
        ("openid profile", profile.to_vec()),
        ("openid email read", email.to_vec()),
        ("openid email profile", [&profile[..], &email].concat()),
        ("openid address", vec![("address", json!({ "country": "CH" }))]),
        ("openid phone", phone.to_vec()),
    ] {
        let mut expected = json!({ "sub": SUBJECT });
        for (claim, value) in claims {
            expected[claim] = value;
        }
        let token = token(&server, scope);
        let answer = ask(&server, &token);
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")), "{answer:?}");
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert_eq!(answer.json(), expected, "{scope}");
        let posted = server.ask(&Request::post(PATH).bearer(&token));
        assert_eq!(posted.json(), expected, "{scope}");
        let in_form = server.ask(&Request::post(PATH).form(&[("access_token", &token)]));
        assert_eq!(in_form.json(), expected, "{scope}");
    }
}

#[test]
fn somebody_who_is_no_user_here_has_a_subject_alone() {
    let server = start();
    let token = token(&server, "openid profile email");
    assert_eq!(ask(&server, &token).json(), json!({ "sub": SUBJECT }));
}

#[track_caller]
fn check_refused(answer: &Answer, status: u16, challenge: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.field("www-authenticate"), Some(challenge), "{answer:?}");
    assert!(!answer.body.contains(SUBJECT), "{answer:?}");
}

const INVALID_TOKEN: &str = "Bearer realm=\"tessera\", error=\"invalid_token\"";
const INVALID_REQUEST: &str = "Bearer realm=\"tessera\", error=\"invalid_request\"";
const LACKS_OPENID: &str = "Bearer realm=\"tessera\", error=\"insufficient_scope\", scope=\"openid\"";

#[test]
fn rfc_6750_3_a_refusal_says_what_is_wrong_with_the_token() {
    let server = start();
    let good = token(&server, "openid");
    check_refused(&server.ask(&Request::get(PATH)), 401, "Bearer realm=\"tessera\"");
    check_refused(&server.ask(&Request::post(PATH)), 401, "Bearer realm=\"tessera\"");
    let basic = Request::get(PATH).field("Authorization", "Basic YTpi");
    check_refused(&server.ask(&basic), 401, "Bearer realm=\"tessera\"");
    for wrong in ["x", "tsr_at_", &format!("{good}x"), &good[1..], &good.to_uppercase(), &"a".repeat(9000)] {
        check_refused(&ask(&server, wrong), 401, INVALID_TOKEN);
    }
    let twice = Request::get(PATH).bearer(&good).bearer(&good);
    check_refused(&server.ask(&twice), 400, INVALID_REQUEST);
    let both = Request::post(PATH).bearer(&good).form(&[("access_token", &good)]);
    check_refused(&server.ask(&both), 400, INVALID_REQUEST);
    let repeated = Request::post(PATH).form(&[("access_token", &good), ("access_token", &good)]);
    check_refused(&server.ask(&repeated), 400, INVALID_REQUEST);
    check_refused(&server.ask(&Request::get(&format!("{PATH}?access_token={good}"))), 400, INVALID_REQUEST);
    let in_query = server.ask(&Request::post(&format!("{PATH}?access_token={good}")));
    assert_eq!(in_query.error(), (400, "invalid_request".to_owned()));
    let json = Request::post(PATH).json(&json!({ "access_token": good }));
    assert_eq!(server.ask(&json).error(), (415, "invalid_request".to_owned()));
    check_refused(&ask(&server, &token(&server, "read profile")), 403, LACKS_OPENID);
    for method in ["PUT", "DELETE"] {
        assert_eq!(server.ask(&Request::new(method, PATH).bearer(&good)).status, 405, "{method}");
    }
    assert_eq!(ask(&server, &good).status, 200);
}

#[test]
fn a_client_that_acts_for_itself_is_nobody() {
    let server = start();
    let app = register(&server, "app", &json!({}));
    let own = server.ask_for_token(&app, &[("grant_type", "client_credentials"), ("scope", "openid")]);
    check_refused(&ask(&server, &own.text("access_token")), 401, INVALID_TOKEN);
}

/// RT-8: what is no access token is none, whatever else it is.
#[test]
fn rt_8_nothing_else_passes_for_an_access_token() {
    let server = start();
    let app = register(&server, "app", &json!({ "access_token_format": "jwt", "introspection": "any" }));
    let answer = sign_in(&server, &mut log_in(&server, "app"), &app, &[]);
    let (access, refresh, id_token) =
        (answer.text("access_token"), answer.text("refresh_token"), answer.text("id_token"));
    for wrong in [&refresh, &id_token] {
        check_refused(&ask(&server, wrong), 401, INVALID_TOKEN);
        let posted = server.ask(&Request::post(PATH).form(&[("access_token", wrong)]));
        check_refused(&posted, 401, INVALID_TOKEN);
    }
    assert!(!server.is_active(&app, &id_token), "an ID token is no access token");
    assert_eq!(server.ask_for_token(&app, &refreshing(&id_token)).error().1, "invalid_grant");
    assert_eq!(server.revoke(&app, &id_token).status, 200);
    let bearer_admin = server.ask(&Request::get("/admin/v1/clients").bearer(&id_token));
    assert_eq!(bearer_admin.status, 401);
    assert_eq!(ask(&server, &access).status, 200, "the JWT itself does");
}

/// How a token ends.
type End = fn(&TestServer, &str);

#[test]
fn a_token_that_has_ended_is_refused_whatever_ended_it() {
    let ends: [(&str, End); 5] = [
        ("expired", |server, _| server.time.advance(Duration::from_secs(3600))),
        ("revoked", |server, token| {
            let secret = server.ask_socket(&Request::post("/admin/v1/clients/app/secret")).text("client_secret");
            let app = crate::http::Credentials::new("app", &secret);
            assert_eq!(server.revoke(&app, token).status, 200);
        }),
        ("of a client whose tokens were revoked", |server, _| {
            let revoke = Request::post("/admin/v1/clients/app/revoke");
            assert!(server.ask_socket(&revoke).status < 300);
        }),
        ("of a person who was deleted", |server, _| {
            assert_eq!(server.ask_socket(&Request::new("DELETE", "/admin/v1/users/ann")).status, 204);
        }),
        ("of a person who was disabled", |server, _| {
            let disable = Request::new("PATCH", "/admin/v1/users/ann").json(&json!({ "disabled": true }));
            assert_eq!(server.ask_socket(&disable).status, 200);
        }),
    ];
    for (why, end) in ends {
        let server = start();
        create_user(&server);
        let token = token(&server, "openid email");
        assert_eq!(ask(&server, &token).status, 200, "{why}");
        end(&server, &token);
        let answer = ask(&server, &token);
        check_refused(&answer, 401, INVALID_TOKEN);
    }
}

#[test]
fn the_pages_of_its_client_may_read_an_answer_and_no_other_page() {
    let server = start();
    let token = token(&server, "openid");
    let readable = |request: Request, origin: &str| {
        let answer = server.ask(&request.field("Origin", origin));
        assert_eq!(answer.field("vary"), Some("Origin"));
        assert_eq!(answer.field("access-control-allow-credentials"), None);
        answer.field("access-control-allow-origin").map(str::to_owned)
    };
    let get = || Request::get(PATH).bearer(&token);
    assert_eq!(readable(get(), ORIGIN).as_deref(), Some(ORIGIN));
    let posted = Request::post(PATH).form(&[("access_token", &token)]);
    assert_eq!(readable(posted, ORIGIN).as_deref(), Some(ORIGIN));
    for other in ["https://other.example", "null", "https://app.example/", ""] {
        assert_eq!(readable(get(), other), None, "{other}");
    }
    // That a token has expired any page may learn: nothing is in that.
    assert_eq!(
        readable(Request::get(PATH).bearer("x"), "https://other.example").as_deref(),
        Some("https://other.example")
    );
    assert_eq!(readable(Request::get(PATH).bearer("x"), "null"), None);
    assert_eq!(server.ask(&get()).field("vary"), None);
    let preflight = Request::new("OPTIONS", PATH).field("Origin", ORIGIN);
    let answer = server.ask(&preflight.clone().field("Access-Control-Request-Method", "GET"));
    assert_eq!((answer.status, answer.field("access-control-allow-methods")), (204, Some("GET, POST")));
    assert_eq!(answer.field("access-control-allow-headers"), Some("Authorization, Content-Type"));
    assert_eq!(server.ask(&preflight).status, 405);
}
