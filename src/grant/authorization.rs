//! Authorization requests (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2.1, `OpenID` Connect Core §3.1.2.1): from parameters and a
//! client to what a person is asked for.
//!
//! An error is told to the client by a redirect only once client and redirect URI are proven; before that it is shown to the
//! person, for whoever made the request may own the place where it would be sent (RFC 6749 §4.1.2.1, RFC 9700 §4.11).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::Client;
use crate::client::id::ClientId;
use crate::grant::resource;
use crate::oauth::audience::Audience;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::grant_type::GrantType;
use crate::oauth::pkce::CodeChallenge;
use crate::oauth::prompt::Prompt;
use crate::oauth::redirect_uri::RedirectUri;
use crate::oauth::response_type::ResponseType;
use crate::oauth::scope::{OPENID_SCOPE, Scope};
use crate::oauth::subject::Subject;

/// An authorization request that may be put before a person. All of it has been checked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client_id: ClientId,
    /// The client's generation: a client that was deleted and made again is another one.
    pub client_generation: u64,
    /// Where the answer goes, as the request named it.
    pub redirect_uri: RedirectUri,
    /// Whether the request named it; then the token request must name it too (RFC 6749 §4.1.3).
    pub was_redirect_uri_sent: bool,
    /// What is asked for.
    pub scope: Scope,
    /// Whom the tokens shall be for (RFC 8707); `None` for all that the client may have tokens for.
    pub resources: Option<Audience>,
    /// Goes back to the client as it came, at most [`STATE_BYTES_MAX`] bytes.
    pub state: Option<String>,
    /// Goes into the ID token as it came, at most [`NONCE_BYTES_MAX`] bytes.
    pub nonce: Option<String>,
    /// What the redeemer of the code shows the verifier of; absent only where the nonce stands in.
    pub code_challenge: Option<CodeChallenge>,
    /// What the person is to be asked in any case.
    pub prompt: Prompt,
    /// How long ago the person may have logged in at most, in seconds.
    pub max_age: Option<u32>,
    /// Whom the client takes the person for, at most [`LOGIN_HINT_BYTES_MAX`] bytes.
    pub login_hint: Option<String>,
    /// What is asked by name to be told of the person, of what the client may know.
    pub claims: Option<ClaimsRequest>,
    /// The only person that may answer: that of `id_token_hint`, or of `sub` in `claims`.
    pub subject: Option<Subject>,
}

/// The longest `state`, in bytes.
pub const STATE_BYTES_MAX: usize = 4096;
/// The longest `nonce`, in bytes.
pub const NONCE_BYTES_MAX: usize = 1024;
/// The longest `login_hint`, in bytes.
pub const LOGIN_HINT_BYTES_MAX: usize = 512;

/// The parameters of a request in their order, decoded; one without a value counts as omitted (RFC 6749 §3.1).
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationParameters<'a>(pub &'a [(&'a str, &'a str)]);

/// Why a request is refused, and who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationError {
    /// Client or redirect URI are not proven: the person sees it, and nobody is redirected.
    Shown(OAuthError),
    /// The client is told.
    Redirected(Box<RedirectedError>),
}

/// An error that the client is told by a redirect (RFC 6749 §4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectedError {
    /// Where it goes.
    pub redirect_uri: RedirectUri,
    /// As the request had it.
    pub state: Option<String>,
    /// What is told.
    pub error: OAuthError,
}

impl AuthorizationError {
    /// The error, whoever is told.
    #[must_use]
    pub fn error(&self) -> &OAuthError {
        match self {
            Self::Shown(error) => error,
            Self::Redirected(redirected) => &redirected.error,
        }
    }
}

