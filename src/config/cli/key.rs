//! The shape of `tessera key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::cli::{Flags, ServerFlags};
use crate::config::value::KEY_ALGORITHMS;

/// What to do with the keys that sign.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys in the order in which they sign, and where each is in its life.
    List(ServerFlags),
    /// Make new keys, which sign once others have had time to learn of them.
    ///
    /// The keys before stay published until the last token that they have signed has expired.
    Rotate(RotateKeys),
    /// Let the server sign with a key that is there already.
    Import(ImportKey),
}

impl KeyCommand {
    /// The flags for [`Config::load`](crate::config::Config::load), whose `data_dir` has the server's socket.
    #[must_use]
    pub const fn flags(&self) -> &Flags {
        match self {
            Self::List(server) => server.flags(),
            Self::Rotate(rotate) => rotate.server.flags(),
            Self::Import(import) => import.server.flags(),
        }
    }
}

/// `tessera key rotate`.
#[derive(Debug, Args)]
pub struct RotateKeys {
    /// Only the key of this algorithm; of all that sign by default.
    #[arg(long, value_name = "ALG", value_parser = KEY_ALGORITHMS)]
    pub alg: Option<String>,
    /// Sign with the new keys at once, before those who check signatures can know them: for a key that has leaked.
    #[arg(long)]
    pub at_once: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera key import`.
#[derive(Debug, Args)]
pub struct ImportKey {
    /// PEM with PKCS#8 (BEGIN PRIVATE KEY), or a private JWK.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What the key signs with.
    #[arg(long, value_name = "ALG", value_parser = KEY_ALGORITHMS)]
    pub alg: String,
    /// Sign with it at once: those who check signatures know it already.
    #[arg(long)]
    pub at_once: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}
