//! The table of settings. To add one, add a row here and the field in [`Config`] that it writes to.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use crate::config::secret::{BootstrapClient, DatabaseUrl, MasterKey};
use crate::config::value::{ByteSize, Durability, Issuer, KeyAlgorithms, LogFormat, LoginUrl};
use crate::config::{Config, THREADS_MAX};
use crate::fetch::allow::ALLOWED_WORDS;

/// One setting: all its names, what people are told about it, and how it gets into a [`Config`] and out again.
#[derive(Debug)]
pub(super) struct Setting {
    /// The key in the file, by which errors call it too.
    pub(super) name: &'static str,
    /// The flag, without dashes.
    pub(super) flag: &'static str,
    /// The environment variable.
    pub(super) variable: &'static str,
    /// The part of the help that it stands in.
    pub(super) heading: &'static str,
    /// Stands for the value in the help.
    pub(super) placeholder: &'static str,
    /// What it decides: one sentence for the short help, then, after an empty line, the rest.
    pub(super) meaning: &'static str,
    /// The default in words, where `show` would not tell it well.
    pub(super) default: Option<&'static str>,
    /// What it may be.
    pub(super) kind: Kind,
    /// The value in force, as a person reads it.
    pub(super) show: fn(&Config) -> String,
    /// Whether its value is never shown.
    pub(super) secret: bool,
    /// Why it cannot be a flag, if it cannot.
    pub(super) not_a_flag: Option<&'static str>,
    /// Why it cannot stand in the file, if it cannot.
    pub(super) not_in_file: Option<&'static str>,
}

/// What a setting may be, and the field that it goes to.
#[derive(Debug)]
pub(super) enum Kind {
    /// A whole number in the range; an integer in the file.
    Whole(RangeInclusive<u32>, fn(&mut Config, u32) -> Option<()>),
    /// A number of bytes in the range, plain or with a unit; an integer or a string in the file.
    Bytes(RangeInclusive<u64>, fn(&mut Config, u64) -> Option<()>),
    /// What the words say and the function takes; a string in the file.
    Text(&'static str, fn(&mut Config, &str) -> Option<()>),
}

impl Kind {
    /// Writes the value into its field, or refuses it and leaves the field alone.
    pub(super) fn read(&self, config: &mut Config, text: &str) -> Option<()> {
        match self {
            Self::Whole(range, write) => {
                let number = text.parse().ok().filter(|number| range.contains(number))?;
                write(config, number)
            }
            Self::Bytes(range, write) => {
                let ByteSize(bytes) = ByteSize::parse(text).filter(|ByteSize(bytes)| range.contains(bytes))?;
                write(config, bytes)
            }
            Self::Text(_, write) => write(config, text),
        }
    }

    /// What is allowed, in words.
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Whole(range, _) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Bytes(range, _) => {
                let (least, most) = (ByteSize(*range.start()), ByteSize(*range.end()));
                format!("a number of bytes from {least} to {most}, plain or in KiB, MiB, GiB or TiB")
            }
            Self::Text(allowed, _) => (*allowed).to_owned(),
        }
    }
}

impl Setting {
    /// The default, in words.
    pub(super) fn default_in_words(&self) -> String {
        self.default.map_or_else(|| (self.show)(&Config::default()), str::to_owned)
    }

    /// What every row leaves out that is no exception.
    const PLAIN: Self = Self {
        name: "",
        flag: "",
        variable: "",
        heading: "",
        placeholder: "",
        meaning: "",
        default: None,
        kind: Kind::Text("", |_, _| None),
        show: |_| String::new(),
        secret: false,
        not_a_flag: None,
        not_in_file: None,
    };
}

