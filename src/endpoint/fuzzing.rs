//! What holds of the parsers of requests for any bytes: see `crate::fuzzing`.

#![expect(clippy::indexing_slicing, reason = "a property that does not hold panics, here too")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::byte_serialize;
use serde_json::Value;
use url::{Position, Url};

use crate::client::id::ClientId;
use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
use crate::client::{Client, Credential};
use crate::clock::UnixTime;
use crate::endpoint::client_authentication::{CREDENTIALS_BYTES_MAX, read_basic};
use crate::endpoint::form::{Form, PARAMETERS_MAX, VALUE_BYTES_MAX};
use crate::endpoint::introspect_batch::BatchRequest;
use crate::endpoint::posted::Parsed;
use crate::endpoint::request::read_object;
use crate::grant::authorization::{AuthorizationError, AuthorizationParameters, AuthorizationRequest, STATE_BYTES_MAX};
use crate::grant::interaction::{Login, Step, decide};
use crate::oauth::subject::Subject;

/// A request that is read where it lies is one whose end nobody can doubt: a naive look at its lines finds the same length and
/// nothing that would change it; less of it is a part of it, and what follows changes nothing.
pub(crate) fn request(data: &[u8]) {
    let Parsed::Whole(posted) = Parsed::of(data) else { return };
    let head = &data[..posted.bytes - posted.body.len()];
    assert_eq!(posted.body, &data[head.len()..posted.bytes]);
    let fields = || head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| halves(line, b':'));
    let values = |name: &str| -> Vec<&[u8]> {
        fields()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.trim_ascii())
            .collect()
    };
    let lengths: Vec<_> =
        values("content-length").into_iter().map(|value| std::str::from_utf8(value).ok()?.parse().ok()).collect();
    assert!(lengths == [Some(posted.body.len())] || (lengths.is_empty() && posted.body.is_empty()));
    for name in ["transfer-encoding", "expect", "upgrade"] {
        assert!(values(name).is_empty(), "{name}");
    }
    assert!(values("authorization").len() <= 1);
    for length in (0..posted.bytes).rev().take(256) {
        assert!(matches!(Parsed::of(&data[..length]), Parsed::Part(_)), "{length} of {} bytes", posted.bytes);
    }
    assert_eq!(
        Parsed::of(&data[..posted.bytes]),
        Parsed::of(&[&data[..posted.bytes], b"\xffPOST".as_slice()].concat())
    );
}

/// A form reads as a browser's parser reads it, or not at all: where that one would replace, repeat or go on for ever.
pub(crate) fn form(data: &[u8]) {
    let form = Form::parse(data).ok();
    let pairs: Option<Vec<(String, String)>> =
        form.as_ref().map(|form| form.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    assert_eq!(pairs, naive_form(data));
    let Some(pairs) = pairs else { return };
    assert!(form_urlencoded::parse(data).into_owned().eq(pairs.iter().cloned()));
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    let again = Form::parse(written.as_bytes()).expect("what was read can be written and read");
    assert!(again.pairs().eq(pairs.iter().map(|(name, value)| (&**name, &**value))));
}

fn naive_form(body: &[u8]) -> Option<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = halves(pair, b'=').unwrap_or((pair, b""));
        let (name, value) = (naive_decode(name)?, naive_decode(value)?);
        if value.len() > VALUE_BYTES_MAX || pairs.iter().any(|(own, _)| *own == name) {
            return None;
        }
        pairs.push((name, value));
    }
    (pairs.len() <= PARAMETERS_MAX).then_some(pairs)
}

fn halves(text: &[u8], parting: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == parting)?;
    Some((&text[..at], &text[at + 1..]))
}

