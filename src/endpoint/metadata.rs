//! `GET /.well-known/oauth-authorization-server` (RFC 8414): what works here, and nothing else.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::client::metadata::TokenEndpointAuthMethod;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, serve};
use crate::endpoint::service::Worker;
use crate::oauth::grant_type::GrantType;
use crate::telemetry::http::Endpoint;

pub(super) const PATH: &str = "/.well-known/oauth-authorization-server";
/// RFC 8414 §3.1: an issuer with a path has its metadata at the well-known path followed by its own.
pub(super) const PATH_WITH_ISSUER: &str = "/.well-known/oauth-authorization-server/{issuer_path:.*}";

pub(super) async fn metadata(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Metadata, http.head(), payload.into_inner(), 0, async |request| answer(&request)).await
}

fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    let issuer = &*request.service.issuer;
    let suffix = request.head.uri.path().strip_prefix(PATH).unwrap_or_default();
    if !suffix.is_empty() && issuer_path(issuer).is_none_or(|path| path != suffix) {
        return Err(Rejection::NotFound);
    }
    let base = issuer.trim_end_matches('/');
    let methods = [TokenEndpointAuthMethod::ClientSecretBasic, TokenEndpointAuthMethod::ClientSecretPost];
    let body = ServerMetadata {
        issuer,
        token_endpoint: format!("{base}/oauth2/token"),
        token_endpoint_auth_methods_supported: methods,
        introspection_endpoint: format!("{base}/oauth2/introspect"),
        introspection_endpoint_auth_methods_supported: methods,
        revocation_endpoint: format!("{base}/oauth2/revoke"),
        revocation_endpoint_auth_methods_supported: methods,
        grant_types_supported: GrantType::ALL,
        response_types_supported: [],
    };
    let mut response = json_response(StatusCode::OK);
    response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")));
    Ok(response.body(serde_json::to_string(&body).unwrap_or_default()))
}

/// The path of `https://host/path/`, if it has one, without the slash at its end (RFC 8414 §3.1).
fn issuer_path(issuer: &str) -> Option<&str> {
    let (_, rest) = issuer.trim_end_matches('/').split_once("://")?;
    rest.find('/').and_then(|slash| rest.get(slash..))
}

/// RFC 8414 §2. There is no authorization endpoint, so there are no response types; the list is required all the same.
#[derive(Serialize)]
struct ServerMetadata<'a> {
    issuer: &'a str,
    token_endpoint: String,
    token_endpoint_auth_methods_supported: [TokenEndpointAuthMethod; 2],
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: [TokenEndpointAuthMethod; 2],
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: [TokenEndpointAuthMethod; 2],
    grant_types_supported: [GrantType; 1],
    response_types_supported: [&'a str; 0],
}
