//! `POST /oauth2/introspect/batch`: many tokens in one request, each under the rules of RFC 7662.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;
use serde::Deserialize;

use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::introspect::{RESPONSE_BYTES_USUAL, write_introspection};
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, read_object, serve};
use crate::endpoint::service::Worker;
use crate::oauth::error::OAuthError;
use crate::telemetry::http::Endpoint;

/// The most tokens of one request.
const TOKENS_MAX: usize = 1000;
/// The largest body, in bytes: room for 1,000 tokens of 2 KiB.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

pub(super) async fn introspect_batch(worker: &Worker, head: &RequestHead, payload: Payload) -> HttpResponse {
    serve(worker, Endpoint::IntrospectBatch, head, payload, BODY_BYTES_MAX, async |request| answer(&request)).await
}

fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    request.expect_content("application/json")?;
    let caller = authenticate(&request.service.registry, request.headers(), None)?;
    let batch = BatchRequest::parse(&request.body)?;
    let mut body = String::with_capacity(RESPONSE_BYTES_USUAL * batch.tokens.len() + 16);
    body.push_str(r#"{"results":["#);
    for (number, token) in batch.tokens().enumerate() {
        if number > 0 {
            body.push(',');
        }
        write_introspection(request.service, &caller, token, request.now, &mut body)?;
    }
    body.push_str("]}");
    Ok(json_response(StatusCode::OK).body(body))
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
