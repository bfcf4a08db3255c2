//! Errors that a client is told about (RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, RFC 8628 §3.5, RFC 8707 §2, `OpenID` Connect Core §3.1.2.6).

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
    /// The code, device code or refresh token is unknown, expired, used up, or another client's.
    InvalidGrant,
    /// The grant type is not known here.
    UnsupportedGrantType,
    /// The scope is malformed, or wider than the client may ask for.
    InvalidScope,
    /// RFC 8707 §2: a resource is malformed, or none that the client may have tokens for.
    InvalidTarget,
    /// RFC 6750 §3.1: the bearer token is missing, unknown, expired or revoked.
    InvalidToken,
    /// RFC 6750 §3.1: the bearer token lacks the scope for this.
    InsufficientScope,
    /// RFC 7591 §3.2.2: a member of the client's metadata is not allowed.
    InvalidClientMetadata,
    /// RFC 7591 §3.2.2: a redirect URI is not allowed.
    InvalidRedirectUri,
    /// RFC 7591 §3.2.2: the software statement is none.
    InvalidSoftwareStatement,
    /// RFC 7591 §3.2.2: nobody trusts the software statement.
    UnapprovedSoftwareStatement,
    /// RFC 6749 §4.1.2.1: this response type is not given.
    UnsupportedResponseType,
    /// RFC 6749 §4.1.2.1, RFC 8628 §3.5: the user has said no.
    AccessDenied,
    /// RFC 6749 §4.1.2.1: the server failed.
    ServerError,
    /// RFC 6749 §4.1.2.1: not now; the same request may succeed later.
    TemporarilyUnavailable,
    /// RFC 8628 §3.5: the user has not decided yet.
    AuthorizationPending,
    /// RFC 8628 §3.5: the user has not decided yet, and the client asks too often.
    SlowDown,
    /// RFC 8628 §3.5: the device code has expired.
    ExpiredToken,
    /// `OpenID` Connect Core §3.1.2.6: `prompt=none`, and the user would have to log in.
    LoginRequired,
    /// `OpenID` Connect Core §3.1.2.6: `prompt=none`, and the user would have to consent.
    ConsentRequired,
    /// `OpenID` Connect Core §3.1.2.6: `prompt=none`, and the user would have to do something else.
    InteractionRequired,
    /// `OpenID` Connect Core §6.1: requests as JWTs are not read.
    RequestNotSupported,
    /// `OpenID` Connect Core §6.2: requests are not fetched from elsewhere.
    RequestUriNotSupported,
    /// RFC 9101 §7: `request_uri` names no pushed request, or one that has expired.
    InvalidRequestUri,
}

impl OAuthErrorCode {
    /// The value of `error` on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidSoftwareStatement => "invalid_software_statement",
            Self::UnapprovedSoftwareStatement => "unapproved_software_statement",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::AccessDenied => "access_denied",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InteractionRequired => "interaction_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::InvalidRequestUri => "invalid_request_uri",
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
