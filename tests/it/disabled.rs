//! AD-1, RT-6: a user who is disabled is out, at every door at once, and stays out.

use std::time::Duration;

use serde_json::json;

use crate::browser::{Browser, destination, hidden, query};
use crate::harness::{TestServer, admin};
use crate::http::{Answer, Credentials, Request};
use crate::person::{CALLBACK, authorization_request, redeem, register, tokens};

const PASSWORD: &str = "correct horse battery staple";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a person has who is logged in at a browser and has let a client in.
struct Person {
    browser: Browser,
    access: String,
    refresh: String,
    /// What nobody has redeemed.
    code: String,
    device_code: String,
}

fn register_app(server: &TestServer) -> Credentials {
    register(server, "app", &json!({ "grant_types": ["authorization_code", "refresh_token", DEVICE_CODE] }))
}

fn create(server: &TestServer, username: &str) {
    let user = json!({ "sub": username, "username": username, "password": PASSWORD });
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/users").json(&user)).status, 201);
}

#[track_caller]
fn set_disabled(server: &TestServer, username: &str, is_disabled: bool) {
    let patch = Request::new("PATCH", &format!("/admin/v1/users/{username}"));
    let answer = server.ask_socket(&patch.json(&json!({ "disabled": is_disabled })));
    assert_eq!((answer.status, &answer.json()["disabled"]), (200, &json!(is_disabled)));
}

fn log_in(server: &TestServer, browser: &mut Browser, username: &str, password: &str) -> Answer {
    let csrf = hidden(&browser.get(server, "/login"), "csrf");
    browser.post(server, "/login", &[("csrf", &csrf), ("username", username), ("password", password)])
}

#[track_caller]
fn person(server: &TestServer, app: &Credentials, username: &str) -> Person {
    let mut browser = Browser::default();
    assert_eq!(log_in(server, &mut browser, username, PASSWORD).status, 303);
    let mut code = || {
        let location = destination(&browser.get(server, &authorization_request("app")));
        query(&location).remove("code").unwrap_or_else(|| panic!("{location}"))
    };
    let (used, code) = (code(), code());
    let (access, refresh) = tokens(&redeem(server, app, &used));
    let device_code = approved_device(server, app, &mut browser);
    Person { browser, access, refresh, code, device_code }
}

/// The code of a device that the person at this browser has let in, and that has not asked since.
#[track_caller]
fn approved_device(server: &TestServer, app: &Credentials, browser: &mut Browser) -> String {
    let begun = server.ask(&Request::post("/oauth2/device_authorization").basic(app).form(&[("scope", "read")]));
    let user_code = begun.text("user_code");
    let csrf = hidden(&browser.get(server, "/device"), "csrf");
    let shown = browser.post(server, "/device", &[("csrf", &csrf), ("user_code", &user_code)]);
    let form = [("csrf", &*hidden(&shown, "csrf")), ("user_code", &user_code), ("decision", "allow")];
    assert_eq!(browser.post(server, "/device", &form).field("location"), Some("/device/done?allowed"));
    begun.text("device_code")
}

#[track_caller]
fn assert_out(server: &TestServer, app: &Credentials, person: &Person) {
    for path in [&*authorization_request("app"), "/account", "/device"] {
        let shown = person.browser.clone().get(server, path);
        assert!(shown.status == 200 && shown.body.contains("<h1>Sign in</h1>"), "{path} {shown:?}");
    }
    let unasked = format!("{}&prompt=none", authorization_request("app"));
    let told = query(&destination(&person.browser.clone().get(server, &unasked)));
    assert_eq!(told["error"], "login_required");
    for caller in [app, &admin()] {
        assert_eq!(server.introspect(caller, &person.access).json(), json!({ "active": false }));
    }
    for form in [
        &[("grant_type", "refresh_token"), ("refresh_token", &*person.refresh)][..],
        &[("grant_type", DEVICE_CODE), ("device_code", &*person.device_code)],
    ] {
        let answer = server.ask_for_token(app, form);
        assert_eq!(answer.error(), (400, "invalid_grant".to_owned()), "{form:?} {answer:?}");
    }
    assert_eq!(redeem(server, app, &person.code).error(), (400, "invalid_grant".to_owned()));
}

#[test]
fn ad_1_a_user_who_is_disabled_is_out_and_stays_out() {
    let server = TestServer::start_durable();
    let app = register_app(&server);
    create(&server, "ada");
    create(&server, "bob");
    let (ada, bob) = (person(&server, &app, "ada"), person(&server, &app, "bob"));
    assert!(server.is_active(&app, &ada.access));
    set_disabled(&server, "ada", true);
    assert_out(&server, &app, &ada);
    let server = server.restart();
    assert_out(&server, &app, &ada);
    assert!(server.is_active(&app, &bob.access), "others go on");
    assert_eq!(redeem(&server, &app, &bob.code).status, 200);

    set_disabled(&server, "ada", false);
    assert_out(&server, &app, &ada);
    let again = person(&server, &app, "ada");
    assert!(server.is_active(&app, &again.access), "who may come again begins anew");
    let server = server.restart();
    assert_out(&server, &app, &ada);
    assert!(server.is_active(&app, &again.access));
}

/// How many passwords of people the server has checked.
fn checks(server: &TestServer) -> f64 {
    let metrics = server.ask_socket(&Request::get("/metrics")).body;
    let of_people = "tessera_password_check_duration_seconds_count{pool=\"password\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(of_people));
    count.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

#[test]
fn a_disabled_user_is_refused_as_a_wrong_password_is() {
    let server = TestServer::start_durable();
    create(&server, "ada");
    create(&server, "bob");
    set_disabled(&server, "ada", true);
    let refused = |server: &TestServer, username: &str, password: &str| {
        let before = checks(server);
        let mut browser = Browser::default();
        let answer = log_in(server, &mut browser, username, password);
        assert_eq!(browser.cookie("__Host-tessera-session"), None);
        let body = answer.body.replace(&hidden(&answer, "csrf"), "").replace(username, "");
        let fields = ["content-length", "retry-after", "set-cookie"].map(|name| answer.field(name).map(str::to_owned));
        (answer.status, body, fields, checks(server) - before)
    };
    let wrong = refused(&server, "bob", "wrong");
    assert_eq!((wrong.0, wrong.3), (403, 1.0), "a password is checked, whoever it is");
    for (username, password) in [("ada", PASSWORD), ("ada", "wrong"), ("eve", PASSWORD)] {
        assert_eq!(refused(&server, username, password), wrong, "{username}");
    }
    let server = server.restart();
    assert_eq!(refused(&server, "ada", PASSWORD), wrong);
    server.time.advance(Duration::from_secs(3600));
    assert_eq!(refused(&server, "ada", PASSWORD), wrong);
}

#[test]
fn rt_6_a_client_that_may_not_refresh_any_more_is_refused() {
    let server = TestServer::start_durable();
    let app = register_app(&server);
    create(&server, "ada");
    let ada = person(&server, &app, "ada");
    let narrowed = json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "read write" });
    assert_eq!(server.ask_socket(&Request::new("PUT", "/admin/v1/clients/app").json(&narrowed)).status, 200);
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*ada.refresh)];
    let server = server.restart();
    assert_eq!(server.ask_for_token(&app, &form).error(), (400, "unauthorized_client".to_owned()));
}
