//! `tessera client …`: the admin API's clients from the command line.

use std::io::Read as _;
use std::path::Path;

use hyper::Method;
use serde_json::{Map, Value, json};

use crate::command::socket::{CommandError, SOCKET_NAME, encode, send};
use crate::config::cli::{ClientCommand, ClientMetadata};

/// Runs a command against the server whose data directory this is. Answers what is to be printed.
///
/// # Errors
///
/// [`CommandError`]; nothing has changed then, unless the connection broke.
pub async fn run(command: &ClientCommand, data_dir: &Path) -> Result<String, CommandError> {
    let socket = data_dir.join(SOCKET_NAME);
    let answer = match command {
        ClientCommand::Create(create) => {
            let mut document = Map::new();
            if let Some(client_id) = &create.client_id {
                document.insert("client_id".to_owned(), json!(client_id));
            }
            apply(&mut document, &create.metadata)?;
            send(&socket, Method::POST, "/admin/v1/clients", Some(Value::Object(document))).await?
        }
        ClientCommand::List(list) => {
            let limit = list.limit.map(|limit| format!("limit={limit}"));
            let cursor = list.cursor.as_deref().map(|cursor| format!("cursor={}", encode(cursor)));
            let query = [limit, cursor].into_iter().flatten().collect::<Vec<_>>().join("&");
            send(&socket, Method::GET, &format!("/admin/v1/clients?{query}"), None).await?
        }
        ClientCommand::Show(named) => send(&socket, Method::GET, &path_of(&named.client_id), None).await?,
        ClientCommand::Update(update) => {
            let path = path_of(&update.client_id);
            let current = send(&socket, Method::GET, &path, None).await?;
            let mut document = updatable(current);
            apply(&mut document, &update.metadata)?;
            send(&socket, Method::PUT, &path, Some(Value::Object(document))).await?
        }
        ClientCommand::Delete(named) => send(&socket, Method::DELETE, &path_of(&named.client_id), None).await?,
        ClientCommand::Revoke(named) => {
            send(&socket, Method::POST, &format!("{}/revoke", path_of(&named.client_id)), None).await?
        }
        ClientCommand::RotateSecret(named) => {
            send(&socket, Method::POST, &format!("{}/secret", path_of(&named.client_id)), None).await?
        }
    };
    Ok(if answer.is_null() { String::new() } else { serde_json::to_string_pretty(&answer)? })
}

/// The members of a client that an update sends back: all but those that the server alone decides.
fn updatable(client: Value) -> Map<String, Value> {
    let Value::Object(mut document) = client else { return Map::new() };
    document
        .retain(|member, _| !matches!(member.as_str(), "client_id" | "client_id_issued_at" | "dynamic_registration"));
    document
}

