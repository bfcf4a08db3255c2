//! Scope (RFC 6749 §3.3).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A set of scope tokens in the order in which they were first named, without repeats. May be empty.
///
/// At most [`SCOPE_BYTES_MAX`] bytes. Clones share one string.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    text: Arc<str>,
}

/// The scope token that makes a request one of `OpenID` Connect (Core §3.1.2.1).
pub const OPENID_SCOPE: &str = "openid";

/// The longest scope that is read, in bytes.
pub const SCOPE_BYTES_MAX: usize = 4096;

/// Why a text is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// Longer than [`SCOPE_BYTES_MAX`].
    #[error("scope is longer than 4096 bytes")]
    TooLong,
    /// A character outside of RFC 6749 §3.3, or tokens not parted by exactly one space.
    #[error("scope must be tokens of printable ASCII without '\"' and '\\', parted by single spaces")]
    Syntax,
}

impl Scope {
    /// Reads `scope-token *( SP scope-token )`; the empty text is the empty scope.
    ///
    /// # Errors
    ///
    /// [`InvalidScope`] for anything else (RFC 6749 §3.3).
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        if text.len() > SCOPE_BYTES_MAX {
            return Err(InvalidScope::TooLong);
        }
        if text.is_empty() {
            return Ok(Self::empty());
        }
        if !text.split(' ').all(is_scope_token) {
            return Err(InvalidScope::Syntax);
        }
        Ok(Self::without_repeats(text))
    }

    /// The scope that allows nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { text: Arc::from("") }
    }

    /// Whether no token is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The tokens, parted by single spaces: the form that goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The tokens one by one.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.text.split(' ').filter(|token| !token.is_empty())
    }

    /// Whether `token` is in it.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.tokens().any(|own| own == token)
    }

    /// Whether every token of it is in `other`. Linear in the length of both.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        if self.text == other.text {
            return true;
        }
        let allowed: HashSet<&str> = other.tokens().collect();
        self.tokens().all(|token| allowed.contains(token))
    }

    fn without_repeats(text: &str) -> Self {
        let mut seen = HashSet::new();
        let kept: Vec<&str> = text.split(' ').filter(|token| seen.insert(*token)).collect();
        Self { text: Arc::from(kept.join(" ")) }
    }
}

impl TryFrom<String> for Scope {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, InvalidScope> {
        Self::parse(&text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.as_str().to_owned()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Scope({:?})", self.as_str())
    }
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`
fn is_scope_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, InvalidScope>) {
        assert_eq!(Scope::parse(text).as_ref().map(Scope::as_str).map_err(|error| *error), expected, "{text:?}");
    }

    #[test]
    fn a_scope_is_tokens_parted_by_single_spaces() {
        check("", Ok(""));
        check("read", Ok("read"));
        check("read write:all !#[]~", Ok("read write:all !#[]~"));
        for text in [" ", " read", "read ", "read  write", "a\tb", "a\nb", "a\"b", "a\\b", "é", "a\u{0}b", "a\u{7f}"] {
            check(text, Err(InvalidScope::Syntax));
        }
        check(&"a".repeat(4096), Ok(&"a".repeat(4096)));
        check(&"a".repeat(4097), Err(InvalidScope::TooLong));
    }

    #[test]
    fn a_repeated_token_counts_once() {
        check("b a b a", Ok("b a"));
    }

    #[test]
    fn a_subset_names_no_token_of_its_own() {
        let subset = |one: &str, other: &str| Scope::parse(one).unwrap().is_subset_of(&Scope::parse(other).unwrap());
        assert!(subset("", "a"));
        assert!(subset("b a", "a b c"));
        assert!(!subset("a d", "a b c"));
        assert!(!subset("A", "a"));
        assert!(!subset("a", ""));
    }
}
