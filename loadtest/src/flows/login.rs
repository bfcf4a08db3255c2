//! People who log in, and let clients in: one that they are asked about and one that they are not.

use std::sync::Arc;

use goose::prelude::{GooseUser, TransactionResult};
use hyper::StatusCode;

use crate::flows::answer;
use crate::flows::ask::{Asked, ask, introspect};
use crate::flows::ground::Ground;
use crate::flows::role::Role;
use crate::flows::visitor::{Visitor, refused};

/// A person.
#[derive(Clone)]
pub(super) struct Person {
    ground: Arc<Ground>,
    visitor: Visitor,
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    /// Logs in again, and lets in a client that nobody asks about.
    LogIn,
    /// Still logged in, lets that client in.
    Return,
    /// Reads what a client asks for, and allows it.
    Consent,
}

impl Person {
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        Self { ground, visitor: Visitor::default() }
    }

    async fn let_in(&mut self, user: &mut GooseUser, asks: bool) -> Asked<()> {
        let Ground { portal, guest, gateway, .. } = &*self.ground;
        let client = if asks { guest } else { portal };
        let grant = self.visitor.let_in(user, client, asks).await?;
        introspect(user, "use a grant", gateway, &grant.access).await?;
        // Whoever has its refresh token ends all of a grant.
        grant.access.begin_end();
        let end = client.revoke(&grant.refresh);
        ask(user, "end a grant", end, StatusCode::OK, answer::anything).await?;
        grant.access.end();
        introspect(user, "use an ended grant", gateway, &grant.access).await?;
        refused(user, "refresh an ended grant", client.refresh(&grant.refresh)).await
    }
}

impl Role for Person {
    type Step = Step;

    const STEPS: &'static [(Step, &'static str, u16)] =
        &[(Step::LogIn, "log in", 1), (Step::Return, "return", 5), (Step::Consent, "consent", 3)];

    async fn arrive(&mut self, user: &mut GooseUser) -> TransactionResult {
        self.visitor.arrive(user, &self.ground).await
    }

    async fn take(&mut self, step: Step, user: &mut GooseUser) -> TransactionResult {
        if let Step::LogIn = step {
            self.visitor.forget();
        }
        self.let_in(user, matches!(step, Step::Consent)).await
    }
}
