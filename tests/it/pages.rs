//! What people see: login, logout, account and device pages, their cookies, forms and header fields.

use serde_json::json;

use crate::browser::{Browser, hidden};
use crate::harness::TestServer;
use crate::http::{Answer, Request};

const SESSION_COOKIE: &str = "__Host-tessera-session";
const LOGIN_COOKIE: &str = "__Host-tessera-login";
const PASSWORD: &str = "correct horse battery staple";

/// A server with one user.
fn start() -> TestServer {
    let server = TestServer::start();
    let user = json!({ "username": "ada", "password": PASSWORD, "name": "Ada <b>Lovelace</b>" });
    let answer = server.ask_socket(&Request::post("/admin/v1/users").json(&user));
    assert_eq!(answer.status, 201, "{answer:?}");
    server
}

#[track_caller]
fn post_login(server: &TestServer, browser: &mut Browser, more: &[(&str, &str)], password: &str) -> Answer {
    let page = browser.get(server, "/login");
    let csrf = hidden(&page, "csrf");
    let form = [&[("csrf", &*csrf), ("username", "ada"), ("password", password)], more].concat();
    browser.post(server, "/login", &form)
}

#[track_caller]
fn logged_in(server: &TestServer) -> Browser {
    let mut browser = Browser::default();
    let answer = post_login(server, &mut browser, &[], PASSWORD);
    assert_eq!((answer.status, answer.field("location")), (303, Some("/account")), "{answer:?}");
    browser
}

/// Begins the flow of a device; answers its user code.
#[track_caller]
fn begin_device(server: &TestServer) -> String {
    let metadata = json!({
        "client_id": "tv", "client_name": "\"><svg/onload>", "scope": "read",
        "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"],
    });
    let tv = server.register(&metadata);
    let asked = Request::post("/oauth2/device_authorization").basic(&tv).form(&[("scope", "read")]);
    server.ask(&asked).text("user_code")
}

#[test]
fn a_login_gives_a_session_under_a_new_cookie_each_time() {
    let server = start();
    let mut browser = logged_in(&server);
    let first = browser.cookie(SESSION_COOKIE).unwrap().to_owned();
    assert_eq!(browser.cookie(LOGIN_COOKIE), None, "the cookie of the form is used up");
    let account = browser.get(&server, "/account");
    assert_eq!(account.status, 200);
    assert!(account.body.contains("Ada &lt;b&gt;Lovelace") && account.body.contains("this browser"), "{account:?}");
    let second = logged_in(&server);
    assert_ne!(second.cookie(SESSION_COOKIE), Some(&*first));
}

/// Whoever has planted a session in a browser, or taken one out of it, has nothing of the next.
#[test]
fn a_login_keeps_neither_the_session_that_the_browser_had_nor_its_cookie() {
    let server = start();
    let mut before = logged_in(&server);
    for (cookie, was_session) in [("A".repeat(43), false), (before.cookie(SESSION_COOKIE).unwrap().to_owned(), true)] {
        let mut browser = Browser::default();
        let csrf = hidden(&browser.get(&server, "/login"), "csrf");
        browser.set_cookie(SESSION_COOKIE, &cookie);
        let form = [("csrf", &*csrf), ("username", "ada"), ("password", PASSWORD)];
        assert_eq!(browser.post(&server, "/login", &form).field("location"), Some("/account"));
        assert_ne!(browser.cookie(SESSION_COOKIE), Some(&*cookie), "{was_session}");
        assert!(browser.get(&server, "/account").body.contains("this browser"));
        let is_out = before.get(&server, "/account").body.contains("<h1>Sign in</h1>");
        assert_eq!(is_out, was_session, "the session before ends with the login");
    }
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let server = start();
    let wrong = post_login(&server, &mut Browser::default(), &[], "wrong");
    assert_eq!(wrong.status, 403);
    assert!(wrong.body.contains("The username or the password is wrong."), "{wrong:?}");
    let mut browser = Browser::default();
    let csrf = hidden(&browser.get(&server, "/login"), "csrf");
    let unknown = browser.post(&server, "/login", &[("csrf", &csrf), ("username", "bob"), ("password", "wrong")]);
    let without = |answer: &Answer, name: &str| answer.body.replace(&hidden(answer, "csrf"), "").replace(name, "");
    assert_eq!((unknown.status, without(&unknown, "bob")), (403, without(&wrong, "ada")));
}

