//! Grant types (RFC 6749 §1.3): the values of `grant_type` that the token endpoint knows.

use serde::{Deserialize, Serialize};

/// A way to get a token. One file of `grant/` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.4: the client acts for itself.
    ClientCredentials,
}

impl GrantType {
    /// Every grant type there is.
    pub const ALL: [Self; 1] = [Self::ClientCredentials];

    /// The value of `grant_type` on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
        }
    }

    /// The grant type of that name, if we know it. Names are compared byte by byte.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant_type| grant_type.as_str() == name)
    }
}
