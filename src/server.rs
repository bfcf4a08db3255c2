//! The composition root: journal → recovery → shards → endpoints. Stops in reverse.

mod directory;
mod metrics;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor as _, Addr, Arbiter};
use actix_web::dev::ServerHandle;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::task::JoinHandle;

use crate::client::actor::{ClientActor, ClientError, ClientMessage, CreateClient, EnsureClient, ask};
use crate::client::id::{ClientId, InvalidClientId};
use crate::client::metadata::{ClientMetadata, ClientMetadataDocument, Introspection, InvalidClientMetadata};
use crate::client::registry::ClientRegistry;
use crate::client::secret::{ClientSecret, SecretDigest};
use crate::clock::{Clock, Tick};
use crate::command::client::SOCKET_NAME;
use crate::config::Config;
use crate::config::secret::BootstrapClient;
use crate::config::value::Durability;
use crate::endpoint::Surface;
use crate::endpoint::server::Listening;
use crate::endpoint::service::{Gate, Service};
use crate::grant::Defaults;
use crate::journal::disk::DiskLock;
use crate::journal::{Disk as _, Journal, JournalError, JournalKeys, Lane, Opened, Options, RealDisk};
use crate::server::directory::{DirectoryError, master_key};
use crate::server::metrics::Sources;
use crate::shard::actor::ShardParts;
use crate::shard::recovery::{Rebuild, Recovery, RecoveryError};
use crate::shard::{Router, RunningShards, Shards};
use crate::signing::derivation::DerivedKeys;
use crate::telemetry::http::HttpMetrics;
use crate::telemetry::message::MessageMetrics;
use crate::token::state::ShardState;

/// A running server.
pub struct Server {
    /// Where it serves, first of all addresses.
    pub address: SocketAddr,
    /// The address of the admin API, if it has one of its own.
    pub admin_address: Option<SocketAddr>,
    /// The `iss` of everything.
    pub issuer: Arc<str>,
    /// The admin client that was made because there was no client yet, with its secret, which is nowhere else.
    pub first_admin: Option<(ClientId, ClientSecret)>,
    shards: Arc<Shards>,
    clock: Arc<Clock>,
    listeners: Vec<Listener>,
    ticks: JoinHandle<()>,
    running_shards: RunningShards,
    client_arbiter: Arbiter,
    kept: Kept,
}

/// What holds the data directory while the server runs.
enum Kept {
    /// The journal, which has its own lock.
    Journal(Journal),
    /// With durability `memory`: the lock alone, so that no second server takes the socket.
    Lock(Box<dyn DiskLock>),
}

impl Kept {
    const fn journal(&self) -> Option<&Journal> {
        match self {
            Self::Journal(journal) => Some(journal),
            Self::Lock(_) => None,
        }
    }
}

