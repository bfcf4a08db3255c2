//! `GET /.well-known/oauth-authorization-server` (RFC 8414) and `GET /.well-known/openid-configuration` (`OpenID` Connect Discovery):
//! what works here, and nothing else. Both are one document.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::client::metadata::TokenEndpointAuthMethod;
use crate::endpoint::authorize;
use crate::endpoint::cors::EVERYBODY;
use crate::endpoint::register;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, serve};
use crate::endpoint::service::Worker;
use crate::endpoint::userinfo;
use crate::endpoint::{end_session, jwks};
use crate::grant::authorization::RESPONSE_MODE;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::claims::{CLAIM_SCOPES, CLAIMS};
use crate::oauth::grant_type::GrantType;
use crate::oauth::pkce::CODE_CHALLENGE_METHOD;
use crate::oauth::prompt::Prompt;
use crate::oauth::response_type::ResponseType;
use crate::oauth::scope::OPENID_SCOPE;
use crate::telemetry::http::Endpoint;

pub(super) const PATH: &str = "/.well-known/oauth-authorization-server";
/// RFC 8414 §3.1: an issuer with a path has its metadata at the well-known path followed by its own.
pub(super) const PATH_WITH_ISSUER: &str = "/.well-known/oauth-authorization-server/{issuer_path:.*}";

pub(super) const OPENID_PATH: &str = "/.well-known/openid-configuration";
/// `OpenID` Connect Discovery §4: an issuer with a path has its configuration behind that.
pub(super) const OPENID_PATH_WITH_ISSUER: &str = "/{issuer_path:.+}/.well-known/openid-configuration";

pub(super) async fn metadata(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Metadata, http.head(), payload.into_inner(), 0, async |request| answer(&request)).await
}

fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    let issuer = &*request.service.issuer;
    let path = request.head.uri.path();
    // Whichever it is, what is left of it is the path of the issuer, if anything is.
    let rest = path.strip_prefix(PATH).or_else(|| path.strip_suffix(OPENID_PATH)).unwrap_or_default();
    if !rest.is_empty() && issuer_path(issuer).is_none_or(|path| path != rest) {
        return Err(Rejection::NotFound);
    }
    let base = issuer.trim_end_matches('/');
    let proving = [
        TokenEndpointAuthMethod::ClientSecretBasic,
        TokenEndpointAuthMethod::ClientSecretPost,
        TokenEndpointAuthMethod::PrivateKeyJwt,
    ];
    let [basic, post, signed] = proving;
    let methods = [basic, post, signed, TokenEndpointAuthMethod::None];
    let algorithms = SigningAlgorithm::ALL;
    let can_register = request.service.registry.is_open_to_registration(request.now);
    let mut id_token_algorithms: Vec<_> =
        request.service.keys.keys().all(request.now).map(|(key, _)| key.algorithm()).collect();
    id_token_algorithms.extend(&request.service.key_algorithms);
    id_token_algorithms.sort_unstable();
    id_token_algorithms.dedup();
    let body = ServerMetadata {
        issuer,
        authorization_endpoint: format!("{base}{}", authorize::PATH),
        pushed_authorization_request_endpoint: format!("{base}/oauth2/par"),
        device_authorization_endpoint: format!("{base}/oauth2/device_authorization"),
        token_endpoint: format!("{base}/oauth2/token"),
        token_endpoint_auth_methods_supported: methods,
        token_endpoint_auth_signing_alg_values_supported: algorithms,
        introspection_endpoint: format!("{base}/oauth2/introspect"),
        introspection_endpoint_auth_methods_supported: proving,
        introspection_endpoint_auth_signing_alg_values_supported: algorithms,
        revocation_endpoint: format!("{base}/oauth2/revoke"),
        revocation_endpoint_auth_methods_supported: methods,
        revocation_endpoint_auth_signing_alg_values_supported: algorithms,
        registration_endpoint: can_register.then(|| format!("{base}{}", register::PATH)),
        jwks_uri: format!("{base}{}", jwks::PATH),
        userinfo_endpoint: format!("{base}{}", userinfo::PATH),
        end_session_endpoint: format!("{base}{}", end_session::PATH),
        scopes_supported: [OPENID_SCOPE].into_iter().chain(CLAIM_SCOPES).collect(),
        claims_supported: ID_TOKEN_CLAIMS.into_iter().chain(CLAIMS.map(|(claim, _)| claim)).collect(),
        claim_types_supported: ["normal"],
        claims_parameter_supported: true,
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: id_token_algorithms,
        grant_types_supported: GrantType::ALL,
        response_types_supported: ResponseType::ALL,
        response_modes_supported: [RESPONSE_MODE],
        code_challenge_methods_supported: [CODE_CHALLENGE_METHOD],
        prompt_values_supported: Prompt::VALUES,
        authorization_response_iss_parameter_supported: true,
        request_parameter_supported: false,
        request_uri_parameter_supported: false,
    };
    let mut response = json_response(StatusCode::OK);
    response
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")))
        .insert_header(EVERYBODY);
    Ok(response.body(serde_json::to_string(&body).unwrap_or_default()))
}

/// The path of `https://host/path/`, if it has one, without the slash at its end (RFC 8414 §3.1).
fn issuer_path(issuer: &str) -> Option<&str> {
    let (_, rest) = issuer.trim_end_matches('/').split_once("://")?;
    rest.find('/').and_then(|slash| rest.get(slash..))
}

/// What an ID token tells beside what is known of a user.
const ID_TOKEN_CLAIMS: [&str; 10] = ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash"];

/// RFC 8414 §2, RFC 7636 §6.2, RFC 8628 §4, RFC 9126 §5, RFC 9207 §3, `OpenID` Connect Discovery §3, where what is left out is
/// sometimes taken for true.
#[derive(Serialize)]
struct ServerMetadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    pushed_authorization_request_endpoint: String,
    device_authorization_endpoint: String,
    token_endpoint: String,
    token_endpoint_auth_methods_supported: [TokenEndpointAuthMethod; 4],
    token_endpoint_auth_signing_alg_values_supported: [SigningAlgorithm; 5],
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: [TokenEndpointAuthMethod; 3],
    introspection_endpoint_auth_signing_alg_values_supported: [SigningAlgorithm; 5],
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: [TokenEndpointAuthMethod; 4],
    revocation_endpoint_auth_signing_alg_values_supported: [SigningAlgorithm; 5],
    /// Only while an initial access token is there by which somebody may.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    jwks_uri: String,
    userinfo_endpoint: String,
    end_session_endpoint: String,
    scopes_supported: Vec<&'a str>,
    claims_supported: Vec<&'a str>,
    claim_types_supported: [&'a str; 1],
    claims_parameter_supported: bool,
    subject_types_supported: [&'a str; 1],
    /// Of the keys that there are, or will be.
    id_token_signing_alg_values_supported: Vec<SigningAlgorithm>,
    grant_types_supported: [GrantType; 4],
    response_types_supported: [ResponseType; 1],
    response_modes_supported: [&'a str; 1],
    code_challenge_methods_supported: [&'a str; 1],
    prompt_values_supported: [&'a str; 4],
    authorization_response_iss_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
}
