//! Access tokens as their client wants them, random characters or JWTs (RFC 9068), and ID tokens.

use ring::error::Unspecified;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::client::metadata::AccessTokenFormat;
use crate::clock::UnixTime;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::Service;
use crate::grant::access_lifetime_seconds;
use crate::oauth::algorithm::SigningAlgorithm;
use crate::oauth::claims::ClaimsRequest;
use crate::oauth::scope::{OPENID_SCOPE, Scope};
use crate::shard::people::{GrantedToken, Identity};
use crate::signing::actor::{CoverTokens, KeyError, ask};
use crate::signing::registry::{KeySet, SigningKey};
use crate::token::access_token::{AccessToken, RoutingId};
use crate::token::grant::GrantTerms;
use crate::token::id_token::IdTokenClaims;
use crate::token::jwt::Claims;
use crate::user::claims::claims_of;

/// What makes the access tokens of one client, as of one moment.
#[derive(Clone, Copy)]
pub(super) struct Mint<'a> {
    pub(super) service: &'a Service,
    pub(super) client: &'a Client,
    pub(super) now: UnixTime,
}

/// How often a key is looked for that may sign. Keys are rotated much more seldom.
const ATTEMPTS_MAX: usize = 8;

impl Mint<'_> {
    /// Whether its tokens are signed, and so state their terms.
    pub(super) fn signs(&self) -> bool {
        self.client.metadata.access_token_format == AccessTokenFormat::Jwt
    }

    /// How long its tokens live, in seconds.
    pub(super) fn lifetime_seconds(&self) -> u32 {
        access_lifetime_seconds(self.client, &self.service.defaults)
    }

    /// A token of these terms; of a grant it lives where the grant does.
    pub(super) async fn token(
        &self,
        terms: &GrantTerms,
        routing_id: Option<RoutingId>,
    ) -> Result<AccessToken, Rejection> {
        if self.signs() { self.signed(terms, routing_id).await } else { self.opaque(routing_id) }
    }

    /// A token that states nothing.
    pub(super) fn opaque(&self, routing_id: Option<RoutingId>) -> Result<AccessToken, Rejection> {
        let random = &*self.service.random;
        let token = routing_id.map_or_else(|| AccessToken::random(random), |id| AccessToken::random_of(id, random));
        token.map_err(|_| Rejection::NoRandomness)
    }

    /// A token that the key of now signs. That it may, until this token expires, is durable before.
    async fn signed(&self, terms: &GrantTerms, routing_id: Option<RoutingId>) -> Result<AccessToken, Rejection> {
        let issued_at = self.now.as_seconds_u32();
        let expires_at = issued_at.saturating_add(self.lifetime_seconds());
        let claims = Claims { issuer: &self.service.issuer, terms, issued_at, expires_at };
        let algorithm = self.client.metadata.access_token_signing_alg;
        let algorithm = algorithm.unwrap_or(self.service.defaults.access_token_signing_alg);
        let sign = |key: &SigningKey| AccessToken::signed(&claims, routing_id, key, &*self.service.random);
        self.sign(algorithm, expires_at, sign).await
    }

    /// Lets the key of the client's ID tokens sign one of now, where the client may get one: whoever exchanges something for tokens
    /// gets all of them, or still has it.
    pub(super) async fn prepare_id_token(&self) -> Result<(), Rejection> {
        if !self.client.metadata.scope.contains(OPENID_SCOPE) {
            return Ok(());
        }
        let (_, expires_at) = self.id_token_times();
        self.sign(self.id_token_signing_alg(), expires_at, |_| Ok(())).await
    }

    /// The ID token that comes with an access token, if one does.
    pub(super) async fn id_token(
        &self,
        granted: &GrantedToken,
        access_token: &AccessToken,
    ) -> Result<Option<Zeroizing<String>>, Rejection> {
        let Some(Identity { person, nonce, claims }) = &granted.identity else { return Ok(None) };
        let (issued_at, expires_at) = self.id_token_times();
        let asked = claims.as_ref().map(ClaimsRequest::id_token).unwrap_or_default();
        let user =
            Some(&asked).filter(|asked| !asked.is_empty()).and_then(|_| self.service.users.find(&person.subject));
        let more = user.map(|user| claims_of(&user, &Scope::empty(), &asked)).unwrap_or_default();
        let claims = IdTokenClaims {
            issuer: &self.service.issuer,
            client_id: &self.client.id,
            person,
            nonce: nonce.as_deref(),
            access_token,
            issued_at,
            expires_at,
            more: &more,
        };
        let sign = |key: &SigningKey| claims.sign(key, &*self.service.random);
        self.sign(self.id_token_signing_alg(), expires_at, sign).await.map(Some)
    }

    fn id_token_times(&self) -> (u32, u32) {
        let issued_at = self.now.as_seconds_u32();
        (issued_at, issued_at.saturating_add(self.service.defaults.id_token_lifetime_seconds))
    }

    fn id_token_signing_alg(&self) -> SigningAlgorithm {
        let algorithm = self.client.metadata.id_token_signed_response_alg;
        algorithm.unwrap_or(self.service.defaults.id_token_signing_alg)
    }

    /// What the key of now signs, and what is good until then. That the key is published as long is durable before.
    async fn sign<T>(
        &self,
        algorithm: SigningAlgorithm,
        expires_at: u32,
        sign: impl Fn(&SigningKey) -> Result<T, Unspecified>,
    ) -> Result<T, Rejection> {
        for _ in 0..ATTEMPTS_MAX {
            // The keys are let go of before anything is waited for.
            let kid = match self.try_sign(&self.service.keys.keys(), algorithm, expires_at, &sign)? {
                Signed::Done(signed) => return Ok(signed),
                Signed::NotCovered { kid } => kid,
            };
            match ask(&self.service.key_actor, CoverTokens { kid, expires_at }).await {
                // One that has gone meanwhile has a successor.
                Ok(()) | Err(KeyError::Unknown) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(KeyError::Busy.into())
    }

    fn try_sign<T>(
        &self,
        keys: &KeySet,
        algorithm: SigningAlgorithm,
        expires_at: u32,
        sign: impl Fn(&SigningKey) -> Result<T, Unspecified>,
    ) -> Result<Signed<T>, Rejection> {
        let key = keys.signing(algorithm, self.now).ok_or(Rejection::NoSigningKey(algorithm))?;
        if key.tokens_until() < expires_at {
            return Ok(Signed::NotCovered { kid: key.kid.clone() });
        }
        sign(key).map(Signed::Done).map_err(|_| Rejection::NoRandomness)
    }
}

enum Signed<T> {
    Done(T),
    /// The key may not sign what lives so long yet.
    NotCovered {
        kid: String,
    },
}
