//! `POST /oauth2/revoke` (RFC 7009).

use std::sync::Arc;

use crate::endpoint::client_authentication::identify;
use crate::endpoint::form::Form;
use crate::endpoint::loaded::LoadedRequest;
use crate::endpoint::reject::Rejection;
use crate::token::access_token::TokenReference;

/// RFC 7009 §2.2: a token that is unknown or invalid is answered 200 too, for the purpose of the request is reached. An access
/// token goes alone, a refresh token with its whole grant. What a token is its text says, so `token_type_hint` is not needed.
pub(super) async fn answer(request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
    request.fields.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(request.body)?;
    let service = request.service;
    let caller = Arc::clone(identify(&service.registry.read(), &request.fields, &form)?);
    let token = form.require("token")?;
    if let Some(reference) = TokenReference::of(token) {
        service.shards.revoke(reference, &caller.id, request.now).await?;
    } else if let Some(presented) = service.refresh_key.read(token) {
        service.shards.end_grant(presented.reference.grant_id, Some(&caller.id)).await?;
    }
    body.extend_from_slice(b"{}");
    Ok(())
}
