//! `POST /oauth2/token` (RFC 6749 §3.2).

use std::sync::Arc;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::clock::UnixTime;
use crate::endpoint::client_authentication::identify;
use crate::endpoint::form::Form;
use crate::endpoint::loaded::LoadedRequest;
use crate::endpoint::mint::Mint;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::Service;
use crate::grant::{self, client_credentials, invalid_grant, resource};
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::grant_type::GrantType;
use crate::oauth::pkce::CodeVerifier;
use crate::oauth::scope::{OPENID_SCOPE, Scope};
use crate::shard::ShardError;
use crate::shard::message::IssueToken;
use crate::shard::people::{GrantedToken, MintedAccess, MintedRefresh, Proof, RedeemCode, RefreshGrant, Refreshed};
use crate::token::access_token::AccessToken;
use crate::token::code::{CodeKind, CodeReference};
use crate::token::grant::GrantTerms;
use crate::token::refresh_token::{PresentedRefreshToken, RefreshToken};

pub(super) async fn answer(request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
    request.fields.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse_with_resources(request.body)?;
    let client = Arc::clone(identify(&request.service.registry.read(), &request.fields, &form)?);
    let grant_type = grant::grant_type(form.require("grant_type")?)?;
    grant::allow(&client, grant_type)?;
    client.note_use(request.now);
    let asked = Asked { service: request.service, client: &client, form: &form, now: request.now };
    let tokens = match grant_type {
        GrantType::ClientCredentials => asked.for_itself().await?,
        GrantType::AuthorizationCode => asked.with_authorization_code().await?,
        GrantType::DeviceCode => asked.with_device_code().await?,
        GrantType::RefreshToken => asked.with_refresh_token().await?,
    };
    tokens.write(request.now, body);
    Ok(())
}

/// A token request of a client that may make it.
struct Asked<'a, 'f> {
    service: &'a Service,
    client: &'a Client,
    form: &'a Form<'f>,
    now: UnixTime,
}

/// What a request gets. It is nobody's before the shard has answered.
struct Tokens<'a> {
    access: AccessToken,
    refresh: Option<RefreshText<'a>>,
    id_token: Option<Zeroizing<String>>,
    granted: GrantedToken,
}

impl Tokens<'_> {
    fn write(&self, now: UnixTime, body: &mut Vec<u8>) {
        let Self { access, refresh, id_token, granted } = self;
        let response = TokenResponse {
            access_token: access.reveal(),
            token_type: "Bearer",
            // An answer that is given again is older than now.
            expires_in: granted.expires_at.saturating_sub(now.as_seconds_u32()),
            refresh_token: refresh.as_ref().map(RefreshText::reveal),
            scope: granted.scope.as_str(),
            id_token: id_token.as_ref().map(|text| text.as_str()),
        };
        // Text and numbers can always be written, and a vector takes all.
        serde_json::to_writer(body, &response).unwrap_or_default();
    }
}

/// The refresh token of an answer.
enum RefreshText<'a> {
    New(RefreshToken),
    /// The one that was presented, which stays.
    Presented(&'a str),
}

impl RefreshText<'_> {
    fn reveal(&self) -> &str {
        match self {
            Self::New(token) => token.reveal(),
            Self::Presented(text) => text,
        }
    }
}

