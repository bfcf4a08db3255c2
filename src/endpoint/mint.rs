//! Access tokens as their client wants them: random characters, or JWTs (RFC 9068).

use crate::client::Client;
use crate::client::metadata::AccessTokenFormat;
use crate::clock::UnixTime;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::Service;
use crate::grant::access_lifetime_seconds;
use crate::signing::actor::{CoverTokens, KeyError, ask};
use crate::signing::registry::KeySet;
use crate::token::access_token::{AccessToken, RoutingId};
use crate::token::grant::GrantTerms;
use crate::token::jwt::Claims;

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
        for _ in 0..ATTEMPTS_MAX {
            // The keys are let go of before anything is waited for.
            let kid = match self.sign(&self.service.keys.keys(), &claims, routing_id)? {
                Signed::Token(token) => return Ok(token),
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

    fn sign(&self, keys: &KeySet, claims: &Claims<'_>, routing_id: Option<RoutingId>) -> Result<Signed, Rejection> {
        let algorithm = self.client.metadata.access_token_signing_alg;
        let algorithm = algorithm.unwrap_or(self.service.defaults.access_token_signing_alg);
        let key = keys.signing(algorithm, self.now).ok_or(Rejection::NoSigningKey(algorithm))?;
        if key.tokens_until() < claims.expires_at {
            return Ok(Signed::NotCovered { kid: key.kid.clone() });
        }
        let token = AccessToken::signed(claims, routing_id, key, &*self.service.random);
        token.map(Signed::Token).map_err(|_| Rejection::NoRandomness)
    }
}

enum Signed {
    Token(AccessToken),
    /// The key may not sign what lives so long yet.
    NotCovered {
        kid: String,
    },
}
