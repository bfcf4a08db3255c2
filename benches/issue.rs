//! What is acknowledged when it is durable: a token issued, a code redeemed, a grant refreshed. From what a worker has minted to
//! the answer, through the shard and the journal, by durability class.

use std::fmt::Debug;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor as _;
use actix_rt::SystemRunner;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::{StreamExt as _, stream};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tessera::clock::{Clock, TimeSource, UnixTime};
use tessera::journal::{Journal, JournalKeys, Lane, Options, RealDisk};
use tessera::oauth::algorithm::SigningAlgorithm;
use tessera::shard::actor::ShardParts;
use tessera::shard::message::IssueToken;
use tessera::shard::people::Refreshed;
use tessera::shard::{Router, RunningShards, ShardError, Shards};
use tessera::signing::actor::{KeyActor, KeyActorParts, StoreKey, ask};
use tessera::signing::private_key::PrivateKey;
use tessera::signing::registry::KeyRegistry;
use tessera::signing::seal::Sealer;
use tessera::token::access_token::{AccessToken, RoutingId, TokenReference};
use tessera::token::grant::GrantTerms;
use tessera::token::jwt::Claims;
use tessera::token::state::ShardState;

use crate::clients::{Clients, LATER, NOW};
use crate::digests::digest;
use crate::people::People;
use crate::random::random;

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/digests.rs"]
mod digests;
#[path = "fixtures/measure.rs"]
mod measure;
#[path = "fixtures/people.rs"]
mod people;
#[path = "fixtures/random.rs"]
mod random;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion();
    targets = issue, issue_jwt, redeem_code, refresh
}
criterion_main!(benches);

fn issue(criterion: &mut Criterion) {
    bench(criterion, "issue", &[Durability::Sync, Durability::Relaxed, Durability::Memory], Worker::issue);
}

/// What a JWT costs more than an opaque token and a bare signature beside it: minted, and issued without a journal. Both come at
/// the same pace then, for a shard that many wait for is woken more seldom. It is CPU time of all threads, which wait for each other.
fn issue_jwt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("issue_jwt");
    group.throughput(Throughput::Elements(1));
    let mut worker = Worker::start(Durability::Memory);
    let minting = Minting::new(&worker.system);
    let ways = [("opaque_and_bare_signature", Minting::opaque_and_bare_signature as Mint), ("EdDSA", Minting::jwt)];
    for (name, mint) in [("opaque", Minting::opaque as Mint)].into_iter().chain(ways) {
        let mint_all = |clients: &Clients, tokens| {
            (0..tokens).for_each(|number| drop(black_box(mint(&minting, clients.terms_of(number)))));
        };
        group.bench_function(BenchmarkId::new("minted", name), |bencher| {
            bencher.iter_custom(|tokens| cpu_time_of(|| mint_all(&worker.clients, tokens)));
        });
    }
    for (name, mint) in ways {
        group.bench_function(BenchmarkId::new("issued", name), |bencher| {
            bencher.iter_custom(|tokens| cpu_time_of(|| worker.mint(&minting, mint, tokens)));
        });
    }
    worker.stop();
}

/// The CPU time that all threads use for it.
fn cpu_time_of(work: impl FnOnce()) -> Duration {
    let used = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
    };
    let before = used();
    work();
    used().saturating_sub(before)
}

fn redeem_code(criterion: &mut Criterion) {
    bench(criterion, "redeem_code", &[Durability::Sync, Durability::Memory], Worker::redeem_codes);
}

fn refresh(criterion: &mut Criterion) {
    bench(criterion, "refresh", &[Durability::Sync, Durability::Memory], Worker::refresh);
}

/// How long a worker takes to have so many changes made, so many of them at once.
type Changes = fn(&mut Worker, u64, usize) -> Duration;

fn bench(criterion: &mut Criterion, name: &str, classes: &[Durability], changes: Changes) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    for class in classes {
        let mut worker = Worker::start(*class);
        for in_flight in [1, 256] {
            group.bench_function(BenchmarkId::new(class.name(), format!("{in_flight}_in_flight")), |bencher| {
                bencher.iter_custom(|iterations| changes(&mut worker, iterations, in_flight));
            });
        }
        worker.stop();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Sync,
    Relaxed,
    Memory,
}

