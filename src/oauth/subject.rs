//! Subjects: who a token speaks of (`sub`, RFC 7519 §4.1.2, RFC 9068 §2.2).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The `sub` of a person: 1 to [`SUBJECT_BYTES_MAX`] characters of visible ASCII, compared byte by byte, never given to somebody
/// else. Clones share one text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(Arc<str>);

/// The longest `sub`, in bytes (`OpenID` Connect Core §2).
pub const SUBJECT_BYTES_MAX: usize = 255;

/// A text that is no [`Subject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subject must have 1 to 255 characters of visible ASCII")]
pub struct InvalidSubject;

impl Subject {
    /// Reads a `sub`.
    ///
    /// # Errors
    ///
    /// [`InvalidSubject`] when the text is empty, too long, or holds anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self, InvalidSubject> {
        let fits = (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(Arc::from(text))) } else { Err(InvalidSubject) }
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Subject {
    type Error = InvalidSubject;

    fn try_from(text: String) -> Result<Self, InvalidSubject> {
        Self::parse(&text)
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.as_str().to_owned()
    }
}

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subject({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_visible_ascii() {
        for text in ["a", "user:1", "0b6f-77", &"x".repeat(255)] {
            assert!(Subject::parse(text).is_ok(), "{text:?}");
        }
        for text in ["", " ", "a b", "é", "a\n", "a\u{200b}", &"x".repeat(256)] {
            assert_eq!(Subject::parse(text), Err(InvalidSubject), "{text:?}");
        }
    }
}