impl<'a> AuthorizationParameters<'a> {
    /// The value of a parameter, if it is there once and not empty.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'a str> {
        let mut found = self.0.iter().filter(|(own, _)| *own == name).map(|(_, value)| *value);
        let value = found.next().filter(|value| !value.is_empty());
        value.filter(|_| found.next().is_none())
    }

    /// Whether a parameter stands there twice.
    #[must_use]
    pub fn is_repeated(&self, name: &str) -> bool {
        self.0.iter().filter(|(own, _)| *own == name).count() > 1
    }

    /// Whether a parameter stands there twice that may not: RFC 6749 §3.1 forbids repeats, known parameter or not. RFC 8707 §2
    /// lets `resource` be repeated.
    #[must_use]
    pub fn has_repeats(&self) -> bool {
        self.0.iter().any(|(name, _)| *name != "resource" && self.is_repeated(name))
    }

    /// The `client_id`, which has to be there before anything else is looked at.
    ///
    /// # Errors
    ///
    /// `invalid_request`, to be shown.
    pub fn client_id(&self) -> Result<&'a str, AuthorizationError> {
        let missing = || shown("the parameter client_id is missing, or it is there twice");
        self.find("client_id").ok_or_else(missing)
    }

    /// Reads a request of this client.
    ///
    /// # Errors
    ///
    /// [`AuthorizationError`] says what is wrong and who is told.
    pub fn read(&self, client: &Client) -> Result<AuthorizationRequest, AuthorizationError> {
        let redirect_uri = self.redirect_uri(client)?;
        let state = self.find("state").filter(|state| state.len() <= STATE_BYTES_MAX).map(str::to_owned);
        self.read_rest(client, redirect_uri.clone(), state.clone())
            .map_err(|error| AuthorizationError::Redirected(Box::new(RedirectedError { redirect_uri, state, error })))
    }

    /// RFC 6749 §3.1.2.3: a client with one redirect URI may leave it out. `OpenID` Connect Core §3.1.2.1: not for `openid`.
    fn redirect_uri(&self, client: &Client) -> Result<RedirectUri, AuthorizationError> {
        let registered = &client.metadata.redirect_uris;
        if self.is_repeated("redirect_uri") {
            return Err(shown("the parameter redirect_uri is there twice"));
        }
        let Some(presented) = self.find("redirect_uri") else {
            let is_openid = self.find("scope").is_some_and(|scope| scope.split(' ').any(|token| token == "openid"));
            return match &**registered {
                [] => Err(shown("this client is registered without a redirect URI")),
                [only] if !is_openid => Ok(only.clone()),
                _ => Err(shown("the parameter redirect_uri is missing")),
            };
        };
        let presented = RedirectUri::parse(presented).map_err(|error| shown(error.to_string()))?;
        let is_registered = registered.iter().any(|own| own.matches(&presented, client.metadata.application_type));
        if is_registered {
            Ok(presented)
        } else {
            Err(shown("redirect_uri is none that this client is registered with"))
        }
    }

    fn read_rest(
        &self,
        client: &Client,
        redirect_uri: RedirectUri,
        state: Option<String>,
    ) -> Result<AuthorizationRequest, OAuthError> {
        if self.has_repeats() {
            return Err(OAuthError::invalid_request("a parameter is repeated"));
        }
        self.check_kind(client)?;
        if self.find("state").is_some() && state.is_none() {
            return Err(OAuthError::invalid_request("state must have at most 4096 bytes"));
        }
        let scope = self.scope(client)?;
        let nonce = self.bounded("nonce", NONCE_BYTES_MAX)?;
        let code_challenge = self.code_challenge(client, &scope, nonce.is_some())?;
        let prompt = self.find("prompt").map(Prompt::parse).transpose();
        let claims = self.claims(client, &scope)?;
        let subject =
            claims.as_ref().and_then(ClaimsRequest::subject).map(|subject| one_subject(&subject)).transpose()?;
        Ok(AuthorizationRequest {
            client_id: client.id.clone(),
            client_generation: client.generation,
            redirect_uri,
            was_redirect_uri_sent: self.find("redirect_uri").is_some(),
            scope,
            resources: self.resources(client)?,
            state,
            nonce,
            code_challenge,
            prompt: prompt.map_err(|error| OAuthError::invalid_request(error.to_string()))?.unwrap_or_default(),
            max_age: self.max_age()?.or(client.metadata.default_max_age),
            login_hint: self.bounded("login_hint", LOGIN_HINT_BYTES_MAX)?,
            claims,
            subject,
        })
    }

    /// Whether it is a request of a kind that is answered here.
    fn check_kind(&self, client: &Client) -> Result<(), OAuthError> {
        if self.find("request").is_some() {
            let description = "requests as JWTs are not read: send the parameters themselves";
            return Err(OAuthError::new(OAuthErrorCode::RequestNotSupported, description));
        }
        if self.find("request_uri").is_some() {
            let description = "request_uri must be what the pushed authorization request endpoint answered";
            return Err(OAuthError::new(OAuthErrorCode::RequestUriNotSupported, description));
        }
        let response_type = self
            .find("response_type")
            .ok_or_else(|| OAuthError::invalid_request("the parameter response_type is missing"))?;
        if ResponseType::from_name(response_type).is_none() {
            let description = "response_type must be code";
            return Err(OAuthError::new(OAuthErrorCode::UnsupportedResponseType, description));
        }
        if !client.metadata.may_use(GrantType::AuthorizationCode) {
            let description = "this client is not registered for the grant type authorization_code";
            return Err(OAuthError::new(OAuthErrorCode::UnauthorizedClient, description));
        }
        if self.find("response_mode").is_some_and(|mode| mode != RESPONSE_MODE) {
            return Err(OAuthError::invalid_request("response_mode must be query"));
        }
        Ok(())
    }

    /// RFC 6749 §3.3: all that the client may have, if it asks for none.
    fn scope(&self, client: &Client) -> Result<Scope, OAuthError> {
        let allowed = &client.metadata.scope;
        let invalid_scope = |description: String| OAuthError::new(OAuthErrorCode::InvalidScope, description);
        let Some(requested) = self.find("scope") else { return Ok(allowed.clone()) };
        let requested = Scope::parse(requested).map_err(|error| invalid_scope(error.to_string()))?;
        if !requested.is_subset_of(allowed) {
            return Err(invalid_scope("the scope is wider than this client is registered for".to_owned()));
        }
        Ok(requested)
    }

    /// RFC 8707 §2.
    fn resources(&self, client: &Client) -> Result<Option<Audience>, OAuthError> {
        let named = self.0.iter().filter(|(name, value)| *name == "resource" && !value.is_empty());
        let resources = resource::read(named.map(|(_, value)| *value))?;
        resource::check(resources.as_ref(), client)?;
        Ok(resources)
    }

    fn code_challenge(
        &self,
        client: &Client,
        scope: &Scope,
        has_nonce: bool,
    ) -> Result<Option<CodeChallenge>, OAuthError> {
        let method = self.find("code_challenge_method");
        let invalid = |error: &dyn ToString| OAuthError::invalid_request(error.to_string());
        match self.find("code_challenge") {
            Some(challenge) => {
                CodeChallenge::check_method(method).map_err(|error| invalid(&error))?;
                CodeChallenge::parse(challenge).map(Some).map_err(|error| invalid(&error))
            }
            None if method.is_some() => Err(invalid(&"code_challenge_method is there without code_challenge")),
            None if client.metadata.nonce_instead_of_pkce && scope.contains("openid") && has_nonce => Ok(None),
            None => Err(invalid(&"code_challenge is missing: this server requires PKCE with S256")),
        }
    }

    /// §5.5. Without `openid` the parameter means nothing; and what a client may not ask for by a scope, it may not ask for by name.
    fn claims(&self, client: &Client, scope: &Scope) -> Result<Option<ClaimsRequest>, OAuthError> {
        let Some(text) = self.find("claims") else { return Ok(None) };
        let claims = ClaimsRequest::parse(text).map_err(|error| OAuthError::invalid_request(error.to_string()))?;
        let claims = claims.within(|token| client.metadata.scope.contains(token));
        Ok(claims.filter(|_| scope.contains(OPENID_SCOPE)))
    }

    fn max_age(&self) -> Result<Option<u32>, OAuthError> {
        let Some(text) = self.find("max_age") else { return Ok(None) };
        let seconds = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let invalid = || OAuthError::invalid_request("max_age must be a whole number of seconds below 2^32");
        seconds.map(Some).ok_or_else(invalid)
    }

    fn bounded(&self, name: &'static str, bytes_max: usize) -> Result<Option<String>, OAuthError> {
        match self.find(name) {
            Some(value) if value.len() > bytes_max => {
                Err(OAuthError::invalid_request(format!("{name} must have at most {bytes_max} bytes")))
            }
            value => Ok(value.map(str::to_owned)),
        }
    }
}

