//! Whether an answer is the right one.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{Answer, Credentials};
use crate::flows::token::{Expected, Question, Token};

/// What is wrong with an answer. Never says whose token it was: goose prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("the answer is not what the RFC describes")]
    Malformed,
    #[error("active, and must not be")]
    Active,
    #[error("inactive, and must not be")]
    Inactive,
    #[error("inactive, and tells more than that")]
    Talkative,
    #[error("active with another client or scope than it was issued with")]
    Confused,
}

/// Anything is right, as the status is.
pub(super) const fn anything(_: &Answer) -> Result<(), Wrong> {
    Ok(())
}

/// The token of a token response (RFC 6749 §5.1).
pub(super) fn token(answer: &Answer, client_id: &str, sent: Instant, now: Instant) -> Result<Token, Wrong> {
    let TokenResponse { access_token, token_type, expires_in, scope } = parse(answer)?;
    if token_type != BEARER {
        return Err(Wrong::Malformed);
    }
    let lifetime = Duration::from_secs(expires_in);
    Ok(Token::issued(access_token, client_id.to_owned(), scope, lifetime, (sent, now)))
}

/// Judges a refusal of what a code or a refresh token stood for (RFC 6749 §5.2).
pub(super) fn invalid_grant(answer: &Answer) -> Result<(), Wrong> {
    let ErrorResponse { error } = parse(answer)?;
    (error == "invalid_grant").then_some(()).ok_or(Wrong::Malformed)
}

/// Who was registered.
pub(super) fn credentials(answer: &Answer) -> Result<Credentials, Wrong> {
    answer.credentials().ok_or(Wrong::Malformed)
}

/// Judges an introspection response (RFC 7662 §2.2).
pub(super) fn introspection(answer: &Answer, question: &Question<'_>, now: Instant) -> Result<(), Wrong> {
    judge(&parse(answer)?, question.token(), question.expected(now))
}

/// Judges the answer to somebody who may not see the token.
pub(super) fn unseen(answer: &Answer, token: &Token) -> Result<(), Wrong> {
    judge(&parse(answer)?, token, Expected::Inactive)
}

/// Judges the answer to a batch: one for each question, in their order.
pub(super) fn batch(answer: &Answer, questions: &[Question<'_>], now: Instant) -> Result<(), Wrong> {
    let BatchResponse { results } = parse(answer)?;
    if results.len() != questions.len() {
        return Err(Wrong::Malformed);
    }
    results
        .iter()
        .zip(questions)
        .try_for_each(|(result, question)| judge(result, question.token(), question.expected(now)))
}

/// Judges a metadata document (RFC 8414 §2): it names the endpoints that the flows use.
pub(super) fn metadata(answer: &Answer) -> Result<(), Wrong> {
    let document: Metadata = parse(answer)?;
    let endpoints = [&document.token_endpoint, &document.introspection_endpoint, &document.revocation_endpoint];
    let issuer = document.issuer.trim_end_matches('/');
    let are_the_issuers = !issuer.is_empty() && endpoints.iter().all(|endpoint| endpoint.starts_with(issuer));
    are_the_issuers.then_some(()).ok_or(Wrong::Malformed)
}

fn judge(said: &Value, token: &Token, expected: Expected) -> Result<(), Wrong> {
    let Introspection { active, client_id, scope, token_type } =
        Introspection::deserialize(said).map_err(|_| Wrong::Malformed)?;
    match (active, expected) {
        (true, Expected::Inactive) => Err(Wrong::Active),
        (false, Expected::Active) => Err(Wrong::Inactive),
        (true, _) if token_type != BEARER => Err(Wrong::Malformed),
        (true, _) if (client_id, scope) != (&*token.client_id, &*token.scope) => Err(Wrong::Confused),
        (false, _) if said.as_object().is_none_or(|members| members.len() > 1) => Err(Wrong::Talkative),
        _ => Ok(()),
    }
}

fn parse<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, Wrong> {
    serde_json::from_slice(&answer.body).map_err(|_| Wrong::Malformed)
}

const BEARER: &str = "Bearer";

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
    expires_in: u64,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize)]
struct ErrorResponse {
    error: String,
}

#[derive(Deserialize)]
struct BatchResponse {
    results: Vec<Value>,
}

