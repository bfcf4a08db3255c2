//! People who let clients do something for them: their accounts, their browsers, and the clients.
//!
//! ```text
//! GET /oauth2/authorize ─▶ login page ─▶ POST /login ─▶ GET /oauth2/authorize?request= ─▶ (consent page) ─▶ code
//! ```
//!
//! A browser here runs no script: it keeps cookies, fills in forms, and goes where it is sent. It sends nothing itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, REFRESH, SET_COOKIE};
use serde::Serialize;

use crate::client::{Answer, Connection, Credentials, NoAnswer, Request};

/// A person's browser.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Gets a page.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path, String::new())
    }

    /// Sends a form.
    pub(crate) fn post(&self, path: &str, form: &[(&str, &str)]) -> Request {
        self.request(Method::POST, path, Serializer::new(String::new()).extend_pairs(form).finish())
    }

    /// Begins an authorization request of a client (RFC 6749 §4.1.1).
    pub(crate) fn authorize(&self, client_id: &str) -> Request {
        self.get(&authorization_request(client_id, &[]))
    }

    /// Asks for the login page.
    pub(crate) fn login_page(&self) -> Request {
        self.get("/login")
    }

    /// Fills in a login page.
    pub(crate) fn log_in(&self, page: &Answer, account: &Account) -> Request {
        let (csrf, request) = (hidden(page, "csrf"), hidden(page, "request"));
        let mut form = vec![("csrf", csrf.as_deref().unwrap_or_default())];
        form.extend(request.iter().map(|request| ("request", &**request)));
        form.extend([("username", &*account.username), ("password", &*account.password)]);
        self.post("/login", &form)
    }

    /// Allows what a consent page asks for.
    pub(crate) fn allow(&self, page: &Answer) -> Request {
        let of = |name| hidden(page, name).unwrap_or_default();
        self.post("/oauth2/consent", &[("request", &of("request")), ("csrf", &of("csrf")), ("decision", "allow")])
    }

    /// Asks for the page where a device's code is typed (RFC 8628 §3.3).
    pub(crate) fn device_page(&self) -> Request {
        self.get(DEVICE_PATH)
    }

    /// Types a code there.
    pub(crate) fn find_device(&self, page: &Answer, user_code: &str) -> Request {
        let csrf = hidden(page, "csrf").unwrap_or_default();
        self.post(DEVICE_PATH, &[("csrf", &csrf), ("user_code", user_code)])
    }

    /// Says `allow` or `deny` to the device that is shown.
    pub(crate) fn decide_device(&self, page: &Answer, user_code: &str, decision: &str) -> Request {
        let csrf = hidden(page, "csrf").unwrap_or_default();
        self.post(DEVICE_PATH, &[("csrf", &csrf), ("user_code", user_code), ("decision", decision)])
    }

    /// Keeps the cookies of an answer, and forgets those that it takes back.
    pub(crate) fn take(&mut self, answer: &Answer) {
        for set in answer.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let Some((name, rest)) = set.split_once('=') else { continue };
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                let value = rest.split(';').next().unwrap_or_default();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Whether somebody is logged in.
    pub(crate) fn has_session(&self) -> bool {
        self.cookies.contains_key(SESSION_COOKIE)
    }

    /// The secret of the session.
    pub(crate) fn session(&self) -> &str {
        self.cookies.get(SESSION_COOKIE).map_or("", String::as_str)
    }

    fn request(&self, method: Method, path: &str, body: String) -> Request {
        let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, "tessera");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        request.body(body.into()).unwrap_or_default()
    }
}

const SESSION_COOKIE: &str = "__Host-tessera-session";

/// A person's account, to be made through the admin API.
#[derive(Clone, Serialize)]
pub(crate) struct Account {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Account {
    /// An account with a password that nobody guesses.
    pub(crate) fn new(username: String, random: &mut fastrand::Rng) -> Self {
        Self { username, password: format!("{:032x}", random.u128(..)) }
    }
}

/// A client that people use, to be registered (RFC 7591 §2, with our own additions).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeopleRegistration {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    client_name: &'static str,
    grant_types: &'static [&'static str],
    redirect_uris: [&'static str; 1],
    scope: &'static str,
    skip_consent: bool,
    access_token_lifetime_seconds: u32,
    refresh_token_retry_seconds: u32,
}

