//! How often somebody may be wrong: a user code has 34.5 bits, so nobody may try many.
//!
//! A guess counts for the person and for the place that it comes from, and both must have one left: 10 at once, and one more each
//! minute. In the ten minutes of a user code that is 20 guesses a person and 20 a place, and, as there are 16,384 counts and a guess
//! takes two, 163,840 guesses of all people together, however many accounts and addresses they have. Of 20⁸ codes they find a given
//! one with a chance of 8·10⁻¹⁰ (one person) or 6·10⁻⁶ (everybody); the bar is 10⁻⁴, which is also more than a million guesses
//! would have (RFC 8628 §5.1).
//!
//! Whoever has guessed has a count of their own until all of it is forgiven. Only where more than eight people and places of one set
//! have guessed of late does one more share a count: none gives way to another, for then many accounts would be a way around.
//!
//! Registrations of clients are counted likewise: with other numbers, and those that come to nothing are taken back.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::clock::UnixTime;

/// Counts wrong guesses by whom they come from. Takes the same memory, whoever comes.
#[derive(Debug)]
pub struct Guesses {
    sets: Box<[Mutex<Set>]>,
    hasher: RandomState,
    rate: Rate,
}

/// So many at once, and then one in each interval.
#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: u64,
    interval_ms: u64,
}

/// A guess that counts as wrong until it is taken back.
#[derive(Debug)]
pub struct Guess<'a> {
    set: &'a Mutex<Set>,
    /// Of the count that it is in.
    hash: u64,
    interval_ms: u64,
}

/// There were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyGuesses {
    /// How long until there may be one more, in seconds.
    pub retry_after_seconds: u64,
}

type Set = [Count; WAYS];

/// What is counted of somebody.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Of whose it is.
    hash: u64,
    /// When all of it will be forgiven, in milliseconds since the epoch. From then on it is anybody's.
    forgiven_at_ms: u64,
}

/// Counts, in 256 KiB.
const COUNTS: usize = 16_384;
const WAYS: usize = 8;
const GUESSES_MAX: u64 = 10;
const INTERVAL_MS: u64 = 60_000;

impl Default for Guesses {
    fn default() -> Self {
        Self::at(GUESSES)
    }
}

const GUESSES: Rate = Rate { at_once: GUESSES_MAX, interval_ms: INTERVAL_MS };
const HOUR_MS: u64 = 3_600_000;

impl Guesses {
    /// So many at once, and as many in each hour after that; at least one.
    pub(super) fn per_hour(count: u32) -> Self {
        let at_once = u64::from(count.max(1));
        Self::at(Rate { at_once, interval_ms: HOUR_MS / at_once.min(HOUR_MS) })
    }

    fn at(rate: Rate) -> Self {
        let sets = (0..COUNTS / WAYS).map(|_| Mutex::default()).collect();
        Self { sets, hasher: RandomState::new(), rate }
    }

    /// Counts a guess of that one as wrong from its beginning, so that many at once are no way around.
    pub(super) fn begin(&self, who: &impl Hash, now: UnixTime) -> Result<Guess<'_>, TooManyGuesses> {
        let hash = self.hasher.hash_one(who);
        let set = usize::try_from(hash % self.sets.len() as u64).ok().and_then(|set| self.sets.get(set));
        let Some(set) = set else { return Err(TooManyGuesses { retry_after_seconds: 1 }) };
        let now_ms = now.as_millis();
        let mut counts = set.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = count_of(&mut counts, hash, now_ms) else {
            return Err(TooManyGuesses { retry_after_seconds: 1 });
        };
        count.add(now_ms, self.rate)?;
        Ok(Guess { set, hash: count.hash, interval_ms: self.rate.interval_ms })
    }
}

