//! What a request costs before anybody looks a token up: its form, its credentials, its JSON.

use std::hint::black_box;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tessera::benching::{authenticate, parse_batch, parse_form, read_basic};
use tessera::client::registry::ClientRegistry;

use crate::cpu_measurement::CpuTime;

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
#[path = "fixtures/texts.rs"]
mod texts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion().with_measurement(CpuTime);
    targets = forms, credentials, batches
}
criterion_main!(benches);

fn forms(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("parsing");
    let token = texts::text(0);
    let bodies = [
        ("form_of_one_parameter", format!("token={token}")),
        ("form_of_four_parameters", format!("token={token}&token_type_hint=access_token&client_id=app&resource=x")),
        ("form_with_escapes", format!("token={token}&scope=orders%3Aread+orders%3Awrite")),
    ];
    for (name, body) in bodies {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new(name, format!("{}_bytes", body.len())), |bencher| {
            bencher.iter(|| parse_form(black_box(body.as_bytes())));
        });
        group.bench_function(BenchmarkId::new(format!("{name}_naive"), format!("{}_bytes", body.len())), |bencher| {
            bencher.iter(|| naive_token_bytes(black_box(body.as_bytes())));
        });
    }
}

/// As a browser's parser reads a form: it replaces what it cannot read, and allows repeats.
fn naive_token_bytes(body: &[u8]) -> Option<usize> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    pairs.iter().find(|(name, _)| name == "token").map(|(_, value)| value.len())
}

fn credentials(criterion: &mut Criterion<CpuTime>) {
    let clients = registry::with_client("app", SECRET);
    let field = format!("Basic {}", STANDARD.encode(format!("app:{SECRET}")));
    let mut group = criterion.benchmark_group("parsing");
    group.throughput(Throughput::Elements(1));
    group.bench_function("basic/43_byte_secret", |bencher| bencher.iter(|| read_basic(black_box(field.as_bytes()))));
    authentication(&mut group, "authenticate_basic_right", &clients, Some(field.as_bytes()), None);
    let wrong = field.replace("YXBwO", "YXBxO");
    authentication(&mut group, "authenticate_basic_unknown_client", &clients, Some(wrong.as_bytes()), None);
    let posted = format!("client_id=app&client_secret={SECRET}");
    authentication(&mut group, "authenticate_post_right", &clients, None, Some(posted.as_bytes()));
}

/// A secret as we make them.
const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyz-_ABCDE";

fn authentication(
    group: &mut criterion::BenchmarkGroup<'_, CpuTime>,
    name: &str,
    clients: &Arc<ClientRegistry>,
    field: Option<&[u8]>,
    form: Option<&[u8]>,
) {
    group.bench_function(BenchmarkId::new(name, "1_client"), |bencher| {
        bencher.iter(|| authenticate(clients, black_box(field), black_box(form)));
    });
}

fn batches(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("parsing");
    for tokens in [1, 10, 1_000] {
        let texts: Vec<String> = (0..tokens).map(texts::text).collect();
        let body = serde_json::json!({ "tokens": texts }).to_string();
        group.throughput(Throughput::Elements(tokens));
        group.bench_function(BenchmarkId::new("json_batch", format!("{tokens}_tokens")), |bencher| {
            bencher.iter(|| parse_batch(black_box(body.as_bytes())));
        });
        group.bench_function(BenchmarkId::new("json_batch_naive", format!("{tokens}_tokens")), |bencher| {
            bencher.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(body.as_bytes())).ok());
        });
    }
}
