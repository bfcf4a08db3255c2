//! The shape of `tessera user`.

use std::path::PathBuf;

use clap::builder::ArgGroup;
use clap::{Args, Subcommand, value_parser};

use crate::config::cli::{Flags, ServerFlags};

/// What to do with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Register a user.
    ///
    /// With --password the password is asked for at the terminal, or read from the standard input: one line.
    Create(CreateUser),
    /// List users, in the order of their names.
    List(ListUsers),
    /// Show a user.
    Show(NamedUser),
    /// Change a user; what is not named stays as it is.
    Update(UpdateUser),
    /// Give a user another password, and end their sessions.
    ///
    /// It is asked for at the terminal, or read from the standard input: one line.
    Password(NamedUser),
    /// End all sessions of a user, and revoke all that was granted in their name.
    Revoke(NamedUser),
    /// Delete a user, with all that was granted in their name.
    Delete(NamedUser),
    /// Register the users of a file: a line for each, with the JSON that the admin API takes.
    ///
    /// The members are `username`, and `sub`, `name`, `email`, `email_verified`, `disabled`, `password_hash`, `password`. A hash is
    /// Argon2id ($argon2id$), bcrypt ($2a$, $2b$, $2y$) or PBKDF2 ($pbkdf2-sha256$, $pbkdf2-sha512$). Users that are registered already
    /// are left as they are, so that an import can be repeated. Exits with 1 if any line was refused; the others are imported
    /// nevertheless.
    Import(ImportUsers),
}

impl UserCommand {
    /// The flags for [`Config::load`](crate::config::Config::load), whose `data_dir` has the server's socket.
    #[must_use]
    pub const fn flags(&self) -> &Flags {
        let server = match self {
            Self::Create(create) => &create.server,
            Self::List(list) => &list.server,
            Self::Update(update) => &update.user.server,
            Self::Import(import) => &import.server,
            Self::Show(named) | Self::Password(named) | Self::Revoke(named) | Self::Delete(named) => &named.server,
        };
        server.flags()
    }
}

/// `tessera user create`.
#[derive(Debug, Args)]
pub struct CreateUser {
    /// What they log in with: a-z, 0-9 and ._-@+.
    #[arg(value_name = "USERNAME")]
    pub username: String,
    /// The sub of their tokens, for ever theirs; the server makes one up by default.
    #[arg(long)]
    pub sub: Option<String>,
    /// What is known of them.
    #[command(flatten)]
    pub profile: UserProfile,
    /// Ask for a password, or read it from the standard input; without one they cannot log in yet.
    #[arg(long)]
    pub password: bool,
    /// They may not log in.
    #[arg(long)]
    pub disabled: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// What is known of a user, as far as it is named on the command line.
#[derive(Debug, Args)]
pub struct UserProfile {
    /// Their full name.
    #[arg(long)]
    pub name: Option<String>,
    /// Their email address.
    #[arg(long)]
    pub email: Option<String>,
    /// Whether somebody has seen that mail reaches them there.
    #[arg(long, value_name = "BOOL")]
    pub email_verified: Option<bool>,
}

/// `tessera user show`, `password`, `revoke` and `delete`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).args(["username", "sub"]))]
pub struct NamedUser {
    /// The name that the user logs in with.
    #[arg(value_name = "USERNAME")]
    pub username: Option<String>,
    /// The user's sub, in place of the name; to revoke, also that of somebody who is no user here.
    #[arg(long)]
    pub sub: Option<String>,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera user update`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["new_username", "name", "email", "email_verified", "disabled"]))]
pub struct UpdateUser {
    /// The user to change.
    #[command(flatten)]
    pub user: NamedUser,
    /// What they log in with from now on.
    #[arg(long, value_name = "USERNAME")]
    pub new_username: Option<String>,
    /// What is known of them from now on.
    #[command(flatten)]
    pub profile: UserProfile,
    /// Whether they may not log in; who is disabled loses all sessions and all that was granted in their name.
    #[arg(long, value_name = "BOOL")]
    pub disabled: Option<bool>,
}

/// `tessera user list`.
#[derive(Debug, Args)]
pub struct ListUsers {
    /// The most users to list, 1 to 1000; the server decides by default.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1000))]
    pub limit: Option<u16>,
    /// Where to go on: the cursor that the list before this one ended with.
    #[arg(long)]
    pub cursor: Option<String>,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera user import`.
#[derive(Debug, Args)]
pub struct ImportUsers {
    /// The file; - for the standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

#[cfg(test)]
mod tests {
    use crate::config::cli::tests::read;

    #[test]
    fn user_commands_take_what_is_theirs() {
        for arguments in [
            "user create alice --sub s --name A --email a@b --email-verified true --password --disabled --data-dir d",
            "user list --limit 5 --cursor c",
            "user show alice",
            "user show --sub s",
            "user update alice --disabled false",
            "user update --sub s --new-username bob --email a@b",
            "user password alice",
            "user revoke --sub s",
            "user delete alice --config f",
            "user import -",
        ] {
            assert!(read(&arguments.split_whitespace().collect::<Vec<_>>()).is_ok(), "{arguments}");
        }
        for arguments in [
            "user",
            "user create",
            "user create alice --password secret",
            "user show",
            "user show alice --sub s",
            "user update alice",
            "user update --name A",
            "user password alice secret",
            "user import",
            "user list --limit 0",
        ] {
            assert!(read(&arguments.split_whitespace().collect::<Vec<_>>()).is_err(), "{arguments}");
        }
    }
}
