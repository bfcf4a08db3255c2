//! A capacity with the shapes that a real one has, for tests and for looking at the page.

use serde_json::json;

use crate::check::budget::{Bound, Verdict};
use crate::measured::{Durability, Interval, Latency, Limit, Objective, Step, Subject, Sweep};
use crate::report::figures::{BATCH, INTROSPECT, ISSUE, REVOKE};
use crate::report::model::{
    Capacity, Commit, Event, Failure, JournalUse, Machine, Mix, Population, RevocationDelay, Series, SeriesKind,
    Settings, Steady, Workers,
};

/// Tells steps with batches from others.
const BATCH_WAIT: f64 = 6.0;
const MILLION: u64 = 1_000_000;
/// Percentiles that a histogram gives for a plot.
const PERCENTILES: [f64; 16] =
    [0.0, 25.0, 50.0, 75.0, 87.5, 90.0, 93.75, 95.0, 97.5, 98.75, 99.0, 99.5, 99.9, 99.97, 99.99, 99.999];

/// A complete report: one failed phase, one sweep that the generator limited, one budget that does not hold.
pub(super) fn capacity() -> Capacity {
    let sweeps = sweeps();
    Capacity {
        version: "0.1.0".into(),
        commit: Commit { id: "ef6c2721c0ffee".into(), is_dirty: true },
        started: "2026-11-22T20:00:00Z".into(),
        seconds: 521.4,
        machine: machine(),
        settings: settings(),
        steady: sweeps.iter().filter_map(steady).collect(),
        mixes: mixes(),
        series: series(),
        populations: vec![population(1), population(10)],
        journal: Some(JournalUse {
            bytes_per_issue: 210.0,
            issues_per_second: 20_000.0,
            bytes_per_revocation: 96.0,
            revocations_per_second: 20_000.0,
            read_bytes_per_second: Some(400e6),
        }),
        revocation: Some(RevocationDelay {
            revocations: 5000,
            latency: latency(900.0),
            after_answer: Latency { max: 38, ..Latency::default() },
            late: 0,
        }),
        workers: vec![
            Workers { workers: 1, step: step(66_000.0, 95_000.0, 10.4, 1.0) },
            Workers { workers: 2, step: Step { server_cores: 1.45, ..step(118_000.0, 180_000.0, 10.9, 1.0) } },
        ],
        budgets: budgets(),
        notes: vec!["The machine was shared: other processes compiled meanwhile.".into()],
        failures: vec![Failure {
            phase: "expiry".into(),
            what: "12 of 400,000 introspections were answered <active> after their token had expired".into(),
        }],
        sweeps,
    }
}

fn machine() -> Machine {
    Machine {
        cpu: "AMD EPYC 7B13".into(),
        cores: 2,
        memory_bytes: 8 << 30,
        kernel: "6.1.0".into(),
        load_at_start: 0.31,
        disk: "virtual disk".into(),
        file_system: "ext4".into(),
        sync: Some(latency(420.0)),
    }
}

