//! The endpoints that carry the load: posted to, answered with one JSON object, whatever the request came through.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpResponse, HttpResponseBuilder};

use crate::clock::UnixTime;
use crate::endpoint::client_authentication::{prove_assertion, prove_secret};
use crate::endpoint::cors::Readers;
use crate::endpoint::reject::{PRAGMA, Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX};
use crate::endpoint::service::Service;
use crate::endpoint::{introspect, introspect_batch, revoke, token};
use crate::oauth::error::OAuthErrorCode;
use crate::telemetry::http::Endpoint;

/// An endpoint that carries the load. All of them answer POST alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    Token,
    Introspect,
    IntrospectBatch,
    Revoke,
}

impl Loaded {
    /// The endpoint at a path, if it carries the load.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/oauth2/introspect" => Some(Self::Introspect),
            "/oauth2/token" => Some(Self::Token),
            "/oauth2/revoke" => Some(Self::Revoke),
            "/oauth2/introspect/batch" => Some(Self::IntrospectBatch),
            _ => None,
        }
    }

    /// What metrics call it.
    pub(super) const fn endpoint(self) -> Endpoint {
        match self {
            Self::Token => Endpoint::Token,
            Self::Introspect => Endpoint::Introspect,
            Self::IntrospectBatch => Endpoint::IntrospectBatch,
            Self::Revoke => Endpoint::Revoke,
        }
    }

    /// The largest body that it reads, in bytes.
    pub(super) const fn body_bytes_max(self) -> usize {
        match self {
            Self::IntrospectBatch => introspect_batch::BODY_BYTES_MAX,
            Self::Token | Self::Introspect | Self::Revoke => FORM_BYTES_MAX,
        }
    }

    /// Whether an answer may wait for the disk.
    pub(super) const fn may_wait(self) -> bool {
        matches!(self, Self::Token | Self::Revoke)
    }

    /// Whether its answers have the `Pragma` that RFC 6749 §5.1 asks for.
    pub(super) const fn has_pragma(self) -> bool {
        matches!(self, Self::Token)
    }

    /// Appends the body of its answer, whose status is 200. What stands there after a rejection means nothing.
    pub(super) async fn answer(self, request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
        // The head of the answer is before it, and perhaps other answers.
        let start = body.len();
        match self.answer_proven(request, body).await {
            Err(Rejection::OAuth(error)) if error.code == OAuthErrorCode::InvalidClient => {
                if let Some(client_id) = Box::pin(prove_assertion(request)).await? {
                    body.truncate(start);
                    let fields = Fields { proven: Some(client_id.as_str()), ..request.fields };
                    let proven = LoadedRequest { fields, ..*request };
                    return Box::pin(self.answer_proven(&proven, body)).await;
                }
                if !Box::pin(prove_secret(request)).await? {
                    return Err(error.into());
                }
                body.truncate(start);
                Box::pin(self.answer_proven(request, body)).await
            }
            outcome => outcome,
        }
    }

    async fn answer_proven(self, request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
        match self {
            Self::Introspect => introspect::answer(request, body),
            Self::IntrospectBatch => introspect_batch::answer(request, body),
            Self::Token => token::answer(request, body).await,
            Self::Revoke => revoke::answer(request, body).await,
        }
    }

    /// Whether the pages of a client may read its answers.
    pub(super) const fn is_for_pages(self) -> bool {
        matches!(self, Self::Token | Self::Revoke)
    }

    /// [`Loaded::answer`] for a request that came through actix-http.
    pub(super) async fn respond(self, request: Arrived<'_>) -> Result<HttpResponse, Rejection> {
        let readers = if self.is_for_pages() { Readers::of(&request) } else { Readers::NotAsked };
        let Arrived { service, head, body, now } = request;
        let mut answer = Vec::new();
        let request = LoadedRequest { service, fields: Fields::of(head.headers()), body: &body, now };
        let mut response = match self.answer(&request, &mut answer).await {
            Ok(()) => self.ok().body(answer),
            Err(rejection) => rejection.response(),
        };
        readers.note_in(&mut response);
        Ok(response)
    }

    fn ok(self) -> HttpResponseBuilder {
        let mut response = json_response(StatusCode::OK);
        if self.has_pragma() {
            response.insert_header(PRAGMA);
        }
        response
    }
}

/// A request to such an endpoint, arrived whole at a server that is ready.
pub(super) struct LoadedRequest<'a> {
    pub(super) service: &'a Service,
    pub(super) fields: Fields<'a>,
    pub(super) body: &'a [u8],
    pub(super) now: UnixTime,
}

/// The header fields that endpoints look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub(super) authorization: Option<&'a [u8]>,
    pub(super) is_authorization_repeated: bool,
    pub(super) content_type: Option<&'a [u8]>,
    pub(super) content_encoding: Option<&'a [u8]>,
    /// The client that the request has proven itself to be by an assertion.
    pub(super) proven: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Of a request that actix-http has read.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut authorizations = headers.get_all(header::AUTHORIZATION);
        let first = |name| headers.get(name).map(|value| value.as_bytes());
        Self {
            authorization: authorizations.next().map(|value| value.as_bytes()),
            is_authorization_repeated: authorizations.next().is_some(),
            content_type: first(header::CONTENT_TYPE),
            content_encoding: first(header::CONTENT_ENCODING),
            proven: None,
        }
    }

    /// Checks that the body is what the endpoint reads.
    pub(super) fn expect_content(&self, media_type: &'static str) -> Result<(), Rejection> {
        let is_plain = self.content_encoding.is_none_or(|coding| coding == b"identity");
        let is_expected = self.content_type.is_some_and(|value| is_media_type(value, media_type));
        if is_plain && is_expected { Ok(()) } else { Err(Rejection::UnsupportedMediaType(media_type)) }
    }
}

/// Whether a `Content-Type` names a media type, whatever its case and parameters (RFC 9110 §8.3).
fn is_media_type(value: &[u8], media_type: &str) -> bool {
    // The usual text needs no parsing.
    if value == media_type.as_bytes() {
        return true;
    }
    let named = value.split(|byte| *byte == b';').next().unwrap_or_default();
    named.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
}
