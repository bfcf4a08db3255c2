//! What a client may do, under the names of RFC 7591 §2.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::about::About;
use crate::client::id::ClientId;
use crate::client::name::check_visible;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::application_type::ApplicationType;
use crate::oauth::audience::Audience;
use crate::oauth::fetch_uri::FetchUri;
use crate::oauth::grant_type::GrantType;
use crate::oauth::origin::Origin;
use crate::oauth::redirect_uri::RedirectUri;
use crate::oauth::response_type::ResponseType;
use crate::oauth::scope::Scope;
use crate::signing::jwk_set::{JwkSet, JwkSetDocument};

/// What a client may do. Every field has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadata {
    /// A name for people, at most [`CLIENT_NAME_BYTES_MAX`] bytes.
    pub name: Option<String>,
    /// The grant types that it may use at the token endpoint.
    pub grant_types: Vec<GrantType>,
    /// What it may ask the authorization endpoint for: `code`, where it may use the authorization code grant.
    pub response_types: Vec<ResponseType>,
    /// Where a browser may be sent with a code, at most [`REDIRECT_URIS_MAX`].
    pub redirect_uris: Vec<RedirectUri>,
    /// Where a browser may be sent once the person has logged out (`OpenID` Connect RP-Initiated Logout §3.1), under the rules of
    /// redirect URIs, at most [`REDIRECT_URIS_MAX`].
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// Where it runs, which decides what redirect URIs it may have.
    pub application_type: ApplicationType,
    /// How it said that it will authenticate; `none` for a public client.
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// What it signs its assertions with, where that is how it authenticates, and only there.
    pub keys: Option<ClientKeys>,
    /// The only algorithm of its assertions; where absent, those that its keys are for.
    pub token_endpoint_auth_signing_alg: Option<SigningAlgorithm>,
    /// The widest scope that it may ask for, and what it gets when it asks for none.
    pub scope: Scope,
    /// The `aud` of its access tokens.
    pub audience: Audience,
    /// Whose tokens it may introspect.
    pub introspection: Introspection,
    /// How long its access tokens live, 1 to [`LIFETIME_SECONDS_MAX`] seconds; the server's default if absent.
    pub access_token_lifetime_seconds: Option<u32>,
    /// What its access tokens look like.
    pub access_token_format: AccessTokenFormat,
    /// What its access tokens are signed with, where they are JWTs; the server's default if absent.
    pub access_token_signing_alg: Option<SigningAlgorithm>,
    /// Whether each refresh gives a new refresh token. Always so for public clients (RFC 9700 §2.2.2).
    pub refresh_token_rotation: bool,
    /// How long a refresh token that was used gives the same successor again, 0 to [`RETRY_SECONDS_MAX`] seconds.
    pub refresh_token_retry_seconds: u32,
    /// How long after the user's consent its refresh tokens live at most, 1 to [`LIFETIME_SECONDS_MAX`] seconds.
    pub refresh_token_lifetime_seconds: u32,
    /// How long a refresh token lives unused, in seconds; at most as long as it lives at all.
    pub refresh_token_idle_seconds: u32,
    /// Whether it starts the authorization endpoint by pushed requests alone (RFC 9126 §6).
    pub require_pushed_authorization_requests: bool,
    /// Whether an `OpenID` request of it may come without PKCE: the `nonce` stands in (RFC 9700 §2.1.1).
    pub nonce_instead_of_pkce: bool,
    /// Whether users are not asked for their consent, as for the operator's own applications.
    pub skip_consent: bool,
    /// The origins of pages that may read what the token, revocation and userinfo endpoints answer, at most
    /// [`CORS_ORIGINS_MAX`].
    pub allowed_cors_origins: Vec<Origin>,
    /// What it says about itself, for people.
    pub about: About,
    /// What its ID tokens are signed with; the server's default if absent.
    pub id_token_signed_response_alg: Option<SigningAlgorithm>,
    /// How long ago a person may have logged in at most, in seconds, where a request has no `max_age`.
    pub default_max_age: Option<u32>,
    /// Whether its ID tokens must have `auth_time`, which all of them have.
    pub require_auth_time: bool,
}

/// The longest `client_name`, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 255;
/// The longest life of a token, in seconds: 365 days.
pub const LIFETIME_SECONDS_MAX: u32 = 31_536_000;