fn apply(document: &mut Map<String, Value>, metadata: &ClientMetadata) -> Result<(), CommandError> {
    let jwks = metadata.jwks.as_deref().map(read_jwks).transpose()?;
    if jwks.is_some() || metadata.jwks_uri.is_some() {
        // The one takes the place of the other.
        document.retain(|member, _| !matches!(member.as_str(), "jwks" | "jwks_uri"));
    }
    if metadata.token_endpoint_auth_method.as_ref().is_some_and(|method| method != "private_key_jwt") {
        // What only a client that signs may have.
        document
            .retain(|member, _| !matches!(member.as_str(), "jwks" | "jwks_uri" | "token_endpoint_auth_signing_alg"));
    }
    if metadata.grant_type.is_some() {
        // They follow from the grant types.
        document.remove("response_types");
    }
    if metadata.token_endpoint_auth_method.is_some() && metadata.introspection.is_none() {
        // What a client has by default depends on whether it has a secret.
        document.remove("introspection");
    }
    if metadata.access_token_format.as_deref() == Some("opaque") && metadata.access_token_signing_alg.is_none() {
        // What is not signed has no algorithm.
        document.remove("access_token_signing_alg");
    }
    let mut set = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            document.insert(member.to_owned(), value);
        }
    };
    set("client_name", metadata.name.as_ref().map(|name| json!(name)));
    set("scope", metadata.scope.as_ref().map(|scope| json!(scope)));
    set("audience", metadata.audience.as_ref().map(|audience| json!(audience)));
    set("introspection", metadata.introspection.map(|right| json!(right.as_str())));
    set("access_token_lifetime_seconds", metadata.access_token_lifetime_seconds.map(|seconds| json!(seconds)));
    set("access_token_format", metadata.access_token_format.as_ref().map(|format| json!(format)));
    set("access_token_signing_alg", metadata.access_token_signing_alg.as_ref().map(|algorithm| json!(algorithm)));
    let grant_types = metadata.grant_type.as_ref();
    let names = |types: &Vec<String>| types.iter().map(|name| json!(grant_type(name))).collect();
    set("grant_types", grant_types.map(names));
    set("redirect_uris", metadata.redirect_uri.as_ref().map(|uris| json!(uris)));
    let post_logout = metadata.post_logout_redirect_uri.as_ref();
    set("post_logout_redirect_uris", post_logout.map(|uris| json!(uris)));
    set("application_type", metadata.application_type.as_ref().map(|kind| json!(kind)));
    set("token_endpoint_auth_method", metadata.token_endpoint_auth_method.as_ref().map(|method| json!(method)));
    set("jwks", jwks);
    set("jwks_uri", metadata.jwks_uri.as_ref().map(|uri| json!(uri)));
    let alg = metadata.token_endpoint_auth_signing_alg.as_ref();
    set("token_endpoint_auth_signing_alg", alg.map(|alg| json!(alg)));
    set("refresh_token_rotation", metadata.refresh_token_rotation.map(|rotates| json!(rotates)));
    set("refresh_token_retry_seconds", metadata.refresh_token_retry_seconds.map(|seconds| json!(seconds)));
    set("refresh_token_lifetime_seconds", metadata.refresh_token_lifetime_seconds.map(|seconds| json!(seconds)));
    set("refresh_token_idle_seconds", metadata.refresh_token_idle_seconds.map(|seconds| json!(seconds)));
    let must_push = metadata.require_pushed_authorization_requests;
    set("require_pushed_authorization_requests", must_push.map(|must| json!(must)));
    set("nonce_instead_of_pkce", metadata.nonce_instead_of_pkce.map(|stands_in| json!(stands_in)));
    set("skip_consent", metadata.skip_consent.map(|skips| json!(skips)));
    let id_token_alg = metadata.id_token_signed_response_alg.as_ref();
    set("id_token_signed_response_alg", id_token_alg.map(|algorithm| json!(algorithm)));
    set("default_max_age", metadata.default_max_age.map(|seconds| json!(seconds)));
    set("allowed_cors_origins", metadata.allowed_cors_origin.as_ref().map(|origins| json!(origins)));
    Ok(())
}

/// The keys that a file holds. What they are the server checks.
fn read_jwks(file: &Path) -> Result<Value, CommandError> {
    let unreadable = |reason| CommandError::Unreadable { path: file.to_owned(), reason };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(JWKS_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    let invalid = |reason: String| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, reason));
    if text.len() as u64 > JWKS_BYTES_MAX {
        return Err(invalid("it is longer than 64 KiB, which a JWK Set of 20 keys never is".to_owned()));
    }
    serde_json::from_str(&text).map_err(|error| invalid(format!("it is no JSON: {error}")))
}

const JWKS_BYTES_MAX: u64 = 64 * 1024;

/// The whole name of a grant type.
pub(super) fn grant_type(name: &str) -> &str {
    if name == "device_code" { "urn:ietf:params:oauth:grant-type:device_code" } else { name }
}

fn path_of(client_id: &str) -> String {
    format!("/admin/v1/clients/{}", encode(client_id))
}
