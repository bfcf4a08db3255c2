//! `GET|POST /oauth2/logout`: a client asks that the person's session here ends (`OpenID` Connect RP-Initiated Logout 1.0).
//!
//! A client that shows an ID token of the person who is logged in here is taken at its word. In any other case the person is asked
//! first (§2), by the form of `/logout`. Wherever something is wrong that is shown, and the browser is sent nowhere.

use actix_web::HttpResponse;
use actix_web::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::client::id::ClientId;
use crate::endpoint::authorize::{Browser, redirect};
use crate::endpoint::form::Form;
use crate::endpoint::logout;
use crate::endpoint::page::cookie::{self, SESSION_COOKIE};
use crate::endpoint::page::view::{ClientView, LogoutAsked, Then};
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::Arrived;
use crate::endpoint::service::Service;
use crate::endpoint::visit::{Visit, Visitor, add_cookie, visit};
use crate::grant::authorization::STATE_BYTES_MAX;
use crate::grant::id_token_hint::IdTokenHint;
use crate::oauth::error::OAuthError;
use crate::oauth::redirect_uri::RedirectUri;
use crate::oauth::subject::Subject;
use crate::signing::seal::{Purpose, SealError};
use crate::telemetry::http::Endpoint;
use crate::user::actor::{EndSession, ask};

pub(super) const PATH: &str = "/oauth2/logout";
/// How long a person may think about it, in seconds.
const ASKED_SECONDS: u32 = 3600;

pub(super) async fn end_session(of: Visit) -> HttpResponse {
    visit(Endpoint::EndSession, of, async |request, browser| match answer(request, &browser).await {
        Err(Rejection::OAuth(error)) => Ok(shown(request.service, &error)),
        answered => answered,
    })
    .await
}

async fn answer(request: &Arrived<'_>, browser: &Browser<'_>) -> Result<HttpResponse, Rejection> {
    if request.head.method == Method::POST {
        request.expect_content("application/x-www-form-urlencoded")?;
        let asked = LogoutRequest::read(request, &Form::parse(&request.body)?)?;
        // A browser does not send its cookies with what the page of another site posts, but it does when it then follows a 303.
        let sealed = asked.seal(request)?;
        return Ok(redirect(&request.service.pages.path(&format!("{PATH}?request={sealed}"))));
    }
    let form = Form::parse(request.head.uri.query().unwrap_or_default().as_bytes())?;
    let asked = match form.find("request") {
        Some(sealed) => LogoutRequest::reopen(request, sealed)?,
        None => LogoutRequest::read(request, &form)?,
    };
    let Some(session) = &browser.session else { return Ok(redirect(&asked.location(request.service))) };
    if asked.subject.as_ref() != Some(&session.subject) {
        return asked.show_question(request, browser);
    }
    ask(&request.service.user_actor, EndSession { digest: session.digest }).await?;
    let mut response = redirect(&asked.location(request.service));
    add_cookie(&mut response, cookie::forget(SESSION_COOKIE));
    Ok(response)
}

/// What a client asks for, checked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogoutRequest {
    /// Who asks, where it says so.
    client_id: Option<ClientId>,
    /// Whose session shall end, by the ID token that the client has shown.
    subject: Option<Subject>,
    /// Where the browser goes afterwards; only with a client, which has registered it.
    post_logout_redirect_uri: Option<RedirectUri>,
    /// Goes back to the client with the browser.
    state: Option<String>,
}

