//! `GET|POST /device` (RFC 8628 §3.3): a person types the code that a device shows, and says whether it may have what it asks for.
//!
//! The page always asks, also where the code came with the URL, and says who asks for what, from where and since when: the code may
//! have been sent by somebody who wants to get into the person's account (RFC 8628 §5.4).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::Query;
use serde::Deserialize;

use crate::clock::UnixTime;
use crate::endpoint::authorize::context_of;
use crate::endpoint::form::Form;
use crate::endpoint::guesses::{Guess, TooManyGuesses};
use crate::endpoint::page::csrf::Purpose;
use crate::endpoint::page::problem::DeviceProblem;
use crate::endpoint::page::view::{
    ClientView, DeviceCodePage, DeviceDonePage, DeviceOutcome, DevicePage, Moment, Then,
};
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::Arrived;
use crate::endpoint::visit::{Visit, Visitor, address, foreign_form, read_form, visit};
use crate::oauth::error::OAuthError;
use crate::shard::people::DeviceAnswer;
use crate::telemetry::http::Endpoint;
use crate::token::user_code::UserCode;
use crate::user::logins::Place;

pub(super) const PATH: &str = "/device";
pub(super) const DONE_PATH: &str = "/device/done";

#[derive(Default, Deserialize)]
struct DeviceQuery {
    #[serde(default)]
    user_code: String,
}

pub(super) async fn get(of: Visit) -> HttpResponse {
    visit(Endpoint::Device, of, async |request, browser| {
        let query = Query::<DeviceQuery>::from_query(request.head.uri.query().unwrap_or_default());
        let typed = query.map(|query| query.into_inner().user_code).unwrap_or_default();
        match Visitor::of(request, &browser, Then::Device { user_code: &typed }) {
            Ok(visitor) => Ok(show_form(request, &visitor, &typed, None)),
            Err(login) => Ok(*login),
        }
    })
    .await
}

pub(super) async fn post(of: Visit) -> HttpResponse {
    visit(Endpoint::Device, of, async |request, browser| {
        let form = read_form(request)?;
        let typed = form.find("user_code").unwrap_or_default();
        let visitor = match Visitor::of(request, &browser, Then::Device { user_code: typed }) {
            Ok(visitor) => visitor,
            Err(login) => return Ok(*login),
        };
        match form.find("decision") {
            None => find(request, &visitor, &form, typed).await,
            Some(decision) => decide(request, &visitor, &form, typed, decision).await,
        }
    })
    .await
}

pub(super) async fn done(of: Visit) -> HttpResponse {
    visit(Endpoint::Device, of, async |request, _| {
        let outcome = match request.head.uri.query() {
            Some("allowed") => DeviceOutcome::Allowed,
            Some("denied") => DeviceOutcome::Denied,
            _ => DeviceOutcome::Late,
        };
        Ok(request.service.pages.device_done(&DeviceDonePage { outcome }))
    })
    .await
}

fn show_form(
    request: &Arrived<'_>,
    visitor: &Visitor<'_>,
    typed: &str,
    problem: Option<DeviceProblem>,
) -> HttpResponse {
    let (csrf, username) = (visitor.csrf(Purpose::DeviceCode, ""), visitor.username());
    request.service.pages.device_code(&DeviceCodePage { csrf: &csrf, user_code: typed, username: &username, problem })
}

/// The device that waits under a code, for the person to look at.
async fn find(
    request: &Arrived<'_>,
    visitor: &Visitor<'_>,
    form: &Form<'_>,
    typed: &str,
) -> Result<HttpResponse, Rejection> {
    let again = |problem| Ok(show_form(request, visitor, typed, Some(problem)));
    if visitor.check(form, Purpose::DeviceCode, "").is_err() {
        return again(DeviceProblem::FormTooOld);
    }
    let guesses = match begin_guess(request, visitor) {
        Ok(guesses) => guesses,
        Err(TooManyGuesses { retry_after_seconds }) => return again(DeviceProblem::TooMany { retry_after_seconds }),
    };
    let service = request.service;
    let Some(code) = UserCode::parse(typed) else { return again(DeviceProblem::Unknown) };
    let found = service.shards.find_device(service.user_code_key.routing_id(&code), request.now).await?;
    let Some(device) = found else { return again(DeviceProblem::Unknown) };
    guesses.into_iter().for_each(Guess::take_back);
    let client_id = device.terms.client.id.as_str();
    let client = service.registry.find(client_id);
    let user_code = code.to_string();
    let page = DevicePage {
        csrf: &visitor.csrf(Purpose::Device, &user_code),
        user_code: &user_code,
        client: client.as_deref().map_or(ClientView { name: client_id }, ClientView::of),
        scopes: device.terms.client.scope.tokens().collect(),
        asked: Moment::seen(UnixTime::from_seconds(u64::from(device.requested_at)), request.now),
        address: device.requested_from.map(|address| address.to_string()),
        username: &visitor.username(),
    };
    Ok(service.pages.device(&page))
}

/// A guess counts for the person, whatever sessions they begin, and for the place that it comes from.
fn begin_guess<'a>(request: &'a Arrived<'_>, visitor: &Visitor<'_>) -> Result<[Guess<'a>; 2], TooManyGuesses> {
    let guesses = &request.service.guesses;
    let of_person = guesses.begin(&visitor.subject().as_str(), request.now)?;
    match guesses.begin(&address(request).map(Place::of), request.now) {
        Ok(of_place) => Ok([of_person, of_place]),
        Err(error) => {
            of_person.take_back();
            Err(error)
        }
    }
}

async fn decide(
    request: &Arrived<'_>,
    visitor: &Visitor<'_>,
    form: &Form<'_>,
    typed: &str,
    decision: &str,
) -> Result<HttpResponse, Rejection> {
    let Some(code) = UserCode::parse(typed) else { return Ok(foreign_form(request)) };
    // The token is of a form that showed this very device, so this is no guess.
    if visitor.check(form, Purpose::Device, &code.to_string()).is_err() {
        return Ok(foreign_form(request));
    }
    let session = &visitor.session;
    let (answer, outcome) = match decision {
        "allow" => {
            let approve = DeviceAnswer::Approve {
                subject: session.subject.clone(),
                subject_generation: session.generation,
                subject_in_force: Arc::clone(&session.in_force),
                auth_time: session.auth_time.as_seconds_u32(),
                context: context_of(request.service, session),
            };
            (approve, "/device/done?allowed")
        }
        "deny" => (DeviceAnswer::Deny, "/device/done?denied"),
        _ => return Err(OAuthError::invalid_request("decision must be allow or deny").into()),
    };
    let service = request.service;
    let is_decided = service.shards.decide_device(service.user_code_key.routing_id(&code), answer, request.now).await?;
    Ok(service.pages.see(if is_decided { outcome } else { "/device/done?late" }))
}
