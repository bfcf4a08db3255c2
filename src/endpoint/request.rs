//! Reading a request whole, within bounds.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::clock::UnixTime;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::{Service, Worker};
use crate::telemetry::http::Endpoint;

/// The largest body of a form or of one JSON object, in bytes.
pub(super) const FORM_BYTES_MAX: usize = 64 * 1024;
/// The largest head of a request that is read, names and values of its fields together, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A request that has arrived whole, at a server that is ready.
pub(super) struct Arrived<'a> {
    pub(super) service: &'a Service,
    pub(super) head: &'a RequestHead,
    pub(super) body: Bytes,
    pub(super) now: UnixTime,
}

impl Arrived<'_> {
    pub(super) fn headers(&self) -> &HeaderMap {
        self.head.headers()
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
    head: &RequestHead,
    payload: Payload,
    body_bytes_max: usize,
    answer: impl AsyncFnOnce(Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    let clock = &worker.gate.clock;
    let started = clock.monotonic();
    let response = match arrive(worker, head, payload, body_bytes_max, clock.at(started)).await {
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
    head: &'a RequestHead,
    payload: Payload,
    body_bytes_max: usize,
    now: UnixTime,
) -> Result<Arrived<'a>, Rejection> {
    let body = read_body(payload, body_bytes_max, worker.gate.body_timeout).await?;
    let head_bytes: usize = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head_bytes + head.uri.path().len() > HEAD_BYTES_MAX {
        return Err(Rejection::HeadTooLarge);
    }
    // A token or a secret in a URL ends up in the logs of every proxy on the way.
    if head.method == Method::POST && head.uri.query().is_some() {
        return Err(Rejection::QueryNotAllowed);
    }
    let service = worker.gate.service().ok_or(Rejection::NotReady)?;
    Ok(Arrived { service, head, body, now })
}

async fn read_body(payload: Payload, bytes_max: usize, timeout: Duration) -> Result<Bytes, Rejection> {
    let mut arriving = ArrivingBody { payload, first: Bytes::new(), more: BytesMut::new(), bytes_max };
    // The dispatcher asks for the response before it hands on what came with the head, and asks again afterwards. Most
    // bodies are whole by then: only one that is not gets a timer.
    let mut has_waited = false;
    let whole = poll_fn(|context| match arriving.poll(context) {
        Poll::Ready(body) => Poll::Ready(Some(body)),
        Poll::Pending if has_waited => Poll::Ready(None),
        Poll::Pending => {
            has_waited = true;
            Poll::Pending
        }
    });
    match whole.await {
        Some(body) => body,
        None => {
            // In a box, so that requests that need not wait do not carry its state.
            let rest = poll_fn(move |context| arriving.poll(context));
            Box::pin(tokio::time::timeout(timeout, rest)).await.unwrap_or(Err(Rejection::BodyTimeout))
        }
    }
}

/// A body of which some may have arrived. One that comes as a single chunk is not copied.
struct ArrivingBody {
    payload: Payload,
    first: Bytes,
    more: BytesMut,
    bytes_max: usize,
}

impl ArrivingBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Rejection>> {
        while let Some(chunk) = ready!(self.payload.poll_next_unpin(context)) {
            let Ok(chunk) = chunk else { return Poll::Ready(Err(Rejection::BodyBroken)) };
            if self.first.len() + self.more.len() + chunk.len() > self.bytes_max {
                return Poll::Ready(Err(Rejection::BodyTooLarge(self.bytes_max)));
            }
            if self.first.is_empty() {
                self.first = chunk;
            } else {
                self.more.extend_from_slice(&chunk);
            }
        }
        if self.more.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.first)));
        }
        let mut whole = BytesMut::from(std::mem::take(&mut self.first));
        whole.unsplit(std::mem::take(&mut self.more));
        Poll::Ready(Ok(whole.freeze()))
    }
}

/// Whether a `Content-Type` names a media type, whatever its case and parameters (RFC 9110 §8.3).
fn is_media_type(value: &HeaderValue, media_type: &str) -> bool {
    let value = value.as_bytes();
    // The usual text needs no parsing.
    if value == media_type.as_bytes() {
        return true;
    }
    let named = value.split(|byte| *byte == b';').next().unwrap_or_default();
    named.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
}
