//! The shape of `tessera grant`.

use clap::{Args, Subcommand};

use crate::config::cli::{Flags, ServerFlags};

/// What to do with people's grants.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// List what a person has granted, the oldest first.
    List(GrantsOf),
    /// Show a grant.
    Show(NamedGrant),
    /// Revoke a grant with all of its tokens.
    Revoke(NamedGrant),
}

impl GrantCommand {
    /// The flags for [`Config::load`](crate::config::Config::load), whose `data_dir` has the server's socket.
    #[must_use]
    pub const fn flags(&self) -> &Flags {
        match self {
            Self::List(list) => list.server.flags(),
            Self::Show(named) | Self::Revoke(named) => named.server.flags(),
        }
    }
}

/// `tessera grant list`.
#[derive(Debug, Args)]
pub struct GrantsOf {
    /// The `sub` of the person.
    #[arg(value_name = "SUB")]
    pub sub: String,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera grant show` and `revoke`.
#[derive(Debug, Args)]
pub struct NamedGrant {
    /// The grant's id, as `tessera grant list` shows it.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}
