//! Who is asking: client authentication (RFC 6749 §2.3.1, RFC 7523 §2.2).

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use zeroize::Zeroizing;

use crate::client::id::ClientId;
use crate::client::metadata::ClientKeys;
use crate::client::registry::ReadClients;
use crate::client::secret::{ImportedSecret, SecretDigest};
use crate::client::{Client, Credential};
use crate::endpoint::form::{Form, decode};
use crate::endpoint::loaded::{Fields, LoadedRequest};
use crate::endpoint::reject::Rejection;
use crate::endpoint::request::Arrived;
use crate::grant::client_assertion::{CLIENT_ASSERTION_TYPE, ClientAssertion, InvalidAssertion, UNPROVEN};
use crate::oauth::error::{OAuthError, OAuthErrorCode};
use crate::password::hash::PASSWORD_BYTES_MAX;
use crate::password::pool::Busy;
use crate::signing::jwk_set::JwkSet;
use crate::token::proof::ProofKind;

/// The longest pair of credentials, decoded from base64, in bytes.
pub(super) const CREDENTIALS_BYTES_MAX: usize = 1024;

/// The client that the request proves itself to be, by `client_secret_basic` or `client_secret_post`, or has proven itself to be by an
/// assertion. An unknown client and a
/// wrong secret take the same time and get the same answer.
///
/// # Errors
///
/// `invalid_request` when both methods are used at once, `invalid_client` when neither proves anything.
pub(super) fn authenticate<'a>(
    clients: &'a ReadClients<'_>,
    fields: &Fields<'_>,
    form: Option<&Form<'_>>,
) -> Result<&'a Arc<Client>, OAuthError> {
    if let Some(proven) = fields.proven {
        let signs = |client: &&Arc<Client>| client.metadata.uses_assertions();
        return clients.find(proven).filter(signs).ok_or_else(|| invalid_client("the client was changed meanwhile"));
    }
    if fields.is_authorization_repeated {
        return Err(OAuthError::invalid_request("the Authorization header is repeated"));
    }
    let posted_id = form.and_then(|form| form.find("client_id"));
    let posted_secret = form.and_then(|form| form.find("client_secret"));
    if form.is_some_and(has_assertion) {
        if fields.authorization.is_some() || posted_secret.is_some() {
            return Err(OAuthError::invalid_request("authenticate by client_assertion or by a secret, not by both"));
        }
        // Until it is proven: see [`prove_assertion`].
        return Err(invalid_client(InvalidAssertion(UNPROVEN).to_string()));
    }
    match (fields.authorization, posted_id, posted_secret) {
        (Some(_), _, Some(_)) => {
            Err(OAuthError::invalid_request("authenticate by the Authorization header or by the body, not by both"))
        }
        (Some(field), posted_id, None) => {
            let mut buffer = [0; CREDENTIALS_BYTES_MAX];
            let (id, secret) = read_basic(field, &mut buffer)?;
            if posted_id.is_some_and(|posted| posted != id) {
                return Err(OAuthError::invalid_request("client_id differs from that of the Authorization header"));
            }
            verify(clients, &id, &secret)
        }
        (None, Some(id), Some(secret)) => verify(clients, id, secret),
        (None, _, _) => Err(invalid_client(
            "client authentication is missing: use client_secret_basic, client_secret_post or private_key_jwt",
        )),
    }
}

/// The client that a request is of, where public clients may ask too: one that has nothing to prove itself by is known by its
/// `client_id` alone (RFC 6749 §3.2.1), any other has to authenticate. What names no public client gets one answer after one
/// lookup, whether there is such a client or not.
///
/// # Errors
///
/// As [`authenticate`].
pub(super) fn identify<'a>(
    clients: &'a ReadClients<'_>,
    fields: &Fields<'_>,
    form: &Form<'_>,
) -> Result<&'a Arc<Client>, OAuthError> {
    if fields.authorization.is_some()
        || fields.proven.is_some()
        || form.find("client_secret").is_some()
        || has_assertion(form)
    {
        return authenticate(clients, fields, Some(form));
    }
    let id = form.find("client_id").ok_or_else(|| {
        invalid_client("client authentication is missing: use client_secret_basic, client_secret_post, private_key_jwt or, without a secret, client_id")
    })?;
    clients.find(id).filter(|client| client.metadata.is_public()).ok_or_else(|| {
        invalid_client("client authentication is missing, and client_id names no client that may do without it")
    })
}

