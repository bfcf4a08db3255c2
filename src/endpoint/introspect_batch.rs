//! `POST /oauth2/introspect/batch`: many tokens in one request, each under the rules of RFC 7662.

use std::borrow::Cow;

use serde::Deserialize;

use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::introspect::write_introspection;
use crate::endpoint::loaded::LoadedRequest;
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::read_object;
use crate::oauth::error::OAuthError;
use crate::token::access_token::TokenReference;

/// The most tokens of one request.
const TOKENS_MAX: usize = 1000;
/// The largest body, in bytes: room for 1,000 tokens of 2 KiB.
pub(super) const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Room for a usual response to one token.
const RESPONSE_BYTES_USUAL: usize = 256;

pub(super) fn answer(request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
    request.fields.expect_content("application/json")?;
    let clients = request.service.registry.read();
    let caller = authenticate(&clients, &request.fields, None)?;
    let batch = BatchRequest::parse(request.body)?;
    body.reserve(RESPONSE_BYTES_USUAL * batch.tokens.len());
    body.extend_from_slice(br#"{"results":["#);
    let references: Vec<_> = batch.tokens().map(TokenReference::of).collect();
    let tokens = request.service.shards.read();
    for found in tokens.find_all_active(&references, request.now) {
        write_introspection(caller, found?, body);
        body.push(b',');
    }
    // In place of the last comma.
    body.pop_if(|last| *last == b',');
    body.extend_from_slice(b"]}");
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest<'a> {
    #[serde(borrow)]
    tokens: Vec<Token<'a>>,
}

impl<'a> BatchRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, OAuthError> {
        let batch: Self = read_object(body)
            .map_err(|error| OAuthError::invalid_request(format!("the body must be {{'tokens': ['...']}}: {error}")))?;
        if batch.tokens.len() > TOKENS_MAX {
            return Err(OAuthError::invalid_request("there are more than 1000 tokens"));
        }
        Ok(batch)
    }

    pub(super) fn tokens(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tokens.iter().map(|Token(token)| &**token)
    }
}

#[derive(Deserialize)]
struct Token<'a>(#[serde(borrow)] Cow<'a, str>);