struct Listener {
    handle: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory or the master key cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// An address or the socket cannot be bound.
    #[error("cannot listen on {on}: {reason}")]
    Listen {
        /// What could not be bound.
        on: String,
        /// What the system says.
        reason: io::Error,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A record of the journal cannot be applied.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// `bootstrap_client` names what cannot be a client.
    #[error("bootstrap_client: {0}")]
    BootstrapClient(#[from] InvalidClientId),
    /// The first client cannot be stored.
    #[error("the admin client cannot be stored: {0}")]
    Admin(#[from] ClientError),
    /// A thread ended before it was done.
    #[error("a thread of the recovery ended before it was done")]
    Panicked,
}

impl From<InvalidClientMetadata> for StartError {
    fn from(_: InvalidClientMetadata) -> Self {
        Self::Admin(ClientError::TooLarge)
    }
}

impl StartError {
    /// What the process exits with, as in `sysexits.h`: 65 for data that must not be served, 75 for a directory that is in
    /// use, 1 for the rest.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Journal(JournalError::Locked) => 75,
            Self::Journal(JournalError::Io { .. }) => 1,
            Self::Journal(_) | Self::Recovery(_) => 65,
            _ => 1,
        }
    }
}

/// What the journal gave back.
struct Recovered {
    states: Vec<ShardState>,
    lanes: Vec<Lane>,
    kept: Kept,
}

impl Server {
    /// Starts a server, on the actix system that this is called in. Answers once it is ready; meanwhile it answers requests
    /// with 503.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what to do; nothing is left running then, but for listeners that answer 503.
    pub async fn start(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let clock = Arc::new(clock);
        let keys = DerivedKeys::of(master_key(&config.storage)?.as_bytes());
        let http_metrics = Arc::new(HttpMetrics::default());
        let gate = Arc::new(Gate::new(Arc::clone(&clock), config.http.body_timeout, config.http.answer_timeout));
        let Listeners { mut listeners, address, admin_address } = Listeners::begin(config, &gate, &http_metrics)?;
        let issuer: Arc<str> = match &config.http.issuer {
            Some(issuer) => Arc::from(issuer.as_str()),
            None => Arc::from(format!("http://{address}")),
        };
        let router = Router::new(keys.shard_hash, usize::from(config.shards.count));
        let ground =
            Ground { router, issuer: Arc::clone(&issuer), registry: Arc::default(), clock: Arc::clone(&clock) };
        let Recovered { states, mut lanes, kept } = recover(config, &keys, &ground).await?;
        // Only who holds the directory may have its socket, so it comes after the lock.
        listeners.push(Listener::on_socket(&config.storage.data_dir.join(SOCKET_NAME), &gate, &http_metrics)?);

        let random: Arc<dyn SecureRandom + Send + Sync> = Arc::new(SystemRandom::new());
        let clients = RunningClients::start(&ground, lanes.pop().unwrap_or_else(Lane::memory), &random);
        let running_shards = start_shards(config, &ground, states, lanes, kept.journal());
        let shards = running_shards.shards();
        let first_admin = ensure_admin(config.bootstrap_client.as_ref(), &ground.registry, &clients.actor).await?;
        let sources = Sources {
            http: http_metrics,
            shards: Arc::clone(&shards),
            registry: Arc::clone(&ground.registry),
            clients: Arc::clone(&clients.metrics),
            journal: kept.journal().map(Journal::metrics),
        };
        gate.open(Service {
            issuer: Arc::clone(&issuer),
            registry: ground.registry,
            clients: clients.actor,
            shards: Arc::clone(&shards),
            defaults: Defaults { access_token_lifetime_seconds: config.tokens.access_token_lifetime_seconds },
            random,
            exposition: sources.expose(),
        });
        let ticks = actix_rt::spawn(tick_every_second(Arc::clone(&clock), Arc::clone(&shards)));
        tracing::info!(%address, %issuer, "ready");
        let client_arbiter = clients.arbiter;
        Ok(Self {
            address,
            admin_address,
            issuer,
            first_admin,
            shards,
            clock,
            listeners,
            ticks,
            running_shards,
            client_arbiter,
            kept,
        })
    }

    /// Lets the shards remove what has expired, as happens every second. For tests with a clock of their own.
    pub fn tick(&self) {
        self.shards.tick(self.clock.now());
    }