/// Names the file; read before all others.
pub(super) const CONFIG: Setting = Setting {
    name: "config",
    flag: "config",
    variable: "TESSERA_CONFIG",
    heading: "Configuration",
    placeholder: "FILE",
    meaning: "The configuration file, in TOML.\n\n\
        A flag goes before the environment, the environment before the file. A key that the server does not know is \
        refused, and so is a value out of bounds, also where another layer goes before it.",
    default: Some("./tessera.toml, if it exists"),
    kind: Kind::Text("the path of a file", |config, text| put(&mut config.file, path(text).map(Some))),
    show: |config| config.file.as_ref().map_or_else(|| NONE.to_owned(), |path| path.display().to_string()),
    not_in_file: Some("a file cannot name the file to read; use --config or TESSERA_CONFIG"),
    ..Setting::PLAIN
};

/// Every setting, in the order of the help.
pub(super) static SETTINGS: &[Setting] = &[
    CONFIG,
    Setting {
        name: "listen",
        flag: "listen",
        variable: "TESSERA_LISTEN",
        heading: "HTTP",
        placeholder: "ADDRESS",
        meaning: "The address to serve on; port 0 lets the system choose a port.",
        kind: Kind::Text(ADDRESS, |config, text| put(&mut config.http.listen, text.parse().ok())),
        show: |config| config.http.listen.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "admin_listen",
        flag: "admin-listen",
        variable: "TESSERA_ADMIN_LISTEN",
        heading: "HTTP",
        placeholder: "ADDRESS",
        meaning: "Moves /admin/v1 and /metrics to an address of their own.",
        default: Some("none: they are served on the address of --listen"),
        kind: Kind::Text(ADDRESS, |config, text| put(&mut config.http.admin_listen, text.parse().ok().map(Some))),
        show: |config| config.http.admin_listen.map_or_else(|| NONE.to_owned(), |address| address.to_string()),
        ..Setting::PLAIN
    },
    Setting {
        name: "issuer",
        flag: "issuer",
        variable: "TESSERA_ISSUER",
        heading: "HTTP",
        placeholder: "URL",
        meaning: "The issuer: the URL by which clients know this server (RFC 8414).\n\n\
            It stands in tokens and in the metadata, and clients compare it character by character, so set it wherever \
            a proxy or a name stands before the server.",
        default: Some("http:// and the address that the server listens on"),
        kind: Kind::Text(
            "an http or https URL without user, query and fragment, such as https://auth.example.com",
            |config, text| put(&mut config.http.issuer, Issuer::parse(text).map(Some)),
        ),
        show: |config| match &config.http.issuer {
            Some(issuer) => issuer.to_string(),
            None if config.http.listen.port() == 0 => "known once the port is".to_owned(),
            None => format!("http://{}", config.http.listen),
        },
        ..Setting::PLAIN
    },
    Setting {
        name: "login_url",
        flag: "login-url",
        variable: "TESSERA_LOGIN_URL",
        heading: "HTTP",
        placeholder: "URL",
        meaning: "A login page of your own: users are sent there, and it says through the admin API who they are.\n\n\
            The browser comes with the parameter login_challenge. The page asks /admin/v1/logins/{challenge} what is wanted, \
            posts to .../accept or .../reject, and sends the browser to the redirect_to of the answer. The server's own \
            login page is not shown then.",
        default: Some("none: the server shows a login page itself"),
        kind: Kind::Text(
            "an http or https URL without user and fragment, such as https://login.example.com/",
            |config, text| put(&mut config.http.login_url, LoginUrl::parse(text).map(Some)),
        ),
        show: |config| config.http.login_url.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string),
        ..Setting::PLAIN
    },
    Setting {
        name: "templates_dir",
        flag: "templates-dir",
        variable: "TESSERA_TEMPLATES_DIR",
        heading: "HTTP",
        placeholder: "DIRECTORY",
        meaning: "A directory of templates for the pages that people see: each file takes the place of the built-in one of its name.\n\n\
            They are read once, at the start: layout.html, login.html, consent.html, device.html, account.html and others, and \
            style.css. Pictures and fonts beside them are served to the pages too.",
        default: Some("none: the built-in pages"),
        kind: Kind::Text("the path of a directory", |config, text| {
            put(&mut config.http.templates_dir, path(text).map(Some))
        }),
        show: |config| {
            config.http.templates_dir.as_ref().map_or_else(|| NONE.to_owned(), |path| path.display().to_string())
        },
        ..Setting::PLAIN
    },
    Setting {
        name: "trusted_proxies",
        flag: "trusted-proxies",
        variable: "TESSERA_TRUSTED_PROXIES",
        heading: "HTTP",
        placeholder: "NETWORKS",
        meaning: "The proxies before this server, as networks with commas between them: they say where a request comes from.\n\n\
            Limits by address, and the places that people see on their pages, then come from Forwarded or X-Forwarded-For. Nobody \
            else is believed; the issuer and links never depend on a request.",
        default: Some("none: a request comes from where its connection does"),
        kind: Kind::Text("networks or addresses such as 10.0.0.0/8,192.0.2.7,2001:db8::/32", |config, text| {
            put(&mut config.http.trusted_proxies, networks(text))
        }),
        show: |config| {
            let networks: Vec<_> = config.http.trusted_proxies.iter().map(ToString::to_string).collect();
            if networks.is_empty() { NONE.to_owned() } else { networks.join(",") }
        },
        ..Setting::PLAIN
    },
    Setting {
        name: "workers",
        flag: "workers",
        variable: "TESSERA_WORKERS",
        heading: "HTTP",
        placeholder: "N",
        meaning: "Threads that answer HTTP requests.",
        default: Some("one a core"),
        kind: Kind::Whole(1..=THREADS_MAX as u32, |config, number| {
            put(&mut config.http.workers, u16::try_from(number).ok())
        }),
        show: |config| config.http.workers.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "data_dir",
        flag: "data-dir",
        variable: "TESSERA_DATA_DIR",
        heading: "Data",
        placeholder: "DIRECTORY",
        meaning: "The directory of the journal, the snapshots and the Unix socket that the command line speaks to.\n\n\
            The server makes it if it does not exist.",
        kind: Kind::Text("the path of a directory", |config, text| put(&mut config.storage.data_dir, path(text))),
        show: |config| config.storage.data_dir.display().to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "master_key",
        flag: "master-key",
        variable: "TESSERA_MASTER_KEY",
        heading: "Data",
        placeholder: "KEY",
        meaning: "The master key, in place of a file; it goes before --master-key-file.",
        default: Some("none: the key is in the file that --master-key-file names"),
        kind: Kind::Text("32 bytes: 64 hexadecimal digits, or base64 or base64url", |config, text| {
            put(&mut config.storage.master_key, MasterKey::parse(text).map(Some))
        }),
        show: |config| hidden(config.storage.master_key.is_some()),
        secret: true,
        not_a_flag: Some("anyone on the machine can see a flag; set TESSERA_MASTER_KEY or use --master-key-file"),
        not_in_file: Some("configuration files get copied; set TESSERA_MASTER_KEY or use master_key_file"),
    },
    Setting {
        name: "master_key_file",
        flag: "master-key-file",
        variable: "TESSERA_MASTER_KEY_FILE",
        heading: "Data",
        placeholder: "FILE",
        meaning: "The file with the master key; it must lie outside the data directory.\n\n\
            Without this key the data cannot be read, and cannot be rebuilt from the database: keep a copy, and not \
            beside a copy of the data. Not used while TESSERA_MASTER_KEY is set.",
        default: Some("the data directory with .key appended: ./tessera-data.key"),
        kind: Kind::Text("the path of a file", |config, text| put(&mut config.storage.master_key_file, path(text))),
        show: |config| {
            let path = config.storage.master_key_file.display();
            if config.storage.master_key.is_some() { format!("{path} (not used)") } else { path.to_string() }
        },
        ..Setting::PLAIN
    },
    Setting {
        name: "durability",
        flag: "durability",
        variable: "TESSERA_DURABILITY",
        heading: "Data",
        placeholder: "CLASS",
        meaning: "When a change counts as acknowledged.\n\n\
            - sync: a request is answered once its change is on the disk\n\
            - relaxed: the issue of an access token may be answered up to --relaxed-window-ms before that; all else \
            is as in sync\n\
            - memory: nothing is written, and a restart forgets everything; for tests and measurements",
        kind: Kind::Text("sync, relaxed or memory", |config, text| {
            put(&mut config.storage.durability, Durability::parse(text))
        }),
        show: |config| config.storage.durability.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "relaxed_window_ms",
        flag: "relaxed-window-ms",
        variable: "TESSERA_RELAXED_WINDOW_MS",
        heading: "Data",
        placeholder: "MILLISECONDS",
        meaning: "The most that a crash may lose of issued access tokens under --durability relaxed, in milliseconds.",
        kind: Kind::Whole(1..=10_000, |config, number| put(&mut config.storage.relaxed_window_ms, Some(number))),
        show: |config| config.storage.relaxed_window_ms.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "journal_bytes_max",
        flag: "journal-bytes-max",
        variable: "TESSERA_JOURNAL_BYTES_MAX",
        heading: "Data",
        placeholder: "BYTES",
        meaning: "The disk budget of the journal: plain bytes, or with KiB, MiB, GiB or TiB.\n\n\
            At about 70 % of it the server warns, at 85 % it registers no client, at 95 % it issues no token; the rest \
            is set aside at the start, so that tokens can be revoked to the last. Introspection goes on throughout.",
        kind: Kind::Bytes(JOURNAL_BYTES_MIN..=JOURNAL_BYTES_MOST, |config, bytes| {
            put(&mut config.storage.journal_bytes_max, Some(bytes))
        }),
        show: |config| ByteSize(config.storage.journal_bytes_max).to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "database_url",
        flag: "database-url",
        variable: "TESSERA_DATABASE_URL",
        heading: "Database",
        placeholder: "URL",
        meaning: "A PostgreSQL database (15 or later) that is kept as a queryable copy; no request waits for it.\n\n\
            As a flag the password can be seen by anyone on the machine, with ps: prefer the environment. TLS is asked for with \
            ?sslmode=verify-full&sslrootcert=FILE.",
        default: Some("none: there is no copy"),
        kind: Kind::Text("a URL that begins with postgres:// or postgresql://", |config, text| {
            put(&mut config.database.url, DatabaseUrl::parse(text).map(Some))
        }),
        show: |config| hidden(config.database.url.is_some()),
        secret: true,
        ..Setting::PLAIN
    },
    Setting {
        name: "history_retention_days",
        flag: "history-retention-days",
        variable: "TESSERA_HISTORY_RETENTION_DAYS",
        heading: "Database",
        placeholder: "DAYS",
        meaning: "How long expired tokens stay in the database, in days; then their partition is dropped.",
        kind: Kind::Whole(1..=3650, |config, number| put(&mut config.database.history_retention_days, Some(number))),
        show: |config| config.database.history_retention_days.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "shards",
        flag: "shards",
        variable: "TESSERA_SHARDS",
        heading: "Data",
        placeholder: "N",
        meaning: "Shards that hold the tokens, one thread each; may change between starts.",
        default: Some("one a core"),
        kind: Kind::Whole(1..=THREADS_MAX as u32, |config, number| {
            put(&mut config.shards.count, u16::try_from(number).ok())
        }),
        show: |config| config.shards.count.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "bootstrap_client",
        flag: "bootstrap-client",
        variable: "TESSERA_BOOTSTRAP_CLIENT",
        heading: "Clients and tokens",
        placeholder: "ID:SECRET",
        meaning: "The administrator's client, made at the first start.\n\n\
            As a flag the secret can be seen by anyone on the machine, with ps: prefer the environment.",
        default: Some("none: the server makes up a client and shows it once"),
        kind: Kind::Text(
            "ID:SECRET, each 1 to 255 printable ASCII characters (RFC 6749 Appendix A), no colon in ID",
            |config, text| put(&mut config.bootstrap_client, BootstrapClient::parse(text).map(Some)),
        ),
        show: |config| hidden(config.bootstrap_client.is_some()),
        secret: true,
        ..Setting::PLAIN
    },
    Setting {
        name: "access_token_lifetime_seconds",
        flag: "access-token-lifetime-seconds",
        variable: "TESSERA_ACCESS_TOKEN_LIFETIME_SECONDS",
        heading: "Clients and tokens",
        placeholder: "SECONDS",
        meaning: "The lifetime of an access token, in seconds, for clients that have none of their own.",
        kind: Kind::Whole(1..=31_536_000, |config, number| {
            put(&mut config.tokens.access_token_lifetime_seconds, Some(number))
        }),
        show: |config| config.tokens.access_token_lifetime_seconds.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "id_token_lifetime_seconds",
        flag: "id-token-lifetime-seconds",
        variable: "TESSERA_ID_TOKEN_LIFETIME_SECONDS",
        heading: "Clients and tokens",
        placeholder: "SECONDS",
        meaning: "How long an ID token is good, in seconds.",
        kind: Kind::Whole(60..=86_400, |config, number| {
            put(&mut config.tokens.id_token_lifetime_seconds, Some(number))
        }),
        show: |config| config.tokens.id_token_lifetime_seconds.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "key_algorithms",
        flag: "key-algorithms",
        variable: "TESSERA_KEY_ALGORITHMS",
        heading: "Clients and tokens",
        placeholder: "ALGORITHMS",
        meaning: "The algorithms that a start makes keys for where there are none.",
        kind: Kind::Text("none, or some of EdDSA,ES256,ES384,RS256,PS256", |config, text| {
            put(&mut config.tokens.key_algorithms, KeyAlgorithms::parse(text))
        }),
        show: |config| config.tokens.key_algorithms.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "key_rotation_days",
        flag: "key-rotation-days",
        variable: "TESSERA_KEY_ROTATION_DAYS",
        heading: "Clients and tokens",
        placeholder: "DAYS",
        meaning: "After how many days a key that signs is replaced by a new one; 0 is never.",
        kind: Kind::Whole(0..=3650, |config, number| put(&mut config.tokens.key_rotation_days, Some(number))),
        show: |config| config.tokens.key_rotation_days.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "key_publish_seconds",
        flag: "key-publish-seconds",
        variable: "TESSERA_KEY_PUBLISH_SECONDS",
        heading: "Clients and tokens",
        placeholder: "SECONDS",
        meaning: "How long a new key is published before it signs, in seconds: those who check signatures keep what they \
            have fetched for five minutes at the least.",
        kind: Kind::Whole(300..=604_800, |config, number| put(&mut config.tokens.key_publish_seconds, Some(number))),
        show: |config| config.tokens.key_publish_seconds.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "dynamic_clients_max",
        flag: "dynamic-clients-max",
        variable: "TESSERA_DYNAMIC_CLIENTS_MAX",
        heading: "Clients and tokens",
        placeholder: "N",
        meaning: "How many clients may have registered themselves at a time.",
        kind: Kind::Whole(1..=1_000_000, |config, number| {
            put(&mut config.registration.dynamic_clients_max, Some(number))
        }),
        show: |config| config.registration.dynamic_clients_max.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "dynamic_client_idle_days",
        flag: "dynamic-client-idle-days",
        variable: "TESSERA_DYNAMIC_CLIENT_IDLE_DAYS",
        heading: "Clients and tokens",
        placeholder: "DAYS",
        meaning: "After how many days a client goes that has registered itself and that nobody uses; 0 is never.\n\n\
            Who has a token that has not expired, a code or device that waits, or a person's grant is in use. Up to a day longer.",
        kind: Kind::Whole(0..=3650, |config, number| {
            put(&mut config.registration.dynamic_client_idle_days, Some(number))
        }),
        show: |config| config.registration.dynamic_client_idle_days.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "registration_address_per_hour",
        flag: "registration-address-per-hour",
        variable: "TESSERA_REGISTRATION_ADDRESS_PER_HOUR",
        heading: "Clients and tokens",
        placeholder: "N",
        meaning: "How many clients may register themselves from one address in an hour; of IPv6, from one /64.",
        kind: Kind::Whole(1..=100_000, |config, number| {
            put(&mut config.registration.registration_address_per_hour, Some(number))
        }),
        show: |config| config.registration.registration_address_per_hour.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "registration_token_per_hour",
        flag: "registration-token-per-hour",
        variable: "TESSERA_REGISTRATION_TOKEN_PER_HOUR",
        heading: "Clients and tokens",
        placeholder: "N",
        meaning: "How many clients may register themselves with one initial access token in an hour.",
        kind: Kind::Whole(1..=100_000, |config, number| {
            put(&mut config.registration.registration_token_per_hour, Some(number))
        }),
        show: |config| config.registration.registration_token_per_hour.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "fetch_allow",
        flag: "fetch-allow",
        variable: "TESSERA_FETCH_ALLOW",
        heading: "Clients and tokens",
        placeholder: "HOSTS",
        meaning: "The hosts from which the server may fetch the keys of clients (jwks_uri), with commas between them.\n\n\
            Each is a name, perhaps with a port other than 443: client.example, client.example:8443, or *.partner.example for every name \
            below. Only https; no redirect is followed; a name with a loopback, private or otherwise special address is refused. For \
            clients inside, add the networks in which a host may be: keys.corp.example=10.0.0.0/8+fd00::/8.",
        default: Some("none: the server fetches nothing, and refuses jwks_uri"),
        kind: Kind::Text(ALLOWED_WORDS, |config, text| put(&mut config.fetch.allow, text.parse().ok())),
        show: |config| config.fetch.allow.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "fetch_ca_file",
        flag: "fetch-ca-file",
        variable: "TESSERA_FETCH_CA_FILE",
        heading: "Clients and tokens",
        placeholder: "FILE",
        meaning: "The certificates of the authorities that the hosts of --fetch-allow are believed by, in PEM.\n\n\
            They take the place of the machine's; append those to the file to believe both.",
        default: Some("none: those of the machine"),
        kind: Kind::Text("the path of a file", |config, text| put(&mut config.fetch.ca_file, path(text).map(Some))),
        show: |config| config.fetch.ca_file.as_ref().map_or_else(|| NONE.to_owned(), |path| path.display().to_string()),
        ..Setting::PLAIN
    },
    Setting {
        name: "session_lifetime_seconds",
        flag: "session-lifetime-seconds",
        variable: "TESSERA_SESSION_LIFETIME_SECONDS",
        heading: "People",
        placeholder: "SECONDS",
        meaning: "How long a person stays logged in, in seconds.",
        kind: Kind::Whole(60..=31_536_000, |config, number| {
            put(&mut config.people.session_lifetime_seconds, Some(number))
        }),
        show: |config| config.people.session_lifetime_seconds.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "session_idle_seconds",
        flag: "session-idle-seconds",
        variable: "TESSERA_SESSION_IDLE_SECONDS",
        heading: "People",
        placeholder: "SECONDS",
        meaning: "How long a session may lie unused before it ends, in seconds.",
        kind: Kind::Whole(60..=31_536_000, |config, number| put(&mut config.people.session_idle_seconds, Some(number))),
        show: |config| config.people.session_idle_seconds.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "login_failures_max",
        flag: "login-failures-max",
        variable: "TESSERA_LOGIN_FAILURES_MAX",
        heading: "People",
        placeholder: "N",
        meaning: "Wrong passwords of one account in a row, after which the next attempt has to wait.\n\n\
        It waits 1 second, then 2, then 4, up to login_delay_seconds_max. Where the person has logged in from before, failures \
        from elsewhere do not count.",
        kind: Kind::Whole(1..=1_000, |config, number| put(&mut config.people.login_failures_max, Some(number))),
        show: |config| config.people.login_failures_max.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "login_delay_seconds_max",
        flag: "login-delay-seconds-max",
        variable: "TESSERA_LOGIN_DELAY_SECONDS_MAX",
        heading: "People",
        placeholder: "SECONDS",
        meaning: "The longest that an account has to wait after wrong passwords, in seconds.",
        kind: Kind::Whole(1..=86_400, |config, number| put(&mut config.people.login_delay_seconds_max, Some(number))),
        show: |config| config.people.login_delay_seconds_max.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "login_address_failures_per_minute",
        flag: "login-address-failures-per-minute",
        variable: "TESSERA_LOGIN_ADDRESS_FAILURES_PER_MINUTE",
        heading: "People",
        placeholder: "N",
        meaning: "Wrong passwords that one address may send in a minute; an IPv6 address counts by its /64.",
        kind: Kind::Whole(1..=60_000, |config, number| {
            put(&mut config.people.login_address_failures_per_minute, Some(number))
        }),
        show: |config| config.people.login_address_failures_per_minute.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "log_format",
        flag: "log-format",
        variable: "TESSERA_LOG_FORMAT",
        heading: "Log",
        placeholder: "FORMAT",
        meaning: "The form of a log line; auto is text on a terminal and JSON elsewhere.",
        kind: Kind::Text("auto, text or json", |config, text| put(&mut config.log.format, LogFormat::parse(text))),
        show: |config| config.log.format.to_string(),
        ..Setting::PLAIN
    },
    Setting {
        name: "log_filter",
        flag: "log-filter",
        variable: "TESSERA_LOG_FILTER",
        heading: "Log",
        placeholder: "DIRECTIVES",
        meaning: "Which log lines are written: a level, or levels for parts of the server.",
        kind: Kind::Text("directives such as info or warn,tessera::journal=debug", |config, text| {
            put(&mut config.log.filter, log_filter(text))
        }),
        show: |config| config.log.filter.clone(),
        ..Setting::PLAIN
    },
];

