//! `GET|POST /oauth2/authorize` (RFC 6749 §3.1, RFC 9126 §4, RFC 9207, `OpenID` Connect Core §3.1.2).
//!
//! ```text
//! client's request ─▶ session that fits? ─no─▶ login page, with the request sealed ─▶ POST /login ─▶ authorize?request=sealed
//!                            │yes              (or the operator's own: authorize?login_verifier=sealed)
//!                     consent needed? ─yes─▶ consent page, with the request sealed ─▶ POST /oauth2/consent
//!                            │no                                                             │allow
//!                          code ◀────────────────────────────────────────────────────────────┘
//! ```
//!
//! Nothing is kept before there is a code. What is wrong before client and redirect URI are proven is shown; all else is told to
//! the client.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use ring::error::Unspecified;
use ring::rand::SecureRandom;

use crate::client::Client;
use crate::endpoint::form::Form;
use crate::endpoint::operator_login::{Afterwards, LetIn, LoginChallengeError};
use crate::endpoint::page::cookie::{self, Cookies, LOGIN_COOKIE, PreSession, RepeatedCookie, SESSION_COOKIE};
use crate::endpoint::page::csrf;
use crate::endpoint::page::view::{ClientView, ConsentPage, LoginPage, Then};
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::{Arrived, FORM_BYTES_MAX, serve};
use crate::endpoint::service::{Service, Worker};
use crate::endpoint::visit::{add_cookie, address};
use crate::endpoint::{account, device, par};
use crate::grant::authorization::{AuthorizationError, AuthorizationParameters, AuthorizationRequest};
use crate::grant::id_token_hint::IdTokenHint;
use crate::grant::interaction::{Interrupted, Login, Step, decide};
use crate::grant::{resource, terms_of};
use crate::oauth::authentication_context::AuthenticationContext;
use crate::oauth::error::OAuthError;
use crate::oauth::subject::Subject;
use crate::shard::people::NewCode;
use crate::signing::seal::{Opened, Purpose, SealError};
use crate::telemetry::http::Endpoint;
use crate::token::code::{Code, CodeKind};
use crate::token::grant_id::GrantId;
use crate::token::person::{PersonTerms, Standing};
use crate::user::actor::{StartSession, UserError, ask, touch};
use crate::user::session::{Session, SessionDigest};

/// The path of the endpoint.
pub(super) const PATH: &str = "/oauth2/authorize";
/// How long a person may take from the request to the last page, in seconds.
const INTERRUPTED_SECONDS: u32 = 3600;
/// How long a code may be exchanged, in seconds.
const CODE_SECONDS: u32 = 60;

pub(super) async fn authorize(http: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    serve(
        &worker,
        Endpoint::Authorize,
        http.head(),
        payload.into_inner(),
        FORM_BYTES_MAX,
        async |request| match answer(&request).await {
            Err(Rejection::OAuth(error)) => Ok(shown(request.service, &error)),
            answered => answered,
        },
    )
    .await
}

async fn answer(request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
    let is_posted = request.head.method == Method::POST;
    let text = if is_posted {
        request.expect_content("application/x-www-form-urlencoded")?;
        &*request.body
    } else {
        request.head.uri.query().unwrap_or_default().as_bytes()
    };
    let form = Form::parse_with_repeats(text)?;
    let pairs: Vec<_> = form.pairs().collect();
    let parameters = AuthorizationParameters(&pairs);
    if let Some(verifier) = parameters.find("login_verifier") {
        return come_back(request, verifier).await;
    }
    match Asked::read(request, &parameters) {
        Ok(asked) if is_posted => ask_again_by_get(request, asked.request),
        Ok(asked) => asked.proceed(request).await,
        Err(AuthorizationError::Shown(error)) => Err(error.into()),
        Err(AuthorizationError::Redirected(error)) => Ok(redirect(&error.location(&request.service.issuer))),
    }
}

/// A browser does not send its cookies with what the page of another site posts, but it does when it then follows a 303.
fn ask_again_by_get(request: &Arrived<'_>, asked: AuthorizationRequest) -> Result<HttpResponse, Rejection> {
    let asked_at_seconds = request.now.as_seconds();
    let interrupted = Interrupted { request: asked, session_id: None, asked_at_seconds };
    let sealed = seal(request, &interrupted)?;
    Ok(redirect(&request.service.pages.path(&format!("{PATH}?request={sealed}"))))
}

