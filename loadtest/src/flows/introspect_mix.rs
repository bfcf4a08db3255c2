//! Gateways: each introspects what callers bring, most of which is good.

use std::sync::Arc;

use goose::prelude::{GooseUser, TransactionResult};
use hyper::StatusCode;
use tokio::time::Instant;

use crate::flows::answer;
use crate::flows::ask::{Asked, ask, introspect, introspect_batch, issue, revoke};
use crate::flows::ground::Ground;
use crate::flows::role::Role;
use crate::flows::token::Token;

/// A gateway, with the tokens that its callers have.
#[derive(Clone)]
pub(super) struct Gateway {
    ground: Arc<Ground>,
    active: Vec<Arc<Token>>,
    expired: Vec<Arc<Token>>,
    revoked: Vec<Arc<Token>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Active,
    Expired,
    Revoked,
    /// Of the right shape, but never issued.
    Unknown,
    /// No token at all.
    Malformed,
    /// Good, but not for the eyes of who asks.
    Unseen,
    /// Some of each, in one request.
    Batch,
}

const ACTIVE: usize = 20;
const EXPIRED: usize = 5;
const REVOKED: usize = 5;
const BATCH: usize = 50;
/// All of it as a form encodes it.
const MALFORMED: &[&str] = &["unknown", "tsr_at_", "eyJhbGciOiJub25lIn0.e30.", "%C3%A9", "%00", "null"];

impl Gateway {
    pub(super) const fn new(ground: Arc<Ground>) -> Self {
        Self { ground, active: Vec::new(), expired: Vec::new(), revoked: Vec::new() }
    }

    /// Fills up what callers have.
    async fn meet_callers(&mut self, user: &mut GooseUser) -> Asked<()> {
        let Ground { app, brief, .. } = &*self.ground;
        while self.active.len() < ACTIVE {
            self.active.push(issue(user, "mix issue", app).await?);
        }
        while self.expired.len() < EXPIRED {
            self.expired.push(issue(user, "mix issue", brief).await?);
        }
        while self.revoked.len() < REVOKED {
            let token = issue(user, "mix issue", app).await?;
            revoke(user, "mix revoke", app, &token).await?;
            self.revoked.push(token);
        }
        Ok(())
    }

    /// What a caller brings.
    fn bring(&self, step: Step) -> Asked<Arc<Token>> {
        let now = Instant::now();
        let brought = match step {
            Step::Active | Step::Unseen => fastrand::choice(&self.active).cloned(),
            Step::Expired => fastrand::choice(&self.expired).cloned(),
            Step::Revoked => fastrand::choice(&self.revoked).cloned(),
            Step::Unknown => Some(Arc::new(Token::unknown(now))),
            Step::Malformed => {
                fastrand::choice(MALFORMED).map(|text| Arc::new(Token::never_issued((*text).to_owned(), now)))
            }
            Step::Batch => None,
        };
        brought.ok_or_else(|| "there is no such token".into())
    }

    async fn introspect_unseen(&self, user: &mut GooseUser) -> Asked<()> {
        let token = self.bring(Step::Unseen)?;
        let request = self.ground.neighbour.introspect(&token.text);
        ask(user, "mix unseen", request, StatusCode::OK, |answer| answer::unseen(answer, &token)).await
    }

    async fn introspect_batch(&self, user: &mut GooseUser) -> Asked<()> {
        let kinds = [Step::Active, Step::Active, Step::Expired, Step::Revoked, Step::Unknown];
        let tokens: Vec<_> =
            kinds.iter().cycle().take(BATCH).map(|kind| self.bring(*kind)).collect::<Result<_, _>>()?;
        introspect_batch(user, "mix batch", &self.ground.gateway, &tokens).await
    }
}

impl Role for Gateway {
    type Step = Step;

    const STEPS: &'static [(Step, &'static str, u16)] = &[
        (Step::Active, "mix active", 80),
        (Step::Expired, "mix expired", 8),
        (Step::Revoked, "mix revoked", 3),
        (Step::Unknown, "mix unknown", 3),
        (Step::Malformed, "mix malformed", 2),
        (Step::Unseen, "mix unseen", 2),
        (Step::Batch, "mix batch", 2),
    ];

    async fn arrive(&mut self, user: &mut GooseUser) -> TransactionResult {
        self.meet_callers(user).await
    }

    async fn take(&mut self, step: Step, user: &mut GooseUser) -> TransactionResult {
        self.meet_callers(user).await?;
        let name = Self::STEPS.iter().find(|(other, ..)| *other == step).map_or("", |(_, name, _)| name);
        match step {
            Step::Unseen => self.introspect_unseen(user).await,
            Step::Batch => self.introspect_batch(user).await,
            _ => introspect(user, name, &self.ground.gateway, &*self.bring(step)?).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_callers_bring_a_good_token_and_every_other_kind_comes_too() {
        let steps = Gateway::STEPS;
        assert_eq!(steps.iter().map(|(.., weight)| weight).sum::<u16>(), 100, "weights are percents");
        let weight = |kind| steps.iter().find(|(step, ..)| *step == kind).map(|(.., weight)| *weight);
        assert!(weight(Step::Active) >= Some(75));
        for kind in [Step::Expired, Step::Revoked, Step::Unknown, Step::Malformed, Step::Unseen, Step::Batch] {
            assert!(weight(kind) >= Some(1), "{kind:?}");
        }
    }

    #[test]
    fn malformed_tokens_are_as_a_form_encodes_them() {
        for text in MALFORMED {
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%._-".contains(&byte)), "{text}");
        }
    }
}
