//! The composition root: journal → recovery → shards → projector → endpoints. Stops in reverse.

mod directory;
mod keys;
mod metrics;
mod registration;
mod theme;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
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
use crate::command::socket::SOCKET_NAME;
use crate::config::secret::BootstrapClient;
use crate::config::value::Durability;
use crate::config::{Config, FetchConfig, HttpConfig, PeopleConfig, RegistrationConfig};
use crate::endpoint::Surface;
use crate::endpoint::guesses::Guesses;
use crate::endpoint::operator_login::OperatorLogin;
use crate::endpoint::page::csrf::Csrf;
use crate::endpoint::page::{Pages, PagesError};
use crate::endpoint::register::RegistrationQuota;
use crate::endpoint::server::Listening;
use crate::endpoint::service::{Gate, Service};
use crate::fetch::client::{Fetcher, Roots, RootsError};
use crate::fetch::key_sets::{KeySets, RunningFetches};
use crate::fetch::metrics::FetchMetrics;
use crate::fetch::resolve::SystemResolver;
use crate::grant::Defaults;
use crate::journal::disk::DiskLock;
use crate::journal::snapshot::SnapshotRead;
use crate::journal::{Disk as _, Journal, JournalError, Lane, Opened, Opening, Options, RealDisk};
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::audience::Audience;
use crate::password::hash::NoResources;
use crate::password::pool::PasswordPool;
use crate::postgres::{Mark, PostgresError, ProjectorParts, RunningProjector};
use crate::server::directory::{DirectoryError, master_key};
use crate::server::keys::{KeyUpkeep, RunningKeys};
use crate::server::metrics::{Projection, Sources};
use crate::server::registration::IdleSweep;
use crate::server::theme::{ThemeError, read_theme};
use crate::shard::actor::ShardParts;
use crate::shard::recovery::{Rebuild, Recovery, RecoveryError};
use crate::shard::snapshot::{RunningSnapshots, SnapshotParts};
use crate::shard::{Router, RunningShards, Shards};
use crate::signing::actor::KeyError;
use crate::signing::derivation::DerivedKeys;
use crate::signing::registry::UnopenedKey;
use crate::signing::seal::Sealer;
use crate::telemetry::http::HttpMetrics;
use crate::telemetry::message::MessageMetrics;
use crate::telemetry::progress::StartProgress;
use crate::telemetry::projection::ProjectionMetrics;
use crate::token::proof::ProofKey;
use crate::token::refresh_token::RefreshKey;
use crate::token::state::{Registries, ShardState};
use crate::token::user_code::UserCodeKey;
use crate::user::actor::{SessionLimits, UserActor, UserActorParts, UserMessage};
use crate::user::logins::{LoginLimits, Logins};
use crate::user::registry::UserRegistry;

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
    people: People,
    shards: Arc<Shards>,
    clock: Arc<Clock>,
    listeners: Vec<Listener>,
    ticks: JoinHandle<()>,
    /// `None` with durability `memory`.
    snapshots: Option<RunningSnapshots>,
    /// `None` where there is no database.
    projector: Option<RunningProjector>,
    /// `None` where nothing is fetched.
    fetches: Option<RunningFetches>,
    running_shards: RunningShards,
    /// Those of the clients, of the users and of the keys.
    arbiters: [Arbiter; 3],
    key_upkeep: KeyUpkeep,
    idle_sweep: IdleSweep,
    kept: Kept,
}

