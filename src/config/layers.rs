//! Flags, environment and file, laid over the defaults.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::config::cli::Flags;
use crate::config::error::{ConfigError, ConfigErrors, nearest};
use crate::config::setting::{self, Kind, SETTINGS, Setting};
use crate::config::{Config, Source};

/// Reads every layer to its end, lowest first, and reports what is wrong in any of them.
pub(super) fn read(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    default_file: &Path,
) -> Result<Config, ConfigErrors> {
    let environment = Environment::new(environment);
    let mut reading = Reading::default();
    reading.read_file(flags, &environment, default_file);
    reading.read_environment(&environment);
    reading.read_flags(flags);
    reading.end()
}

/// As [`read`], with a file that has this text and nothing else.
#[cfg(any(test, fuzzing))]
pub(super) fn read_file(text: &[u8]) -> Result<Config, ConfigErrors> {
    let mut reading = Reading::default();
    reading.take_text(Path::new(crate::config::DEFAULT_FILE), text.to_owned());
    reading.end()
}

/// The variables that are meant for us.
struct Environment {
    variables: Vec<(OsString, OsString)>,
}

impl Environment {
    fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut in_pod = false;
        let mut ours = Vec::new();
        for (name, value) in variables {
            in_pod |= name == "KUBERNETES_SERVICE_HOST";
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                ours.push((name, value));
            }
        }
        ours.retain(|(name, _)| !(in_pod && is_service_link(name)));
        ours.sort();
        Self { variables: ours }
    }

    fn value(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.as_os_str())
    }
}

/// Whether Kubernetes has put this variable into the pod, as it does for each Service, and for one named `tessera` under
/// our prefix: `TESSERA_PORT_8080_TCP_ADDR` and its like. No setting may have such a name.
fn is_service_link(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.ends_with("_SERVICE_HOST") || name.split('_').any(|word| word == "PORT")
}

/// A configuration while it is being read, and what was wrong so far.
#[derive(Default)]
struct Reading {
    config: Config,
    errors: Vec<ConfigError>,
}

