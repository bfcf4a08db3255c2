//! The one place where an error becomes a status.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use crate::client::actor::ClientError;
use crate::client::metadata::InvalidClientMetadata;
use crate::endpoint::guesses::TooManyGuesses;
use crate::endpoint::operator_login::LoginChallengeError;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::shard::ShardError;
use crate::shard::people::{DEVICES_PENDING_MAX, PersonError};
use crate::shard::snapshot::SnapshotError;
use crate::signing::actor::KeyError;
use crate::signing::seal::SealError;
use crate::user::actor::UserError;

/// Why a request is not answered as it wished.
#[derive(Debug)]
pub(super) enum Rejection {
    /// An error of the protocol.
    OAuth(OAuthError),
    /// The bearer token does not allow this (RFC 6750 §3.1).
    Bearer(OAuthError),
    /// The access token lacks this scope (RFC 6750 §3.1).
    LacksScope(&'static str),
    /// No bearer token was sent (RFC 6750 §3: the challenge then names no error).
    BearerMissing,
    Shard(ShardError),
    Client(ClientError),
    User(UserError),
    Key(KeyError),
    /// No key signs with the algorithm of the client's tokens, yet or any more.
    NoSigningKey(SigningAlgorithm),
    /// A member of a user's document is out of bounds.
    InvalidUser(String),
    /// More passwords or secrets are to be checked than there is room for.
    TooManyChecks,
    /// The system has no randomness to give.
    NoRandomness,
    /// The journal is still being read.
    NotReady,
    Snapshot(SnapshotError),
    /// A challenge of the operator's own login page counts for nothing.
    LoginChallenge(LoginChallengeError),
    /// With durability `memory` there is nothing to take a snapshot of.
    NothingKept,
    BodyTooLarge(usize),
    HeadTimeout,
    BodyTimeout,
    BodyBroken,
    HeadTooLarge,
    QueryNotAllowed,
    UnsupportedMediaType(&'static str),
    /// A client has as many devices waiting as it may.
    TooManyDevices,
    /// Too many clients have registered themselves from one place, or with one initial access token.
    TooManyRegistrations(TooManyGuesses),
    NotFound,
    MethodNotAllowed(&'static str),
}

/// How long a client should wait before it tries again, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl Rejection {
    pub(super) fn response(&self) -> HttpResponse {
        self.response_with::<()>(None)
    }

    /// [`Rejection::response`] with more members in its body.
    pub(super) fn response_with<T: Serialize>(&self, more: Option<T>) -> HttpResponse {
        let (status, error, description) = self.parts();
        let mut response = json_response(status);
        if let Some(challenge) = self.challenge() {
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        match self {
            Self::MethodNotAllowed(allowed) => {
                response.insert_header((header::ALLOW, *allowed));
            }
            Self::BodyTooLarge(_) | Self::HeadTimeout | Self::BodyTimeout | Self::BodyBroken => {
                response.force_close();
            }
            Self::TooManyRegistrations(TooManyGuesses { retry_after_seconds }) => {
                response.insert_header((header::RETRY_AFTER, *retry_after_seconds));
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        let body = ErrorBody { error, error_description: &readable(&description), more };
        response.body(serde_json::to_string(&body).unwrap_or_default())
    }

    fn parts(&self) -> (StatusCode, &'static str, String) {
        let invalid = |status, description: String| (status, "invalid_request", description);
        let later = |description: String| (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description);
        match self {
            Self::OAuth(error) | Self::Bearer(error) => {
                (status_of(error.code), error.code.as_str(), error.description.to_string())
            }
            Self::LacksScope(scope) => {
                let code = OAuthErrorCode::InsufficientScope;
                (status_of(code), code.as_str(), format!("the access token lacks the scope {scope}"))
            }
            Self::BearerMissing => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "this needs an Authorization: Bearer header".to_owned())
            }
            Self::Shard(error @ ShardError::NotOwner) => {
                (StatusCode::BAD_REQUEST, OAuthErrorCode::UnauthorizedClient.as_str(), error.to_string())
            }
            Self::Shard(error @ (ShardError::Busy | ShardError::NoDiskSpace | ShardError::Unavailable)) => {
                later(error.to_string())
            }
            Self::Client(error @ ClientError::Unknown) => (StatusCode::NOT_FOUND, "not_found", error.to_string()),
            Self::Client(error @ ClientError::Exists) => {
                (StatusCode::CONFLICT, OAuthErrorCode::InvalidClientMetadata.as_str(), error.to_string())
            }
            Self::Client(error @ (ClientError::TooLarge | ClientError::Secretless)) => {
                (StatusCode::BAD_REQUEST, OAuthErrorCode::InvalidClientMetadata.as_str(), error.to_string())
            }
            Self::Client(error @ (ClientError::Busy | ClientError::NoDiskSpace | ClientError::TooManyDynamic)) => {
                later(error.to_string())
            }
            Self::Client(ClientError::InitialAccess(error)) => {
                (StatusCode::UNAUTHORIZED, OAuthErrorCode::InvalidToken.as_str(), error.to_string())
            }
            Self::Client(error @ ClientError::UnknownInitialAccess) => {
                (StatusCode::NOT_FOUND, "not_found", error.to_string())
            }
            Self::Client(error @ ClientError::TooManyInitialAccess) => invalid(StatusCode::CONFLICT, error.to_string()),
            Self::User(error @ (UserError::Unknown | UserError::NoSession)) => {
                (StatusCode::NOT_FOUND, "not_found", error.to_string())
            }
            Self::User(error @ (UserError::Exists | UserError::LoginRefused)) => {
                invalid(StatusCode::CONFLICT, error.to_string())
            }
            Self::User(error @ UserError::TooLarge) => invalid(StatusCode::BAD_REQUEST, error.to_string()),
            Self::User(error @ (UserError::Busy | UserError::NoDiskSpace)) => later(error.to_string()),
            Self::Key(error @ (KeyError::Exists | KeyError::TooMany)) => {
                invalid(StatusCode::CONFLICT, error.to_string())
            }
            Self::NoSigningKey(algorithm) => {
                later(format!("there is no key that signs with {} now", algorithm.as_str()))
            }
            Self::Key(error @ KeyError::Unknown) => (StatusCode::NOT_FOUND, "not_found", error.to_string()),
            Self::Key(error @ (KeyError::Busy | KeyError::NoDiskSpace | KeyError::NoRandomness)) => {
                later(error.to_string())
            }
            Self::InvalidUser(description) => invalid(StatusCode::BAD_REQUEST, description.clone()),
            Self::TooManyChecks => later("too many passwords or secrets are being checked".to_owned()),
            Self::Snapshot(error @ (SnapshotError::Busy | SnapshotError::Disturbed)) => later(error.to_string()),
            Self::Snapshot(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", format!("{error}; the server's log says more"))
            }
            Self::LoginChallenge(error @ LoginChallengeError::Used) => invalid(StatusCode::CONFLICT, error.to_string()),
            Self::LoginChallenge(error @ LoginChallengeError::Busy) => later(error.to_string()),
            Self::LoginChallenge(error) => (StatusCode::NOT_FOUND, "not_found", error.to_string()),
            Self::NothingKept => {
                invalid(StatusCode::CONFLICT, "durability is memory: there is nothing on disk to take".to_owned())
            }
            Self::NoRandomness => later("the system has no randomness to give".to_owned()),
            Self::NotReady => later("the server is starting: it reads its journal".to_owned()),
            Self::BodyTooLarge(bytes_max) => {
                invalid(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {bytes_max} bytes"))
            }
            Self::HeadTimeout => invalid(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time".to_owned()),
            Self::BodyTimeout => invalid(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned()),
            Self::BodyBroken => invalid(StatusCode::BAD_REQUEST, "the body ended before its announced end".to_owned()),
            Self::HeadTooLarge => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                invalid(status, "the request's head is larger than 16384 bytes".to_owned())
            }
            Self::QueryNotAllowed => {
                invalid(StatusCode::BAD_REQUEST, "parameters belong into the body, not into the URL".to_owned())
            }
            Self::UnsupportedMediaType(expected) => {
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                invalid(status, format!("the body must be {expected}, without a content encoding"))
            }
            Self::TooManyDevices => {
                later(format!("{DEVICES_PENDING_MAX} devices of this client wait for people already"))
            }
            Self::TooManyRegistrations(TooManyGuesses { retry_after_seconds }) => {
                let (status, error) = (StatusCode::TOO_MANY_REQUESTS, OAuthErrorCode::TemporarilyUnavailable.as_str());
                let counted = "as many clients as may in an hour have registered from this address, or with this token";
                (status, error, format!("{counted}: try again in {retry_after_seconds} s"))
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is nothing at this path".to_owned()),
            Self::MethodNotAllowed(allowed) => {
                invalid(StatusCode::METHOD_NOT_ALLOWED, format!("this path answers {allowed} only"))
            }
        }
    }

    /// RFC 6749 §5.2 and RFC 6750 §3: a 401 says how to authenticate.
    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Self::OAuth(OAuthError { code: OAuthErrorCode::InvalidClient, .. }) => {
                Some(HeaderValue::from_static("Basic realm=\"tessera\", charset=\"UTF-8\""))
            }
            Self::Bearer(OAuthError { code: OAuthErrorCode::InsufficientScope, .. }) => Some(HeaderValue::from_static(
                "Bearer realm=\"tessera\", error=\"insufficient_scope\", scope=\"tessera.admin\"",
            )),
            Self::LacksScope(scope) => {
                let challenge = format!("Bearer realm=\"tessera\", error=\"insufficient_scope\", scope=\"{scope}\"");
                HeaderValue::from_str(&challenge).ok()
            }
            Self::Bearer(OAuthError { code: OAuthErrorCode::InvalidRequest, .. }) => {
                Some(HeaderValue::from_static("Bearer realm=\"tessera\", error=\"invalid_request\""))
            }
            Self::Bearer(_) | Self::Client(ClientError::InitialAccess(_)) => {
                Some(HeaderValue::from_static("Bearer realm=\"tessera\", error=\"invalid_token\""))
            }
            Self::BearerMissing => Some(HeaderValue::from_static("Bearer realm=\"tessera\"")),
            _ => None,
        }
    }
}

fn status_of(code: OAuthErrorCode) -> StatusCode {
    match code {
        OAuthErrorCode::InvalidClient | OAuthErrorCode::InvalidToken => StatusCode::UNAUTHORIZED,
        OAuthErrorCode::InsufficientScope => StatusCode::FORBIDDEN,
        OAuthErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        OAuthErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        OAuthErrorCode::InvalidRequest
        | OAuthErrorCode::InvalidGrant
        | OAuthErrorCode::InvalidRedirectUri
        | OAuthErrorCode::InvalidSoftwareStatement
        | OAuthErrorCode::UnapprovedSoftwareStatement
        | OAuthErrorCode::UnsupportedResponseType
        | OAuthErrorCode::AccessDenied
        | OAuthErrorCode::AuthorizationPending
        | OAuthErrorCode::SlowDown
        | OAuthErrorCode::ExpiredToken
        | OAuthErrorCode::LoginRequired
        | OAuthErrorCode::ConsentRequired
        | OAuthErrorCode::InteractionRequired
        | OAuthErrorCode::RequestNotSupported
        | OAuthErrorCode::RequestUriNotSupported
        | OAuthErrorCode::InvalidRequestUri
        | OAuthErrorCode::UnauthorizedClient
        | OAuthErrorCode::UnsupportedGrantType
        | OAuthErrorCode::InvalidScope
        | OAuthErrorCode::InvalidTarget
        | OAuthErrorCode::InvalidClientMetadata => StatusCode::BAD_REQUEST,
    }
}

/// The body of an error (RFC 6749 §5.2).
#[derive(Serialize)]
struct ErrorBody<'a, T> {
    error: &'a str,
    error_description: &'a str,
    #[serde(flatten)]
    more: Option<T>,
}

/// RFC 6749 §5.2 allows `%x20-21 / %x23-5B / %x5D-7E` in a description; what a caller sent may be in it.
fn readable(description: &str) -> String {
    let readable = |character| match character {
        ' ' | '!' | '#'..='[' | ']'..='~' => character,
        '"' => '\'',
        _ => '?',
    };
    description.chars().take(300).map(readable).collect()
}

/// The start of a JSON response that nobody may store (RFC 6749 §5.1, RFC 7662 §2.2).
pub(super) fn json_response(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    response
}

/// The `Pragma` that RFC 6749 §5.1 asks for beside `Cache-Control`.
pub(super) const PRAGMA: (HeaderName, HeaderValue) = (header::PRAGMA, HeaderValue::from_static("no-cache"));

impl From<OAuthError> for Rejection {
    fn from(error: OAuthError) -> Self {
        Self::OAuth(error)
    }
}

impl From<ShardError> for Rejection {
    fn from(error: ShardError) -> Self {
        Self::Shard(error)
    }
}

impl From<PersonError> for Rejection {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Shard(error) => Self::Shard(error),
            PersonError::Refused(error) => Self::OAuth(error),
        }
    }
}

impl From<ClientError> for Rejection {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<SealError> for Rejection {
    fn from(error: SealError) -> Self {
        match error {
            SealError::TooLong => Self::OAuth(OAuthError::invalid_request(error.to_string())),
            SealError::NoRandomness => Self::NoRandomness,
        }
    }
}

impl From<TooManyGuesses> for Rejection {
    fn from(error: TooManyGuesses) -> Self {
        Self::TooManyRegistrations(error)
    }
}

impl From<KeyError> for Rejection {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<UserError> for Rejection {
    fn from(error: UserError) -> Self {
        Self::User(error)
    }
}

impl From<LoginChallengeError> for Rejection {
    fn from(error: LoginChallengeError) -> Self {
        Self::LoginChallenge(error)
    }
}

impl From<SnapshotError> for Rejection {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

impl From<InvalidClientMetadata> for Rejection {
    fn from(error: InvalidClientMetadata) -> Self {
        Self::OAuth(OAuthError::new(OAuthErrorCode::InvalidClientMetadata, error.to_string()))
    }
}
