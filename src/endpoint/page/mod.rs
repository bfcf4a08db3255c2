//! Pages for people: login, consent, device, account, logout and errors. They work without JavaScript.
//!
//! [`Pages`] renders plain data ([`view`]) by templates, and every answer has the same header fields ([`headers`]). Templates are
//! compiled in; a directory of the operator's ([`theme`]) takes the place of single ones. Whatever a page shows was chosen by
//! somebody else, clients' names above all: templates escape every value, and long ones are cut ([`text`]).
//!
//! Forms carry a token ([`csrf`]) that is bound to a cookie ([`cookie`]), and are answered with a 303. Where the way of a form ends
//! at a client, [`Pages::send_on`] takes it there.

pub mod asset;
pub mod cookie;
pub mod csrf;
pub mod headers;
pub mod problem;
mod sample;
pub mod template;
pub mod text;
pub mod theme;
pub mod view;

use std::fmt;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use serde::Serialize;

use crate::endpoint::page::asset::{Asset, Assets};
use crate::endpoint::page::headers::{page, see_other};
use crate::endpoint::page::template::{TemplateError, Templates};
use crate::endpoint::page::text::shown;
use crate::endpoint::page::theme::Theme;
use crate::endpoint::page::view::{
    AccountPage, ConsentPage, DeviceCodePage, DeviceDonePage, DevicePage, ErrorPage, LoginPage, LogoutPage, SendOnPage,
};

/// Renders every page. Built once, when the server starts.
pub struct Pages {
    templates: Templates,
    assets: Assets,
    /// The path of the issuer, without a slash at its end: where a proxy has put the server.
    base: String,
}

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A template that cannot be rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A file that no page can use.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Pages {
    /// The built-in pages, with the files of the theme in the place of those of the same name. Every template is rendered once, so
    /// that a mistake in one shows now.
    ///
    /// # Errors
    ///
    /// [`PagesError`] names file and line.
    pub fn new(theme: &Theme, issuer: &str) -> Result<Self, PagesError> {
        let assets = Assets::new(theme)?;
        let base = path_of(issuer).to_owned();
        let templates = Templates::new(theme, &assets, &base)?;
        let pages = Self { templates, assets, base };
        sample::render_all(&pages)?;
        Ok(pages)
    }

    /// Path of an endpoint, as pages and redirects name it: under the path of the issuer, without a host, so that no header field
    /// of a request can change where it leads.
    #[must_use]
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}{endpoint}", self.base)
    }

    /// The form that asks for username and password.
    #[must_use]
    pub fn login(&self, page: &LoginPage<'_>) -> HttpResponse {
        let status = page.problem.map_or(StatusCode::OK, problem::LoginProblem::status);
        let mut answer = self.render(status, "login.html", page, page.leads_to());
        if let Some(seconds) = page.problem.and_then(problem::LoginProblem::retry_after_seconds) {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }

    /// The question whether a client may have what it asks for.
    #[must_use]
    pub fn consent(&self, page: &ConsentPage<'_>) -> HttpResponse {
        self.render(StatusCode::OK, "consent.html", page, Some(page.redirect_uri))
    }

    /// The form that asks for the code that a device shows.
    #[must_use]
    pub fn device_code(&self, page: &DeviceCodePage<'_>) -> HttpResponse {
        let status = page.problem.map_or(StatusCode::OK, problem::DeviceProblem::status);
        self.render(status, "device_code.html", page, None)
    }

    /// The question whether a device may have what it asks for.
    #[must_use]
    pub fn device(&self, page: &DevicePage<'_>) -> HttpResponse {
        self.render(StatusCode::OK, "device.html", page, None)
    }

    /// What came of a device.
    #[must_use]
    pub fn device_done(&self, page: &DeviceDonePage) -> HttpResponse {
        self.render(StatusCode::OK, "device_done.html", page, None)
    }

    /// What a person may see and take back.
    #[must_use]
    pub fn account(&self, page: &AccountPage<'_>) -> HttpResponse {
        self.render(StatusCode::OK, "account.html", page, None)
    }

    /// The question whether to sign out, or that it is done.
    #[must_use]
    pub fn logout(&self, page: &LogoutPage<'_>) -> HttpResponse {
        self.render(StatusCode::OK, "logout.html", page, None)
    }

    /// That something is wrong, and what the person can do.
    #[must_use]
    pub fn error(&self, status: StatusCode, title: &str, text: &str) -> HttpResponse {
        self.render(status, "error.html", &ErrorPage { title, text: &shown(text, ERROR_CHARACTERS_MAX) }, None)
    }

    /// Takes a browser that has posted a form to a client's redirect URI, which must have been validated and may have a code in it.
    ///
    /// Chromium holds `form-action` against every redirect that follows a form, those of the client included, whose callback
    /// may lead on to anywhere. So the answer is a page that the browser leaves at once by itself (`Refresh`), which ends the chain.
    /// Where the URI opens an app there is no more redirect after it, and apps open only upon what a person has done: that
    /// stays a 303, and the page with the form names the scheme in its policy.
    #[must_use]
    pub fn send_on(&self, uri: &str) -> HttpResponse {
        let is_web = ["http://", "https://"].iter().any(|scheme| uri.starts_with(scheme));
        let refresh = HeaderValue::from_str(&format!("0;url={uri}")).ok().filter(|_| is_web);
        let Some(refresh) = refresh else { return see_other(uri) };
        let mut answer = self.render(StatusCode::OK, "send_on.html", &SendOnPage { uri }, None);
        answer.headers_mut().insert(header::REFRESH, refresh);
        answer
    }

    /// The answer to a form that leads to another page of ours.
    #[must_use]
    pub fn see(&self, endpoint: &str) -> HttpResponse {
        see_other(&self.path(endpoint))
    }

    /// The file at a path under `/assets/`, for ever the same.
    #[must_use]
    pub fn asset(&self, name: &str) -> Option<HttpResponse> {
        self.assets.find(name).map(Asset::response)
    }

    fn render<T: Serialize>(&self, status: StatusCode, name: &str, view: &T, leads_to: Option<&str>) -> HttpResponse {
        match self.templates.render(name, view) {
            Ok(body) => page(status, leads_to).body(body),
            // It was rendered when the server started, with other data.
            Err(error) => {
                tracing::error!(%error, "a page cannot be rendered: correct the template and start again");
                page(StatusCode::INTERNAL_SERVER_ERROR, None).body(BROKEN)
            }
        }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pages(..)")
    }
}

const ERROR_CHARACTERS_MAX: usize = 400;
const BROKEN: &str = "<!doctype html><title>Error</title><p>This page cannot be shown. Please try again later.";

/// The path of `https://host/path/`, without the slash at its end; empty where it has none.
fn path_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or_default().trim_end_matches('/')
}

#[cfg(test)]
mod tests;
