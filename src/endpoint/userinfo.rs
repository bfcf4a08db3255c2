//! `GET|POST /oauth2/userinfo` (`OpenID` Connect Core §5.3): what a client may know of the person who granted it an access token.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};

use crate::endpoint::access::active_terms;
use crate::endpoint::cors::{self, Readers};
use crate::endpoint::reject::{Rejection, json_response};
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::Worker;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::scope::OPENID_SCOPE;
use crate::telemetry::http::Endpoint;
use crate::token::grant::GrantTerms;
use crate::user::claims::claims_of;

pub(super) const PATH: &str = "/oauth2/userinfo";

pub(super) async fn userinfo(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Userinfo, http.head(), payload.into_inner(), FORM_BYTES_MAX, async |request| {
        let terms = active_terms(&request);
        let readers = match &terms {
            Ok(terms) => Readers::of_client(&request, terms.client.id.as_str()),
            // Nothing in a refusal is anybody's, and a page must see that its token has expired.
            Err(_) => Readers::any_page(&request),
        };
        let answered = terms.and_then(|terms| answer(&request, &terms));
        let mut response = answered.unwrap_or_else(|rejection| rejection.response());
        readers.note_in(&mut response);
        Ok(response)
    })
    .await
}

/// The answer to a browser that asks whether a page may ask.
pub(super) async fn preflight(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Userinfo, http.head(), payload.into_inner(), 0, async |request| {
        Ok(cors::allow(request.head, "GET, POST"))
    })
    .await
}

fn answer(request: &Arrived<'_>, terms: &GrantTerms) -> Result<HttpResponse, Rejection> {
    let GrantTerms { client, person } = terms;
    if !client.scope.contains(OPENID_SCOPE) {
        return Err(Rejection::LacksScope(OPENID_SCOPE));
    }
    let nobody = || OAuthError::new(OAuthErrorCode::InvalidToken, "no person has granted this access token");
    let person = person.as_ref().ok_or_else(|| Rejection::Bearer(nobody()))?;
    let user = request.service.users.find(&person.subject);
    let asked = client.claims.as_ref().map(ClaimsRequest::userinfo).unwrap_or_default();
    let mut claims = user.map_or_else(Map::new, |user| claims_of(&user, &client.scope, &asked));
    claims.insert("sub".to_owned(), Value::from(person.subject.as_str()));
    Ok(json_response(StatusCode::OK).body(serde_json::to_string(&claims).unwrap_or_default()))
}
