//! `/admin/v1/grants`: what people have granted to clients, to look at and to end.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, Query, ServiceConfig};
use serde::{Deserialize, Serialize};

use crate::endpoint::admin::{Access, Asked, administer_at, done};
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::Arrived;
use crate::oauth::error::OAuthError;
use crate::oauth::subject::Subject;
use crate::shard::people::GrantSummary;
use crate::telemetry::http::Endpoint;
use crate::token::grant_id::GrantId;

pub(super) fn configure(access: Access, app: &mut ServiceConfig) {
    let grants = super::only_get("/admin/v1/grants", web::get().to(list));
    let grant = web::resource("/admin/v1/grants/{id}")
        .route(web::get().to(show))
        .route(web::delete().to(end))
        .default_service(web::to(super::get_or_delete_allowed));
    app.service(grants.app_data(Data::new(access))).service(grant.app_data(Data::new(access)));
}

async fn administer(
    asked: Asked,
    answer: impl AsyncFnOnce(&Arrived<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    administer_at(Endpoint::AdminGrants, asked, answer).await
}

async fn list(asked: Asked) -> HttpResponse {
    administer(asked, async |request| {
        let query = Query::<ListQuery>::from_query(request.head.uri.query().unwrap_or_default());
        let query = query.map_err(|error| OAuthError::invalid_request(format!("the query must have sub: {error}")))?;
        let subject =
            Subject::parse(&query.sub).map_err(|error| OAuthError::invalid_request(format!("sub: {error}")))?;
        let grants = request.service.shards.grants_of(&subject, request.now).await?;
        let body = ListDocument { grants: grants.iter().map(GrantDocument::of).collect() };
        Ok(json_response(StatusCode::OK).body(serde_json::to_string(&body).unwrap_or_default()))
    })
    .await
}

async fn show(asked: Asked, id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let id = GrantId::parse(&id).ok_or(Rejection::NotFound)?;
        let grant = request.service.shards.find_grant(id, request.now).await?.ok_or(Rejection::NotFound)?;
        let body = serde_json::to_string(&GrantDocument::of(&grant)).unwrap_or_default();
        Ok(json_response(StatusCode::OK).body(body))
    })
    .await
}

/// Answers when the end is durable. A grant that was ended before is as good as ended now.
async fn end(asked: Asked, id: Path<String>) -> HttpResponse {
    administer(asked, async |request| {
        let id = GrantId::parse(&id).ok_or(Rejection::NotFound)?;
        if !request.service.shards.end_grant(id, None).await? {
            return Err(Rejection::NotFound);
        }
        Ok(done())
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    sub: String,
}

#[derive(Serialize)]
struct ListDocument<'a> {
    grants: Vec<GrantDocument<'a>>,
}

/// A person's grant. All times are seconds since the epoch.
#[derive(Serialize)]
struct GrantDocument<'a> {
    id: String,
    sub: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    created_at: u32,
    /// When it was last refreshed; absent where it has no refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    refreshed_at: Option<u32>,
    /// When nothing of it is left unless it is refreshed before.
    expires_at: u32,
}

impl<'a> GrantDocument<'a> {
    fn of(grant: &'a GrantSummary) -> Self {
        Self {
            id: grant.id.to_string(),
            sub: grant.terms.subject(),
            client_id: grant.terms.client.id.as_str(),
            scope: grant.terms.client.scope.as_str(),
            created_at: grant.created_at,
            refreshed_at: grant.refreshed_at,
            expires_at: grant.live_until,
        }
    }
}
