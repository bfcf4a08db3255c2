//! `/admin/v1/initial-access-tokens`: by what right clients register themselves (RFC 7591 §1.2), to make, to list and to revoke.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, ServiceConfig};
use serde::{Deserialize, Serialize};

use crate::client::actor::{ClientError, CreateInitialAccess, RevokeInitialAccess, ask};
use crate::client::initial_access::{
    INITIAL_ACCESS_SECONDS_MAX, InitialAccessId, InitialAccessRefused, InitialAccessToken, LABEL_BYTES_MAX,
};
use crate::client::name::check_visible;
use crate::client::registration_policy::{RegistrationPolicy, RegistrationPolicyDocument};
use crate::clock::UnixTime;
use crate::endpoint::admin::{ADMIN_SCOPE, Access, Asked, administer_at, done};
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, read_object};
use crate::oauth::error::OAuthError;
use crate::telemetry::http::Endpoint;

/// How long one lives that does not say, in seconds: a week.
const LIFETIME_SECONDS_USUAL: u32 = 604_800;

pub(super) fn configure(access: Access, app: &mut ServiceConfig) {
    let tokens = web::resource("/admin/v1/initial-access-tokens")
        .route(web::get().to(list))
        .route(web::post().to(create))
        .default_service(web::to(super::post_or_get_allowed));
    let token = web::resource("/admin/v1/initial-access-tokens/{id}")
        .route(web::delete().to(revoke))
        .default_service(web::to(super::delete_allowed));
    app.service(tokens.app_data(Data::new(access))).service(token.app_data(Data::new(access)));
}

async fn administer(
    asked: Asked,
    answer: impl AsyncFnOnce(&Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    administer_at(Endpoint::AdminRegistration, asked, answer).await
}

async fn create(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let create = read(request)?.check()?;
        let (token, text) = ask(&request.service.clients, create).await?;
        let body = CreatedDocument { initial_access_token: text.reveal(), described: describe(&token, request.now) };
        Ok(json_response(StatusCode::CREATED).body(serde_json::to_string(&body).unwrap_or_default()))
    })
    .await
}

async fn list(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let tokens = request.service.registry.all_initial_access();
        let tokens = tokens.iter().map(|token| describe(token, request.now)).collect();
        let body = ListDocument { initial_access_tokens: tokens };
        Ok(json_response(StatusCode::OK).body(serde_json::to_string(&body).unwrap_or_default()))
    })
    .await
}

async fn revoke(asked: Asked, id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let id = InitialAccessId::parse(&id).ok_or(ClientError::UnknownInitialAccess)?;
        ask(&request.service.clients, RevokeInitialAccess { id }).await?;
        Ok(done())
    })
    .await
}

fn read(request: &Arrived<'_>) -> Result<CreateDocument, Rejection> {
    request.expect_content("application/json")?;
    read_object(&request.body).map_err(|error| OAuthError::invalid_request(error.to_string()).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateDocument {
    label: Option<String>,
    /// A week if absent.
    lifetime_seconds: Option<u32>,
    /// Any number if absent.
    registrations_max: Option<u32>,
    #[serde(default)]
    policy: RegistrationPolicyDocument,
}

impl CreateDocument {
    fn check(self) -> Result<CreateInitialAccess, OAuthError> {
        let label_fits = |label: &String| (1..=LABEL_BYTES_MAX).contains(&label.len()) && check_visible(label).is_ok();
        if !self.label.as_ref().is_none_or(label_fits) {
            return Err(OAuthError::invalid_request("label: must have 1 to 255 bytes, all of which can be seen"));
        }
        let lifetime_seconds = self.lifetime_seconds.unwrap_or(LIFETIME_SECONDS_USUAL);
        if !(1..=INITIAL_ACCESS_SECONDS_MAX).contains(&lifetime_seconds) {
            return Err(OAuthError::invalid_request("lifetime_seconds: must be a whole number from 1 to 31536000"));
        }
        if self.registrations_max == Some(0) {
            return Err(OAuthError::invalid_request(
                "registrations_max: must be at least 1, or left out for any number",
            ));
        }
        let policy = RegistrationPolicy::parse(&self.policy);
        let policy = policy.map_err(|error| OAuthError::invalid_request(format!("policy.{error}")))?;
        if policy.scope.contains(ADMIN_SCOPE) {
            let reason = "policy.scope: tessera.admin is not for clients that register themselves";
            return Err(OAuthError::invalid_request(reason));
        }
        Ok(CreateInitialAccess {
            label: self.label,
            lifetime_seconds,
            registrations_max: self.registrations_max,
            policy,
        })
    }
}

#[derive(Serialize)]
struct CreatedDocument<'a> {
    /// Shown this once.
    initial_access_token: &'a str,
    #[serde(flatten)]
    described: TokenDocument<'a>,
}

#[derive(Serialize)]
struct ListDocument<'a> {
    initial_access_tokens: Vec<TokenDocument<'a>>,
}

#[derive(Serialize)]
struct TokenDocument<'a> {
    id: InitialAccessId,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    /// `usable`, `expired` or `used_up`.
    state: &'static str,
    created_at: u64,
    expires_at: u64,
    registrations: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    registrations_max: Option<u32>,
    policy: RegistrationPolicyDocument,
}

fn describe(token: &InitialAccessToken, now: UnixTime) -> TokenDocument<'_> {
    TokenDocument {
        id: token.id,
        label: token.label.as_deref(),
        state: match token.check(now) {
            Ok(()) => "usable",
            Err(InitialAccessRefused::UsedUp) => "used_up",
            Err(_) => "expired",
        },
        created_at: token.created_at.as_seconds(),
        expires_at: token.expires_at.as_seconds(),
        registrations: token.registrations,
        registrations_max: token.registrations_max,
        policy: token.policy.to_document(),
    }
}
