//! The client credentials grant (RFC 6749 §4.4): the client acts for itself.

use std::sync::Arc;

use crate::client::Client;
use crate::clock::UnixTime;
use crate::grant::{Defaults, Granted, TokenRequest};
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::scope::Scope;
use crate::token::grant::GrantTerms;

pub(super) fn decide(
    request: &TokenRequest<'_>,
    client: &Client,
    defaults: &Defaults,
    now: UnixTime,
) -> Result<Granted, OAuthError> {
    let scope = granted_scope(request.scope, &client.metadata.scope)?;
    let lifetime = client.metadata.access_token_lifetime_seconds.unwrap_or(defaults.access_token_lifetime_seconds);
    let issued_at = now.as_seconds_u32();
    let terms = GrantTerms {
        client_id: client.id.clone(),
        client_generation: client.generation,
        scope,
        audience: client.metadata.audience.clone(),
    };
    Ok(Granted { terms: Arc::new(terms), issued_at, expires_at: issued_at.saturating_add(lifetime) })
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
    use super::*;
    use crate::client::Credential;
    use crate::client::id::ClientId;
    use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
    use crate::grant::decide;

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

    #[track_caller]
    fn check(grant_type: &str, scope: Option<&str>, expected: Result<&str, OAuthErrorCode>) {
        let client = client(&ClientMetadataDocument { scope: Some("read write".into()), ..Default::default() });
        let defaults = Defaults { access_token_lifetime_seconds: 60 };
        let decided = decide(&TokenRequest { grant_type, scope }, &client, &defaults, NOW);
        let decided = decided.as_ref().map(|granted| granted.terms.scope.as_str()).map_err(|error| error.code);
        assert_eq!(decided, expected);
    }

    #[test]
    fn the_scope_is_what_was_asked_for_and_never_more_than_is_registered() {
        check("client_credentials", None, Ok("read write"));
        check("client_credentials", Some("write"), Ok("write"));
        check("client_credentials", Some("write admin"), Err(OAuthErrorCode::InvalidScope));
        check("client_credentials", Some("write  read"), Err(OAuthErrorCode::InvalidScope));
    }

    #[test]
    fn an_unknown_grant_type_is_unsupported() {
        check("password", None, Err(OAuthErrorCode::UnsupportedGrantType));
        check("Client_Credentials", None, Err(OAuthErrorCode::UnsupportedGrantType));
    }

    #[test]
    fn a_client_uses_only_the_grant_types_that_it_is_registered_for() {
        let client = client(&ClientMetadataDocument { grant_types: Some(Vec::new()), ..Default::default() });
        let request = TokenRequest { grant_type: "client_credentials", scope: None };
        let decided = decide(&request, &client, &Defaults { access_token_lifetime_seconds: 60 }, NOW);
        assert_eq!(decided.unwrap_err().code, OAuthErrorCode::UnauthorizedClient);
    }

    #[test]
    fn a_token_lives_as_long_as_the_client_says_or_else_the_default() {
        let request = TokenRequest { grant_type: "client_credentials", scope: None };
        for (own, expected) in [(None, 1_060), (Some(5), 1_005)] {
            let document = ClientMetadataDocument { access_token_lifetime_seconds: own, ..Default::default() };
            let defaults = Defaults { access_token_lifetime_seconds: 60 };
            let granted = decide(&request, &client(&document), &defaults, NOW).unwrap();
            assert_eq!((granted.issued_at, granted.expires_at, granted.terms.client_generation), (1_000, expected, 3));
        }
    }
}
