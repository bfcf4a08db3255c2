//! `/admin/v1/clients`: clients under the member names of RFC 7591, for who holds a bearer token of scope `tessera.admin`, or
//! can open the Unix socket.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{self, Data, Path, Payload, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::client::actor::{
    ClientError, CreateClient, DeleteClient, ImportClient, ListClients, RevokeClient, RotateSecret, UpdateClient, ask,
};
use crate::client::id::ClientId;
use crate::client::initial_access::InitialAccessId;
use crate::client::metadata::{AccessTokenFormat, ClientMetadata, ClientMetadataDocument, InvalidClientMetadata};
use crate::client::registration::Registration;
use crate::client::secret::ClientSecret;
use crate::endpoint::Surface;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, read_object, serve};
use crate::endpoint::service::{Service, Worker};
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::password::hash::PasswordHash;
use crate::telemetry::http::Endpoint;
use crate::token::access_token::TokenReference;

/// The scope that a bearer token must have for the admin API.
pub(crate) const ADMIN_SCOPE: &str = "tessera.admin";

/// The most items of one page of a list, and how many there are if the caller does not say.
const PAGE_ITEMS_MAX: usize = 1000;
const PAGE_ITEMS_USUAL: usize = 100;

/// Who may use the admin API on this address.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Bearer,
    Anybody,
}

pub(super) fn configure(surface: Surface, app: &mut ServiceConfig) {
    let access = if surface == Surface::Socket { Access::Anybody } else { Access::Bearer };
    let clients = web::resource("/admin/v1/clients")
        .app_data(Data::new(access))
        .route(web::post().to(create))
        .route(web::get().to(list))
        .default_service(web::to(super::post_or_get_allowed));
    let secret = "/admin/v1/clients/{client_id}/secret";
    let secret = super::only_post(secret, web::post().to(rotate_secret)).app_data(Data::new(access));
    let revoke = "/admin/v1/clients/{client_id}/revoke";
    let revoke = super::only_post(revoke, web::post().to(revoke_all)).app_data(Data::new(access));
    let client = web::resource("/admin/v1/clients/{client_id}")
        .app_data(Data::new(access))
        .route(web::get().to(show))
        .route(web::put().to(update))
        .route(web::delete().to(delete))
        .default_service(web::to(super::get_put_or_delete_allowed));
    app.service(clients).service(secret).service(revoke).service(client);
    super::admin_users::configure(access, app);
    super::logins::configure(access, app);
    super::admin_grants::configure(access, app);
    super::admin_keys::configure(access, app);
    super::admin_registration::configure(access, app);
    super::snapshot::configure(access, app);
}

/// What every request to the admin API comes with.
pub(super) type Asked = (HttpRequest, Payload, Data<Worker>, Data<Access>);

/// Lets `answer` decide about a request of somebody who may use the admin API.
async fn administer(
    asked: Asked,
    answer: impl AsyncFnOnce(&Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    administer_at(Endpoint::AdminClients, asked, answer).await
}

/// [`administer`] for an endpoint that is counted by another name.
pub(super) async fn administer_at(
    endpoint: Endpoint,
    (http, payload, worker, access): Asked,
    answer: impl AsyncFnOnce(&Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    serve(&worker, endpoint, http.head(), payload.into_inner(), FORM_BYTES_MAX, async |request| {
        authorize(&request, **access)?;
        answer(&request).await
    })
    .await
}

/// How many items a page of a list has.
pub(super) fn page_limit(asked: Option<usize>) -> Result<usize, OAuthError> {
    let limit = asked.unwrap_or(PAGE_ITEMS_USUAL);
    if (1..=PAGE_ITEMS_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(OAuthError::invalid_request("limit must be a whole number from 1 to 1000"))
    }
}

/// That there is nothing more to say.
pub(super) fn done() -> HttpResponse {
    HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish()
}

async fn create(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let CreateDocument { client_id, client_secret_hash, metadata } = read_json(request)?;
        let id = client_id.as_deref().map(ClientId::parse).transpose().map_err(|error| invalid_metadata(&error))?;
        let metadata = read_metadata(request, &metadata)?;
        let secret_hash = client_secret_hash.as_deref().map(PasswordHash::parse).transpose();
        let secret_hash = secret_hash.map_err(|error| invalid_metadata(&format!("client_secret_hash: {error}")))?;
        let clients = &request.service.clients;
        let body = match secret_hash {
            None => {
                let (client, secret) = ask(clients, CreateClient { id, metadata }).await?;
                describe_with_secret(&client, secret.as_ref())
            }
            Some(secret_hash) => {
                let client = ask(clients, ImportClient { id, metadata, secret_hash }).await?;
                serde_json::to_string(&describe(&client, None)).unwrap_or_default()
            }
        };
        Ok(json_response(StatusCode::CREATED).body(body))
    })
    .await
}

