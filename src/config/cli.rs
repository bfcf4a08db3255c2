//! The shape of the command line. What a command does is elsewhere.

/// A command takes a part of the flags of `serve`.
macro_rules! some_flags {
    ($name:ident, $settings:expr, $heading:expr) => {
        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                crate::config::cli::with_flags(command, $settings, $heading)
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                Flags::from_arg_matches(matches).map(Self)
            }

            fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
                self.0.update_from_arg_matches(matches)
            }
        }

        impl $name {
            /// The flags for [`Config::load`](crate::config::Config::load).
            #[must_use]
            pub const fn flags(&self) -> &Flags {
                &self.0
            }
        }
    };
}

pub mod grant;
pub mod journal;
pub mod key;
pub mod registration;
pub mod user;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::builder::ArgGroup;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};

use crate::config::cli::grant::GrantCommand;
use crate::config::cli::journal::{DirectoryFlags, JournalCommand};
use crate::config::cli::key::KeyCommand;
use crate::config::cli::registration::RegistrationCommand;
use crate::config::cli::user::UserCommand;
use crate::config::setting::{SETTINGS, Setting};
use crate::config::value::KEY_ALGORITHMS;

/// What the process was asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server; this is also what happens without a command.
    #[command(after_long_help = environment_only())]
    Serve(Flags),
    /// Read the configuration and show what is in force, and where each setting came from.
    ///
    /// Takes the flags, environment and file that `serve` takes. Exits with 0, or with 78 when the configuration would
    /// be refused.
    #[command(after_long_help = environment_only())]
    Check(Flags),
    /// Let the running server of this machine take a snapshot now, so that its next start is quick.
    Snapshot(ServerFlags),
    /// Back up the running server of this machine into one file.
    ///
    /// The file holds all that was acknowledged when the command began, and digests instead of tokens and secrets. It can
    /// be read with the same master key only: keep that too, elsewhere.
    Backup(BackupCommand),
    /// Make a data directory of a backup.
    ///
    /// The directory must not have a journal, and the master key must be the one of the server that was backed up. Exits
    /// with 0; 65 when the backup is not whole or not of this key; 66 when there is no such file; 75 when a server
    /// uses the directory; 78 when the configuration is refused; 1 when the disk fails.
    Restore(RestoreCommand),
    /// Register and manage clients on the running server of this machine.
    #[command(subcommand)]
    Client(Box<ClientCommand>),
    /// Register and manage the people who log in, on the running server of this machine.
    #[command(subcommand)]
    User(UserCommand),
    /// Look at what people have granted to clients, and revoke it, on the running server of this machine.
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Look at the keys that sign, rotate and import them, on the running server of this machine.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Let clients register themselves, on the running server of this machine.
    #[command(subcommand)]
    Registration(RegistrationCommand),
    /// Make a data directory of the database, when the directory was lost and there is no newer backup.
    ///
    /// The directory must not have a journal, and the master key must be the one of the lost server. What that server had
    /// acknowledged and not yet copied is lost: watch `tessera_projection_lag_records`. Stop whatever still writes the
    /// database. Exits with 0; 65 when the database is of another key, or the directory is not empty; 66 when the database
    /// holds no copy; 75 when a server uses the directory; 78 when the configuration is refused; 1 for the rest.
    Rebuild(RebuildCommand),
    /// Manage the tables of the database.
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Verify, count or print the journal in a data directory that no server holds.
    #[command(subcommand)]
    Journal(JournalCommand),
}

impl Command {
    /// Reads the arguments of the process, the name of the program first.
    ///
    /// # Errors
    ///
    /// What `clap` has to say, help and version included; `clap::Error::exit` prints it and ends the process. The
    /// values of settings are not looked at: that is [`Config::load`](crate::config::Config::load).
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        // The flags of `serve` work without the word, but the first help is the list of commands.
        let command = Cli::command().mut_args(|arg| arg.hide(true));
        let cli = Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)?;
        Ok(cli.command.unwrap_or(Self::Serve(cli.flags)))
    }
}

