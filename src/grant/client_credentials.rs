//! The client credentials grant (RFC 6749 §4.4): the client acts for itself.

use crate::client::Client;
use crate::clock::UnixTime;
use crate::grant::{Defaults, Granted, access_lifetime_seconds, terms_of};
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::scope::Scope;

/// What a client gets that asks for `scope`, or for all that it may have.
///
/// # Errors
///
/// `invalid_scope` (RFC 6749 §5.2).
pub fn decide(scope: Option<&str>, client: &Client, defaults: &Defaults, now: UnixTime) -> Result<Granted, OAuthError> {
    let scope = granted_scope(scope, &client.metadata.scope)?;
    let lifetime = access_lifetime_seconds(client, defaults);
    let issued_at = now.as_seconds_u32();
    let terms = terms_of(client, scope);
    Ok(Granted { terms, issued_at, expires_at: issued_at.saturating_add(lifetime) })
}

/// RFC 6749 §3.3: what was asked for, as far as the client may have it; all that it may have if it asked for nothing.
fn granted_scope(requested: Option<&str>, allowed: &Scope) -> Result<Scope, OAuthError> {
    let invalid_scope = |description: String| OAuthError::new(OAuthErrorCode::InvalidScope, description);
    let Some(requested) = requested else { return Ok(allowed.clone()) };
    let requested = Scope::parse(requested).map_err(|error| invalid_scope(error.to_string()))?;
    if !requested.is_subset_of(allowed) {
        return Err(invalid_scope("the scope is wider than this client is registered for".to_owned()));
    }
    Ok(requested)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::Credential;
    use crate::client::id::ClientId;
    use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
    use crate::grant::{allow, grant_type};
    use crate::oauth::grant_type::GrantType;

    const NOW: UnixTime = UnixTime::from_seconds(1_000);

    fn client(document: &ClientMetadataDocument) -> Client {
        Client {
            id: ClientId::parse("app").unwrap(),
            metadata: ClientMetadata::parse(document).unwrap(),
            credential: Credential::Missing,
            created_at: NOW,
            generation: 3,
            in_force: Arc::default(),
        }
    }

    const DEFAULTS: Defaults = Defaults { access_token_lifetime_seconds: 60 };

    #[track_caller]
    fn check(scope: Option<&str>, expected: Result<&str, OAuthErrorCode>) {
        let client = client(&ClientMetadataDocument { scope: Some("read write".into()), ..Default::default() });
        let decided = decide(scope, &client, &DEFAULTS, NOW);
        let decided = decided.as_ref().map(|granted| granted.terms.client.scope.as_str()).map_err(|error| error.code);
        assert_eq!(decided, expected);
    }

    #[test]
    fn the_scope_is_what_was_asked_for_and_never_more_than_is_registered() {
        check(None, Ok("read write"));
        check(Some("write"), Ok("write"));
        check(Some("write admin"), Err(OAuthErrorCode::InvalidScope));
        check(Some("write  read"), Err(OAuthErrorCode::InvalidScope));
    }

    #[test]
    fn an_unknown_grant_type_is_unsupported() {
        for name in ["password", "Client_Credentials", ""] {
            assert_eq!(grant_type(name).unwrap_err().code, OAuthErrorCode::UnsupportedGrantType, "{name}");
        }
    }

    #[test]
    fn a_client_uses_only_the_grant_types_that_it_is_registered_for() {
        let client = client(&ClientMetadataDocument { grant_types: Some(Vec::new()), ..Default::default() });
        let allowed = allow(&client, GrantType::ClientCredentials);
        assert_eq!(allowed.unwrap_err().code, OAuthErrorCode::UnauthorizedClient);
    }

    #[test]
    fn a_token_lives_as_long_as_the_client_says_or_else_the_default() {
        for (own, expected) in [(None, 1_060), (Some(5), 1_005)] {
            let document = ClientMetadataDocument { access_token_lifetime_seconds: own, ..Default::default() };
            let granted = decide(None, &client(&document), &DEFAULTS, NOW).unwrap();
            assert_eq!((granted.issued_at, granted.expires_at, granted.terms.client.generation), (1_000, expected, 3));
        }
    }
}
