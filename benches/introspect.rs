//! Introspection: from a presented text to what is known of the token, over a million live tokens.
//!
//! `view` is what the server does: a worker reads the shard's table itself. Beside it stand the naive ways: asking the actor
//! that owns the table, and the two concurrent maps that one would take instead of a table of one's own. All of them digest
//! the text, look the token up, see whether it is active, and read what an answer would be made of.
//!
//! Of JWTs, which are longer, the server's way alone is measured: what the others do with a digest they do with theirs.
//!
//! A mailbox is timed by the clock, for two threads take part; the others in CPU time.
//!
//! No text comes twice before all have come, so that a look-up finds its slot as cold as it is.

use std::cell::Cell;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter, Context, Handler, Message};
use actix_rt::SystemRunner;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use futures_util::StreamExt as _;
use tessera::client::registry::Generation;
use tessera::clock::{Clock, UnixTime};
use tessera::shard::{RunningShards, Shards};
use tessera::token::access_token::TokenReference;
use tessera::token::digest::TokenDigest;

use crate::clients::{LATER, NOW};
use crate::cpu_measurement::CpuTime;
use crate::jwts::jwt;
use crate::scale::scaled;
use crate::shards::{Fate, Shelf};
use crate::texts::text;

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/cpu_measurement.rs"]
mod cpu_measurement;
#[path = "fixtures/cpu_time.rs"]
mod cpu_time;
#[path = "fixtures/jwts.rs"]
mod jwts;
#[path = "fixtures/measure.rs"]
mod measure;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/scale.rs"]
mod scale;
#[path = "fixtures/shards.rs"]
mod shards;
#[path = "fixtures/texts.rs"]
mod texts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion().with_measurement(CpuTime);
    targets = introspect
}
criterion_main!(benches);

const LIVE: u64 = 1_000_000;
/// Tokens of each other fate.
const OTHERS: u64 = 250_000;
/// Questions that wait for the actor at once.
const IN_FLIGHT: usize = 256;

fn introspect(criterion: &mut Criterion<CpuTime>) {
    let live = scaled(LIVE);
    let name = |way: &str| BenchmarkId::new(way, format!("{live}_live_tokens"));
    let system = actix_rt::System::new();
    let view = View::filled(&system);
    let mut group = criterion.benchmark_group("introspect");
    group.throughput(Throughput::Elements(1));
    for (what, presented) in Presented::all() {
        group.bench_function(name(&format!("{what}/view")), |bencher| {
            bencher.iter(|| view.answer(black_box(presented.next())));
        });
    }
    let jwts = Presented::of((0..scaled(OTHERS)).map(jwt));
    group.bench_function(name("hit_jwt/view"), |bencher| {
        bencher.iter(|| view.answer(black_box(jwts.next())));
    });
    let hits = Presented::live();
    let mailbox = view.ask(&system);
    group.bench_function(name("hit/mailbox_one_at_a_time"), |bencher| {
        bencher.iter_custom(|iterations| system.block_on(mailbox.answer(&hits, iterations, 1)));
    });
    group.bench_function(name(&format!("hit/mailbox_{IN_FLIGHT}_in_flight")), |bencher| {
        bencher.iter_custom(|iterations| system.block_on(mailbox.answer(&hits, iterations, IN_FLIGHT)));
    });
    view.stop();

    let map = DashMap::with_hasher(BuildHasherDefault::<DigestHasher>::new());
    fill(&mut |digest, record| drop(map.insert(digest, record)));
    for (what, presented) in Presented::all() {
        group.bench_function(name(&format!("{what}/dashmap")), |bencher| {
            bencher.iter(|| {
                let digest = TokenReference::of(black_box(presented.next()))?.digest;
                map.get(&digest)?.answer()
            });
        });
    }
    drop(map);

    let map = papaya::HashMap::with_hasher(BuildHasherDefault::<DigestHasher>::new());
    fill(&mut |digest, record| {
        map.pin().insert(digest, record);
    });
    for (what, presented) in Presented::all() {
        group.bench_function(name(&format!("{what}/papaya")), |bencher| {
            bencher.iter(|| {
                let digest = TokenReference::of(black_box(presented.next()))?.digest;
                map.pin().get(&digest)?.answer()
            });
        });
    }
}

/// Texts that are presented again and again, in one order.
struct Presented {
    texts: Vec<String>,
    next: Cell<usize>,
}

