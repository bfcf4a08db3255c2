//! `POST /oauth2/device_authorization` (RFC 8628 §3.1): a device asks for a code that a person types elsewhere.

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::endpoint::client_address::client_address;
use crate::endpoint::client_authentication::identify_slowly;
use crate::endpoint::form::Form;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::{Service, Worker};
use crate::grant::{self, client_credentials};
use crate::oauth::grant_type::GrantType;
use crate::shard::ShardError;
use crate::shard::people::{NewDevice, PersonError};
use crate::telemetry::http::Endpoint;
use crate::token::code::{Code, CodeKind};
use crate::token::grant::GrantTerms;
use crate::token::grant_id::GrantId;
use crate::token::person::POLL_INTERVAL_SECONDS;
use crate::token::user_code::UserCode;

/// How long a device waits for a person, in seconds.
const DEVICE_SECONDS: u32 = 600;
/// Where a person types the code, behind the issuer.
pub(super) const VERIFICATION_PATH: &str = "/device";
/// User codes that are drawn before it is given up: two of a million that wait are alike in one of 28,000 draws.
const DRAWS_MAX: usize = 5;

pub(super) async fn authorize(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    let (head, payload) = (http.head(), payload.into_inner());
    serve(&worker, Endpoint::DeviceAuthorization, head, payload, FORM_BYTES_MAX, async |request| {
        let from = client_address(request.head, &request.service.trusted_proxies);
        answer(&request, from).await
    })
    .await
}

async fn answer(request: &Arrived<'_>, from: Option<IpAddr>) -> Result<HttpResponse, Rejection> {
    request.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse_with_resources(&request.body)?;
    let client = identify_slowly(request, &form).await?;
    grant::allow(&client, GrantType::DeviceCode)?;
    client.note_use(request.now);
    let service = request.service;
    let terms =
        client_credentials::decide(form.find("scope"), form.resources(), &client, &service.defaults, request.now)?
            .terms;
    let quota = service.shards.device_quota();
    if !quota.take(&client.id) {
        return Err(Rejection::TooManyDevices);
    }
    let requested_at = request.now.as_seconds_u32();
    let stored = store(service, &terms, from, requested_at).await;
    // What is stored is given back by its shard.
    let (code, user_code) = stored.inspect_err(|_| quota.give_back(&client.id))?;
    let verification_uri = format!("{}{VERIFICATION_PATH}", service.issuer.trim_end_matches('/'));
    let body = DeviceResponse {
        device_code: code.reveal(),
        user_code: user_code.to_string(),
        verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
        verification_uri,
        expires_in: DEVICE_SECONDS,
        interval: POLL_INTERVAL_SECONDS,
    };
    Ok(json_response(StatusCode::OK).body(serde_json::to_string(&body).unwrap_or_default()))
}

async fn store(
    service: &Service,
    terms: &GrantTerms,
    requested_from: Option<IpAddr>,
    requested_at: u32,
) -> Result<(Code, UserCode), Rejection> {
    for draw in 1.. {
        let (code, user_code) = mint(service).map_err(|_| Rejection::NoRandomness)?;
        let device = NewDevice {
            code: code.reference(),
            terms: terms.clone(),
            requested_from,
            requested_at,
            expires_at: requested_at.saturating_add(DEVICE_SECONDS),
        };
        match service.shards.store_device(device).await {
            Ok(()) => return Ok((code, user_code)),
            Err(PersonError::Shard(ShardError::Busy)) if draw < DRAWS_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ShardError::Busy.into())
}

fn mint(service: &Service) -> Result<(Code, UserCode), ring::error::Unspecified> {
    let user_code = UserCode::random(&*service.random)?;
    let grant_id = GrantId::random_of(service.user_code_key.routing_id(&user_code), &*service.random)?;
    Ok((Code::random(CodeKind::Device, grant_id, &*service.random)?, user_code))
}

/// RFC 8628 §3.2
#[derive(Serialize)]
struct DeviceResponse<'a> {
    device_code: &'a str,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u32,
    interval: u32,
}
