//! What is sent: bytes that were made before, put together without an allocation.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;

use crate::engine::answer::Expected;

/// The requests of one thread, one after the other.
pub(crate) trait Requests: Send {
    /// Appends the next request. `None` where there are no more.
    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Sent>;

    /// Takes a right answer, as it came, to a request whose answer was to be kept.
    fn take_answer(&mut self, _answer: &[u8]) {}
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) expected: Expected,
    /// Whether its time counts.
    pub(crate) is_timed: bool,
    /// Whether a later request is made of its answer.
    pub(crate) keeps_answer: bool,
}

/// Tokens of the same length, one after the other: a million of them are one allocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    text: Vec<u8>,
    length: usize,
}

impl Tokens {
    /// Adds one; whether it is as long as the others.
    pub(crate) fn push(&mut self, token: &str) -> bool {
        if self.text.is_empty() {
            self.length = token.len();
        }
        let fits = token.len() == self.length && self.length > 0;
        if fits {
            self.text.extend_from_slice(token.as_bytes());
        }
        fits
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len().checked_div(self.length).unwrap_or_default()
    }

    /// The length of each, in bytes.
    pub(crate) const fn token_bytes(&self) -> usize {
        self.length
    }

    pub(crate) fn at(&self, number: usize) -> Option<&[u8]> {
        let start = number.checked_mul(self.length)?;
        self.text.get(start..start.checked_add(self.length)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.chunks(self.length.max(1)).filter_map(|token| str::from_utf8(token).ok())
    }
}

/// Which tokens a thread asks about.
pub(crate) enum Order {
    /// Any of all, every time.
    Random(fastrand::Rng),
    /// Each once, from this number up to that.
    Once(std::ops::Range<usize>),
}

/// Forms that end with a token: in front of it the head of any of those who ask.
pub(crate) struct TokenForms {
    /// All of a request but the token.
    pub(crate) fronts: Arc<Vec<Vec<u8>>>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) order: Order,
    pub(crate) expected: Expected,
    /// Whose front is next.
    pub(crate) asker: usize,
}

impl Requests for TokenForms {
    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Sent> {
        let number = match &mut self.order {
            Order::Random(random) => random.usize(..self.tokens.len().max(1)),
            Order::Once(numbers) => numbers.next()?,
        };
        let token = self.tokens.at(number)?;
        let front = self.fronts.get(self.asker)?;
        self.asker = (self.asker + 1) % self.fronts.len();
        out.extend_from_slice(front);
        out.extend_from_slice(token);
        Some(Sent { expected: self.expected, is_timed: true, keeps_answer: false })
    }
}

/// Any of some whole requests, every time.
pub(crate) struct Ready {
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
    pub(crate) random: fastrand::Rng,
    pub(crate) expected: Expected,
}

impl Requests for Ready {
    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Sent> {
        out.extend_from_slice(self.requests.get(self.random.usize(..self.requests.len().max(1)))?);
        Some(Sent { expected: self.expected, is_timed: true, keeps_answer: false })
    }
}

/// Refresh tokens that are good now, and wait to be used. Each is the last of its chain.
pub(crate) type Leaves = Arc<Mutex<VecDeque<Box<[u8]>>>>;

/// Refreshes: each answer has the token of a later request.
pub(crate) struct Chains {
    /// All of a request but the token.
    pub(crate) front: Arc<Vec<u8>>,
    /// Where the tokens came from and go back to.
    pub(crate) home: Leaves,
    /// Those of this thread. Whose answer is wrong is not used again.
    pub(crate) leaves: VecDeque<Box<[u8]>>,
    pub(crate) expected: Expected,
}

impl Requests for Chains {
    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Sent> {
        let leaf = self.leaves.pop_front()?;
        out.extend_from_slice(&self.front);
        out.extend_from_slice(&leaf);
        Some(Sent { expected: self.expected, is_timed: true, keeps_answer: true })
    }

