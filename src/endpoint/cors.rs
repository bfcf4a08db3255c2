//! Which web pages may read an answer (the CORS protocol of the Fetch standard).
//!
//! A page may read what the token, revocation and userinfo endpoints answer to a client that has the page's origin among its
//! `allowed_cors_origins`. Origins are compared byte by byte, and no cookie counts here, so no answer allows credentials. The
//! question that a browser asks before names no client: any origin is let through by it, and learns nothing by that.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};

use crate::client::metadata::ClientMetadata;
use crate::endpoint::client_authentication::claimed_id;
use crate::endpoint::form::Form;
use crate::endpoint::loaded::Fields;
use crate::endpoint::request::Arrived;
use crate::oauth::origin::Origin;

/// For how long a browser may remember the answer to its question, in seconds.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Whether a browser asks if a page may send a request.
pub(super) fn is_preflight(head: &RequestHead) -> bool {
    let headers = head.headers();
    head.method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a browser that asks whether a page may post to an endpoint of clients.
pub(super) fn allow_post(head: &RequestHead) -> HttpResponse {
    allow(head, "POST")
}

/// The answer to a browser that asks whether a page may use these methods at an endpoint of clients.
pub(super) fn allow(head: &RequestHead, methods: &'static str) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    response.insert_header((header::VARY, VARY_BY_ORIGIN));
    if let Some(origin) = origin_of(head) {
        response
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin))
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS));
    }
    response.finish()
}

/// The answer to a browser that asks whether a page may get a document that is for everybody.
pub(super) fn allow_get() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(EVERYBODY)
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS))
        .finish()
}

/// Lets any page read a document that is the same for everybody.
pub(super) const EVERYBODY: (header::HeaderName, HeaderValue) =
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// Who may read the answer to a request of a client.
pub(super) enum Readers {
    /// The request is no page's.
    NotAsked,
    /// Its page may not.
    Nobody,
    /// Its page may.
    Page(HeaderValue),
}

impl Readers {
    /// Of a request that names a client: an answer that refuses its credentials is for the client's pages too, or they could
    /// not tell what is wrong.
    pub(super) fn of(request: &Arrived<'_>) -> Self {
        if !request.headers().contains_key(header::ORIGIN) {
            return Self::NotAsked;
        }
        let form = Form::parse_with_resources(&request.body).ok();
        let id = form.as_ref().and_then(|form| claimed_id(&Fields::of(request.headers()), form));
        id.map_or(Self::Nobody, |id| Self::of_client(request, &id))
    }

    /// Of a request that is that client's.
    pub(super) fn of_client(request: &Arrived<'_>, client_id: &str) -> Self {
        if !request.headers().contains_key(header::ORIGIN) {
            return Self::NotAsked;
        }
        let clients = request.service.registry.read();
        let client = clients.find(client_id);
        let origin = origin_of(request.head);
        match origin.zip(client).filter(|(origin, client)| has_origin(&client.metadata, origin)) {
            Some((origin, _)) => Self::Page(origin),
            None => Self::Nobody,
        }
    }

    /// Whatever page it is, for an answer that says nothing of anybody.
    pub(super) fn any_page(request: &Arrived<'_>) -> Self {
        if !request.headers().contains_key(header::ORIGIN) {
            return Self::NotAsked;
        }
        origin_of(request.head).map_or(Self::Nobody, Self::Page)
    }

    /// Writes it into the answer.
    pub(super) fn note_in(self, response: &mut HttpResponse) {
        let headers = response.headers_mut();
        if matches!(self, Self::NotAsked) {
            return;
        }
        headers.insert(header::VARY, VARY_BY_ORIGIN);
        if let Self::Page(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("Retry-After, WWW-Authenticate"),
            );
        }
    }
}

const VARY_BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// The one origin of a request, if it is one that a client could have: `null` is none.
fn origin_of(head: &RequestHead) -> Option<HeaderValue> {
    let mut fields = head.headers().get_all(header::ORIGIN);
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    field.to_str().ok().filter(|text| Origin::parse(text).is_ok())?;
    Some(field.clone())
}

fn has_origin(metadata: &ClientMetadata, origin: &HeaderValue) -> bool {
    metadata.allowed_cors_origins.iter().any(|own| own.as_str().as_bytes() == origin.as_bytes())
}
