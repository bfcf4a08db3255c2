//! The authorization endpoint: RFC 6749 §4.1, RFC 7636, RFC 8252, RFC 9126, RFC 9207, and the operator's own login page.

use form_urlencoded::Serializer;
use serde_json::{Value, json};
use tessera::config::value::{Durability, KeyAlgorithms, LoginUrl};

use crate::browser::{Browser, destination, hidden, query};
use crate::harness::TestServer;
use crate::http::{Answer, Credentials, Request};

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "https://client.example/cb?tenant=7";
const LOGIN_PAGE: &str = "https://login.example/";
const SESSION_COOKIE: &str = "__Host-tessera-session";
const LOGIN_COOKIE: &str = "__Host-tessera-login";

/// A server whose users log in elsewhere.
fn start() -> TestServer {
    TestServer::start_with(|config| config.http.login_url = LoginUrl::parse(LOGIN_PAGE))
}

fn register_with(server: &TestServer, client_id: &str, more: &Value) -> Credentials {
    let mut metadata = json!({
        "client_id": client_id, "client_name": "The Client", "grant_types": ["authorization_code"],
        "redirect_uris": [CALLBACK], "scope": "openid read write",
    });
    for (member, value) in more.as_object().unwrap() {
        metadata[member] = value.clone();
    }
    let answer = server.ask_socket(&Request::post("/admin/v1/clients").json(&metadata));
    assert_eq!(answer.status, 201, "{answer:?}");
    let secret = answer.json()["client_secret"].as_str().unwrap_or_default().to_owned();
    Credentials { id: client_id.to_owned(), secret }
}

fn register(server: &TestServer) -> Credentials {
    register_with(server, "app", &json!({}))
}

/// A good request with some parameters changed or added; one without a value is left out.
fn request(changes: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", CALLBACK),
        ("scope", "read"),
        ("state", "s&=é"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    format!("/oauth2/authorize?{}", Serializer::new(String::new()).extend_pairs(parameters).finish())
}

/// The challenge with which an answer sends a browser to the operator's login page.
#[track_caller]
fn challenge(answer: &Answer) -> String {
    let location = destination(answer);
    location.strip_prefix(&format!("{LOGIN_PAGE}?login_challenge=")).unwrap_or_else(|| panic!("{location}")).to_owned()
}

fn accept(server: &TestServer, challenge: &str, document: &Value) -> Answer {
    server.ask_socket(&Request::post(&format!("/admin/v1/logins/{challenge}/accept")).json(document))
}

/// Lets the person in who was sent to log in; answers what they then see.
#[track_caller]
fn log_in(server: &TestServer, browser: &mut Browser, sent: &Answer, subject: &str) -> Answer {
    let accepted = accept(server, &challenge(sent), &json!({ "subject": subject, "amr": ["pwd"] }));
    assert_eq!(accepted.status, 200, "{accepted:?}");
    browser.open(server, &accepted.text("redirect_to"))
}

#[track_caller]
fn consent(server: &TestServer, browser: &mut Browser, page: &Answer, decision: &str) -> Answer {
    let (sealed, csrf) = (hidden(page, "request"), hidden(page, "csrf"));
    browser.post(server, "/oauth2/consent", &[("request", &sealed), ("csrf", &csrf), ("decision", decision)])
}

/// A text with another last character.
fn with_other_end(text: &str) -> String {
    let (head, last) = text.split_at(text.len() - 1);
    format!("{head}{}", if last == "A" { "Q" } else { "A" })
}

/// What an error page says is shown to a person: in HTML, with nobody told.
#[track_caller]
fn assert_shown(answer: &Answer) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!((answer.field("location"), answer.field("refresh")), (None, None), "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"), "{answer:?}");
    assert_protected(answer);
}

