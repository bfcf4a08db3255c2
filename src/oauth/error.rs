//! Errors that a client is told about (RFC 6749 §5.2, RFC 6750 §3.1).

use std::borrow::Cow;
use std::fmt;

/// What the `error` member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// Client authentication failed, or none was given.
    InvalidClient,
    /// This client may not do this.
    UnauthorizedClient,
    /// The grant type is not known here.
    UnsupportedGrantType,
    /// The scope is malformed, or wider than the client may ask for.
    InvalidScope,
    /// RFC 6750 §3.1: the bearer token is missing, unknown, expired or revoked.
    InvalidToken,
    /// RFC 6750 §3.1: the bearer token lacks the scope for this.
    InsufficientScope,
    /// RFC 7591 §3.2.2: a member of the client's metadata is not allowed.
    InvalidClientMetadata,
    /// RFC 6749 §4.1.2.1: not now; the same request may succeed later.
    TemporarilyUnavailable,
}

impl OAuthErrorCode {
    /// The value of `error` on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// An error of the protocol with a sentence for the developer who reads it.
///
/// The description holds nothing that the caller sent: RFC 6749 §5.2 bounds its characters, and logs carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    /// What went wrong, for programs.
    pub code: OAuthErrorCode,
    /// What went wrong and what is allowed, for people.
    pub description: Cow<'static, str>,
}

impl OAuthError {
    /// An error with its description.
    pub fn new(code: OAuthErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into() }
    }

    /// [`OAuthErrorCode::InvalidRequest`] with its description.
    pub fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(OAuthErrorCode::InvalidRequest, description)
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.description)
    }
}

impl std::error::Error for OAuthError {}