/// An OAuth 2 authorization server that answers every token introspection from memory.
#[derive(Parser)]
#[command(
    name = "tessera",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    override_usage = "tessera [COMMAND] [OPTIONS]",
    after_help = "Without a command tessera serves, with the options that `tessera serve --help` explains."
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The settings that stand on the command line, as they were written.
#[derive(Default)]
pub struct Flags(Vec<(&'static Setting, OsString)>);

impl Flags {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static Setting, &OsStr)> {
        self.0.iter().map(|(setting, value)| (*setting, value.as_os_str()))
    }

    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.iter().find(|(setting, _)| setting.name == name).map(|(_, value)| value)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter().map(|(setting, _)| setting.flag)).finish()
    }
}

impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        SETTINGS.iter().fold(command, |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            // A command may have only some of the flags; to ask for one that it lacks is an error.
            if let Ok(Some(value)) = matches.try_get_one::<OsString>(setting.name) {
                self.0.push((setting, value.clone()));
            }
        }
        Ok(())
    }
}

/// The flags by which a client command finds the running server.
#[derive(Debug)]
pub struct ServerFlags(Flags);

/// `tessera backup`.
#[derive(Debug, Args)]
pub struct BackupCommand {
    /// The file to make; it must not be there yet.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera restore`.
#[derive(Debug, Args)]
pub struct RestoreCommand {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Verify the backup and change nothing.
    #[arg(long)]
    pub check: bool,
    /// Where it goes, and under which key.
    #[command(flatten)]
    pub directory: DirectoryFlags,
}

/// `tessera rebuild`.
#[derive(Debug, Args)]
pub struct RebuildCommand {
    /// From the database that `--database-url` or `TESSERA_DATABASE_URL` names.
    #[arg(long, required = true)]
    pub from_database: bool,
    /// Where it is, where the directory goes, and under which key.
    #[command(flatten)]
    pub flags: RebuildFlags,
}

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Make the tables, or bring them up to date.
    ///
    /// A server does it itself where its role may. Run it as the owner of the database, then grant the role of the server USAGE
    /// on the schema tessera, and SELECT, INSERT, UPDATE on all tables in it. Exits with 0, 1 when it fails, or 78.
    Migrate(MigrateFlags),
}

/// The flags of `tessera rebuild`.
#[derive(Debug)]
pub struct RebuildFlags(Flags);

/// The flags of `tessera database migrate`.
#[derive(Debug)]
pub struct MigrateFlags(Flags);

some_flags!(RebuildFlags, &["config", "data_dir", "master_key_file", "database_url"], "Directory and database");
some_flags!(MigrateFlags, &["config", "database_url"], "Database");
some_flags!(ServerFlags, &["config", "data_dir"], "Server");

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Register a client and show its id and secret; the secret is shown this once.
    Create(CreateClient),
    /// List clients, in the order of their ids.
    List(ListClients),
    /// Show a client.
    Show(NamedClient),
    /// Change a client; what is not named stays as it is.
    Update(UpdateClient),
    /// Delete a client and revoke all that was issued to it.
    Delete(NamedClient),
    /// Revoke all that was issued to a client and that people have granted it; the client stays.
    Revoke(NamedClient),
    /// Give a client a new secret and show it, this once.
    RotateSecret(NamedClient),
}

impl ClientCommand {
    /// The flags for [`Config::load`](crate::config::Config::load), whose `data_dir` has the server's socket.
    #[must_use]
    pub const fn flags(&self) -> &Flags {
        let server = match self {
            Self::Create(create) => &create.server,
            Self::List(list) => &list.server,
            Self::Show(named) | Self::Delete(named) | Self::Revoke(named) | Self::RotateSecret(named) => &named.server,
            Self::Update(update) => &update.server,
        };
        &server.0
    }
}

