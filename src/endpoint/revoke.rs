//! `POST /oauth2/revoke` (RFC 7009).

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::StatusCode;

use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::form::Form;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::Worker;
use crate::telemetry::http::Endpoint;
use crate::token::access_token::TokenReference;

pub(super) async fn revoke(worker: &Worker, head: &RequestHead, payload: Payload) -> HttpResponse {
    serve(worker, Endpoint::Revoke, head, payload, FORM_BYTES_MAX, answer).await
}

/// RFC 7009 §2.2: a token that is unknown or invalid is answered 200 too, for the purpose of the request is reached.
async fn answer(request: Arrived<'_>) -> Result<HttpResponse, Rejection> {
    request.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(&request.body)?;
    let caller = authenticate(&request.service.registry, request.headers(), Some(&form))?;
    if let Some(reference) = TokenReference::of(form.require("token")?) {
        request.service.shards.revoke(reference, &caller.id, request.now).await?;
    }
    Ok(json_response(StatusCode::OK).body("{}"))
}
