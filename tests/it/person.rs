//! A person whom the operator's own page logs in, and who lets clients have what they ask for.

use form_urlencoded::Serializer;
use serde_json::{Value, json};
use tessera::config::Config;
use tessera::config::value::{Durability, LoginUrl};

use crate::browser::{Browser, Site, destination, hidden, query};
use crate::harness::TestServer;
use crate::http::{Answer, Credentials, Request};

/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const CALLBACK: &str = "https://client.example/cb";
/// Where [`start`] sends people.
pub(crate) const LOGIN_PAGE: &str = "https://login.example/";
/// RFC 8628 §3.4
pub(crate) const DEVICE_GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(crate) const SUBJECT: &str = "ann";

/// A server whose users log in elsewhere.
pub(crate) fn start() -> TestServer {
    TestServer::start_with(log_in_elsewhere)
}

/// The same, and it makes everything durable before it answers.
pub(crate) fn start_durable() -> TestServer {
    TestServer::start_with(|config| {
        log_in_elsewhere(config);
        config.storage.durability = Durability::Sync;
    })
}

pub(crate) fn log_in_elsewhere(config: &mut Config) {
    config.http.login_url = LoginUrl::parse(LOGIN_PAGE);
}

/// Registers a client that people need not be asked about, with these members more.
#[track_caller]
pub(crate) fn register(server: &impl Site, client_id: &str, more: &Value) -> Credentials {
    let mut metadata = json!({
        "client_id": client_id, "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": [CALLBACK],
        "scope": "read write", "skip_consent": true,
    });
    for (member, value) in more.as_object().unwrap() {
        metadata[member] = value.clone();
    }
    let answer = server.ask_as_admin(&Request::post("/admin/v1/clients").json(&metadata));
    assert_eq!(answer.status, 201, "{answer:?}");
    Credentials::new(client_id, answer.json()["client_secret"].as_str().unwrap_or_default())
}

/// The browser of somebody who is logged in.
#[track_caller]
pub(crate) fn log_in(server: &impl Site, client_id: &str) -> Browser {
    log_in_as(server, client_id, &json!({ "subject": SUBJECT }))
}

/// The same, of whom the operator's page says that.
#[track_caller]
pub(crate) fn log_in_as(server: &impl Site, client_id: &str, told: &Value) -> Browser {
    let mut browser = Browser::default();
    let sent = destination(&browser.get(server, &authorization_request(client_id)));
    let challenge = sent.strip_prefix(&format!("{LOGIN_PAGE}?login_challenge=")).unwrap_or_else(|| panic!("{sent}"));
    let accept = Request::post(&format!("/admin/v1/logins/{challenge}/accept")).json(told);
    browser.open(server, &server.ask_as_admin(&accept).text("redirect_to"));
    browser
}

/// A code that this browser brings to a client.
#[track_caller]
pub(crate) fn code(server: &impl Site, browser: &mut Browser, client_id: &str) -> String {
    code_for(server, browser, client_id, &[])
}

/// The same, of a request with these parameters more.
#[track_caller]
pub(crate) fn code_for(server: &impl Site, browser: &mut Browser, client_id: &str, more: &[(&str, &str)]) -> String {
    let location = destination(&browser.get(server, &authorization_request_with(client_id, more)));
    query(&location).remove("code").unwrap_or_else(|| panic!("{location}"))
}

/// How a code is redeemed, with some parameters changed; one without a value is left out.
pub(crate) fn redemption<'a>(code: &'a str, changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    form.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    form
}

#[track_caller]
pub(crate) fn redeem(server: &TestServer, client: &Credentials, code: &str) -> Answer {
    server.ask_for_token(client, &redemption(code, &[]))
}

/// The access token and the refresh token of an answer.
#[track_caller]
pub(crate) fn tokens(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.text("access_token"), answer.text("refresh_token"))
}

/// A new grant.
#[track_caller]
pub(crate) fn grant(server: &TestServer, client: &Credentials) -> (String, String) {
    let code = code(server, &mut log_in(server, &client.id), &client.id);
    tokens(&redeem(server, client, &code))
}

/// Registers a client that has devices too.
#[track_caller]
pub(crate) fn register_with_devices(server: &impl Site, client_id: &str) -> Credentials {
    register(server, client_id, &json!({ "grant_types": ["authorization_code", "refresh_token", DEVICE_GRANT_TYPE] }))
}

/// The device code of a device that this browser's person has let in.
#[track_caller]
pub(crate) fn device_code(server: &impl Site, browser: &mut Browser, client: &Credentials) -> String {
    device_code_for(server, browser, client, "read")
}

/// The same, of a device that wants this scope.
#[track_caller]
pub(crate) fn device_code_for(server: &impl Site, browser: &mut Browser, client: &Credentials, scope: &str) -> String {
    let request = Request::post("/oauth2/device_authorization").basic(client).form(&[("scope", scope)]);
    let begun = server.ask(&request);
    let user_code = begun.text("user_code");
    let csrf = hidden(&browser.get(server, "/device"), "csrf");
    let shown = browser.post(server, "/device", &[("csrf", &csrf), ("user_code", &user_code)]);
    let csrf = hidden(&shown, "csrf");
    let form = [("csrf", &*csrf), ("user_code", &user_code), ("decision", "allow")];
    let decided = browser.post(server, "/device", &form);
    assert_eq!(decided.field("location").map(|location| location.ends_with("?allowed")), Some(true), "{decided:?}");
    begun.text("device_code")
}

/// How a device asks for its tokens.
pub(crate) fn poll(device_code: &str) -> [(&str, &str); 2] {
    [("grant_type", DEVICE_GRANT_TYPE), ("device_code", device_code)]
}

/// How a client refreshes.
pub(crate) fn refreshing(refresh_token: &str) -> [(&str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
}

pub(crate) fn authorization_request(client_id: &str) -> String {
    authorization_request_with(client_id, &[])
}

pub(crate) fn authorization_request_with(client_id: &str, more: &[(&str, &str)]) -> String {
    let parameters = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", CALLBACK),
        ("scope", "read write"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    format!("/oauth2/authorize?{}", Serializer::new(String::new()).extend_pairs(parameters).extend_pairs(more).finish())
}
