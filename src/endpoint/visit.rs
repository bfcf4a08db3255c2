//! A browser at one of our pages.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::endpoint::authorize::{Browser, cookie_twice};
use crate::endpoint::client_address::client_address;
use crate::endpoint::form::Form;
use crate::endpoint::page::csrf::Purpose;
use crate::endpoint::page::view::Then;
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::Worker;
use crate::endpoint::{login, page};
use crate::oauth::subject::Subject;
use crate::telemetry::http::Endpoint;
use crate::user::session::Session;

/// What every request to a page comes with.
pub(super) type Visit = (HttpRequest, Payload, Data<Worker>);

/// Answers a browser: what goes wrong becomes a page too.
pub(super) async fn visit(
    endpoint: Endpoint,
    (http, payload, worker): Visit,
    answer: impl AsyncFnOnce(&Arrived<'_>, Browser<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    serve(&worker, endpoint, http.head(), payload.into_inner(), FORM_BYTES_MAX, async |request| {
        let Ok(browser) = Browser::of(&request) else { return Ok(cookie_twice(request.service)) };
        let answered = answer(&request, browser).await;
        Ok(answered.unwrap_or_else(|rejection| shown(&request, &rejection)))
    })
    .await
}

/// The page that says what went wrong.
fn shown(request: &Arrived<'_>, rejection: &Rejection) -> HttpResponse {
    let plain = rejection.response();
    let (title, text) = match plain.status() {
        StatusCode::SERVICE_UNAVAILABLE => ("Please try again", "The server is busy right now. Nothing was changed."),
        StatusCode::NOT_FOUND => ("Nothing is here", "This page does not exist, or it does not any more."),
        status if status.is_client_error() => {
            ("This cannot be done", "Your browser sent something that cannot be read.")
        }
        _ => ("Something went wrong", "Please try again later."),
    };
    let mut response = request.service.pages.error(plain.status(), title, text);
    if let Some(seconds) = plain.headers().get(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
    }
    response
}

/// The form that a browser has posted.
pub(super) fn read_form<'a>(request: &'a Arrived<'_>) -> Result<Form<'a>, Rejection> {
    request.expect_content("application/x-www-form-urlencoded")?;
    Ok(Form::parse(&request.body)?)
}

/// Somebody who is logged in.
pub(super) struct Visitor<'a> {
    pub(super) session: Arc<Session>,
    /// The text of the session's cookie.
    cookie: &'a str,
    request: &'a Arrived<'a>,
}

impl<'a> Visitor<'a> {
    /// Who sits at this browser; without a session, the login page that leads back.
    pub(super) fn of(
        request: &'a Arrived<'a>,
        browser: &Browser<'a>,
        then: Then<'_>,
    ) -> Result<Self, Box<HttpResponse>> {
        match (&browser.session, browser.cookies.session) {
            (Some(session), Some(cookie)) => Ok(Self { session: Arc::clone(session), cookie, request }),
            _ => Err(Box::new(login::show(request, browser, then))),
        }
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.session.subject
    }

    /// What they log in with, or their subject where another system lets them in.
    pub(super) fn username(&self) -> String {
        let user = self.request.service.users.find(self.subject());
        user.map_or_else(|| self.subject().to_string(), |user| user.name.to_string())
    }

    /// The token of a form of theirs.
    pub(super) fn csrf(&self, purpose: Purpose, about: &str) -> String {
        self.request.service.csrf.token(purpose, self.cookie, about, self.request.now)
    }

    /// Whether a form is one of theirs.
    pub(super) fn check(&self, form: &Form<'_>, purpose: Purpose, about: &str) -> Result<(), page::csrf::InvalidCsrf> {
        self.request.service.csrf.verify(form.find("csrf"), purpose, self.cookie, about, self.request.now)
    }
}

/// The answer to a form that was not given to this browser, or too long ago.
pub(super) fn foreign_form(request: &Arrived<'_>) -> HttpResponse {
    let text = "It was open for too long, or it is not yours. Please go back, reload the page and try again.";
    request.service.pages.error(StatusCode::FORBIDDEN, "This form cannot be used", text)
}

/// From where the browser comes.
pub(super) fn address(request: &Arrived<'_>) -> Option<IpAddr> {
    client_address(request.head, &request.service.trusted_proxies)
}

pub(super) fn add_cookie(response: &mut HttpResponse, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
