//! What a shard can be told.

use actix::Message;
use tokio::sync::oneshot;

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::shard::ShardError;
use crate::telemetry::message::MessageKind;
use crate::token::access_token::{Partition, TokenReference};
use crate::token::grant::GrantTerms;
use crate::token::state::ShardState;

/// Where an answer goes once it is durable.
pub(super) type Reply = oneshot::Sender<Result<(), ShardError>>;

/// A token that a worker has minted.
#[derive(Clone, Debug)]
pub struct IssueToken {
    /// What it will be found by.
    pub reference: TokenReference,
    /// When it was issued, in seconds since the epoch.
    pub issued_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
    /// What is granted, and to whom.
    pub terms: GrantTerms,
}

/// A token that its client gives up.
#[derive(Clone, Debug)]
pub struct RevokeToken {
    /// Which token.
    pub reference: TokenReference,
    /// Who asks.
    pub caller: ClientId,
    /// When.
    pub now: UnixTime,
}

pub(super) struct Issue {
    pub(super) token: IssueToken,
    pub(super) partition: Partition,
    pub(super) reply: Reply,
}

pub(super) struct Revoke {
    pub(super) token: RevokeToken,
    pub(super) reply: Reply,
}

/// Answers once all that the shard has done so far is durable.
pub(super) struct Settle {
    pub(super) reply: Reply,
}

/// Time has passed.
pub(super) struct Tick {
    pub(super) now: UnixTime,
}

/// The state that a rebuild has made.
pub(super) struct Rebuilt {
    pub(super) state: Box<ShardState>,
}

/// Panics in the middle of a change, to show what the shard does then.
#[cfg(test)]
pub(super) struct Explode {
    /// Are revoked in memory and in no record.
    pub(super) spoiled: Vec<crate::token::digest::TokenDigest>,
}

impl Message for Issue {
    type Result = ();
}

impl Message for Revoke {
    type Result = ();
}

impl Message for Settle {
    type Result = ();
}

impl Message for Tick {
    type Result = ();
}

impl Message for Rebuilt {
    type Result = ();
}

#[cfg(test)]
impl Message for Explode {
    type Result = ();
}

/// The messages of a shard, as metrics name them.
#[derive(Clone, Copy, Debug)]
pub enum ShardMessage {
    /// A new token.
    Issue,
    /// A revocation.
    Revoke,
    /// The passing of time.
    Tick,
    /// The end of a rebuild.
    Rebuilt,
    /// A snapshot's question whether all is durable.
    Settle,
    /// A new authorization code.
    StoreCode,
    /// A device that waits, a look at it, or what a person said to it.
    Device,
    /// A code that is exchanged for a grant.
    Redeem,
    /// A refresh token that is presented.
    Refresh,
    /// The end of a person's grant.
    EndGrant,
    /// A look at a person's grant.
    DescribeGrant,
    /// A snapshot's walk through people's grants.
    WalkGrants,
    /// A proof that counts once.
    UseProof,
}

impl MessageKind for ShardMessage {
    const NAMES: &'static [&'static str] = &[
        "issue",
        "revoke",
        "tick",
        "rebuilt",
        "settle",
        "store_code",
        "device",
        "redeem",
        "refresh",
        "end_grant",
        "describe_grant",
        "walk_grants",
        "use_proof",
    ];

    fn index(self) -> usize {
        self as usize
    }
}
