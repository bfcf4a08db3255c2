//! `POST /oauth2/token` (RFC 6749 §3.2).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use serde::Serialize;

use crate::client::Client;
use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::form::Form;
use crate::endpoint::reject::{PRAGMA, Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::{Service, Worker};
use crate::grant::{Granted, TokenRequest, decide};
use crate::shard::message::IssueToken;
use crate::telemetry::http::Endpoint;
use crate::token::access_token::AccessToken;

pub(super) async fn token(worker: &Worker, head: &RequestHead, payload: Payload) -> HttpResponse {
    serve(worker, Endpoint::Token, head, payload, FORM_BYTES_MAX, answer).await
}

async fn answer(request: Arrived<'_>) -> Result<HttpResponse, Rejection> {
    request.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(&request.body)?;
    let client = authenticate(&request.service.registry, request.headers(), Some(&form))?;
    let token_request = TokenRequest { grant_type: form.require("grant_type")?, scope: form.find("scope") };
    let granted = decide(&token_request, &client, &request.service.defaults, request.now)?;
    let token = issue(request.service, &client, &granted).await?;
    let body = TokenResponse {
        access_token: token.reveal(),
        token_type: "Bearer",
        expires_in: granted.expires_at.saturating_sub(granted.issued_at),
        scope: granted.terms.scope.as_str(),
    };
    let mut response = json_response(StatusCode::OK);
    response.insert_header(PRAGMA);
    Ok(response.body(serde_json::to_string(&body).unwrap_or_default()))
}

/// Mints a token and gives it to its shard; it is nobody's before the shard has answered.
async fn issue(service: &Service, client: &Client, granted: &Granted) -> Result<AccessToken, Rejection> {
    let token = AccessToken::random(&*service.random).map_err(|_| Rejection::NoRandomness)?;
    let issued = IssueToken {
        reference: token.reference(),
        issued_at: granted.issued_at,
        expires_at: granted.expires_at,
        terms: Arc::clone(&granted.terms),
        in_force: Arc::clone(&client.in_force),
    };
    service.shards.issue(issued).await?;
    Ok(token)
}

/// RFC 6749 §5.1. The scope is always named: it may be another than the one that was asked for.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}
