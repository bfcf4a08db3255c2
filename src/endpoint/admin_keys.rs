//! `/admin/v1/keys`: the keys that sign, to look at, to rotate and to import.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::UnixTime;
use crate::endpoint::admin::{Access, Asked, administer_at};
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, read_object};
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::error::OAuthError;
use crate::signing::actor::{StoreKey, ask, make_key};
use crate::signing::private_key::PrivateKey;
use crate::signing::registry::{KeyState, SigningKey};
use crate::telemetry::http::Endpoint;

pub(super) fn configure(access: Access, app: &mut ServiceConfig) {
    let keys = web::resource("/admin/v1/keys")
        .route(web::get().to(list))
        .route(web::post().to(import))
        .default_service(web::to(super::post_or_get_allowed));
    let rotate = super::only_post("/admin/v1/keys/rotate", web::post().to(rotate));
    app.service(rotate.app_data(Data::new(access))).service(keys.app_data(Data::new(access)));
}

async fn administer(
    asked: Asked,
    answer: impl AsyncFnOnce(&Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    administer_at(Endpoint::AdminKeys, asked, answer).await
}

async fn list(asked: Asked) -> HttpResponse {
    administer(asked, async |request| Ok(listed(request, StatusCode::OK))).await
}

/// Answers when the new keys are durable and others can learn of them.
async fn rotate(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let RotateDocument { alg, at_once } = read(request)?;
        let signs_from = signs_from(request, at_once);
        let algorithms = match alg {
            Some(algorithm) => vec![algorithm],
            None => {
                let keys = request.service.keys.keys();
                let signing = keys.all(request.now).filter(|(_, state)| *state == KeyState::Signing);
                signing.map(|(key, _)| key.algorithm()).collect()
            }
        };
        for algorithm in algorithms {
            make_key(&request.service.key_actor, algorithm, signs_from).await?;
        }
        Ok(listed(request, StatusCode::CREATED))
    })
    .await
}

async fn import(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let ImportDocument { alg, key, at_once } = read(request)?;
        let key = PrivateKey::import(alg, &Zeroizing::new(key));
        let key = key.map_err(|error| OAuthError::invalid_request(format!("key: {error}")))?;
        ask(&request.service.key_actor, StoreKey { key, signs_from: signs_from(request, at_once) }).await?;
        Ok(listed(request, StatusCode::CREATED))
    })
    .await
}

/// Those who have fetched the keys before learn of a new one before it signs.
fn signs_from(request: &Arrived<'_>, at_once: bool) -> UnixTime {
    request.now.plus_seconds(if at_once { 0 } else { u64::from(request.service.key_publish_seconds) })
}

fn read<'a, T: Deserialize<'a>>(request: &'a Arrived<'_>) -> Result<T, Rejection> {
    request.expect_content("application/json")?;
    read_object(&request.body).map_err(|error| OAuthError::invalid_request(error.to_string()).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateDocument {
    /// Every algorithm that has a key, if absent.
    alg: Option<SigningAlgorithm>,
    /// Whether the new key signs before others can have learnt of it.
    #[serde(default)]
    at_once: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportDocument {
    alg: SigningAlgorithm,
    /// PEM with PKCS#8, or a private JWK.
    key: String,
    #[serde(default)]
    at_once: bool,
}

#[derive(Serialize)]
struct ListDocument<'a> {
    keys: Vec<KeyDocument<'a>>,
}

#[derive(Serialize)]
struct KeyDocument<'a> {
    kid: &'a str,
    alg: SigningAlgorithm,
    state: KeyState,
    created_at: u64,
    signs_from: u64,
    /// No token that it has signed expires later; 0 where it has signed none.
    tokens_until: u32,
}

impl<'a> KeyDocument<'a> {
    fn of(key: &'a SigningKey, state: KeyState) -> Self {
        Self {
            kid: &key.kid,
            alg: key.algorithm(),
            state,
            created_at: key.created_at.as_seconds(),
            signs_from: key.signs_from.as_seconds(),
            tokens_until: key.tokens_until(),
        }
    }
}

fn listed(request: &Arrived<'_>, status: StatusCode) -> HttpResponse {
    let keys = request.service.keys.keys();
    let body = ListDocument { keys: keys.all(request.now).map(|(key, state)| KeyDocument::of(key, state)).collect() };
    json_response(status).body(serde_json::to_string(&body).unwrap_or_default())
}
