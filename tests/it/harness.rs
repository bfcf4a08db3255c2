//! A server for each test: in this process, on port 0, in a directory of its own, at a time that the test decides.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;
use tessera::clock::{Clock, ManualTime, TimeSource as _, UnixTime};
use tessera::config::Config;
use tessera::config::secret::{BootstrapClient, MasterKey};
use tessera::config::value::{Durability, KeyAlgorithms};
use tessera::server::{People, Server};
use tokio::sync::mpsc::UnboundedSender;

use crate::http::{Answer, Connection, Credentials, Request};

/// When every test begins.
pub(crate) const START_SECONDS: u64 = 1_800_000_000;

/// A running server. Dropping it stops it and removes its directory.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: Option<SocketAddr>,
    pub(crate) issuer: String,
    /// The credentials of the first admin client, where the server has made one.
    pub(crate) first_admin: Option<Credentials>,
    pub(crate) people: People,
    pub(crate) time: ManualTime,
    directory: Directory,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// What stays when a server goes.
struct Directory {
    directory: Option<TempDir>,
    configure: Configure,
}

/// What a test decides about settings.
type Configure = Arc<dyn Fn(&mut Config) + Send + Sync>;

enum Command {
    Tick,
    Stop,
}

/// What a server says once it runs.
struct Started {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    issuer: String,
    first_admin: Option<Credentials>,
    people: People,
}

impl TestServer {
    /// A server that writes nothing.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// A server that makes everything durable before it answers.
    pub(crate) fn start_durable() -> Self {
        Self::start_with(|config| config.storage.durability = Durability::Sync)
    }

    /// A server with other settings.
    pub(crate) fn start_with(configure: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        let directory = Directory { directory: Some(TempDir::new().unwrap()), configure: Arc::new(configure) };
        Self::start_in(directory, ManualTime::new(UnixTime::from_seconds(START_SECONDS)))
    }

    /// Stops it and starts another on what it has left.
    pub(crate) fn restart(mut self) -> Self {
        self.stop();
        let configure = Arc::clone(&self.directory.configure);
        let directory = Directory { directory: self.directory.directory.take(), configure };
        Self::start_in(directory, self.time.clone())
    }

    /// Stops it and starts another with other settings on what it has left.
    pub(crate) fn restart_with(mut self, configure: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        self.stop();
        let directory = Directory { directory: self.directory.directory.take(), configure: Arc::new(configure) };
        Self::start_in(directory, self.time.clone())
    }

    /// Stops it, lets `change` do something to its data directory, and starts another there.
    pub(crate) fn restart_after(mut self, change: impl FnOnce(&Path)) -> Self {
        self.stop();
        change(&self.data_dir());
        self.restart()
    }

    /// Stops it and reads what it has left in its data directory.
    pub(crate) fn stop_and_read<T>(mut self, read: impl FnOnce(&Path) -> T) -> T {
        self.stop();
        read(&self.data_dir())
    }