fn settings() -> Settings {
    Settings {
        server_cores: vec![0],
        generator_cores: vec![1],
        helper_cores: vec![1],
        workers: 1,
        shards: 2,
        clients: 1000,
        warm_up_seconds: 1.0,
        step_seconds: 3.0,
        redis_version: Some("7.0.15".into()),
        postgres_version: Some("15.14".into()),
        others: vec![("transparent huge pages".into(), "madvise".into())],
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made up of small positive numbers")]
const fn whole(value: f64) -> u64 {
    value as u64
}

/// Percentiles with a tail, around this median.
fn latency(median_micros: f64) -> Latency {
    let of = |factor: f64| whole(median_micros * factor);
    Latency { p50: of(1.0), p90: of(1.9), p99: of(3.6), p999: of(7.5), max: of(19.0) }
}

fn percentile(median_micros: f64, percentile: f64) -> u64 {
    let nines = (1.0 / (1.0 - percentile / 100.0)).log10();
    whole(median_micros * (0.6 + nines.powf(1.35)))
}

/// A step of a server that answers `most` a second, and takes `cpu` for each. By way of JSON: what has a default may lack.
fn step(rate: f64, most: f64, cpu: f64, wait: f64) -> Step {
    let load = (rate / most).min(1.2);
    let queue = if load < 0.97 { 1.0 / (1.0 - load) } else { 60.0 * load };
    let median = wait.mul_add(120.0, 30.0 * queue);
    let percentiles: Vec<(f64, u64)> = PERCENTILES.iter().map(|at| (*at, percentile(median, *at))).collect();
    let step = json!({
        "offered_per_second": rate,
        "answered_per_second": rate.min(most),
        "seconds": 3.0,
        "errors": if load > 1.0 { 180 } else { 0 },
        "latency": latency(median),
        "percentiles": percentiles,
        "cpu_micros_per_request": cpu,
        "server_cores": (cpu * rate / 1e6).min(1.0),
        "helper_cores": 0.0,
        "generator_busy": 0.8 * load,
        "generator_late_micros": 40,
        "resident_bytes": 90 << 20,
        "tokens_per_request": if wait == BATCH_WAIT { 1000 } else { 1 },
        "is_cut_short": load > 1.0,
        "first_failure": (load > 1.0).then_some("status 503"),
        "sync_micros": (wait > 1.0).then_some(430.0),
    });
    serde_json::from_value(step).unwrap()
}

fn sweep(subject: Subject, scenario: &str, durability: Durability, most: f64, cpu: f64, wait: f64) -> Sweep {
    let shares = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.88, 0.94, 1.02];
    let mut steps: Vec<Step> = shares.iter().map(|share| step(share * most, most, cpu, wait)).collect();
    if subject == Subject::Rival {
        steps.iter_mut().for_each(|step| step.helper_cores = step.server_cores * 0.6);
    }
    Sweep {
        subject,
        scenario: scenario.into(),
        durability,
        connections: if scenario == ISSUE { 256 } else { 64 },
        live_tokens: MILLION,
        objective: Objective { p99_micros_max: 5000, errors_max: 0.0, answered_min: 0.99 },
        closed: None,
        steps,
        knee: Some(7),
        limit: Limit::Server,
    }
}

fn sweeps() -> Vec<Sweep> {
    use Durability::{Memory, Relaxed, Sync};
    use Subject::{Floor, Rival, Tessera};
    vec![
        Sweep { limit: Limit::Generator, ..sweep(Tessera, INTROSPECT, Sync, 95_000.0, 10.4, 0.3) },
        sweep(Floor, INTROSPECT, Memory, 112_000.0, 8.5, 0.2),
        sweep(Rival, INTROSPECT, Memory, 52_000.0, 15.4, 0.9),
        sweep(Tessera, ISSUE, Sync, 40_000.0, 19.8, 5.0),
        sweep(Tessera, ISSUE, Relaxed, 44_000.0, 18.2, 1.5),
        sweep(Tessera, ISSUE, Memory, 52_000.0, 16.0, 0.8),
        sweep(Floor, ISSUE, Memory, 98_000.0, 9.2, 0.2),
        sweep(Rival, ISSUE, Sync, 26_000.0, 18.0, 7.0),
        sweep(Tessera, REVOKE, Sync, 49_000.0, 16.1, 4.0),
        sweep(Tessera, BATCH, Sync, 3_100.0, 310.0, BATCH_WAIT),
    ]
}

fn steady(sweep: &Sweep) -> Option<Steady> {
    let step = sweep.steps.get(4)?.clone();
    let Sweep { subject, scenario, durability, .. } = sweep;
    (scenario == INTROSPECT).then(|| Steady {
        subject: *subject,
        scenario: scenario.clone(),
        durability: *durability,
        share: 0.7,
        step,
    })
}

fn mixes() -> Vec<Mix> {
    let of = |name: &str, cpu: f64| Mix { name: name.into(), share: 0.7, step: step(62_000.0, 95_000.0, cpu, 0.3) };
    vec![of("active", 10.4), of("expired", 9.4), of("revoked", 10.9), of("unknown", 9.1), of("mixed", 10.1)]
}

fn series() -> Vec<Series> {
    let event = |name: &str, begin_seconds, end_seconds| Event { name: name.into(), begin_seconds, end_seconds };
    vec![
        Series {
            kind: SeriesKind::Snapshot,
            scenario: INTROSPECT.into(),
            offered_per_second: 60_000.0,
            events: vec![event("snapshot", 8.0, 17.0)],
            intervals: intervals(60_000.0, 8, 17, 1.6),
        },
        Series {
            kind: SeriesKind::DatabaseOutage,
            scenario: ISSUE.into(),
            offered_per_second: 8_000.0,
            events: vec![event("PostgreSQL stopped", 6.0, 16.0), event("catching up", 16.0, 21.0)],
            intervals: intervals(8_000.0, 16, 21, 1.3),
        },
        Series {
            kind: SeriesKind::Expiry,
            scenario: INTROSPECT.into(),
            offered_per_second: 60_000.0,
            events: vec![event("200,000 tokens expire", 10.0, 13.0)],
            intervals: intervals(60_000.0, 10, 13, 2.4),
        },
    ]
}

/// Half a minute, in which all is slower for a while.
fn intervals(rate: f64, begin: u32, end: u32, slower: f64) -> Vec<Interval> {
    let at = |second: u32| {
        let factor = if (begin..end).contains(&second) { slower } else { 1.0 };
        let jitter = f64::from(second * 7 % 5).mul_add(0.04, 1.0);
        Interval {
            at_seconds: f64::from(second),
            answered_per_second: rate / jitter.sqrt(),
            errors: 0,
            latency: latency(180.0 * factor * jitter),
            server_cores: 0.64 * factor.sqrt(),
            resident_bytes: whole(90e6 * (1.0 + (factor - 1.0) * 0.1)),
        }
    };
    (0..30).map(at).collect()
}

fn population(millions: u32) -> Population {
    let count = f64::from(millions);
    Population {
        live_tokens: u64::from(millions) * MILLION,
        step: Some(step(62_000.0, 95_000.0, 10.3 + count.ln() * 0.5, 0.3)),
        resident_bytes: whole(count.mul_add(69e6, 14e6)),
        bytes_per_token: 69.0,
        snapshot_bytes: Some(whole(count * 34e6)),
        journal_bytes: Some(whole(count * 13e6)),
        restart_seconds: Some(count.mul_add(0.2, 0.1)),
    }
}

fn budgets() -> Vec<Verdict> {
    let of = |name: &str, bound, value| Verdict { name: name.into(), value, bound: Some(bound) };
    vec![
        of("introspect, CPU ÷ floor", Bound::AtMost(1.08), Some(1.22)),
        of("issue sync, rate ÷ floor", Bound::AtLeast(0.4), Some(0.41)),
        of("bytes per live token", Bound::AtMost(96.0), Some(69.0)),
        of("two workers, CPU ÷ one", Bound::AtMost(1.1), None),
    ]
}