/// Where a guess of that one counts: in a count of their own, else in one that is nobody's any more, else in somebody else's, which
/// is always the same.
fn count_of(counts: &mut Set, hash: u64, now_ms: u64) -> Option<&mut Count> {
    let is_taken = |count: &Count| count.forgiven_at_ms > now_ms;
    if let Some(own) = counts.iter().position(|count| is_taken(count) && count.hash == hash) {
        return counts.get_mut(own);
    }
    if let Some(free) = counts.iter().position(|count| !is_taken(count)) {
        let count = counts.get_mut(free)?;
        *count = Count { hash, forgiven_at_ms: now_ms };
        return Some(count);
    }
    // The set was chosen by the other end of the hash.
    counts.get_mut(usize::try_from(hash >> 32).unwrap_or_default() % WAYS)
}

impl Count {
    fn add(&mut self, now_ms: u64, Rate { at_once, interval_ms }: Rate) -> Result<(), TooManyGuesses> {
        let counted = self.forgiven_at_ms.max(now_ms) + interval_ms;
        let Some(beyond_ms) = (counted - now_ms).checked_sub(at_once * interval_ms).filter(|beyond| *beyond > 0) else {
            self.forgiven_at_ms = counted;
            return Ok(());
        };
        Err(TooManyGuesses { retry_after_seconds: beyond_ms.div_ceil(1000) })
    }
}

impl Guess<'_> {
    /// It was right.
    pub(super) fn take_back(self) {
        let mut counts = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been forgiven meanwhile, and the count another's.
        if let Some(count) = counts.iter_mut().find(|count| count.hash == self.hash) {
            count.forgiven_at_ms = count.forgiven_at_ms.saturating_sub(self.interval_ms);
        }
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

    #[test]
    fn eight_of_one_set_have_a_count_each_and_a_ninth_shares_one() {
        let at = |seconds| UnixTime::from_seconds(seconds).as_millis();
        let mut set = Set::default();
        let mut guess = |who: u64, seconds| {
            let count = count_of(&mut set, who, at(seconds)).unwrap();
            count.add(at(seconds), GUESSES).map(|()| count.hash).ok()
        };
        for who in 1..=8 {
            for _ in 0..GUESSES_MAX - u64::from(who == 5) {
                assert_eq!(guess(who, 1000), Some(who));
            }
        }
        let ninth = 9 | 4 << 32;
        assert_eq!(guess(ninth, 1000), Some(5), "who came before does not give way");
        assert_eq!([5, ninth].map(|who| guess(who, 1000)), [None; 2], "it was the last one of both");
        assert_eq!([1, ninth].map(|who| guess(who, 1060)), [Some(1), Some(5)]);
        assert_eq!([1, ninth].map(|who| guess(who, 1060)), [None; 2]);
        assert_eq!(guess(ninth, 1700), Some(ninth), "what was forgiven is anybody's");
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
        let bound = COUNTS as u64 * (GUESSES_MAX + USER_CODE_SECONDS * 1000 / INTERVAL_MS) / 2;
        assert_eq!(bound, 163_840);
        for (people, bound) in [(1, 20), (100, 2_000), (100_000, bound)] {
            let guessed = let_through(people);
            assert!(guessed > 0 && guessed <= bound, "{people} people: {guessed}");
            assert!(chance(guessed) < 1e-4, "{people} people: {guessed}");
        }
    }

    #[test]
    fn so_many_an_hour_are_let_through_at_once_and_then_one_by_one() {
        let registrations = Guesses::per_hour(3);
        let at = UnixTime::from_seconds;
        let begin =
            |second| registrations.begin(&"a", at(second)).map(|_| ()).map_err(|error| error.retry_after_seconds);
        assert_eq!([1000, 1000, 1000, 1000].map(begin), [Ok(()), Ok(()), Ok(()), Err(1200)]);
        assert_eq!([2200, 2200].map(begin), [Ok(()), Err(1200)]);
        registrations.begin(&"a", at(3400)).unwrap().take_back();
        assert_eq!([3400, 3400].map(begin), [Ok(()), Err(1200)]);
    }

    #[test]
    fn right_guesses_are_no_guesses() {
        let guesses = Guesses::default();
        for _ in 0..100 {
            guesses.begin(&"a", UnixTime::from_seconds(1000)).unwrap().take_back();
        }
    }
}
