//! The client credentials grant (RFC 6749 §4.4): the client acts for itself.

use crate::client::Client;
use crate::clock::UnixTime;
use crate::grant::{Defaults, Granted, access_lifetime_seconds, resource, terms_of};
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::scope::Scope;

/// What a client gets that asks for `scope` and for `resources`, or for all that it may have.
///
/// # Errors
///
/// `invalid_scope` (RFC 6749 §5.2), `invalid_target` (RFC 8707 §2).
pub fn decide<'a>(
    scope: Option<&str>,
    resources: impl IntoIterator<Item = &'a str>,
    client: &Client,
    defaults: &Defaults,
    now: UnixTime,
) -> Result<Granted, OAuthError> {
    let scope = granted_scope(scope, &client.metadata.scope)?;
    let lifetime = access_lifetime_seconds(client, defaults);
    let issued_at = now.as_seconds_u32();
    let audience = resource::decide(resource::read(resources)?, client, defaults)?;
    let terms = terms_of(client, scope, audience);
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
    use crate::client::metadata::{AccessTokenFormat, ClientMetadata, ClientMetadataDocument};
    use crate::grant::{allow, grant_type};
    use crate::oauth::algorithm::SigningAlgorithm;
    use crate::oauth::audience::Audience;
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
            registration: None,
        }
    }

    fn defaults() -> Defaults {
        Defaults {
            access_token_lifetime_seconds: 60,
            access_token_signing_alg: SigningAlgorithm::EdDsa,
            id_token_signing_alg: SigningAlgorithm::Rs256,
            id_token_lifetime_seconds: 3600,
            audience: Audience::parse(["https://as.example"]).unwrap(),
        }
    }

    #[track_caller]
    fn check(scope: Option<&str>, expected: Result<&str, OAuthErrorCode>) {
        let client = client(&ClientMetadataDocument { scope: Some("read write".into()), ..Default::default() });
        let decided = decide(scope, [], &client, &defaults(), NOW);
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
    fn tokens_are_for_what_was_asked_for_or_for_all_and_a_jwt_for_this_server_if_for_nobody_else() {
        let audience = |format, audience: &[&str], resources: &[&'static str]| {
            let document = ClientMetadataDocument {
                audience: Some(audience.iter().map(|member| (*member).to_owned()).collect()),
                access_token_format: Some(format),
                ..Default::default()
            };
            let decided = decide(None, resources.iter().copied(), &client(&document), &defaults(), NOW);
            let members = |granted: Granted| granted.terms.client.audience.members().map(str::to_owned).collect();
            decided.map(members).map_err(|error| error.code)
        };
        use AccessTokenFormat::{Jwt, Opaque};
        let both = ["urn:a", "urn:b"];
        for (format, registered, resources, expected) in [
            (Opaque, &both[..], &[][..], Ok(&both[..])),
            (Opaque, &both, &["urn:b"], Ok(&["urn:b"])),
            (Jwt, &both, &["urn:b", "urn:a"], Ok(&["urn:b", "urn:a"])),
            (Jwt, &both, &["urn:c"], Err(OAuthErrorCode::InvalidTarget)),
            (Opaque, &[], &[], Ok(&[])),
            (Jwt, &[], &[], Ok(&["https://as.example"])),
            (Jwt, &[], &["https://as.example"], Err(OAuthErrorCode::InvalidTarget)),
        ] {
            let expected: Result<Vec<String>, _> =
                expected.map(|members: &[&str]| members.iter().map(|member| (*member).to_owned()).collect());
            assert_eq!(audience(format, registered, resources), expected, "{registered:?} {resources:?}");
        }
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
            let granted = decide(None, [], &client(&document), &defaults(), NOW).unwrap();
            assert_eq!((granted.issued_at, granted.expires_at, granted.terms.client.generation), (1_000, expected, 3));
        }
    }
}
