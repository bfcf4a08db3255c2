//! The refresh token grant (RFC 6749 §6, RFC 9700 §4.14.2): what becomes of a refresh token that was presented.

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::grant::invalid_grant;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::oauth::scope::Scope;
use crate::token::person::{PersonGrant, RefreshState};
use crate::token::refresh_token::RefreshReference;

/// What comes with a refresh token.
#[derive(Clone, Copy, Debug)]
pub struct RefreshProof<'a> {
    /// Which refresh token.
    pub reference: RefreshReference,
    /// Who presents it.
    pub client_id: &'a ClientId,
    /// How long after a rotation the token from before is answered again, in seconds; 0 is never.
    pub retry_seconds: u32,
    /// Since when this server has answered without a break, in seconds since the epoch: a client whose answer was lost in a
    /// restart has its time from then on.
    pub serving_since: u32,
}

/// What becomes of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshing {
    /// It is the one that is good now.
    Current,
    /// It is the one before, whose answer seems to have been lost: the same answer again.
    Again,
}

/// Why a refresh token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRefused {
    /// What the client is told.
    pub error: OAuthError,
    /// Whether it was used before, and so may have been stolen: the whole grant must end.
    pub is_reuse: bool,
}

/// Decides about a refresh token of a grant. Its tag was right, so it was made here.
///
/// # Errors
///
/// [`RefreshRefused`] with `invalid_grant`.
pub fn decide(grant: &PersonGrant, proof: &RefreshProof<'_>, now: UnixTime) -> Result<Refreshing, RefreshRefused> {
    let refused = |description| RefreshRefused { error: invalid_grant(description), is_reuse: false };
    if grant.terms.client.id != *proof.client_id {
        return Err(refused("the refresh token was issued to another client"));
    }
    let Some(refresh) = grant.refresh.filter(|_| grant.is_in_force()) else {
        return Err(refused("the refresh token was revoked"));
    };
    if now.as_seconds_u32() >= refresh.live_until() {
        return Err(refused("the refresh token has expired"));
    }
    let RefreshReference { generation, digest, .. } = proof.reference;
    if generation > refresh.generation || (generation == refresh.generation && digest != refresh.current) {
        // Made by a life of this server that was lost: nobody has used it here.
        return Err(refused("the refresh token is unknown"));
    }
    if generation == refresh.generation {
        Ok(Refreshing::Current)
    } else if is_before(&refresh, proof) && is_within_window(&refresh, proof, now) {
        Ok(Refreshing::Again)
    } else {
        let description = "the refresh token was used before, so the whole grant is revoked";
        Err(RefreshRefused { error: invalid_grant(description), is_reuse: true })
    }
}

/// RFC 6749 §6: what is asked for, within what was granted; all of it if nothing is asked for.
///
/// # Errors
///
/// `invalid_scope`.
pub fn narrowed(requested: Option<&Scope>, granted: &Scope) -> Result<Option<Scope>, OAuthError> {
    match requested {
        Some(requested) if !requested.is_subset_of(granted) => {
            Err(OAuthError::new(OAuthErrorCode::InvalidScope, "the scope is wider than what was granted"))
        }
        Some(requested) if !granted.is_subset_of(requested) => Ok(Some(requested.clone())),
        _ => Ok(None),
    }
}

fn is_before(refresh: &RefreshState, proof: &RefreshProof<'_>) -> bool {
    proof.reference.generation.checked_add(1) == Some(refresh.generation)
        && refresh.previous == Some(proof.reference.digest)
}