/// `tessera client create`.
#[derive(Debug, Args)]
pub struct CreateClient {
    /// The id of the client; the server makes one up by default.
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// What the client is and may do.
    #[command(flatten)]
    pub metadata: ClientMetadata,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera client update`.
#[derive(Debug, Args)]
#[command(override_usage = "tessera client update <CLIENT_ID> [OPTIONS]")]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["name", "scope", "audience", "introspection", "access_token_lifetime_seconds", "access_token_format",
           "access_token_signing_alg", "grant_type", "redirect_uri", "post_logout_redirect_uri", "application_type", "token_endpoint_auth_method", "refresh_token_rotation", "refresh_token_retry_seconds",
           "refresh_token_lifetime_seconds", "refresh_token_idle_seconds", "require_pushed_authorization_requests",
           "nonce_instead_of_pkce", "skip_consent", "allowed_cors_origin", "id_token_signed_response_alg", "default_max_age",
           "jwks", "jwks_uri", "token_endpoint_auth_signing_alg"]))]
pub struct UpdateClient {
    /// The client to change.
    #[arg(value_name = "CLIENT_ID")]
    pub client_id: String,
    /// What to change; at least one is given.
    #[command(flatten)]
    pub metadata: ClientMetadata,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera client show`, `delete`, `revoke` and `rotate-secret`.
#[derive(Debug, Args)]
pub struct NamedClient {
    /// The client.
    #[arg(value_name = "CLIENT_ID")]
    pub client_id: String,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `tessera client list`.
#[derive(Debug, Args)]
pub struct ListClients {
    /// The most clients to list, 1 to 1000; the server decides by default.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1000))]
    pub limit: Option<u16>,
    /// Where to go on: the cursor that the list before this one ended with.
    #[arg(long)]
    pub cursor: Option<String>,
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// What a client is and may do, as far as it is named on the command line.
#[derive(Debug, Args)]
pub struct ClientMetadata {
    /// A name for people.
    #[arg(long)]
    pub name: Option<String>,
    /// The scopes that the client may ask for, with spaces between: "orders:read orders:write".
    #[arg(long)]
    pub scope: Option<String>,
    /// A grant type that the client may use; repeat it for more. Together they replace those before.
    #[arg(long, value_name = "TYPE", value_parser = ["authorization_code", "client_credentials", "device_code", "refresh_token"])]
    pub grant_type: Option<Vec<String>>,
    /// Where a browser may be sent with a code; repeat it for more. Together they replace those before.
    #[arg(long, value_name = "URI")]
    pub redirect_uri: Option<Vec<String>>,
    /// Where a browser may be sent once the person has logged out; repeat it for more. Together they replace those before.
    #[arg(long, value_name = "URI")]
    pub post_logout_redirect_uri: Option<Vec<String>>,
    /// Where the client runs: a native one may have redirect URIs of private-use schemes, and any port of a loopback address.
    #[arg(long, value_name = "TYPE", value_parser = ["web", "native"])]
    pub application_type: Option<String>,
    /// How the client proves itself; one with none is public; it and one that signs get no secret.
    #[arg(long, value_name = "METHOD", value_parser = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"])]
    pub token_endpoint_auth_method: Option<String>,
    /// A file with the public keys that the client signs its assertions with: a JWK Set, of at most 64 KiB.
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Where the client publishes those keys instead; the server's `--fetch-allow` has to name the host.
    #[arg(long, value_name = "URL", conflicts_with = "jwks")]
    pub jwks_uri: Option<String>,
    /// The only algorithm that the client signs its assertions with; by default those that its keys are for.
    #[arg(long, value_name = "ALG", value_parser = ["EdDSA", "ES256", "ES384", "RS256", "PS256"])]
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// An audience that the client's tokens may be for; repeat it for more. Together they replace those before.
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Option<Vec<String>>,
    /// Which tokens the client may introspect.
    #[arg(long, value_enum)]
    pub introspection: Option<IntrospectionRight>,
    /// The lifetime of the client's access tokens, in seconds, 1 to 31536000; the server's setting by default.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=31_536_000))]
    pub access_token_lifetime_seconds: Option<u32>,
    /// What the client's access tokens look like: opaque, or JWTs (RFC 9068) that resource servers can verify themselves.
    #[arg(long, value_name = "FORMAT", value_parser = ["opaque", "jwt"])]
    pub access_token_format: Option<String>,
    /// What the client's JWTs are signed with, one of the server's algorithms; it has a usual one.
    #[arg(long, value_name = "ALG", value_parser = KEY_ALGORITHMS)]
    pub access_token_signing_alg: Option<String>,
    /// Whether each refresh gives a new refresh token; only clients with a secret may do without.
    #[arg(long, value_name = "BOOL")]
    pub refresh_token_rotation: Option<bool>,
    /// How long a used refresh token gives the same successor again, in seconds, 0 to 300.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(0..=300))]
    pub refresh_token_retry_seconds: Option<u32>,
    /// How long refresh tokens live after the user's consent, in seconds, 1 to 31536000.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=31_536_000))]
    pub refresh_token_lifetime_seconds: Option<u32>,
    /// How long a refresh token lives unused, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=31_536_000))]
    pub refresh_token_idle_seconds: Option<u32>,
    /// Whether the client must push its authorization requests.
    #[arg(long, value_name = "BOOL")]
    pub require_pushed_authorization_requests: Option<bool>,
    /// Whether a nonce stands in for PKCE, for a client with a secret and the scope openid.
    #[arg(long, value_name = "BOOL")]
    pub nonce_instead_of_pkce: Option<bool>,
    /// Whether users are not asked for consent, as for applications of your own.
    #[arg(long, value_name = "BOOL")]
    pub skip_consent: Option<bool>,
    /// An origin whose pages may read answers to the client; repeat it for more. Together they replace those before.
    #[arg(long, value_name = "ORIGIN")]
    pub allowed_cors_origin: Option<Vec<String>>,
    /// What the client's ID tokens are signed with, one of the server's algorithms; RS256 by default.
    #[arg(long, value_name = "ALG", value_parser = KEY_ALGORITHMS)]
    pub id_token_signed_response_alg: Option<String>,
    /// How long ago a person may have logged in at most, in seconds, where a request does not say.
    #[arg(long, value_name = "SECONDS")]
    pub default_max_age: Option<u32>,
}

/// Which tokens a client may introspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IntrospectionRight {
    /// None.
    None,
    /// Those that were issued to it; what a client has by default.
    Own,
    /// Those, and the ones that have it in their audience.
    Audience,
    /// All.
    Any,
}

impl IntrospectionRight {
    /// Its name, as the flag and the admin API write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Own => "own",
            Self::Audience => "audience",
            Self::Any => "any",
        }
    }
}

