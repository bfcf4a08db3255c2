//! Grants: from a token request to what is granted. Pure: one file per grant type (RFC 6749 §1.3), and beside them the
//! authorization request that a code begins with.
//!
//! A new grant type is a new file here, one value in [`GrantType`], and one arm in the token endpoint. What a client grants itself
//! a worker decides; what rests on a code or a refresh token the shard that has it.

pub mod authorization;
pub mod authorization_code;
pub mod client_assertion;
pub mod client_credentials;
pub mod device_code;
pub mod id_token_hint;
pub mod interaction;
pub mod refresh_token;
pub mod resource;

use std::sync::Arc;

use crate::client::Client;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::audience::Audience;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::grant_type::GrantType;
use crate::oauth::scope::Scope;
use crate::token::grant::{ClientTerms, GrantTerms};

/// What is granted: the terms, and when the token is issued and expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// What the token will be good for.
    pub terms: GrantTerms,
    /// In seconds since the epoch.
    pub issued_at: u32,
    /// In seconds since the epoch, after `issued_at`.
    pub expires_at: u32,
}

/// What is granted when the client does not say otherwise.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// How long an access token lives, in seconds, at least 1.
    pub access_token_lifetime_seconds: u32,
    /// What an access token is signed with that is a JWT.
    pub access_token_signing_alg: SigningAlgorithm,
    /// What an ID token is signed with: RS256 (`OpenID` Connect Registration §2), where there are such keys.
    pub id_token_signing_alg: SigningAlgorithm,
    /// How long an ID token is good, in seconds, at least 1.
    pub id_token_lifetime_seconds: u32,
    /// Whom it is for that is a JWT: this server (RFC 9068 §3).
    pub audience: Audience,
}

/// The grant type of a token request.
///
/// # Errors
///
/// `unsupported_grant_type` (RFC 6749 §5.2).
pub fn grant_type(name: &str) -> Result<GrantType, OAuthError> {
    GrantType::from_name(name).ok_or_else(unsupported_grant_type)
}

/// Whether a client may use a grant type.
///
/// # Errors
///
/// `unauthorized_client` (RFC 6749 §5.2).
pub fn allow(client: &Client, grant_type: GrantType) -> Result<(), OAuthError> {
    if client.metadata.may_use(grant_type) {
        return Ok(());
    }
    let description = "this client is not registered for this grant_type";
    Err(OAuthError::new(OAuthErrorCode::UnauthorizedClient, description))
}

/// What a client gets of that scope, for that audience, when it acts for itself, or before a person has granted it.
#[must_use]
pub fn terms_of(client: &Client, scope: Scope, audience: Audience) -> GrantTerms {
    GrantTerms::from(ClientTerms {
        id: client.id.clone(),
        generation: client.generation,
        in_force: Arc::clone(&client.in_force),
        scope,
        audience,
        claims: None,
    })
}

/// How long an access token of a client lives, in seconds.
#[must_use]
pub fn access_lifetime_seconds(client: &Client, defaults: &Defaults) -> u32 {
    client.metadata.access_token_lifetime_seconds.unwrap_or(defaults.access_token_lifetime_seconds)
}

/// `invalid_grant` (RFC 6749 §5.2) with its description.
pub(crate) fn invalid_grant(description: &'static str) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidGrant, description)
}

fn unsupported_grant_type() -> OAuthError {
    let known = GrantType::ALL.map(GrantType::as_str).join(", ");
    OAuthError::new(OAuthErrorCode::UnsupportedGrantType, format!("grant_type must be one of: {known}"))
}
