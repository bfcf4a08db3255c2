//! What callers were told, and so what must hold.

use crate::shard::ShardError;
use tokio::sync::oneshot::Receiver;

pub(super) type Answer = Receiver<Result<(), ShardError>>;

/// A token that was asked for.
pub(super) struct Known {
    pub(super) number: u64,
    pub(super) client: usize,
    pub(super) client_generation: u64,
    pub(super) expires_at: u32,
    /// `Some(true)`: it was acknowledged or seen active after a start; `Some(false)`: refused, or not there after a start.
    pub(super) issued: Option<bool>,
    issue: Option<Answer>,
    revocations: Vec<Answer>,
    /// Somebody asked for it: it may be revoked.
    pub(super) may_be_revoked: bool,
    /// It was acknowledged, or seen.
    pub(super) revoked: bool,
}

impl Known {
    pub(super) fn new(number: u64, client: usize, client_generation: u64, expires_at: u32, issue: Answer) -> Self {
        Self {
            number,
            client,
            client_generation,
            expires_at,
            issued: None,
            issue: Some(issue),
            revocations: Vec::new(),
            may_be_revoked: false,
            revoked: false,
        }
    }

    /// The revocation of a token that has expired changes nothing: if the clock goes back before the next start, it may be
    /// there again.
    pub(super) fn revoke(&mut self, answer: Answer, now: u32) {
        if now < self.expires_at {
            self.may_be_revoked = true;
            self.revocations.push(answer);
        }
    }

    /// Takes in what was answered meanwhile.
    pub(super) fn listen(&mut self) {
        if let Some(answer) = self.issue.as_mut().and_then(|issue| issue.try_recv().ok()) {
            self.issue = None;
            self.issued = Some(answer.is_ok());
        }
        for answer in &mut self.revocations {
            self.revoked |= answer.try_recv() == Ok(Ok(()));
        }
    }

    /// The process is gone: no answer will come. What was neither acknowledged nor refused may be there or not.
    pub(super) fn forget_answers(&mut self) {
        self.listen();
        self.issue = None;
        self.revocations.clear();
    }

    /// Whether it may be active, and whether it must be.
    pub(super) fn expected(&self, now: u32, client_lives: Expected) -> Expected {
        let is_over = now >= self.expires_at || self.revoked || self.issued == Some(false);
        Expected {
            may: !is_over && client_lives.may,
            must: !is_over && self.issued == Some(true) && !self.may_be_revoked && client_lives.must,
        }
    }

    /// What somebody was told by a look at it. `is_settled`: nothing is on its way any more.
    pub(super) fn seen(&mut self, is_active: bool, now: u32, client_lives: Expected, is_settled: bool) {
        let Expected { may, must } = self.expected(now, client_lives);
        assert!(is_active || !must, "token {} that was acknowledged is gone", self.number);
        assert!(
            !is_active || may,
            "token {} that was over is back: {:?} {now} {client_lives:?} {is_settled}",
            self.number,
            (self.expires_at, self.issued, self.revoked, self.may_be_revoked, self.client_generation)
        );
        if is_active && is_settled {
            self.issued = Some(true);
            self.may_be_revoked = false;
        }
        // A look says no because the token was never there, is revoked, or its client is gone.
        let only_revocation = self.issued == Some(true) && client_lives.must && now < self.expires_at;
        if !is_active && only_revocation {
            self.revoked = true;
        }
        if !is_active && is_settled && self.issued.is_none() && client_lives.must && now < self.expires_at {
            self.issued = Some(false);
        }
    }
}

/// Whether something may be so, and whether it must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) may: bool,
    pub(super) must: bool,
}

/// A client name, which may be registered and deleted again and again.
#[derive(Default)]
pub(super) struct KnownClient {
    /// The highest generation that was acknowledged or seen.
    pub(super) generation: u64,
    /// A deletion or registration was asked for and not answered: the generation may be higher.
    pub(super) is_open: bool,
}

impl KnownClient {
    /// What a token of a generation may be, by its client.
    pub(super) fn lives(&self, generation: u64) -> Expected {
        Expected { may: generation >= self.generation, must: generation == self.generation && !self.is_open }
    }
}