/// The command with the flags of these settings.
fn with_flags(command: clap::Command, names: &[&str], heading: &'static str) -> clap::Command {
    let settings = SETTINGS.iter().filter(|setting| names.contains(&setting.name));
    settings.fold(command, |command, setting| command.arg(flag(setting).help_heading(heading)))
}

/// The flag of a setting. Its value is taken as it is: bounds are checked with those of the other layers.
fn flag(setting: &'static Setting) -> clap::Arg {
    let (sentence, more) = setting.meaning.split_once("\n\n").unwrap_or((setting.meaning, ""));
    let default = setting.default_in_words();
    let names = match setting.not_in_file {
        None => format!("Environment: {}. File: {}.", setting.variable, setting.name),
        Some(_) => format!("Environment: {}.", setting.variable),
    };
    let more = if more.is_empty() { String::new() } else { format!("{more}\n\n") };
    let allowed = setting.kind.allowed();
    clap::Arg::new(setting.name)
        .long(setting.flag)
        .value_name(setting.placeholder)
        .value_parser(value_parser!(OsString))
        .action(ArgAction::Set)
        .allow_negative_numbers(true)
        .help_heading(setting.heading)
        .hide(setting.not_a_flag.is_some())
        .help(format!("{} [default: {default}]", sentence.trim_end_matches('.')))
        .long_help(format!("{sentence}\n\n{more}Allowed: {allowed}.\nDefault: {default}.\n{names}"))
}