impl<'a> Asked<'a, '_> {
    async fn for_itself(&self) -> Result<Tokens<'a>, Rejection> {
        let (scope, resources) = (self.form.find("scope"), self.form.resources());
        let granted = client_credentials::decide(scope, resources, self.client, &self.service.defaults, self.now)?;
        let access = self.mint().token(&granted.terms, None).await?;
        let issued = IssueToken {
            reference: access.reference(),
            issued_at: granted.issued_at,
            expires_at: granted.expires_at,
            terms: granted.terms.clone(),
        };
        self.service.shards.issue(issued).await?;
        let (issued_at, expires_at) = (granted.issued_at, granted.expires_at);
        let scope = granted.terms.client.scope.clone();
        let granted = GrantedToken { issued_at, expires_at, scope, identity: None };
        Ok(Tokens { access, refresh: None, id_token: None, granted })
    }

    /// RFC 6749 §4.1.3, RFC 7636 §4.5.
    async fn with_authorization_code(&self) -> Result<Tokens<'a>, Rejection> {
        let code = CodeReference::of(CodeKind::Authorization, self.form.require("code")?)
            .ok_or_else(|| invalid_grant("the code is unknown or has expired"))?;
        let verifier = self.form.find("code_verifier").map(CodeVerifier::parse).transpose();
        let verifier = verifier.map_err(|error| OAuthError::invalid_request(error.to_string()))?;
        let proof = Proof::Authorization {
            redirect_uri: self.form.find("redirect_uri").map(str::to_owned),
            code_challenge: verifier.map(|verifier| *verifier.challenge().as_bytes()),
        };
        self.redeem(code, proof).await
    }

    /// RFC 8628 §3.4.
    async fn with_device_code(&self) -> Result<Tokens<'a>, Rejection> {
        let code = CodeReference::of(CodeKind::Device, self.form.require("device_code")?)
            .ok_or_else(|| invalid_grant("the device code is unknown or has expired"))?;
        self.redeem(code, Proof::Device).await
    }

    async fn redeem(&self, code: CodeReference, proof: Proof) -> Result<Tokens<'a>, Rejection> {
        let Service { random, refresh_key, shards, .. } = self.service;
        let metadata = &self.client.metadata;
        let has_refresh = metadata.may_use(GrantType::RefreshToken);
        let refresh = has_refresh.then(|| refresh_key.first(code.grant_id, &**random)).transpose();
        let refresh = refresh.map_err(|_| Rejection::NoRandomness)?;
        let request = RedeemCode {
            code,
            client_id: self.client.id.clone(),
            proof,
            resources: resource::read(self.form.resources())?,
            access: None,
            refresh: refresh.as_ref().map(|refresh| MintedRefresh {
                digest: refresh.digest(),
                lifetime_seconds: metadata.refresh_token_lifetime_seconds,
                idle_seconds: metadata.refresh_token_idle_seconds,
            }),
            now: self.now,
        };
        let (mint, routing_id) = (self.mint(), Some(code.grant_id.routing_id()));
        if let Err(rejection) = mint.prepare_id_token().await
            && tells_identity(&shards.describe_code(request.clone()).await?)
        {
            return Err(rejection);
        }
        // What states its terms has to know them first; whether the code is good is asked once more with it.
        let access = match mint.signs() {
            true => mint.token(&shards.describe_code(request.clone()).await?, routing_id).await?,
            false => mint.opaque(routing_id)?,
        };
        let granted = shards.redeem(RedeemCode { access: Some(self.minted(&access)), ..request }).await?;
        let id_token = mint.id_token(&granted, &access).await?;
        Ok(Tokens { access, refresh: refresh.map(RefreshText::New), id_token, granted })
    }

    /// RFC 6749 §6. Where refresh tokens rotate, all that is answered follows from the one that was presented: a client that
    /// lost the answer asks again and gets the same.
    async fn with_refresh_token(&self) -> Result<Tokens<'a>, Rejection> {
        let refresh_key = &self.service.refresh_key;
        let metadata = &self.client.metadata;
        let text = self.form.require("refresh_token")?;
        let presented = refresh_key.read(text).ok_or_else(|| invalid_grant("the refresh token is unknown"))?;
        let scope = self.form.find("scope").map(Scope::parse).transpose();
        let scope = scope.map_err(|error| OAuthError::new(OAuthErrorCode::InvalidScope, error.to_string()))?;
        let is_rotating = metadata.refresh_token_rotation;
        let successor = is_rotating.then(|| refresh_key.successor(&presented));
        let request = RefreshGrant {
            reference: presented.reference,
            client_id: self.client.id.clone(),
            scope,
            resources: resource::read(self.form.resources())?,
            access: None,
            is_access_new: true,
            successor: successor.as_ref().map(RefreshToken::digest),
            retry_seconds: metadata.refresh_token_retry_seconds,
            idle_seconds: metadata.refresh_token_idle_seconds,
            now: self.now,
        };
        if let Err(rejection) = self.mint().prepare_id_token().await
            && tells_identity(&self.service.shards.describe_refresh(request.clone()).await?)
        {
            return Err(rejection);
        }
        let (access, granted) = self.refreshed(&presented, request).await?;
        let id_token = self.mint().id_token(&granted, &access).await?;
        let refresh = Some(successor.map_or(RefreshText::Presented(text), RefreshText::New));
        Ok(Tokens { access, refresh, id_token, granted })
    }

    /// The access token that a refresh gives. Where refresh tokens rotate it follows from the one that was presented; but one that
    /// was given before and lives no more is no help to a client that asks again. One that is signed is always new.
    async fn refreshed(
        &self,
        presented: &PresentedRefreshToken,
        request: RefreshGrant,
    ) -> Result<(AccessToken, GrantedToken), Rejection> {
        let Service { refresh_key, shards, .. } = self.service;
        let (mint, routing_id) = (self.mint(), Some(presented.reference.grant_id.routing_id()));
        if self.client.metadata.refresh_token_rotation && !mint.signs() {
            let derived = refresh_key.access_token(presented);
            let access = Some(self.minted(&derived));
            let again = RefreshGrant { access, is_access_new: false, ..request.clone() };
            if let Refreshed::Granted(granted) = shards.refresh(again).await? {
                return Ok((derived, granted));
            }
        }
        let access = match mint.signs() {
            true => mint.token(&shards.describe_refresh(request.clone()).await?, routing_id).await?,
            false => mint.opaque(routing_id)?,
        };
        match shards.refresh(RefreshGrant { access: Some(self.minted(&access)), ..request }).await? {
            Refreshed::Granted(granted) => Ok((access, granted)),
            // That is said of no new one.
            Refreshed::Outlived => Err(ShardError::Unavailable.into()),
        }
    }

    fn minted(&self, access: &AccessToken) -> MintedAccess {
        MintedAccess { digest: access.reference().digest, lifetime_seconds: self.mint().lifetime_seconds() }
    }

    const fn mint(&self) -> Mint<'a> {
        Mint { service: self.service, client: self.client, now: self.now }
    }
}

/// Whether an ID token comes with an access token of these terms.
fn tells_identity(terms: &GrantTerms) -> bool {
    terms.client.scope.contains(OPENID_SCOPE)
}

/// RFC 6749 §5.1. The scope is always named: it may be another than the one that was asked for.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    /// `OpenID` Connect Core §3.1.3.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
}
