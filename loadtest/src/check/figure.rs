//! The figures that have budgets: how each follows from the steps of its sides, one step a round. Ratios are of medians.

use crate::measured::Step;

/// The share of a peak at which latencies are compared.
pub(crate) const SHARE: f64 = 0.7;
/// The share of the peak at which single issues are timed.
pub(crate) const QUIET_SHARE: f64 = 0.3;

/// Server CPU of an introspection over the floor's.
pub(crate) fn introspect_cpu_to_floor(own: &[Step], floor: &[Step]) -> (String, f64) {
    named("introspect_cpu_to_floor", cpu(own) / cpu(floor))
}

/// Each at [`SHARE`] of its own peak.
pub(crate) fn introspect_p99_to_floor(own: &[Step], floor: &[Step]) -> (String, f64) {
    let p99 = |steps: &[Step]| median(steps, |step| step.latency.p99 as f64);
    named("introspect_p99_to_floor", p99(own) / p99(floor))
}

/// Each at [`SHARE`] of its own peak.
pub(crate) fn introspect_p999_to_floor(own: &[Step], floor: &[Step]) -> (String, f64) {
    named("introspect_p999_to_floor", p999(own) / p999(floor))
}

/// The same while a snapshot is written.
pub(crate) fn introspect_p999_beside_snapshot_to_floor(own: &[Step], floor: &[Step]) -> (String, f64) {
    named("introspect_p999_beside_snapshot_to_floor", p999(own) / p999(floor))
}

pub(crate) fn introspect_throughput_to_rival(own: &[Step], rival: &[Step]) -> (String, f64) {
    named("introspect_throughput_to_rival", peak(own) / peak(rival))
}

/// Tokens of batches that one core introspects in a second.
pub(crate) fn batch_tokens_per_core_second(own: &[Step]) -> (String, f64) {
    let tokens = |step: &Step| f64::from(step.tokens_per_request) * 1e6 / step.cpu_micros_per_request;
    named("batch_tokens_per_core_second", median(own, tokens))
}

pub(crate) fn issue_sync_throughput_to_floor(own: &[Step], floor: &[Step]) -> (String, f64) {
    named("issue_sync_throughput_to_floor", peak(own) / peak(floor))
}

pub(crate) fn issue_memory_throughput_to_floor(own: &[Step], floor: &[Step]) -> (String, f64) {
    named("issue_memory_throughput_to_floor", peak(own) / peak(floor))
}

pub(crate) fn issue_sync_throughput_to_rival(own: &[Step], rival: &[Step]) -> (String, f64) {
    named("issue_sync_throughput_to_rival", peak(own) / peak(rival))
}

/// Each at [`QUIET_SHARE`] of its own peak: by how many syncs of the disk the median is longer than the floor's.
pub(crate) fn issue_sync_p50_over_floor_in_syncs(own: &[Step], floor: &[Step]) -> (String, f64) {
    let p50 = |steps: &[Step]| median(steps, |step| step.latency.p50 as f64);
    let sync = median(own, |step| step.sync_micros.unwrap_or(f64::NAN));
    named("issue_sync_p50_over_floor_in_syncs", (p50(own) - p50(floor)) / sync)
}

/// Server CPU of a refresh, each in a group commit, over the floor's.
pub(crate) fn refresh_cpu_to_floor(own: &[Step], floor: &[Step]) -> (String, f64) {
    named("refresh_cpu_to_floor", cpu(own) / cpu(floor))
}

/// CPU of an introspection by two workers over that by one, as a ratio to what the floor's two workers, who share nothing, take
/// over its one: the second worker shares its core with the load here, and each of two has fewer answers to give when it wakes.
pub(crate) fn two_workers_cpu_to_one(
    [one, two]: &[Vec<Step>; 2],
    [floor_one, floor_two]: &[Vec<Step>; 2],
) -> (String, f64) {
    named("two_workers_cpu_to_one", (cpu(two) / cpu(one)) / (cpu(floor_two) / cpu(floor_one)))
}

/// Resident memory over that of a server without tokens.
pub(crate) fn bytes_per_token(bytes: f64) -> (String, f64) {
    named("bytes_per_token", bytes)
}

fn named(name: &str, value: f64) -> (String, f64) {
    (name.to_owned(), value)
}

fn cpu(steps: &[Step]) -> f64 {
    median(steps, |step| step.cpu_micros_per_request)
}

fn p999(steps: &[Step]) -> f64 {
    median(steps, |step| step.latency.p999 as f64)
}

/// Answers a second.
pub(crate) fn peak(steps: &[Step]) -> f64 {
    median(steps, |step| step.answered_per_second)
}

fn median(steps: &[Step], of: impl Fn(&Step) -> f64) -> f64 {
    let mut values: Vec<f64> = steps.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (Some(lower), Some(upper)) if values.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (_, middle) => middle.copied().unwrap_or(f64::NAN),
    }
}
