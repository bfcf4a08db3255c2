//! Configuration and the command line: the only reader of flags, environment and file.
//!
//! A setting is one row of the table in `setting.rs`, which gives it its names, its help, its bounds and its place in
//! [`Config`]. [`Config::load`] lays the layers over the defaults, lowest first, and reads every layer to its end, so
//! that an operator hears of all mistakes at once, also of one that a higher layer would hide.
//!
//! This room never prints and never writes. It looks at paths but opens no file except the configuration file and the master
//! key's.

pub mod cli;
pub mod error;
pub mod key_file;
mod layers;
pub mod secret;
mod setting;
pub mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::cli::Flags;
use crate::config::error::ConfigErrors;
use crate::config::secret::{BootstrapClient, DatabaseUrl, MasterKey};
use crate::config::setting::SETTINGS;
use crate::config::value::{Durability, Issuer, KeyAlgorithms, LogFormat, LoginUrl};
use crate::fetch::allow::AllowList;
use crate::fetch::client::FetchLimits;

/// The file that is read, if it exists, when neither `--config` nor `TESSERA_CONFIG` names one.
pub const DEFAULT_FILE: &str = "./tessera.toml";

/// What the process exits with when its configuration is refused: `EX_CONFIG` of `sysexits.h`.
pub const EXIT_CODE: u8 = 78;

/// The most workers, and the most shards.
const THREADS_MAX: u16 = 1024;

/// The arguments that this process was started with, for [`cli::Command::read`].
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

/// The environment of this process, for [`Config::load`].
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// All that an operator decides. [`Config::default`] is what the server runs with when nothing is set.
#[derive(Debug, Default)]
pub struct Config {
    /// Where and how HTTP is served.
    pub http: HttpConfig,
    /// Where data is kept, how safely, and under which key.
    pub storage: StorageConfig,
    /// The queryable copy of all that.
    pub database: DatabaseConfig,
    /// How many shards hold the tokens, and on how many threads.
    pub shards: ShardConfig,
    /// What is issued when a client does not say otherwise.
    pub tokens: TokenConfig,
    /// How many clients may register themselves, and for how long they stay.
    pub registration: RegistrationConfig,
    /// What is fetched from others.
    pub fetch: FetchConfig,
    /// How people log in, and for how long.
    pub people: PeopleConfig,
    /// A client to make on the first start.
    pub bootstrap_client: Option<BootstrapClient>,
    /// What the server says about itself.
    pub log: LogConfig,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// Where each setting came from.
    pub sources: Sources,
}

