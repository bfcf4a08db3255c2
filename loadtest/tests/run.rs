//! `loadtest run` against real servers: every scenario is answered as it should be.

use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Report {
    step: Step,
    intervals: Vec<Interval>,
}

#[derive(Deserialize)]
struct Step {
    answered_per_second: f64,
    errors: u64,
    resident_bytes: u64,
    tokens_per_request: u32,
    first_failure: Option<String>,
}

#[derive(Deserialize)]
struct Interval {
    answered_per_second: f64,
}

/// Loads a small server for a second, gently: what was reported, and what was said.
fn run(scenario: &str, subject: &str, more: &[&str]) -> (Option<Report>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let ended = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["run", scenario, "--subject", subject, "--rate", "100", "--duration", "1s", "--interval", "500ms"])
        .args(["--warm-up", "10ms", "--connections", "4", "--tokens", "2000", "--clients", "10"])
        .args(["--durability", "memory", "--report"])
        .arg(&report)
        .args(more)
        .output()
        .expect("loadtest runs");
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    (std::fs::read(report).ok().map(|report| serde_json::from_slice(&report).expect(&said)), said)
}

#[track_caller]
fn check(scenario: &str, subject: &str) {
    let (report, said) = run(scenario, subject, &[]);
    let Report { step, intervals } = report.expect(&said);
    assert_eq!((step.errors, step.first_failure), (0, None), "{scenario} on {subject}: {said}");
    assert!(step.answered_per_second > 0.0 && step.resident_bytes > 0, "{said}");
    assert_eq!(step.tokens_per_request, if scenario == "introspect-batch" { 1000 } else { 1 });
    assert_eq!(intervals.len(), 2, "{said}");
    assert!(intervals.iter().any(|interval| interval.answered_per_second > 0.0), "{said}");
}

#[test]
fn tessera_answers_what_reads() {
    for scenario in ["introspect", "introspect-unknown", "introspect-garbage", "introspect-batch", "introspect-mix"] {
        check(scenario, "tessera");
    }
}

#[test]
fn tessera_answers_what_changes() {
    for scenario in ["issue", "refresh", "revoke", "revoke-storm"] {
        check(scenario, "tessera");
    }
}

#[test]
fn the_floor_answers_the_same_requests() {
    for scenario in ["introspect", "issue", "refresh", "revoke"] {
        check(scenario, "floor");
    }
}

#[test]
fn without_redis_the_rival_says_what_to_install() {
    let (report, said) = run("introspect", "rival", &["--redis-server", "no-such-redis"]);
    assert!(report.is_none() && said.contains("install it (Debian: the package redis-server)"), "{said}");
}
