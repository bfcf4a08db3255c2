//! `POST /admin/v1/snapshots` and `POST /admin/v1/backup`: the state of the server into a file of its own, or into the caller's.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use futures_util::stream::poll_fn;
use serde::Serialize;

use crate::endpoint::admin::{Access, Asked, administer_at};
use crate::endpoint::only_post;
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::Arrived;
use crate::shard::snapshot::{SnapshotReport, Snapshots};
use crate::telemetry::http::Endpoint;

pub(super) fn configure(access: Access, app: &mut ServiceConfig) {
    let snapshots = only_post("/admin/v1/snapshots", web::post().to(take_snapshot)).app_data(Data::new(access));
    let backup = only_post("/admin/v1/backup", web::post().to(back_up)).app_data(Data::new(access));
    app.service(snapshots).service(backup);
}

/// Takes a snapshot, and answers once a restart would begin with it.
async fn take_snapshot(asked: Asked) -> HttpResponse {
    administer_at(Endpoint::AdminSnapshots, asked, async |request| {
        let report = snapshots(request)?.take().await?;
        let body = serde_json::to_string(&SnapshotDocument::of(&report)).unwrap_or_default();
        Ok(json_response(StatusCode::CREATED).body(body))
    })
    .await
}

/// Streams a backup. It is whole if the response ends as HTTP says that it ends; one that broke off does not.
async fn back_up(asked: Asked) -> HttpResponse {
    administer_at(Endpoint::AdminBackup, asked, async |request| {
        let mut pieces = snapshots(request)?.back_up()?;
        let pieces = poll_fn(move |context| pieces.poll_recv(context).map(|piece| Some(piece?.map(Bytes::from))));
        Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/octet-stream"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .streaming(pieces))
    })
    .await
}

fn snapshots<'a>(request: &'a Arrived<'_>) -> Result<&'a Snapshots, Rejection> {
    request.service.snapshots.as_ref().ok_or(Rejection::NothingKept)
}

#[derive(Serialize)]
struct SnapshotDocument {
    /// All up to this record is in it.
    start_lsn: u64,
    /// Nothing after this record is in it.
    end_lsn: u64,
    /// Tokens, and records of clients.
    items: u64,
    bytes: u64,
    duration_ms: u64,
    /// Segments of the journal that were removed because no restart needs them any more.
    retired_segments: usize,
}

impl SnapshotDocument {
    fn of(report: &SnapshotReport) -> Self {
        Self {
            start_lsn: report.extent.start_lsn.value(),
            end_lsn: report.extent.end_lsn.value(),
            items: report.extent.items,
            bytes: report.bytes,
            duration_ms: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
            retired_segments: report.retired_segments,
        }
    }
}
