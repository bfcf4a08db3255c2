//! `POST /oauth2/introspect` (RFC 7662).

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;

use crate::client::Client;
use crate::clock::UnixTime;
use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::form::Form;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::{Service, Worker};
use crate::telemetry::http::Endpoint;
use crate::token::access_token::TokenReference;
use crate::token::table::FoundToken;

pub(super) async fn introspect(worker: &Worker, head: &RequestHead, payload: Payload) -> HttpResponse {
    serve(worker, Endpoint::Introspect, head, payload, FORM_BYTES_MAX, async |request| answer(&request)).await
}

fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    request.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(&request.body)?;
    let caller = authenticate(&request.service.registry, request.headers(), Some(&form))?;
    let mut body = String::with_capacity(RESPONSE_BYTES_USUAL);
    write_introspection(request.service, &caller, form.require("token")?, request.now, &mut body)?;
    Ok(json_response(StatusCode::OK).body(body))
}

/// Room for a usual response, so that it is allocated once.
pub(super) const RESPONSE_BYTES_USUAL: usize = 384;

/// Writes the introspection response (RFC 7662 §2.2) of one token, as `caller` may see it. A token that is unknown, expired,
/// revoked, or not for the caller's eyes is inactive, and nothing tells which.
pub(super) fn write_introspection(
    service: &Service,
    caller: &Client,
    token: &str,
    now: UnixTime,
    body: &mut String,
) -> Result<(), Rejection> {
    let found = match TokenReference::of(token) {
        Some(reference) => service.shards.find_active(reference, now)?,
        None => None,
    };
    match found.filter(|found| may_see(caller, found)) {
        Some(found) => write_active(&found, body),
        None => body.push_str(r#"{"active":false}"#),
    }
    Ok(())
}

fn may_see(caller: &Client, found: &FoundToken) -> bool {
    let terms = found.grant.terms();
    caller.metadata.introspection.allows(&caller.id, &terms.client_id, &terms.audience)
}

fn write_active(found: &FoundToken, body: &mut String) {
    let mut digits = itoa::Buffer::new();
    body.push_str(r#"{"active":true,"#);
    body.push_str(found.grant.introspection());
    body.push_str(r#","exp":"#);
    body.push_str(digits.format(found.expires_at));
    body.push_str(r#","iat":"#);
    body.push_str(digits.format(found.issued_at));
    body.push('}');
}
