//! `GET|POST /logout`: the end of the session of this browser.

use actix_web::HttpResponse;

use crate::endpoint::page::cookie::{self, SESSION_COOKIE};
use crate::endpoint::page::csrf::Purpose;
use crate::endpoint::page::view::{LogoutForm, LogoutPage, Then};
use crate::endpoint::visit::{Visit, Visitor, add_cookie, foreign_form, read_form, visit};
use crate::telemetry::http::Endpoint;
use crate::user::actor::{EndSession, ask};

pub(super) const PATH: &str = "/logout";

pub(super) async fn get(of: Visit) -> HttpResponse {
    visit(Endpoint::Logout, of, async |request, browser| {
        let pages = &request.service.pages;
        let Ok(visitor) = Visitor::of(request, &browser, Then::Account) else {
            return Ok(pages.logout(&LogoutPage { session: None }));
        };
        let (csrf, username) = (visitor.csrf(Purpose::Logout, ""), visitor.username());
        Ok(pages.logout(&LogoutPage { session: Some(LogoutForm { csrf: &csrf, username: &username }) }))
    })
    .await
}

pub(super) async fn post(of: Visit) -> HttpResponse {
    visit(Endpoint::Logout, of, async |request, browser| {
        let form = read_form(request)?;
        if let Ok(visitor) = Visitor::of(request, &browser, Then::Account) {
            if visitor.check(&form, Purpose::Logout, "").is_err() {
                return Ok(foreign_form(request));
            }
            ask(&request.service.user_actor, EndSession { digest: visitor.session.digest }).await?;
        }
        let mut response = request.service.pages.see(PATH);
        add_cookie(&mut response, cookie::forget(SESSION_COOKIE));
        Ok(response)
    })
    .await
}
