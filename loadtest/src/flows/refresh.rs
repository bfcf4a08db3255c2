//! Applications that go on for a person who has left: chains of refreshes, a lost answer now and then, and a thief.

use std::sync::Arc;

use goose::prelude::{GooseUser, TransactionResult};

use crate::flows::ask::{Asked, introspect};
use crate::flows::ground::Ground;
use crate::flows::role::Role;
use crate::flows::visitor::{Grant, Visitor, granted, refused};

/// An application.
#[derive(Clone)]
pub(super) struct Application {
    ground: Arc<Ground>,
    visitor: Visitor,
    /// The last answers of its grant, the newest last; three at most.
    chain: Vec<Grant>,
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    /// Calls an API, whose gateway introspects the token.
    Use,
    /// Refreshes.
    Refresh,
    /// Refreshes, loses the answer, and asks again: it is the same answer.
    Lose,
    /// Somebody presents a token that was used long ago: all that the grant gave is over, and the person logs in again.
    Steal,
}

const CHAIN_MAX: usize = 3;

impl Application {
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        Self { ground, visitor: Visitor::default(), chain: Vec::new() }
    }

    /// What it has now; the person lets it in if it has nothing.
    async fn grant(&mut self, user: &mut GooseUser) -> Asked<Grant> {
        if let Some(grant) = self.chain.last() {
            return Ok(grant.clone());
        }
        let grant = self.visitor.let_in(user, &self.ground.portal, false).await?;
        self.chain.push(grant.clone());
        Ok(grant)
    }

    async fn use_token(&mut self, user: &mut GooseUser) -> Asked<()> {
        let grant = self.grant(user).await?;
        introspect(user, "use a refreshed token", &self.ground.gateway, &grant.access).await
    }

    async fn refresh(&mut self, user: &mut GooseUser) -> Asked<()> {
        let grant = self.grant(user).await?;
        let portal = &self.ground.portal;
        let next = granted(user, "refresh", portal, portal.refresh(&grant.refresh)).await;
        // After a failure nobody knows what the grant is worth.
        let next = next.inspect_err(|_| self.chain.clear())?;
        self.chain.push(next);
        if self.chain.len() > CHAIN_MAX {
            self.chain.remove(0);
        }
        Ok(())
    }

    async fn lose(&mut self, user: &mut GooseUser) -> Asked<()> {
        let before = self.grant(user).await?;
        self.refresh(user).await?;
        let after = self.grant(user).await?;
        let portal = &self.ground.portal;
        let again = granted(user, "refresh again", portal, portal.refresh(&before.refresh)).await?;
        if again.refresh != after.refresh || again.access.text != after.access.text {
            return Err("a refresh was answered otherwise when it was asked for again".into());
        }
        Ok(())
    }

    async fn steal(&mut self, user: &mut GooseUser) -> Asked<()> {
        while self.chain.len() < CHAIN_MAX {
            self.refresh(user).await?;
        }
        let chain = std::mem::take(&mut self.chain);
        let (Some(oldest), Some(newest)) = (chain.first(), chain.last()) else { return Ok(()) };
        let (portal, gateway) = (&self.ground.portal, &self.ground.gateway);
        newest.access.begin_end();
        refused(user, "refresh with a stolen token", portal.refresh(&oldest.refresh)).await?;
        newest.access.end();
        introspect(user, "use after a theft", gateway, &newest.access).await?;
        refused(user, "refresh after a theft", portal.refresh(&newest.refresh)).await
    }
}

impl Role for Application {
    type Step = Step;

    const STEPS: &'static [(Step, &'static str, u16)] =
        &[(Step::Use, "use", 20), (Step::Refresh, "refresh", 20), (Step::Lose, "lose", 4), (Step::Steal, "steal", 1)];

    async fn arrive(&mut self, user: &mut GooseUser) -> TransactionResult {
        self.visitor.arrive(user, &self.ground).await?;
        self.grant(user).await?;
        Ok(())
    }

    async fn take(&mut self, step: Step, user: &mut GooseUser) -> TransactionResult {
        match step {
            Step::Use => self.use_token(user).await,
            Step::Refresh => self.refresh(user).await,
            Step::Lose => self.lose(user).await,
            Step::Steal => self.steal(user).await,
        }
    }
}
