//! `POST /oauth2/register` (RFC 7591): a client registers itself, by the right of an initial access token.
//!
//! Registrations are counted by where they come from and by their initial access token, in memory; how many clients there may be is
//! the client actor's to say.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::client::actor::{RegisterClient, ask};
use crate::client::initial_access::{InitialAccessId, InitialAccessRefused, InitialAccessText, InitialAccessToken};
use crate::client::registration_request::RegistrationRequest;
use crate::client::secret::SecretDigest;
use crate::endpoint::admin::{bearer_token, check_algorithms, describe_registered};
use crate::endpoint::client_address::client_address;
use crate::endpoint::guesses::{Guess, Guesses, TooManyGuesses};
use crate::endpoint::reject::{PRAGMA, Rejection, json_response};
use crate::endpoint::request::{Arrived, serve};
use crate::endpoint::service::Worker;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::telemetry::http::Endpoint;
use crate::user::logins::Place;

pub(super) const PATH: &str = "/oauth2/register";
/// The largest body, in bytes: what a client says about itself stays in memory.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How many clients may register themselves.
#[derive(Debug)]
pub struct RegistrationQuota {
    /// At a time.
    clients_max: usize,
    by_place: Guesses,
    by_initial_access: Guesses,
}

impl RegistrationQuota {
    /// So many clients at a time, and so many registrations an hour of one address (of an IPv6 address its /64), and of one initial
    /// access token.
    #[must_use]
    pub fn new(clients_max: u32, address_per_hour: u32, initial_access_per_hour: u32) -> Self {
        Self {
            clients_max: usize::try_from(clients_max).unwrap_or(usize::MAX),
            by_place: Guesses::per_hour(address_per_hour),
            by_initial_access: Guesses::per_hour(initial_access_per_hour),
        }
    }

    /// Counts a registration, until it is taken back.
    fn begin(&self, request: &Arrived<'_>, id: InitialAccessId) -> Result<[Guess<'_>; 2], TooManyGuesses> {
        let place = client_address(request.head, &request.service.trusted_proxies).map(Place::of);
        let of_place = self.by_place.begin(&place, request.now)?;
        match self.by_initial_access.begin(&id, request.now) {
            Ok(of_initial_access) => Ok([of_place, of_initial_access]),
            Err(error) => {
                of_place.take_back();
                Err(error)
            }
        }
    }
}

pub(super) async fn register(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Register, http.head(), payload.into_inner(), BODY_BYTES_MAX, async |request| {
        answer(&request).await
    })
    .await
}

async fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    let token = initial_access(request)?;
    let quota = &request.service.registration_quota;
    let counted = quota.begin(request, token.id)?;
    let registered = registered(request, &token, quota.clients_max).await;
    if registered.is_err() {
        counted.into_iter().for_each(Guess::take_back);
    }
    registered
}

async fn registered(
    request: &Arrived<'_>,
    token: &InitialAccessToken,
    clients_max: usize,
) -> Result<HttpResponse, Rejection> {
    request.expect_content("application/json")?;
    let not_text = |_| OAuthError::new(OAuthErrorCode::InvalidClientMetadata, "the body must be UTF-8");
    let body = std::str::from_utf8(&request.body).map_err(not_text)?;
    let metadata = RegistrationRequest::parse(body)?.admit(&token.policy)?;
    check_algorithms(request, &metadata)?;
    request.service.check_fetch(&metadata).map_err(OAuthError::from)?;
    let asked = RegisterClient { initial_access: token.id, metadata, clients_max };
    let (client, secret) = ask(&request.service.clients, asked).await?;
    tracing::info!(client_id = client.id.as_str(), initial_access_token = %token.id, "a client has registered itself");
    let mut response = json_response(StatusCode::CREATED);
    response.insert_header(PRAGMA);
    Ok(response.body(describe_registered(&client, secret.as_ref())))
}

/// The initial access token that a request comes with (RFC 7591 §3.1, RFC 6750 §2.1), good for one more registration as far as workers
/// know.
fn initial_access(request: &Arrived<'_>) -> Result<InitialAccessToken, Rejection> {
    let text = bearer_token(request)?;
    let named = InitialAccessText::id_in(text).and_then(|id| request.service.registry.initial_access(id));
    let is_proven = SecretDigest::verify(named.as_ref().map(|token| &token.digest), text);
    let token = named.filter(|_| is_proven).ok_or(InitialAccessRefused::Unknown);
    let usable = token.and_then(|token| token.check(request.now).map(|()| token));
    let token = usable.map_err(|error| OAuthError::new(OAuthErrorCode::InvalidToken, error.to_string()));
    Ok(InitialAccessToken::clone(&*token.map_err(Rejection::Bearer)?))
}
