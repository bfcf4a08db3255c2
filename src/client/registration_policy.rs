//! What clients may be that register themselves: a policy of the initial access token that they come with.

use serde::{Deserialize, Serialize};

use crate::client::metadata::{ClientMetadata, ClientMetadataDocument, InvalidClientMetadata, TokenEndpointAuthMethod};
use crate::oauth::audience::Audience;
use crate::oauth::grant_type::GrantType;
use crate::oauth::scope::Scope;

/// The most that a client may be. What it leaves out is filled in first, so a default never grants more either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationPolicy {
    /// The grant types that it may use, at least one.
    pub grant_types: Vec<GrantType>,
    /// The widest scope that it may have, and what it has if it names none.
    pub scope: Scope,
    /// How it may authenticate, at least one.
    pub token_endpoint_auth_methods: Vec<TokenEndpointAuthMethod>,
    /// The `aud` of its access tokens.
    pub audience: Audience,
}

/// A policy as operators write it, and as it is journaled.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationPolicyDocument {
    /// `["authorization_code", "refresh_token"]` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_types: Option<Vec<GrantType>>,
    /// Empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// All, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_methods: Option<Vec<TokenEndpointAuthMethod>>,
    /// Empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
}

impl RegistrationPolicy {
    /// Checks a document and fills in what it leaves out.
    ///
    /// # Errors
    ///
    /// [`InvalidClientMetadata`] names the member that is out of bounds.
    pub fn parse(document: &RegistrationPolicyDocument) -> Result<Self, InvalidClientMetadata> {
        let usual = || vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
        let grant_types = document.grant_types.clone().unwrap_or_else(usual);
        let methods = document.token_endpoint_auth_methods.clone().unwrap_or_else(|| METHODS_USUAL.to_vec());
        if grant_types.is_empty() || has_repeats(&grant_types) {
            return Err(invalid("grant_types", "must name at least one grant type, and none twice"));
        }
        if methods.is_empty() || has_repeats(&methods) {
            return Err(invalid("token_endpoint_auth_methods", "must name at least one method, and none twice"));
        }
        let scope = Scope::parse(document.scope.as_deref().unwrap_or_default());
        let scope = scope.map_err(|error| invalid("scope", &error))?;
        let audience = Audience::parse(document.audience.iter().flatten().map(String::as_str));
        let audience = audience.map_err(|error| invalid("audience", &error))?;
        Ok(Self { grant_types, scope, token_endpoint_auth_methods: methods, audience })
    }

    /// The document that parses to this.
    #[must_use]
    pub fn to_document(&self) -> RegistrationPolicyDocument {
        RegistrationPolicyDocument {
            grant_types: Some(self.grant_types.clone()),
            scope: Some(self.scope.as_str().to_owned()),
            token_endpoint_auth_methods: Some(self.token_endpoint_auth_methods.clone()),
            audience: Some(self.audience.members().map(str::to_owned).collect()),
        }
    }

    /// The client that asks to be this. What it leaves out is as RFC 7591 §2 says, and as the policy says where the RFC leaves it
    /// to the server.
    ///
    /// # Errors
    ///
    /// [`InvalidClientMetadata`] names the first member that is out of bounds, or more than the policy allows.
    pub fn admit(&self, mut document: ClientMetadataDocument) -> Result<ClientMetadata, InvalidClientMetadata> {
        document.grant_types.get_or_insert_with(|| vec![GrantType::AuthorizationCode]);
        document.scope.get_or_insert_with(|| self.scope.as_str().to_owned());
        document.audience = Some(self.audience.members().map(str::to_owned).collect());
        let metadata = ClientMetadata::parse_new(&document)?;
        if metadata.grant_types.is_empty() || !metadata.grant_types.iter().all(|one| self.grant_types.contains(one)) {
            let left_out = " (left out, it is authorization_code)";
            return Err(self.beyond("grant_types", left_out, &names(&self.grant_types)));
        }
        if !self.token_endpoint_auth_methods.contains(&metadata.token_endpoint_auth_method) {
            let left_out = " (left out, it is client_secret_basic)";
            let allowed = names(&self.token_endpoint_auth_methods);
            return Err(self.beyond("token_endpoint_auth_method", left_out, &allowed));
        }
        if !metadata.scope.is_subset_of(&self.scope) {
            let allowed = if self.scope.is_empty() { "none" } else { self.scope.as_str() };
            return Err(self.beyond("scope", "", allowed));
        }
        Ok(metadata)
    }