impl Durability {
    const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Relaxed => "relaxed",
            Self::Memory => "memory",
        }
    }
}

/// Asks shards on a journal in a directory of their own.
struct Worker {
    system: SystemRunner,
    running: RunningShards,
    shards: Arc<Shards>,
    journal: Option<(Journal, TempDir)>,
    clients: Clients,
    people: People,
    next: u64,
}

const SHARDS: usize = 2;
const LANE_CAPACITY: usize = 8_192;
/// The server's default.
const RELAXED_WINDOW: Duration = Duration::from_millis(50);
/// How much of what comes before a change is on its way at once.
const BEFORE_IN_FLIGHT: usize = 256;

impl Worker {
    fn start(durability: Durability) -> Self {
        let clock = Arc::new(Clock::on(Box::new(SinceNow(Clock::system()))));
        let (journal, lanes) = match durability {
            Durability::Memory => (None, (0..SHARDS).map(|_| Lane::memory()).collect()),
            Durability::Sync | Durability::Relaxed => open_journal(&clock),
        };
        let parts = lanes.into_iter().map(|lane| ShardParts {
            state: ShardState::new(Arc::from("https://as.example")),
            lane,
            clock: Arc::clone(&clock),
            relaxed_window: (durability == Durability::Relaxed).then_some(RELAXED_WINDOW),
            rebuild: None,
        });
        let system = actix_rt::System::new();
        let running = system.block_on(async { RunningShards::start(Router::new([7; 16], SHARDS), parts) });
        let shards = running.shards();
        let (clients, people) = (Clients::new(), People::new());
        Self { system, running, shards, journal, clients, people, next: 0 }
    }

    fn issue(&mut self, tokens: u64, in_flight: usize) -> Duration {
        let numbers = self.draw(tokens);
        self.time(numbers.map(|number| self.issued(number)), in_flight)
    }

    /// Mints so many tokens, and has them issued, many at once.
    fn mint(&mut self, minting: &Minting, mint: Mint, tokens: u64) {
        let numbers = self.draw(tokens);
        let issued = async |number| {
            let terms = self.clients.terms_of(number);
            let token = mint(minting, terms);
            let issue =
                || IssueToken { reference: token.reference(), issued_at: NOW, expires_at: LATER, terms: terms.clone() };
            acknowledged(async || self.shards.issue(issue()).await).await;
        };
        self.time(numbers.map(issued), IN_FLIGHT);
    }

    fn redeem_codes(&mut self, codes: u64, in_flight: usize) -> Duration {
        let numbers = self.draw(codes);
        self.time(numbers.clone().map(|number| self.stored(number)), BEFORE_IN_FLIGHT);
        self.time(numbers.map(|number| self.redeemed(number)), in_flight)
    }

    fn refresh(&mut self, grants: u64, in_flight: usize) -> Duration {
        let numbers = self.draw(grants);
        self.time(numbers.clone().map(|number| self.granted(number)), BEFORE_IN_FLIGHT);
        self.time(numbers.map(|number| self.refreshed(number)), in_flight)
    }

    /// Numbers that nothing has yet.
    fn draw(&mut self, count: u64) -> Range<u64> {
        let numbers = self.next..self.next + count;
        self.next = numbers.end;
        numbers
    }

    /// How long it takes until all of them are done, so many at once.
    fn time(&self, changes: impl Iterator<Item = impl Future<Output = ()>>, in_flight: usize) -> Duration {
        let clock = Clock::system();
        let started = clock.monotonic();
        self.system.block_on(stream::iter(changes).buffer_unordered(in_flight).for_each(async |()| {}));
        clock.monotonic().saturating_sub(started)
    }

    async fn issued(&self, number: u64) {
        acknowledged(async || self.shards.issue(self.token(number)).await).await;
    }

    async fn stored(&self, number: u64) {
        let is_new = acknowledged(async || self.shards.store_code(self.people.new_code(number)).await).await;
        assert!(is_new, "a number is drawn once");
    }

    async fn redeemed(&self, number: u64) {
        acknowledged(async || self.shards.redeem(self.people.redemption(number)).await).await;
    }

    async fn granted(&self, number: u64) {
        self.stored(number).await;
        self.redeemed(number).await;
    }

