//! The table of a shard: what one change and one look-up cost at 10⁴, 10⁶ and 10⁷ tokens.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sdd::Guard;
use tessera::token::access_token::Partition;
use tessera::token::state::{NewToken, ShardState};

use crate::clients::{Clients, LATER, NOW};
use crate::cpu_measurement::CpuTime;
use crate::cpu_time::cpu_time;
use crate::digests::digest;
use crate::random::random;
use crate::scale::scaled;

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/cpu_measurement.rs"]
mod cpu_measurement;
#[path = "fixtures/cpu_time.rs"]
mod cpu_time;
#[path = "fixtures/digests.rs"]
mod digests;
#[path = "fixtures/measure.rs"]
mod measure;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/scale.rs"]
mod scale;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion().with_measurement(CpuTime);
    targets = by_size
}
criterion_main!(benches);

const SIZES: [u64; 3] = [10_000, 1_000_000, 10_000_000];
/// Tokens that come and go between two readings of the clock.
const CHURN: u64 = 1_000;

fn by_size(criterion: &mut Criterion<CpuTime>) {
    for tokens in SIZES.map(scaled) {
        let mut table = None;
        let mut group = criterion.benchmark_group("table");
        group.throughput(Throughput::Elements(1));
        let name = |what: &str| BenchmarkId::new(what, format!("{tokens}_tokens"));
        group.bench_function(name("find_hit"), |bencher| {
            let reader = table.get_or_insert_with(|| Table::filled(tokens)).state.reader();
            let mut numbers = (0..).map(|number| random(number) % tokens);
            bencher.iter(|| {
                reader.find(digest(numbers.next().unwrap_or_default()), &Guard::new()).map(|found| found.is_some())
            });
        });
        group.bench_function(name("find_miss"), |bencher| {
            let reader = table.get_or_insert_with(|| Table::filled(tokens)).state.reader();
            let mut numbers = ABSENT..;
            bencher.iter(|| {
                reader.find(digest(numbers.next().unwrap_or_default()), &Guard::new()).map(|found| found.is_some())
            });
        });
        group.bench_function(name("apply"), |bencher| {
            let table = table.get_or_insert_with(|| Table::filled(tokens));
            bencher.iter_custom(|iterations| table.churn(iterations).applied);
        });
        group.bench_function(name("expire"), |bencher| {
            let table = table.get_or_insert_with(|| Table::filled(tokens));
            bencher.iter_custom(|iterations| table.churn(iterations).expired);
        });
    }
}

struct Table {
    state: ShardState,
    clients: Clients,
    /// The number of the next token that comes and goes.
    next: u64,
}

/// Numbers from here on are of no token.
const ABSENT: u64 = 1 << 48;
/// Numbers from here on are of tokens that come and go.
const PASSING: u64 = 1 << 47;
/// When those expire: long before all others.
const SOON: u32 = NOW + 60;
/// When those have expired, and the others have not.
const AFTER: u32 = NOW + 600;

/// How long some tokens took to come, and to go.
struct Churned {
    applied: Duration,
    expired: Duration,
}

impl Table {
    fn empty() -> Self {
        let state = ShardState::new(Arc::from("https://as.example"));
        Self { state, clients: Clients::new(), next: PASSING }
    }

    fn filled(tokens: u64) -> Self {
        let mut table = Self::empty();
        (0..tokens).for_each(|number| table.issue(number, LATER));
        table
    }

    fn issue(&mut self, number: u64, expires_at: u32) {
        let token = NewToken { digest: digest(number), partition: Partition(0), issued_at: NOW, expires_at };
        self.state.issue(&token, self.clients.terms_of(number));
    }

    /// As many tokens come and go, some at a time, so that the table stays as large as it is.
    fn churn(&mut self, tokens: u64) -> Churned {
        let mut churned = Churned { applied: Duration::ZERO, expired: Duration::ZERO };
        let end = self.next + tokens;
        while self.next < end {
            let started = cpu_time();
            let passing = self.next..end.min(self.next + CHURN);
            self.next = passing.end;
            passing.for_each(|number| self.issue(number, SOON));
            let issued = cpu_time();
            while self.state.expire(AFTER) {}
            churned.applied += issued.saturating_sub(started);
            churned.expired += cpu_time().saturating_sub(issued);
        }
        churned
    }
}