/// [`identify`] for an endpoint that does not carry the load: where only a slow hash of a secret is known, that is checked too.
///
/// # Errors
///
/// As [`identify`] and [`prove_secret`].
pub(super) async fn identify_slowly(request: &Arrived<'_>, form: &Form<'_>) -> Result<Arc<Client>, Rejection> {
    let Arrived { service, body, now, .. } = request;
    let fields = Fields::of(request.headers());
    let identified = |fields: &Fields<'_>| identify(&service.registry.read(), fields, form).map(Arc::clone);
    let error = match identified(&fields) {
        Err(error) if error.code == OAuthErrorCode::InvalidClient => error,
        outcome => return Ok(outcome?),
    };
    let loaded = LoadedRequest { service, fields, body, now: *now };
    if let Some(client_id) = prove_assertion(&loaded).await? {
        return Ok(identified(&Fields { proven: Some(client_id.as_str()), ..fields })?);
    }
    if prove_secret(&loaded).await? { Ok(identified(&fields)?) } else { Err(error.into()) }
}

/// The `client_id` that a request names, proven or not.
pub(super) fn claimed_id<'a>(fields: &Fields<'_>, form: &'a Form<'_>) -> Option<Cow<'a, str>> {
    if let Some(id) = form.find("client_id") {
        return Some(Cow::Borrowed(id));
    }
    let mut buffer = [0; CREDENTIALS_BYTES_MAX];
    let (id, _) = read_basic(fields.authorization?, &mut buffer).ok()?;
    Some(Cow::Owned(id.into_owned()))
}

fn verify<'a>(clients: &'a ReadClients<'_>, id: &str, secret: &str) -> Result<&'a Arc<Client>, OAuthError> {
    let client = clients.find(id);
    let expected = client.and_then(|client| client.credential.secret_digest());
    let is_proven = SecretDigest::verify(expected, secret);
    client.filter(|_| is_proven).ok_or_else(|| invalid_client("unknown client_id or wrong client_secret"))
}

fn has_assertion(form: &Form<'_>) -> bool {
    form.find("client_assertion").is_some() || form.find("client_assertion_type").is_some()
}

/// Where the caller presents an assertion: checks it, uses it up, and answers who the caller is, when that is durable. `None` where
/// there is none.
///
/// Keys behind a `jwks_uri` may have to be fetched first, which is waited for. It is verified on the worker's own thread: at most one
/// signature a request (two, where keys without names are fetched again), of a key that was registered and has 4096 bits at
/// most, which takes a fraction of a millisecond, and only once all else that it says is right.
///
/// # Errors
///
/// `invalid_client` (RFC 7521 §4.2.1) for an assertion that is not believed or was used before, and [`Rejection::Shard`].
pub(super) async fn prove_assertion(request: &LoadedRequest<'_>) -> Result<Option<ClientId>, Rejection> {
    let Some(form) = Form::parse_with_resources(request.body).ok().filter(has_assertion) else { return Ok(None) };
    let service = request.service;
    let invalid = |error: InvalidAssertion| Rejection::from(invalid_client(error.to_string()));
    if form.find("client_assertion_type") != Some(CLIENT_ASSERTION_TYPE) {
        return Err(invalid_client(format!("client_assertion_type must be {CLIENT_ASSERTION_TYPE}")).into());
    }
    let text = form.find("client_assertion").ok_or_else(|| invalid(InvalidAssertion("it is missing")))?;
    let issuer = &*service.issuer;
    let token_endpoint = format!("{}/oauth2/token", issuer.trim_end_matches('/'));
    let assertion = ClientAssertion::read(text, issuer, &token_endpoint, request.now).map_err(invalid)?;
    if form.find("client_id").is_some_and(|id| id != assertion.client_id) {
        return Err(invalid_client("client_id differs from iss and sub of client_assertion").into());
    }
    let client = service.registry.find(&assertion.client_id);
    let client = client.filter(|client| client.metadata.uses_assertions());
    let client = client.ok_or_else(|| invalid(InvalidAssertion(UNPROVEN)))?;
    let only = client.metadata.token_endpoint_auth_signing_alg;
    match &client.metadata.keys {
        Some(ClientKeys::Registered(keys)) => assertion.verify(keys, only).map_err(invalid)?,
        Some(ClientKeys::At(uri)) => {
            let lacks = |keys: &JwkSet| assertion.needs_newer_keys(keys, only);
            let keys = service.key_sets.find(uri, request.now, lacks).await;
            // Why not is in the log: whoever may register an address does not learn what is there.
            let keys = keys.map_err(|error| invalid_client(error.to_string()))?;
            assertion.verify(&keys, only).map_err(invalid)?;
            let now = service.registry.find(client.id.as_str());
            if now.is_none_or(|now| now.metadata.keys != client.metadata.keys) {
                return Err(invalid_client("the client was changed meanwhile").into());
            }
        }
        None => return Err(invalid(InvalidAssertion(UNPROVEN))),
    }
    let digest = service.proof_key.digest(ProofKind::ClientAssertion, client.id.as_str(), &assertion.jti);
    if !service.shards.use_proof(digest, assertion.expires_at).await? {
        return Err(invalid(InvalidAssertion(
            "its jti was used before, or it has expired: each request needs a new one",
        )));
    }
    Ok(Some(client.id.clone()))
}

