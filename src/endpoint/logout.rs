//! `GET|POST /logout`: the end of the session of this browser.

use actix_web::HttpResponse;

use crate::endpoint::end_session::{LogoutRequest, shown};
use crate::endpoint::page::cookie::{self, SESSION_COOKIE};
use crate::endpoint::page::csrf::Purpose;
use crate::endpoint::page::view::{LogoutAsked, LogoutForm, LogoutPage, Then};
use crate::endpoint::request::Arrived;
use crate::endpoint::visit::{Visit, Visitor, add_cookie, foreign_form, read_form, visit};
use crate::telemetry::http::Endpoint;
use crate::user::actor::{EndSession, ask};

pub(super) const PATH: &str = "/logout";

pub(super) async fn get(of: Visit) -> HttpResponse {
    visit(Endpoint::Logout, of, async |request, browser| {
        Ok(match Visitor::of(request, &browser, Then::Account) {
            Ok(visitor) => show(request, &visitor, None),
            Err(_) => request.service.pages.logout(&LogoutPage { session: None }),
        })
    })
    .await
}

/// The question whether to sign out.
pub(super) fn show(request: &Arrived<'_>, visitor: &Visitor<'_>, asked_by: Option<LogoutAsked<'_>>) -> HttpResponse {
    let about = asked_by.as_ref().map(|asked| asked.request).unwrap_or_default();
    let (csrf, username) = (visitor.csrf(Purpose::Logout, about), visitor.username());
    let session = Some(LogoutForm { csrf: &csrf, username: &username, asked_by });
    request.service.pages.logout(&LogoutPage { session })
}

pub(super) async fn post(of: Visit) -> HttpResponse {
    visit(Endpoint::Logout, of, async |request, browser| {
        let form = read_form(request)?;
        let sealed = form.find("request");
        let asked = match sealed.map(|sealed| LogoutRequest::reopen(request, sealed)).transpose() {
            Ok(asked) => asked,
            Err(error) => return Ok(shown(request.service, &error)),
        };
        if let Ok(visitor) = Visitor::of(request, &browser, Then::Account) {
            if visitor.check(&form, Purpose::Logout, sealed.unwrap_or_default()).is_err() {
                return Ok(foreign_form(request));
            }
            ask(&request.service.user_actor, EndSession { digest: visitor.session.digest }).await?;
        }
        let pages = &request.service.pages;
        let mut response = match &asked {
            Some(asked) => pages.send_on(&asked.location(request.service)),
            None => pages.see(PATH),
        };
        add_cookie(&mut response, cookie::forget(SESSION_COOKIE));
        Ok(response)
    })
    .await
}