/// FC-5: a page is not framed, not kept, and says to nobody where it was.
#[track_caller]
fn assert_protected(page: &Answer) {
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe-inline"), "{policy}");
    assert_eq!(page.field("x-frame-options"), Some("DENY"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    assert_eq!(page.field("referrer-policy"), Some("no-referrer"));
}

/// The error that a client is told by a redirect.
#[track_caller]
fn assert_redirected(server: &TestServer, answer: &Answer, error: &str) {
    let location = destination(answer);
    assert!(location.starts_with(&format!("{CALLBACK}&error=")), "{location}");
    let told = query(&location);
    assert_eq!((&*told["error"], &told["iss"]), (error, &server.issuer), "{location}");
    assert_eq!(told.get("code"), None);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("referrer-policy"), Some("no-referrer"));
}

fn redeem(server: &TestServer, app: &Credentials, code: &str) -> Answer {
    let form =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
    server.ask_for_token(app, &form)
}

#[test]
fn a_person_logs_in_consents_and_the_client_gets_a_token() {
    let server = start();
    let (app, mut browser) = (register(&server), Browser::default());
    let sent = browser.get(&server, &request(&[("login_hint", "ann@example.com"), ("prompt", "login")]));
    assert_eq!(browser.cookie(LOGIN_COOKIE).unwrap().len(), 43);
    let challenge = challenge(&sent);
    let asked = server.ask_socket(&Request::get(&format!("/admin/v1/logins/{challenge}"))).json();
    let expected = json!({
        "client_id": "app", "client_name": "The Client", "scope": "read", "prompt": "login",
        "login_hint": "ann@example.com", "expires_at": crate::harness::START_SECONDS + 1800,
    });
    assert_eq!(asked, expected);
    let page = log_in(&server, &mut browser, &sent, "user:ann");
    assert_eq!(page.status, 200, "{page:?}");
    assert_protected(&page);
    assert!(browser.cookie(SESSION_COOKIE).is_some() && browser.cookie(LOGIN_COOKIE).is_none());

    let location = destination(&consent(&server, &mut browser, &page, "allow"));
    assert!(location.starts_with(&format!("{CALLBACK}&code=")), "{location}");
    let told = query(&location);
    assert_eq!((&*told["state"], &told["iss"], &*told["tenant"]), ("s&=é", &server.issuer, "7"));
    let token = redeem(&server, &app, &told["code"]);
    assert_eq!(token.status, 200, "{token:?}");
    let introspected = server.introspect(&app, &token.text("access_token")).json();
    assert_eq!((&introspected["sub"], &introspected["scope"]), (&json!("user:ann"), &json!("read")));
    assert_eq!(redeem(&server, &app, &told["code"]).error(), (400, "invalid_grant".to_owned()));
}

#[test]
fn cs_1_a_consent_that_is_posted_twice_gives_one_code() {
    let server = start();
    let app = register(&server);
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    let page = log_in(&server, &mut browser, &sent, "ann");
    let allow = |browser: &mut Browser| consent(&server, browser, &page, "allow");
    let location = destination(&allow(&mut browser));
    assert_eq!(destination(&allow(&mut browser)), location);
    // Longer than a code lives, and nobody has redeemed it.
    server.time.advance(std::time::Duration::from_secs(120));
    assert_eq!(destination(&allow(&mut browser)), location);
    let code = &query(&location)["code"];
    let access = redeem(&server, &app, code).text("access_token");
    let assert_used = |browser: &mut Browser| {
        let answer = allow(browser);
        assert_eq!((answer.status, answer.field("location"), answer.field("refresh")), (409, None, None), "{answer:?}");
        assert_protected(&answer);
    };
    assert_used(&mut browser);
    assert!(server.is_active(&app, &access), "to post it again ends nothing");
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/clients/app/revoke")).status, 204);
    let other_page = browser.get(&server, &request(&[]));
    let other = destination(&consent(&server, &mut browser, &other_page, "allow"));
    assert_ne!(query(&other)["code"], *code, "another page");
    assert_eq!(redeem(&server, &app, code).error(), (400, "invalid_grant".to_owned()));
}

#[test]
fn cs_1_what_was_answered_before_is_not_remembered_anew() {
    let server = start();
    let app = register(&server);
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    let page = log_in(&server, &mut browser, &sent, "ann");
    let location = destination(&consent(&server, &mut browser, &page, "allow"));
    assert_eq!(redeem(&server, &app, &query(&location)["code"]).status, 200);
    let account = browser.get(&server, "/account");
    let form = account.body.split("/account/applications/revoke").nth(1).unwrap();
    let csrf = form.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let revoked = browser.post(&server, "/account/applications/revoke", &[("csrf", csrf), ("client_id", "app")]);
    assert_eq!(revoked.status, 303, "{revoked:?}");
    assert_eq!(consent(&server, &mut browser, &page, "allow").status, 409);
    assert_eq!(browser.get(&server, &request(&[])).status, 200, "it is asked again");
}

#[test]
fn a_consent_is_remembered_as_far_as_it_went() {
    let server = start();
    register(&server);
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    let page = log_in(&server, &mut browser, &sent, "ann");
    consent(&server, &mut browser, &page, "allow");
    assert!(query(&destination(&browser.get(&server, &request(&[])))).contains_key("code"));
    let more = browser.get(&server, &request(&[("scope", "read write")]));
    assert_eq!(more.status, 200, "a wider scope is asked about: {more:?}");
    let again = browser.get(&server, &request(&[("prompt", "consent")]));
    assert_eq!(again.status, 200, "{again:?}");
    let unasked = browser.get(&server, &request(&[("prompt", "none"), ("scope", "write")]));
    assert_redirected(&server, &unasked, "consent_required");
    assert!(query(&destination(&browser.get(&server, &request(&[("prompt", "none")])))).contains_key("code"));
}

#[test]
fn a_person_may_say_no() {
    let server = start();
    register(&server);
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    let page = log_in(&server, &mut browser, &sent, "ann");
    assert_redirected(&server, &consent(&server, &mut browser, &page, "deny"), "access_denied");
    assert_shown(&consent(&server, &mut browser, &page, "perhaps"));
    assert_eq!(browser.get(&server, &request(&[])).status, 200, "nothing is remembered");
}

#[test]
fn cs_1_a_consent_is_given_on_a_page_of_this_browser() {
    let server = start();
    register(&server);
    register_with(&server, "evil", &json!({}));
    let (mut ann, mut eve) = (Browser::default(), Browser::default());
    let page = {
        let sent = ann.get(&server, &request(&[]));
        log_in(&server, &mut ann, &sent, "ann")
    };
    let evil_page = {
        let sent = eve.get(&server, &request(&[("client_id", "evil")]));
        log_in(&server, &mut eve, &sent, "eve")
    };
    let (sealed, csrf) = (hidden(&page, "request"), hidden(&page, "csrf"));
    let (evil_sealed, evil_csrf) = (hidden(&evil_page, "request"), hidden(&evil_page, "csrf"));
    let forged = with_other_end(&sealed);
    for (sealed, csrf) in [
        (&sealed, &String::new()),
        (&sealed, &evil_csrf),
        (&evil_sealed, &evil_csrf),
        (&evil_sealed, &csrf),
        (&forged, &csrf),
        (&sealed, &csrf[1..].to_owned()),
    ] {
        let form = [("request", &**sealed), ("csrf", &**csrf), ("decision", "allow")];
        let answer = ann.post(&server, "/oauth2/consent", &form);
        assert_eq!((answer.status, answer.field("location")), (403, None), "{answer:?}");
        assert_protected(&answer);
    }
    let form = [("request", &*sealed), ("csrf", &*csrf), ("decision", "allow")];
    let stranger = Browser::default().post(&server, "/oauth2/consent", &form);
    assert!(destination(&stranger).starts_with("/oauth2/authorize?request="), "who is not logged in logs in first");
    assert!(query(&destination(&ann.post(&server, "/oauth2/consent", &form))).contains_key("code"));
    assert_eq!(server.ask(&Request::get("/oauth2/consent")).status, 405);
}

#[test]
fn ru_7_what_is_wrong_before_client_and_redirect_uri_are_proven_is_shown() {
    let server = start();
    register(&server);
    let markup = "\"><svg/onload=alert(1)></script>";
    for changes in [
        &[("client_id", "")][..],
        &[("client_id", "nobody")],
        &[("client_id", markup)],
        &[("redirect_uri", "https://evil.example/")],
        &[("redirect_uri", "https://client.example/cb?tenant=7&")],
        &[("redirect_uri", "https://client.example/cb?tenant=7#")],
        &[("redirect_uri", "https://client.example.evil.example/cb?tenant=7")],
        &[("redirect_uri", "https://client.example@evil.example/cb?tenant=7")],
        &[("redirect_uri", "https://client.example\\@evil.example/cb?tenant=7")],
        &[("redirect_uri", "//evil.example/cb?tenant=7")],
        &[("redirect_uri", "javascript:alert(1)")],
        &[("redirect_uri", "JaVaScRiPt:alert(1)")],
        &[("redirect_uri", "data:text/html,<script>alert(1)</script>")],
        &[("redirect_uri", markup)],
        &[("redirect_uri", "https://client.example/cb?tenant=7\r\nX-Injected: 1")],
        &[("redirect_uri", ""), ("scope", "openid")],
        &[("redirect_uri", "https://evil.example/"), ("response_type", "token"), ("scope", markup)],
        &[("request_uri", "urn:ietf:params:oauth:request_uri:forged")],
    ] {
        let answer = Browser::default().get(&server, &request(changes));
        assert_shown(&answer);
        assert!(!answer.body.contains("<svg") && !answer.body.contains("evil.example"), "{answer:?}");
        assert_eq!(answer.field("x-injected"), None);
    }
    for query in ["", "request=forged", "login_verifier=forged", "client_id=app&client_id=app", "a=%zz", "a=%FF"] {
        assert_shown(&Browser::default().get(&server, &format!("/oauth2/authorize?{query}")));
    }
    let twice = format!("{}&redirect_uri=https://evil.example/", request(&[]));
    assert_shown(&Browser::default().get(&server, &twice));
}

#[test]
fn section_4_1_2_1_any_other_error_is_told_to_the_client() {
    let server = start();
    register(&server);
    let long = "x".repeat(5_000);
    for (changes, error) in [
        (&[("response_type", "")][..], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_type", "id_token token")], "unsupported_response_type"),
        (&[("response_mode", "form_post")], "invalid_request"),
        (&[("scope", "admin")], "invalid_scope"),
        (&[("scope", "\"><svg/onload=alert(1)>")], "invalid_scope"),
        (&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("state", &long)], "invalid_request"),
        (&[("nonce", &long)], "invalid_request"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("max_age", "-1")], "invalid_request"),
        (&[("request", "eyJhbGciOiJub25lIn0.e30.")], "request_not_supported"),
        (&[("request_uri", "https://evil.example/")], "request_uri_not_supported"),
        (&[("prompt", "none")], "login_required"),
    ] {
        assert_redirected(&server, &Browser::default().get(&server, &request(changes)), error);
    }
    let twice = format!("{}&scope=write", request(&[]));
    assert_redirected(&server, &Browser::default().get(&server, &twice), "invalid_request");
}