/// The settings that are no flags, for the end of the help.
fn environment_only() -> String {
    let mut text = "Only from the environment:".to_owned();
    for setting in SETTINGS.iter().filter(|setting| setting.not_a_flag.is_some()) {
        let Setting { variable, meaning, .. } = setting;
        text.push_str(&format!(
            "\n  {variable}\n          {meaning}\n\n          Allowed: {}.",
            setting.kind.allowed()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read(arguments: &[&str]) -> Result<Command, clap::Error> {
        Command::read(["tessera"].iter().chain(arguments).map(OsString::from))
    }

    pub(super) fn help(arguments: &[&str]) -> String {
        read(arguments).unwrap_err().to_string()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_flags_are_those_of_serve() {
        for arguments in [&["--workers", "3"][..], &["serve", "--workers", "3"]] {
            let Ok(Command::Serve(flags)) = read(arguments) else { panic!("{arguments:?}") };
            assert_eq!(flags.value("workers"), Some(OsStr::new("3")));
        }
        assert!(matches!(read(&[]), Ok(Command::Serve(flags)) if flags.iter().next().is_none()));
        assert!(read(&["--workers", "3", "serve"]).is_err());
    }

    #[test]
    fn check_takes_the_flags_of_serve() {
        assert!(
            matches!(read(&["check", "--shards", "0"]), Ok(Command::Check(flags)) if flags.value("shards").is_some())
        );
    }

    #[test]
    fn the_help_of_serve_tells_all_of_every_setting() {
        let help = help(&["serve", "--help"]);
        for setting in SETTINGS {
            assert!(help.contains(setting.variable), "{}", setting.variable);
            assert_eq!(
                help.contains(&format!("--{} ", setting.flag)),
                setting.not_a_flag.is_none(),
                "{}",
                setting.flag
            );
        }
    }

    #[test]
    fn the_first_help_is_the_list_of_commands() {
        let help = help(&["--help"]);
        assert!(help.contains("client") && !help.contains("--workers"), "{help}");
    }

    #[test]
    fn the_version_is_that_of_the_package() {
        assert_eq!(help(&["--version"]), format!("tessera {}\n", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_client_is_created_as_it_is_described() {
        let arguments = "client create --client-id gateway --name Gateway --scope a --audience x --audience y \
            --introspection audience --access-token-lifetime-seconds 60 --data-dir /srv/tessera";
        let command = read(&arguments.split_whitespace().collect::<Vec<_>>());
        let Ok(Command::Client(client)) = command else { panic!("{command:?}") };
        assert_eq!(client.flags().value("data_dir"), Some(OsStr::new("/srv/tessera")));
        let ClientCommand::Create(CreateClient { client_id, metadata, .. }) = *client else { panic!("{client:?}") };
        assert_eq!(client_id.as_deref(), Some("gateway"));
        assert_eq!(metadata.audience, Some(vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!(metadata.introspection, Some(IntrospectionRight::Audience));
        assert_eq!(metadata.access_token_lifetime_seconds, Some(60));
    }

    #[test]
    fn client_commands_take_what_is_theirs() {
        for arguments in [
            "client create",
            "client list --limit 1000 --cursor c",
            "client show a --config f",
            "client update a --name b",
            "client create --token-endpoint-auth-method private_key_jwt --jwks keys.json --token-endpoint-auth-signing-alg EdDSA",
            "client update a --skip-consent true --refresh-token-rotation false",
            "client create --grant-type authorization_code --grant-type device_code --redirect-uri https://a.example/cb \
             --application-type native --token-endpoint-auth-method none --refresh-token-retry-seconds 0 \
             --allowed-cors-origin https://a.example",
            "client update a --jwks-uri https://client.example/keys",
            "client update a --jwks keys.json",
            "client update a --token-endpoint-auth-signing-alg EdDSA",
            "client create --access-token-format jwt --access-token-signing-alg ES384",
            "client update a --access-token-format opaque",
            "client delete a",
            "client rotate-secret a --data-dir d",
            "client revoke a",
            "grant list ada --data-dir d",
            "grant show 0123",
            "grant revoke 0123",
        ] {
            assert!(read(&arguments.split_whitespace().collect::<Vec<_>>()).is_ok(), "{arguments}");
        }
        for arguments in [
            "client",
            "grant list",
            "grant revoke",
            "client list --limit 0",
            "client list --limit 1001",
            "client show",
            "client show a --workers 2",
            "client update a",
            "client update --name b",
            "client update a --jwks keys.json --jwks-uri https://client.example/keys",
            "client update a --client-id b",
            "client create --introspection all",
            "client create --grant-type password",
            "client create --refresh-token-retry-seconds 301",
            "client create --access-token-format JWT",
            "client create --access-token-signing-alg HS256",
            "client create --access-token-lifetime-seconds 0",
            "client create --access-token-lifetime-seconds 31536001",
        ] {
            assert!(read(&arguments.split_whitespace().collect::<Vec<_>>()).is_err(), "{arguments}");
        }
    }
}
