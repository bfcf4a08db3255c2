//! `GET /livez` and `GET /readyz`: the probes.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{check_head, serve_even_unready};
use crate::endpoint::service::Worker;
use crate::telemetry::http::Endpoint;
use crate::telemetry::progress::StartProgress;
use crate::telemetry::projection::DatabaseHealth;

/// The process answers. Restart it if this fails.
pub(super) async fn livez(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve_even_unready(&worker, Endpoint::Livez, http.head(), payload.into_inner(), 0, async |_, _| {
        Ok(json_response(StatusCode::OK).body(r#"{"status":"alive"}"#))
    })
    .await
}

/// The journal has been read to its end, and requests are answered. Send no traffic while this is 503; it says how far the
/// start has come. A database that is behind or gone is shown, and is no reason for a 503.
pub(super) async fn readyz(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve_even_unready(&worker, Endpoint::Readyz, http.head(), payload.into_inner(), 0, async |_, _| {
        check_head(http.head())?;
        Ok(match worker.gate.service() {
            Some(service) => json_response(StatusCode::OK)
                .json(ReadyMembers { status: "ready", database: service.database.as_ref().map(|health| health()) }),
            None => starting(&worker.gate.progress),
        })
    })
    .await
}

fn starting(progress: &StartProgress) -> HttpResponse {
    Rejection::NotReady.response_with(Some(StartingMembers {
        status: "starting",
        read_bytes: progress.read_bytes(),
        expected_bytes: progress.expected_bytes(),
        percent: progress.percent(),
    }))
}

#[derive(Serialize)]
struct ReadyMembers {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<DatabaseHealth>,
}

/// How far the start has come.
#[derive(Serialize)]
struct StartingMembers {
    status: &'static str,
    /// Bytes of snapshot and journal that have been read.
    read_bytes: u64,
    /// Bytes to be read in all, at most; 0 while that is not known.
    expected_bytes: u64,
    percent: u64,
}
