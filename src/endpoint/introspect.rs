//! `POST /oauth2/introspect` (RFC 7662).

use crate::client::Client;
use crate::clock::UnixTime;
use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::form::Form;
use crate::endpoint::loaded::LoadedRequest;
use crate::endpoint::reject::Rejection;
use crate::endpoint::service::Service;
use crate::token::access_token::TokenReference;
use crate::token::table::FoundToken;

pub(super) fn answer(request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
    request.fields.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(request.body)?;
    let clients = request.service.registry.read();
    let caller = authenticate(&clients, &request.fields, Some(&form))?;
    let reference = TokenReference::of(form.require("token")?);
    write_introspection(request.service, caller, reference, request.now, body)
}

/// Writes the introspection response (RFC 7662 §2.2) of one token, as `caller` may see it. A text that is no token, a token that is unknown, expired,
/// revoked, or not for the caller's eyes is inactive, and nothing tells which.
pub(super) fn write_introspection(
    service: &Service,
    caller: &Client,
    token: Option<TokenReference>,
    now: UnixTime,
    body: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let found = match token {
        Some(reference) => service.shards.find_active(reference, now)?,
        None => None,
    };
    match found.filter(|found| may_see(caller, found)) {
        Some(found) => write_active(&found, body),
        None => body.extend_from_slice(br#"{"active":false}"#),
    }
    Ok(())
}

fn may_see(caller: &Client, found: &FoundToken) -> bool {
    let terms = found.grant.terms();
    caller.metadata.introspection.allows(&caller.id, &terms.client_id, &terms.audience)
}

fn write_active(found: &FoundToken, body: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    body.extend_from_slice(br#"{"active":true,"#);
    body.extend_from_slice(found.grant.introspection().as_bytes());
    body.extend_from_slice(br#","exp":"#);
    body.extend_from_slice(digits.format(found.expires_at).as_bytes());
    body.extend_from_slice(br#","iat":"#);
    body.extend_from_slice(digits.format(found.issued_at).as_bytes());
    body.push(b'}');
}
