//! Audience: whom a token is meant for (`aud`, RFC 7662 §2.2, RFC 7519 §4.1.3).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The recipients of a token, in order. May be empty. Clones share one list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Audience {
    members: Arc<[Box<str>]>,
}

/// The most members that an audience may have.
pub const AUDIENCE_MEMBERS_MAX: usize = 32;
/// The longest member, in bytes.
pub const AUDIENCE_MEMBER_BYTES_MAX: usize = 512;

/// Why a list is no audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAudience {
    /// More than [`AUDIENCE_MEMBERS_MAX`] members.
    #[error("audience has more than 32 members")]
    TooMany,
    /// A member is empty, longer than [`AUDIENCE_MEMBER_BYTES_MAX`], or holds a control character or a space.
    #[error("an audience member must have 1 to 512 bytes without spaces and control characters")]
    Member,
    /// A member is named twice.
    #[error("an audience member is named twice")]
    Repeated,
}

impl Audience {
    /// Reads a list of recipients.
    ///
    /// # Errors
    ///
    /// [`InvalidAudience`] when there are too many, or one is out of bounds or repeated.
    pub fn parse<'a>(members: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidAudience> {
        let mut kept: Vec<Box<str>> = Vec::new();
        for member in members {
            if kept.len() == AUDIENCE_MEMBERS_MAX {
                return Err(InvalidAudience::TooMany);
            }
            if !is_member(member) {
                return Err(InvalidAudience::Member);
            }
            if kept.iter().any(|own| **own == *member) {
                return Err(InvalidAudience::Repeated);
            }
            kept.push(Box::from(member));
        }
        Ok(Self { members: Arc::from(kept) })
    }

    /// The audience that names nobody.
    #[must_use]
    pub fn empty() -> Self {
        Self { members: Arc::from([]) }
    }

    /// The recipients in order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &str> {
        self.members.iter().map(|member| &**member)
    }

    /// Whether it names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether `other` has every recipient of this.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.members().all(|member| other.contains(member))
    }

    /// Whether `recipient` is one of them, compared byte by byte.
    #[must_use]
    pub fn contains(&self, recipient: &str) -> bool {
        self.members().any(|member| member == recipient)
    }
}

impl TryFrom<Vec<String>> for Audience {
    type Error = InvalidAudience;

    fn try_from(members: Vec<String>) -> Result<Self, InvalidAudience> {
        Self::parse(members.iter().map(String::as_str))
    }
}

impl From<Audience> for Vec<String> {
    fn from(audience: Audience) -> Self {
        audience.members().map(str::to_owned).collect()
    }
}

fn is_member(text: &str) -> bool {
    (1..=AUDIENCE_MEMBER_BYTES_MAX).contains(&text.len())
        && !text.chars().any(|character| character.is_control() || character.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_a_short_list_of_distinct_names() {
        let parse =
            |members: &[&str]| Audience::parse(members.iter().copied()).map(|audience| audience.members().len());
        assert_eq!(parse(&[]), Ok(0));
        assert_eq!(parse(&["https://api.example/", "urn:x"]), Ok(2));
        assert_eq!(parse(&["a", "a"]), Err(InvalidAudience::Repeated));
        assert_eq!(parse(&[""]), Err(InvalidAudience::Member));
        assert_eq!(parse(&["a b"]), Err(InvalidAudience::Member));
        assert_eq!(parse(&[&"a".repeat(513)]), Err(InvalidAudience::Member));
        let many: Vec<String> = (0..33).map(|number| number.to_string()).collect();
        assert_eq!(parse(&many.iter().map(String::as_str).collect::<Vec<_>>()), Err(InvalidAudience::TooMany));
    }
}