    fn take_answer(&mut self, answer: &[u8]) {
        let begin = memmem::find(answer, REFRESH_TOKEN).map(|at| at + REFRESH_TOKEN.len());
        let token = begin.and_then(|begin| answer.get(begin..)?.split(|byte| *byte == b'"').next());
        self.leaves.extend(token.map(Box::from));
    }
}

impl Drop for Chains {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.leaves);
    }
}

const REFRESH_TOKEN: &[u8] = br#""refresh_token":""#;

/// Several kinds, each with its share of all.
pub(crate) struct Mix {
    pub(crate) parts: Vec<Part>,
    pub(crate) random: fastrand::Rng,
}

pub(crate) struct Part {
    pub(crate) share: f64,
    pub(crate) is_timed: bool,
    pub(crate) requests: Box<dyn Requests>,
}

impl Requests for Mix {
    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Sent> {
        let mut at = self.random.f64() * self.parts.iter().map(|part| part.share).sum::<f64>();
        for part in &mut self.parts {
            at -= part.share;
            if at < 0.0 {
                let sent = part.requests.write_next(out)?;
                return Some(Sent { is_timed: part.is_timed, ..sent });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(order: Order) -> TokenForms {
        let mut tokens = Tokens::default();
        assert!(tokens.push("one") && tokens.push("two") && tokens.push("six"));
        assert!(!tokens.push("three"));
        let fronts = Arc::new(vec![b"a:".to_vec(), b"b:".to_vec()]);
        TokenForms { fronts, tokens: Arc::new(tokens), order, expected: b"", asker: 0 }
    }

    fn all_of(requests: &mut impl Requests, count: usize) -> Vec<String> {
        let mut written = Vec::new();
        for _ in 0..count {
            let mut out = Vec::new();
            if requests.write_next(&mut out).is_some() {
                written.push(String::from_utf8(out).unwrap());
            }
        }
        written
    }

    #[test]
    fn each_token_once_and_no_more() {
        assert_eq!(all_of(&mut forms(Order::Once(1..3)), 5), ["a:two", "b:six"]);
    }

    #[test]
    fn all_tokens_at_random() {
        let mut written = all_of(&mut forms(Order::Random(fastrand::Rng::with_seed(1))), 100);
        written.sort();
        written.dedup();
        assert_eq!(written, ["a:one", "a:six", "a:two", "b:one", "b:six", "b:two"]);
    }

    #[test]
    fn each_refresh_uses_the_token_of_the_answer_before_and_the_last_goes_back() {
        let home = Leaves::default();
        let leaves = VecDeque::from([Box::from(*b"one"), Box::from(*b"two")]);
        let front = Arc::new(b"t=".to_vec());
        let mut chains = Chains { front, home: Arc::clone(&home), leaves, expected: b"" };
        assert_eq!(all_of(&mut chains, 3), ["t=one", "t=two"]);
        chains.take_answer(br#"{"access_token":"a","refresh_token":"three","scope":"read"}"#);
        assert_eq!(all_of(&mut chains, 2), ["t=three"]);
        chains.take_answer(br#"{"refresh_token":"four"}"#);
        drop(chains);
        assert_eq!(*home.lock().unwrap(), [Box::<[u8]>::from(*b"four")]);
    }

    #[test]
    fn a_mix_has_its_shares() {
        let part = |share, text: &str| {
            let requests = Arc::new(vec![text.as_bytes().to_vec()]);
            let ready = Ready { requests, random: fastrand::Rng::with_seed(1), expected: b"" };
            Part { share, is_timed: true, requests: Box::new(ready) }
        };
        let mut mix = Mix { parts: vec![part(9.0, "x"), part(1.0, "y")], random: fastrand::Rng::with_seed(1) };
        let written = all_of(&mut mix, 10_000);
        let rare = written.iter().filter(|text| *text == "y").count();
        assert!(rare.abs_diff(1000) < 100, "{rare}");
    }
}
