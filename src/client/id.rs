//! The name of a client.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};

/// A `client_id` (RFC 6749 §2.2): 1 to [`CLIENT_ID_BYTES_MAX`] printable ASCII characters (`VSCHAR`, Appendix A.1), compared
/// byte by byte. No two texts name one client: there is no case folding and no normalisation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Arc<str>);

/// The longest `client_id`, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 255;

/// A text that is no [`ClientId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client_id must have 1 to 255 characters of visible ASCII")]
pub struct InvalidClientId;

impl ClientId {
    /// Reads a `client_id`. A space is VSCHAR, but at either end it could not be seen: it is refused anywhere.
    ///
    /// # Errors
    ///
    /// [`InvalidClientId`] when the text is empty, too long, or holds anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self, InvalidClientId> {
        let fits = (1..=CLIENT_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(Arc::from(text))) } else { Err(InvalidClientId) }
    }

    /// A new `client_id` of 128 random bits in hexadecimal, which no command line takes for a flag.
    ///
    /// # Errors
    ///
    /// [`ring::error::Unspecified`] when the system has no randomness to give.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0_u8; 16];
        random.fill(&mut bytes)?;
        Ok(Self(Arc::from(format!("{:032x}", u128::from_le_bytes(bytes)))))
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientId {
    type Error = InvalidClientId;

    fn try_from(text: String) -> Result<Self, InvalidClientId> {
        Self::parse(&text)
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.as_str().to_owned()
    }
}

impl Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_visible_ascii() {
        for text in ["a", "my-app_1.2~", "https://api.example/", &"x".repeat(255)] {
            assert!(ClientId::parse(text).is_ok(), "{text:?}");
        }
        for text in ["", " ", "a b", "a ", "é", "a\u{200b}", "ａ", "a\n", &"x".repeat(256)] {
            assert_eq!(ClientId::parse(text), Err(InvalidClientId), "{text:?}");
        }
    }

    #[test]
    fn twins_in_case_are_two_clients() {
        assert_ne!(ClientId::parse("App"), ClientId::parse("app"));
    }
}
