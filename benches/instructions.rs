//! Instructions of the hot paths, counted by callgrind: unlike times, they do not move with the machine, so budgets can be
//! kept for them.
//!
//! Needs `valgrind`, and `gungraun-runner` of the same version as the library:
//! `cargo install gungraun-runner --version 0.20.0 --locked`. What is counted and what is set up before is in
//! `fixtures/operations.rs`; the allocator is the server's.
//!
//! Valgrind shows programs a processor of its own, without SHA and AVX-512 instructions, whatever the machine has: digests
//! and MACs are counted as an old processor computes them, and the same everywhere that has AVX2.

#![expect(missing_docs, reason = "the macros make public items")]

use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

use crate::operations::{Operation, prepare};

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/digests.rs"]
mod digests;
#[path = "fixtures/jwts.rs"]
mod jwts;
#[path = "fixtures/operations.rs"]
mod operations;
#[path = "fixtures/people.rs"]
mod people;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/registry.rs"]
mod registry;
#[path = "fixtures/served.rs"]
mod served;
#[path = "fixtures/shards.rs"]
mod shards;
#[path = "fixtures/texts.rs"]
mod texts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[library_benchmark(setup = prepare)]
#[bench::token_reference("token_reference")]
#[bench::table_find_hit_100("table_find_hit_100")]
#[bench::table_find_miss_100("table_find_miss_100")]
#[bench::table_apply_100("table_apply_100")]
#[bench::table_revoke_100("table_revoke_100")]
#[bench::form_parse("form_parse")]
#[bench::basic_read("basic_read")]
#[bench::client_authentication("client_authentication")]
#[bench::request_introspect_hit("request_introspect_hit")]
#[bench::request_introspect_jwt("request_introspect_jwt")]
#[bench::request_introspect_miss("request_introspect_miss")]
#[bench::request_introspect_garbage("request_introspect_garbage")]
#[bench::request_batch_1000("request_batch_1000")]
#[bench::issue_record_encode("issue_record_encode")]
#[bench::redeem_code_100("redeem_code_100")]
#[bench::refresh_100("refresh_100")]
#[bench::block_seal_256("block_seal_256")]
#[bench::block_read_256("block_read_256")]
#[bench::block_replay_256("block_replay_256")]
fn operation(mut operation: Operation) -> Operation {
    operation();
    // Given back, so that its end is not counted.
    operation
}

library_benchmark_group!(name = hot_paths, benchmarks = operation);
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = hot_paths
);
