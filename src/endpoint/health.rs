//! `GET /livez` and `GET /readyz`: the probes.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::endpoint::reject::json_response;
use crate::endpoint::request::{serve, serve_even_unready};
use crate::endpoint::service::Worker;
use crate::telemetry::http::Endpoint;

/// The process answers. Restart it if this fails.
pub(super) async fn livez(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve_even_unready(&worker, Endpoint::Livez, http.head(), payload.into_inner(), 0, async |_, _| {
        Ok(json_response(StatusCode::OK).body(r#"{"status":"alive"}"#))
    })
    .await
}

/// The journal has been read to its end, and requests are answered. Send no traffic while this is 503.
pub(super) async fn readyz(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Readyz, http.head(), payload.into_inner(), 0, async |_| {
        Ok(json_response(StatusCode::OK).body(r#"{"status":"ready"}"#))
    })
    .await
}