    async fn refreshed(&self, number: u64) {
        let refreshed = acknowledged(async || self.shards.refresh(self.people.refresh(number)).await).await;
        assert!(matches!(refreshed, Refreshed::Granted(_)), "the refresh token is new");
    }

    fn token(&self, number: u64) -> IssueToken {
        IssueToken {
            reference: TokenReference { routing_id: RoutingId(random(number)), digest: digest(number) },
            issued_at: NOW,
            expires_at: LATER,
            terms: self.clients.terms_of(number).clone(),
        }
    }

    fn stop(self) {
        let Self { running, shards, journal, .. } = self;
        running.stop();
        drop(shards);
        if let Some((journal, directory)) = journal {
            journal.close().expect("the journal is whole");
            directory.close().expect("the directory can be removed");
        }
    }
}

/// What mints tokens.
struct Minting {
    keys: Arc<KeyRegistry>,
    pair: Ed25519KeyPair,
    random: SystemRandom,
}

/// Header and payload of a JWT of these clients, with the dot between them.
const SIGNING_INPUT_BYTES: usize = 365;
/// How many tokens are on their way at once.
const IN_FLIGHT: usize = 256;

type Mint = fn(&Minting, &GrantTerms) -> AccessToken;

impl Minting {
    fn new(system: &SystemRunner) -> Self {
        let (random, clock) = (SystemRandom::new(), Arc::new(Clock::system()));
        let key = PrivateKey::generate(SigningAlgorithm::EdDsa, &random).expect("there is randomness");
        let pair = Ed25519KeyPair::from_pkcs8(key.as_pkcs8()).expect("it is a key");
        let keys = Arc::<KeyRegistry>::default();
        let actor = KeyActor::new(KeyActorParts {
            registry: Arc::clone(&keys),
            lane: Lane::memory(),
            sealer: Sealer::new(&[0; 32]),
            clock,
            random: Arc::new(SystemRandom::new()),
        });
        let signs_from = UnixTime::from_seconds(0);
        let stored = system.block_on(async move { ask(&actor.start(), StoreKey { key, signs_from }).await });
        stored.expect("a key can be kept");
        Self { keys, pair, random }
    }

    fn opaque(&self, _: &GrantTerms) -> AccessToken {
        AccessToken::random(&self.random).expect("there is randomness")
    }

    fn opaque_and_bare_signature(&self, terms: &GrantTerms) -> AccessToken {
        black_box(self.pair.sign(black_box(&[b'a'; SIGNING_INPUT_BYTES])));
        self.opaque(terms)
    }

    fn jwt(&self, terms: &GrantTerms) -> AccessToken {
        let keys = self.keys.keys();
        let now = UnixTime::from_seconds(NOW.into());
        let key = keys.signing(SigningAlgorithm::EdDsa, now).expect("there is one");
        let claims = Claims { issuer: "https://as.example", terms, issued_at: NOW, expires_at: LATER };
        AccessToken::signed(&claims, None, key, &self.random).expect("there is randomness")
    }
}

/// Asks again where there is no room: what need not wait for the disk may outrun it.
async fn acknowledged<T, E: From<ShardError> + PartialEq + Debug>(ask: impl AsyncFn() -> Result<T, E>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(refusal) => assert_eq!(refusal, ShardError::Busy.into(), "the journal goes on"),
        }
        tokio::task::yield_now().await;
    }
}

/// The machine's time, as if it were [`NOW`] when it begins: nothing that is made then has expired, whenever this runs.
struct SinceNow(Clock);

impl TimeSource for SinceNow {
    fn wall(&self) -> UnixTime {
        UnixTime::from_millis(u64::from(NOW) * 1000 + u64::try_from(self.0.monotonic().as_millis()).unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// On the disk that the build is on: the usual place for what is temporary may be in memory.
fn open_journal(clock: &Arc<Clock>) -> (Option<(Journal, TempDir)>, Vec<Lane>) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory can be made");
    let disk = Arc::new(RealDisk::new(directory.path()).expect("the directory is there"));
    let options = Options::new(JournalKeys { mac: [9; 32], key_id: 1 }, SHARDS, LANE_CAPACITY);
    let opened =
        tessera::journal::open(disk, options, Arc::clone(clock), &mut |_| {}).expect("an empty journal can be opened");
    (Some((opened.journal, directory)), opened.lanes)
}