#[test]
fn pk_1_a_challenge_is_the_digest_of_a_verifier_and_says_so() {
    let server = start();
    register(&server);
    let (short, long) = (&CHALLENGE[1..], format!("{CHALLENGE}A"));
    for (challenge, method) in [
        ("", "S256"),
        ("", "plain"),
        (CHALLENGE, ""),
        (CHALLENGE, "plain"),
        (CHALLENGE, "s256"),
        (CHALLENGE, "S256 "),
        (CHALLENGE, "S512"),
        (CHALLENGE, "none"),
        (VERIFIER, "plain"),
        (short, "S256"),
        (&*long, "S256"),
        // Last bits that say nothing, padding, the other base64, and what is no base64 at all.
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cN", "S256"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=", "S256"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM", "S256"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw/cM", "S256"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw~cM", "S256"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw cM", "S256"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw\0cM", "S256"),
        ("\u{ff25}9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "S256"),
        // The digest in hexadecimal.
        ("13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3", "S256"),
    ] {
        let changes = [("code_challenge", challenge), ("code_challenge_method", method)];
        let answer = Browser::default().get(&server, &request(&changes));
        assert_redirected(&server, &answer, "invalid_request");
    }
    let twice = format!("{}&code_challenge={CHALLENGE}", request(&[]));
    assert_redirected(&server, &Browser::default().get(&server, &twice), "invalid_request");
}

#[test]
fn pk_1_a_verifier_without_a_challenge_is_refused() {
    let server = TestServer::start_with(|config| {
        config.http.login_url = LoginUrl::parse(LOGIN_PAGE);
        config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA").unwrap();
    });
    let app = register_with(&server, "app", &json!({ "nonce_instead_of_pkce": true, "skip_consent": true }));
    let without = [("code_challenge", ""), ("code_challenge_method", ""), ("scope", "openid"), ("nonce", "n")];
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&without));
    let location = destination(&log_in(&server, &mut browser, &sent, "ann"));
    let code = &query(&location)["code"];
    assert_eq!(redeem(&server, &app, code).error(), (400, "invalid_grant".to_owned()));
    let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)];
    assert_eq!(server.ask_for_token(&app, &form).status, 200, "it is its client's all the same");
}

