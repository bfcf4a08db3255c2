//! Requests, counted by kind and outcome.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Issue,
    Introspect,
    IntrospectBatch,
    Revoke,
    Register,
    Delete,
    /// A person logs in.
    LogIn,
    /// A person lets a client in.
    Authorize,
    /// A code is redeemed.
    Redeem,
    /// A code is redeemed that was redeemed before.
    RedeemAgain,
    /// A device asks to be let in.
    BeginDevice,
    /// A person types the code of a device.
    FindDevice,
    /// A person says yes or no to a device.
    DecideDevice,
    /// A device asks for its tokens.
    Poll,
    /// A device asks for its tokens that has got them before.
    PollAgain,
    Refresh,
    /// A refresh token is presented again whose successor was not used.
    RefreshAgain,
    /// A refresh token is presented again whose successor was used.
    Reuse,
    /// A grant is ended by its refresh token.
    RevokeGrant,
    /// A grant is ended through the admin API.
    EndGrant,
    /// A snapshot, taken while everything goes on.
    Snapshot,
    /// Introspection while the server reads its journal.
    WhileStarting,
    /// Introspection after a restart, of what was acknowledged.
    LookUp,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Issue => "issue",
            Self::Introspect => "introspect",
            Self::IntrospectBatch => "introspect a batch",
            Self::Revoke => "revoke",
            Self::Register => "register a client",
            Self::Delete => "delete a client",
            Self::LogIn => "log in",
            Self::Authorize => "let a client in",
            Self::Redeem => "redeem a code",
            Self::RedeemAgain => "redeem a code again",
            Self::BeginDevice => "let a device in",
            Self::FindDevice => "find a device",
            Self::DecideDevice => "decide about a device",
            Self::Poll => "poll",
            Self::PollAgain => "poll again, with tokens",
            Self::Refresh => "refresh",
            Self::RefreshAgain => "refresh again",
            Self::Reuse => "reuse a refresh token",
            Self::RevokeGrant => "revoke a refresh token",
            Self::EndGrant => "end a grant",
            Self::Snapshot => "take a snapshot",
            Self::WhileStarting => "introspect a batch, at a start",
            Self::LookUp => "look up after a restart",
        })
    }
}

/// How a request ended, for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered as it wished.
    Acknowledged,
    /// It was answered otherwise, and has changed nothing.
    Refused,
    /// It was not answered, and may have happened.
    Unknown,
}

/// How many requests of one kind ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Outcomes {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
}

/// All requests of a run.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Tally(BTreeMap<Kind, Outcomes>);

impl Tally {
    pub(super) fn count(&mut self, kind: Kind, outcome: Outcome) {
        let outcomes = self.0.entry(kind).or_default();
        *match outcome {
            Outcome::Acknowledged => &mut outcomes.acknowledged,
            Outcome::Refused => &mut outcomes.refused,
            Outcome::Unknown => &mut outcomes.unknown,
        } += 1;
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (Kind, Outcomes)> {
        self.0.iter().map(|(kind, outcomes)| (*kind, *outcomes))
    }

    pub(super) fn total(&self) -> u64 {
        self.rows().map(|(_, outcomes)| outcomes.acknowledged + outcomes.refused + outcomes.unknown).sum()
    }
}