/// The only `response_mode`: the answer is in the query of the redirect.
pub const RESPONSE_MODE: &str = "query";

fn one_subject(value: &Value) -> Result<Subject, OAuthError> {
    let subject = value.as_str().and_then(|text| Subject::parse(text).ok());
    subject.ok_or_else(|| OAuthError::invalid_request("the value of sub in claims is no subject of this server"))
}

impl AuthorizationRequest {
    /// The same for the person of an ID token alone.
    ///
    /// # Errors
    ///
    /// `invalid_request`, to be told to the client, where it asks for somebody else too.
    pub fn of_subject(self, subject: Subject) -> Result<Self, AuthorizationError> {
        if self.subject.as_ref().is_some_and(|own| *own != subject) {
            let error = OAuthError::invalid_request("id_token_hint and claims are about different people");
            return Err(AuthorizationError::Redirected(Box::new(self.refused(error))));
        }
        Ok(Self { subject: Some(subject), ..self })
    }

    /// What the person is asked to let the client have: the scope, and with it that of claims that are asked for by name.
    #[must_use]
    pub fn consent_scope(&self) -> Scope {
        let asked = self.claims.as_ref().map(ClaimsRequest::scopes).unwrap_or_default();
        if asked.iter().all(|token| self.scope.contains(token)) {
            return self.scope.clone();
        }
        let tokens: Vec<&str> = self.scope.tokens().chain(asked).collect();
        // Some more of what the client is registered with, so it is not too long.
        Scope::parse(&tokens.join(" ")).unwrap_or_else(|_| self.scope.clone())
    }

