//! Services: each registers, is issued tokens, uses them at an API whose gateway introspects them, and renews them in time.

use std::sync::Arc;
use std::time::Duration;

use goose::prelude::{GooseUser, TransactionResult};
use hyper::StatusCode;
use tokio::time::Instant;

use crate::client::{Credentials, get};
use crate::flows::answer;
use crate::flows::ask::{Asked, ask, introspect, issue, log_in, revoke};
use crate::flows::ground::{Ground, Registration};
use crate::flows::role::Role;
use crate::flows::token::Token;

/// A service.
#[derive(Clone)]
pub(super) struct Service {
    ground: Arc<Ground>,
    credentials: Option<Credentials>,
    token: Option<Arc<Token>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Calls an API, whose gateway introspects the token.
    Use,
    /// Forgets its token, as who is restarted does, and has another one issued.
    Restart,
    /// Revokes its token, as who is shut down does.
    Retire,
    /// Looks up where the endpoints are.
    Discover,
}

/// An hour in real life: so short that tokens are renewed, and expire in use if that is too late.
const LIFETIME_SECONDS: u32 = 4;
/// A token that is active no longer than this is renewed before it is used.
const RENEW_BEFORE: Duration = Duration::from_secs(1);

impl Service {
    pub(super) const fn new(ground: Arc<Ground>) -> Self {
        Self { ground, credentials: None, token: None }
    }

    /// Its credentials; it registers if it has none.
    async fn credentials(&mut self, user: &mut GooseUser) -> Asked<Credentials> {
        if let Some(credentials) = &self.credentials {
            return Ok(credentials.clone());
        }
        let operator = log_in(user, &self.ground.operator).await?;
        let request = operator.register(&Registration::own("flows: service", LIFETIME_SECONDS));
        let credentials = ask(user, "register", request, StatusCode::CREATED, answer::credentials).await?;
        Ok(self.credentials.insert(credentials).clone())
    }

    /// A token that is good for a while.
    async fn token(&mut self, user: &mut GooseUser) -> Asked<Arc<Token>> {
        let now = Instant::now();
        if let Some(token) = self.token.as_ref().filter(|token| token.rest(now) > RENEW_BEFORE) {
            return Ok(Arc::clone(token));
        }
        let credentials = self.credentials(user).await?;
        Ok(Arc::clone(self.token.insert(issue(user, "token", &credentials).await?)))
    }

    async fn use_token(&mut self, user: &mut GooseUser) -> Asked<()> {
        let token = self.token(user).await?;
        introspect(user, "use", &self.ground.gateway, &token).await
    }

    async fn retire(&mut self, user: &mut GooseUser) -> Asked<()> {
        let (credentials, token) = (self.credentials(user).await?, self.token(user).await?);
        self.token = None;
        revoke(user, "retire", &credentials, &token).await?;
        introspect(user, "use retired", &self.ground.gateway, &token).await
    }
}

impl Role for Service {
    type Step = Step;

    const STEPS: &'static [(Step, &'static str, u16)] = &[
        (Step::Use, "use", 95),
        (Step::Restart, "restart", 3),
        (Step::Retire, "retire", 1),
        (Step::Discover, "discover", 1),
    ];

    async fn arrive(&mut self, user: &mut GooseUser) -> TransactionResult {
        self.token(user).await?;
        Ok(())
    }

    async fn take(&mut self, step: Step, user: &mut GooseUser) -> TransactionResult {
        match step {
            Step::Use => self.use_token(user).await,
            Step::Restart => {
                self.token = None;
                self.use_token(user).await
            }
            Step::Retire => self.retire(user).await,
            Step::Discover => ask(user, "discover", get(METADATA), StatusCode::OK, answer::metadata).await,
        }
    }

    /// Its registration is deleted, and with it every token that it ever had.
    async fn leave(&mut self, user: &mut GooseUser) -> TransactionResult {
        let (credentials, token) = (self.credentials(user).await?, self.token(user).await?);
        let operator = log_in(user, &self.ground.operator).await?;
        token.begin_end();
        ask(user, "delete", operator.delete(&credentials.id), StatusCode::NO_CONTENT, answer::anything).await?;
        token.end();
        introspect(user, "use deleted", &self.ground.gateway, &token).await
    }
}

const METADATA: &str = "/.well-known/oauth-authorization-server";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_use_their_tokens_more_than_all_else() {
        let weight = |is_use: bool| -> u16 {
            Service::STEPS.iter().filter(|(step, ..)| (*step == Step::Use) == is_use).map(|(.., weight)| weight).sum()
        };
        assert!(weight(true) >= 10 * weight(false));
    }

    #[test]
    fn a_token_is_renewed_before_it_may_have_expired_but_not_at_once() {
        let now = Instant::now();
        let lifetime = Duration::from_secs(LIFETIME_SECONDS.into());
        let token = Token::issued(String::new(), String::new(), String::new(), lifetime, (now, now));
        assert!(token.rest(now) > RENEW_BEFORE);
        assert!(token.rest(now + lifetime - RENEW_BEFORE) <= RENEW_BEFORE);
    }
}
