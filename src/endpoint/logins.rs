//! `/admin/v1/logins/{challenge}`: what the operator's own login page asks and decides (`--login-url`).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, ServiceConfig};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::endpoint::admin::{Access, Asked, administer_at};
use crate::endpoint::operator_login::{
    Afterwards, CHALLENGE_SECONDS, Challenge, LoginChallengeError, LoginProof, OperatorLogin, Presented,
};
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, read_object};
use crate::endpoint::{authorize, logout};
use crate::grant::authorization::AuthorizationRequest;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::subject::Subject;
use crate::telemetry::http::Endpoint;

pub(super) fn configure(access: Access, app: &mut ServiceConfig) {
    let shown = super::only_get("/admin/v1/logins/{challenge}", web::get().to(show)).app_data(Data::new(access));
    let accepted = "/admin/v1/logins/{challenge}/accept";
    let accepted = super::only_post(accepted, web::post().to(accept)).app_data(Data::new(access));
    let rejected = "/admin/v1/logins/{challenge}/reject";
    let rejected = super::only_post(rejected, web::post().to(reject)).app_data(Data::new(access));
    app.service(shown).service(accepted).service(rejected);
}

async fn show(asked: Asked, challenge: Path<String>) -> HttpResponse {
    administer_at(Endpoint::AdminLogins, asked, async |request| {
        let challenge = read(request, &challenge)?;
        let expires_at = challenge.sealed_at.as_seconds().saturating_add(u64::from(CHALLENGE_SECONDS));
        let client;
        let body = match &challenge.content.afterwards {
            Afterwards::Authorize(interrupted) => {
                client = request.service.registry.find(interrupted.request.client_id.as_str());
                ChallengeDocument::of_request(&interrupted.request, client.as_deref(), expires_at)
            }
            Afterwards::Account => ChallengeDocument::of_page("account", expires_at),
            Afterwards::Device { .. } => ChallengeDocument::of_page("device", expires_at),
        };
        Ok(json_response(StatusCode::OK).body(serde_json::to_string(&body).unwrap_or_default()))
    })
    .await
}

async fn accept(asked: Asked, challenge: Path<String>) -> HttpResponse {
    administer_at(Endpoint::AdminLogins, asked, async |request| {
        let AcceptDocument { subject, amr, acr, session_lifetime_seconds } = read_json(request)?;
        let subject = Subject::parse(&subject).map_err(|error| OAuthError::invalid_request(error.to_string()))?;
        check_amr(&amr)?;
        check_acr(acr.as_deref())?;
        let session_lifetime_seconds = session_lifetime_seconds.filter(|seconds| *seconds > 0);
        let proof = LoginProof { amr, acr, session_lifetime_seconds };
        let challenge = read(request, &challenge)?;
        let service = request.service;
        operator(request)?.decide(&challenge, request.now)?;
        let content = challenge.content;
        let verifier =
            OperatorLogin::verifier(&service.sealer, content, &subject, proof, request.now, &*service.random)?;
        let base = service.issuer.trim_end_matches('/');
        Ok(redirecting(&format!("{base}{}?login_verifier={verifier}", authorize::PATH)))
    })
    .await
}

async fn reject(asked: Asked, challenge: Path<String>) -> HttpResponse {
    administer_at(Endpoint::AdminLogins, asked, async |request| {
        let RejectDocument { error, error_description } = read_json(request)?;
        let description = checked_description(error_description)?;
        let challenge = read(request, &challenge)?;
        operator(request)?.decide(&challenge, request.now)?;
        let error = OAuthError::new(error.unwrap_or(RejectError::AccessDenied).code(), description);
        let issuer = &request.service.issuer;
        Ok(redirecting(&match challenge.content.afterwards {
            Afterwards::Authorize(interrupted) => interrupted.request.refused(error).location(issuer),
            // There is no client to tell.
            Afterwards::Account | Afterwards::Device { .. } => {
                format!("{}{}", issuer.trim_end_matches('/'), logout::PATH)
            }
        }))
    })
    .await
}

