//! The whole engine on a simulated disk, from one seed: commit logic, shards, clients, people's grants, snapshots, backups and a database that is
//! written behind, on one thread, with a crash at any write or sync, torn pages, lost renames, flipped bits, a sync that
//! fails once, a disk that is full, and clocks that jump.
//!
//! What callers were told stands in an [`oracle`]; after every start it is held against what the engine knows.
//!
//! `cargo test --lib simulation` runs [`SEEDS`] seeds. `TESSERA_SIMULATION_SEEDS=1000000` runs more of them, and
//! `TESSERA_SIMULATION_SEED=42` one.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "who runs a simulation wants to hear of it")]

mod database;
mod engine;
mod oracle;
mod people;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::journal::sim::{Random, SimDisk};
use crate::shard::tests::simulation::engine::{Crash, Machine};

/// How many seeds run without being asked for more.
const SEEDS: u64 = 10_000;
/// How often an engine starts in one seed.
const LIVES: u64 = 3;
/// Steps of one life, at most.
const STEPS_MAX: u64 = 60;

#[test]
fn what_callers_were_told_holds_whatever_happens() {
    if let Some(seed) = asked_for("TESSERA_SIMULATION_SEED") {
        eprintln!("{:?}", simulate(seed));
        return;
    }
    let seeds = asked_for("TESSERA_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (next, told) = (AtomicU64::new(0), std::sync::Mutex::new(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut tally = Tally::default();
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds) {
                    let guard = Replay(seed);
                    tally.add(&simulate(seed));
                    std::mem::forget(guard);
                }
                told.lock().unwrap().add(&tally);
            });
        }
    });
    let mut tally = told.into_inner().unwrap();
    println!("{seeds} seeds: {tally:?}");
    tally.check(seeds);
}

#[expect(clippy::disallowed_methods, reason = "a test is asked for more by the environment")]
fn asked_for(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().expect("a whole number"))
}

/// Says how a seed that panics is run again.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        let seed = self.0;
        eprintln!("replay it with: TESSERA_SIMULATION_SEED={seed} cargo test --lib simulation -- --nocapture");
    }
}

/// How often something happened, so that a simulation in which nothing happens is noticed.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) lives: u64,
    pub(super) issues: u64,
    pub(super) revocations: u64,
    pub(super) deletions: u64,
    pub(super) looks: u64,
    pub(super) snapshots: u64,
    pub(super) retired: u64,
    pub(super) starts_from_snapshots: u64,
    pub(super) crashes: u64,
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) failed_starts: u64,
    pub(super) flips_refused: u64,
    pub(super) flips_survived: u64,
    pub(super) restores: u64,
    pub(super) confirmations: u64,
    pub(super) codes: u64,
    pub(super) granted: u64,
    pub(super) refreshed: u64,
    pub(super) refreshed_again: u64,
    pub(super) outlived: u64,
    pub(super) reuses: u64,
    pub(super) ended: u64,
}

impl Tally {
    fn fields(&mut self) -> [&mut u64; 23] {
        let Self { lives, issues, revocations, deletions, looks, snapshots, retired, starts_from_snapshots, .. } = self;
        let Self {
            crashes, kills, stops, failed_starts, flips_refused, flips_survived, restores, confirmations, ..
        } = self;
        let Self { codes, granted, refreshed, refreshed_again, outlived, reuses, ended, .. } = self;
        [
            lives,
            issues,
            revocations,
            deletions,
            looks,
            snapshots,
            retired,
            starts_from_snapshots,
            crashes,
            kills,
            stops,
            failed_starts,
            flips_refused,
            flips_survived,
            restores,
            confirmations,
            codes,
            granted,
            refreshed,
            refreshed_again,
            outlived,
            reuses,
            ended,
        ]
    }

    fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (sum, more) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    /// Counts what callers were told of people's grants.
    const fn hear(&mut self, told: &people::Told) {
        let people::Told { granted, refreshed, again, outlived, reused, ended } = told;
        self.granted += *granted;
        self.refreshed += *refreshed;
        self.refreshed_again += *again;
        self.outlived += *outlived;
        self.reuses += *reused;
        self.ended += *ended;
    }

    /// Everything that can happen happened, if there were seeds enough.
    fn check(&mut self, seeds: u64) {
        let rare = seeds / 100;
        assert!(self.fields().iter().all(|count| **count >= rare), "something hardly happened: {self:?}");
    }
}

/// Lives several lives from one seed.
fn simulate(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let mut machine = Machine::new(&mut random);
    for _ in 0..LIVES {
        machine.start(&mut random);
        let steps = random.below(STEPS_MAX);
        for _ in 0..steps {
            if machine.step(&mut random).is_err() {
                break;
            }
        }
        machine.end(&mut random);
    }
    machine.finish(&mut random);
    machine.tally
}

/// What a step answers that ended the process.
type Step = Result<(), Crash>;
