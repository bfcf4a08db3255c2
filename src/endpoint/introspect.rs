//! `POST /oauth2/introspect` (RFC 7662).

use crate::client::Client;
use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::form::Form;
use crate::endpoint::loaded::LoadedRequest;
use crate::endpoint::reject::Rejection;
use crate::token::access_token::TokenReference;
use crate::token::table::FoundToken;

pub(super) fn answer(request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
    request.fields.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(request.body)?;
    let tokens = request.service.shards.read();
    // The token's memory comes near while the caller proves who it is.
    let lookup = form.require("token").map(|token| tokens.begin(TokenReference::of(token)));
    let clients = request.service.registry.read();
    let caller = authenticate(&clients, &request.fields, Some(&form))?;
    let found = tokens.finish(lookup??, request.now)?;
    write_introspection(caller, found, body);
    Ok(())
}

/// Writes the introspection response (RFC 7662 §2.2) of one token, as `caller` may see it. A text that is no token, a token that is unknown, expired,
/// revoked, or not for the caller's eyes is inactive, and nothing tells which.
pub(super) fn write_introspection(caller: &Client, found: Option<FoundToken<'_>>, body: &mut Vec<u8>) {
    match found.filter(|found| may_see(caller, found)) {
        Some(found) => write_active(&found, body),
        None => body.extend_from_slice(br#"{"active":false}"#),
    }
}

fn may_see(caller: &Client, found: &FoundToken<'_>) -> bool {
    let terms = &found.grant.terms().client;
    caller.metadata.introspection.allows(&caller.id, &terms.id, &terms.audience)
}

fn write_active(found: &FoundToken<'_>, body: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    body.extend_from_slice(br#"{"active":true,"#);
    body.extend_from_slice(found.grant.introspection().as_bytes());
    body.extend_from_slice(br#","exp":"#);
    body.extend_from_slice(digits.format(found.expires_at).as_bytes());
    body.extend_from_slice(br#","iat":"#);
    body.extend_from_slice(digits.format(found.issued_at).as_bytes());
    body.push(b'}');
}
