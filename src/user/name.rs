//! The name by which a person logs in.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A username: 1 to [`USER_NAME_BYTES_MAX`] characters of `a` to `z`, `0` to `9` and `._-@+`, so that an email address can be
/// one. Input in upper case is folded to lower case.
///
/// One person has one name and one name is one person's: with all of Unicode there would be texts that look alike
/// (`аdmin` with a Cyrillic а), fold alike in one place and not in another (`ı`, `ß`), or differ by what nobody sees, and each of
/// them could be a second account. People's own names, in all scripts, stand in their profile.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// The longest username, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 128;

/// A text that is no [`UserName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a username must have 1 to 128 characters of a-z, 0-9 and ._-@+")]
pub struct InvalidUserName;

impl UserName {
    /// Reads a username, in either case.
    ///
    /// # Errors
    ///
    /// [`InvalidUserName`] when the text is empty, too long, or has any other character. Spaces at its ends are no exception.
    pub fn parse(text: &str) -> Result<Self, InvalidUserName> {
        let fits = (1..=USER_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
        if fits { Ok(Self(Arc::from(text.to_ascii_lowercase()))) } else { Err(InvalidUserName) }
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+')
}

impl Borrow<str> for UserName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UserName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_case_are_one() {
        for text in ["Alice", "ALICE", "alice"] {
            assert_eq!(UserName::parse(text).unwrap().as_str(), "alice");
        }
        for text in ["a", "alice.b+c@example.com", "x_1-2", &"x".repeat(128)] {
            assert_eq!(UserName::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_look_like_another_name_is_none() {
        for text in [
            "",
            " alice",
            "alice ",
            "al ice",
            "аlice",
            "ａlice",
            "İ",
            "ı",
            "straße",
            "\u{212a}",
            "a\u{200b}",
            "a\n",
            "a/b",
            &"x".repeat(129),
        ] {
            assert_eq!(UserName::parse(text), Err(InvalidUserName), "{text:?}");
        }
    }
}