async fn list(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let ListQuery { limit, cursor } = Query::<ListQuery>::from_query(request.head.uri.query().unwrap_or_default())
            .map_err(|error| OAuthError::invalid_request(format!("the query may have limit and cursor: {error}")))?
            .into_inner();
        let limit = page_limit(limit)?;
        let after = cursor.as_deref().map(ClientId::parse).transpose();
        let after = after.map_err(|_| OAuthError::invalid_request("cursor must be the next_cursor of a page"))?;
        let page = ask(&request.service.clients, ListClients { after, limit }).await?;
        let next_cursor = page.clients.last().filter(|_| page.has_more).map(|client| client.id.as_str());
        let body =
            PageDocument { clients: page.clients.iter().map(|client| describe(client, None)).collect(), next_cursor };
        Ok(json_response(StatusCode::OK).body(serde_json::to_string(&body).unwrap_or_default()))
    })
    .await
}

async fn show(asked: Asked, client_id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let client = request.service.registry.find(&client_id).ok_or(ClientError::Unknown)?;
        Ok(described(&client))
    })
    .await
}

async fn update(asked: Asked, client_id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let metadata = read_metadata(request, &read_json(request)?)?;
        let client = ask(&request.service.clients, UpdateClient { id: named(&client_id)?, metadata }).await?;
        Ok(described(&client))
    })
    .await
}

async fn delete(asked: Asked, client_id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        ask(&request.service.clients, DeleteClient { id: named(&client_id)? }).await?;
        Ok(done())
    })
    .await
}

async fn revoke_all(asked: Asked, client_id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        ask(&request.service.clients, RevokeClient { id: named(&client_id)? }).await?;
        Ok(done())
    })
    .await
}

async fn rotate_secret(asked: Asked, client_id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let (client, secret) = ask(&request.service.clients, RotateSecret { id: named(&client_id)? }).await?;
        Ok(json_response(StatusCode::OK).body(describe_with_secret(&client, Some(&secret))))
    })
    .await
}

/// RFC 6750 §2.1: a bearer token of scope [`ADMIN_SCOPE`], in the header alone.
fn authorize(request: &Arrived<'_>, access: Access) -> Result<(), Rejection> {
    if matches!(access, Access::Anybody) {
        return Ok(());
    }
    let token = bearer_token(request)?;
    let tokens = request.service.shards.read();
    let found = match TokenReference::of(token) {
        Some(reference) => tokens.find_active(reference, request.now)?,
        None => None,
    };
    let bearer = |code, description| Rejection::Bearer(OAuthError::new(code, description));
    match found {
        None => Err(bearer(OAuthErrorCode::InvalidToken, "the bearer token is unknown, expired or revoked")),
        Some(token) if token.grant.terms().client.scope.contains(ADMIN_SCOPE) => Ok(()),
        Some(_) => Err(bearer(OAuthErrorCode::InsufficientScope, "the bearer token lacks the scope tessera.admin")),
    }
}

/// RFC 6750 §2.1: what stands behind `Bearer` in the one `Authorization` header.
pub(super) fn bearer_token<'a>(request: &'a Arrived<'_>) -> Result<&'a str, Rejection> {
    let mut fields = request.headers().get_all(header::AUTHORIZATION);
    let (Some(field), None) = (fields.next(), fields.next()) else { return Err(Rejection::BearerMissing) };
    let (scheme, token) = field.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("Bearer") { Ok(token.trim()) } else { Err(Rejection::BearerMissing) }
}

fn read_json<'a, T: Deserialize<'a>>(request: &'a Arrived<'_>) -> Result<T, Rejection> {
    request.expect_content("application/json")?;
    read_object(&request.body).map_err(|error| invalid_metadata(&error).into())
}

