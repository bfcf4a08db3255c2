//! `GET /metrics`.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::endpoint::request::serve;
use crate::endpoint::service::Worker;
use crate::telemetry::exposition::CONTENT_TYPE;
use crate::telemetry::http::Endpoint;

pub(super) async fn metrics(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Metrics, http.head(), payload.into_inner(), 0, async |request| {
        let text = request.service.exposition.encode().unwrap_or_default();
        Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, CONTENT_TYPE)).body(text))
    })
    .await
}