/// A request, and what became of it so far.
pub(super) struct Asked {
    pub(super) request: AuthorizationRequest,
    pub(super) client: Arc<Client>,
    /// `None` while no page has interrupted it.
    taken_up: Option<TakenUp>,
}

/// A request that comes back from a page.
struct TakenUp {
    interrupted: Interrupted,
    /// The text that it travelled in.
    opened: Opened,
}

impl Asked {
    /// Reads what a browser brings: a request as its client wrote it, the name of one that was pushed, or one that was
    /// interrupted.
    fn read(request: &Arrived<'_>, parameters: &AuthorizationParameters<'_>) -> Result<Self, AuthorizationError> {
        if let (None, Some(sealed)) = (parameters.find("client_id"), parameters.find("request")) {
            return Self::reopen(request, sealed).map_err(AuthorizationError::Shown);
        }
        let service = request.service;
        let client = service.registry.find(parameters.client_id()?);
        let unknown = || AuthorizationError::Shown(OAuthError::invalid_request("no client has this client_id"));
        let client = client.ok_or_else(unknown)?;
        let pushed = parameters.find("request_uri").filter(|uri| uri.starts_with(par::REQUEST_URI_PREFIX));
        if let Some(request_uri) = pushed {
            let pushed = par::open(service, request_uri, request.now).map_err(AuthorizationError::Shown)?;
            pushed.check_still_allowed(&client).map_err(AuthorizationError::Shown)?;
            return Ok(Self { request: pushed, client, taken_up: None });
        }
        let read = read(service, parameters, &client)?;
        if client.metadata.require_pushed_authorization_requests {
            let error = OAuthError::invalid_request("this client has to push its authorization requests");
            return Err(AuthorizationError::Redirected(Box::new(read.refused(error))));
        }
        Ok(Self { request: read, client, taken_up: None })
    }

    /// Takes up a request that was interrupted by a page.
    ///
    /// # Errors
    ///
    /// To be shown: who made the text is not known.
    pub(super) fn reopen(request: &Arrived<'_>, sealed: &str) -> Result<Self, OAuthError> {
        let service = request.service;
        let opened = service.sealer.open(Purpose::AuthorizationRequest, sealed, INTERRUPTED_SECONDS, request.now);
        let opened = opened.map_err(|error| {
            OAuthError::invalid_request(format!("the request is not usable: {error}; begin again at the application"))
        })?;
        let interrupted: Interrupted = serde_json::from_slice(&opened.content)
            .map_err(|_| OAuthError::invalid_request("the request is of another version of this server"))?;
        let client = service.registry.find(interrupted.request.client_id.as_str());
        let client = client.ok_or_else(|| OAuthError::invalid_request("the client is gone"))?;
        interrupted.request.check_still_allowed(&client)?;
        let request = interrupted.request.clone();
        Ok(Self { request, client, taken_up: Some(TakenUp { interrupted, opened }) })
    }

    fn interrupted(&self) -> Option<&Interrupted> {
        self.taken_up.as_ref().map(|taken_up| &taken_up.interrupted)
    }

    /// What is to be done for this session.
    pub(super) fn step(&self, request: &Arrived<'_>, session: Option<&Session>) -> Step {
        let session_id = session.map(Session::id);
        let login = session.zip(session_id.as_deref());
        let login = login.map(|(session, session_id)| Login {
            session_id,
            auth_time: session.auth_time,
            subject: &session.subject,
            acr: session.acr.as_deref(),
        });
        let consented = session.and_then(|session| request.service.users.consent(&session.subject, &self.client));
        decide(&self.request, &self.client, login, self.interrupted(), consented.as_ref(), request.now)
    }

    async fn proceed(self, request: &Arrived<'_>) -> Result<HttpResponse, Rejection> {
        let service = request.service;
        let Ok(browser) = Browser::of(request) else { return Ok(cookie_twice(service)) };
        match self.step(request, browser.session.as_deref()) {
            Step::Refuse(error) => Ok(self.send_on(service, &self.request.refused(error).location(&service.issuer))),
            Step::IssueCode => match &browser.session {
                Some(session) => Ok(self.send_on(service, &self.issue_code(request, session).await?)),
                None => self.show_login(request, &browser),
            },
            Step::ShowConsent => self.show_consent(request, &browser),
            Step::ShowLogin => self.show_login(request, &browser),
        }
    }

