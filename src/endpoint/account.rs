//! `/account`: where a person is logged in, and what they have allowed; both can be ended.

use std::collections::BTreeMap;

use actix_web::HttpResponse;

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::endpoint::form::Form;
use crate::endpoint::page::cookie::{self, SESSION_COOKIE};
use crate::endpoint::page::csrf::Purpose;
use crate::endpoint::page::view::{AccountPage, ApplicationView, Moment, Notice, SessionView, Then};
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::Arrived;
use crate::endpoint::visit::{Visit, Visitor, add_cookie, foreign_form, read_form, visit};
use crate::telemetry::http::Endpoint;
use crate::user::actor::{EndSessionsOf, UserError, WhichSessions, WithdrawConsent, ask};
use crate::user::profile::Profile;

pub(super) const PATH: &str = "/account";
pub(super) const END_SESSION_PATH: &str = "/account/sessions/end";
pub(super) const END_ALL_PATH: &str = "/account/sessions/end-all";
pub(super) const REVOKE_PATH: &str = "/account/applications/revoke";

pub(super) async fn get(of: Visit) -> HttpResponse {
    visit(Endpoint::Account, of, async |request, browser| match Visitor::of(request, &browser, Then::Account) {
        Ok(visitor) => show(request, &visitor).await,
        Err(login) => Ok(*login),
    })
    .await
}

pub(super) async fn end_session(of: Visit) -> HttpResponse {
    change(of, async |request, visitor, form| {
        let which = WhichSessions::Named(form.find("session").unwrap_or_default().to_owned());
        let ended = ask(&request.service.user_actor, EndSessionsOf { subject: visitor.subject().clone(), which }).await;
        match ended {
            // One that has ended meanwhile is what was wanted.
            Ok(_) | Err(UserError::NoSession) => Ok(request.service.pages.see("/account?done=session")),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

pub(super) async fn end_all(of: Visit) -> HttpResponse {
    change(of, async |request, visitor, _| {
        let everything = EndSessionsOf { subject: visitor.subject().clone(), which: WhichSessions::All };
        ask(&request.service.user_actor, everything).await?;
        let mut response = request.service.pages.see("/logout");
        add_cookie(&mut response, cookie::forget(SESSION_COOKIE));
        Ok(response)
    })
    .await
}

pub(super) async fn revoke(of: Visit) -> HttpResponse {
    change(of, async |request, visitor, form| {
        let Ok(client_id) = ClientId::parse(form.find("client_id").unwrap_or_default()) else {
            return Err(Rejection::NotFound);
        };
        // The consent first: a client that asks again meanwhile is not let through by it.
        let withdrawn = WithdrawConsent { subject: visitor.subject().clone(), client_id: client_id.clone() };
        ask(&request.service.user_actor, withdrawn).await?;
        let shards = &request.service.shards;
        for grant in shards.grants_of(visitor.subject(), request.now).await? {
            if grant.terms.client.id == client_id {
                shards.end_grant(grant.id, None).await?;
            }
        }
        Ok(request.service.pages.see("/account?done=application"))
    })
    .await
}

/// Lets a person change something of theirs by a form of the account page.
async fn change(
    of: Visit,
    answer: impl AsyncFnOnce(&Arrived<'_>, &Visitor<'_>, &Form<'_>) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    visit(Endpoint::Account, of, async |request, browser| {
        let form = read_form(request)?;
        let visitor = match Visitor::of(request, &browser, Then::Account) {
            Ok(visitor) => visitor,
            Err(login) => return Ok(*login),
        };
        if visitor.check(&form, Purpose::Account, "").is_err() {
            return Ok(foreign_form(request));
        }
        answer(request, &visitor, &form).await
    })
    .await
}

async fn show(request: &Arrived<'_>, visitor: &Visitor<'_>) -> Result<HttpResponse, Rejection> {
    let service = request.service;
    let user = service.users.find(visitor.subject());
    let page = AccountPage {
        csrf: &visitor.csrf(Purpose::Account, ""),
        logout_csrf: &visitor.csrf(Purpose::Logout, ""),
        username: &visitor.username(),
        full_name: user.as_ref().and_then(|user| Profile::name(&user.profile)),
        sessions: sessions(request, visitor),
        applications: applications(request, visitor).await?,
        notice: match request.head.uri.query() {
            Some("done=session") => Some(Notice::SessionEnded),
            Some("done=application") => Some(Notice::ApplicationRevoked),
            _ => None,
        },
    };
    Ok(service.pages.account(&page))
}

/// The one of this browser first, then the newest.
fn sessions(request: &Arrived<'_>, visitor: &Visitor<'_>) -> Vec<SessionView> {
    let mut sessions = request.service.users.sessions_of(visitor.subject());
    sessions.retain(|session| session.is_live(request.now));
    sessions.sort_by_key(|session| {
        let is_other = session.digest != visitor.session.digest;
        (is_other, std::cmp::Reverse(session.created_at))
    });
    let view = |session: &crate::user::session::Session| SessionView {
        id: session.id(),
        is_this: session.digest == visitor.session.digest,
        browser: SessionView::browser_of(session.user_agent.as_deref()),
        address: session.address.map(|address| address.to_string()),
        signed_in: Moment::seen(session.created_at, request.now),
        last_seen: Moment::seen(session.last_seen_at, request.now),
    };
    sessions.iter().map(|session| view(session)).collect()
}

/// Clients that the person has let have something, or that have a grant of theirs, by name.
async fn applications(request: &Arrived<'_>, visitor: &Visitor<'_>) -> Result<Vec<ApplicationView>, Rejection> {
    let service = request.service;
    let mut found: BTreeMap<ClientId, (UnixTime, Vec<String>)> = BTreeMap::new();
    let mut add = |client_id: &ClientId, since: UnixTime, scope: &crate::oauth::scope::Scope| {
        let (first, scopes) = found.entry(client_id.clone()).or_insert((since, Vec::new()));
        *first = since.min(*first);
        for token in scope.tokens() {
            if !scopes.iter().any(|own| own == token) {
                scopes.push(token.to_owned());
            }
        }
    };
    for consent in service.users.consents_of(visitor.subject()).iter() {
        let client = service.registry.find(consent.client_id.as_str());
        if client.is_some_and(|client| service.users.consent(visitor.subject(), &client).is_some()) {
            add(&consent.client_id, consent.granted_at, &consent.scope);
        }
    }
    for grant in service.shards.grants_of(visitor.subject(), request.now).await? {
        let since = UnixTime::from_seconds(u64::from(grant.created_at));
        add(&grant.terms.client.id, since, &grant.terms.client.scope);
    }
    let mut views: Vec<_> = found
        .into_iter()
        .map(|(client_id, (since, scopes))| {
            let client = service.registry.find(client_id.as_str());
            let name = client.and_then(|client| client.metadata.name.clone());
            let client_id = client_id.to_string();
            let since = Moment::seen(since, request.now);
            ApplicationView { name: name.unwrap_or_else(|| client_id.clone()), client_id, scopes, since }
        })
        .collect();
    views.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(views)
}