impl LogoutRequest {
    fn read(request: &Arrived<'_>, form: &Form<'_>) -> Result<Self, OAuthError> {
        let service = request.service;
        let hint =
            form.find("id_token_hint").map(|text| IdTokenHint::read(text, &service.keys.keys(), &service.issuer));
        let hint = hint.transpose().map_err(|error| OAuthError::invalid_request(error.to_string()))?;
        let named = form.find("client_id");
        let hinted = hint.as_ref().map(|hint| hint.client_id.as_str());
        if let (Some(named), Some(hinted)) = (named, hinted)
            && named != hinted
        {
            return Err(OAuthError::invalid_request(
                "the ID token of id_token_hint was issued to another client than client_id",
            ));
        }
        let client = named.or(hinted).map(|id| {
            let found = service.registry.find(id);
            found.ok_or_else(|| OAuthError::invalid_request("no client has this client_id"))
        });
        let client = client.transpose()?;
        let state = form.find("state").map(str::to_owned);
        if state.as_ref().is_some_and(|state| state.len() > STATE_BYTES_MAX) {
            return Err(OAuthError::invalid_request("state must have at most 4096 bytes"));
        }
        let uri = form.find("post_logout_redirect_uri");
        Ok(Self {
            post_logout_redirect_uri: uri.map(|uri| registered(client.as_deref(), uri)).transpose()?,
            client_id: client.map(|client| client.id.clone()),
            subject: hint.map(|hint| hint.subject),
            state,
        })
    }

    fn seal(&self, request: &Arrived<'_>) -> Result<String, SealError> {
        let content = serde_json::to_vec(self).unwrap_or_default();
        let service = request.service;
        service.sealer.seal(Purpose::Logout, &content, request.now, &*service.random)
    }

    /// Takes up what a page of ours has carried, as far as the client may still have it.
    pub(super) fn reopen(request: &Arrived<'_>, sealed: &str) -> Result<Self, OAuthError> {
        let service = request.service;
        let opened = service.sealer.open(Purpose::Logout, sealed, ASKED_SECONDS, request.now).map_err(|error| {
            OAuthError::invalid_request(format!("the request is not usable: {error}; begin again at the application"))
        })?;
        let asked: Self = serde_json::from_slice(&opened.content)
            .map_err(|_| OAuthError::invalid_request("the request is of another version of this server"))?;
        if let Some(uri) = &asked.post_logout_redirect_uri {
            let client = asked.client_id.as_ref().and_then(|id| service.registry.find(id.as_str()));
            registered(client.as_deref(), uri.as_str())?;
        }
        Ok(asked)
    }

    /// Where the browser goes once there is no session: to the client, else to the page that says so.
    pub(super) fn location(&self, service: &Service) -> String {
        match &self.post_logout_redirect_uri {
            Some(uri) => uri.with_parameters(self.state.as_deref().map(|state| ("state", state))),
            None => service.pages.path(logout::PATH),
        }
    }

    fn show_question(&self, request: &Arrived<'_>, browser: &Browser<'_>) -> Result<HttpResponse, Rejection> {
        let visitor = match Visitor::of(request, browser, Then::Account) {
            Ok(visitor) => visitor,
            Err(login) => return Ok(*login),
        };
        let client = self.client_id.as_ref().and_then(|id| request.service.registry.find(id.as_str()));
        let client = client.as_deref().map(ClientView::of);
        Ok(logout::show(request, &visitor, Some(LogoutAsked { request: &self.seal(request)?, client })))
    }
}

/// The URI, if the client has registered it. Compared byte by byte (§3).
fn registered(client: Option<&Client>, uri: &str) -> Result<RedirectUri, OAuthError> {
    let client = client.ok_or_else(|| {
        OAuthError::invalid_request("post_logout_redirect_uri needs a client: send id_token_hint or client_id too")
    })?;
    let own = client.metadata.post_logout_redirect_uris.iter().find(|own| own.as_str() == uri);
    own.cloned().ok_or_else(|| {
        OAuthError::invalid_request("post_logout_redirect_uri is not one that the client has registered, byte by byte")
    })
}

pub(super) fn shown(service: &Service, error: &OAuthError) -> HttpResponse {
    let text = format!("The application asked for a sign-out that cannot be done: {}.", error.description);
    service.pages.error(StatusCode::BAD_REQUEST, "This sign-out cannot go on", &text)
}
