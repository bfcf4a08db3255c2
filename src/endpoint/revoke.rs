//! `POST /oauth2/revoke` (RFC 7009).

use std::sync::Arc;

use crate::endpoint::client_authentication::authenticate;
use crate::endpoint::form::Form;
use crate::endpoint::loaded::LoadedRequest;
use crate::endpoint::reject::Rejection;
use crate::token::access_token::TokenReference;

/// RFC 7009 §2.2: a token that is unknown or invalid is answered 200 too, for the purpose of the request is reached.
pub(super) async fn answer(request: &LoadedRequest<'_>, body: &mut Vec<u8>) -> Result<(), Rejection> {
    request.fields.expect_content("application/x-www-form-urlencoded")?;
    let form = Form::parse(request.body)?;
    let caller = Arc::clone(authenticate(&request.service.registry.read(), &request.fields, Some(&form))?);
    if let Some(reference) = TokenReference::of(form.require("token")?) {
        request.service.shards.revoke(reference, &caller.id, request.now).await?;
    }
    body.extend_from_slice(b"{}");
    Ok(())
}