/// Where and how HTTP is served.
#[derive(Debug)]
pub struct HttpConfig {
    /// The address of the OAuth endpoints; port 0 lets the system choose one. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// An address for `/admin/v1` and `/metrics` alone; without it they are served on `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// The issuer (RFC 8414 §2). Without it the server calls itself `http://` and the address that it bound.
    pub issuer: Option<Issuer>,
    /// Where users log in, if not at the server's own page.
    pub login_url: Option<LoginUrl>,
    /// A directory of templates that take the place of built-in ones.
    pub templates_dir: Option<PathBuf>,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` count. By default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Threads that answer HTTP requests: 1 to 1024, by default one a core.
    pub workers: u16,
    /// How long the body of a request may take to arrive. No setting: 10 seconds, and less in tests.
    pub body_timeout: Duration,
    /// How long a client may leave an answer unread before it is gone. No setting: 30 seconds, and less in tests.
    pub answer_timeout: Duration,
}

/// Where data is kept, how safely, and under which key.
#[derive(Debug)]
pub struct StorageConfig {
    /// The directory of the journal, the snapshots and the Unix socket. Default `./tessera-data`.
    pub data_dir: PathBuf,
    /// When a change counts as acknowledged. Default [`Durability::Sync`].
    pub durability: Durability,
    /// By how much [`Durability::Relaxed`] may answer ahead of the disk, in milliseconds: 1 to 10,000, default 50.
    pub relaxed_window_ms: u32,
    /// What the journal may take of the disk, in bytes: 256 MiB to 1,024 TiB, default 16 GiB.
    pub journal_bytes_max: u64,
    /// The master key, when the environment has it; it goes before `master_key_file`.
    pub master_key: Option<MasterKey>,
    /// The file with the master key, read when `master_key` is `None`; outside `data_dir`, by default `data_dir` with
    /// `.key` appended.
    pub master_key_file: PathBuf,
}

/// The queryable copy in PostgreSQL.
#[derive(Debug)]
pub struct DatabaseConfig {
    /// Where it is; `None` for no copy.
    pub url: Option<DatabaseUrl>,
    /// How long expired tokens stay there, in days: 1 to 3,650, default 30.
    pub history_retention_days: u32,
}

/// How many shards hold the tokens.
#[derive(Debug)]
pub struct ShardConfig {
    /// Shards, one thread each: 1 to 1024, by default one a core. May change between starts.
    pub count: u16,
}

/// What is issued when a client does not say otherwise.
#[derive(Debug)]
pub struct TokenConfig {
    /// The lifetime of an access token, in seconds: 1 to 31,536,000 (a year), default 3600.
    pub access_token_lifetime_seconds: u32,
    /// How long an ID token is good, in seconds: 60 to 86,400 (a day), default 3600.
    pub id_token_lifetime_seconds: u32,
    /// The algorithms that a start makes keys for where there are none.
    pub key_algorithms: KeyAlgorithms,
    /// After how many days a key is replaced: up to 3,650; 0, the default, is never.
    pub key_rotation_days: u32,
    /// How long a new key is published before it signs, in seconds: 300 to 604,800, default 3600.
    pub key_publish_seconds: u32,
}

/// How many clients may register themselves (RFC 7591), and for how long they stay.
#[derive(Debug)]
pub struct RegistrationConfig {
    /// How many there may be at a time: 1 to 1,000,000, default 10,000.
    pub dynamic_clients_max: u32,
    /// After how many days one goes that nobody uses: up to 3,650, default 90; 0 is never.
    pub dynamic_client_idle_days: u32,
    /// How many may register from one address in an hour: 1 to 100,000, default 20.
    pub registration_address_per_hour: u32,
    /// How many may register with one initial access token in an hour: 1 to 100,000, default 100.
    pub registration_token_per_hour: u32,
}

/// What is fetched from others. By default nothing.
#[derive(Debug, Default)]
pub struct FetchConfig {
    /// From whom.
    pub allow: AllowList,
    /// The certificates of authorities that are believed, in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// What a fetch may take. No setting: see [`FetchLimits`], and less in tests.
    pub limits: FetchLimits,
}

/// How people log in, and for how long.
#[derive(Debug)]
pub struct PeopleConfig {
    /// How long a session lives from the login on, in seconds: 60 to 31,536,000, default 43,200 (12 hours).
    pub session_lifetime_seconds: u32,
    /// How long a session may lie unused, in seconds: 60 to 31,536,000, default 3600. What is longer than the lifetime is never
    /// reached.
    pub session_idle_seconds: u32,
    /// Wrong passwords of one account in a row, after which the next attempt has to wait: 1 to 1,000, default 5.
    pub login_failures_max: u32,
    /// The longest that it has to wait, in seconds: 1 to 86,400, default 300.
    pub login_delay_seconds_max: u32,
    /// Wrong passwords that one address may send in a minute: 1 to 60,000, default 30.
    pub login_address_failures_per_minute: u32,
}

/// What the server says about itself.
#[derive(Debug)]
pub struct LogConfig {
    /// The form of a line. Default [`LogFormat::Auto`].
    pub format: LogFormat,
    /// Which lines: directives that `EnvFilter` has been seen to take. Default `info`.
    pub filter: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        Self {
            listen,
            admin_listen: None,
            issuer: None,
            login_url: None,
            templates_dir: None,
            trusted_proxies: Vec::new(),
            workers: cores(),
            body_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        let data_dir = PathBuf::from("./tessera-data");
        let master_key_file = layers::key_file_beside(&data_dir);
        let durability = Durability::Sync;
        let journal_bytes_max = 16 << 30;
        Self { data_dir, durability, relaxed_window_ms: 50, journal_bytes_max, master_key: None, master_key_file }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, history_retention_days: 30 }
    }
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self { count: cores() }
    }
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            access_token_lifetime_seconds: 3600,
            id_token_lifetime_seconds: 3600,
            key_algorithms: KeyAlgorithms::default(),
            key_rotation_days: 0,
            key_publish_seconds: 3600,
        }
    }
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            dynamic_clients_max: 10_000,
            dynamic_client_idle_days: 90,
            registration_address_per_hour: 20,
            registration_token_per_hour: 100,
        }
    }
}

impl Default for PeopleConfig {
    fn default() -> Self {
        Self {
            session_lifetime_seconds: 12 * 3600,
            session_idle_seconds: 3600,
            login_failures_max: 5,
            login_delay_seconds_max: 300,
            login_address_failures_per_minute: 30,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info,actix_server=warn".to_owned() }
    }
}

impl Config {
    /// Reads all layers: `flags` over `environment` over the file over the defaults. `default_file` is read if it
    /// exists and no other file is named; it is [`DEFAULT_FILE`] except in tests.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any layer, not only the first mistake.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        default_file: &Path,
    ) -> Result<Self, ConfigErrors> {
        layers::read(flags, environment, default_file)
    }

    /// What [`Self::load`] reads where there is nothing but this file.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_file(text: &[u8]) -> Result<Self, ConfigErrors> {
        layers::read_file(text)
    }

    /// Every setting as it is in force, in the order of the help, with its source. Secrets are not shown.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        SETTINGS
            .iter()
            .map(|setting| Effective {
                key: setting.name,
                value: (setting.show)(self),
                source: self.sources.of(setting.name),
            })
            .collect()
    }
}

/// One line of `tessera check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The key in the file.
    pub key: &'static str,
    /// The value as a person reads it; never a secret.
    pub value: String,
    /// Where the value came from.
    pub source: Source,
}

impl fmt::Display for Effective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line each, whatever a path holds.
        let (value, source) = (visible(&self.value), visible(&self.source.to_string()));
        write!(formatter, "{:<30} {value:<30} {source}", self.key)
    }
}

fn visible(text: &str) -> String {
    let visible = |character: char| match character {
        control if control.is_control() => control.escape_default().to_string(),
        other => other.to_string(),
    };
    text.chars().map(visible).collect()
}

/// Where a setting came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    #[default]
    Default,
    /// The configuration file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without the dashes.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Environment(variable) => formatter.write_str(variable),
            Self::Flag(flag) => write!(formatter, "--{flag}"),
        }
    }
}

/// The source of every setting that is not at its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<&'static str, Source>);

impl Sources {
    /// Where the setting with this key came from.
    #[must_use]
    pub fn of(&self, key: &str) -> Source {
        self.0.get(key).cloned().unwrap_or_default()
    }
}

/// One a core that this process may use.
fn cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).map_or(THREADS_MAX, |cores| cores.min(THREADS_MAX))
}
