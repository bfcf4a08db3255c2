//! Digests, keyed hashes and checksums: what every request and every commit pays.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tessera::client::secret::SecretDigest;
use tessera::shard::Router;
use tessera::token::access_token::{RoutingId, TokenReference};
use tessera::token::digest::TokenDigest;

use crate::cpu_measurement::CpuTime;

#[path = "fixtures/cpu_measurement.rs"]
mod cpu_measurement;
#[path = "fixtures/cpu_time.rs"]
mod cpu_time;
#[path = "fixtures/measure.rs"]
mod measure;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/texts.rs"]
mod texts;

criterion_group! {
    name = benches;
    config = measure::criterion().with_measurement(CpuTime);
    targets = tokens, secrets, blocks
}
criterion_main!(benches);

fn tokens(criterion: &mut Criterion<CpuTime>) {
    let text = texts::text(0);
    let mut group = criterion.benchmark_group("digests");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("token_reference/67_bytes", |bencher| bencher.iter(|| TokenReference::of(black_box(&text))));
    let refresh = "r".repeat(93);
    group.throughput(Throughput::Bytes(refresh.len() as u64));
    group.bench_function("token_sha256/93_bytes", |bencher| bencher.iter(|| TokenDigest::of(black_box(&refresh))));
    let router = Router::new([7; 16], 2);
    group.throughput(Throughput::Bytes(8));
    group.bench_function("routing_siphash13/8_bytes", |bencher| {
        bencher.iter(|| router.shard_of(router.partition_of(RoutingId(black_box(42)))));
    });
}

fn secrets(criterion: &mut Criterion<CpuTime>) {
    let secret = "s".repeat(43);
    let digest = SecretDigest::of(&secret);
    let mut group = criterion.benchmark_group("digests");
    group.throughput(Throughput::Elements(1));
    group.bench_function("client_secret_right/43_bytes", |bencher| {
        bencher.iter(|| SecretDigest::verify(Some(black_box(&digest)), black_box(&secret)));
    });
    group.bench_function("client_secret_of_nobody/43_bytes", |bencher| {
        bencher.iter(|| SecretDigest::verify(None, black_box(&secret)));
    });
}

/// What seals a block of the journal, by its length.
fn blocks(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("digests");
    for bytes in [256, 4 << 10, 64 << 10, 1 << 20] {
        let block = vec![7_u8; bytes];
        group.throughput(Throughput::Bytes(block.len() as u64));
        group.bench_function(BenchmarkId::new("block_keyed_blake3", format!("{bytes}_bytes")), |bencher| {
            bencher.iter(|| blake3::keyed_hash(&[9; 32], black_box(&block)));
        });
        group.bench_function(BenchmarkId::new("block_crc32c", format!("{bytes}_bytes")), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&block)));
        });
    }
}
