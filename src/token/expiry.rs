//! What expires when, without a scan.

use std::collections::BTreeMap;

/// Things by the time at which they expire, in buckets of [`BUCKET_SECONDS`]. A thing takes little more than it is long: of a token
/// these are 4 bytes, the bits of its digest that say where it lives.
pub(super) struct ExpiryBuckets<T> {
    buckets: BTreeMap<u32, Bucket<T>>,
}

/// How long a thing may stay in memory after it has expired, in seconds. It is inactive from its very second on.
const BUCKET_SECONDS: u32 = 16;
/// Things in one allocation, and in one step of expiry. A bucket is a list of full ones, so that it never has to be copied to
/// grow.
const RUN: usize = 128;

struct Bucket<T> {
    full: Vec<Box<[T]>>,
    open: Vec<T>,
}

impl<T> ExpiryBuckets<T> {
    /// Notes what expires at `expires_at`.
    pub(super) fn push(&mut self, expires_at: u32, thing: T) {
        let bucket = self.buckets.entry(expires_at / BUCKET_SECONDS).or_default();
        bucket.open.push(thing);
        if bucket.open.len() == RUN {
            bucket.full.push(std::mem::take(&mut bucket.open).into_boxed_slice());
        }
    }

    /// Takes one run (at most [`RUN`]) out of the oldest bucket that is wholly past, if there is one.
    pub(super) fn pop_due(&mut self, now: u32) -> Option<Box<[T]>> {
        let mut oldest = self.buckets.first_entry()?;
        if *oldest.key() >= now / BUCKET_SECONDS {
            return None;
        }
        let run = oldest.get_mut().full.pop();
        Some(run.unwrap_or_else(|| oldest.remove().open.into_boxed_slice()))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let full = |bucket: &Bucket<T>| bucket.full.iter().map(|run| run.len()).sum::<usize>();
        self.buckets.values().map(|bucket| full(bucket) + bucket.open.len()).sum()
    }
}

impl<T> Default for ExpiryBuckets<T> {
    fn default() -> Self {
        Self { buckets: BTreeMap::new() }
    }
}

impl<T> Default for Bucket<T> {
    fn default() -> Self {
        Self { full: Vec::new(), open: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_due_once_its_bucket_is_past() {
        let mut buckets = ExpiryBuckets::default();
        buckets.push(32, 1);
        buckets.push(47, 2);
        buckets.push(48, 3);
        assert_eq!(buckets.pop_due(47), None);
        assert_eq!(buckets.pop_due(48).as_deref(), Some(&[1, 2][..]));
        assert_eq!(buckets.pop_due(48), None);
        assert_eq!(buckets.pop_due(64).as_deref(), Some(&[3][..]));
        assert!(buckets.buckets.is_empty());
    }

    #[test]
    fn a_large_bucket_comes_in_runs() {
        let mut buckets = ExpiryBuckets::default();
        (0..300).for_each(|home| buckets.push(5, home));
        let runs: Vec<_> = std::iter::from_fn(|| buckets.pop_due(100)).collect();
        assert_eq!(runs.iter().map(|run| run.len()).collect::<Vec<_>>(), [128, 128, 44]);
        let mut homes = runs.concat();
        homes.sort_unstable();
        assert_eq!(homes, (0..300).collect::<Vec<_>>());
    }
}