#[derive(Deserialize)]
struct Introspection<'a> {
    active: bool,
    #[serde(default)]
    client_id: &'a str,
    #[serde(default)]
    scope: &'a str,
    #[serde(default)]
    token_type: &'a str,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    const ACTIVE: &str = r#"{"active":true,"client_id":"app","scope":"read","token_type":"Bearer","exp":2,"iat":1}"#;
    const INACTIVE: &str = r#"{"active":false}"#;
    const TALKATIVE: &str = r#"{"active":false,"exp":2}"#;

    fn answer(body: &str) -> Answer {
        Answer { status: StatusCode::OK, headers: Default::default(), body: body.to_owned().into() }
    }

    fn live(now: Instant) -> Token {
        Token::issued("t".into(), "app".into(), "read".into(), Duration::from_secs(60), (now, now))
    }

    #[track_caller]
    fn check(body: &str, has_ended: bool, expected: Result<(), Wrong>) {
        let now = Instant::now();
        let token = live(now);
        if has_ended {
            token.end();
        }
        assert_eq!(introspection(&answer(body), &token.ask(now), now), expected, "{body}");
    }

    #[test]
    fn a_live_token_is_active_with_what_it_was_issued_with() {
        check(ACTIVE, false, Ok(()));
        check(INACTIVE, false, Err(Wrong::Inactive));
        check(&ACTIVE.replace("app", "other"), false, Err(Wrong::Confused));
        check(&ACTIVE.replace("read", "write"), false, Err(Wrong::Confused));
        check(&ACTIVE.replace("Bearer", "mac"), false, Err(Wrong::Malformed));
        check(r#"{"active":"true"}"#, false, Err(Wrong::Malformed));
        check("", false, Err(Wrong::Malformed));
    }

    #[test]
    fn a_token_that_has_ended_is_inactive_and_nothing_else() {
        check(INACTIVE, true, Ok(()));
        check(ACTIVE, true, Err(Wrong::Active));
        check(TALKATIVE, true, Err(Wrong::Talkative));
    }

    #[test]
    fn who_may_not_see_a_live_token_learns_nothing() {
        let token = live(Instant::now());
        assert_eq!(unseen(&answer(INACTIVE), &token), Ok(()));
        assert_eq!(unseen(&answer(ACTIVE), &token), Err(Wrong::Active));
    }

    #[test]
    fn a_batch_is_answered_in_order() {
        let now = Instant::now();
        let (live, ended) = (live(now), Token::never_issued("x".into(), now));
        let judge = |results: &[&str]| {
            let body = format!(r#"{{"results":[{}]}}"#, results.join(","));
            batch(&answer(&body), &[live.ask(now), ended.ask(now)], now)
        };
        assert_eq!(judge(&[ACTIVE, INACTIVE]), Ok(()));
        assert_eq!(judge(&[INACTIVE, ACTIVE]), Err(Wrong::Inactive));
        assert_eq!(judge(&[ACTIVE]), Err(Wrong::Malformed));
    }

    #[test]
    fn a_token_response_says_how_long_the_token_lives() {
        let now = Instant::now();
        let response = r#"{"access_token":"t","token_type":"Bearer","expires_in":10,"scope":"read"}"#;
        let read =
            |body: &str| token(&answer(body), "app", now, now).map(|token| (token.text.clone(), token.rest(now)));
        assert_eq!(read(response), Ok(("t".to_owned(), Duration::from_secs(9))));
        assert_eq!(read(&response.replace("Bearer", "mac")), Err(Wrong::Malformed));
        assert_eq!(read(&response.replace("expires_in", "expires")), Err(Wrong::Malformed));
    }

    #[test]
    fn metadata_names_endpoints_of_the_issuer() {
        let document = |issuer: &str| {
            let endpoints = ["token", "introspection", "revocation"];
            let endpoints = endpoints.map(|name| format!(r#","{name}_endpoint":"http://here/{name}""#)).concat();
            metadata(&answer(&format!(r#"{{"issuer":"{issuer}"{endpoints}}}"#)))
        };
        assert_eq!(document("http://here"), Ok(()));
        assert_eq!(document("http://elsewhere"), Err(Wrong::Malformed));
        assert_eq!(document(""), Err(Wrong::Malformed));
    }
}