#[test]
fn pk_1_verifiers_of_every_length_that_may_be() {
    let server = start();
    let app = register_with(&server, "app", &json!({ "skip_consent": true }));
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    log_in(&server, &mut browser, &sent, "ann");
    let unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    let longest = unreserved.repeat(2)[..128].to_owned();
    for (verifier, challenge, status) in [
        ("a".repeat(43), "ZtNPunH49FD35FWYhT5Tv8I7vRKQJ8uxMaL0_9eHjNA", 200),
        (longest.clone(), "Gn88msbRKQ0wmy6Kms0RzrR4ZXFo3OGDewwvI9C7qZg", 200),
        // Whoever knows the challenge alone knows no verifier.
        (CHALLENGE.to_owned(), CHALLENGE, 400),
        // Each is of its verifier, but that is none.
        ("a".repeat(42), "elOGB_2quSlplZKfRRVlu7gULhhEEXMiqv0rPXawGv8", 400),
        (format!("{longest}a"), "Hwg8C3raWQ6iPqai6UBdAhzzVumGU8MHyY_vsHQaIrI", 400),
        (format!("{} ", "a".repeat(42)), "yRMT0C56DfjhDGsdwIPX1T1Wi1Ee-Gr8X8_kFJSKYLw", 400),
        (format!("{}+", "a".repeat(42)), "iwXbWFm6ct1JDeJlZO8FYEXe0UbbNRVyu6etiydm5O8", 400),
        (format!("{}é", "a".repeat(42)), "px4X-bvXJzNPGBXnSjQg8Rc8pfjiDJMDO7S41MRYUaY", 400),
    ] {
        let sent = browser.get(&server, &request(&[("code_challenge", challenge)]));
        let code = &query(&destination(&sent))["code"];
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &*verifier),
        ];
        assert_eq!(server.ask_for_token(&app, &form).status, status, "{verifier}");
    }
}

