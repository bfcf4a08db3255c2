//! `GET /assets/…`: what pages load.

use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};

use crate::endpoint::reject::Rejection;
use crate::endpoint::request::serve;
use crate::endpoint::service::Worker;
use crate::telemetry::http::Endpoint;

pub(super) const PATH: &str = "/assets/{name}";

pub(super) async fn get(http: HttpRequest, payload: Payload, worker: Data<Worker>, name: Path<String>) -> HttpResponse {
    serve(&worker, Endpoint::Asset, http.head(), payload.into_inner(), 0, async |request| {
        request.service.pages.asset(&name).ok_or(Rejection::NotFound)
    })
    .await
}
