//! The badly behaved. Each kind is a future that never ends by itself; who drops it drops its connections.

mod garbage;
mod idle;
mod oversize;
mod passwords;
mod slow;
mod socket;
mod unread;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use clap::ValueEnum;
use serde::Serialize;

use crate::client::Credentials;

/// A kind of abuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Abuse {
    /// Connections that were answered once and then say nothing.
    Idle,
    /// Heads that arrive at one byte a second.
    SlowHeads,
    /// Bodies that arrive at one byte a second.
    SlowBodies,
    /// Requests without end, and nobody reads an answer.
    Unread,
    /// Heads, bodies, chunks and parameters beyond every limit.
    Oversize,
    /// Bytes that are no HTTP.
    RandomBytes,
    /// Introspection of tokens that nobody issued.
    RandomTokens,
    /// Credentials that are wrong.
    WrongSecrets,
    /// Logins of people with passwords that are wrong, from many addresses.
    WrongPasswords,
}

impl Abuse {
    pub(super) const ALL: &[Self] = &[
        Self::Idle,
        Self::SlowHeads,
        Self::SlowBodies,
        Self::Unread,
        Self::Oversize,
        Self::RandomBytes,
        Self::RandomTokens,
        Self::WrongSecrets,
        Self::WrongPasswords,
    ];

    /// How many connections it has at once.
    pub(super) const fn connections(self, target: &Target) -> usize {
        match self {
            Self::Idle => target.idle,
            Self::SlowHeads | Self::SlowBodies => slow::CONNECTIONS,
            Self::Unread => unread::CONNECTIONS,
            Self::Oversize => oversize::CONNECTIONS,
            Self::RandomBytes | Self::RandomTokens | Self::WrongSecrets => garbage::CONNECTIONS,
            Self::WrongPasswords => passwords::CONNECTIONS,
        }
    }

    /// What the server may hold for one of them, in bytes.
    pub(super) const fn connection_bytes(self) -> u64 {
        match self {
            // The requests of one read, decoded, and the answers that nobody takes.
            Self::Unread => 2 * 1024 * 1024,
            _ => 32 * 1024,
        }
    }

    /// Behaves badly, and notes what became of it.
    pub(super) async fn run(self, target: &Target, deeds: &Deeds) {
        match self {
            Self::Idle => idle::run(target, deeds).await,
            Self::SlowHeads => slow::heads(target, deeds).await,
            Self::SlowBodies => slow::bodies(target, deeds).await,
            Self::Unread => unread::run(target, deeds).await,
            Self::Oversize => oversize::run(target, deeds).await,
            Self::RandomBytes => garbage::bytes(target, deeds).await,
            Self::RandomTokens => garbage::tokens(target, deeds).await,
            Self::WrongSecrets => garbage::secrets(target, deeds).await,
            Self::WrongPasswords => passwords::run(target, deeds).await,
        }
    }
}

impl fmt::Display for Abuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Idle => "idle connections",
            Self::SlowHeads => "slow heads",
            Self::SlowBodies => "slow bodies",
            Self::Unread => "answers not read",
            Self::Oversize => "oversize",
            Self::RandomBytes => "random bytes",
            Self::RandomTokens => "random tokens",
            Self::WrongSecrets => "wrong secrets",
            Self::WrongPasswords => "wrong passwords",
        })
    }
}

/// Who is abused.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) admin: Credentials,
    /// How many idle connections there are to be.
    pub(super) idle: usize,
}

/// What abusers did, and how the server dealt with it: how often each happened.
#[derive(Default)]
pub(super) struct Deeds(RefCell<BTreeMap<String, u64>>);

impl Deeds {
    fn note(&self, deed: impl fmt::Display) {
        *self.0.borrow_mut().entry(deed.to_string()).or_default() += 1;
    }

    fn connected(&self) {
        self.note("connections");
    }

    pub(super) fn into_counts(self) -> BTreeMap<String, u64> {
        self.0.into_inner()
    }
}