fn is_within_window(refresh: &RefreshState, proof: &RefreshProof<'_>, now: UnixTime) -> bool {
    let since = refresh.refreshed_at.max(proof.serving_since);
    now.as_seconds_u32().saturating_sub(since) < proof.retry_seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::authentication_context::AuthenticationContext;
    use crate::oauth::subject::Subject;
    use crate::token::digest::TokenDigest;
    use crate::token::grant::tests::terms;
    use crate::token::grant_id::GrantId;
    use crate::token::person::{PersonTerms, Standing};

    const GRANT: GrantId = GrantId::from_bytes([1; 16]);

    fn digest(number: u8) -> TokenDigest {
        TokenDigest::from_bytes([number; 16])
    }

    /// Its third refresh token is the current one; refreshed at 1,000, idle until 2,000, expires at 3,000.
    fn grant() -> PersonGrant {
        let person = PersonTerms {
            grant_id: GRANT,
            subject: Subject::parse("ada").unwrap(),
            subject_generation: 0,
            auth_time: 0,
            context: AuthenticationContext::default(),
            standing: Standing::default(),
        };
        PersonGrant {
            terms: terms("read write").granted_by(person),
            created_at: 900,
            redeemed: digest(99),
            refresh: Some(RefreshState {
                generation: 3,
                current: digest(3),
                previous: Some(digest(2)),
                refreshed_at: 1_000,
                idle_until: 2_000,
                expires_at: 3_000,
            }),
            access_expires_at: 1_300,
        }
    }

    #[track_caller]
    fn check(generation: u32, number: u8, now: u64, expected: Result<Refreshing, (&str, bool)>) {
        check_since(generation, number, 0, now, expected);
    }

    #[track_caller]
    fn check_since(
        generation: u32,
        number: u8,
        serving_since: u32,
        now: u64,
        expected: Result<Refreshing, (&str, bool)>,
    ) {
        let client_id = ClientId::parse("app").unwrap();
        let reference = RefreshReference { grant_id: GRANT, generation, digest: digest(number) };
        let proof = RefreshProof { reference, client_id: &client_id, retry_seconds: 30, serving_since };
        let decided = decide(&grant(), &proof, UnixTime::from_seconds(now));
        let decided = decided.as_ref().map(|refreshing| *refreshing);
        assert_eq!(decided.map_err(|refused| (&*refused.error.description, refused.is_reuse)), expected);
    }

    const REUSE: Result<Refreshing, (&str, bool)> =
        Err(("the refresh token was used before, so the whole grant is revoked", true));

    #[test]
    fn the_current_token_is_good_and_the_one_before_inside_the_window() {
        check(3, 3, 1_500, Ok(Refreshing::Current));
        check(2, 2, 1_029, Ok(Refreshing::Again));
        check(2, 2, 1_030, REUSE);
        check(1, 1, 1_000, REUSE);
    }

    #[test]
    fn a_window_counts_the_time_of_serving() {
        check_since(2, 2, 5_000 - 3_500, 1_529, Ok(Refreshing::Again));
        check_since(2, 2, 1_500, 1_530, REUSE);
    }

    #[test]
    fn what_this_life_has_not_made_kills_nothing() {
        check(3, 4, 1_000, Err(("the refresh token is unknown", false)));
        check(4, 4, 1_000, Err(("the refresh token is unknown", false)));
    }

    #[test]
    fn a_grant_expires_when_it_is_idle_and_in_any_case() {
        check(3, 3, 1_999, Ok(Refreshing::Current));
        check(3, 3, 2_000, Err(("the refresh token has expired", false)));
    }

    #[test]
    fn a_scope_is_narrowed_and_never_widened() {
        let narrow = |requested: Option<&str>| {
            let requested = requested.map(|text| Scope::parse(text).unwrap());
            let granted = Scope::parse("read write").unwrap();
            narrowed(requested.as_ref(), &granted).map(|scope| scope.map(|scope| scope.as_str().to_owned()))
        };
        assert_eq!(narrow(None), Ok(None));
        assert_eq!(narrow(Some("write read")), Ok(None), "the order means nothing");
        assert_eq!(narrow(Some("write")), Ok(Some("write".to_owned())));
        assert_eq!(narrow(Some("write admin")).unwrap_err().code, OAuthErrorCode::InvalidScope);
    }
}
