//! How often somebody may be wrong: a user code has 34.5 bits, so nobody may try many.
//!
//! A guess counts for the person and for the place that it comes from, and both must have one left: 10 at once, and one more each
//! minute. In the ten minutes of a user code that is 20 guesses a person and 20 a place, and, as there are 16,384 counts and a guess
//! takes two, 163,840 guesses of all people together, however many accounts and addresses they have. Of 20⁸ codes they find a given
//! one with a chance of 8·10⁻¹⁰ (one person) or 6·10⁻⁶ (everybody); the bar is 10⁻⁴, which is also more than a million guesses
//! would have (RFC 8628 §5.1).

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::UnixTime;

/// Counts wrong guesses by whom they come from. Takes the same memory, whoever comes: two whose hashes are alike share their limit.
#[derive(Debug)]
pub struct Guesses {
    /// When all that was counted there will be forgiven, in milliseconds since the epoch.
    forgiven_at_ms: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// A guess that counts as wrong until it is taken back.
#[derive(Debug)]
pub struct Guess<'a>(&'a AtomicU64);

/// There were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyGuesses {
    /// How long until there may be one more, in seconds.
    pub retry_after_seconds: u64,
}

const PLACES: usize = 16_384;
/// So many at once, and then one in each interval.
const GUESSES_MAX: u64 = 10;
const INTERVAL_MS: u64 = 60_000;

impl Default for Guesses {
    fn default() -> Self {
        Self { forgiven_at_ms: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl Guesses {
    /// Counts a guess of that one as wrong from its beginning, so that many at once are no way around.
    pub(super) fn begin(&self, who: &impl Hash, now: UnixTime) -> Result<Guess<'_>, TooManyGuesses> {
        let hash = usize::try_from(self.hasher.hash_one(who) % PLACES as u64).unwrap_or_default();
        let Some(place) = self.forgiven_at_ms.get(hash) else { return Err(TooManyGuesses { retry_after_seconds: 1 }) };
        let now_ms = now.as_millis();
        let count = |forgiven_at_ms: u64| {
            let counted = forgiven_at_ms.max(now_ms) + INTERVAL_MS;
            (counted - now_ms <= GUESSES_MAX * INTERVAL_MS).then_some(counted)
        };
        match place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) {
            Ok(_) => Ok(Guess(place)),
            Err(full) => {
                let wait_ms = (full + INTERVAL_MS).saturating_sub(now_ms + GUESSES_MAX * INTERVAL_MS);
                Err(TooManyGuesses { retry_after_seconds: wait_ms.div_ceil(1000).max(1) })
            }
        }
    }
}

impl Guess<'_> {
    /// It was right.
    pub(super) fn take_back(self) {
        self.0.fetch_sub(INTERVAL_MS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_guesses_end_and_are_forgiven_one_by_one() {
        let guesses = Guesses::default();
        let at = UnixTime::from_seconds;
        for _ in 0..GUESSES_MAX {
            guesses.begin(&"a", at(1000)).unwrap();
        }
        assert_eq!(guesses.begin(&"a", at(1000)).unwrap_err(), TooManyGuesses { retry_after_seconds: 60 });
        assert!(guesses.begin(&"b", at(1000)).is_ok(), "others go on");
        assert!(guesses.begin(&"a", at(1060)).is_ok());
        assert!(guesses.begin(&"a", at(1060)).is_err());
    }

    /// How many of many guesses are let through while a user code lives, by these people in turn.
    fn let_through(people: u64) -> u64 {
        let guesses = Guesses::default();
        let per_second =
            |second| (0..people).filter(move |person| person % 20 == second % 20).map(move |person| (person, second));
        let counted = (0..USER_CODE_SECONDS).flat_map(per_second).map(|(person, second)| {
            let now = UnixTime::from_seconds(1000 + second);
            // As the page of devices does, with a place for each person.
            let tries = || {
                let of_person = guesses.begin(&person, now).ok()?;
                match guesses.begin(&(person, "place"), now) {
                    Ok(_) => Some(()),
                    Err(_) => {
                        of_person.take_back();
                        None
                    }
                }
            };
            std::iter::from_fn(tries).count() as u64
        });
        counted.sum()
    }

    const USER_CODE_SECONDS: u64 = 600;

    #[test]
    fn dv_1_a_given_code_is_found_with_less_than_one_chance_in_ten_thousand() {
        let codes = 20_f64.powi(8);
        let chance = |guesses: u64| f64::from(u32::try_from(guesses).unwrap()) / codes;
        assert!(chance(1_000_000) < 1e-4, "a million guesses");
        let bound = PLACES as u64 * (GUESSES_MAX + USER_CODE_SECONDS * 1000 / INTERVAL_MS) / 2;
        assert_eq!(bound, 163_840);
        for (people, bound) in [(1, 20), (100, 2_000), (100_000, bound)] {
            let guessed = let_through(people);
            assert!(guessed > 0 && guessed <= bound, "{people} people: {guessed}");
            assert!(chance(guessed) < 1e-4, "{people} people: {guessed}");
        }
    }

    #[test]
    fn right_guesses_are_no_guesses() {
        let guesses = Guesses::default();
        for _ in 0..100 {
            guesses.begin(&"a", UnixTime::from_seconds(1000)).unwrap().take_back();
        }
    }
}
