//! Signatures by algorithm: a whole JWT with the key kept parsed, the same through the factory that parses it each time, and
//! the verification of it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ring::rand::SystemRandom;
use tessera::oauth::algorithm::SigningAlgorithm;
use tessera::signing::jws::JwsHeader;
use tessera::signing::private_key::PrivateKey;
use tessera::signing::verify::verify;
use zeroize::Zeroizing;

use crate::cpu_measurement::CpuTime;

#[path = "fixtures/cpu_measurement.rs"]
mod cpu_measurement;
#[path = "fixtures/cpu_time.rs"]
mod cpu_time;
#[path = "fixtures/measure.rs"]
mod measure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = benches;
    config = measure::criterion().with_measurement(CpuTime);
    targets = signing
}
criterion_main!(benches);

/// As long as the claims of an access token.
const CLAIMS: &[u8] = br#"{"jti":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","iss":"https://as.example","sub":"gateway","aud":"https://api.example/","exp":1800003600,"iat":1800000000,"client_id":"gateway","scope":"read write"}"#;

fn signing(criterion: &mut Criterion<CpuTime>) {
    let random = SystemRandom::new();
    let mut group = criterion.benchmark_group("signing");
    group.throughput(Throughput::Elements(1));
    for algorithm in SigningAlgorithm::ALL {
        let key = PrivateKey::generate(algorithm, &random).expect("there is randomness");
        let header = JwsHeader::new("at+jwt", &key);
        let name = algorithm.as_str();
        group.bench_function(BenchmarkId::new("bare_signature", name), |bencher| {
            bencher.iter(|| key.sign(black_box(CLAIMS), &random, <[u8]>::len));
        });
        group.bench_function(BenchmarkId::new("jwt_with_parsed_key", name), |bencher| {
            bencher.iter(|| header.sign(&key, black_box(CLAIMS), &random));
        });
        group.bench_function(BenchmarkId::new("jwt_with_key_parsed_each_time", name), |bencher| {
            bencher.iter(|| {
                let key = PrivateKey::of_pkcs8(algorithm, Zeroizing::new(key.as_pkcs8().to_vec()));
                header.sign(&key.expect("it was one before"), black_box(CLAIMS), &random)
            });
        });
        let token = header.sign(&key, CLAIMS, &random).expect("there is randomness");
        group.bench_function(BenchmarkId::new("verify", name), |bencher| {
            bencher.iter(|| verify::<serde_json::Value>(black_box(&token), key.public(), Some("at+jwt")));
        });
    }
}