fn operator<'a>(request: &Arrived<'a>) -> Result<&'a OperatorLogin, Rejection> {
    Ok(request.service.operator_login.as_ref().ok_or(LoginChallengeError::NotConfigured)?)
}

fn read(request: &Arrived<'_>, challenge: &str) -> Result<Presented<Challenge>, Rejection> {
    Ok(operator(request)?.read(&request.service.sealer, challenge, request.now)?)
}

fn read_json<'a, T: Deserialize<'a>>(request: &'a Arrived<'_>) -> Result<T, Rejection> {
    request.expect_content("application/json")?;
    Ok(read_object(&request.body).map_err(|error| OAuthError::invalid_request(error.to_string()))?)
}

fn redirecting(location: &str) -> HttpResponse {
    let body = RedirectDocument { redirect_to: location };
    json_response(StatusCode::OK).body(serde_json::to_string(&body).unwrap_or_default())
}

/// RFC 8176: short names.
fn check_amr(amr: &[String]) -> Result<(), OAuthError> {
    let is_name = |name: &String| (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if amr.len() <= AMR_MAX && amr.iter().all(is_name) {
        return Ok(());
    }
    Err(OAuthError::invalid_request("amr must be at most 8 names of 1 to 32 characters of visible ASCII"))
}

const AMR_MAX: usize = 8;

fn check_acr(acr: Option<&str>) -> Result<(), OAuthError> {
    let is_name = |name: &str| (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if acr.is_none_or(is_name) {
        return Ok(());
    }
    Err(OAuthError::invalid_request("acr must have 1 to 255 characters of visible ASCII"))
}

/// RFC 6749 §4.1.2.1 bounds its characters.
fn checked_description(description: Option<String>) -> Result<String, OAuthError> {
    let description = description.unwrap_or_else(|| "the login was refused".to_owned());
    let is_allowed = |byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
    if description.len() <= 300 && description.bytes().all(is_allowed) {
        return Ok(description);
    }
    let text =
        "error_description must have at most 300 characters of printable ASCII without quotation marks and backslashes";
    Err(OAuthError::invalid_request(text))
}

/// What is wanted of the login page: for the request of a client, or for a page of the server's own.
#[derive(Default, Serialize)]
struct ChallengeDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_hint: Option<&'a str>,
    expires_at: u64,
}

impl<'a> ChallengeDocument<'a> {
    fn of_request(asked: &'a AuthorizationRequest, client: Option<&'a Client>, expires_at: u64) -> Self {
        Self {
            page: None,
            client_id: Some(asked.client_id.as_str()),
            client_name: client.and_then(|client| client.metadata.name.as_deref()),
            scope: Some(asked.scope.as_str()),
            prompt: asked.prompt.to_text(),
            max_age: asked.max_age,
            login_hint: asked.login_hint.as_deref(),
            expires_at,
        }
    }

    fn of_page(page: &'static str, expires_at: u64) -> Self {
        Self { page: Some(page), expires_at, ..Self::default() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptDocument {
    subject: String,
    #[serde(default)]
    amr: Vec<String>,
    acr: Option<String>,
    /// At most `session_lifetime_seconds` of the configuration counts, which is also what 0 and nothing mean.
    session_lifetime_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectDocument {
    error: Option<RejectError>,
    error_description: Option<String>,
}

/// What a client can be told of a login that came to nothing.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RejectError {
    AccessDenied,
    LoginRequired,
    InteractionRequired,
    ServerError,
    TemporarilyUnavailable,
}

impl RejectError {
    const fn code(self) -> OAuthErrorCode {
        match self {
            Self::AccessDenied => OAuthErrorCode::AccessDenied,
            Self::LoginRequired => OAuthErrorCode::LoginRequired,
            Self::InteractionRequired => OAuthErrorCode::InteractionRequired,
            Self::ServerError => OAuthErrorCode::ServerError,
            Self::TemporarilyUnavailable => OAuthErrorCode::TemporarilyUnavailable,
        }
    }
}

#[derive(Serialize)]
struct RedirectDocument<'a> {
    redirect_to: &'a str,
}