/// The ways to the people of a server.
#[derive(Clone)]
pub struct People {
    /// To read.
    pub users: Arc<UserRegistry>,
    /// To change.
    pub user_actor: Addr<UserActor>,
    /// To let in.
    pub logins: Arc<Logins>,
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
    /// A key of the journal is sealed with another master key.
    #[error(transparent)]
    Unopened(#[from] UnopenedKey),
    /// The first keys cannot be stored.
    #[error("the first keys cannot be stored: {0}")]
    Keys(#[from] KeyError),
    /// The database cannot be, or must not be, written by this server.
    #[error(transparent)]
    Database(#[from] PostgresError),
    /// The system has no thread to give.
    #[error("cannot start a thread: {0}")]
    NoThread(#[from] io::Error),
    /// The system has no randomness to give.
    #[error(transparent)]
    NoRandomness(#[from] NoResources),
    /// A page cannot be rendered.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// The operator's templates cannot be read.
    #[error(transparent)]
    Theme(#[from] ThemeError),
    /// There is no authority whose certificates are believed.
    #[error(transparent)]
    Roots(#[from] RootsError),
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
            Self::Journal(_) | Self::Recovery(_) | Self::Unopened(_) => 65,
            Self::Database(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// What the journal gave back.
struct Recovered {
    states: Vec<ShardState>,
    lanes: Vec<Lane>,
    registries: Registries,
    kept: Kept,
}

impl Server {
    /// Starts a server, on the actix system that this is called in. Answers once it is ready; meanwhile it answers requests
    /// with 503.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what to do; nothing is left running then, but for listeners that answer 503.
    pub async fn start(config: &Config, clock: Clock, progress: Arc<StartProgress>) -> Result<Self, StartError> {
        let clock = Arc::new(clock);
        let keys = DerivedKeys::of(master_key(&config.storage)?.as_bytes());
        let http_metrics = Arc::new(HttpMetrics::default());
        let HttpConfig { body_timeout, answer_timeout, .. } = config.http;
        let gate = Arc::new(Gate::new(Arc::clone(&clock), Arc::clone(&progress), body_timeout, answer_timeout));
        let Listeners { mut listeners, address, admin_address } = Listeners::begin(config, &gate, &http_metrics)?;
        let issuer: Arc<str> = match &config.http.issuer {
            Some(issuer) => Arc::from(issuer.as_str()),
            None => Arc::from(format!("http://{address}")),
        };
        let fetch_metrics = Arc::new(FetchMetrics::default());
        let fetches = start_fetches(&config.fetch, &clock, &fetch_metrics)?;
        let pages = Pages::new(&read_theme(config.http.templates_dir.as_deref())?, &issuer)?;
        let router = Router::new(keys.shard_hash, usize::from(config.shards.count));
        let start =
            Starting { config, keys: &keys, router: &router, issuer: &issuer, clock: &clock, progress: &progress };
        let Recovered { states, mut lanes, registries, kept } = start.recover().await?;
        let ground = Ground { router, issuer: Arc::clone(&issuer), registries, clock: Arc::clone(&clock) };
        // Only who holds the directory may have its socket, so it comes after the lock.
        listeners.push(Listener::on_socket(&config.storage.data_dir.join(SOCKET_NAME), &gate, &http_metrics)?);

        let random: Arc<dyn SecureRandom + Send + Sync> = Arc::new(SystemRandom::new());
        let signing_keys = RunningKeys::start(
            &config.tokens,
            &ground.registries.keys,
            lanes.pop().unwrap_or_else(Lane::memory),
            Sealer::new(&keys.seal),
            &clock,
            &random,
        )?;
        let users = RunningUsers::start(config, &ground, lanes.pop().unwrap_or_else(Lane::memory), &random)?;
        let clients = RunningClients::start(&ground, lanes.pop().unwrap_or_else(Lane::memory), &random);
        let running_shards = start_shards(config, &ground, states, lanes, kept.journal());
        let shards = running_shards.shards();
        let first_admin =
            ensure_admin(config.bootstrap_client.as_ref(), &ground.registries.clients, &clients.actor).await?;
        let key_algorithms =
            config.tokens.key_algorithms.names().filter_map(SigningAlgorithm::parse).collect::<Vec<_>>();
        signing_keys.ensure(&key_algorithms, clock.now()).await?;
        let snapshots = kept.journal().map(|journal| start_snapshots(config, &ground, &shards, journal)).transpose()?;
        let projector = kept.journal().map(|journal| start_projector(config, &ground, &keys, journal)).transpose()?;
        let (projector, projection) = projector.flatten().unzip();
        let health = projection.clone();
        let idle_days = config.registration.dynamic_client_idle_days;
        let idle_sweep = IdleSweep::new(clients.actor.clone(), idle_days, clock.now());
        let sources = Sources {
            idle_clients_deleted: idle_sweep.deleted(),
            http: http_metrics,
            shards: Arc::clone(&shards),
            registry: Arc::clone(&ground.registries.clients),
            clients: Arc::clone(&clients.metrics),
            users: Arc::clone(&ground.registries.users),
            user_messages: Arc::clone(&users.metrics),
            logins: Arc::clone(&users.logins),
            secret_pool: Arc::clone(&users.secret_pool),
            journal: kept.journal().map(Journal::metrics),
            snapshots: snapshots.as_ref().map(|running| running.snapshots().metrics()),
            projection,
            fetches: fetches.is_some().then_some(fetch_metrics),
        };
        let people = People {
            users: Arc::clone(&ground.registries.users),
            user_actor: users.actor.clone(),
            logins: Arc::clone(&users.logins),
        };
        gate.open(Service {
            issuer: Arc::clone(&issuer),
            keys: ground.registries.keys,
            key_actor: signing_keys.actor,
            key_publish_seconds: config.tokens.key_publish_seconds,
            registry: ground.registries.clients,
            clients: clients.actor,
            users: ground.registries.users,
            user_actor: users.actor,
            logins: users.logins,
            secret_pool: users.secret_pool,
            key_sets: fetches.as_ref().map_or_else(KeySets::off, RunningFetches::key_sets),
            shards: Arc::clone(&shards),
            snapshots: snapshots.as_ref().map(RunningSnapshots::snapshots),
            defaults: Defaults {
                access_token_lifetime_seconds: config.tokens.access_token_lifetime_seconds,
                access_token_signing_alg: SigningAlgorithm::usual_of(&key_algorithms),
                id_token_signing_alg: SigningAlgorithm::usual_of_id_tokens(&key_algorithms),
                id_token_lifetime_seconds: config.tokens.id_token_lifetime_seconds,
                audience: Audience::parse([&*issuer]).unwrap_or_else(|_| Audience::empty()),
            },
            key_algorithms,
            pages,
            csrf: Csrf::new(&keys.csrf),
            guesses: Guesses::default(),
            registration_quota: registration_quota(&config.registration),
            trusted_proxies: config.http.trusted_proxies.clone(),
            operator_login: config.http.login_url.as_ref().map(|url| OperatorLogin::new(url.as_str().to_owned())),
            sealer: Sealer::new(&keys.seal),
            refresh_key: RefreshKey::new(&keys.refresh_token),
            user_code_key: UserCodeKey::new(&keys.user_code),
            proof_key: ProofKey::new(&keys.proof),
            random,
            exposition: sources.expose(),
            database: health.map(|projection| Box::new(move || projection.health()) as _),
        });
        let upkeep = (signing_keys.upkeep.clone(), idle_sweep.clone());
        let ticks = actix_rt::spawn(tick_every_second(Arc::clone(&clock), Arc::clone(&shards), upkeep));
        tracing::info!(%address, %issuer, "ready");
        Ok(Self {
            address,
            admin_address,
            issuer,
            first_admin,
            people,
            shards,
            clock,
            listeners,
            ticks,
            snapshots,
            projector,
            fetches,
            running_shards,
            arbiters: [clients.arbiter, users.arbiter, signing_keys.arbiter],
            key_upkeep: signing_keys.upkeep,
            idle_sweep,
            kept,
        })
    }

    /// The people, for tests that let them in without a page.
    #[must_use]
    pub fn people(&self) -> People {
        self.people.clone()
    }

    /// Lets the shards remove what has expired, rotates keys that are due, and looks for clients that lie idle, as happens every
    /// second. For tests with a clock of their own.
    pub fn tick(&self) {
        self.key_upkeep.tick(self.clock.now());
        self.shards.tick(self.clock.now());
        self.idle_sweep.tick(self.clock.now());
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
        if let Some(fetches) = self.fetches {
            fetches.stop();
        }
        if let Some(snapshots) = self.snapshots {
            snapshots.stop();
        }
        drop(self.shards);
        self.running_shards.stop();
        for arbiter in self.arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
        // It copies what came last, so all that appends has to be gone.
        if let Some(projector) = self.projector {
            projector.stop();
        }
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
    registries: Registries,
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
        let (registry, clock) = (Arc::clone(&ground.registries.clients), Arc::clone(&ground.clock));
        let actor = ClientActor::new(registry, lane, clock, Arc::clone(random), Arc::clone(&metrics));
        let arbiter = Arbiter::new();
        let actor = ClientActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        Self { actor, arbiter, metrics }
    }
}

fn start_fetches(
    config: &FetchConfig,
    clock: &Arc<Clock>,
    metrics: &Arc<FetchMetrics>,
) -> Result<Option<RunningFetches>, StartError> {
    // Also where nothing is fetched: who names a file means it.
    let named = config.ca_file.as_deref().map(Roots::read).transpose()?;
    if config.allow.is_empty() {
        return Ok(None);
    }
    let roots = named.map_or_else(Roots::of_system, Ok)?;
    let fetcher = Fetcher::new(config.allow.clone(), config.limits, Arc::new(SystemResolver), roots);
    Ok(Some(RunningFetches::start(fetcher, Arc::clone(clock), Arc::clone(metrics))?))
}

fn registration_quota(config: &RegistrationConfig) -> RegistrationQuota {
    let RegistrationConfig { dynamic_clients_max, registration_address_per_hour, registration_token_per_hour, .. } =
        config;
    RegistrationQuota::new(*dynamic_clients_max, *registration_address_per_hour, *registration_token_per_hour)
}

/// The actor of the users on its thread, and the threads that check passwords.
struct RunningUsers {
    actor: Addr<UserActor>,
    arbiter: Arbiter,
    metrics: Arc<MessageMetrics<UserMessage>>,
    logins: Arc<Logins>,
    secret_pool: Arc<PasswordPool>,
}

impl RunningUsers {
    fn start(
        config: &Config,
        ground: &Ground,
        lane: Lane,
        random: &Arc<dyn SecureRandom + Send + Sync>,
    ) -> Result<Self, StartError> {
        let PeopleConfig { session_lifetime_seconds, session_idle_seconds, .. } = config.people;
        let metrics = Arc::default();
        let registry = Arc::clone(&ground.registries.users);
        let actor = UserActor::new(UserActorParts {
            registry: Arc::clone(&registry),
            lane,
            limits: SessionLimits { lifetime_seconds: session_lifetime_seconds, idle_seconds: session_idle_seconds },
            clock: Arc::clone(&ground.clock),
            random: Arc::clone(random),
            metrics: Arc::clone(&metrics),
        });
        let arbiter = Arbiter::new();
        let actor = UserActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        let limits = LoginLimits {
            failures_max: config.people.login_failures_max,
            delay_seconds_max: config.people.login_delay_seconds_max,
            address_failures_per_minute: config.people.login_address_failures_per_minute,
        };
        // A check takes memory bandwidth from the workers, whatever its priority: never more than half of the cores.
        let threads = NonZeroUsize::new(cores() / 2).map_or(NonZeroUsize::MIN, |half| half.min(PASSWORD_THREADS_MAX));
        let pool = |name, threads: NonZeroUsize| {
            let waiting_max = threads.get() * PASSWORDS_WAITING_MAX;
            PasswordPool::start(name, threads, waiting_max, &ground.clock, random)
        };
        let logins = Logins::new(registry, Some(actor.clone()), pool("password", threads)?, limits, &**random)?;
        let secret_pool = Arc::new(pool("client-secret", NonZeroUsize::MIN)?);
        Ok(Self { actor, arbiter, metrics, logins: Arc::new(logins), secret_pool })
    }
}

const PASSWORD_THREADS_MAX: NonZeroUsize = NonZeroUsize::new(4).unwrap();
/// Passwords that may wait for each thread: about two seconds of work.
const PASSWORDS_WAITING_MAX: usize = 64;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
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
            snapshots: journal.snapshots(),
            router: ground.router.clone(),
            shard,
            issuer: Arc::clone(&ground.issuer),
            registries: ground.registries.clone(),
            clock: Arc::clone(&ground.clock),
        });
        ShardParts { state, lane, clock: Arc::clone(&ground.clock), relaxed_window, rebuild }
    });
    RunningShards::start(ground.router.clone(), parts)
}

fn start_snapshots(
    config: &Config,
    ground: &Ground,
    shards: &Arc<Shards>,
    journal: &Journal,
) -> Result<RunningSnapshots, StartError> {
    let running = RunningSnapshots::start(SnapshotParts {
        shards: Arc::clone(shards),
        registries: ground.registries.clone(),
        store: journal.snapshots(),
        clock: Arc::clone(&ground.clock),
        tail_bytes_min: SNAPSHOT_TAIL_BYTES_MIN,
        tail_bytes_max: config.storage.journal_bytes_max / 5,
    });
    running.map_err(StartError::NoThread)
}

/// `None` where no database is set.
fn start_projector(
    config: &Config,
    ground: &Ground,
    keys: &DerivedKeys,
    journal: &Journal,
) -> Result<Option<(RunningProjector, Projection)>, StartError> {
    let Some(url) = &config.database.url else { return Ok(None) };
    let (metrics, router) = (Arc::<ProjectionMetrics>::default(), ground.router.clone());
    let running = RunningProjector::start(ProjectorParts {
        url: url.as_str().to_owned(),
        key_id: keys.journal_key_id,
        reader: journal.reader(),
        snapshots: journal.snapshots(),
        clock: Arc::clone(&ground.clock),
        partition_of: Arc::new(move |routing_id| router.partition_of(routing_id)),
        history_retention_days: config.database.history_retention_days,
        metrics: Arc::clone(&metrics),
    });
    let projection = Projection { metrics, reader: journal.reader(), clock: Arc::clone(&ground.clock) };
    Ok(Some((running.map_err(StartError::NoThread)?, projection)))
}

/// Asks the database how far it is, so that a journal that lacks what it has is noticed. One that does not answer at once holds
/// nothing up: the projector asks again.
async fn ask_database(config: &Config) -> Result<Option<Mark>, StartError> {
    let Some(url) = &config.database.url else { return Ok(None) };
    match crate::postgres::ask(url.as_str()).await {
        Ok(mark) => Ok(mark),
        Err(error @ PostgresError::Url(_)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "the start goes on without the database");
            Ok(None)
        }
    }
}

/// What a recovery is made of.
struct Starting<'a> {
    config: &'a Config,
    keys: &'a DerivedKeys,
    router: &'a Router,
    issuer: &'a Arc<str>,
    clock: &'a Arc<Clock>,
    progress: &'a Arc<StartProgress>,
}

impl Starting<'_> {
    /// Reads snapshot and journal on threads of their own, so that the listeners can answer 503 meanwhile.
    async fn recover(&self) -> Result<Recovered, StartError> {
        let shards = usize::from(self.config.shards.count);
        let data_dir = self.config.storage.data_dir.clone();
        if self.config.storage.durability == Durability::Memory {
            if self.config.database.url.is_some() {
                tracing::warn!("durability is memory: the database is not written either");
            }
            return without_journal(&data_dir, shards, self.issuer);
        }
        // One lane for each shard, one for the clients, one for the users, and one for the keys.
        let journal_bytes_max = self.config.storage.journal_bytes_max;
        let mark = ask_database(self.config).await?;
        let options = Options {
            journal_bytes_max,
            confirmed_lsn: mark.map(|mark| mark.applied_lsn),
            instance: mark.map(|mark| mark.instance),
            epoch_before: mark.map_or(0, |mark| mark.epoch),
            ..Options::new(self.keys.into(), shards + 3, LANE_CAPACITY)
        };
        let (clock, progress) = (Arc::clone(self.clock), Arc::clone(self.progress));
        let (router, issuer) = (self.router.clone(), Arc::clone(self.issuer));
        let (done, mut recovered) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = done.send(open_journal(data_dir, options, &progress, &clock, &mut |registries, now| {
                Recovery::begin(&router, shards, cores(), &issuer, registries, now)
            }));
        });
        let mut interval = tokio::time::interval(LOG_PROGRESS_EVERY);
        interval.tick().await;
        loop {
            tokio::select! {
                recovered = &mut recovered => return recovered.map_err(|_| StartError::Panicked)?,
                _ = interval.tick() => {
                    let (percent, read_bytes) = (self.progress.percent(), self.progress.read_bytes());
                    tracing::info!(percent, read_bytes, "reading snapshot and journal");
                }
            }
        }
    }
}