    /// Whether the client may still ask so. A request travels for a while, and the client may have changed meanwhile.
    ///
    /// # Errors
    ///
    /// `invalid_request`, `unauthorized_client` or `invalid_target`, to be shown.
    pub fn check_still_allowed(&self, client: &Client) -> Result<(), OAuthError> {
        let metadata = &client.metadata;
        let is_same = client.id == self.client_id && client.generation == self.client_generation;
        let is_registered =
            metadata.redirect_uris.iter().any(|own| own.matches(&self.redirect_uri, metadata.application_type));
        if !is_same || !is_registered || !metadata.may_use(GrantType::AuthorizationCode) {
            let description = "the client has changed since it made this request";
            return Err(OAuthError::new(OAuthErrorCode::UnauthorizedClient, description));
        }
        if !self.consent_scope().is_subset_of(&metadata.scope) {
            return Err(OAuthError::invalid_request("the client may not ask for this scope any more"));
        }
        resource::check(self.resources.as_ref(), client)
    }

    /// The answer that tells the client an error (RFC 6749 §4.1.2.1, RFC 9207 §2).
    #[must_use]
    pub fn refused(&self, error: OAuthError) -> RedirectedError {
        RedirectedError { redirect_uri: self.redirect_uri.clone(), state: self.state.clone(), error }
    }

