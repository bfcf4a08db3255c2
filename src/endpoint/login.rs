//! `GET|POST /login`: username and password for a session.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};

use crate::endpoint::authorize::{self, Asked, Browser};
use crate::endpoint::form::Form;
use crate::endpoint::operator_login::{Afterwards, OperatorLogin};
use crate::endpoint::page::cookie::{self, LOGIN_COOKIE, SESSION_COOKIE};
use crate::endpoint::page::csrf::Purpose;
use crate::endpoint::page::problem::LoginProblem;
use crate::endpoint::page::view::{LoginPage, Then};
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::Arrived;
use crate::endpoint::service::Service;
use crate::endpoint::visit::{Visit, add_cookie, address, read_form, visit};
use crate::signing::seal::SealError;
use crate::telemetry::http::Endpoint;
use crate::token::user_code::UserCode;
use crate::user::User;
use crate::user::actor::{StartSession, UserError, ask};
use crate::user::logins::LoginError;
use crate::user::session::SessionDigest;

pub(super) const PATH: &str = "/login";

pub(super) async fn get(of: Visit) -> HttpResponse {
    visit(Endpoint::Login, of, async |request, browser| {
        if browser.session.is_some() {
            return Ok(request.service.pages.see("/account"));
        }
        Ok(show(request, &browser, Then::Account))
    })
    .await
}

pub(super) async fn post(of: Visit) -> HttpResponse {
    visit(Endpoint::Login, of, async |request, browser| {
        let form = read_form(request)?;
        let asked = match form.find("request").map(|sealed| Asked::reopen(request, sealed)).transpose() {
            Ok(asked) => asked,
            Err(error) => return Ok(authorize::shown(request.service, &error)),
        };
        let then = match (&asked, form.find("request")) {
            (Some(asked), Some(sealed)) => asked.then(sealed),
            _ if form.find("then") == Some("device") => {
                Then::Device { user_code: form.find("user_code").unwrap_or_default() }
            }
            _ => Then::Account,
        };
        answer(request, &browser, &form, then).await
    })
    .await
}

/// The login page, for whoever has no session, or the way to the operator's.
pub(super) fn show(request: &Arrived<'_>, browser: &Browser<'_>, then: Then<'_>) -> HttpResponse {
    if let Some(operator) = &request.service.operator_login {
        return lead_to(operator, request, browser, then).unwrap_or_else(|_| busy(request));
    }
    show_again(request, browser, then, "", None)
}

/// The way to the operator's login page, and from there back to one of our pages.
fn lead_to(
    operator: &OperatorLogin,
    request: &Arrived<'_>,
    browser: &Browser<'_>,
    then: Then<'_>,
) -> Result<HttpResponse, SealError> {
    let Service { sealer, random, pages, .. } = request.service;
    let afterwards = match then {
        Then::Device { user_code } => {
            Afterwards::Device { user_code: UserCode::parse(user_code).map(|code| code.to_string()) }
        }
        _ => Afterwards::Account,
    };
    let cookie = browser.login_cookie(&**random)?;
    let location = operator.location(sealer, afterwards, cookie.text(), request.now, &**random)?;
    // The browser may be here because of a form.
    let mut response = pages.send_on(&location);
    cookie.add_to(&mut response);
    Ok(response)
}

fn show_again(
    request: &Arrived<'_>,
    browser: &Browser<'_>,
    then: Then<'_>,
    username: &str,
    problem: Option<LoginProblem>,
) -> HttpResponse {
    let service = request.service;
    if service.operator_login.is_some() {
        let text = "There is no login here. Please begin at the application that you want to use.";
        return service.pages.error(StatusCode::NOT_FOUND, "Nothing is here", text);
    }
    let Ok(cookie) = browser.login_cookie(&*service.random) else { return busy(request) };
    let csrf = service.csrf.token(Purpose::Login, cookie.text(), "", request.now);
    let mut response = service.pages.login(&LoginPage { csrf: &csrf, then, username, problem });
    cookie.add_to(&mut response);
    response
}

fn busy(request: &Arrived<'_>) -> HttpResponse {
    let text = "The server is busy right now.";
    request.service.pages.error(StatusCode::SERVICE_UNAVAILABLE, "Please try again", text)
}

async fn answer(
    request: &Arrived<'_>,
    browser: &Browser<'_>,
    form: &Form<'_>,
    then: Then<'_>,
) -> Result<HttpResponse, Rejection> {
    let username = form.find("username").unwrap_or_default();
    match log_in(request, browser, form, username).await? {
        Ok(mut response) => {
            let to = match then {
                Then::Authorize { request, .. } => format!("{}?request={request}", authorize::PATH),
                Then::Account => "/account".to_owned(),
                // What is no code is not passed on in a URL.
                Then::Device { user_code } => UserCode::parse(user_code)
                    .map_or_else(|| "/device".to_owned(), |code| format!("/device?user_code={code}")),
            };
            if let Ok(location) = request.service.pages.path(&to).try_into() {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
        Err(problem) => Ok(show_again(request, browser, then, username, Some(problem))),
    }
}

/// A session under a new cookie, or what is wrong.
async fn log_in(
    request: &Arrived<'_>,
    browser: &Browser<'_>,
    form: &Form<'_>,
    username: &str,
) -> Result<Result<HttpResponse, LoginProblem>, Rejection> {
    let service = request.service;
    let Some(cookie) = browser.cookies.login else { return Ok(Err(LoginProblem::NoCookie)) };
    if service.csrf.verify(form.find("csrf"), Purpose::Login, cookie, "", request.now).is_err() {
        return Ok(Err(LoginProblem::FormTooOld));
    }
    if service.operator_login.is_some() {
        return Err(Rejection::NotFound);
    }
    let password = form.find("password").unwrap_or_default();
    let user = match service.logins.authenticate(username, password, address(request), request.now).await {
        Ok(user) => user,
        Err(error) => return Ok(Err(problem_of(error))),
    };
    let token = match ask(&service.user_actor, session_of(&user, request, browser)).await {
        Ok((_, token)) => token,
        Err(UserError::LoginRefused) => return Ok(Err(LoginProblem::Refused)),
        Err(error) => return Err(error.into()),
    };
    let mut response = service.pages.see("/account");
    add_cookie(&mut response, cookie::set(SESSION_COOKIE, token.reveal()));
    add_cookie(&mut response, cookie::forget(LOGIN_COOKIE));
    Ok(Ok(response))
}

fn session_of(user: &User, request: &Arrived<'_>, browser: &Browser<'_>) -> StartSession {
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    StartSession {
        subject: user.subject.clone(),
        checked: user.password.clone(),
        amr: vec!["pwd".to_owned()],
        acr: None,
        lifetime_seconds: None,
        user_agent: user_agent.map(str::to_owned),
        address: address(request),
        replaces: browser.cookies.session.and_then(SessionDigest::of),
    }
}

fn problem_of(error: LoginError) -> LoginProblem {
    match error {
        LoginError::Refused => LoginProblem::Refused,
        LoginError::TooMany { retry_after } => LoginProblem::TooMany {
            retry_after_seconds: retry_after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
        },
        LoginError::Busy => LoginProblem::Busy,
    }
}