    /// The way to the client: from the login page by a page that ends the chain of redirects (see [`Pages::send_on`]).
    ///
    /// [`Pages::send_on`]: crate::endpoint::page::Pages::send_on
    fn send_on(&self, service: &Service, location: &str) -> HttpResponse {
        if self.taken_up.is_some() { service.pages.send_on(location) } else { redirect(location) }
    }

    fn interrupt(&self, request: &Arrived<'_>, session: Option<&Session>) -> Interrupted {
        Interrupted {
            request: self.request.clone(),
            session_id: session.map(Session::id),
            asked_at_seconds: request.now.as_seconds(),
        }
    }

    /// The login page, or the way to the operator's. Either is bound to a cookie of this browser.
    fn show_login(&self, request: &Arrived<'_>, browser: &Browser<'_>) -> Result<HttpResponse, Rejection> {
        let service = request.service;
        let cookie = browser.login_cookie(&*service.random).map_err(|_| Rejection::NoRandomness)?;
        let interrupted = self.interrupt(request, browser.session.as_deref());
        let mut response = match &service.operator_login {
            None => self.login_page(request, &seal(request, &interrupted)?, cookie.text()),
            Some(operator) => {
                let afterwards = Afterwards::Authorize(Box::new(interrupted));
                let (sealer, random) = (&service.sealer, &*service.random);
                self.send_on(service, &operator.location(sealer, afterwards, cookie.text(), request.now, random)?)
            }
        };
        cookie.add_to(&mut response);
        Ok(response)
    }

    /// Where a person goes on from the login page.
    pub(super) fn then<'a>(&'a self, sealed: &'a str) -> Then<'a> {
        Then::Authorize {
            request: sealed,
            client: ClientView::of(&self.client),
            redirect_uri: self.request.redirect_uri.as_str(),
        }
    }

    fn login_page(&self, request: &Arrived<'_>, sealed: &str, cookie: &str) -> HttpResponse {
        let service = request.service;
        let csrf = service.csrf.token(csrf::Purpose::Login, cookie, "", request.now);
        service.pages.login(&LoginPage {
            csrf: &csrf,
            then: self.then(sealed),
            username: self.request.login_hint.as_deref().unwrap_or_default(),
            problem: None,
        })
    }

    fn show_consent(&self, request: &Arrived<'_>, browser: &Browser<'_>) -> Result<HttpResponse, Rejection> {
        let service = request.service;
        let sealed = seal(request, &self.interrupt_again(request, browser.session.as_deref()))?;
        let cookie = browser.cookies.session.unwrap_or_default();
        let csrf = service.csrf.token(csrf::Purpose::Consent, cookie, &sealed, request.now);
        let subject = browser.session.as_ref().map(|session| &session.subject);
        let user = subject.and_then(|subject| service.users.find(subject));
        let username = user.as_ref().map(|user| user.name.as_str()).or_else(|| subject.map(Subject::as_str));
        let scope = self.request.consent_scope();
        let page = ConsentPage {
            csrf: &csrf,
            request: &sealed,
            client: ClientView::of(&self.client),
            scopes: scope.tokens().collect(),
            username: username.unwrap_or_default(),
            redirect_uri: self.request.redirect_uri.as_str(),
        };
        Ok(service.pages.consent(&page))
    }

    /// What goes on after the consent: a login that was made for this request stays one.
    fn interrupt_again(&self, request: &Arrived<'_>, session: Option<&Session>) -> Interrupted {
        self.interrupted().cloned().unwrap_or_else(|| self.interrupt(request, session))
    }

    /// A new code. Answers where the browser goes with it.
    async fn issue_code(&self, request: &Arrived<'_>, session: &Session) -> Result<String, Rejection> {
        let random = &*request.service.random;
        let grant_id = GrantId::random(random).map_err(|_| Rejection::NoRandomness)?;
        let code = Code::random(CodeKind::Authorization, grant_id, random).map_err(|_| Rejection::NoRandomness)?;
        self.store_code(request, session, &code).await?;
        Ok(self.location_with(&code, request))
    }

