//! User codes (RFC 8628 §6.1): what a person types from one device into another.

use std::fmt;

use ring::hmac;
use ring::rand::SecureRandom;

use crate::token::access_token::RoutingId;

/// Eight letters out of twenty, no vowel among them so that no word comes out: 34.5 bits. Shown as `BCDF-GHJK`.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode([u8; LETTERS]);

/// Makes the routing id of a user code: a keyed hash, so that a device code, which holds it, tells nothing of the user code.
#[derive(Clone)]
pub struct UserCodeKey(hmac::Key);

const LETTERS: usize = 8;
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl UserCode {
    /// A new code.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut letters = [0; LETTERS];
        let mut found = 0;
        while found < LETTERS {
            let mut bytes = [0; LETTERS * 2];
            random.fill(&mut bytes)?;
            // The largest multiple of 20 in a byte is 240: what is above would make some letters likelier than others.
            let fair = bytes.iter().filter(|byte| **byte < 240);
            for (letter, byte) in letters.iter_mut().skip(found).zip(fair) {
                *letter = ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied().unwrap_or_default();
                found += 1;
            }
        }
        Ok(Self(letters))
    }

    /// Reads what a person has typed: case, spaces and dashes do not matter (RFC 8628 §6.1).
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > TYPED_BYTES_MAX {
            return None;
        }
        let mut letters =
            typed.bytes().filter(|byte| !matches!(byte, b' ' | b'-')).map(|byte| byte.to_ascii_uppercase());
        let mut code = [0; LETTERS];
        for place in &mut code {
            *place = letters.next().filter(|letter| ALPHABET.contains(letter))?;
        }
        letters.next().is_none().then_some(Self(code))
    }
}

/// The longest text that is looked at, in bytes.
const TYPED_BYTES_MAX: usize = 32;

impl UserCodeKey {
    /// The key of the installation.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Where a device request of this code lives.
    #[must_use]
    pub fn routing_id(&self, code: &UserCode) -> RoutingId {
        let hash = hmac::sign(&self.0, &code.0);
        RoutingId(u64::from_le_bytes(hash.as_ref().first_chunk().copied().unwrap_or_default()))
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::str::from_utf8(&self.0).unwrap_or_default();
        let (first, second) = text.split_at_checked(LETTERS / 2).unwrap_or_default();
        write!(formatter, "{first}-{second}")
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserCode(..)")
    }
}

impl fmt::Debug for UserCodeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserCodeKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_read_whatever_its_case_and_dashes() {
        let code = UserCode::parse("BCDF-GHJK").unwrap();
        assert_eq!(code.to_string(), "BCDF-GHJK");
        for typed in ["bcdfghjk", " bcdf ghjk ", "b-c-d-f-g-h-j-k", "BCDF--GHJK"] {
            assert_eq!(UserCode::parse(typed).as_ref(), Some(&code), "{typed:?}");
        }
        let long = "BCDF-GHJK".to_owned() + &" ".repeat(24);
        for typed in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF_GHJK", "ＢCDF-GHJK", "BCDF-GHJ\u{212a}", &long]
        {
            assert_eq!(UserCode::parse(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn a_random_code_is_read_back_and_every_letter_comes_up() {
        let random = ring::rand::SystemRandom::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let code = UserCode::random(&random).unwrap();
            assert_eq!(UserCode::parse(&code.to_string()).as_ref(), Some(&code));
            seen.extend(code.0);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ALPHABET);
    }

    #[test]
    fn where_a_code_lives_is_for_the_key_to_say() {
        let [key, other] = [[1; 32], [2; 32]].map(|bytes| UserCodeKey::new(&bytes));
        let [one, another] = ["BCDF-GHJK", "BCDF-GHJL"].map(|code| UserCode::parse(code).unwrap());
        assert_eq!(key.routing_id(&one), key.routing_id(&one));
        assert_ne!(key.routing_id(&one), key.routing_id(&another));
        assert_ne!(key.routing_id(&one), other.routing_id(&one));
    }
}