    /// Takes no more requests, lets those that have begun end, makes everything durable, and lets go of the directory.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the end of the journal cannot be written.
    pub async fn stop(self) -> Result<(), JournalError> {
        for listener in self.listeners {
            listener.end().await;
        }
        self.ticks.abort();
        drop(self.shards);
        self.running_shards.stop();
        self.client_arbiter.stop();
        let _ = self.client_arbiter.join();
        match self.kept {
            Kept::Journal(journal) => journal.close(),
            Kept::Lock(lock) => {
                drop(lock);
                Ok(())
            }
        }
    }
}

/// What every part of the server stands on.
struct Ground {
    router: Router,
    issuer: Arc<str>,
    registry: Arc<ClientRegistry>,
    clock: Arc<Clock>,
}

/// The listeners on addresses. They answer 503 until the gate opens.
struct Listeners {
    listeners: Vec<Listener>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
}

impl Listeners {
    fn begin(config: &Config, gate: &Arc<Gate>, metrics: &Arc<HttpMetrics>) -> Result<Self, StartError> {
        let listen = |address: SocketAddr, workers, surface| {
            Listening::on_address(address, workers, surface, gate, metrics)
                .map_err(|reason| StartError::Listen { on: address.to_string(), reason })
        };
        let surface = if config.http.admin_listen.is_some() { Surface::OAuth } else { Surface::Everything };
        let main = listen(config.http.listen, usize::from(config.http.workers), surface)?;
        let admin = config.http.admin_listen.map(|address| listen(address, 1, Surface::Admin)).transpose()?;
        Ok(Self {
            address: main.addresses.first().copied().unwrap_or(config.http.listen),
            admin_address: admin.as_ref().and_then(|admin| admin.addresses.first().copied()),
            listeners: [Some(main), admin].into_iter().flatten().map(Listener::begin).collect(),
        })
    }
}

impl Listener {
    fn on_socket(path: &Path, gate: &Arc<Gate>, metrics: &Arc<HttpMetrics>) -> Result<Self, StartError> {
        let listening = Listening::on_socket(path, gate, metrics);
        let listening = listening.map_err(|reason| StartError::Listen { on: path.display().to_string(), reason })?;
        Ok(Self::begin(listening))
    }

    fn begin(listening: Listening) -> Self {
        let handle = listening.handle();
        Self { handle, serving: actix_rt::spawn(listening.serve()) }
    }

    async fn end(self) {
        self.handle.stop(true).await;
        match self.serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a listener ended with an error"),
            Err(error) => tracing::warn!(%error, "a listener ended with a panic"),
        }
    }
}

/// The actor of the clients on its thread.
struct RunningClients {
    actor: Addr<ClientActor>,
    arbiter: Arbiter,
    metrics: Arc<MessageMetrics<ClientMessage>>,
}

impl RunningClients {
    fn start(ground: &Ground, lane: Lane, random: &Arc<dyn SecureRandom + Send + Sync>) -> Self {
        let metrics = Arc::default();
        let (registry, clock) = (Arc::clone(&ground.registry), Arc::clone(&ground.clock));
        let actor = ClientActor::new(registry, lane, clock, Arc::clone(random), Arc::clone(&metrics));
        let arbiter = Arbiter::new();
        let actor = ClientActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        Self { actor, arbiter, metrics }
    }
}

fn start_shards(
    config: &Config,
    ground: &Ground,
    states: Vec<ShardState>,
    lanes: Vec<Lane>,
    journal: Option<&Journal>,
) -> RunningShards {
    let relaxed_window = (config.storage.durability == Durability::Relaxed)
        .then(|| Duration::from_millis(u64::from(config.storage.relaxed_window_ms)));
    let parts = states.into_iter().zip(lanes).enumerate().map(|(shard, (state, lane))| {
        let rebuild = journal.map(|journal| Rebuild {
            reader: journal.reader(),
            router: ground.router.clone(),
            shard,
            issuer: Arc::clone(&ground.issuer),
            registry: Arc::clone(&ground.registry),
            clock: Arc::clone(&ground.clock),
        });
        ShardParts { state, lane, clock: Arc::clone(&ground.clock), relaxed_window, rebuild }
    });
    RunningShards::start(ground.router.clone(), parts)
}