impl Reading {
    fn read_file(&mut self, flags: &Flags, environment: &Environment, default_file: &Path) {
        let named = flags.value(setting::CONFIG.name).or_else(|| environment.value(setting::CONFIG.variable));
        let path = named.map_or(default_file, Path::new);
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return,
            // Refused where its own layer is read.
            Err(_) if path.as_os_str().is_empty() => return,
            Err(error) => return self.refuse_file(path, format!("cannot be read: {error}")),
        };
        self.take_text(path, text);
    }

    fn take_text(&mut self, path: &Path, text: Vec<u8>) {
        self.config.file = Some(path.to_owned());
        let Ok(text) = String::from_utf8(text) else {
            return self.refuse_file(path, "is not UTF-8".to_owned());
        };
        match text.parse::<toml::Table>() {
            Ok(table) => table.iter().for_each(|(key, value)| self.take_from_file(path, key, value)),
            Err(error) => self.refuse_file(path, syntax_problem(&text, &error)),
        }
    }

    fn take_from_file(&mut self, path: &Path, key: &str, value: &toml::Value) {
        let origin = Source::File(path.to_owned());
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) else {
            let nearest = nearest(key, SETTINGS.iter().filter(|row| row.not_in_file.is_none()).map(|row| row.name));
            return self.errors.push(ConfigError::Unknown { name: key.to_owned(), origin, nearest });
        };
        if let Some(why) = setting.not_in_file {
            return self.errors.push(ConfigError::Misplaced { name: setting.name, origin, why });
        }
        match (&setting.kind, value) {
            (Kind::Whole(..) | Kind::Bytes(..), toml::Value::Integer(number)) => {
                self.take(setting, &number.to_string(), &number.to_string(), origin);
            }
            (Kind::Text(..) | Kind::Bytes(..), toml::Value::String(text)) => {
                self.take(setting, text, &format!("{text:?}"), origin);
            }
            (_, other) => self.refuse(setting, &format!("the {} {other}", other.type_str()), origin),
        }
    }

    fn read_environment(&mut self, environment: &Environment) {
        for (name, value) in &environment.variables {
            let variable = name.to_string_lossy().into_owned();
            let origin = Source::Environment(variable.clone());
            match SETTINGS.iter().find(|setting| setting.variable == variable) {
                Some(setting) => self.take_os(setting, value, origin),
                None => {
                    let nearest = nearest(&variable, SETTINGS.iter().map(|setting| setting.variable));
                    self.errors.push(ConfigError::Unknown { name: variable, origin, nearest });
                }
            }
        }
    }

    fn read_flags(&mut self, flags: &Flags) {
        for (setting, value) in flags.iter() {
            let origin = Source::Flag(setting.flag);
            match setting.not_a_flag {
                Some(why) => self.errors.push(ConfigError::Misplaced { name: setting.name, origin, why }),
                None => self.take_os(setting, value, origin),
            }
        }
    }

    fn take_os(&mut self, setting: &Setting, value: &OsStr, origin: Source) {
        match value.to_str() {
            Some(text) => self.take(setting, text, &format!("{text:?}"), origin),
            None => self.refuse(setting, &format!("{value:?}, which is not UTF-8,"), origin),
        }
    }

    /// Lays `text` over what lower layers said. `read` is the text as an error may repeat it.
    fn take(&mut self, setting: &Setting, text: &str, read: &str, origin: Source) {
        match setting.kind.read(&mut self.config, text) {
            Some(()) => {
                self.config.sources.0.insert(setting.name, origin);
            }
            None => self.refuse(setting, read, origin),
        }
    }

    fn refuse(&mut self, setting: &Setting, read: &str, origin: Source) {
        let read = if setting.secret { "a value that is not shown" } else { read };
        let allowed = setting.kind.allowed();
        self.errors.push(ConfigError::Refused { name: setting.name, read: shorten(read), origin, allowed });
    }

    fn refuse_file(&mut self, path: &Path, problem: String) {
        let path = path.to_owned();
        self.errors.push(ConfigError::File { path, problem });
    }

    fn end(mut self) -> Result<Config, ConfigErrors> {
        self.settle();
        if self.errors.is_empty() { Ok(self.config) } else { Err(ConfigErrors::new(self.errors)) }
    }

    /// Derives what depends on other settings, and checks what only makes sense together.
    fn settle(&mut self) {
        let Config { storage, http, sources, .. } = &mut self.config;
        let key_origin = sources.of("master_key_file");
        if key_origin == Source::Default {
            storage.master_key_file = key_file_beside(&storage.data_dir);
        }
        if resolve(&storage.master_key_file).starts_with(resolve(&storage.data_dir)) {
            self.errors.push(ConfigError::Refused {
                name: "master_key_file",
                read: format!("{:?}", storage.master_key_file),
                origin: key_origin,
                allowed: format!("a path outside data_dir, {:?}: a copy of one is no copy of both", storage.data_dir),
            });
        }
        if http.admin_listen == Some(http.listen) && http.listen.port() != 0 {
            self.errors.push(ConfigError::Refused {
                name: "admin_listen",
                read: format!("\"{}\"", http.listen),
                origin: sources.of("admin_listen"),
                allowed: "an address other than that of listen".to_owned(),
            });
        }
    }
}

/// What is wrong with the file and in which line, without the line itself: there may be a secret in it.
fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("is not TOML: line {}: {}", before.matches('\n').count() + 1, shorten(error.message()))
}

/// What was read, as it fits into the one line of an error.
fn shorten(read: &str) -> String {
    let line = read.replace(char::is_control, " ");
    match line.char_indices().nth(READ_CHARS_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// `data_dir` with `.key` appended: beside the directory and not in it.
pub(super) fn key_file_beside(data_dir: &Path) -> PathBuf {
    let named = if data_dir.file_name().is_some() { data_dir.to_owned() } else { resolve(data_dir) };
    let mut name = named.file_name().unwrap_or_default().to_owned();
    name.push(".key");
    named.with_file_name(name)
}

/// The path without symbolic links and `..`, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut resolved = PathBuf::new();
    for component in absolute.components() {
        if component == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(component);
        }
        resolved = resolved.canonicalize().unwrap_or(resolved);
    }
    resolved
}

const PREFIX: &str = "TESSERA_";