    fn beyond(&self, member: &'static str, left_out: &str, allowed: &str) -> InvalidClientMetadata {
        invalid(member, &format!("it is more than this initial access token allows{left_out}; allowed: {allowed}"))
    }
}

/// All that there are, the usual one first.
const METHODS_USUAL: [TokenEndpointAuthMethod; 4] = [
    TokenEndpointAuthMethod::ClientSecretBasic,
    TokenEndpointAuthMethod::ClientSecretPost,
    TokenEndpointAuthMethod::PrivateKeyJwt,
    TokenEndpointAuthMethod::None,
];

fn invalid(member: &'static str, reason: &(impl ToString + ?Sized)) -> InvalidClientMetadata {
    InvalidClientMetadata { member, reason: reason.to_string() }
}

fn has_repeats<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().any(|(at, item)| items.iter().take(at).any(|before| before == item))
}

/// As they go over the wire.
fn names<T: Serialize>(items: &[T]) -> String {
    let name = |item| serde_json::to_value(item).ok()?.as_str().map(str::to_owned);
    items.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn policy(document: Value) -> Result<RegistrationPolicy, &'static str> {
        RegistrationPolicy::parse(&serde_json::from_value(document).unwrap()).map_err(|error| error.member)
    }

    #[test]
    fn a_policy_that_says_nothing_allows_little() {
        let usual = policy(json!({})).unwrap();
        assert!(usual.scope.is_empty() && !usual.grant_types.contains(&GrantType::ClientCredentials));
        assert_eq!(RegistrationPolicy::parse(&usual.to_document()), Ok(usual));
        for (document, member) in [
            (json!({ "grant_types": [] }), "grant_types"),
            (json!({ "grant_types": ["refresh_token", "refresh_token"] }), "grant_types"),
            (json!({ "token_endpoint_auth_methods": [] }), "token_endpoint_auth_methods"),
            (json!({ "scope": "a  b" }), "scope"),
            (json!({ "audience": [""] }), "audience"),
        ] {
            assert_eq!(policy(document), Err(member));
        }
    }

    #[test]
    fn what_is_left_out_never_grants_more_than_what_is_named() {
        let uris = json!(["https://client.example/cb"]);
        let (code, own) = (json!(["authorization_code"]), json!(["client_credentials"]));
        for (allowed, asked, expected) in [
            (json!({}), json!({ "redirect_uris": uris }), Ok("")),
            (json!({ "scope": "a b" }), json!({ "redirect_uris": uris }), Ok("a b")),
            (json!({ "scope": "a b" }), json!({ "redirect_uris": uris, "scope": "b" }), Ok("b")),
            (json!({ "scope": "a b" }), json!({ "redirect_uris": uris, "scope": "b c" }), Err("scope")),
            (json!({}), json!({ "redirect_uris": uris, "scope": "a" }), Err("scope")),
            (json!({ "grant_types": own }), json!({ "redirect_uris": uris }), Err("grant_types")),
            (json!({ "grant_types": own }), json!({ "grant_types": own }), Ok("")),
            (json!({ "grant_types": own }), json!({ "grant_types": [] }), Err("grant_types")),
            (json!({}), json!({ "grant_types": own }), Err("grant_types")),
            (json!({}), json!({}), Err("redirect_uris")),
            (
                json!({ "grant_types": code, "token_endpoint_auth_methods": ["none"] }),
                json!({ "redirect_uris": uris }),
                Err("token_endpoint_auth_method"),
            ),
        ] {
            let asked_text = asked.to_string();
            let admitted = policy(allowed).unwrap().admit(serde_json::from_value(asked).unwrap());
            let admitted = admitted.map(|metadata| metadata.scope.as_str().to_owned()).map_err(|error| error.member);
            assert_eq!(admitted, expected.map(str::to_owned), "{asked_text}");
        }
    }
}