#[test]
fn fc_3_a_state_comes_back_as_it_was() {
    let server = start();
    register(&server);
    for state in ["\"><script>alert(1)</script>", "a\r\nSet-Cookie: a=b", "%00%0d", "\u{202e}ß😀", " "] {
        let answer = Browser::default().get(&server, &request(&[("state", state), ("prompt", "none")]));
        assert_eq!(query(&destination(&answer))["state"], state);
        assert!(answer.values("set-cookie").is_empty());
    }
    let without = Browser::default().get(&server, &request(&[("state", ""), ("prompt", "none")]));
    assert!(!query(&destination(&without)).contains_key("state"));
}

#[test]
fn section_3_1_a_request_may_be_posted() {
    let server = start();
    register(&server);
    let mut browser = Browser::default();
    let form: Vec<_> = query(&request(&[])).into_iter().collect();
    let form: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
    let answer = browser.post(&server, "/oauth2/authorize", &form);
    let location = destination(&answer);
    assert!(location.starts_with("/oauth2/authorize?request="), "{location}");
    let sent = browser.get(&server, &location);
    let page = log_in(&server, &mut browser, &sent, "ann");
    assert!(query(&destination(&consent(&server, &mut browser, &page, "allow"))).contains_key("code"));
    let refused = browser.post(&server, "/oauth2/authorize", &[("client_id", "app"), ("redirect_uri", CALLBACK)]);
    assert_redirected(&server, &refused, "invalid_request");
    for method in ["PUT", "DELETE"] {
        let answer = server.ask(&Request::new(method, "/oauth2/authorize"));
        assert_eq!((answer.status, answer.field("allow")), (405, Some("POST, GET")));
    }
}

#[test]
fn a_login_may_be_too_old() {
    let server = start();
    register_with(&server, "app", &json!({ "skip_consent": true }));
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    let done = log_in(&server, &mut browser, &sent, "ann");
    assert!(query(&destination(&done)).contains_key("code"), "no consent is asked for");
    server.time.advance(std::time::Duration::from_secs(600));
    let has_code = |answer: &Answer| query(&destination(answer)).contains_key("code");
    assert!(has_code(&browser.get(&server, &request(&[("max_age", "600")]))));
    for changes in [("max_age", "599"), ("max_age", "0"), ("prompt", "login"), ("prompt", "select_account")] {
        let sent = browser.get(&server, &request(&[changes]));
        let before = browser.cookie(SESSION_COOKIE).unwrap().to_owned();
        assert!(has_code(&log_in(&server, &mut browser, &sent, "ann")), "{changes:?}");
        assert_ne!(browser.cookie(SESSION_COOKIE), Some(&*before), "a login begins a session of its own");
        server.time.advance(std::time::Duration::from_secs(600));
    }
}

