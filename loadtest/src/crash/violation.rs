//! What the server must not do.

use std::fmt;

use crate::client::Answer;
use crate::crash::tally::Kind;

/// A promise that was broken, in the words of the invariants: I1, I2, I5, I6, I7, I8, I10.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("I1: an acknowledged token is not active: {0}")]
    Lost(Place),
    #[error("I5: an acknowledged token is not active, and a later one of its connection is: {0}")]
    Hole(Place),
    #[error("I2: a token is active that was revoked, expired, deleted with its client, or seen inactive: {0}")]
    Revived(Place),
    #[error("I1: a registered client is not known: {0}")]
    ClientLost(Place),
    #[error("I2: the credentials of a deleted client are accepted: {0}")]
    ClientRevived(Place),
    #[error("I1: an acknowledged grant does not refresh: {0}")]
    GrantLost(Place),
    #[error("I1: an acknowledged code is not redeemed, and nobody has used it: {0}")]
    CodeLost(Place),
    #[error("I1: an acknowledged device does not wait, and nobody has let it in: {0}")]
    DeviceLost(Place),
    #[error("I1: a device is not told what a person has said to it: {0}")]
    DecisionLost(Place),
    #[error("I1: a session that was begun is not known: {0}")]
    SessionLost(Place),
    #[error("I1: a retry of a refresh gives another token than the refresh did: {0}")]
    OtherSuccessor(Place),
    #[error("I2: a grant refreshes that was revoked or seen to be over: {0}")]
    GrantRevived(Place),
    #[error("I2: a code or a refresh token that was used before gave tokens: {0}")]
    UsedTwice(Place),
    #[error("I2: a device that nobody has allowed, or somebody has denied, got tokens: {0}")]
    NotAllowed(Place),
    #[error("I6: a token is active and not in tessera.live_tokens: {0}")]
    NotInTables(Place),
    #[error("I6: a token is not active and is in tessera.live_tokens: {0}")]
    StillInTables(Place),
    #[error("I6: a client can log in and is not in tessera.clients: {0}")]
    ClientNotInTables(Place),
    #[error("I6: a client cannot log in and is in tessera.clients: {0}")]
    ClientStillInTables(Place),
    #[error("I6: {0} events of tokens are in tessera.token_events more than once")]
    EventsTwice(u64),
    #[error("I6: the database refused {0} records: see tessera.dead_letters")]
    DeadLetters(u64),
    #[error("I6: the journal let go of records before they came to the database, {0} times: see tessera.gaps")]
    Gaps(u64),
    #[error("I6: the database ends with record {applied_lsn}, the journal with {durable_lsn}")]
    OtherLsn { applied_lsn: u64, durable_lsn: u64 },
    #[error("I6: the database had not caught up after {seconds} s: {state}, {lag_records} records behind")]
    Behind { seconds: u64, state: String, lag_records: u64 },
    #[error("I10: {kind} was answered with {status}: {body}")]
    WrongAnswer { kind: Kind, status: u16, body: String },
    #[error("I10: {kind} was not answered though nobody had killed the server: {reason}")]
    NoAnswer { kind: Kind, reason: String },
    #[error("I8: {file} holds a token or a secret in the clear, at byte {offset}")]
    Secret { file: String, offset: usize },
    #[error("I7: `tessera journal verify` does not find the journal whole: {0}")]
    Journal(String),
    #[error("{0}")]
    Server(String),
}

impl Violation {
    /// No rule allows this answer.
    pub(super) fn wrong_answer(kind: Kind, answer: &Answer) -> Self {
        // What is said where all went well may hold a token.
        let body = if answer.status.is_success() { Default::default() } else { String::from_utf8_lossy(&answer.body) };
        let body = body.chars().take(BODY_CHARACTERS).collect();
        Self::WrongAnswer { kind, status: answer.status.as_u16(), body }
    }

    /// Whether something that was acknowledged is gone.
    pub(super) const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Lost(_)
                | Self::Hole(_)
                | Self::ClientLost(_)
                | Self::GrantLost(_)
                | Self::CodeLost(_)
                | Self::DeviceLost(_)
                | Self::DecisionLost(_)
                | Self::SessionLost(_)
        )
    }

    /// Whether something that was over is back.
    pub(super) const fn is_revival(&self) -> bool {
        matches!(
            self,
            Self::Revived(_)
                | Self::ClientRevived(_)
                | Self::GrantRevived(_)
                | Self::UsedTwice(_)
                | Self::NotAllowed(_)
        )
    }
}

/// How much of a wrong answer is shown.
const BODY_CHARACTERS: usize = 200;

/// Which token or client, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) client: String,
    /// The token's number, the connection that was told of it, and after which start of the server.
    pub(super) issued: Option<(usize, usize, usize)>,
    /// After which start it was seen.
    pub(super) start: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((number, connection, start)) = self.issued {
            write!(formatter, "token {number}, issued on connection {connection} after start {start}, ")?;
        }
        write!(formatter, "client {}, seen after start {}", self.client, self.start)
    }
}
