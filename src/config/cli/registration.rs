//! The shape of `tessera registration`.

use clap::{Args, Subcommand, value_parser};

use crate::config::cli::{Flags, ServerFlags};

/// What to do with clients that register themselves.
#[derive(Debug, Subcommand)]
pub enum RegistrationCommand {
    /// Say who may let clients register themselves (RFC 7591): without an initial access token nobody may.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// What to do with initial access tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make an initial access token and show it, this once.
    ///
    /// The flags say what clients that register with it may be at most; what a client leaves out never grants it more.
    Create(CreateToken),
    /// List the initial access tokens, how many clients have registered with each, and what these may be.
    List(ServerFlags),
    /// Revoke an initial access token; clients that have registered with it stay.
    Revoke(NamedToken),
}

impl RegistrationCommand {
    /// The flags for [`Config::load`](crate::config::Config::load), whose `data_dir` has the server's socket.
    #[must_use]
    pub const fn flags(&self) -> &Flags {
        let Self::Token(command) = self;
        let server = match command {
            TokenCommand::Create(create) => &create.server,
            TokenCommand::List(server) => server,
            TokenCommand::Revoke(named) => &named.server,
        };
        server.flags()
    }
}

/// `tessera registration token create`.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// For whom or for what it is, for people.
    #[arg(long)]
    pub label: Option<String>,
    /// How long it lives, in seconds, 1 to 31536000; a week by default.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=31_536_000))]
    pub lifetime_seconds: Option<u32>,
    /// How many clients may register with it; any number by default.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub registrations_max: Option<u32>,
    /// A grant type that they may use; repeat it for more. By default codes and refresh tokens.
    #[arg(long, value_name = "TYPE", value_parser = ["authorization_code", "client_credentials", "device_code", "refresh_token"])]
    pub grant_type: Option<Vec<String>>,
    /// The scopes that they may have, with spaces between, and that one has which names none; none by default.
    #[arg(long)]
    pub scope: Option<String>,
    /// How they may prove themselves; repeat it for more. By default all of them.
    #[arg(long, value_name = "METHOD", value_parser = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"])]
    pub token_endpoint_auth_method: Option<Vec<String>>,
    /// An audience that their tokens are for; repeat it for more. None by default.
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Option<Vec<String>>,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// A command about one initial access token.
#[derive(Debug, Args)]
pub struct NamedToken {
    /// The id of the initial access token, as the list shows it.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}
