//! `POST /oauth2/token` (RFC 6749 §3.2).

use std::sync::Arc;

use serde::Serialize;

use crate::client::Client;
use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::form::Form;
use crate::endpoint::loaded::LoadedRequest;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::Service;
use crate::grant::{Granted, TokenRequest, decide};
use crate::shard::message::IssueToken;
use crate::token::access_token::AccessToken;

pub(super) async fn answer(request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
    request.fields.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(request.body)?;
    let client = Arc::clone(authenticate(&request.service.registry.read(), &request.fields, Some(&form))?);
    let token_request = TokenRequest { grant_type: form.require("grant_type")?, scope: form.find("scope") };
    let granted = decide(&token_request, &client, &request.service.defaults, request.now)?;
    let token = issue(request.service, &client, &granted).await?;
    let response = TokenResponse {
        access_token: token.reveal(),
        token_type: "Bearer",
        expires_in: granted.expires_at.saturating_sub(granted.issued_at),
        scope: granted.terms.scope.as_str(),
    };
    // Text and numbers can always be written, and a vector takes all.
    serde_json::to_writer(body, &response).unwrap_or_default();
    Ok(())
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
