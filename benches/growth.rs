//! How a shard's table grows, one JSON object a line: bytes per token, and the longest that a single token makes the shard
//! wait, at 10⁴, 10⁶ and 10⁷ tokens.
//!
//! A stall is counted in CPU time. Even so the machine has a part in it, with interrupts and the first use of memory: one
//! that belongs to the table comes back at the same token in every fill. Both are told. The first use of two MiB of memory may
//! cost a virtual machine milliseconds; `MIMALLOC_PURGE_DELAY=-1` keeps the memory of a fill for the next, so that only the
//! first fill pays for it.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::sync::Arc;
use std::time::Duration;

use sdd::Guard;
use serde_json::json;
use tessera::token::access_token::Partition;
use tessera::token::state::{NewToken, ShardState};

use crate::clients::{Clients, LATER, NOW};
use crate::cpu_time::cpu_time;
use crate::digests::digest;
use crate::scale::scaled;

#[path = "fixtures/clients.rs"]
mod clients;
#[path = "fixtures/cpu_time.rs"]
mod cpu_time;
#[path = "fixtures/digests.rs"]
mod digests;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/scale.rs"]
mod scale;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [u64; 3] = [10_000, 1_000_000, 10_000_000];
const FILLS: usize = 3;

fn main() {
    // Kept until all are measured, and measured first: memory that was given back would be used again.
    let measured: Vec<_> = SIZES.map(scaled).into_iter().map(Filled::with).collect();
    let memory: Vec<_> = measured.iter().map(|filled| (filled.tokens, filled.bytes)).collect();
    drop(measured);
    for (tokens, bytes) in memory {
        let stalls = Stalls::of(tokens);
        println!(
            "{}",
            json!({
                "tokens": tokens,
                "bytes_per_token": bytes / tokens,
                "longest_stall_us": micros(stalls.longest),
                "longest_stall_in_every_fill_us": micros(stalls.longest_in_every_fill),
                "longest_stall_in_every_fill_at_token": stalls.token,
            })
        );
    }
}

/// A table that was filled, and what it takes.
struct Filled {
    tokens: u64,
    bytes: u64,
    _table: Table,
}

impl Filled {
    fn with(tokens: u64) -> Self {
        let before = resident_bytes();
        let mut table = Table::new();
        (0..tokens).for_each(|number| table.issue(number));
        Self { tokens, bytes: resident_bytes().saturating_sub(before), _table: table }
    }
}

struct Stalls {
    /// The longest of any fill.
    longest: Duration,
    /// The longest at one token that no fill was without.
    longest_in_every_fill: Duration,
    /// At which token that was.
    token: u64,
}

impl Stalls {
    fn of(tokens: u64) -> Self {
        let mut shortest: Vec<Duration> = (0..tokens).map(|_| Duration::MAX).collect();
        let mut longest = Duration::ZERO;
        for _ in 0..FILLS {
            reclaim();
            let mut table = Table::new();
            for (number, shortest) in (0..).zip(&mut shortest) {
                let started = cpu_time();
                table.issue(number);
                let stall = cpu_time().saturating_sub(started);
                longest = longest.max(stall);
                *shortest = stall.min(*shortest);
            }
        }
        let (longest_in_every_fill, token) = shortest.into_iter().zip(0..).max().unwrap_or_default();
        Self { longest, longest_in_every_fill, token }
    }
}

/// What was dropped is freed by guards that come later: those of the next fill, were there no others.
fn reclaim() {
    for _ in 0..RECLAIMING_GUARDS {
        Guard::new().accelerate();
    }
}

/// Far more than the epochs that retired memory waits for.
const RECLAIMING_GUARDS: usize = 100_000;

struct Table {
    state: ShardState,
    clients: Clients,
}

impl Table {
    fn new() -> Self {
        let state = ShardState::new(Arc::from("https://as.example"));
        Self { state, clients: Clients::new() }
    }

    /// Issues the token of that number. They expire over an hour.
    fn issue(&mut self, number: u64) {
        let expires_at = LATER + u32::try_from(number % 3_600).unwrap_or_default();
        let token = NewToken { digest: digest(number), partition: Partition(0), issued_at: NOW, expires_at };
        self.state.issue(&token, self.clients.terms_of(number));
    }
}

fn micros(stall: Duration) -> u64 {
    u64::try_from(stall.as_micros()).unwrap_or(u64::MAX)
}

/// What this process has in memory. Linux alone says so.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * PAGE_BYTES
}

const PAGE_BYTES: u64 = 4096;
