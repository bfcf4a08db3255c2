//! Holders of tokens: from time to time there is a leak, and all of them revoke what they hold at once, one token after the
//! other, while they and all others go on introspecting those very tokens.
//!
//! Once a revocation is answered, no introspection that is sent afterwards may find the token active, whoever sends it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use goose::prelude::{GooseUser, TransactionResult};

use crate::flows::ask::{Asked, introspect, introspect_batch, issue, revoke};
use crate::flows::ground::Ground;
use crate::flows::role::Role;
use crate::flows::token::Token;

/// A holder.
#[derive(Clone)]
pub(super) struct Holder {
    ground: Arc<Ground>,
    /// The last tokens of all holders, those that were revoked too.
    known: Arc<Mutex<VecDeque<Arc<Token>>>>,
    held: Vec<Arc<Token>>,
    /// Never leaks, and so stays active through all that happens to others.
    kept: Option<Arc<Token>>,
    /// Leaks that it has dealt with.
    leaks: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    /// Has one more token issued, up to [`HELD_MAX`].
    Hold,
    /// Introspects a token, its own or another's.
    Watch,
    /// Revokes all that it holds, if there is a leak.
    Heed,
}

const HELD_MAX: usize = 100;
const KNOWN_MAX: usize = 5000;
/// From one leak to the next.
const LEAK_EVERY: Duration = Duration::from_secs(2);

impl Holder {
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        Self { ground, known: Arc::default(), held: Vec::new(), kept: None, leaks: 0 }
    }

    async fn hold(&mut self, user: &mut GooseUser) -> Asked<()> {
        if self.held.len() >= HELD_MAX {
            return Ok(());
        }
        let token = issue(user, "storm issue", &self.ground.app).await?;
        self.held.push(Arc::clone(&token));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_back(token);
        if known.len() > KNOWN_MAX {
            known.pop_front();
        }
        Ok(())
    }

    /// One of the tokens of all holders.
    fn pick(&self) -> Option<Arc<Token>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(fastrand::usize(..known.len().max(1))).cloned()
    }

    async fn watch(&mut self, user: &mut GooseUser) -> Asked<()> {
        match self.pick() {
            Some(token) => introspect(user, "storm watch", &self.ground.gateway, &token).await,
            None => self.hold(user).await,
        }
    }

    async fn heed(&mut self, user: &mut GooseUser) -> Asked<()> {
        let leaks = leaks_after(self.ground.begun.elapsed());
        if leaks == self.leaks {
            return Ok(());
        }
        self.leaks = leaks;
        let (ground, leaked) = (Arc::clone(&self.ground), std::mem::take(&mut self.held));
        for token in &leaked {
            revoke(user, "storm revoke", &ground.app, token).await?;
            introspect(user, "storm revoked", &ground.gateway, token).await?;
        }
        let kept = self.keep(user).await?;
        introspect_batch(user, "storm after", &ground.gateway, &[leaked, vec![kept]].concat()).await
    }

    /// The token that never leaks.
    async fn keep(&mut self, user: &mut GooseUser) -> Asked<Arc<Token>> {
        if let Some(kept) = &self.kept {
            return Ok(Arc::clone(kept));
        }
        Ok(Arc::clone(self.kept.insert(issue(user, "storm issue", &self.ground.app).await?)))
    }
}

/// How many leaks there were by then. All holders count the same, and so revoke at the same time.
const fn leaks_after(time: Duration) -> u64 {
    time.as_secs() / LEAK_EVERY.as_secs()
}

impl Role for Holder {
    type Step = Step;

    const STEPS: &'static [(Step, &'static str, u16)] =
        &[(Step::Hold, "hold", 5), (Step::Watch, "watch", 20), (Step::Heed, "heed", 1)];

    async fn arrive(&mut self, user: &mut GooseUser) -> TransactionResult {
        self.keep(user).await?;
        Ok(())
    }

    async fn take(&mut self, step: Step, user: &mut GooseUser) -> TransactionResult {
        match step {
            Step::Hold => self.hold(user).await,
            Step::Watch => self.watch(user).await,
            Step::Heed => self.heed(user).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holders_count_the_same_leaks() {
        let after = |millis| leaks_after(Duration::from_millis(millis));
        assert_eq!([after(0), after(1999), after(2000), after(3999), after(61_000)], [0, 0, 1, 1, 30]);
    }
}
