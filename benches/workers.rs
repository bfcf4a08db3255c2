//! Introspection by one worker and by several at once, which share all that the workers of a server share: the shards, the
//! clients and their secrets, over a million live tokens in random order. Each does all that lies between the bytes of a request
//! and those of its answer. The figure is the CPU time of a request: if workers wrote what others read, it would grow with
//! their number.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tessera::benching::Requests;

use crate::cpu_measurement::CpuTime;
use crate::cpu_time::cpu_time;
use crate::random::random;
use crate::scale::scaled;
use crate::served::{Served, introspect};
use crate::texts::text;

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/cpu_measurement.rs"]
mod cpu_measurement;
#[path = "fixtures/cpu_time.rs"]
mod cpu_time;
#[path = "fixtures/measure.rs"]
mod measure;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/registry.rs"]
mod registry;
#[path = "fixtures/scale.rs"]
mod scale;
#[path = "fixtures/served.rs"]
mod served;
#[path = "fixtures/shards.rs"]
mod shards;
#[path = "fixtures/texts.rs"]
mod texts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion().with_measurement(CpuTime);
    targets = workers
}
criterion_main!(benches);

const LIVE: u64 = 1_000_000;
/// More tokens than a processor's caches have room for; written out, so that the making of a request is not timed.
const PRESENTED: u64 = 250_000;

fn workers(criterion: &mut Criterion<CpuTime>) {
    let live = scaled(LIVE);
    let served = Served::filled((0..live).map(text));
    let requests: Vec<_> = (0..scaled(PRESENTED)).map(|number| introspect(&text(random(number) % live))).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut group = criterion.benchmark_group("workers");
    group.throughput(Throughput::Elements(1));
    for workers in (0..).map(|power| 1 << power).take_while(|workers| *workers <= cores) {
        let name = BenchmarkId::new("introspect_hit", format!("{workers}_at_once"));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|asked| {
                let each = asked.div_ceil(workers as u64);
                let used = at_once(workers, || served.ready.worker(), &|worker, number| {
                    answer(worker, &requests, number, each)
                });
                used.mul_f64(asked as f64 / (each * workers as u64) as f64)
            });
        });
    }
}

/// One worker's share of the requests, from a place of its own on.
fn answer(worker: &mut Requests, requests: &[Vec<u8>], number: usize, asked: u64) {
    let first = number * requests.len() / 2;
    for (request, _) in requests.iter().cycle().skip(first).zip(0..asked) {
        black_box(worker.answer(black_box(request)).expect("it is answered"));
    }
}

/// The CPU time that so many workers need together, who begin at the same moment.
fn at_once(
    workers: usize,
    make: impl Fn() -> Requests + Sync,
    work: &(impl Fn(&mut Requests, usize) + Sync),
) -> Duration {
    let start = Barrier::new(workers);
    std::thread::scope(|scope| {
        let turn = |number| {
            let (start, make) = (&start, &make);
            scope.spawn(move || {
                let mut worker = make();
                start.wait();
                let started = cpu_time();
                work(&mut worker, number);
                cpu_time().saturating_sub(started)
            })
        };
        let running: Vec<_> = (0..workers).map(turn).collect();
        running.into_iter().map(|worker| worker.join().expect("it came to its end")).sum()
    })
}