    fn start_in(directory: Directory, time: ManualTime) -> Self {
        let (commands, mut received) = tokio::sync::mpsc::unbounded_channel();
        let (started, has_started) = mpsc::channel();
        let config = config(&directory);
        let clock = Clock::on(Box::new(time.clone()));
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let server = Server::start(&config, clock, Arc::default()).await.unwrap();
                started.send(Started::of(&server)).unwrap();
                while let Some(Command::Tick) = received.recv().await {
                    server.tick();
                }
                server.stop().await.unwrap();
            });
        });
        let Started { address, admin_address, issuer, first_admin, people } =
            has_started.recv().expect("the server starts");
        Self { address, admin_address, issuer, first_admin, people, time, directory, commands, thread: Some(thread) }
    }

    fn stop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        let Some(thread) = self.thread.take() else { return };
        if thread.join().is_err() && !std::thread::panicking() {
            panic!("the server panicked");
        }
    }

    /// Lets the shards remove what has expired.
    pub(crate) fn tick(&self) {
        self.commands.send(Command::Tick).unwrap();
    }

    /// What the time is, in seconds since the epoch.
    pub(crate) fn time_seconds(&self) -> u64 {
        self.time.wall().as_seconds()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        data_dir(self.directory.path())
    }

    /// A connection of one's own, for those who want several answers on it.
    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// A connection to the admin socket.
    pub(crate) fn connect_to_socket(&self) -> Connection {
        Connection::to_socket(&self.data_dir().join("admin.sock"))
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        self.connect().ask(&request.clone().field("Connection", "close"))
    }

    /// One request to the admin socket.
    #[track_caller]
    pub(crate) fn ask_socket(&self, request: &Request) -> Answer {
        self.connect_to_socket().ask(&request.clone().field("Connection", "close"))
    }

    /// Registers a client with this metadata.
    #[track_caller]
    pub(crate) fn register(&self, metadata: &Value) -> Credentials {
        let answer = self.ask_socket(&Request::post("/admin/v1/clients").json(metadata));
        assert_eq!(answer.status, 201, "{answer:?}");
        Credentials { id: answer.text("client_id"), secret: answer.text("client_secret") }
    }

    /// Registers a client of that name, that may ask for `read` and `write`.
    #[track_caller]
    pub(crate) fn register_app(&self, client_id: &str) -> Credentials {
        self.register(&json!({ "client_id": client_id, "scope": "read write" }))
    }

    /// An access token of the client, with all that it may have.
    #[track_caller]
    pub(crate) fn issue(&self, client: &Credentials) -> String {
        let answer = self.ask_for_token(client, &[("grant_type", "client_credentials")]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text("access_token")
    }

    #[track_caller]
    pub(crate) fn ask_for_token(&self, client: &Credentials, parameters: &[(&str, &str)]) -> Answer {
        self.ask(&Request::post("/oauth2/token").basic(client).form(parameters))
    }

    #[track_caller]
    pub(crate) fn introspect(&self, caller: &Credentials, token: &str) -> Answer {
        self.ask(&Request::post("/oauth2/introspect").basic(caller).form(&[("token", token)]))
    }

    #[track_caller]
    pub(crate) fn is_active(&self, caller: &Credentials, token: &str) -> bool {
        let answer = self.introspect(caller, token);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"].as_bool().unwrap()
    }

    #[track_caller]
    pub(crate) fn revoke(&self, caller: &Credentials, token: &str) -> Answer {
        self.ask(&Request::post("/oauth2/revoke").basic(caller).form(&[("token", token)]))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Directory {
    fn path(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }
}

impl Started {
    fn of(server: &Server) -> Self {
        Self {
            address: server.address,
            admin_address: server.admin_address,
            issuer: server.issuer.to_string(),
            people: server.people(),
            first_admin: server
                .first_admin
                .as_ref()
                .map(|(client_id, secret)| Credentials::new(client_id.as_str(), secret.reveal())),
        }
    }
}

/// The admin client that every server has unless a test takes it away. It may introspect any token.
pub(crate) fn admin() -> Credentials {
    Credentials::new("admin", "the admin's secret: + % &")
}

fn data_dir(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn config(directory: &Directory) -> Config {
    let mut config = Config::default();
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.http.workers = 1;
    config.shards.count = 2;
    config.storage.data_dir = data_dir(directory.path());
    config.storage.durability = Durability::Memory;
    // What is set aside for revocations is one segment then.
    config.storage.journal_bytes_max = 256 << 20;
    config.storage.master_key = Some(MasterKey::from_bytes([7; MasterKey::BYTES]));
    // One that makes keys says so: those of RSA take long.
    config.tokens.key_algorithms = KeyAlgorithms::parse("none").unwrap();
    let Credentials { id, secret } = admin();
    config.bootstrap_client = BootstrapClient::parse(&format!("{id}:{secret}"));
    (directory.configure)(&mut config);
    config
}