/// Where the caller presents a secret of which only a slow hash is known, and which nobody has proven yet: checks it, on the
/// threads that are there for that. Answers whether it is proven now, so that the caller may be authenticated again.
///
/// # Errors
///
/// [`Rejection::TooManyChecks`] while another secret of this client is being checked, or too many of all.
pub(super) async fn prove_secret(request: &LoadedRequest<'_>) -> Result<bool, Rejection> {
    let Some((imported, secret)) = unproven_secret(request) else { return Ok(false) };
    let check = imported.begin_check().ok_or(Rejection::TooManyChecks)?;
    let checking = request.service.secret_pool.verify(imported.hash().clone(), secret.clone());
    let is_proven = checking.await.map_err(|Busy| Rejection::TooManyChecks)?;
    if is_proven {
        check.prove(&secret);
    }
    Ok(is_proven)
}

fn unproven_secret(request: &LoadedRequest<'_>) -> Option<(Arc<ImportedSecret>, Zeroizing<String>)> {
    let form = Form::parse_with_resources(request.body).ok();
    let posted = |name| form.as_ref().and_then(|form| form.find(name));
    let mut buffer = [0; CREDENTIALS_BYTES_MAX];
    let (id, secret) = match request.fields.authorization {
        Some(field) => read_basic(field, &mut buffer).ok()?,
        None => (Cow::Borrowed(posted("client_id")?), Cow::Borrowed(posted("client_secret")?)),
    };
    let clients = request.service.registry.read();
    let Credential::Imported(imported) = &clients.find(&id)?.credential else { return None };
    let is_worth_it = imported.proven().is_none() && secret.len() <= PASSWORD_BYTES_MAX;
    is_worth_it.then(|| (Arc::clone(imported), Zeroizing::new(secret.into_owned())))
}

/// Reads `Basic base64(form(client_id) ":" form(client_secret))`.
pub(super) fn read_basic<'a>(field: &[u8], buffer: &'a mut [u8]) -> Result<(Cow<'a, str>, Cow<'a, str>), OAuthError> {
    let malformed = || invalid_client("the Authorization header is no Basic authentication of RFC 6749 section 2.3.1");
    let (scheme, credentials) = field.split_at_checked(b"Basic ".len()).ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return Err(malformed());
    }
    let decoded = STANDARD_PAD_INDIFFERENT.decode_slice(credentials.trim_ascii(), buffer);
    let credentials = decoded.ok().and_then(|length| buffer.get(..length)).ok_or_else(malformed)?;
    let colon = credentials.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
    let (id, secret) = credentials.split_at_checked(colon).ok_or_else(malformed)?;
    let secret = secret.get(1..).ok_or_else(malformed)?;
    Ok((decode(id).map_err(|_| malformed())?, decode(secret).map_err(|_| malformed())?))
}

fn invalid_client(description: impl Into<Cow<'static, str>>) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidClient, description)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[track_caller]
    fn check(field: &str, expected: Option<(&str, &str)>) {
        let mut buffer = [0; CREDENTIALS_BYTES_MAX];
        let read = read_basic(field.as_bytes(), &mut buffer).ok();
        assert_eq!(read.as_ref().map(|(id, secret)| (&**id, &**secret)), expected, "{field}");
    }

    #[test]
    fn basic_credentials_are_two_encoded_halves() {
        let basic = |credentials: &str| format!("Basic {}", STANDARD.encode(credentials));
        check(&basic("app:secret"), Some(("app", "secret")));
        check(&basic("app:sec:ret"), Some(("app", "sec:ret")));
        check(&basic("a%3Ab:s%20+%2B"), Some(("a:b", "s  +")));
        check(&basic("app:"), Some(("app", "")));
        check(&basic(":"), Some(("", "")));
        check(&basic("app:secret").replace("Basic", "bASIC"), Some(("app", "secret")));
        check(basic("app:secret").trim_end_matches('='), Some(("app", "secret")));
        check(&basic("app"), None);
        check(&basic("app:%zz"), None);
        check("Basic", None);
        check("Basic ", None);
        check("Basic !!!!", None);
        check("Bearer abc", None);
        check(&format!("Basic {}", STANDARD.encode([b'a', b':', 0xff])), None);
        check(&basic(&format!("app:{}", "x".repeat(3000))), None);
    }
}
