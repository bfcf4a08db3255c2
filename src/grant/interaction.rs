//! What stands between an authorization request and its code: a login, a consent, or nothing (`OpenID` Connect Core §3.1.2.3 and
//! §3.1.2.4).

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::clock::UnixTime;
use crate::grant::authorization::AuthorizationRequest;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::scope::Scope;
use crate::oauth::subject::Subject;

/// The session of the browser that asks, if it is live.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Names the session: a new one at every login.
    pub session_id: &'a str,
    /// When the person proved who they are.
    pub auth_time: UnixTime,
    /// Who.
    pub subject: &'a Subject,
    /// How sure that is, where somebody has said so.
    pub acr: Option<&'a str>,
}

/// A request that comes back from the login page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The request.
    pub request: AuthorizationRequest,
    /// The session that the browser had when it was sent to log in.
    pub session_id: Option<String>,
    /// When that was, in seconds since the epoch.
    pub asked_at_seconds: u64,
}

impl Interrupted {
    /// Whether somebody has logged in since.
    fn is_followed_by(&self, login: Login<'_>) -> bool {
        let is_other = self.session_id.as_deref() != Some(login.session_id);
        is_other && login.auth_time.as_seconds() >= self.asked_at_seconds
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The person has to log in.
    ShowLogin,
    /// The person has to say whether the client may have this.
    ShowConsent,
    /// The client gets its code.
    IssueCode,
    /// The client is told.
    Refuse(OAuthError),
}

/// Decides about a request: `interrupted` is what it was when the browser was sent to log in, `consented` what the person has
/// allowed the client before.
#[must_use]
pub fn decide(
    request: &AuthorizationRequest,
    client: &Client,
    login: Option<Login<'_>>,
    interrupted: Option<&Interrupted>,
    consented: Option<&Scope>,
    now: UnixTime,
) -> Step {
    let is_logged_in = login.is_some_and(|login| is_login_enough(request, login, interrupted, now));
    let is_meant = login.is_none_or(|login| request.subject.as_ref().is_none_or(|meant| meant == login.subject));
    let is_sure = login.is_none_or(|login| is_sure_enough(request, login));
    if login.zip(interrupted).is_some_and(|(login, interrupted)| interrupted.is_followed_by(login)) {
        // Whoever has logged in for this request would do the same again.
        if !is_meant {
            let description = "another user has logged in than the one that was asked for";
            return Step::Refuse(OAuthError::new(OAuthErrorCode::LoginRequired, description));
        }
        if !is_sure {
            let description = "no acr that is essential to the request was reached";
            return Step::Refuse(OAuthError::new(OAuthErrorCode::AccessDenied, description));
        }
    }
    if !is_logged_in || !is_meant || !is_sure {
        let description = "the user would have to log in";
        return or_refuse(request, Step::ShowLogin, OAuthErrorCode::LoginRequired, description);
    }
    if !is_consent_enough(request, client, consented) {
        let description = "the user would have to consent";
        return or_refuse(request, Step::ShowConsent, OAuthErrorCode::ConsentRequired, description);
    }
    Step::IssueCode
}

/// `prompt=none`: no page is shown.
fn or_refuse(request: &AuthorizationRequest, step: Step, code: OAuthErrorCode, description: &'static str) -> Step {
    if request.prompt.is_none { Step::Refuse(OAuthError::new(code, description)) } else { step }
}

/// Whether the login is as recent as the request wants it. One that was made for this request always is: otherwise
/// `max_age=0` would never end.
fn is_login_enough(
    request: &AuthorizationRequest,
    login: Login<'_>,
    interrupted: Option<&Interrupted>,
    now: UnixTime,
) -> bool {
    let is_new = interrupted.is_some_and(|interrupted| interrupted.is_followed_by(login));
    let age_ms = now.as_millis().saturating_sub(login.auth_time.as_millis());
    let is_recent = request.max_age.is_none_or(|max_age| age_ms <= u64::from(max_age).saturating_mul(1000));
    // With `max_age=0` every login is too old (OpenID Connect Core §3.1.2.1).
    let wants_new = request.prompt.has_login || request.prompt.has_select_account || request.max_age == Some(0);
    is_new || (is_recent && !wants_new)
}

/// Whether the login is of one of the kinds that are essential (`OpenID` Connect Core §5.5.1.1).
fn is_sure_enough(request: &AuthorizationRequest, login: Login<'_>) -> bool {
    let essential = request.claims.as_ref().map(ClaimsRequest::essential_acr).unwrap_or_default();
    essential.is_empty() || login.acr.is_some_and(|acr| essential.iter().any(|wanted| wanted == acr))
}

/// Whether the person need not be asked.
fn is_consent_enough(request: &AuthorizationRequest, client: &Client, consented: Option<&Scope>) -> bool {
    if client.metadata.skip_consent {
        return true;
    }
    // Any program on the device can pass for such a client: that it is the one the person allowed is for them to say again.
    let is_known = client.metadata.is_proven_at(&request.redirect_uri);
    let is_allowed = consented.is_some_and(|consented| request.consent_scope().is_subset_of(consented));
    is_known && is_allowed && !request.prompt.has_consent
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::client::Credential;
    use crate::client::id::ClientId;
    use crate::client::metadata::ClientMetadata;
    use crate::grant::authorization::AuthorizationParameters;

    const NOW: UnixTime = UnixTime::from_seconds(1_000);

    fn client(more: &Value) -> Client {
        let mut document = json!({
            "grant_types": ["authorization_code"], "redirect_uris": ["https://client.example/cb"], "scope": "read write",
        });
        for (member, value) in more.as_object().unwrap() {
            document[member] = value.clone();
        }
        Client {
            id: ClientId::parse("app").unwrap(),
            metadata: ClientMetadata::parse(&serde_json::from_value(document).unwrap()).unwrap(),
            credential: Credential::Missing,
            created_at: NOW,
            generation: 1,
            in_force: Arc::default(),
            registration: None,
        }
    }

    fn request(client: &Client, more: &[(&str, &str)]) -> AuthorizationRequest {
        let good = [
            ("response_type", "code"),
            ("scope", "read"),
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
        ];
        AuthorizationParameters(&[&good[..], more].concat()).read(client).unwrap()
    }

    /// The session `b`, which began so many seconds ago, of a person who has allowed `consented`; `before` is the session that the
    /// browser had when it was sent to log in, a minute ago.
    #[track_caller]
    fn check(
        more: &[(&str, &str)],
        age: Option<u64>,
        before: Option<Option<&str>>,
        consented: Option<&str>,
        expected: &Step,
    ) {
        check_of(&client(&json!({})), more, age, before, consented, expected);
    }

    #[track_caller]
    fn check_of(
        client: &Client,
        more: &[(&str, &str)],
        age: Option<u64>,
        before: Option<Option<&str>>,
        consented: Option<&str>,
        expected: &Step,
    ) {
        let request = request(client, more);
        let subject = Subject::parse("ann").unwrap();
        let login = age.map(|age| Login {
            session_id: "b",
            auth_time: UnixTime::from_seconds(1_000 - age),
            subject: &subject,
            acr: Some("urn:usual"),
        });
        let interrupted = before.map(|session| Interrupted {
            request: request.clone(),
            session_id: session.map(str::to_owned),
            asked_at_seconds: 940,
        });
        let consented = consented.map(|scope| Scope::parse(scope).unwrap());
        let step = decide(&request, client, login, interrupted.as_ref(), consented.as_ref(), NOW);
        assert_eq!(step, *expected, "{more:?} {age:?} {before:?} {consented:?}");
    }

    const LONG_AGO: Option<u64> = Some(900);
    const JUST_NOW: Option<u64> = Some(0);

    fn refused(code: OAuthErrorCode, what: &'static str) -> Step {
        Step::Refuse(OAuthError::new(code, format!("the user would have to {what}")))
    }

    #[test]
    fn a_person_logs_in_and_consents_once() {
        check(&[], None, None, None, &Step::ShowLogin);
        check(&[], None, None, Some("read"), &Step::ShowLogin);
        check(&[], LONG_AGO, None, None, &Step::ShowConsent);
        check(&[], LONG_AGO, None, Some("write"), &Step::ShowConsent);
        check(&[], LONG_AGO, None, Some("write read"), &Step::IssueCode);
    }

    #[test]
    fn prompt_none_shows_no_page() {
        let none = [("prompt", "none")];
        check(&none, None, None, Some("read"), &refused(OAuthErrorCode::LoginRequired, "log in"));
        check(&none, LONG_AGO, None, None, &refused(OAuthErrorCode::ConsentRequired, "consent"));
        check(&none, LONG_AGO, None, Some("read"), &Step::IssueCode);
        let too_old = [("prompt", "none"), ("max_age", "899")];
        check(&too_old, LONG_AGO, None, Some("read"), &refused(OAuthErrorCode::LoginRequired, "log in"));
    }

    #[test]
    fn a_login_that_was_asked_for_is_made_for_this_request() {
        for more in [("prompt", "login"), ("prompt", "select_account"), ("max_age", "0")] {
            check(&[more], JUST_NOW, None, Some("read"), &Step::ShowLogin);
            check(&[more], JUST_NOW, Some(Some("b")), Some("read"), &Step::ShowLogin);
            check(&[more], JUST_NOW, Some(Some("a")), Some("read"), &Step::IssueCode);
            check(&[more], Some(60), Some(None), Some("read"), &Step::IssueCode);
            // A session that was there before, in another browser.
            check(&[more], Some(61), Some(None), Some("read"), &Step::ShowLogin);
        }
    }

    #[test]
    fn max_age_bounds_the_age_of_the_login() {
        check(&[("max_age", "900")], LONG_AGO, None, Some("read"), &Step::IssueCode);
        check(&[("max_age", "899")], LONG_AGO, None, Some("read"), &Step::ShowLogin);
        check(&[("max_age", "899")], LONG_AGO, Some(Some("b")), Some("read"), &Step::ShowLogin);
        check(&[("max_age", "10")], Some(30), Some(Some("a")), Some("read"), &Step::IssueCode);
    }

    #[test]
    fn prompt_consent_asks_again() {
        check(&[("prompt", "consent")], LONG_AGO, None, Some("read"), &Step::ShowConsent);
        check(&[("prompt", "login consent")], JUST_NOW, Some(None), Some("read"), &Step::ShowConsent);
    }

    #[test]
    fn the_operators_own_applications_need_no_consent() {
        let own = client(&json!({ "skip_consent": true }));
        check_of(&own, &[], LONG_AGO, None, None, &Step::IssueCode);
        check_of(&own, &[], None, None, None, &Step::ShowLogin);
    }

    #[test]
    fn a_client_that_anybody_on_the_device_can_pass_for_is_asked_about_each_time() {
        let public = json!({
            "token_endpoint_auth_method": "none", "application_type": "native", "redirect_uris": ["com.example.app:/cb"],
        });
        check_of(&client(&public), &[], LONG_AGO, None, Some("read"), &Step::ShowConsent);
        let none = [("prompt", "none")];
        let expected = refused(OAuthErrorCode::ConsentRequired, "consent");
        check_of(&client(&public), &none, LONG_AGO, None, Some("read"), &expected);
        let browser = json!({ "token_endpoint_auth_method": "none" });
        check_of(&client(&browser), &[], LONG_AGO, None, Some("read"), &Step::IssueCode);
    }
}