/// An error repeats this much of what it read.
const READ_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::ffi::OsStringExt;

    use tempfile::TempDir;

    use super::*;
    use crate::config::cli::Command;
    use crate::config::value::{Durability, LogFormat};

    const HEX_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    /// The three layers that an operator writes.
    #[derive(Default)]
    struct Layers {
        flags: Vec<OsString>,
        environment: Vec<(OsString, OsString)>,
        file: Option<Vec<u8>>,
    }

    impl Layers {
        fn flag(mut self, name: &str, value: &str) -> Self {
            self.flags.extend([format!("--{name}").into(), value.into()]);
            self
        }

        fn variable(mut self, name: &str, value: &str) -> Self {
            self.environment.push((name.into(), value.into()));
            self
        }

        fn file(mut self, text: &str) -> Self {
            self.file = Some(text.into());
            self
        }

        fn load(self) -> Result<Config, Vec<String>> {
            let directory = TempDir::new().unwrap();
            let path = directory.path().join("tessera.toml");
            if let Some(text) = self.file {
                std::fs::write(&path, text).unwrap();
            }
            let arguments = ["tessera".into(), "serve".into()].into_iter().chain(self.flags);
            let Command::Serve(flags) = Command::read(arguments).unwrap() else { panic!("not serve") };
            // The directory has another name in each run, so errors are compared without it.
            let place = format!("{}/", directory.path().display());
            Config::load(&flags, self.environment, &path)
                .map_err(|errors| errors.to_string().lines().map(|line| line.replace(&place, "")).collect())
        }

        fn errors(self) -> Vec<String> {
            self.load().unwrap_err()
        }
    }

    fn layers() -> Layers {
        Layers::default()
    }

    fn setting(name: &str) -> &'static Setting {
        SETTINGS.iter().find(|setting| setting.name == name).unwrap()
    }

    /// The value in force and its source, when the setting is `text` in the environment.
    fn shown(name: &str, text: &str) -> Result<String, Vec<String>> {
        let setting = setting(name);
        layers().variable(setting.variable, text).load().map(|config| (setting.show)(&config))
    }

    fn check_taken(name: &str, texts: &[&str]) {
        for text in texts {
            assert_eq!(shown(name, text).as_deref(), Ok(*text), "{name}");
        }
    }

    fn check_refused(name: &str, texts: &[&str]) {
        for text in texts {
            let errors = shown(name, text).unwrap_err();
            let setting = setting(name);
            let allowed = setting.kind.allowed();
            let expected = format!("{name}: read {text:?} from {}, allowed is {allowed}", setting.variable);
            assert_eq!(errors, [expected]);
        }
    }

    #[test]
    fn nothing_set_is_the_default() {
        let config = layers().load().unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.http.issuer, None);
        assert_eq!(config.storage.durability, Durability::Sync);
        assert_eq!(config.storage.relaxed_window_ms, 50);
        assert_eq!(config.storage.journal_bytes_max, 16 << 30);
        assert_eq!(config.storage.data_dir, Path::new("./tessera-data"));
        assert_eq!(config.storage.master_key_file, Path::new("./tessera-data.key"));
        assert_eq!(config.tokens.access_token_lifetime_seconds, 3600);
        assert_eq!(config.log.format, LogFormat::Auto);
        assert_eq!(config.log.filter, "info,actix_server=warn");
        assert!((1..=1024).contains(&config.http.workers) && (1..=1024).contains(&config.shards.count));
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        assert!(config.effective().iter().all(|line| line.source == Source::Default));
    }

    #[test]
    fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
        let check = |layers: Layers, workers: u16, source: Source| {
            let config = layers.load().unwrap();
            assert_eq!(config.http.workers, workers);
            // The file is in a directory that is gone by now.
            let found = match config.sources.of("workers") {
                Source::File(path) => Source::File(path.file_name().unwrap().into()),
                other => other,
            };
            assert_eq!(found, source);
        };
        let file = || layers().file("workers = 11");
        check(layers(), Config::default().http.workers, Source::Default);
        check(file(), 11, Source::File("tessera.toml".into()));
        check(file().variable("TESSERA_WORKERS", "12"), 12, Source::Environment("TESSERA_WORKERS".into()));
        check(file().variable("TESSERA_WORKERS", "12").flag("workers", "13"), 13, Source::Flag("workers"));
        check(file().flag("workers", "13"), 13, Source::Flag("workers"));
    }

    #[test]
    fn every_setting_is_read_from_every_layer_that_may_have_it() {
        let values = [
            ("listen", "[::1]:0"),
            ("admin_listen", "127.0.0.1:9090"),
            ("issuer", "https://auth.example.com"),
            ("login_url", "https://login.example.com/?from=tessera"),
            ("workers", "3"),
            ("data_dir", "/srv/tessera"),
            ("master_key_file", "/etc/tessera.key"),
            ("durability", "memory"),
            ("relaxed_window_ms", "7"),
            ("journal_bytes_max", "1GiB"),
            ("database_url", "postgres://tessera:s3cret@db.example/tessera"),
            ("history_retention_days", "7"),
            ("shards", "5"),
            ("bootstrap_client", "gateway:s3cret"),
            ("access_token_lifetime_seconds", "60"),
            ("id_token_lifetime_seconds", "600"),
            ("key_algorithms", "ES256,PS256"),
            ("key_rotation_days", "90"),
            ("key_publish_seconds", "600"),
            ("dynamic_clients_max", "7"),
            ("dynamic_client_idle_days", "30"),
            ("registration_address_per_hour", "3"),
            ("registration_token_per_hour", "5"),
            ("fetch_allow", "client.example,*.corp.example:8443=10.0.0.0/8+fd00::/8"),
            ("fetch_ca_file", "/etc/tessera-ca.pem"),
            ("session_lifetime_seconds", "86400"),
            ("session_idle_seconds", "600"),
            ("login_failures_max", "7"),
            ("login_delay_seconds_max", "60"),
            ("login_address_failures_per_minute", "100"),
            ("templates_dir", "/srv/templates"),
            ("trusted_proxies", "10.0.0.0/8,2001:db8::/32"),
            ("log_format", "json"),
            ("log_filter", "warn"),
        ];
        let known: BTreeSet<_> = values.iter().map(|(name, _)| *name).chain(["config", "master_key"]).collect();
        assert_eq!(known, SETTINGS.iter().map(|setting| setting.name).collect(), "a new setting is tested here");
        for (name, value) in values {
            let setting = setting(name);
            let literal = if matches!(setting.kind, Kind::Whole(..)) { value.to_owned() } else { format!("{value:?}") };
            let expected = if setting.secret { "set, not shown" } else { value };
            for layers in [
                layers().file(&format!("{name} = {literal}")),
                layers().variable(setting.variable, value),
                layers().flag(setting.flag, value),
            ] {
                let config = layers.load().unwrap();
                assert_eq!((setting.show)(&config), expected, "{name}");
                assert_ne!(config.sources.of(name), Source::Default, "{name}");
            }
        }
    }

    #[test]
    fn numbers_are_taken_up_to_their_bounds_and_no_further() {
        for (name, max, above) in [
            ("workers", "1024", "1025"),
            ("shards", "1024", "1025"),
            ("relaxed_window_ms", "10000", "10001"),
            ("access_token_lifetime_seconds", "31536000", "31536001"),
            ("dynamic_clients_max", "1000000", "1000001"),
            ("registration_address_per_hour", "100000", "100001"),
            ("registration_token_per_hour", "100000", "100001"),
            ("login_failures_max", "1000", "1001"),
            ("login_delay_seconds_max", "86400", "86401"),
            ("login_address_failures_per_minute", "60000", "60001"),
        ] {
            check_taken(name, &["1", max]);
            check_refused(name, &["0", above, "-1", "1.5", "", " 1", "many", "4294967297"]);
        }
    }

    #[test]
    fn text_settings_take_what_they_say() {
        check_taken("listen", &["0.0.0.0:0", "[::]:65535"]);
        check_refused("listen", &["", "8080", "localhost:8080", "127.0.0.1", "127.0.0.1:65536"]);
        check_taken("admin_listen", &["0.0.0.0:0"]);
        check_refused("admin_listen", &["", ":9090"]);
        check_taken("issuer", &["https://auth.example.com/a"]);
        check_refused("issuer", &["", "auth.example.com", "https://auth.example.com/?a"]);
        check_taken("login_url", &["https://login.example.com", "http://127.0.0.1:3000/login?a=b"]);
        check_refused(
            "login_url",
            &["", "login.example.com", "https://a@login.example.com/", "https://login.example.com/#a"],
        );
        check_taken("durability", &["sync", "relaxed", "memory"]);
        check_refused("durability", &["", "Sync", "none"]);
        check_taken("log_format", &["auto", "text", "json"]);
        check_refused("log_format", &["", "xml"]);
        check_taken("log_filter", &["off", "warn,tessera::journal=debug"]);
        check_refused("log_filter", &["", " ", "tessera=loud"]);
        check_refused("data_dir", &[""]);
        check_refused("master_key_file", &[""]);
        check_refused("config", &[""]);
    }

    #[test]
    fn a_number_of_bytes_is_plain_or_has_a_unit_and_is_shown_in_the_largest() {
        let name = "journal_bytes_max";
        check_taken(name, &["256MiB", "16GiB", "3TiB", "1024TiB", "262145KiB", "268435457"]);
        for (text, expected) in [("268435456", "256MiB"), ("16384MiB", "16GiB"), ("1048576KiB", "1GiB")] {
            assert_eq!(shown(name, text).as_deref(), Ok(expected));
        }
        let refused =
            ["", "0", "268435455", "255MiB", "1025TiB", "-1", "1.5GiB", "1GB", "1 GiB", "GiB", "1gib", "+1GiB"];
        check_refused(name, &refused);
        check_refused(name, &["18446744073709551616", "18014398509481984KiB"]);
        for literal in ["268435456", "\"256MiB\""] {
            let config = layers().file(&format!("{name} = {literal}")).load().unwrap();
            assert_eq!(config.storage.journal_bytes_max, 256 << 20);
        }
    }

    #[test]
    fn an_error_says_where_the_value_came_from() {
        let allowed = "allowed is a whole number from 1 to 1024";
        let errors = layers().file("workers = 0").variable("TESSERA_WORKERS", "0").flag("workers", "0").errors();
        let expected = [
            format!("workers: read 0 from tessera.toml, {allowed}"),
            format!("workers: read \"0\" from TESSERA_WORKERS, {allowed}"),
            format!("workers: read \"0\" from --workers, {allowed}"),
        ];
        assert_eq!(errors, expected);
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let errors = layers()
            .file("shards = 0\nlissten = \"x\"\nlog_format = 1")
            .variable("TESSERA_DURABILITY", "fast")
            .variable("TESSERA_WORKER", "2")
            .flag("issuer", "example")
            .flag("data-dir", "/srv/tessera")
            .flag("master-key-file", "/srv/tessera/key")
            .errors();
        let names: Vec<_> = errors.iter().filter_map(|line| line.split(':').next()).collect();
        let expected = ["lissten", "log_format", "shards", "TESSERA_WORKER", "durability", "issuer", "master_key_file"];
        assert_eq!(BTreeSet::from_iter(names), BTreeSet::from(expected));
        assert_eq!(errors.len(), expected.len());
    }

    #[test]
    fn an_unknown_name_is_refused_and_the_nearest_is_suggested() {
        let check = |layers: Layers, expected: &str| assert_eq!(layers.errors(), [expected]);
        check(layers().file("worker = 2"), "worker: no such setting, read from tessera.toml; did you mean workers?");
        check(
            layers().file("data-dir = 'x'"),
            "data-dir: no such setting, read from tessera.toml; did you mean data_dir?",
        );
        check(layers().file("[server]\nlisten = 'x'"), "server: no such setting, read from tessera.toml");
        check(
            layers().variable("TESSERA_LISTN", "x"),
            "TESSERA_LISTN: no such setting, read from the environment; did you mean TESSERA_LISTEN?",
        );
        check(layers().variable("TESSERA_COLOUR", "x"), "TESSERA_COLOUR: no such setting, read from the environment");
        check(layers().variable("TESSERA_", "x"), "TESSERA_: no such setting, read from the environment");
    }

    #[test]
    fn what_is_not_for_us_in_the_environment_is_left_alone() {
        let environment = layers().variable("PATH", "/bin").variable("TESSERAE", "x").variable("tessera_listen", "x");
        assert!(environment.load().is_ok());
    }

    #[test]
    fn service_links_of_kubernetes_are_left_alone_in_a_pod() {
        let linked = || {
            layers()
                .variable("TESSERA_SERVICE_HOST", "10.0.0.1")
                .variable("TESSERA_SERVICE_PORT_HTTP", "8080")
                .variable("TESSERA_PORT", "tcp://10.0.0.1:8080")
                .variable("TESSERA_POSTGRES_PORT_5432_TCP_ADDR", "10.0.0.2")
        };
        assert_eq!(linked().errors().len(), 4);
        assert!(linked().variable("KUBERNETES_SERVICE_HOST", "10.0.0.9").load().is_ok());
        let in_pod = layers().variable("TESSERA_COLOUR", "x").variable("KUBERNETES_SERVICE_HOST", "10.0.0.9");
        assert_eq!(in_pod.errors().len(), 1);
        assert!(SETTINGS.iter().all(|setting| !is_service_link(setting.variable.as_ref())));
    }

    #[test]
    fn a_value_of_another_toml_type_is_refused_by_name() {
        let check = |file: &str, name: &str, read: &str| {
            let expected =
                format!("{name}: read {read} from tessera.toml, allowed is {}", setting(name).kind.allowed());
            assert_eq!(layers().file(file).errors(), [expected]);
        };
        check("workers = '4'", "workers", "the string \"4\"");
        check("workers = 4.5", "workers", "the float 4.5");
        check("shards = -1", "shards", "-1");
        check("durability = true", "durability", "the boolean true");
        check("listen = ['a']", "listen", "the array [\"a\"]");
        check("bootstrap_client = ['gateway:s3cret']", "bootstrap_client", "a value that is not shown");
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        let mut environment = layers();
        environment.environment.push(("TESSERA_LISTEN".into(), OsString::from_vec(b"\xff".into())));
        let read = r#""\xFF", which is not UTF-8, from TESSERA_LISTEN"#;
        assert_eq!(
            environment.errors(),
            [format!("listen: read {read}, allowed is {}", setting("listen").kind.allowed())]
        );

        let mut flags = layers();
        flags.flags.extend(["--data-dir".into(), OsString::from_vec(b"/srv/\xff".into())]);
        let read = r#""/srv/\xFF", which is not UTF-8, from --data-dir"#;
        assert_eq!(flags.errors(), [format!("data_dir: read {read}, allowed is the path of a directory")]);

        let mut file = layers();
        file.file = Some(b"listen = '\xff'".into());
        assert_eq!(file.errors(), ["config: tessera.toml is not UTF-8"]);
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        let named = |path: &Path| layers().flag("config", path.to_str().unwrap());
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("other.toml");
        assert_eq!(
            named(&path).errors(),
            [format!("config: {} cannot be read: No such file or directory (os error 2)", path.display())]
        );
        std::fs::write(&path, "workers = 9").unwrap();
        let config = named(&path).file("workers = 8").load().unwrap();
        assert_eq!((config.http.workers, config.file), (9, Some(path.clone())));
        let config = layers().variable("TESSERA_CONFIG", path.to_str().unwrap()).load().unwrap();
        assert_eq!(config.http.workers, 9);
        assert_eq!(layers().file("config = 'other.toml'").errors().len(), 1);
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_by_line_without_its_contents() {
        let errors = layers().file("workers = 3\nbootstrap_client = \"gateway:s3cret").errors();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("config: tessera.toml is not TOML: line 2: "), "{errors:?}");
        for file in ["bootstrap_client = gateway:s3cret", "bootstrap_client = s3cret", "= s3cret", "'s3cret'"] {
            let errors = layers().file(file).errors().concat();
            assert!(errors.contains("line 1") && !errors.contains("s3cret"), "{errors}");
        }
    }

    #[test]
    fn the_master_key_comes_from_the_environment_alone() {
        let config = layers().variable("TESSERA_MASTER_KEY", HEX_KEY).load().unwrap();
        assert_eq!(config.storage.master_key.unwrap().as_bytes()[31], 0x1f);

        let errors = layers().file(&format!("master_key = '{HEX_KEY}'")).errors();
        assert!(errors[0].starts_with("master_key: refused from tessera.toml: "), "{errors:?}");
        let errors = layers().flag("master-key", HEX_KEY).errors();
        assert!(errors[0].starts_with("master_key: refused from --master-key: "), "{errors:?}");
        assert!(!errors[0].contains(HEX_KEY));
    }

    #[test]
    fn secrets_are_in_no_error_and_no_debug() {
        let errors = layers()
            .file("bootstrap_client = ':s3cret'\nmasterkey = 's3cret'")
            .variable("TESSERA_BOOTSTRAP_CLIENT", "s3cret")
            .variable("TESSERA_MASTER_KEY", "s3cret")
            .variable("TESSERA_MASTERKEY", "s3cret")
            .flag("bootstrap-client", "s3cret:")
            .flag("database-url", "mysql://tessera:s3cret@db.example/tessera")
            .errors();
        assert_eq!(errors.len(), 7);
        assert!(!errors.concat().contains("s3cret"), "{errors:?}");

        let set = || {
            layers()
                .variable("TESSERA_MASTER_KEY", HEX_KEY)
                .flag("bootstrap-client", "gateway:s3cret")
                .flag("database-url", "postgres://tessera:s3cret@db.example/tessera")
        };
        let config = set().load().unwrap();
        let seen = format!("{config:?} {:?}", config.effective());
        assert!(!seen.contains("s3cret") && !seen.contains("0a0b"), "{seen}");
        let arguments = ["tessera", "--bootstrap-client", "gateway:s3cret"].map(OsString::from);
        assert!(!format!("{:?}", Command::read(arguments).unwrap()).contains("s3cret"));
    }

    #[test]
    fn the_key_file_is_beside_the_data_directory_by_default() {
        let check = |data_dir: &str, expected: &Path| {
            let config = layers().flag("data-dir", data_dir).load().unwrap();
            assert_eq!(config.storage.master_key_file, expected, "{data_dir}");
        };
        check("/srv/tessera", Path::new("/srv/tessera.key"));
        check("/srv/tessera/", Path::new("/srv/tessera.key"));
        check("data", Path::new("data.key"));
        let mut here = std::env::current_dir().unwrap().canonicalize().unwrap().into_os_string();
        here.push(".key");
        check(".", Path::new(&here));
    }

    #[test]
    fn a_key_file_inside_the_data_directory_is_refused() {
        let directory = TempDir::new().unwrap();
        let at = |path: &str| directory.path().join(path).to_str().unwrap().to_owned();
        std::fs::create_dir(at("data")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        let check = |data_dir: &str, file: &str, is_taken: bool| {
            let load = layers().flag("data-dir", &at(data_dir)).flag("master-key-file", &at(file)).load();
            assert_eq!(load.is_ok(), is_taken, "{file}: {:?}", load.err());
        };
        check("data", "data.key", true);
        check("data", "data2/key", true);
        check("data", "data/../key", true);
        check("data", "data", false);
        check("data", "data/key", false);
        check("data", "data/keys/key", false);
        check("data", "none/../data/key", false);
        check("data", "link/key", false);
        check("link", "data/key", false);
        assert_eq!(layers().flag("data-dir", "/").errors().len(), 1);
    }

    #[test]
    fn the_admin_address_is_one_of_its_own() {
        let both = |address: &str| layers().flag("listen", address).flag("admin-listen", address);
        assert_eq!(
            both("127.0.0.1:80").errors(),
            [
                "admin_listen: read \"127.0.0.1:80\" from --admin-listen, allowed is an address other than that of listen"
            ]
        );
        assert!(both("127.0.0.1:0").load().is_ok());
    }

    #[test]
    fn an_error_is_one_line() {
        let file = "workers = \"a\\nb\"\n\"a\\nb\" = 1\nshards = [\"a\\nb\"]";
        assert_eq!(layers().file(file).variable("TESSERA_A\nB", "x").flag("listen", "a\nb").errors().len(), 5);
    }

    #[test]
    fn a_long_value_is_not_repeated_in_full() {
        let errors = layers().flag("listen", &"é".repeat(10_000)).errors();
        assert!(errors[0].chars().count() < 400, "{errors:?}");
    }
}
