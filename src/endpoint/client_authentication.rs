//! Who is asking: client authentication (RFC 6749 §2.3.1).

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;

use crate::client::Client;
use crate::client::registry::ReadClients;
use crate::client::secret::SecretDigest;
use crate::endpoint::form::{Form, decode};
use crate::endpoint::loaded::Fields;
use crate::oauth::error::{OAuthError, OAuthErrorCode};

/// The longest pair of credentials, decoded from base64, in bytes.
pub(super) const CREDENTIALS_BYTES_MAX: usize = 1024;

/// The client that the request proves itself to be, by `client_secret_basic` or `client_secret_post`. An unknown client and a
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
    if fields.is_authorization_repeated {
        return Err(OAuthError::invalid_request("the Authorization header is repeated"));
    }
    let posted_id = form.and_then(|form| form.find("client_id"));
    let posted_secret = form.and_then(|form| form.find("client_secret"));
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
        (None, _, _) => {
            Err(invalid_client("client authentication is missing: use client_secret_basic or client_secret_post"))
        }
    }
}

fn verify<'a>(clients: &'a ReadClients<'_>, id: &str, secret: &str) -> Result<&'a Arc<Client>, OAuthError> {
    let client = clients.find(id);
    let expected = client.and_then(|client| client.credential.secret_digest());
    let is_proven = SecretDigest::verify(expected, secret);
    client.filter(|_| is_proven).ok_or_else(|| invalid_client("unknown client_id or wrong client_secret"))
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

fn invalid_client(description: &'static str) -> OAuthError {
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
