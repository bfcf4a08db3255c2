//! `POST /oauth2/consent`: what a person says to a client's request.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::endpoint::authorize::{self, Asked, Browser, cookie_twice, redirect, shown};
use crate::endpoint::form::Form;
use crate::endpoint::page::csrf;
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::{Service, Worker};
use crate::grant::interaction::Step;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::telemetry::http::Endpoint;
use crate::user::actor::{StoreConsent, ask};

pub(super) async fn consent(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(&worker, Endpoint::Consent, http.head(), payload.into_inner(), FORM_BYTES_MAX, async |request| {
        answer(&request).await
    })
    .await
}

async fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    let service = request.service;
    request.expect_content("application/x-www-form-urlencoded")?;
    let form = match Form::parse(&request.body) {
        Ok(form) => form,
        Err(error) => return Ok(shown(service, &error)),
    };
    let Ok(browser) = Browser::of(request) else { return Ok(cookie_twice(service)) };
    let sealed = form.find("request").unwrap_or_default();
    let again = || Ok(redirect(&service.pages.path(&format!("{}?request={sealed}", authorize::PATH))));
    let (Some(session), Some(cookie)) = (&browser.session, browser.cookies.session) else {
        // Only what the server has sealed goes into a location.
        return Asked::reopen(request, sealed).map_or_else(|error| Ok(shown(service, &error)), |_| again());
    };
    if service.csrf.verify(form.find("csrf"), csrf::Purpose::Consent, cookie, sealed, request.now).is_err() {
        let text = "This form is not one that this browser was given lately. Please begin again at the application.";
        return Ok(service.pages.error(StatusCode::FORBIDDEN, "This form cannot be used", text));
    }
    let asked = match Asked::reopen(request, sealed) {
        Ok(asked) => asked,
        Err(error) => return Ok(shown(service, &error)),
    };
    // The page may have lain open until the login was too old.
    if !matches!(asked.step(request, Some(session)), Step::ShowConsent | Step::IssueCode) {
        return again();
    }
    let location = match form.find("decision") {
        Some("allow") => {
            let stored = StoreConsent {
                subject: session.subject.clone(),
                client_id: asked.client.id.clone(),
                client_generation: asked.client.generation,
                scope: asked.request.consent_scope(),
            };
            // The code first: what was answered before is not remembered anew.
            let Some(location) = asked.issue_code_of_form(request, session).await? else {
                return Ok(answered_before(service));
            };
            ask(&service.user_actor, stored).await?;
            location
        }
        Some("deny") => {
            let error = OAuthError::new(OAuthErrorCode::AccessDenied, "the user did not allow it");
            asked.request.refused(error).location(&service.issuer)
        }
        _ => return Ok(shown(service, &OAuthError::invalid_request("decision must be allow or deny"))),
    };
    Ok(service.pages.send_on(&location))
}

/// The answer to a form that was posted before, and whose code is used up.
fn answered_before(service: &Service) -> HttpResponse {
    let text =
        "You have allowed this already, and the application has taken it up. Please go on there, or begin there again.";
    service.pages.error(StatusCode::CONFLICT, "This was answered before", text)
}