impl Presented {
    fn all() -> [(&'static str, Self); 5] {
        let [expired, revoked, unknown] =
            [1, 2, 3].map(|kind| Self::of((0..scaled(OTHERS)).map(|n| text(n + kind * KIND))));
        let garbage = Self::of((0..scaled(OTHERS)).map(|number| format!("{number:067}")));
        [("hit", Self::live()), ("miss", unknown), ("garbage", garbage), ("expired", expired), ("revoked", revoked)]
    }

    fn live() -> Self {
        Self::of((0..scaled(LIVE)).map(text))
    }

    fn of(texts: impl Iterator<Item = String>) -> Self {
        Self { texts: texts.collect(), next: Cell::new(0) }
    }

    fn next(&self) -> &str {
        let next = self.next.get();
        self.next.set(if next + 1 < self.texts.len() { next + 1 } else { 0 });
        self.texts.get(next).map(String::as_str).unwrap_or_default()
    }
}

/// The numbers of tokens of the next fate begin here.
const KIND: u64 = 1 << 40;

/// Every token that is there, with its fate.
fn tokens() -> impl Iterator<Item = (u64, Fate)> {
    let of = |kind: u64, fate| (0..scaled(OTHERS)).map(move |number| (number + kind * KIND, fate));
    (0..scaled(LIVE)).map(|number| (number, Fate::Lives)).chain(of(1, Fate::HasExpired)).chain(of(2, Fate::IsRevoked))
}

/// The server's own way.
struct View {
    running: RunningShards,
    shards: Arc<Shards>,
}

impl View {
    fn filled(system: &SystemRunner) -> Self {
        let mut shelf = Shelf::new();
        tokens().for_each(|(number, fate)| shelf.put(number, &text(number), fate));
        (0..scaled(OTHERS)).for_each(|number| shelf.put(number, &jwt(number), Fate::Lives));
        let running = system.block_on(async { shelf.start() });
        Self { shards: running.shards(), running }
    }

    fn answer(&self, text: &str) -> Option<u64> {
        answer(&self.shards, TokenReference::of(text)?)
    }

    fn ask(&self, system: &SystemRunner) -> Mailbox {
        let arbiter = system.block_on(async { Arbiter::new() });
        let clerk = Clerk { shards: Arc::clone(&self.shards) };
        Mailbox { address: Clerk::start_in_arbiter(&arbiter.handle(), |_| clerk), _arbiter: arbiter }
    }

    fn stop(self) {
        self.running.stop();
    }
}

fn answer(shards: &Shards, reference: TokenReference) -> Option<u64> {
    let tokens = shards.read();
    let found = tokens.find_active(reference, UnixTime::from_seconds(NOW.into())).ok()??;
    Some(read(found.grant.introspection(), found.issued_at, found.expires_at))
}

/// Touches all that an answer is made of.
fn read(members: &str, issued_at: u32, expires_at: u32) -> u64 {
    members.bytes().map(u64::from).sum::<u64>() + u64::from(issued_at) + u64::from(expires_at)
}

/// The naive way of an actor system: nobody but the owner reads.
struct Clerk {
    shards: Arc<Shards>,
}

struct Question(TokenReference);

impl Message for Question {
    type Result = Option<u64>;
}

impl Actor for Clerk {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(2 * IN_FLIGHT);
    }
}

impl Handler<Question> for Clerk {
    type Result = Option<u64>;

    fn handle(&mut self, Question(reference): Question, _: &mut Self::Context) -> Self::Result {
        answer(&self.shards, reference)
    }
}

struct Mailbox {
    address: actix::Addr<Clerk>,
    /// Its thread.
    _arbiter: Arbiter,
}

impl Mailbox {
    /// How long so many questions take, so many of them at once.
    async fn answer(&self, presented: &Presented, questions: u64, in_flight: usize) -> Duration {
        let clock = Clock::system();
        let started = clock.monotonic();
        let asked = (0..questions).map(|_| async {
            let reference = TokenReference::of(presented.next())?;
            self.address.send(Question(reference)).await.ok()?
        });
        let mut answers = futures_util::stream::iter(asked).buffer_unordered(in_flight);
        while let Some(answer) = answers.next().await {
            black_box(answer);
        }
        clock.monotonic().saturating_sub(started)
    }
}

/// A token as one would put it into a concurrent map.
struct Record {
    issued_at: u32,
    expires_at: u32,
    is_revoked: bool,
    grant: Arc<SharedGrant>,
}

/// What the tokens of a client share.
struct SharedGrant {
    generation: u64,
    in_force: Arc<Generation>,
    members: String,
}

impl Record {
    fn answer(&self) -> Option<u64> {
        let is_in_force = self.grant.in_force.value() == self.grant.generation;
        let is_active = NOW < self.expires_at && !self.is_revoked && is_in_force;
        is_active.then(|| read(&self.grant.members, self.issued_at, self.expires_at))
    }
}

/// A digest is its own hash: the maps are not to pay for a second one.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, digest: &[u8]) {
        self.0 = digest.first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default();
    }

    /// The length of a digest, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hands out every token as a record.
fn fill(insert: &mut dyn FnMut(TokenDigest, Record)) {
    let grants: Vec<_> = (0..1_000).map(|client| Arc::new(SharedGrant::of(client))).collect();
    for ((number, fate), grant) in tokens().zip(grants.iter().cycle()) {
        let digest = TokenReference::of(&text(number)).expect("it is well formed").digest;
        let expires_at = if fate == Fate::HasExpired { NOW - 1 } else { LATER };
        let is_revoked = fate == Fate::IsRevoked;
        insert(digest, Record { issued_at: NOW - 3_600, expires_at, is_revoked, grant: Arc::clone(grant) });
    }
}

impl SharedGrant {
    fn of(client: u64) -> Self {
        let members = format!(
            r#""client_id":"client-{client}","sub":"client-{client}","scope":"orders:read orders:write","aud":["https://api.example"],"iss":"https://as.example","token_type":"Bearer""#
        );
        Self { generation: 0, in_force: Arc::default(), members }
    }
}
