//! What a client may do, under the names of RFC 7591 §2.

use serde::{Deserialize, Serialize};

use crate::client::id::ClientId;
use crate::oauth::audience::Audience;
use crate::oauth::grant_type::GrantType;
use crate::oauth::scope::Scope;

/// What a client may do. Every field has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadata {
    /// A name for people, at most [`CLIENT_NAME_BYTES_MAX`] bytes.
    pub name: Option<String>,
    /// The grant types that it may use at the token endpoint.
    pub grant_types: Vec<GrantType>,
    /// How it said that it will authenticate.
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// The widest scope that it may ask for, and what it gets when it asks for none.
    pub scope: Scope,
    /// The `aud` of its access tokens.
    pub audience: Audience,
    /// Whose tokens it may introspect.
    pub introspection: Introspection,
    /// How long its access tokens live, 1 to [`LIFETIME_SECONDS_MAX`] seconds; the server's default if absent.
    pub access_token_lifetime_seconds: Option<u32>,
}

/// The longest `client_name`, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 255;
/// The longest life of a token, in seconds: 365 days.
pub const LIFETIME_SECONDS_MAX: u32 = 31_536_000;

/// How a client proves itself (RFC 7591 §2). Both secret methods are always accepted: RFC 6749 §2.3.1 obliges a server to
/// support Basic for every client that has a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpointAuthMethod {
    /// The secret in an `Authorization: Basic` header.
    #[default]
    ClientSecretBasic,
    /// The secret in the request's body.
    ClientSecretPost,
}

/// Whose tokens a client may introspect. A token that it may not see is inactive to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Introspection {
    /// Nobody's.
    None,
    /// Those that were issued to it.
    #[default]
    Own,
    /// Its own, and those whose audience names its `client_id`.
    Audience,
    /// Everybody's.
    Any,
}

impl Introspection {
    /// Whether `caller` may see a token of `owner` that is meant for `audience`.
    #[must_use]
    pub fn allows(self, caller: &ClientId, owner: &ClientId, audience: &Audience) -> bool {
        match self {
            Self::None => false,
            Self::Own => caller == owner,
            Self::Audience => caller == owner || audience.contains(caller.as_str()),
            Self::Any => true,
        }
    }
}

/// Client metadata as it goes over the wire and into the journal (RFC 7591 §2, with our own additions). Unknown members are
/// refused: a setting that is silently left out is a setting that somebody relies on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMetadataDocument {
    /// See [`ClientMetadata::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// See [`ClientMetadata::grant_types`]; `["client_credentials"]` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_types: Option<Vec<GrantType>>,
    /// See [`ClientMetadata::token_endpoint_auth_method`]; `client_secret_basic` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// See [`ClientMetadata::scope`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// See [`ClientMetadata::audience`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
    /// See [`ClientMetadata::introspection`]; `own` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// See [`ClientMetadata::access_token_lifetime_seconds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime_seconds: Option<u32>,
}

/// A member of the metadata that is out of bounds, by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {reason}")]
pub struct InvalidClientMetadata {
    /// The member's name on the wire.
    pub member: &'static str,
    /// What is allowed.
    pub reason: String,
}

impl ClientMetadata {
    /// Checks a document and fills in what it leaves out.
    ///
    /// # Errors
    ///
    /// [`InvalidClientMetadata`] names the first member that is out of bounds.
    pub fn parse(document: &ClientMetadataDocument) -> Result<Self, InvalidClientMetadata> {
        let invalid = |member, reason: &dyn ToString| InvalidClientMetadata { member, reason: reason.to_string() };
        Ok(Self {
            name: parse_name(document.client_name.as_deref()).map_err(|reason| invalid("client_name", &reason))?,
            grant_types: parse_grant_types(document.grant_types.as_deref())
                .map_err(|reason| invalid("grant_types", &reason))?,
            token_endpoint_auth_method: document.token_endpoint_auth_method.unwrap_or_default(),
            scope: Scope::parse(document.scope.as_deref().unwrap_or_default())
                .map_err(|error| invalid("scope", &error))?,
            audience: Audience::parse(document.audience.iter().flatten().map(String::as_str))
                .map_err(|error| invalid("audience", &error))?,
            introspection: document.introspection.unwrap_or_default(),
            access_token_lifetime_seconds: parse_lifetime(document.access_token_lifetime_seconds)
                .map_err(|reason| invalid("access_token_lifetime_seconds", &reason))?,
        })
    }