    /// The code of a consent, which follows from the form and the session: posted twice, the form gives the same code. Answers
    /// where the browser goes with it; `None` once the code was redeemed, while anything of its grant is there.
    pub(super) async fn issue_code_of_form(
        &self,
        request: &Arrived<'_>,
        session: &Session,
    ) -> Result<Option<String>, Rejection> {
        let Some(taken_up) = &self.taken_up else { return self.issue_code(request, session).await.map(Some) };
        let derive = |label| request.service.sealer.derive(&taken_up.opened, session.digest.as_bytes(), label);
        let grant_id = GrantId::from_bytes(derive("grant of a consent").first_chunk().copied().unwrap_or_default());
        let code = Code::derived(CodeKind::Authorization, grant_id, &derive("code of a consent"));
        let may_be_redeemed = self.store_code(request, session, &code).await?;
        Ok(may_be_redeemed.then(|| self.location_with(&code, request)))
    }

    fn location_with(&self, code: &Code, request: &Arrived<'_>) -> String {
        self.request.location_with_code(code.reveal(), &request.service.issuer)
    }

    /// Gives a code to its shard. It is nobody's before the shard has answered, whether it may be redeemed.
    async fn store_code(&self, request: &Arrived<'_>, session: &Session, code: &Code) -> Result<bool, Rejection> {
        let grant_id = code.reference().grant_id;
        let person = PersonTerms {
            grant_id,
            subject: session.subject.clone(),
            subject_generation: session.generation,
            auth_time: session.auth_time.as_seconds_u32(),
            context: context_of(request.service, session),
            standing: Standing::new(Arc::clone(&session.in_force)),
        };
        let audience = resource::decide(self.request.resources.clone(), &self.client, &request.service.defaults)?;
        let terms = terms_of(&self.client, self.request.scope.clone(), audience).asking(self.request.claims.clone());
        let new_code = NewCode {
            code: code.reference(),
            terms: terms.granted_by(person),
            redirect_uri: self.request.was_redirect_uri_sent.then(|| self.request.redirect_uri.as_str().to_owned()),
            code_challenge: self.request.code_challenge.map(|challenge| *challenge.as_bytes()),
            nonce: self.request.nonce.clone(),
            expires_at: request.now.as_seconds_u32().saturating_add(CODE_SECONDS),
        };
        Ok(request.service.shards.store_code(new_code).await?)
    }
}

/// Reads a request of a client, with the ID token that it names somebody by.
pub(super) fn read(
    service: &Service,
    parameters: &AuthorizationParameters<'_>,
    client: &Client,
) -> Result<AuthorizationRequest, AuthorizationError> {
    let read = parameters.read(client)?;
    let Some(text) = parameters.find("id_token_hint") else { return Ok(read) };
    match IdTokenHint::read(text, &service.keys.keys(), &service.issuer) {
        Ok(hint) => read.of_subject(hint.subject),
        Err(error) => {
            let error = OAuthError::invalid_request(error.to_string());
            Err(AuthorizationError::Redirected(Box::new(read.refused(error))))
        }
    }
}

/// How the person of a session has proved who they are.
pub(super) fn context_of(service: &Service, session: &Session) -> AuthenticationContext {
    let context = AuthenticationContext::new(session.amr.iter().map(String::as_str), session.acr.as_deref());
    service.users.share(context)
}

/// What a browser shows of itself.
pub(super) struct Browser<'a> {
    pub(super) cookies: Cookies<'a>,
    /// Its session, if it is live.
    pub(super) session: Option<Arc<Session>>,
}

impl<'a> Browser<'a> {
    /// Reads the cookies of a request, and notes that its session was used.
    pub(super) fn of(request: &'a Arrived<'_>) -> Result<Self, RepeatedCookie> {
        let cookies = Cookies::of(request.headers())?;
        let digest = cookies.session.and_then(SessionDigest::of);
        let session = digest.and_then(|digest| request.service.users.session(&digest));
        let session = session.filter(|session| session.is_live(request.now));
        if let Some(session) = &session {
            touch(&request.service.user_actor, session, request.now);
        }
        Ok(Self { cookies, session })
    }

