//! People's grants, as the roles of `login` and `refresh` ask for them.

use std::sync::Arc;

use goose::prelude::GooseUser;
use hyper::StatusCode;
use reqwest::redirect::Policy;
use tokio::time::Instant;

use crate::client::{Answer, Credentials, Request};
use crate::flows::answer::{self, Wrong};
use crate::flows::ask::{Asked, ask};
use crate::flows::ground::Ground;
use crate::flows::token::Token;
use crate::people::{Account, Browser, authorization_request, code, destination};

/// A person with a browser, and one account for the whole run.
#[derive(Clone, Default)]
pub(super) struct Visitor {
    account: Option<Account>,
    browser: Browser,
}

/// What a client was granted for a person.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) access: Arc<Token>,
    pub(super) refresh: String,
}

impl Visitor {
    /// Comes: with an account that nobody else uses, if there are enough.
    pub(super) async fn arrive(&mut self, user: &mut GooseUser, ground: &Ground) -> Asked<()> {
        // A browser here goes where it is sent by itself, so that each answer is judged.
        user.set_client_builder(reqwest::Client::builder().redirect(Policy::none())).await?;
        self.account = ground.next_account();
        Ok(())
    }

    /// Forgets its session, as who closes a private window does.
    pub(super) fn forget(&mut self) {
        self.browser = Browser::default();
    }

    /// Lets a client in, after a login where nobody is logged in. A client that asks is told what it may do on a page.
    pub(super) async fn let_in(&mut self, user: &mut GooseUser, client: &Credentials, asks: bool) -> Asked<Grant> {
        // A consent is remembered: with the prompt the page comes each time.
        let prompt: &[_] = if asks { &[("prompt", "consent")] } else { &[] };
        let path = authorization_request(&client.id, prompt);
        let path = if self.browser.has_session() { path } else { self.log_in(user, &path).await? };
        let request = self.browser.get(&path);
        // What began with a form ends on a page that leads on: browsers hold a form's policy against redirects after it.
        let is_after_form = path.contains("?request=");
        let led_on = if is_after_form { StatusCode::OK } else { StatusCode::SEE_OTHER };
        let code = if asks {
            let page = self.visit(user, "consent page", request, StatusCode::OK, whole).await?;
            self.visit(user, "consent", self.browser.allow(&page), StatusCode::OK, a_code).await?
        } else {
            self.visit(user, "authorize", request, led_on, a_code).await?
        };
        granted(user, "code", client, client.redeem(&code)).await
    }

    /// Where the person goes on.
    async fn log_in(&mut self, user: &mut GooseUser, path: &str) -> Asked<String> {
        let page = self.visit(user, "login page", self.browser.get(path), StatusCode::OK, whole).await?;
        let account = self.account.as_ref().ok_or("there are fewer accounts than users")?;
        let request = self.browser.log_in(&page, account);
        self.visit(user, "login", request, StatusCode::SEE_OTHER, next).await
    }

    /// Asks as a browser does.
    async fn visit<T>(
        &mut self,
        user: &mut GooseUser,
        name: &str,
        request: Request,
        expected: StatusCode,
        read: fn(&Answer) -> Result<T, Wrong>,
    ) -> Asked<T> {
        let browser = &mut self.browser;
        let take = |answer: &Answer| {
            browser.take(answer);
            read(answer)
        };
        ask(user, name, request, expected, take).await
    }
}

/// Has a client granted what a code or a refresh token stands for.
pub(super) async fn granted(user: &mut GooseUser, name: &str, client: &Credentials, request: Request) -> Asked<Grant> {
    let sent = Instant::now();
    let read = |answer: &Answer| {
        let refresh = answer.granted().ok_or(Wrong::Malformed)?.refresh_token;
        let access = Arc::new(answer::token(answer, &client.id, sent, Instant::now())?);
        Ok(Grant { access, refresh })
    };
    ask(user, name, request, StatusCode::OK, read).await
}

/// Has a client refused with `invalid_grant`.
pub(super) async fn refused(user: &mut GooseUser, name: &str, request: Request) -> Asked<()> {
    ask(user, name, request, StatusCode::BAD_REQUEST, answer::invalid_grant).await
}

fn whole(answer: &Answer) -> Result<Answer, Wrong> {
    Ok(answer.clone())
}

fn next(answer: &Answer) -> Result<String, Wrong> {
    destination(answer).ok_or(Wrong::Malformed)
}

fn a_code(answer: &Answer) -> Result<String, Wrong> {
    code(answer).ok_or(Wrong::Malformed)
}