fn put<T>(field: &mut T, value: Option<T>) -> Option<()> {
    *field = value?;
    Some(())
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

fn networks(text: &str) -> Option<Vec<IpNet>> {
    let network = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    text.split(',').map(|text| network(text.trim())).collect()
}

fn log_filter(text: &str) -> Option<String> {
    let readable = !text.trim().is_empty() && EnvFilter::try_new(text).is_ok();
    readable.then(|| text.to_owned())
}

fn hidden(is_set: bool) -> String {
    if is_set { "set, not shown" } else { NONE }.to_owned()
}

const JOURNAL_BYTES_MIN: u64 = 256 << 20;
const JOURNAL_BYTES_MOST: u64 = 1024 << 40;

const ADDRESS: &str = "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080";

const NONE: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_setting_are_one_name() {
        for Setting { name, flag, variable, .. } in SETTINGS {
            assert_eq!(*flag, name.replace('_', "-"));
            assert_eq!(*variable, format!("TESSERA_{}", name.to_uppercase()));
        }
    }

    #[test]
    fn the_default_of_a_setting_is_taken_by_it() {
        for setting in SETTINGS.iter().filter(|setting| setting.default.is_none()) {
            let shown = (setting.show)(&Config::default());
            let mut config = Config::default();
            assert!(setting.kind.read(&mut config, &shown).is_some(), "{}", setting.name);
            assert_eq!((setting.show)(&config), shown);
        }
    }
}