#[test]
fn a_challenge_is_decided_about_once_and_logs_in_its_own_browser_once() {
    let server = start();
    register(&server);
    let mut browser = Browser::default();
    let text = challenge(&browser.get(&server, &request(&[])));
    let accepted = accept(&server, &text, &json!({ "subject": "ann" }));
    let back = accepted.text("redirect_to");
    assert!(back.starts_with(&format!("{}/oauth2/authorize?login_verifier=", server.issuer)), "{back}");
    assert_eq!(accept(&server, &text, &json!({ "subject": "eve" })).error(), (409, "invalid_request".to_owned()));
    let shown = server.ask_socket(&Request::get(&format!("/admin/v1/logins/{text}")));
    assert_eq!(shown.error(), (409, "invalid_request".to_owned()));

    let mut other = Browser::default();
    assert_shown(&other.get(&server, &back));
    other.set_cookie(LOGIN_COOKIE, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_shown(&other.get(&server, &back));
    assert_eq!(other.cookie(SESSION_COOKIE), None);
    let mut again = browser.clone();
    assert_eq!(browser.open(&server, &back).status, 200);
    assert_shown(&again.get(&server, &back));
}

#[test]
fn a_login_page_may_refuse() {
    let server = start();
    register(&server);
    let reject = |document: &Value| {
        let challenge = challenge(&Browser::default().get(&server, &request(&[])));
        server.ask_socket(&Request::post(&format!("/admin/v1/logins/{challenge}/reject")).json(document))
    };
    for (document, error, description) in [
        (json!({}), "access_denied", "the login was refused"),
        (json!({ "error": "login_required", "error_description": "not today" }), "login_required", "not today"),
    ] {
        let told = query(&reject(&document).text("redirect_to"));
        assert_eq!((&*told["error"], &*told["error_description"]), (error, description));
        assert_eq!((&*told["state"], &told["iss"]), ("s&=é", &server.issuer));
    }
    for document in [
        json!({ "error": "invalid_client" }),
        json!({ "error": "access_denied&code=x" }),
        json!({ "error_description": "\u{202e}" }),
        json!({ "error_description": "a\r\nb" }),
        json!({ "unknown": 1 }),
    ] {
        assert_eq!(reject(&document).error(), (400, "invalid_request".to_owned()), "{document}");
    }
}

#[test]
fn the_admin_api_of_logins_takes_what_it_knows() {
    let server = start();
    register(&server);
    let challenge = challenge(&Browser::default().get(&server, &request(&[])));
    for document in [
        json!({}),
        json!({ "subject": "" }),
        json!({ "subject": "a b" }),
        json!({ "subject": "ann", "amr": [""] }),
        json!({ "subject": "ann", "amr": ["a", "a", "a", "a", "a", "a", "a", "a", "a"] }),
        json!({ "subject": "ann", "acr": "" }),
        json!({ "subject": "ann", "acr": "a b" }),
        json!({ "subject": "ann", "acr": "a".repeat(256) }),
        json!({ "subject": "ann", "session_lifetime_seconds": -1 }),
        json!({ "subject": "ann", "session_lifetime_seconds": "60" }),
        json!({ "subject": "ann", "admin": true }),
    ] {
        assert_eq!(accept(&server, &challenge, &document).error(), (400, "invalid_request".to_owned()), "{document}");
    }
    for forged in ["x", "AAAA", &challenge[1..], &format!("{challenge}A")] {
        assert_eq!(accept(&server, forged, &json!({ "subject": "ann" })).error(), (404, "not_found".to_owned()));
    }
    let path = format!("/admin/v1/logins/{challenge}");
    assert_eq!(server.ask(&Request::get(&path)).status, 401, "the admin API is for who may administer");
    server.time.advance(std::time::Duration::from_secs(1801));
    assert_eq!(server.ask_socket(&Request::get(&path)).error(), (404, "not_found".to_owned()));
    let without = TestServer::start();
    assert_eq!(without.ask_socket(&Request::get(&path)).error(), (404, "not_found".to_owned()));
}

/// The only session of a person, as the admin API lists it.
#[track_caller]
fn session_of(server: &TestServer, subject: &str) -> Value {
    let listed = server.ask_socket(&Request::get(&format!("/admin/v1/users/{subject}/sessions"))).json();
    let [session] = &listed["sessions"].as_array().unwrap()[..] else { panic!("{listed}") };
    session.clone()
}

#[test]
fn a_login_page_says_how_sure_it_is_and_how_long_a_session_lives() {
    let server = TestServer::start_with(|config| {
        config.http.login_url = LoginUrl::parse(LOGIN_PAGE);
        config.storage.durability = Durability::Sync;
        config.people.session_lifetime_seconds = 1_000;
    });
    register(&server);
    let mut browsers = Vec::new();
    for (subject, more, lifetime) in [
        ("absent", json!({}), 1_000),
        ("zero", json!({ "session_lifetime_seconds": 0 }), 1_000),
        ("shorter", json!({ "session_lifetime_seconds": 60 }), 60),
        ("longer", json!({ "session_lifetime_seconds": 1_001 }), 1_000),
        ("sure", json!({ "acr": "urn:mace:incommon:iap:silver", "amr": ["pwd", "otp"] }), 1_000),
    ] {
        let mut browser = Browser::default();
        let challenge = challenge(&browser.get(&server, &request(&[])));
        let mut document = json!({ "subject": subject });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let page = browser.open(&server, &accept(&server, &challenge, &document).text("redirect_to"));
        assert_eq!(page.status, 200, "{page:?}");
        let session = session_of(&server, subject);
        assert_eq!(session["expires_at"], crate::harness::START_SECONDS + lifetime, "{subject}");
        assert_eq!(session.get("acr"), more.get("acr"), "{subject}");
        assert_eq!(session["amr"], more.get("amr").cloned().unwrap_or_else(|| json!([])), "{subject}");
        browsers.push((browser, lifetime));
    }
    let before = session_of(&server, "sure");
    let server = server.restart();
    assert_eq!(session_of(&server, "sure"), before);
    server.time.advance(std::time::Duration::from_secs(60));
    for (mut browser, lifetime) in browsers {
        let is_asked = browser.get(&server, &request(&[])).status == 200;
        assert_eq!(is_asked, lifetime > 60, "the page of a consent, or a login");
    }
}

#[test]
fn pages_of_the_servers_own_lead_to_the_operators_login_and_back() {
    let server = start();
    for (path, page, back) in [
        ("/account", "account", "/account"),
        ("/login", "account", "/account"),
        ("/device", "device", "/device"),
        ("/device?user_code=bcdf-ghjk", "device", "/device?user_code=BCDF-GHJK"),
        ("/device?user_code=https://evil.example/", "device", "/device"),
        ("/device?user_code=%0d%0aX-Injected:1", "device", "/device"),
    ] {
        let mut browser = Browser::default();
        let sent = browser.get(&server, path);
        let challenge = challenge(&sent);
        let asked = server.ask_socket(&Request::get(&format!("/admin/v1/logins/{challenge}"))).json();
        assert_eq!(asked, json!({ "page": page, "expires_at": crate::harness::START_SECONDS + 1800 }));
        let accepted = accept(&server, &challenge, &json!({ "subject": "ann" })).text("redirect_to");
        assert_shown(&Browser::default().get(&server, &accepted));
        let returned = browser.get(&server, &accepted);
        assert_eq!((returned.status, returned.field("location")), (303, Some(back)), "{path}");
        let shown = browser.get(&server, back);
        assert!(shown.status == 200 && shown.body.contains("ann"), "{path} {shown:?}");
    }
    let sent = Browser::default().get(&server, "/account");
    let reject = Request::post(&format!("/admin/v1/logins/{}/reject", challenge(&sent))).json(&json!({}));
    let told = server.ask_socket(&reject).text("redirect_to");
    assert_eq!(told, format!("{}/logout", server.issuer));
    assert!(Browser::default().get(&server, &told).body.contains("You are signed out"));
    // A form that was open when the session ended leads there too, by a page that ends its chain of redirects.
    let posted = Browser::default().post(&server, "/device", &[("user_code", "BCDF-GHJK")]);
    assert_eq!(posted.status, 200);
    challenge(&posted);
}

#[test]
fn a_person_who_is_disabled_here_is_not_let_in_by_the_operators_page() {
    let server = start();
    register(&server);
    let user = json!({ "username": "ann", "sub": "ann", "disabled": true });
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/users").json(&user)).status, 201);
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    let page = log_in(&server, &mut browser, &sent, "ann");
    assert_eq!((page.status, page.field("location"), browser.cookie(SESSION_COOKIE)), (403, None, None), "{page:?}");
    assert_protected(&page);
}

fn push(server: &TestServer, app: &Credentials, changes: &[(&str, &str)]) -> Answer {
    let form: Vec<_> = query(&request(changes)).into_iter().collect();
    let form: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
    server.ask(&Request::post("/oauth2/par").basic(app).form(&form))
}

fn pushed(client_id: &str, request_uri: &str) -> String {
    let parameters = [("client_id", client_id), ("request_uri", request_uri)];
    format!("/oauth2/authorize?{}", Serializer::new(String::new()).extend_pairs(parameters).finish())
}

#[test]
fn pa_1_a_pushed_request_is_taken_up_by_its_client_in_time() {
    let server = start();
    let app = register_with(&server, "app", &json!({ "require_pushed_authorization_requests": true }));
    register_with(&server, "other", &json!({}));
    assert_redirected(&server, &Browser::default().get(&server, &request(&[])), "invalid_request");
    let request_uri = push(&server, &app, &[]).text("request_uri");
    let mut browser = Browser::default();
    // What stands beside it does not count.
    let sent = browser.get(&server, &format!("{}&scope=write&state=other", pushed("app", &request_uri)));
    let page = log_in(&server, &mut browser, &sent, "ann");
    let told = query(&destination(&consent(&server, &mut browser, &page, "allow")));
    assert_eq!(told["state"], "s&=é");
    assert_eq!(redeem(&server, &app, &told["code"]).json()["scope"], "read");

    // Nothing is kept of it, so it can be taken up again, as a page that is loaded again does (RFC 9126 §4): it is the same request, and
    // each code of it counts once.
    assert_ne!(browser.get(&server, &pushed("app", &request_uri)).status, 400);
    assert_eq!(redeem(&server, &app, &told["code"]).error(), (400, "invalid_grant".to_owned()));

    assert_shown(&browser.get(&server, &pushed("other", &request_uri)));
    assert_shown(&browser.get(&server, &pushed("app", &with_other_end(&request_uri))));
    let login = hidden(&page, "request");
    assert_shown(&browser.get(&server, &pushed("app", &format!("urn:ietf:params:oauth:request_uri:{login}"))));
    server.time.advance(std::time::Duration::from_secs(91));
    assert_shown(&browser.get(&server, &pushed("app", &request_uri)));
}

#[test]
fn a_request_ends_with_its_client() {
    let server = start();
    register(&server);
    let mut browser = Browser::default();
    let sent = browser.get(&server, &request(&[]));
    let page = log_in(&server, &mut browser, &sent, "ann");
    let again = format!("/oauth2/authorize?request={}", hidden(&page, "request"));
    assert_eq!(browser.get(&server, &again).status, 200);
    let narrowed = json!({
        "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "write",
    });
    assert_eq!(server.ask_socket(&Request::new("PUT", "/admin/v1/clients/app").json(&narrowed)).status, 200);
    assert_shown(&consent(&server, &mut browser, &page, "allow"));
    assert_eq!(server.ask_socket(&Request::new("DELETE", "/admin/v1/clients/app")).status, 204);
    assert_shown(&consent(&server, &mut browser, &page, "allow"));
    register(&server);
    assert_shown(&consent(&server, &mut browser, &page, "allow"));
    server.time.advance(std::time::Duration::from_secs(3601));
    assert_shown(&browser.get(&server, &again));
}

#[test]
fn rfc_8252_a_native_client_listens_on_any_port_and_its_users_are_asked_each_time() {
    let server = start();
    let native = json!({
        "token_endpoint_auth_method": "none", "application_type": "native", "redirect_uris": ["http://127.0.0.1/cb"],
    });
    register_with(&server, "app", &native);
    let mut browser = Browser::default();
    let redirect_uri = "http://127.0.0.1:51234/cb";
    let with_port = request(&[("redirect_uri", redirect_uri)]);
    let sent = browser.get(&server, &with_port);
    let page = log_in(&server, &mut browser, &sent, "ann");
    let location = destination(&consent(&server, &mut browser, &page, "allow"));
    assert!(location.starts_with("http://127.0.0.1:51234/cb?code="), "{location}");
    let code = &query(&location)["code"];
    let exchange = |verifier| {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "app"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        server.ask(&Request::post("/oauth2/token").form(&form))
    };
    assert_eq!(exchange(VERIFIER).status, 200);
    assert_eq!(browser.get(&server, &with_port).status, 200, "any program on the device could have asked");
    let unasked = browser.get(&server, &request(&[("redirect_uri", redirect_uri), ("prompt", "none")]));
    assert_eq!(query(&destination(&unasked))["error"], "consent_required");
    for other in ["http://localhost:51234/cb", "http://127.0.0.1:51234/", "http://127.0.0.1.evil.example/cb"] {
        assert_shown(&browser.get(&server, &request(&[("redirect_uri", other)])));
    }
}

#[test]
fn ru_10_no_header_field_of_a_request_changes_where_it_leads() {
    let server = start();
    register(&server);
    let fields = ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "X-Original-URL"];
    let asked = fields
        .iter()
        .fold(Request::get(&request(&[("prompt", "none")])), |request, name| request.field(name, "evil.example"));
    assert_redirected(&server, &server.ask(&asked), "login_required");
}

#[test]
fn a_cookie_that_comes_twice_is_refused() {
    let server = start();
    register(&server);
    let value = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let cookies = format!("{SESSION_COOKIE}={value}; {SESSION_COOKIE}={value}");
    assert_shown(&server.ask(&Request::get(&request(&[])).field("Cookie", &cookies)));
}