    /// The document that parses to this.
    #[must_use]
    pub fn to_document(&self) -> ClientMetadataDocument {
        ClientMetadataDocument {
            client_name: self.name.clone(),
            grant_types: Some(self.grant_types.clone()),
            token_endpoint_auth_method: Some(self.token_endpoint_auth_method),
            scope: Some(self.scope.as_str().to_owned()),
            audience: Some(self.audience.members().map(str::to_owned).collect()),
            introspection: Some(self.introspection),
            access_token_lifetime_seconds: self.access_token_lifetime_seconds,
        }
    }

    /// Whether it may use a grant type.
    #[must_use]
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        self.grant_types.contains(&grant_type)
    }
}

fn parse_name(name: Option<&str>) -> Result<Option<String>, &'static str> {
    let Some(name) = name else { return Ok(None) };
    if name.is_empty() || name.len() > CLIENT_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err("must have 1 to 255 bytes without control characters");
    }
    Ok(Some(name.to_owned()))
}

fn parse_grant_types(grant_types: Option<&[GrantType]>) -> Result<Vec<GrantType>, &'static str> {
    let Some(grant_types) = grant_types else { return Ok(vec![GrantType::ClientCredentials]) };
    let mut kept = Vec::new();
    for grant_type in grant_types {
        if kept.contains(grant_type) {
            return Err("a grant type is named twice");
        }
        kept.push(*grant_type);
    }
    Ok(kept)
}

fn parse_lifetime(seconds: Option<u32>) -> Result<Option<u32>, &'static str> {
    match seconds {
        None | Some(1..=LIFETIME_SECONDS_MAX) => Ok(seconds),
        Some(_) => Err("must be a whole number of seconds from 1 to 31536000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<(), &str>) {
        let document: ClientMetadataDocument = serde_json::from_str(json).unwrap();
        assert_eq!(ClientMetadata::parse(&document).map(|_| ()).map_err(|error| error.member), expected, "{json}");
    }

    #[test]
    fn a_member_out_of_bounds_is_refused_by_name() {
        check("{}", Ok(()));
        check(r#"{"client_name":""}"#, Err("client_name"));
        check(r#"{"client_name":"a\u0000"}"#, Err("client_name"));
        check(r#"{"grant_types":["client_credentials","client_credentials"]}"#, Err("grant_types"));
        check(r#"{"scope":"a  b"}"#, Err("scope"));
        check(r#"{"audience":["a","a"]}"#, Err("audience"));
        check(r#"{"access_token_lifetime_seconds":0}"#, Err("access_token_lifetime_seconds"));
        check(r#"{"access_token_lifetime_seconds":31536000}"#, Ok(()));
        check(r#"{"access_token_lifetime_seconds":31536001}"#, Err("access_token_lifetime_seconds"));
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let error = serde_json::from_str::<ClientMetadataDocument>(r#"{"scopes":"a"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `scopes`"), "{error}");
    }

    #[test]
    fn a_document_survives_the_round_trip() {
        let document = ClientMetadataDocument {
            client_name: Some("n".into()),
            scope: Some("a b".into()),
            audience: Some(vec!["x".into()]),
            introspection: Some(Introspection::Audience),
            access_token_lifetime_seconds: Some(5),
            ..Default::default()
        };
        let metadata = ClientMetadata::parse(&document).unwrap();
        assert_eq!(ClientMetadata::parse(&metadata.to_document()), Ok(metadata));
    }

    #[test]
    fn introspection_decides_whose_tokens_are_seen() {
        let [caller, other] = ["caller", "other"].map(|id| ClientId::parse(id).unwrap());
        let (nobody, named) = (Audience::empty(), Audience::parse(["caller"]).unwrap());
        let allows = |rule: Introspection| {
            [
                rule.allows(&caller, &caller, &nobody),
                rule.allows(&caller, &other, &named),
                rule.allows(&caller, &other, &nobody),
            ]
        };
        assert_eq!(allows(Introspection::None), [false, false, false]);
        assert_eq!(allows(Introspection::Own), [true, false, false]);
        assert_eq!(allows(Introspection::Audience), [true, true, false]);
        assert_eq!(allows(Introspection::Any), [true, true, true]);
    }
}
