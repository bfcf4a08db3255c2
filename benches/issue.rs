//! Issue: from a minted token to its acknowledgement, through the shard and the journal, by durability class.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::SystemRunner;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use tessera::client::registry::Generation;
use tessera::clock::Clock;
use tessera::journal::{Journal, JournalKeys, Lane, Options, RealDisk};
use tessera::shard::actor::ShardParts;
use tessera::shard::message::IssueToken;
use tessera::shard::{Router, RunningShards, ShardError, Shards};
use tessera::token::access_token::{RoutingId, TokenReference};
use tessera::token::state::ShardState;

use crate::clients::{Clients, LATER, NOW};
use crate::digests::digest;
use crate::random::random;

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/digests.rs"]
mod digests;
#[path = "fixtures/measure.rs"]
mod measure;
#[path = "fixtures/random.rs"]
mod random;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion();
    targets = issue
}
criterion_main!(benches);

fn issue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("issue");
    group.throughput(Throughput::Elements(1));
    for (class, durability) in
        [("sync", Durability::Sync), ("relaxed", Durability::Relaxed), ("memory", Durability::Memory)]
    {
        let mut issuer = Issuer::start(durability);
        for in_flight in [1, 256] {
            group.bench_function(BenchmarkId::new(class, format!("{in_flight}_in_flight")), |bencher| {
                bencher.iter_custom(|iterations| issuer.issue(iterations, in_flight));
            });
        }
        issuer.stop();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Sync,
    Relaxed,
    Memory,
}

/// Shards on a journal in a directory of their own.
struct Issuer {
    system: SystemRunner,
    running: RunningShards,
    shards: Arc<Shards>,
    journal: Option<(Journal, TempDir)>,
    clients: Clients,
    /// No client is ever deleted.
    in_force: Arc<Generation>,
    next: u64,
}

const SHARDS: usize = 2;
const LANE_CAPACITY: usize = 8_192;
/// The server's default.
const RELAXED_WINDOW: Duration = Duration::from_millis(50);

impl Issuer {
    fn start(durability: Durability) -> Self {
        let clock = Arc::new(Clock::system());
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
        Self { system, running, shards, journal, clients: Clients::new(), in_force: Arc::default(), next: 0 }
    }

    /// How long so many tokens take, so many of them at once.
    fn issue(&mut self, tokens: u64, in_flight: usize) -> Duration {
        let numbers = self.next..self.next + tokens;
        self.next = numbers.end;
        let clock = Clock::system();
        let started = clock.monotonic();
        let issued = numbers.map(|number| self.acknowledged(number));
        self.system.block_on(futures_util::stream::iter(issued).buffer_unordered(in_flight).for_each(async |()| {}));
        clock.monotonic().saturating_sub(started)
    }

    /// Asks again where there is no room: what need not wait for the disk may outrun it.
    async fn acknowledged(&self, number: u64) {
        while let Err(refusal) = self.shards.issue(self.token(number)).await {
            assert_eq!(refusal, ShardError::Busy, "the journal goes on");
            tokio::task::yield_now().await;
        }
    }

    fn token(&self, number: u64) -> IssueToken {
        IssueToken {
            reference: TokenReference { routing_id: RoutingId(random(number)), digest: digest(number) },
            issued_at: NOW,
            expires_at: LATER,
            terms: Arc::clone(self.clients.terms_of(number)),
            in_force: Arc::clone(&self.in_force),
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

/// On the disk that the build is on: the usual place for what is temporary may be in memory.
fn open_journal(clock: &Arc<Clock>) -> (Option<(Journal, TempDir)>, Vec<Lane>) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory can be made");
    let disk = Arc::new(RealDisk::new(directory.path()).expect("the directory is there"));
    let options = Options::new(JournalKeys { mac: [9; 32], key_id: 1 }, SHARDS, LANE_CAPACITY);
    let opened =
        tessera::journal::open(disk, options, Arc::clone(clock), &mut |_| {}).expect("an empty journal can be opened");
    (Some((opened.journal, directory)), opened.lanes)
}