impl PeopleRegistration {
    /// One that people are not asked about.
    pub(crate) const fn new(client_name: &'static str, access_token_lifetime_seconds: u32) -> Self {
        Self {
            client_id: None,
            client_name,
            grant_types: &["authorization_code", "refresh_token"],
            redirect_uris: [REDIRECT_URI],
            scope: "read write",
            skip_consent: true,
            access_token_lifetime_seconds,
            refresh_token_retry_seconds: RETRY_SECONDS,
        }
    }

    /// One that people are asked about.
    pub(crate) fn asking(self) -> Self {
        Self { skip_consent: false, ..self }
    }

    /// One that has devices too (RFC 8628).
    pub(crate) fn with_devices(self) -> Self {
        Self { grant_types: &["authorization_code", "refresh_token", DEVICE_GRANT_TYPE], ..self }
    }

    /// Under this id.
    pub(crate) fn named(self, client_id: String) -> Self {
        Self { client_id: Some(client_id), ..self }
    }
}

/// RFC 8628 §3.4
const DEVICE_GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long a refresh token is answered again whose successor was not used: the longest that there is.
const RETRY_SECONDS: u32 = 300;
/// Nobody is there: a browser here does not go to other sites.
const REDIRECT_URI: &str = "https://client.example/callback";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const DEVICE_PATH: &str = "/device";
const AUTHORIZE: &str = "/oauth2/authorize?";

