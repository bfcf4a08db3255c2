//! The rival: what teams build in house. An actix-web handler that keeps the SHA-256 digest of each token in Redis, with
//! what introspection answers as the value; Redis lets it expire.
//!
//! It is as fast as such a thing is made with care: a worker has one connection, over which all of its requests are
//! pipelined, and the value is the answer, so nothing is rendered. It does less than Tessera: it authenticates nobody,
//! knows no clients, and its revocation deletes.

use std::io;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, Client, RedisError};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::serve::Listen;

/// Where it listens, and where its Redis does.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    listen: Listen,
    /// The Redis that holds the digests: `redis://HOST:PORT` or `unix:///PATH`.
    #[arg(long, value_name = "URL")]
    redis: String,
}

/// Serves until a signal ends it.
pub(super) fn serve(options: Options) -> io::Result<()> {
    let Options { listen: Listen { listen, workers }, redis } = options;
    let client = Client::open(redis).map_err(io::Error::other)?;
    let server = HttpServer::new(move || {
        let client = client.clone();
        App::new()
            .data_factory(move || connect(client.clone()))
            .app_data(web::Data::new(SystemRandom::new()))
            .route("/oauth2/introspect", web::post().to(introspect))
            .route("/oauth2/introspect/batch", web::post().to(introspect_batch))
            .route("/oauth2/token", web::post().to(issue))
            .route("/oauth2/revoke", web::post().to(revoke))
    });
    let server = server.workers(workers).shutdown_timeout(1).bind(listen)?;
    actix_web::rt::System::new().block_on(server.run())
}

async fn connect(client: Client) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(REDIS_LIMIT));
    ConnectionManager::new_with_config(client, config).await
}

/// How long Redis may take for an answer.
const REDIS_LIMIT: Duration = Duration::from_secs(5);

type Redis = web::Data<ConnectionManager>;

#[derive(Deserialize)]
struct TokenForm {
    token: String,
}

/// RFC 7662 §2.1.
async fn introspect(redis: Redis, form: web::Form<TokenForm>) -> Result<HttpResponse, Unavailable> {
    let found: Option<Vec<u8>> = connection(&redis).get(key(&form.token)).await?;
    Ok(json(found.unwrap_or_else(|| INACTIVE.as_bytes().to_vec())))
}

#[derive(Deserialize)]
struct Batch {
    tokens: Vec<String>,
}

async fn introspect_batch(redis: Redis, body: web::Bytes) -> Result<HttpResponse, Unavailable> {
    let Ok(Batch { tokens }) = serde_json::from_slice(&body) else { return Ok(HttpResponse::BadRequest().finish()) };
    let keys: Vec<_> = tokens.iter().map(|token| key(token)).collect();
    let found: Vec<Option<Vec<u8>>> = connection(&redis).mget(keys).await?;
    let mut results = br#"{"results":["#.to_vec();
    for (number, result) in found.iter().enumerate() {
        if number > 0 {
            results.push(b',');
        }
        results.extend_from_slice(result.as_deref().unwrap_or(INACTIVE.as_bytes()));
    }
    results.extend_from_slice(b"]}");
    Ok(json(results))
}

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    scope: Option<String>,
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    scope: &'a str,
}

/// RFC 6749 §4.4.2.
async fn issue(
    redis: Redis,
    random: web::Data<SystemRandom>,
    form: web::Form<TokenRequest>,
) -> Result<HttpResponse, Unavailable> {
    let mut secret = [0; SECRET_BYTES];
    if form.grant_type != "client_credentials" || random.fill(&mut secret).is_err() {
        return Ok(HttpResponse::BadRequest().finish());
    }
    let token = URL_SAFE_NO_PAD.encode(secret);
    let scope = form.scope.as_deref().unwrap_or("read");
    let value = introspection(scope, now_seconds());
    connection(&redis).set_ex::<_, _, ()>(key(&token), value, LIFETIME_SECONDS).await?;
    let response = TokenResponse { access_token: &token, token_type: "Bearer", expires_in: LIFETIME_SECONDS, scope };
    Ok(json(serde_json::to_vec(&response).unwrap_or_default()))
}

/// RFC 7009 §2.1.
async fn revoke(redis: Redis, form: web::Form<TokenForm>) -> Result<HttpResponse, Unavailable> {
    connection(&redis).del::<_, ()>(key(&form.token)).await?;
    Ok(HttpResponse::Ok().finish())
}

/// Redis did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the store does not answer: {0}")]
struct Unavailable(#[from] RedisError);

impl ResponseError for Unavailable {
    fn status_code(&self) -> actix_web::http::StatusCode {
        actix_web::http::StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The worker's connection: a handle to it is cheap.
fn connection(redis: &Redis) -> ConnectionManager {
    redis.get_ref().clone()
}

fn json(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(body)
}

fn now_seconds() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed();
    now.map_or(0, |now| now.as_secs())
}

/// Where Redis has a token.
pub(crate) fn key(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

/// What introspection answers for a token (RFC 7662 §2.2), as long as Tessera's answer.
pub(crate) fn introspection(scope: &str, issued_at: u64) -> String {
    let expires_at = issued_at + LIFETIME_SECONDS;
    format!(
        r#"{{"active":true,"iss":"http://127.0.0.1:8080","client_id":"{CLIENT_ID}","sub":"{CLIENT_ID}","scope":"{scope}","token_type":"Bearer","exp":{expires_at},"iat":{issued_at}}}"#
    )
}

/// How long its tokens live.
pub(crate) const LIFETIME_SECONDS: u64 = 86_400;
const CLIENT_ID: &str = "0123456789abcdef0123456789abcdef";
const INACTIVE: &str = r#"{"active":false}"#;
const SECRET_BYTES: usize = 32;
