//! Who comes with an access token, to an endpoint that is a protected resource (RFC 6750).

use actix_web::http::Method;

use crate::endpoint::form::Form;
use crate::endpoint::loaded::Fields;
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::Arrived;
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::token::access_token::TokenReference;
use crate::token::grant::GrantTerms;

/// What the access token of a request is good for. The token stands in the one `Authorization` header (RFC 6750 §2.1) or in a form
/// (§2.2), never in a URL (§2.3).
///
/// # Errors
///
/// RFC 6750 §3.1: `invalid_request` when it stands in several places, `invalid_token` when it is unknown, expired or revoked, and no
/// error at all where there is none.
pub(super) fn active_terms(request: &Arrived<'_>) -> Result<GrantTerms, Rejection> {
    let form = form(request)?;
    let token = presented(request, form.as_ref())?;
    let tokens = request.service.shards.read();
    let found = match TokenReference::of(token) {
        Some(reference) => tokens.find_active(reference, request.now)?,
        None => None,
    };
    found.map(|token| token.grant.terms().clone()).ok_or_else(|| {
        Rejection::Bearer(OAuthError::new(
            OAuthErrorCode::InvalidToken,
            "the access token is unknown, expired or revoked",
        ))
    })
}

fn presented<'a>(request: &'a Arrived<'_>, form: Option<&'a Form<'_>>) -> Result<&'a str, Rejection> {
    let fields = Fields::of(request.headers());
    let posted = form.and_then(|form| form.find("access_token"));
    if fields.is_authorization_repeated || (fields.authorization.is_some() && posted.is_some()) {
        return Err(invalid("send the access token once: in one Authorization header, or in the body"));
    }
    let Some(field) = fields.authorization else { return posted.ok_or(Rejection::BearerMissing) };
    let (scheme, token) = std::str::from_utf8(field).unwrap_or_default().split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("Bearer") { Ok(token.trim_matches(' ')) } else { Err(Rejection::BearerMissing) }
}

/// What was posted as a form, if anything was.
fn form<'a>(request: &'a Arrived<'_>) -> Result<Option<Form<'a>>, Rejection> {
    if request.head.method != Method::POST {
        // A token in a URL ends up in the logs of every proxy on the way.
        let query = request.head.uri.query().unwrap_or_default();
        let has_token = query.split('&').any(|pair| pair.split('=').next() == Some("access_token"));
        return if has_token { Err(invalid("an access token must not stand in the URL")) } else { Ok(None) };
    }
    if request.body.is_empty() {
        return Ok(None);
    }
    request.expect_content("application/x-www-form-urlencoded")?;
    Form::parse(&request.body).map(Some).map_err(Rejection::Bearer)
}

fn invalid(description: &'static str) -> Rejection {
    Rejection::Bearer(OAuthError::invalid_request(description))
}