/// The path of an authorization request, with more parameters.
pub(crate) fn authorization_request(client_id: &str, more: &[(&str, &str)]) -> String {
    let mut query = Serializer::for_suffix(AUTHORIZE.to_owned(), AUTHORIZE.len());
    query.extend_pairs([("response_type", "code"), ("client_id", client_id), ("redirect_uri", REDIRECT_URI)]);
    query.extend_pairs([("scope", "read"), ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")]);
    query.extend_pairs(more).finish()
}

impl Credentials {
    /// Redeems a code (RFC 6749 §4.1.3).
    pub(crate) fn redeem(&self, code: &str) -> Request {
        let form = [("code", code), ("redirect_uri", REDIRECT_URI), ("code_verifier", VERIFIER)];
        let form = Serializer::new("grant_type=authorization_code".to_owned()).extend_pairs(form).finish();
        self.post_form("/oauth2/token", form)
    }

    /// A device asks to be let in (RFC 8628 §3.1).
    pub(crate) fn authorize_device(&self) -> Request {
        self.post_form("/oauth2/device_authorization", "scope=read".to_owned())
    }

    /// A device asks for its tokens (RFC 8628 §3.4).
    pub(crate) fn poll(&self, device_code: &str) -> Request {
        let form = [("grant_type", DEVICE_GRANT_TYPE), ("device_code", device_code)];
        self.post_form("/oauth2/token", Serializer::new(String::new()).extend_pairs(form).finish())
    }

    /// Refreshes (RFC 6749 §6).
    pub(crate) fn refresh(&self, refresh_token: &str) -> Request {
        self.post_form("/oauth2/token", format!("{REFRESH_FORM}{refresh_token}"))
    }
}

/// All of the form of a refresh but the token.
pub(crate) const REFRESH_FORM: &str = "grant_type=refresh_token&refresh_token=";

/// Where an answer sends a browser: on this server as a path, elsewhere as a URL.
pub(crate) fn destination(answer: &Answer) -> Option<String> {
    let field = |name| answer.headers.get(name)?.to_str().ok();
    let location = field(LOCATION).or_else(|| field(REFRESH)?.strip_prefix("0;url="))?;
    let is_elsewhere = location.starts_with("https://client.example/");
    let path = location
        .split_once("://")
        .filter(|_| !is_elsewhere)
        .and_then(|(_, rest)| rest.find('/').map(|at| rest.split_at(at).1));
    Some(path.unwrap_or(location).to_owned())
}

/// The code of an authorization response (RFC 6749 §4.1.2).
pub(crate) fn code(answer: &Answer) -> Option<String> {
    let location = destination(answer)?;
    let query = location.strip_prefix(REDIRECT_URI)?.strip_prefix('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code").map(|(_, code)| code.into_owned())
}

/// The value of a hidden field of a page.
pub(crate) fn hidden(page: &Answer, name: &str) -> Option<String> {
    let body = str::from_utf8(&page.body).ok()?;
    let mut fields = body.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
    let field = fields.find(|field| field.contains(&format!("name=\"{name}\"")))?;
    field.split("value=\"").nth(1)?.split('"').next().map(str::to_owned)
}

/// The id of the grant that a refresh token or a code is of, as the admin API writes it.
pub(crate) fn grant_id(token: &str) -> Option<String> {
    let body = token.get(PREFIX_BYTES..PREFIX_BYTES + 24)?;
    let bytes = URL_SAFE_NO_PAD.decode(body).ok()?;
    Some(bytes.get(..GRANT_ID_BYTES)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

const PREFIX_BYTES: usize = "tsr_rt_".len();
const GRANT_ID_BYTES: usize = 16;

/// Logs a browser in, over a connection: the last answer.
pub(crate) async fn log_in(
    connection: &mut Connection,
    browser: &mut Browser,
    account: &Account,
) -> Result<Answer, NoAnswer> {
    let page = connection.ask(browser.login_page()).await?;
    browser.take(&page);
    let answer = connection.ask(browser.log_in(&page, account)).await?;
    browser.take(&answer);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::header::{HeaderMap, HeaderName};

    use super::*;

    fn answer(headers: &[(HeaderName, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        Answer { status: StatusCode::SEE_OTHER, headers, body: body.to_owned().into() }
    }

    #[test]
    fn a_browser_keeps_cookies_until_they_are_taken_back() {
        let mut browser = Browser::default();
        browser.take(&answer(&[(SET_COOKIE, "__Host-tessera-session=abc; Path=/; Secure")], ""));
        assert!(browser.has_session());
        let request = browser.login_page();
        assert_eq!(request.headers().get(COOKIE).unwrap(), "__Host-tessera-session=abc");
        browser.take(&answer(&[(SET_COOKIE, "__Host-tessera-session=; Max-Age=0")], ""));
        assert!(!browser.has_session());
    }

    #[test]
    fn an_answer_leads_to_a_page_of_ours_or_to_the_client_with_a_code() {
        let check = |name, location: &str, path: &str, expected: Option<&str>| {
            let answer = answer(&[(name, location)], "");
            assert_eq!((destination(&answer).as_deref(), code(&answer).as_deref()), (Some(path), expected));
        };
        check(LOCATION, "/account", "/account", None);
        check(LOCATION, "http://127.0.0.1:8080/oauth2/authorize?request=a", "/oauth2/authorize?request=a", None);
        let url = "https://client.example/callback?code=tsr_ac_1&iss=i";
        check(LOCATION, url, url, Some("tsr_ac_1"));
        check(REFRESH, &format!("0;url={url}"), url, Some("tsr_ac_1"));
        let error = "https://client.example/callback?error=access_denied";
        check(LOCATION, error, error, None);
        assert_eq!(destination(&answer(&[], "")), None);
    }

    #[test]
    fn a_hidden_field_is_found() {
        let page = answer(&[], r#"<form><input type="hidden" name="csrf" value="x-y"><input name="username"></form>"#);
        assert_eq!(hidden(&page, "csrf").as_deref(), Some("x-y"));
        assert_eq!((hidden(&page, "request"), hidden(&page, "username")), (None, None));
    }

    #[test]
    fn a_request_for_a_code_is_a_path_with_a_query() {
        let path = authorization_request("app", &[("prompt", "consent")]);
        assert!(path.starts_with("/oauth2/authorize?response_type=code&client_id=app&redirect_uri=https%3A%2F%2F"));
        assert!(path.ends_with("&prompt=consent"), "{path}");
    }

    #[test]
    fn the_id_of_a_grant_is_in_its_refresh_tokens() {
        assert_eq!(
            grant_id("tsr_rt_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").as_deref(),
            Some("000102030405060708090a0b0c0d0e0f")
        );
        assert_eq!(grant_id("tsr_rt_"), None);
    }
}