/// Appends that may wait for the commit thread, for each shard.
const LANE_CAPACITY: usize = 8192;
const LOG_PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// A snapshot is taken when a restart would read more of the journal than this.
const SNAPSHOT_TAIL_BYTES_MIN: u64 = 256 << 20;

/// Loads the newest snapshot that is whole, and replays the journal from there. `begin` makes a recovery that has nothing yet.
fn open_journal(
    data_dir: PathBuf,
    options: Options,
    progress: &Arc<StartProgress>,
    clock: &Arc<Clock>,
    begin: &mut dyn FnMut(&Registries, u32) -> Recovery,
) -> Result<Recovered, StartError> {
    let started = clock.monotonic();
    let mut opening = Opening::begin(Arc::new(open_disk(data_dir)?), options, Arc::clone(progress))?;
    let now = clock.now().as_seconds_u32();
    let mut registries = Registries::default();
    let mut recovery = begin(&registries, now);
    opening.load_newest_snapshot(&mut |read| match read {
        SnapshotRead::Section(section) => recovery.load(section),
        SnapshotRead::Anew => {
            registries = Registries::default();
            recovery = begin(&registries, now);
        }
    })?;
    let Opened { journal, lanes, recovered } = opening.open(Arc::clone(clock), &mut |block| recovery.apply(block))?;
    let states = recovery.finish()?;
    tracing::info!(
        snapshot_items = recovered.snapshot.map(|snapshot| snapshot.items),
        records = recovered.records,
        bytes = recovered.bytes,
        tokens = states.iter().map(ShardState::tokens).sum::<usize>(),
        clients = registries.clients.len(),
        users = registries.users.len(),
        epoch = recovered.epoch,
        ms = clock.monotonic().saturating_sub(started).as_millis(),
        "snapshot and journal are read"
    );
    Ok(Recovered { states, lanes, registries, kept: Kept::Journal(journal) })
}

fn open_disk(data_dir: PathBuf) -> Result<RealDisk, StartError> {
    RealDisk::new(data_dir.clone())
        .map_err(|reason| DirectoryError::Io { action: "create", path: data_dir, reason }.into())
}

fn without_journal(data_dir: &Path, shards: usize, issuer: &Arc<str>) -> Result<Recovered, StartError> {
    tracing::warn!("durability is memory: nothing is written, and a restart forgets every token, client and user");
    let lock = open_disk(data_dir.to_owned())?.lock().map_err(|_| JournalError::Locked)?;
    Ok(Recovered {
        states: (0..shards).map(|_| ShardState::new(Arc::clone(issuer))).collect(),
        lanes: (0..shards + 3).map(|_| Lane::memory()).collect(),
        registries: Registries::default(),
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
    Ok(secret.map(|secret| (client.id.clone(), secret)))
}

async fn tick_every_second(clock: Arc<Clock>, shards: Arc<Shards>, (keys, clients): (KeyUpkeep, IdleSweep)) {
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
        keys.tick(clock.now());
        clients.tick(clock.now());
    }
}
