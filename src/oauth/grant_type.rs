//! Grant types (RFC 6749 §1.3): the values of `grant_type` that the token endpoint knows.

use serde::{Deserialize, Serialize};

/// A way to get a token. One file of `grant/` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.1: a person has let the client act for them, and the client shows the code that says so.
    AuthorizationCode,
    /// RFC 6749 §4.4: the client acts for itself.
    ClientCredentials,
    /// RFC 8628 §3.4: a person has let a device act for them, on a page that another device showed.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// RFC 6749 §6: the client goes on with what it was granted before.
    RefreshToken,
}

impl GrantType {
    /// Every grant type there is.
    pub const ALL: [Self; 4] = [Self::AuthorizationCode, Self::ClientCredentials, Self::DeviceCode, Self::RefreshToken];

    /// The value of `grant_type` on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// The grant type of that name, if we know it. Names are compared byte by byte.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant_type| grant_type.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_a_request_and_in_metadata() {
        for grant_type in GrantType::ALL {
            assert_eq!(GrantType::from_name(grant_type.as_str()), Some(grant_type));
            assert_eq!(serde_json::to_value(grant_type).unwrap(), grant_type.as_str());
        }
        assert_eq!(GrantType::from_name("Authorization_Code"), None);
    }
}
