//! The authorization code grant (RFC 6749 §4.1.3, RFC 7636 §4.6): whether a code may be redeemed.

use subtle::ConstantTimeEq;

use crate::client::id::ClientId;
use crate::clock::UnixTime;
use crate::grant::invalid_grant;
use crate::oauth::error::OAuthError;
use crate::token::person::PendingCode;

/// What comes with a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeProof<'a> {
    /// Who presents it.
    pub client_id: &'a ClientId,
    /// `redirect_uri`, if it was sent.
    pub redirect_uri: Option<&'a str>,
    /// SHA-256 of `code_verifier`, if it was sent.
    pub code_challenge: Option<&'a [u8; 32]>,
}

/// Whether a code that is known may be redeemed so.
///
/// # Errors
///
/// `invalid_grant` (RFC 6749 §5.2).
pub fn check(code: &PendingCode, proof: &CodeProof<'_>, now: UnixTime) -> Result<(), OAuthError> {
    if code.terms.client.id != *proof.client_id {
        return Err(invalid_grant("the code was issued to another client"));
    }
    if now.as_seconds_u32() >= code.expires_at {
        return Err(invalid_grant("the code has expired"));
    }
    if !code.terms.are_in_force() {
        return Err(invalid_grant("what the code stands for was revoked"));
    }
    if code.redirect_uri.as_deref().is_some_and(|expected| proof.redirect_uri != Some(expected)) {
        return Err(invalid_grant("redirect_uri must be that of the authorization request"));
    }
    match (&code.code_challenge, proof.code_challenge) {
        (Some(expected), Some(presented)) if bool::from(expected.ct_eq(presented)) => Ok(()),
        (Some(_), Some(_)) => Err(invalid_grant("code_verifier does not match the code_challenge")),
        (Some(_), None) => Err(invalid_grant("code_verifier is missing")),
        // Somebody took the challenge out of the authorization request (RFC 9700 §4.8.2).
        (None, Some(_)) => Err(invalid_grant("the authorization request had no code_challenge")),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::digest::TokenDigest;
    use crate::token::grant::ClientTerms;
    use crate::token::grant::tests::{client_terms, terms};

    const CHALLENGE: [u8; 32] = [3; 32];

    fn code() -> PendingCode {
        PendingCode {
            digest: TokenDigest::from_bytes([1; 16]),
            terms: terms("read"),
            redirect_uri: Some(Box::from("https://app.example/cb")),
            code_challenge: Some(CHALLENGE),
            nonce: None,
            expires_at: 1_060,
        }
    }

    #[track_caller]
    fn check(code: &PendingCode, change: impl FnOnce(&mut CodeProof<'_>), now: u64, expected: Result<(), &str>) {
        let client_id = ClientId::parse("app").unwrap();
        let mut proof = CodeProof {
            client_id: &client_id,
            redirect_uri: Some("https://app.example/cb"),
            code_challenge: Some(&CHALLENGE),
        };
        change(&mut proof);
        let checked = super::check(code, &proof, UnixTime::from_seconds(now));
        assert_eq!(checked.as_ref().map_err(|error| &*error.description).copied(), expected);
    }

    #[test]
    fn a_code_is_redeemed_as_it_was_asked_for_and_not_otherwise() {
        check(&code(), |_| (), 1_059, Ok(()));
        check(&code(), |_| (), 1_060, Err("the code has expired"));
        let redirect_uri = Err("redirect_uri must be that of the authorization request");
        for other in [None, Some("https://app.example/cb/"), Some("HTTPS://app.example/cb"), Some("")] {
            check(&code(), |proof| proof.redirect_uri = other, 1_000, redirect_uri);
        }
        check(&code(), |proof| proof.code_challenge = None, 1_000, Err("code_verifier is missing"));
        let mismatch = Err("code_verifier does not match the code_challenge");
        check(&code(), |proof| proof.code_challenge = Some(&[4; 32]), 1_000, mismatch);
        let without = PendingCode { code_challenge: None, ..code() };
        let downgraded = Err("the authorization request had no code_challenge");
        check(&without, |_| (), 1_000, downgraded);
        check(&without, |proof| proof.code_challenge = None, 1_000, Ok(()));
    }

    #[test]
    fn a_code_is_its_clients_own_and_dies_with_what_it_stands_for() {
        let mut other = code();
        let id = ClientId::parse("other").unwrap();
        other.terms = ClientTerms { id, ..client_terms("read") }.into();
        check(&other, |_| (), 1_000, Err("the code was issued to another client"));
        let mut revoked = code();
        revoked.terms = ClientTerms { generation: 1, ..client_terms("read") }.into();
        check(&revoked, |_| (), 1_000, Err("what the code stands for was revoked"));
    }
}
