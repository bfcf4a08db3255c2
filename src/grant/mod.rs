//! Grants: from an authenticated token request to what is granted. Pure: one file per grant type (RFC 6749 §1.3).
//!
//! A new grant type is a new file here, one arm in [`decide`], and one value in
//! [`GrantType`].

mod client_credentials;

use std::sync::Arc;

use crate::client::Client;
use crate::clock::UnixTime;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::grant_type::GrantType;
use crate::token::grant::GrantTerms;

/// A token request (RFC 6749 §3.2) without the client authentication, which the worker has done.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest<'a> {
    /// `grant_type`
    pub grant_type: &'a str,
    /// `scope`, if it was sent and not empty.
    pub scope: Option<&'a str>,
}

/// What is granted: the terms, and when the token is issued and expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// What the token will be good for.
    pub terms: Arc<GrantTerms>,
    /// In seconds since the epoch.
    pub issued_at: u32,
    /// In seconds since the epoch, after `issued_at`.
    pub expires_at: u32,
}

/// What is granted when the client does not say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// How long an access token lives, in seconds, at least 1.
    pub access_token_lifetime_seconds: u32,
}

/// Decides about a token request of an authenticated client.
///
/// # Errors
///
/// `unsupported_grant_type`, `unauthorized_client` or `invalid_scope` (RFC 6749 §5.2), and what the grant type adds.
pub fn decide(
    request: &TokenRequest<'_>,
    client: &Client,
    defaults: &Defaults,
    now: UnixTime,
) -> Result<Granted, OAuthError> {
    let grant_type = GrantType::from_name(request.grant_type).ok_or_else(unsupported_grant_type)?;
    if !client.metadata.may_use(grant_type) {
        let description = "this client is not registered for this grant_type";
        return Err(OAuthError::new(OAuthErrorCode::UnauthorizedClient, description));
    }
    match grant_type {
        GrantType::ClientCredentials => client_credentials::decide(request, client, defaults, now),
    }
}

fn unsupported_grant_type() -> OAuthError {
    let known = GrantType::ALL.map(GrantType::as_str).join(", ");
    OAuthError::new(OAuthErrorCode::UnsupportedGrantType, format!("grant_type must be one of: {known}"))
}