/// The most redirect URIs of a client.
pub const REDIRECT_URIS_MAX: usize = 32;
/// The most origins of a client.
pub const CORS_ORIGINS_MAX: usize = 32;
/// The longest time for which a used refresh token gives its successor again, in seconds.
pub const RETRY_SECONDS_MAX: u32 = 300;

const RETRY_SECONDS_USUAL: u32 = 30;
/// 30 days.
const REFRESH_LIFETIME_SECONDS_USUAL: u32 = 2_592_000;
/// 14 days.
const REFRESH_IDLE_SECONDS_USUAL: u32 = 1_209_600;

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
    /// An assertion that it has signed (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// Not at all: a public client (RFC 6749 §2.1), which is known by its `client_id` alone.
    None,
}

/// What an access token looks like. Either is known by introspection and ended by revocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessTokenFormat {
    /// Random characters, which mean something to this server alone.
    #[default]
    Opaque,
    /// A JWT (RFC 9068), which a resource server can read and verify by itself.
    Jwt,
}

/// Where the public keys of a client are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKeys {
    /// Here (`jwks`).
    Registered(Arc<JwkSet>),
    /// To be fetched (`jwks_uri`).
    At(FetchUri),
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
    /// See [`ClientMetadata::response_types`]; `["code"]` if absent and the client may use that grant, else empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_types: Option<Vec<ResponseType>>,
    /// See [`ClientMetadata::redirect_uris`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<Vec<String>>,
    /// See [`ClientMetadata::post_logout_redirect_uris`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_logout_redirect_uris: Option<Vec<String>>,
    /// See [`ClientMetadata::application_type`]; `web` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_type: Option<ApplicationType>,
    /// See [`ClientMetadata::token_endpoint_auth_method`]; `client_secret_basic` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// See [`ClientMetadata::keys`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwkSetDocument>,
    /// See [`ClientMetadata::keys`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// See [`ClientMetadata::token_endpoint_auth_signing_alg`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<SigningAlgorithm>,
    /// See [`ClientMetadata::scope`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// See [`ClientMetadata::audience`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
    /// See [`ClientMetadata::introspection`]; `own` if absent, `none` for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// See [`ClientMetadata::access_token_lifetime_seconds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime_seconds: Option<u32>,
    /// See [`ClientMetadata::access_token_format`]; `opaque` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_format: Option<AccessTokenFormat>,
    /// See [`ClientMetadata::access_token_signing_alg`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_signing_alg: Option<SigningAlgorithm>,
    /// See [`ClientMetadata::refresh_token_rotation`]; true if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_rotation: Option<bool>,
    /// See [`ClientMetadata::refresh_token_retry_seconds`]; 30 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_retry_seconds: Option<u32>,
    /// See [`ClientMetadata::refresh_token_lifetime_seconds`]; 30 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_lifetime_seconds: Option<u32>,
    /// See [`ClientMetadata::refresh_token_idle_seconds`]; 14 days if absent, or the lifetime if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_idle_seconds: Option<u32>,
    /// See [`ClientMetadata::require_pushed_authorization_requests`]; false if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_pushed_authorization_requests: Option<bool>,
    /// See [`ClientMetadata::nonce_instead_of_pkce`]; false if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce_instead_of_pkce: Option<bool>,
    /// See [`ClientMetadata::skip_consent`]; false if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_consent: Option<bool>,
    /// See [`ClientMetadata::allowed_cors_origins`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_cors_origins: Option<Vec<String>>,
    /// See [`About::client_uri`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// See [`About::logo_uri`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// See [`About::tos_uri`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// See [`About::policy_uri`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// See [`About::contacts`]; empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contacts: Option<Vec<String>>,
    /// See [`About::software_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// See [`About::software_version`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// See [`ClientMetadata::id_token_signed_response_alg`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token_signed_response_alg: Option<SigningAlgorithm>,
    /// See [`ClientMetadata::default_max_age`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_max_age: Option<u32>,
    /// See [`ClientMetadata::require_auth_time`]; false if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_auth_time: Option<bool>,
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
    /// [`InvalidClientMetadata`] names the first member that is out of bounds, or that does not go with the others.
    pub fn parse(document: &ClientMetadataDocument) -> Result<Self, InvalidClientMetadata> {
        let token_endpoint_auth_method = document.token_endpoint_auth_method.unwrap_or_default();
        let is_public = token_endpoint_auth_method == TokenEndpointAuthMethod::None;
        let grant_types = parse_grant_types(document.grant_types.as_deref()).map_err(of("grant_types"))?;
        let application_type = document.application_type.unwrap_or_default();
        let refresh_token_lifetime_seconds = document
            .refresh_token_lifetime_seconds
            .map_or(Ok(REFRESH_LIFETIME_SECONDS_USUAL), |seconds| within(seconds, 1..=LIFETIME_SECONDS_MAX))
            .map_err(of("refresh_token_lifetime_seconds"))?;
        let refresh_token_idle_seconds = document
            .refresh_token_idle_seconds
            .map_or_else(
                || Ok(REFRESH_IDLE_SECONDS_USUAL.min(refresh_token_lifetime_seconds)),
                |seconds| within(seconds, 1..=refresh_token_lifetime_seconds),
            )
            .map_err(of("refresh_token_idle_seconds"))?;
        let metadata = Self {
            name: parse_name(document.client_name.as_deref()).map_err(of("client_name"))?,
            response_types: parse_response_types(document.response_types.as_deref(), &grant_types)
                .map_err(of("response_types"))?,
            grant_types,
            redirect_uris: parse_redirect_uris(document.redirect_uris.as_deref(), application_type)
                .map_err(of("redirect_uris"))?,
            post_logout_redirect_uris: parse_redirect_uris(
                document.post_logout_redirect_uris.as_deref(),
                application_type,
            )
            .map_err(of("post_logout_redirect_uris"))?,
            application_type,
            token_endpoint_auth_method,
            keys: parse_keys(document)?,
            token_endpoint_auth_signing_alg: document.token_endpoint_auth_signing_alg,
            scope: Scope::parse(document.scope.as_deref().unwrap_or_default()).map_err(of("scope"))?,
            audience: Audience::parse(document.audience.iter().flatten().map(String::as_str))
                .map_err(of("audience"))?,
            introspection: document
                .introspection
                .unwrap_or_else(|| if is_public { Introspection::None } else { Introspection::default() }),
            access_token_lifetime_seconds: document
                .access_token_lifetime_seconds
                .map(|seconds| within(seconds, 1..=LIFETIME_SECONDS_MAX))
                .transpose()
                .map_err(of("access_token_lifetime_seconds"))?,
            access_token_format: document.access_token_format.unwrap_or_default(),
            access_token_signing_alg: document.access_token_signing_alg,
            refresh_token_rotation: document.refresh_token_rotation.unwrap_or(true),
            refresh_token_retry_seconds: document
                .refresh_token_retry_seconds
                .map_or(Ok(RETRY_SECONDS_USUAL), |seconds| within(seconds, 0..=RETRY_SECONDS_MAX))
                .map_err(of("refresh_token_retry_seconds"))?,
            refresh_token_lifetime_seconds,
            refresh_token_idle_seconds,
            require_pushed_authorization_requests: document.require_pushed_authorization_requests.unwrap_or_default(),
            nonce_instead_of_pkce: document.nonce_instead_of_pkce.unwrap_or_default(),
            skip_consent: document.skip_consent.unwrap_or_default(),
            allowed_cors_origins: parse_origins(document.allowed_cors_origins.as_deref())
                .map_err(of("allowed_cors_origins"))?,
            about: About::parse(document)?,
            id_token_signed_response_alg: document.id_token_signed_response_alg,
            default_max_age: document.default_max_age,
            require_auth_time: document.require_auth_time.unwrap_or_default(),
        };
        metadata.check_grants()?;
        if metadata.access_token_signing_alg.is_some() && metadata.access_token_format != AccessTokenFormat::Jwt {
            return Err(of("access_token_signing_alg")("only tokens of the access_token_format jwt are signed"));
        }
        metadata.check_keys()?;
        if is_public {
            metadata.check_public()?;
        }
        Ok(metadata)
    }

    /// [`ClientMetadata::parse`] for what somebody asks for now: a name has to be seen as it is written. What is registered
    /// already may have another.
    ///
    /// # Errors
    ///
    /// As [`ClientMetadata::parse`].
    pub fn parse_new(document: &ClientMetadataDocument) -> Result<Self, InvalidClientMetadata> {
        let metadata = Self::parse(document)?;
        metadata.name.as_deref().map(check_visible).transpose().map_err(of("client_name"))?;
        Ok(metadata)
    }

    /// Whether all that a grant type needs is there.
    fn check_grants(&self) -> Result<(), InvalidClientMetadata> {
        let has_code = self.may_use(GrantType::AuthorizationCode);
        if has_code && self.redirect_uris.is_empty() {
            return Err(of("redirect_uris")("the grant type authorization_code needs at least one"));
        }
        if self.may_use(GrantType::RefreshToken) && !has_code && !self.may_use(GrantType::DeviceCode) {
            return Err(of("grant_types")("refresh_token needs authorization_code or device_code beside it"));
        }
        if self.nonce_instead_of_pkce && !self.scope.contains("openid") {
            return Err(of("nonce_instead_of_pkce")("only a client whose scope has openid has a nonce"));
        }
        Ok(())
    }

    /// Whether there are keys where they are used, and nowhere else.
    fn check_keys(&self) -> Result<(), InvalidClientMetadata> {
        let algorithm = self.token_endpoint_auth_signing_alg;
        if !self.uses_assertions() {
            let unused = "only a client whose token_endpoint_auth_method is private_key_jwt has this";
            return match (&self.keys, algorithm) {
                (Some(ClientKeys::Registered(_)), _) => Err(of("jwks")(unused)),
                (Some(ClientKeys::At(_)), _) => Err(of("jwks_uri")(unused)),
                (None, Some(_)) => Err(of("token_endpoint_auth_signing_alg")(unused)),
                (None, None) => Ok(()),
            };
        }
        match (&self.keys, algorithm) {
            (None, _) => {
                Err(of("jwks")("a client whose token_endpoint_auth_method is private_key_jwt needs jwks or jwks_uri"))
            }
            (Some(ClientKeys::Registered(keys)), Some(algorithm)) if !keys.verifies(algorithm) => {
                Err(of("token_endpoint_auth_signing_alg")("none of the keys in jwks is for this algorithm"))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is nothing that only a client that can authenticate may have.
    fn check_public(&self) -> Result<(), InvalidClientMetadata> {
        let refused = |member| of(member)("a client whose token_endpoint_auth_method is none must not have this");
        if self.may_use(GrantType::ClientCredentials) {
            let reason = "a client whose token_endpoint_auth_method is none has nothing to prove itself by: name \
                          authorization_code, refresh_token or urn:ietf:params:oauth:grant-type:device_code";
            return Err(of("grant_types")(reason));
        }
        if self.introspection != Introspection::None {
            return Err(refused("introspection"));
        }
        if !self.refresh_token_rotation {
            return Err(of("refresh_token_rotation")("must be true where token_endpoint_auth_method is none"));
        }
        if self.nonce_instead_of_pkce {
            return Err(refused("nonce_instead_of_pkce"));
        }
        if self.skip_consent && !self.redirect_uris.iter().all(RedirectUri::proves_client) {
            let reason = "any program on the device can pass for a client without a secret that has a redirect URI of a \
                          loopback address or of a private-use scheme, so its users must be asked";
            return Err(of("skip_consent")(reason));
        }
        Ok(())
    }

    /// The document that parses to this. It leaves out what the client's grant types do not use, where it is as usual.
    #[must_use]
    pub fn to_document(&self) -> ClientMetadataDocument {
        let has_refresh = self.may_use(GrantType::RefreshToken);
        let has_code = self.may_use(GrantType::AuthorizationCode);
        let idle_usual = REFRESH_IDLE_SECONDS_USUAL.min(self.refresh_token_lifetime_seconds);
        let texts = |texts: &mut dyn Iterator<Item = &str>| Some(texts.map(str::to_owned).collect::<Vec<_>>());
        ClientMetadataDocument {
            client_name: self.name.clone(),
            grant_types: Some(self.grant_types.clone()),
            response_types: has_code.then(|| self.response_types.clone()),
            redirect_uris: texts(&mut self.redirect_uris.iter().map(RedirectUri::as_str))
                .filter(|uris| has_code || !uris.is_empty()),
            post_logout_redirect_uris: texts(&mut self.post_logout_redirect_uris.iter().map(RedirectUri::as_str))
                .filter(|uris| !uris.is_empty()),
            application_type: shown(self.application_type, ApplicationType::default(), has_code),
            token_endpoint_auth_method: Some(self.token_endpoint_auth_method),
            jwks: match &self.keys {
                Some(ClientKeys::Registered(keys)) => Some(keys.to_document()),
                _ => None,
            },
            jwks_uri: match &self.keys {
                Some(ClientKeys::At(uri)) => Some(uri.as_str().to_owned()),
                _ => None,
            },
            token_endpoint_auth_signing_alg: self.token_endpoint_auth_signing_alg,
            scope: Some(self.scope.as_str().to_owned()),
            audience: Some(self.audience.members().map(str::to_owned).collect()),
            introspection: Some(self.introspection),
            access_token_lifetime_seconds: self.access_token_lifetime_seconds,
            access_token_format: shown(self.access_token_format, AccessTokenFormat::default(), false),
            access_token_signing_alg: self.access_token_signing_alg,
            refresh_token_rotation: shown(self.refresh_token_rotation, true, has_refresh),
            refresh_token_retry_seconds: shown(self.refresh_token_retry_seconds, RETRY_SECONDS_USUAL, has_refresh),
            refresh_token_lifetime_seconds: shown(
                self.refresh_token_lifetime_seconds,
                REFRESH_LIFETIME_SECONDS_USUAL,
                has_refresh,
            ),
            refresh_token_idle_seconds: shown(self.refresh_token_idle_seconds, idle_usual, has_refresh),
            require_pushed_authorization_requests: shown(self.require_pushed_authorization_requests, false, has_code),
            nonce_instead_of_pkce: shown(self.nonce_instead_of_pkce, false, has_code),
            skip_consent: shown(self.skip_consent, false, has_code),
            allowed_cors_origins: texts(&mut self.allowed_cors_origins.iter().map(Origin::as_str))
                .filter(|origins| !origins.is_empty()),
            client_uri: self.about.client_uri.clone(),
            logo_uri: self.about.logo_uri.clone(),
            tos_uri: self.about.tos_uri.clone(),
            policy_uri: self.about.policy_uri.clone(),
            contacts: Some(self.about.contacts.clone()).filter(|contacts| !contacts.is_empty()),
            software_id: self.about.software_id.clone(),
            software_version: self.about.software_version.clone(),
            id_token_signed_response_alg: self.id_token_signed_response_alg,
            default_max_age: self.default_max_age,
            require_auth_time: shown(self.require_auth_time, false, false),
        }
    }

    /// Whether it cannot prove itself (RFC 6749 §2.1).
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.token_endpoint_auth_method == TokenEndpointAuthMethod::None
    }

    /// Whether it proves itself by assertions that it signs (RFC 7523 §2.2).
    #[must_use]
    pub fn uses_assertions(&self) -> bool {
        self.token_endpoint_auth_method == TokenEndpointAuthMethod::PrivateKeyJwt
    }

    /// Whether it proves itself by a secret.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        !self.is_public() && !self.uses_assertions()
    }

    /// Whether an answer that goes to this redirect URI reaches this client and nobody else (RFC 8252 §8.6). Where it is not so,
    /// users are asked each time.
    #[must_use]
    pub fn is_proven_at(&self, redirect_uri: &RedirectUri) -> bool {
        !self.is_public() || redirect_uri.proves_client()
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

fn parse_keys(document: &ClientMetadataDocument) -> Result<Option<ClientKeys>, InvalidClientMetadata> {
    match (&document.jwks, &document.jwks_uri) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(of("jwks_uri")("there is jwks too: name one of them (RFC 7591 section 2)")),
        (Some(keys), None) => {
            let keys = JwkSet::parse(keys).map_err(of("jwks"))?;
            Ok(Some(ClientKeys::Registered(Arc::new(keys))))
        }
        (None, Some(uri)) => FetchUri::parse(uri).map(|uri| Some(ClientKeys::At(uri))).map_err(of("jwks_uri")),
    }
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

fn parse_response_types(
    response_types: Option<&[ResponseType]>,
    grant_types: &[GrantType],
) -> Result<Vec<ResponseType>, &'static str> {
    let has_code = grant_types.contains(&GrantType::AuthorizationCode);
    let usual = if has_code { vec![ResponseType::Code] } else { Vec::new() };
    match response_types {
        None => Ok(usual),
        Some(given) if given == usual => Ok(usual),
        Some(_) => Err("must be [\"code\"] where grant_types has authorization_code, and else []"),
    }
}

fn parse_redirect_uris(
    texts: Option<&[String]>,
    application_type: ApplicationType,
) -> Result<Vec<RedirectUri>, String> {
    let texts = texts.unwrap_or_default();
    if texts.len() > REDIRECT_URIS_MAX {
        return Err("a client has at most 32 redirect URIs".to_owned());
    }
    let mut kept = Vec::new();
    for text in texts {
        let uri = RedirectUri::parse(text).map_err(|error| error.to_string())?;
        if !uri.is_for(application_type) {
            return Err("a private-use scheme needs the application_type native".to_owned());
        }
        if kept.contains(&uri) {
            return Err("a redirect URI is named twice".to_owned());
        }
        kept.push(uri);
    }
    Ok(kept)
}

fn parse_origins(texts: Option<&[String]>) -> Result<Vec<Origin>, String> {
    let texts = texts.unwrap_or_default();
    if texts.len() > CORS_ORIGINS_MAX {
        return Err("a client has at most 32 origins".to_owned());
    }
    let mut kept = Vec::new();
    for text in texts {
        let origin = Origin::parse(text).map_err(|error| error.to_string())?;
        if kept.contains(&origin) {
            return Err("an origin is named twice".to_owned());
        }
        kept.push(origin);
    }
    Ok(kept)
}

fn within(seconds: u32, allowed: RangeInclusive<u32>) -> Result<u32, String> {
    if allowed.contains(&seconds) {
        return Ok(seconds);
    }
    Err(format!("must be a whole number of seconds from {} to {}", allowed.start(), allowed.end()))
}

/// The error of a member whose reason is known.
fn of<R: ToString>(member: &'static str) -> impl Fn(R) -> InvalidClientMetadata {
    move |reason| InvalidClientMetadata { member, reason: reason.to_string() }
}

/// A value that a document shows where the client uses it, or where it is not as usual.
fn shown<T: Copy + PartialEq>(value: T, usual: T, is_used: bool) -> Option<T> {
    (is_used || value != usual).then_some(value)
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
        check(r#"{"access_token_format":"opaque"}"#, Ok(()));
        check(r#"{"access_token_format":"jwt"}"#, Ok(()));
        check(r#"{"access_token_format":"jwt","access_token_signing_alg":"ES384"}"#, Ok(()));
        check(
            r#"{"access_token_format":"opaque","access_token_signing_alg":"EdDSA"}"#,
            Err("access_token_signing_alg"),
        );
        check(r#"{"access_token_signing_alg":"EdDSA"}"#, Err("access_token_signing_alg"));
    }

    #[test]
    fn what_a_grant_type_needs_has_to_be_there() {
        let code = r#""grant_types":["authorization_code"]"#;
        let uris = r#""redirect_uris":["https://client.example/cb"]"#;
        let device = "urn:ietf:params:oauth:grant-type:device_code";
        check(&format!("{{{code},{uris}}}"), Ok(()));
        check(&format!("{{{code}}}"), Err("redirect_uris"));
        check(&format!(r#"{{{code},"redirect_uris":[]}}"#), Err("redirect_uris"));
        check(r#"{"grant_types":["refresh_token"]}"#, Err("grant_types"));
        check(&format!(r#"{{"grant_types":["refresh_token","{device}"]}}"#), Ok(()));
        check(&format!(r#"{{"grant_types":["refresh_token","authorization_code"],{uris}}}"#), Ok(()));
        check(&format!(r#"{{{code},{uris},"response_types":["code"]}}"#), Ok(()));
        check(&format!(r#"{{{code},{uris},"response_types":[]}}"#), Err("response_types"));
        check(&format!(r#"{{{code},{uris},"response_types":["code","code"]}}"#), Err("response_types"));
        check(r#"{"response_types":["code"]}"#, Err("response_types"));
        check(r#"{"response_types":[]}"#, Ok(()));
        for uri in ["javascript:alert(1)", "http://client.example/", "https://client.example/#", "com.example.app:/cb"]
        {
            check(&format!(r#"{{{code},"redirect_uris":["{uri}"]}}"#), Err("redirect_uris"));
        }
        check(&format!(r#"{{{code},"redirect_uris":["com.example.app:/cb"],"application_type":"native"}}"#), Ok(()));
        let uri = "\"https://client.example/cb\"";
        check(&format!(r#"{{{code},"redirect_uris":[{uri},{uri}]}}"#), Err("redirect_uris"));
        let many: Vec<String> = (0..33).map(|number| format!("\"https://client.example/{number}\"")).collect();
        check(&format!(r#"{{{code},"redirect_uris":[{}]}}"#, many.join(",")), Err("redirect_uris"));
    }

    #[test]
    fn a_public_client_has_nothing_that_needs_a_secret() {
        let start = r#"{"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],
            "redirect_uris":["https://client.example/cb"],"scope":"openid""#;
        let check_with = |more: &str, expected| check(&format!("{start}{more}}}"), expected);
        check_with("", Ok(()));
        check_with(r#","introspection":"none""#, Ok(()));
        check_with(r#","introspection":"own""#, Err("introspection"));
        check_with(r#","refresh_token_rotation":true"#, Ok(()));
        check_with(r#","refresh_token_rotation":false"#, Err("refresh_token_rotation"));
        check_with(r#","nonce_instead_of_pkce":true"#, Err("nonce_instead_of_pkce"));
        check_with(r#","skip_consent":true"#, Ok(()));
        check(r#"{"token_endpoint_auth_method":"none"}"#, Err("grant_types"));
        let native =
            r#"{"token_endpoint_auth_method":"none","grant_types":["authorization_code"],"application_type":"native","#;
        for uri in ["http://127.0.0.1/cb", "com.example.app:/cb"] {
            check(&format!(r#"{native}"redirect_uris":["{uri}"],"skip_consent":true}}"#), Err("skip_consent"));
        }
        let document: ClientMetadataDocument = serde_json::from_str(&format!("{start}}}")).unwrap();
        let metadata = ClientMetadata::parse(&document).unwrap();
        assert_eq!((metadata.is_public(), metadata.introspection), (true, Introspection::None));
    }

    const JWKS: &str =
        r#""jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[test]
    fn a_client_has_keys_where_it_signs_and_nowhere_else() {
        let method = r#""token_endpoint_auth_method":"private_key_jwt""#;
        let uri = r#""jwks_uri":"https://client.example/keys""#;
        let alg = |alg: &str| format!(r#""token_endpoint_auth_signing_alg":"{alg}""#);
        check(&format!("{{{method},{JWKS}}}"), Ok(()));
        check(&format!("{{{method},{uri}}}"), Ok(()));
        check(&format!("{{{method},{JWKS},{uri}}}"), Err("jwks_uri"));
        check(&format!("{{{method}}}"), Err("jwks"));
        check(&format!(r#"{{{method},"jwks":{{"keys":[]}}}}"#), Err("jwks"));
        check(&format!(r#"{{{method},"jwks_uri":"http://client.example/keys"}}"#), Err("jwks_uri"));
        check(&format!("{{{method},{JWKS},{}}}", alg("EdDSA")), Ok(()));
        check(&format!("{{{method},{uri},{}}}", alg("PS256")), Ok(()));
        check(&format!("{{{method},{JWKS},{}}}", alg("ES256")), Err("token_endpoint_auth_signing_alg"));
        check(&format!("{{{JWKS}}}"), Err("jwks"));
        check(&format!("{{{uri}}}"), Err("jwks_uri"));
        check(&format!("{{{}}}", alg("EdDSA")), Err("token_endpoint_auth_signing_alg"));
        for name in ["none", "HS256", "RS512", "eddsa"] {
            let read = serde_json::from_str::<ClientMetadataDocument>(&format!("{{{}}}", alg(name)));
            assert!(read.unwrap_err().to_string().contains("unknown variant"), "{name}");
        }
    }

    #[test]
    fn refresh_tokens_have_bounds_and_what_is_usual() {
        check(r#"{"refresh_token_rotation":false}"#, Ok(()));
        check(r#"{"refresh_token_retry_seconds":0}"#, Ok(()));
        check(r#"{"refresh_token_retry_seconds":300}"#, Ok(()));
        check(r#"{"refresh_token_retry_seconds":301}"#, Err("refresh_token_retry_seconds"));
        check(r#"{"refresh_token_lifetime_seconds":0}"#, Err("refresh_token_lifetime_seconds"));
        check(r#"{"refresh_token_lifetime_seconds":31536001}"#, Err("refresh_token_lifetime_seconds"));
        check(r#"{"refresh_token_idle_seconds":0}"#, Err("refresh_token_idle_seconds"));
        check(r#"{"refresh_token_idle_seconds":2592001}"#, Err("refresh_token_idle_seconds"));
        check(r#"{"refresh_token_lifetime_seconds":9,"refresh_token_idle_seconds":9}"#, Ok(()));
        let idle = |seconds| {
            let document = ClientMetadataDocument { refresh_token_lifetime_seconds: seconds, ..Default::default() };
            let metadata = ClientMetadata::parse(&document).unwrap();
            (metadata.refresh_token_lifetime_seconds, metadata.refresh_token_idle_seconds)
        };
        assert_eq!([idle(None), idle(Some(60))], [(2_592_000, 1_209_600), (60, 60)]);
    }

    #[test]
    fn a_nonce_stands_in_for_openid_clients_alone_and_origins_are_whole() {
        check(r#"{"nonce_instead_of_pkce":true,"scope":"openid"}"#, Ok(()));
        check(r#"{"nonce_instead_of_pkce":true,"scope":"read"}"#, Err("nonce_instead_of_pkce"));
        check(r#"{"allowed_cors_origins":["https://app.example"]}"#, Ok(()));
        for origin in ["*", "null", "https://app.example/", "http://app.example", "https://*.app.example"] {
            check(&format!(r#"{{"allowed_cors_origins":["{origin}"]}}"#), Err("allowed_cors_origins"));
        }
        let twice = r#"{"allowed_cors_origins":["https://app.example","https://app.example"]}"#;
        check(twice, Err("allowed_cors_origins"));
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let error = serde_json::from_str::<ClientMetadataDocument>(r#"{"scopes":"a"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `scopes`"), "{error}");
        for json in [r#"{"access_token_format":"JWT"}"#, r#"{"access_token_signing_alg":"none"}"#] {
            let error = serde_json::from_str::<ClientMetadataDocument>(json).unwrap_err();
            assert!(error.to_string().contains("unknown variant"), "{error}");
        }
    }

    #[test]
    fn a_document_survives_the_round_trip() {
        for json in [
            r#"{"client_name":"n","scope":"a b","audience":["x"],"introspection":"audience","access_token_lifetime_seconds":5}"#,
            r#"{"grant_types":["authorization_code","refresh_token"],"redirect_uris":["com.example.app:/cb"],
                "application_type":"native","token_endpoint_auth_method":"none","allowed_cors_origins":["https://a.example"]}"#,
            r#"{"grant_types":["authorization_code"],"redirect_uris":["https://a.example/"],"scope":"openid",
                "nonce_instead_of_pkce":true,"skip_consent":true,"require_pushed_authorization_requests":true,
                "refresh_token_rotation":false,"refresh_token_retry_seconds":1,"refresh_token_lifetime_seconds":3,
                "refresh_token_idle_seconds":2}"#,
            r#"{"redirect_uris":["com.example.app:/cb"],"application_type":"native","refresh_token_lifetime_seconds":3}"#,
            r#"{"access_token_format":"jwt","access_token_signing_alg":"PS256"}"#,
            &format!(
                r#"{{"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"EdDSA",{JWKS}}}"#
            ),
            r#"{"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://client.example/keys"}"#,
        ] {
            let metadata = ClientMetadata::parse(&serde_json::from_str(json).unwrap()).unwrap();
            assert_eq!(ClientMetadata::parse(&metadata.to_document()), Ok(metadata), "{json}");
        }
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
