//! `POST /oauth2/par` (RFC 9126): an authorization request that comes from the client itself, before the browser.
//!
//! Nothing is kept: the request goes back to the client, sealed, as the name that the browser will bring.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::clock::UnixTime;
use crate::endpoint::authorize;
use crate::endpoint::client_authentication::identify_slowly;
use crate::endpoint::form::Form;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::{Service, Worker};
use crate::grant::authorization::{AuthorizationParameters, AuthorizationRequest};
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::signing::seal::Purpose;
use crate::telemetry::http::Endpoint;

/// How every `request_uri` begins that this server gives (RFC 9126 §2.2).
pub(super) const REQUEST_URI_PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
/// How long a pushed request may be used, in seconds.
const PUSHED_SECONDS: u32 = 90;

pub(super) async fn push(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Par, http.head(), payload.into_inner(), FORM_BYTES_MAX, async |request| {
        answer(&request).await
    })
    .await
}

async fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    request.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse_with_repeats(&request.body)?;
    let pairs: Vec<_> = form.pairs().collect();
    let parameters = AuthorizationParameters(&pairs);
    if parameters.has_repeats() {
        return Err(OAuthError::invalid_request("a parameter is repeated").into());
    }
    let client = identify_slowly(request, &form).await?;
    client.note_use(request.now);
    if form.find("request_uri").is_some() {
        return Err(OAuthError::invalid_request("a request that is pushed must not have a request_uri").into());
    }
    let service = request.service;
    let pushed = authorize::read(service, &parameters, &client).map_err(|error| error.error().clone())?;
    let content = serde_json::to_vec(&pushed).unwrap_or_default();
    let sealed = service.sealer.seal(Purpose::PushedRequest, &content, request.now, &*service.random)?;
    let body = PushedResponse { request_uri: format!("{REQUEST_URI_PREFIX}{sealed}"), expires_in: PUSHED_SECONDS };
    Ok(json_response(StatusCode::CREATED).body(serde_json::to_string(&body).unwrap_or_default()))
}

/// RFC 9126 §2.2
#[derive(Serialize)]
struct PushedResponse {
    request_uri: String,
    expires_in: u32,
}

/// The request that a `request_uri` names. It may be used until it expires, as RFC 9126 §4 allows for a page that is reloaded.
///
/// # Errors
///
/// `invalid_request_uri` when it names none, or one that has expired.
pub(super) fn open(service: &Service, request_uri: &str, now: UnixTime) -> Result<AuthorizationRequest, OAuthError> {
    let invalid = |description: String| OAuthError::new(OAuthErrorCode::InvalidRequestUri, description);
    let sealed = request_uri.strip_prefix(REQUEST_URI_PREFIX).unwrap_or_default();
    let opened = service
        .sealer
        .open(Purpose::PushedRequest, sealed, PUSHED_SECONDS, now)
        .map_err(|error| invalid(format!("the request_uri is not usable: {error}")))?;
    serde_json::from_slice(&opened.content).map_err(|_| invalid("the request_uri is of another version".to_owned()))
}