    /// What its next login form is bound to: what it has, or something new.
    pub(super) fn login_cookie(&self, random: &dyn SecureRandom) -> Result<LoginCookie<'a>, Unspecified> {
        self.cookies
            .login
            .map_or_else(|| PreSession::random(random).map(LoginCookie::Made), |kept| Ok(LoginCookie::Kept(kept)))
    }
}

/// What a login form is bound to.
pub(super) enum LoginCookie<'a> {
    /// The browser has it already.
    Kept(&'a str),
    /// It gets it with the answer.
    Made(PreSession),
}

impl LoginCookie<'_> {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Kept(text) => text,
            Self::Made(made) => made.reveal(),
        }
    }

    /// Gives it to the browser with an answer, if it does not have it.
    pub(super) fn add_to(&self, response: &mut HttpResponse) {
        if let Self::Made(made) = self {
            add_cookie(response, cookie::set(LOGIN_COOKIE, made.reveal()));
        }
    }
}

/// Begins the session of a person whom the operator's login page has let in.
async fn come_back(request: &Arrived<'_>, verifier: &str) -> Result<HttpResponse, Rejection> {
    let service = request.service;
    let Ok(browser) = Browser::of(request) else { return Ok(cookie_twice(service)) };
    let operator = service.operator_login.as_ref().ok_or(LoginChallengeError::NotConfigured);
    let redeemed =
        operator.and_then(|operator| operator.redeem(&service.sealer, verifier, browser.cookies.login, request.now));
    let LetIn { subject, proof, afterwards } =
        redeemed.map_err(|error| OAuthError::invalid_request(error.to_string()))?;
    let started = StartSession {
        subject,
        checked: None,
        amr: proof.amr,
        acr: proof.acr,
        lifetime_seconds: proof.session_lifetime_seconds,
        user_agent: user_agent(request),
        address: address(request),
        replaces: browser.cookies.session.and_then(SessionDigest::of),
    };
    let (_, token) = match ask(&service.user_actor, started).await {
        Ok(started) => started,
        Err(UserError::LoginRefused) => return Ok(not_let_in(service)),
        Err(error) => return Err(error.into()),
    };
    let to = match &afterwards {
        Afterwards::Authorize(interrupted) => format!("{PATH}?request={}", seal(request, interrupted)?),
        Afterwards::Account => account::PATH.to_owned(),
        Afterwards::Device { user_code: None } => device::PATH.to_owned(),
        Afterwards::Device { user_code: Some(user_code) } => format!("{}?user_code={user_code}", device::PATH),
    };
    let mut response = redirect(&service.pages.path(&to));
    add_cookie(&mut response, cookie::set(SESSION_COOKIE, token.reveal()));
    add_cookie(&mut response, cookie::forget(LOGIN_COOKIE));
    Ok(response)
}

/// The operator's page knows a person whom this server does not let in: a user here, who is disabled.
fn not_let_in(service: &Service) -> HttpResponse {
    let text = "This account may not be used here. Please ask whoever runs this service.";
    service.pages.error(StatusCode::FORBIDDEN, "This sign-in cannot go on", text)
}

fn user_agent(request: &Arrived<'_>) -> Option<String> {
    request.headers().get(header::USER_AGENT)?.to_str().ok().map(str::to_owned)
}

/// The text that a browser carries through the pages.
fn seal(request: &Arrived<'_>, interrupted: &Interrupted) -> Result<String, SealError> {
    let content = serde_json::to_vec(interrupted).unwrap_or_default();
    let service = request.service;
    service.sealer.seal(Purpose::AuthorizationRequest, &content, request.now, &*service.random)
}

/// A 303: whatever the request was, the next one is a `GET` (RFC 9700 §4.12). The location may hold a code: it goes into no cache
/// and no `Referer`.
pub(super) fn redirect(location: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .insert_header((header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")))
        .finish()
}

/// The page that says what is wrong with a request.
pub(super) fn shown(service: &Service, error: &OAuthError) -> HttpResponse {
    let text = format!("The application sent a request that cannot be answered: {}.", error.description);
    service.pages.error(StatusCode::BAD_REQUEST, "This sign-in cannot go on", &text)
}

pub(super) fn cookie_twice(service: &Service) -> HttpResponse {
    let text = format!("{RepeatedCookie}. Please delete the cookies of this site and try again.");
    service.pages.error(StatusCode::BAD_REQUEST, "This sign-in cannot go on", &text)
}