fn naive_decode(text: &[u8]) -> Option<String> {
    let (mut decoded, mut bytes) = (Vec::new(), text.iter());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            plain => *plain,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Basic credentials read as a decoder reads them that is written from RFC 4648 and RFC 6749 alone; what was read can be
/// written and read again.
pub(crate) fn basic(data: &[u8]) {
    let mut buffer = [0; CREDENTIALS_BYTES_MAX];
    let read = read_basic(data, &mut buffer).ok().map(|(id, secret)| (id.into_owned(), secret.into_owned()));
    // Near the bound the two may differ in how they count.
    if data.len() < CREDENTIALS_BYTES_MAX {
        assert_eq!(read, naive_basic(data));
    }
    let Some((id, secret)) = read else { return };
    let [own_id, own_secret] = [&id, &secret].map(|half| byte_serialize(half.as_bytes()).collect::<String>());
    let field = format!("Basic {}", STANDARD.encode(format!("{own_id}:{own_secret}")));
    if field.len() < CREDENTIALS_BYTES_MAX {
        let again = read_basic(field.as_bytes(), &mut buffer).expect("what was read can be written and read");
        assert_eq!(again, (id.into(), secret.into()));
    }
}

fn naive_basic(field: &[u8]) -> Option<(String, String)> {
    let scheme = field.get(..6)?;
    let credentials = naive_base64(field[6..].trim_ascii()).filter(|_| scheme.eq_ignore_ascii_case(b"basic "))?;
    let (id, secret) = halves(&credentials, b':')?;
    Some((naive_decode(id)?, naive_decode(secret)?))
}

/// The padding may be left out, wholly or in part.
fn naive_base64(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let padding = text.len() - digits;
    let (mut bits, mut count, mut decoded) = (0_u32, 0, Vec::new());
    for byte in &text[..digits] {
        let digit = ALPHABET.iter().position(|own| own == byte)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    let is_whole = digits % 4 != 1 && bits == 0 && padding <= (4 - digits % 4) % 4;
    is_whole.then_some(decoded)
}

/// An authorization request, by a browser whose person has not logged in, has, and has allowed it before: whatever it asks, an
/// answer goes where its client is registered and nowhere else, says whose it is, and brings the state back; and there is a code only
/// for whoever has logged in and was asked.
pub(crate) fn authorize(data: &[u8]) {
    let Ok(form) = Form::parse_with_repeats(data) else { return };
    let pairs: Vec<_> = form.pairs().collect();
    let parameters = AuthorizationParameters(&pairs);
    let Ok(client_id) = parameters.client_id() else { return };
    let Some(client) = clients().into_iter().find(|client| client.id.as_str() == client_id) else { return };
    let request = match parameters.read(&client) {
        Ok(request) => request,
        Err(AuthorizationError::Shown(_)) => return,
        Err(AuthorizationError::Redirected(refused)) => {
            return check_location(&client, &pairs, &refused.location(ISSUER), "error");
        }
    };
    let text = serde_json::to_vec(&request).expect("it travels through pages as JSON");
    assert_eq!(serde_json::from_slice::<AuthorizationRequest>(&text).ok().as_ref(), Some(&request));
    assert_eq!(request.check_still_allowed(&client), Ok(()));
    assert!(request.scope.is_subset_of(&client.metadata.scope));
    assert!(request.code_challenge.is_some() || client.metadata.nonce_instead_of_pkce && request.nonce.is_some());
    let now = UnixTime::from_seconds(1_800_000_000);
    let subject = Subject::parse("ann").expect("it is visible ASCII");
    let login = |seconds: u64| {
        let auth_time = UnixTime::from_seconds(1_800_000_000 - seconds);
        Some(Login { session_id: "session", auth_time, subject: &subject, acr: None })
    };
    let all = client.metadata.scope.clone();
    for login in [None, login(0), login(100_000)] {
        for consented in [None, Some(&all)] {
            match decide(&request, &client, login, None, consented, now) {
                Step::IssueCode => {
                    assert!(login.is_some() && (consented.is_some() || client.metadata.skip_consent));
                    check_location(&client, &pairs, &request.location_with_code("c", ISSUER), "code");
                }
                Step::Refuse(error) => {
                    assert!(request.prompt.is_none);
                    check_location(&client, &pairs, &request.refused(error).location(ISSUER), "error");
                }
                Step::ShowLogin | Step::ShowConsent => assert!(!request.prompt.is_none),
            }
        }
    }
}

const ISSUER: &str = "https://as.example";

/// Clients of each kind.
fn clients() -> [Client; 4] {
    let client = |id: &str, more: Value| {
        let mut document = serde_json::json!({ "grant_types": ["authorization_code"], "scope": "openid read write" });
        document.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let document = serde_json::from_value(document).expect("a document");
        Client {
            id: ClientId::parse(id).expect("an id"),
            metadata: ClientMetadata::parse(&document).expect("metadata"),
            credential: Credential::Missing,
            created_at: UnixTime::from_seconds(1),
            generation: 3,
            in_force: Arc::default(),
            registration: None,
        }
    };
    [
        client(
            "web",
            serde_json::json!({ "redirect_uris": ["https://client.example/cb?x=1", "https://client.example"] }),
        ),
        client("one", serde_json::json!({ "redirect_uris": ["https://one.example/cb"], "skip_consent": true })),
        client(
            "nonce",
            serde_json::json!({ "redirect_uris": ["https://nonce.example/a%2Fb"], "nonce_instead_of_pkce": true }),
        ),
        client(
            "native",
            serde_json::json!({
                "redirect_uris": ["http://127.0.0.1/cb", "com.example.app:/cb"], "application_type": "native",
                "token_endpoint_auth_method": "none",
            }),
        ),
    ]
}

/// What a browser makes of a location, by a parser that is not ours.
fn check_location(client: &Client, pairs: &[(&str, &str)], location: &str, kind: &str) {
    let url = Url::parse(location).expect("a browser goes there");
    let told: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let values = |name: &str| told.iter().filter(|(own, _)| own == name).map(|(_, value)| &**value).collect::<Vec<_>>();
    assert_eq!((values("iss"), values(kind).len()), (vec![ISSUER], 1), "{location}");
    assert!(values("code").is_empty() || values("error").is_empty(), "{location}");
    let states: Vec<_> = pairs.iter().filter(|(name, _)| *name == "state").map(|(_, state)| *state).collect();
    // Of two nobody knows which is meant.
    let state = states.first().filter(|state| states.len() == 1 && (1..=STATE_BYTES_MAX).contains(&state.len()));
    assert_eq!(values("state"), state.into_iter().copied().collect::<Vec<_>>(), "{location}");
    let is_registered = client.metadata.redirect_uris.iter().any(|own| {
        let own = Url::parse(own.as_str()).expect("a browser goes there");
        let mut url = url.clone();
        if [&url, &own].iter().all(|url| url.scheme() == "http") {
            url.set_port(own.port()).expect("it has a host");
        }
        let before = own.query().unwrap_or_default();
        url[..Position::AfterPath] == own[..Position::AfterPath]
            && url.query().is_some_and(|query| query.starts_with(before))
    });
    assert!(is_registered, "{location} is not registered");
}

/// Inputs to begin with.
#[cfg(test)]
pub(crate) fn authorization_seeds() -> [&'static str; 8] {
    [
        "response_type=code&client_id=web&redirect_uri=https%3A%2F%2Fclient.example%2Fcb%3Fx%3D1&scope=read&state=s%26&\
         code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
        "response_type=code&client_id=one&prompt=none&max_age=60&code_challenge_method=S256&\
         code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "response_type=code&client_id=native&redirect_uri=http://127.0.0.1:51234/cb&prompt=login+consent&\
         code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&login_hint=ann",
        "response_type=code&client_id=native&redirect_uri=com.example.app:/cb&response_mode=query&resource=a&resource=b&\
         code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
        "response_type=code&client_id=nonce&scope=openid&nonce=n&redirect_uri=https://nonce.example/a%252Fb",
        "response_type=token&client_id=web&redirect_uri=https://client.example&state=a&state=b",
        "client_id=web&redirect_uri=https://evil.example/cb&request=eyJhbGciOiJub25lIn0.e30.",
        "client_id=one&request_uri=https://evil.example/&scope=admin&state=%00%E2%80%AE",
    ]
}

/// The metadata of a client is an object, and survives being written and read.
pub(crate) fn metadata(data: &[u8]) {
    let Ok(document) = read_object::<ClientMetadataDocument>(data) else { return };
    assert!(serde_json::from_slice::<Value>(data).is_ok_and(|value| value.is_object()), "it is an object");
    let Ok(metadata) = ClientMetadata::parse(&document) else { return };
    let written = serde_json::to_string(&metadata.to_document()).expect("a document can be written");
    let again = read_object(written.as_bytes()).expect("what was written can be read");
    assert_eq!(ClientMetadata::parse(&again), Ok(metadata));
}

/// A batch is an object with one list of texts, as any other JSON parser reads it.
pub(crate) fn batch(data: &[u8]) {
    let batch = BatchRequest::parse(data).ok();
    let value = serde_json::from_slice::<Value>(data).ok();
    let texts = value.as_ref().and_then(|value| {
        let object = value.as_object().filter(|object| object.len() == 1)?;
        object.get("tokens")?.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
    });
    if let Some(batch) = batch {
        assert!(batch.tokens().eq(texts.expect("it is such an object")));
    } else if let Some(texts) = texts {
        // What was refused was too much, or said twice.
        let written = serde_json::json!({ "tokens": texts }).to_string();
        let again = BatchRequest::parse(written.as_bytes()).ok();
        assert_eq!(again.map(|again| again.tokens().eq(texts.iter().copied())), (texts.len() <= 1000).then_some(true));
    }
}