/// Metadata that this server can keep its word on: there is a key for what the client's tokens are signed with, or one is made.
fn read_metadata(request: &Arrived<'_>, document: &ClientMetadataDocument) -> Result<ClientMetadata, Rejection> {
    let metadata = ClientMetadata::parse_new(document)?;
    request.service.check_fetch(&metadata)?;
    check_algorithms(request, &metadata)?;
    Ok(metadata)
}

/// Whether there is a key for what the tokens of a client are signed with, or one is made.
pub(super) fn check_algorithms(request: &Arrived<'_>, metadata: &ClientMetadata) -> Result<(), InvalidClientMetadata> {
    let Service { defaults, key_algorithms, keys, .. } = request.service;
    let mut known: Vec<_> = keys.keys().all(request.now).map(|(key, _)| key.algorithm()).collect();
    known.extend(key_algorithms);
    known.sort_unstable();
    known.dedup();
    let access = metadata.access_token_signing_alg.unwrap_or(defaults.access_token_signing_alg);
    let access = (metadata.access_token_format == AccessTokenFormat::Jwt).then_some(access);
    let wanted =
        [("access_token_signing_alg", access), ("id_token_signed_response_alg", metadata.id_token_signed_response_alg)];
    let mut wanted = wanted.into_iter().filter_map(|(member, wanted)| Some((member, wanted?)));
    let Some((member, _)) = wanted.find(|(_, wanted)| !known.contains(wanted)) else { return Ok(()) };
    let reason = match &*known {
        [] => "this server has no keys that sign: its setting key_algorithms names none".to_owned(),
        known => format!("must be one of {}", known.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ")),
    };
    Err(InvalidClientMetadata { member, reason })
}

fn invalid_metadata(error: &dyn ToString) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidClientMetadata, error.to_string())
}

fn named(client_id: &str) -> Result<ClientId, ClientError> {
    ClientId::parse(client_id).map_err(|_| ClientError::Unknown)
}

/// The outer struct refuses unknown members: inside a flattened one serde does not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateDocument {
    client_id: Option<String>,
    /// Of a secret that it has already: the server then makes none.
    client_secret_hash: Option<String>,
    #[serde(flatten)]
    metadata: ClientMetadataDocument,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct PageDocument<'a> {
    clients: Vec<ClientDocument<'a>>,
    /// For the query of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
}

/// A client information response (RFC 7591 §3.2.1).
#[derive(Serialize)]
struct ClientDocument<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// 0: it does not expire. Required beside a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    client_id_issued_at: u64,
    /// What only operators see of one that has registered itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic_registration: Option<DynamicDocument>,
    #[serde(flatten)]
    metadata: ClientMetadataDocument,
}

#[derive(Serialize)]
struct DynamicDocument {
    initial_access_token: InitialAccessId,
    /// When it was last of use, about.
    used_at: u64,
}

impl DynamicDocument {
    fn of(registration: &Registration) -> Self {
        Self { initial_access_token: registration.token, used_at: registration.used_at().as_seconds() }
    }
}

/// What a client is answered that has registered itself (RFC 7591 §3.2.1).
pub(super) fn describe_registered(client: &Client, secret: Option<&ClientSecret>) -> String {
    let described = ClientDocument { dynamic_registration: None, ..describe(client, secret) };
    serde_json::to_string(&described).unwrap_or_default()
}

fn describe<'a>(client: &'a Client, secret: Option<&'a ClientSecret>) -> ClientDocument<'a> {
    ClientDocument {
        client_id: client.id.as_str(),
        client_secret: secret.map(ClientSecret::reveal),
        client_secret_expires_at: secret.map(|_| 0),
        client_id_issued_at: client.created_at.as_seconds(),
        dynamic_registration: client.registration.as_deref().map(DynamicDocument::of),
        metadata: client.metadata.to_document(),
    }
}

fn described(client: &Arc<Client>) -> HttpResponse {
    json_response(StatusCode::OK).body(serde_json::to_string(&describe(client, None)).unwrap_or_default())
}

fn describe_with_secret(client: &Client, secret: Option<&ClientSecret>) -> String {
    serde_json::to_string(&describe(client, secret)).unwrap_or_default()
}
