//! Reading a request whole, within bounds.

use std::pin::pin;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use futures_util::future::poll_immediate;

use crate::clock::UnixTime;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::{Service, Worker};
use crate::telemetry::http::Endpoint;

/// The largest body of a form or of one JSON object, in bytes.
pub(super) const FORM_BYTES_MAX: usize = 64 * 1024;
/// The largest head of a request that is read, names and values of its fields together, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that has arrived whole, at a server that is ready.
pub(super) struct Arrived<'a> {
    pub(super) service: &'a Service,
    pub(super) http: &'a HttpRequest,
    pub(super) body: Bytes,
    pub(super) now: UnixTime,
}

impl Arrived<'_> {
    pub(super) fn headers(&self) -> &HeaderMap {
        self.http.headers()
    }

    /// Checks that the body is what the endpoint reads.
    pub(super) fn expect_content(&self, media_type: &'static str) -> Result<(), Rejection> {
        let headers = self.headers();
        let is_plain = headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
        let is_expected = headers.get(header::CONTENT_TYPE).is_some_and(|value| is_media_type(value, media_type));
        if is_plain && is_expected { Ok(()) } else { Err(Rejection::UnsupportedMediaType(media_type)) }
    }
}

/// Answers one request: reads it, lets `answer` decide, turns a rejection into its response, and counts.
///
/// The body is read before anything is refused: a connection with an unread body cannot be kept.
pub(super) async fn serve(
    worker: &Worker,
    endpoint: Endpoint,
    http: &HttpRequest,
    payload: Payload,
    body_bytes_max: usize,
    answer: impl AsyncFnOnce(Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    let clock = &worker.gate.clock;
    let started = clock.monotonic();
    let response = match arrive(worker, http, payload, body_bytes_max, clock.at(started)).await {
        Ok(arrived) => answer(arrived).await,
        Err(rejection) => Err(rejection),
    };
    let response = response.unwrap_or_else(|rejection| rejection.response());
    let duration = clock.monotonic().saturating_sub(started);
    worker.metrics.record(endpoint, response.status().as_u16(), duration);
    response
}

async fn arrive<'a>(
    worker: &'a Worker,
    http: &'a HttpRequest,
    payload: Payload,
    body_bytes_max: usize,
    now: UnixTime,
) -> Result<Arrived<'a>, Rejection> {
    let body = read_body(http, payload, body_bytes_max).await?;
    let head_bytes: usize = http.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head_bytes + http.uri().path().len() > HEAD_BYTES_MAX {
        return Err(Rejection::HeadTooLarge);
    }
    // A token or a secret in a URL ends up in the logs of every proxy on the way.
    if http.method() == Method::POST && http.uri().query().is_some() {
        return Err(Rejection::QueryNotAllowed);
    }
    let service = worker.gate.service().ok_or(Rejection::NotReady)?;
    Ok(Arrived { service, http, body, now })
}

async fn read_body(http: &HttpRequest, payload: Payload, bytes_max: usize) -> Result<Bytes, Rejection> {
    let announced = http.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > bytes_max) {
        return Err(Rejection::BodyTooLarge(bytes_max));
    }
    let mut body = pin!(collect(payload, bytes_max));
    // Most bodies came with their head: they need no timer.
    match poll_immediate(body.as_mut()).await {
        Some(body) => body,
        None => tokio::time::timeout(BODY_TIMEOUT, body).await.unwrap_or(Err(Rejection::BodyTimeout)),
    }
}

async fn collect(mut payload: Payload, bytes_max: usize) -> Result<Bytes, Rejection> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    // Before the next chunk is waited for: it may never come.
    let first = within(first.map_err(|_| Rejection::BodyBroken)?, bytes_max)?;
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut body = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        body.extend_from_slice(&chunk.map_err(|_| Rejection::BodyBroken)?);
        if body.len() > bytes_max {
            return Err(Rejection::BodyTooLarge(bytes_max));
        }
        next = payload.next().await;
    }
    Ok(body.freeze())
}

fn within(body: Bytes, bytes_max: usize) -> Result<Bytes, Rejection> {
    if body.len() > bytes_max { Err(Rejection::BodyTooLarge(bytes_max)) } else { Ok(body) }
}

/// Whether a `Content-Type` names a media type, whatever its case and parameters (RFC 9110 §8.3).
fn is_media_type(value: &HeaderValue, media_type: &str) -> bool {
    let named = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    named.trim().eq_ignore_ascii_case(media_type)
}