    /// Where the browser goes with a code (RFC 6749 §4.1.2, RFC 9207 §2).
    #[must_use]
    pub fn location_with_code(&self, code: &str, issuer: &str) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        self.redirect_uri.with_parameters([("code", code)].into_iter().chain(state).chain([("iss", issuer)]))
    }
}

impl RedirectedError {
    /// Where the browser goes with it.
    #[must_use]
    pub fn location(&self, issuer: &str) -> String {
        let error = [("error", self.error.code.as_str()), ("error_description", &*self.error.description)];
        let state = self.state.as_deref().map(|state| ("state", state));
        self.redirect_uri.with_parameters(error.into_iter().chain(state).chain([("iss", issuer)]))
    }
}

/// Without `state`, `nonce` and the like: they are the client's.
impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AuthorizationRequest")
            .field("client_id", &self.client_id)
            .field("redirect_uri", &self.redirect_uri)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

fn shown(description: impl Into<std::borrow::Cow<'static, str>>) -> AuthorizationError {
    AuthorizationError::Shown(OAuthError::invalid_request(description))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::client::Credential;
    use crate::client::metadata::ClientMetadata;
    use crate::clock::UnixTime;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const CALLBACK: &str = "https://client.example/cb?tenant=7";

    fn client(more: &Value) -> Client {
        let mut document = json!({
            "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "openid read write",
        });
        for (member, value) in more.as_object().unwrap() {
            document[member] = value.clone();
        }
        Client {
            id: ClientId::parse("app").unwrap(),
            metadata: ClientMetadata::parse(&serde_json::from_value(document).unwrap()).unwrap(),
            credential: Credential::Missing,
            created_at: UnixTime::from_seconds(1),
            generation: 3,
            in_force: Arc::default(),
            registration: None,
        }
    }

    /// A good request with some parameters changed (`None` takes one away), others added.
    fn read_of(client: &Client, changes: &[(&str, Option<&str>)]) -> Result<AuthorizationRequest, AuthorizationError> {
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", CALLBACK),
            ("scope", "read"),
            ("state", "af0if jsldkj&=é"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in changes {
            parameters.retain(|(own, _)| own != name);
            parameters.extend(value.map(|value| (*name, value)));
        }
        AuthorizationParameters(&parameters).read(client)
    }

    fn read(changes: &[(&str, Option<&str>)]) -> Result<AuthorizationRequest, AuthorizationError> {
        read_of(&client(&json!({})), changes)
    }

    #[track_caller]
    fn assert_shown(result: &Result<AuthorizationRequest, AuthorizationError>) {
        assert!(matches!(result, Err(AuthorizationError::Shown(_))), "{result:?}");
    }

    #[track_caller]
    fn check_redirected(changes: &[(&str, Option<&str>)], expected: OAuthErrorCode) {
        let result = read(changes);
        let Err(AuthorizationError::Redirected(redirected)) = &result else { panic!("{changes:?}: {result:?}") };
        assert_eq!(redirected.error.code, expected, "{changes:?}");
        assert_eq!(redirected.redirect_uri.as_str(), CALLBACK);
    }

    #[test]
    fn a_request_is_read_whole() {
        let more = [
            ("nonce", Some("n")),
            ("prompt", Some("login consent")),
            ("max_age", Some("0")),
            ("login_hint", Some("<b>ann</b>")),
            ("unknown", Some("ignored")),
            ("response_mode", Some("query")),
        ];
        let request = read(&more).unwrap();
        assert_eq!((request.client_id.as_str(), request.client_generation), ("app", 3));
        assert_eq!((request.redirect_uri.as_str(), request.was_redirect_uri_sent), (CALLBACK, true));
        assert_eq!((request.scope.as_str(), request.state.as_deref()), ("read", Some("af0if jsldkj&=é")));
        assert_eq!((request.nonce.as_deref(), request.max_age), (Some("n"), Some(0)));
        assert_eq!(request.prompt.to_text(), "login consent");
        assert_eq!(request.login_hint.as_deref(), Some("<b>ann</b>"));
        assert_eq!(request.code_challenge, CodeChallenge::parse(CHALLENGE).ok());
        let sealed = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<AuthorizationRequest>(&sealed).unwrap(), request);
    }

    #[test]
    fn an_error_of_client_or_redirect_uri_is_shown() {
        for redirect_uri in [
            "https://client.example/cb",
            "https://client.example/cb?tenant=7&",
            "https://client.example/cb?tenant=8",
            "https://client.example:443/cb?tenant=7",
            "https://CLIENT.example/cb?tenant=7",
            "https://client.example/cb?tenant=7#",
            "https://client.example/../cb?tenant=7",
            "https://client.example.evil.example/cb?tenant=7",
            "https://user@client.example/cb?tenant=7",
            "https://client.example\\@evil.example/cb?tenant=7",
            "javascript:alert(1)",
            "data:text/html,x",
            "//client.example/cb?tenant=7",
            "\n",
        ] {
            assert_shown(&read(&[("redirect_uri", Some(redirect_uri))]));
            // Whatever else is wrong, it is not redirected.
            assert_shown(&read(&[("redirect_uri", Some(redirect_uri)), ("response_type", Some("token"))]));
        }
        let twice = [("client_id", "app"), ("redirect_uri", CALLBACK), ("redirect_uri", CALLBACK)];
        assert_shown(&AuthorizationParameters(&twice).read(&client(&json!({}))));
        for missing in [&[][..], &[("client_id", "")], &[("client_id", "a"), ("client_id", "a")]] {
            assert!(matches!(AuthorizationParameters(missing).client_id(), Err(AuthorizationError::Shown(_))));
        }
    }

    #[test]
    fn a_redirect_uri_may_be_left_out_where_there_is_one() {
        let without = [("redirect_uri", None)];
        let request = read(&without).unwrap();
        assert_eq!((request.redirect_uri.as_str(), request.was_redirect_uri_sent), (CALLBACK, false));
        assert_shown(&read(&[("redirect_uri", None), ("scope", Some("openid read"))]));
        let two = client(&json!({ "redirect_uris": [CALLBACK, "https://client.example/other"] }));
        assert_shown(&read_of(&two, &without));
        let none = client(&json!({ "grant_types": ["client_credentials"], "redirect_uris": [] }));
        assert_shown(&read_of(&none, &without));
        assert_shown(&read_of(&none, &[]));
    }

    #[test]
    fn a_native_client_may_listen_on_any_port() {
        let native = client(&json!({ "application_type": "native", "redirect_uris": ["http://127.0.0.1/cb"] }));
        let request = read_of(&native, &[("redirect_uri", Some("http://127.0.0.1:51234/cb"))]).unwrap();
        assert_eq!(request.redirect_uri.as_str(), "http://127.0.0.1:51234/cb");
        for other in ["http://127.0.0.1:51234/", "http://localhost:51234/cb", "http://[::1]:51234/cb"] {
            assert_shown(&read_of(&native, &[("redirect_uri", Some(other))]));
        }
    }

    #[test]
    fn any_other_error_is_redirected() {
        use OAuthErrorCode as Code;
        for response_type in ["token", "id_token", "none", "code token", "token code", "code code", "CODE", "code "] {
            check_redirected(&[("response_type", Some(response_type))], Code::UnsupportedResponseType);
        }
        let challenge = "code_challenge";
        let method = "code_challenge_method";
        let long = "a".repeat(5_000);
        let many_scopes = "read ".repeat(2_000);
        for (changes, code) in [
            (&[("response_type", None)][..], Code::InvalidRequest),
            (&[("response_type", Some(""))], Code::InvalidRequest),
            (&[("response_mode", Some("fragment"))], Code::InvalidRequest),
            (&[("response_mode", Some("form_post"))], Code::InvalidRequest),
            (&[("request", Some("eyJhbGciOiJub25lIn0.e30."))], Code::RequestNotSupported),
            (&[("request_uri", Some("https://evil.example/"))], Code::RequestUriNotSupported),
            (&[("scope", Some("admin"))], Code::InvalidScope),
            (&[("scope", Some("read admin"))], Code::InvalidScope),
            (&[("scope", Some("read  write"))], Code::InvalidScope),
            (&[("scope", Some("\"><svg/onload=alert(1)>"))], Code::InvalidScope),
            (&[("scope", Some(&many_scopes))], Code::InvalidScope),
            (&[("state", Some(&long))], Code::InvalidRequest),
            (&[("nonce", Some(&long))], Code::InvalidRequest),
            (&[("login_hint", Some(&long))], Code::InvalidRequest),
            (&[("prompt", Some("none login"))], Code::InvalidRequest),
            (&[("prompt", Some("create"))], Code::InvalidRequest),
            (&[("max_age", Some("-1"))], Code::InvalidRequest),
            (&[("max_age", Some("+1"))], Code::InvalidRequest),
            (&[("max_age", Some("1.5"))], Code::InvalidRequest),
            (&[("max_age", Some("4294967296"))], Code::InvalidRequest),
            (&[(challenge, None), (method, None)], Code::InvalidRequest),
            (&[(challenge, None)], Code::InvalidRequest),
            (&[(method, None)], Code::InvalidRequest),
            (&[(method, Some("plain"))], Code::InvalidRequest),
            (&[(method, Some("s256"))], Code::InvalidRequest),
            (&[(challenge, Some("short"))], Code::InvalidRequest),
            (&[(challenge, Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="))], Code::InvalidRequest),
        ] {
            check_redirected(changes, code);
        }
    }

    #[test]
    fn a_repeated_parameter_is_told_to_the_client() {
        let twice = |name| {
            let good = [
                ("client_id", "app"),
                ("redirect_uri", CALLBACK),
                ("response_type", "code"),
                ("code_challenge", CHALLENGE),
            ];
            let more = [("code_challenge_method", "S256"), (name, "code"), (name, "code")];
            AuthorizationParameters(&[&good[..], &more].concat()).read(&client(&json!({})))
        };
        for name in ["response_type", "unknown", "state", "scope", "request"] {
            let result = twice(name);
            let Err(AuthorizationError::Redirected(redirected)) = result else { panic!("{name}: {result:?}") };
            assert_eq!(redirected.error.code, OAuthErrorCode::InvalidRequest);
            assert_eq!(redirected.state, None, "nobody knows which of two is meant");
        }
    }

    #[test]
    fn resources_are_those_of_the_clients_audience_as_many_as_are_named() {
        let api = client(&json!({ "audience": ["urn:a", "urn:b", "urn:c"] }));
        let good = [
            ("client_id", "app"),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("code_challenge", CHALLENGE),
        ];
        let read = |resources: &[&'static str]| {
            let resources = resources.iter().map(|resource| ("resource", *resource));
            let parameters = good.into_iter().chain([("code_challenge_method", "S256")]).chain(resources);
            AuthorizationParameters(&parameters.collect::<Vec<_>>()).read(&api)
        };
        assert_eq!(read(&[]).unwrap().resources, None);
        assert_eq!(read(&[""]).unwrap().resources, None);
        let named = read(&["urn:c", "urn:a", "urn:c"]).unwrap();
        assert_eq!(named.resources, Audience::parse(["urn:c", "urn:a"]).ok());
        let sealed = serde_json::to_vec(&named).unwrap();
        assert_eq!(serde_json::from_slice::<AuthorizationRequest>(&sealed).unwrap(), named);
        assert_eq!(named.check_still_allowed(&api), Ok(()));
        let changed = client(&json!({ "audience": ["urn:a"] }));
        assert_eq!(named.check_still_allowed(&changed).unwrap_err().code, OAuthErrorCode::InvalidTarget);
        for refused in [&["urn:d"][..], &["urn:a", "urn:d"], &["urn:a#"], &["urn"], &["a", "a"]] {
            let result = read(refused);
            let Err(AuthorizationError::Redirected(redirected)) = &result else { panic!("{refused:?}: {result:?}") };
            assert_eq!(redirected.error.code, OAuthErrorCode::InvalidTarget, "{refused:?}");
        }
    }

    #[test]
    fn a_nonce_stands_in_for_pkce_where_the_client_is_registered_so() {
        let special = client(&json!({ "nonce_instead_of_pkce": true }));
        let without = [("code_challenge", None), ("code_challenge_method", None)];
        let with = |more: &[(&'static str, Option<&'static str>)]| [&without[..], more].concat();
        let openid = [("scope", Some("openid")), ("nonce", Some("n"))];
        assert_eq!(read_of(&special, &with(&openid)).unwrap().code_challenge, None);
        assert!(read_of(&special, &with(&openid[..1])).is_err(), "no nonce");
        assert!(read_of(&special, &with(&openid[1..])).is_err(), "no openid");
        assert!(read(&with(&openid)).is_err(), "another client");
        assert!(read_of(&special, &openid).unwrap().code_challenge.is_some(), "it may send both");
        let plain = [("code_challenge_method", Some("plain"))];
        assert!(read_of(&special, &[&openid[..], &plain].concat()).is_err());
    }

    #[test]
    fn a_client_uses_the_endpoint_only_with_its_grant_type() {
        let machine = client(&json!({ "grant_types": ["client_credentials"] }));
        let Err(AuthorizationError::Redirected(redirected)) = read_of(&machine, &[]) else { panic!() };
        assert_eq!(redirected.error.code, OAuthErrorCode::UnauthorizedClient);
    }

    #[test]
    fn the_scope_is_all_that_the_client_may_have_if_it_asks_for_none() {
        assert_eq!(read(&[("scope", None)]).unwrap().scope.as_str(), "openid read write");
        assert_eq!(read(&[("scope", Some("write read write"))]).unwrap().scope.as_str(), "write read");
    }

    #[test]
    fn an_answer_has_state_and_issuer_and_keeps_the_query() {
        let request = read(&[]).unwrap();
        let rest = "&state=af0if%20jsldkj%26%3D%C3%A9&iss=https%3A%2F%2Fas.example";
        let start = "https://client.example/cb?tenant=7";
        assert_eq!(request.location_with_code("c", "https://as.example"), format!("{start}&code=c{rest}"));
        let refused = request.refused(OAuthError::new(OAuthErrorCode::AccessDenied, "the user said no"));
        let error = "&error=access_denied&error_description=the%20user%20said%20no";
        assert_eq!(refused.location("https://as.example"), format!("{start}{error}{rest}"));
        let stateless = read(&[("state", Some(""))]).unwrap();
        assert_eq!(stateless.location_with_code("c", "i"), format!("{start}&code=c&iss=i"));
    }

    #[test]
    fn a_request_ends_with_what_the_client_may() {
        let request = read(&[]).unwrap();
        assert_eq!(request.check_still_allowed(&client(&json!({}))), Ok(()));
        for changed in [
            client(&json!({ "redirect_uris": ["https://client.example/other"] })),
            client(&json!({ "scope": "write" })),
            client(&json!({ "grant_types": ["client_credentials"] })),
            Client { generation: 4, ..client(&json!({})) },
            Client { id: ClientId::parse("other").unwrap(), ..client(&json!({})) },
        ] {
            assert!(request.check_still_allowed(&changed).is_err(), "{changed:?}");
        }
    }

    #[test]
    fn a_request_does_not_print_what_is_the_clients() {
        let printed = format!("{:?}", read(&[("nonce", Some("secret"))]).unwrap());
        assert!(!printed.contains("secret") && !printed.contains("af0if"), "{printed}");
    }
}