#[test]
fn a_login_form_is_of_one_browser() {
    let server = start();
    let mut browser = Browser::default();
    let csrf = hidden(&browser.get(&server, "/login"), "csrf");
    let foreign = hidden(&Browser::default().get(&server, "/login"), "csrf");
    let form = |csrf| [("csrf", csrf), ("username", "ada"), ("password", PASSWORD)];
    for refused in [
        Browser::default().post(&server, "/login", &form(&csrf)),
        browser.clone().post(&server, "/login", &form("")),
        browser.clone().post(&server, "/login", &form("AAAA")),
        browser.clone().post(&server, "/login", &form(&foreign)),
    ] {
        assert_eq!((refused.status, refused.field("location")), (400, None), "{refused:?}");
    }
    assert_eq!(browser.post(&server, "/login", &form(&csrf)).status, 303);
    let mut again = browser.clone();
    assert_eq!(again.post(&server, "/login", &form(&csrf)).status, 400, "it was used");
}

#[test]
fn nothing_but_our_own_pages_follows_a_login() {
    let server = start();
    for (more, expected) in [
        (&[("then", "https://evil.example")][..], "/account"),
        (&[("then", "device"), ("user_code", "bcdf ghjk")], "/device?user_code=BCDF-GHJK"),
        (&[("then", "device"), ("user_code", "//evil.example")], "/device"),
    ] {
        let answer = post_login(&server, &mut Browser::default(), more, PASSWORD);
        assert_eq!(answer.field("location"), Some(expected), "{more:?}");
    }
    let answer = post_login(&server, &mut Browser::default(), &[("request", "forged")], PASSWORD);
    assert_eq!((answer.status, answer.field("location")), (400, None));
}

#[test]
fn every_page_has_the_header_fields_that_keep_it() {
    let server = start();
    let mut browser = logged_in(&server);
    for path in ["/login", "/logout", "/account", "/device", "/device/done?denied"] {
        let mut other = Browser::default();
        for page in [browser.get(&server, path), other.get(&server, path)] {
            let policy = page.field("content-security-policy").unwrap_or_else(|| panic!("{path} {page:?}"));
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path} {policy}");
            assert!(
                policy.contains("frame-ancestors 'none'") && policy.ends_with("form-action 'self'"),
                "{path} {policy}"
            );
            for (name, value) in [
                ("cache-control", "no-store"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(page.field(name), Some(value), "{path}");
            }
        }
    }
}

#[test]
fn the_stylesheet_is_kept_for_ever() {
    let server = start();
    let page = Browser::default().get(&server, "/login");
    let path = page.body.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let style = server.ask(&Request::get(&path));
    assert_eq!((style.status, style.field("content-type")), (200, Some("text/css; charset=utf-8")), "{path}");
    assert!(style.field("cache-control").unwrap().contains("immutable"));
    assert_eq!(server.ask(&Request::get("/assets/style.css")).status, 404);
    assert_eq!(server.ask(&Request::get("/assets/..%2f..%2fetc%2fpasswd")).status, 404);
}

#[test]
fn links_do_not_depend_on_what_a_request_says_of_itself() {
    let server = start();
    let plain = server.ask(&Request::get("/account"));
    let forged = Request::get("/account")
        .field("X-Forwarded-Host", "evil.example")
        .field("X-Forwarded-Proto", "https")
        .field("X-Forwarded-Prefix", "/evil")
        .field("Forwarded", "host=evil.example;proto=https");
    let forged = server.ask(&forged);
    assert!(!forged.body.contains("evil") && !forged.body.contains("localhost"), "{forged:?}");
    assert_eq!(plain.status, forged.status);
}

