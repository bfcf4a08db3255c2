//! Response types (RFC 6749 §3.1.1): what the authorization endpoint gives.

use serde::{Deserialize, Serialize};

/// A value of `response_type`. The implicit grant and its mixtures are not offered (RFC 9700 §2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseType {
    /// An authorization code (RFC 6749 §4.1.1).
    Code,
}

impl ResponseType {
    /// Every response type there is.
    pub const ALL: [Self; 1] = [Self::Code];

    /// The value on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
        }
    }

    /// The response type of that name, if we know it. Names are compared byte by byte.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|response_type| response_type.as_str() == name)
    }
}