/// Reads the journal on threads of its own, so that the listeners can answer 503 meanwhile.
async fn recover(config: &Config, keys: &DerivedKeys, ground: &Ground) -> Result<Recovered, StartError> {
    let shards = usize::from(config.shards.count);
    let data_dir = config.storage.data_dir.clone();
    if config.storage.durability == Durability::Memory {
        return without_journal(&data_dir, shards, &ground.issuer);
    }
    let journal_keys = JournalKeys { mac: keys.journal_mac, key_id: keys.journal_key_id };
    // One lane for each shard, and one for the clients.
    let options = Options::new(journal_keys, shards + 1, LANE_CAPACITY);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let now = ground.clock.now().as_seconds_u32();
    let mut recovery = Recovery::begin(&ground.router, shards, threads, &ground.issuer, &ground.registry, now);
    let clock = Arc::clone(&ground.clock);
    let (done, recovered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(
            open_journal(data_dir, options, clock, &mut recovery).and_then(|opened| Ok((opened, recovery.finish()?))),
        );
    });
    let (Opened { journal, lanes, recovered }, states) = recovered.await.map_err(|_| StartError::Panicked)??;
    tracing::info!(
        records = recovered.records,
        bytes = recovered.bytes,
        tokens = states.iter().map(ShardState::tokens).sum::<usize>(),
        clients = ground.registry.len(),
        epoch = recovered.epoch,
        "the journal is read"
    );
    Ok(Recovered { states, lanes, kept: Kept::Journal(journal) })
}

/// Appends that may wait for the commit thread, for each shard.
const LANE_CAPACITY: usize = 8192;

fn open_journal(
    data_dir: PathBuf,
    options: Options,
    clock: Arc<Clock>,
    recovery: &mut Recovery,
) -> Result<Opened, StartError> {
    let disk = open_disk(data_dir)?;
    Ok(crate::journal::open(Arc::new(disk), options, clock, &mut |block| recovery.apply(&block))?)
}

fn open_disk(data_dir: PathBuf) -> Result<RealDisk, StartError> {
    RealDisk::new(data_dir.clone())
        .map_err(|reason| DirectoryError::Io { action: "create", path: data_dir, reason }.into())
}

fn without_journal(data_dir: &Path, shards: usize, issuer: &Arc<str>) -> Result<Recovered, StartError> {
    tracing::warn!("durability is memory: nothing is written, and a restart forgets every token and client");
    let lock = open_disk(data_dir.to_owned())?.lock().map_err(|_| JournalError::Locked)?;
    Ok(Recovered {
        states: (0..shards).map(|_| ShardState::new(Arc::clone(issuer))).collect(),
        lanes: (0..=shards).map(|_| Lane::memory()).collect(),
        kept: Kept::Lock(lock),
    })
}

/// Sees to it that somebody can administer: the client of the configuration, or, where there is no client at all, a new one.
async fn ensure_admin(
    bootstrap: Option<&BootstrapClient>,
    registry: &ClientRegistry,
    clients: &Addr<ClientActor>,
) -> Result<Option<(ClientId, ClientSecret)>, StartError> {
    let metadata = ClientMetadata::parse(&ClientMetadataDocument {
        client_name: Some("first admin".to_owned()),
        scope: Some(crate::endpoint::ADMIN_SCOPE.to_owned()),
        introspection: Some(Introspection::Any),
        ..ClientMetadataDocument::default()
    })?;
    if let Some(bootstrap) = bootstrap {
        let id = ClientId::parse(bootstrap.client_id())?;
        let secret = SecretDigest::of(bootstrap.client_secret());
        ask(clients, EnsureClient { id, metadata, secret }).await?;
        return Ok(None);
    }
    if !registry.is_empty() {
        return Ok(None);
    }
    let (client, secret) = ask(clients, CreateClient { id: None, metadata }).await?;
    Ok(Some((client.id.clone(), secret)))
}

async fn tick_every_second(clock: Arc<Clock>, shards: Arc<Shards>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        match clock.tick() {
            Tick::Steady | Tick::Waiting => {}
            Tick::SteppedForward(by) => tracing::error!(
                seconds = by.as_secs(),
                "the wall clock stepped forward; it is followed if it stays there for 10 minutes: check the machine's time"
            ),
            Tick::Followed(by) => {
                tracing::error!(seconds = by.as_secs(), "the wall clock's step forward is followed now")
            }
        }
        shards.tick(clock.now());
    }
}