#[test]
fn a_logout_ends_the_session_and_its_forms() {
    let server = start();
    let mut browser = logged_in(&server);
    let before = browser.clone();
    let account = browser.get(&server, "/account");
    let page = browser.get(&server, "/logout");
    assert_eq!(browser.post(&server, "/logout", &[("csrf", "")]).status, 403, "nobody else logs them out");
    assert_eq!(browser.post(&server, "/logout", &[("csrf", &hidden(&page, "csrf"))]).status, 303);
    assert_eq!(browser.cookie(SESSION_COOKIE), None);
    let mut stolen = before;
    let end_all = [("csrf", &*hidden(&account, "csrf"))];
    let answer = stolen.post(&server, "/account/sessions/end-all", &end_all);
    assert!(answer.body.contains("<h1>Sign in</h1>"), "{answer:?}");
}

#[test]
fn a_person_ends_another_session_and_then_all() {
    let server = start();
    let (mut here, mut there) = (logged_in(&server), logged_in(&server));
    let account = here.get(&server, "/account");
    let (csrf, session) = (hidden(&account, "csrf"), hidden(&account, "session"));
    let form_of_logout = account.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let csrf_of_account = account.body.split("name=\"csrf\" value=\"").nth(2).unwrap().split('"').next().unwrap();
    assert_eq!(csrf, form_of_logout);
    let end = |csrf: &str| vec![("csrf".to_owned(), csrf.to_owned()), ("session".to_owned(), session.clone())];
    let post = |browser: &mut Browser, path: &str, form: &[(String, String)]| {
        let form: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
        browser.post(&server, path, &form)
    };
    assert_eq!(post(&mut here, "/account/sessions/end", &end(form_of_logout)).status, 403, "another purpose");
    assert_eq!(post(&mut there, "/account/sessions/end", &end(csrf_of_account)).status, 403, "another session");
    let ended = post(&mut here, "/account/sessions/end", &end(csrf_of_account));
    assert_eq!((ended.status, ended.field("location")), (303, Some("/account?done=session")));
    assert!(there.get(&server, "/account").body.contains("<h1>Sign in</h1>"));
    let all = post(&mut here, "/account/sessions/end-all", &end(csrf_of_account));
    assert_eq!((all.status, here.cookie(SESSION_COOKIE)), (303, None));
}

#[test]
fn a_device_is_shown_before_it_is_allowed() {
    let server = start();
    let user_code = begin_device(&server);
    let mut browser = logged_in(&server);
    let page = browser.get(&server, &format!("/device?user_code={user_code}"));
    let csrf = hidden(&page, "csrf");
    let typed = user_code.to_lowercase().replace('-', " ");
    let premature = [("csrf", &*csrf), ("user_code", &user_code), ("decision", "allow")];
    assert_eq!(browser.post(&server, "/device", &premature).status, 403, "it was not shown yet");
    let shown = browser.post(&server, "/device", &[("csrf", &csrf), ("user_code", &typed)]);
    assert_eq!(shown.status, 200);
    for part in [&*user_code, "read", "127.0.0.1", "&lt;svg"] {
        assert!(shown.body.contains(part), "{part} {shown:?}");
    }
    let csrf = hidden(&shown, "csrf");
    let allow = [("csrf", &*csrf), ("user_code", &user_code), ("decision", "allow")];
    assert_eq!(logged_in(&server).post(&server, "/device", &allow).status, 403, "another session");
    assert_eq!(browser.post(&server, "/device", &allow).field("location"), Some("/device/done?allowed"));
    assert_eq!(browser.post(&server, "/device", &allow).field("location"), Some("/device/done?late"), "twice");
}

#[test]
fn user_codes_cannot_be_guessed_one_after_another() {
    let server = start();
    let mut browser = logged_in(&server);
    let csrf = hidden(&browser.get(&server, "/device"), "csrf");
    let guess =
        |browser: &mut Browser| browser.post(&server, "/device", &[("csrf", &csrf), ("user_code", "BCDF-GHJK")]);
    for _ in 0..10 {
        assert_eq!(guess(&mut browser).status, 400);
    }
    assert_eq!(guess(&mut browser).status, 429);
}

#[test]
fn two_cookies_of_one_name_are_refused() {
    let server = start();
    let browser = logged_in(&server);
    let session = browser.cookie(SESSION_COOKIE).unwrap();
    let twice = format!("{SESSION_COOKIE}={session}; {SESSION_COOKIE}={session}");
    assert_eq!(server.ask(&Request::get("/account").field("Cookie", &twice)).status, 400);
}
