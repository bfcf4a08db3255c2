//! Reading a request whole, within bounds.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::Error as _;

use crate::clock::UnixTime;
use crate::endpoint::loaded::Fields;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::{Service, Worker};
use crate::telemetry::http::Endpoint;

/// The largest body of a form or of one JSON object, in bytes.
pub(super) const FORM_BYTES_MAX: usize = 64 * 1024;
/// The largest head of a request that is read, names and values of its fields together, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

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
        Fields::of(self.headers()).expect_content(media_type)
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
    serve_even_unready(worker, endpoint, head, payload, body_bytes_max, async |body, now| {
        check_head(head)?;
        let service = worker.gate.service().ok_or(Rejection::NotReady)?;
        answer(Arrived { service, head, body, now }).await
    })
    .await
}

/// [`serve`] without a look at the head, and although the journal may still be read.
pub(super) async fn serve_even_unready(
    worker: &Worker,
    endpoint: Endpoint,
    head: &RequestHead,
    mut payload: Payload,
    body_bytes_max: usize,
    answer: impl AsyncFnOnce(Bytes, UnixTime) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    let clock = &worker.gate.clock;
    let started = clock.monotonic();
    let response = match read_body(head, &mut payload, body_bytes_max, worker.gate.body_timeout).await {
        Ok(body) => answer(body, clock.at(started)).await.unwrap_or_else(|rejection| rejection.response()),
        Err(rejection) => {
            rejection.response().map_body(|_, body| BoxBody::new(BeforeUnread { body, _payload: payload }))
        }
    };
    let duration = clock.monotonic().saturating_sub(started);
    worker.metrics.record(endpoint, response.status().as_u16(), duration);
    response
}

pub(super) fn check_head(head: &RequestHead) -> Result<(), Rejection> {
    let head_bytes: usize = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head_bytes + head.uri.path().len() > HEAD_BYTES_MAX {
        return Err(Rejection::HeadTooLarge);
    }
    // A token or a secret in a URL ends up in the logs of every proxy on the way.
    if head.method == Method::POST && head.uri.query().is_some() {
        return Err(Rejection::QueryNotAllowed);
    }
    Ok(())
}

/// The body of a response that is sent while the request's is unread. It keeps the request's: actix-http closes the
/// connection (after a second of linger) while that is there, and reads it to its end, however far off, once it is gone.
struct BeforeUnread {
    body: BoxBody,
    _payload: Payload,
}

impl MessageBody for BeforeUnread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

async fn read_body(
    head: &RequestHead,
    payload: &mut Payload,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, Rejection> {
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
        None if announced_bytes(head) > bytes_max => Err(Rejection::BodyTooLarge(bytes_max)),
        None => {
            // In a box, so that requests that need not wait do not carry its state.
            let rest = poll_fn(move |context| arriving.poll(context));
            Box::pin(tokio::time::timeout(timeout, rest)).await.unwrap_or(Err(Rejection::BodyTimeout))
        }
    }
}

/// What `Content-Length` says, or 0.
fn announced_bytes(head: &RequestHead) -> usize {
    let announced = head.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    announced.and_then(|length| length.parse().ok()).unwrap_or_default()
}

/// A body of which some may have arrived. One that comes as a single chunk is not copied.
struct ArrivingBody<'a> {
    payload: &'a mut Payload,
    first: Bytes,
    more: BytesMut,
    bytes_max: usize,
}

impl ArrivingBody<'_> {
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

/// Reads a JSON object. By itself serde takes a list for a struct too, its items for the members in their order.
pub(super) fn read_object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    // Once for all strings in it.
    let text = std::str::from_utf8(body).map_err(serde_json::Error::custom)?;
    if text.trim_ascii_start().starts_with('{') {
        serde_json::from_str(text)
    } else {
        Err(serde_json::Error::custom("it is no JSON object"))
    }
}
