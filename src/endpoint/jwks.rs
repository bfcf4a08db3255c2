//! `GET /oauth2/jwks` (RFC 7517 §5): the keys that sign, those that will, and those of which tokens are still good.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::endpoint::cors::EVERYBODY;
use crate::endpoint::request::serve;
use crate::endpoint::service::Worker;
use crate::telemetry::http::Endpoint;

pub(super) const PATH: &str = "/oauth2/jwks";

pub(super) async fn jwks(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Jwks, http.head(), payload.into_inner(), 0, async |request| {
        let keys = request.service.keys.keys();
        let document = &keys.jwks;
        let is_known = request.headers().get_all(header::IF_NONE_MATCH).any(|field| names(field, &document.etag));
        let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response.insert_header(CACHE_CONTROL).insert_header(EVERYBODY).insert_header((header::ETAG, &*document.etag));
        Ok(if is_known { response.finish() } else { response.insert_header(CONTENT_TYPE).body(document.body.clone()) })
    })
    .await
}

/// RFC 9110 §13.1.2: a list of tags, compared weakly, or any.
fn names(field: &HeaderValue, etag: &str) -> bool {
    let tags = field.to_str().unwrap_or_default().split(',').map(str::trim);
    tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).any(|tag| tag == "*" || tag == etag)
}

/// As long as a new key is published before it signs, at the least.
const CACHE_CONTROL: (HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
const CONTENT_TYPE: (HeaderName, HeaderValue) =
    (header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
