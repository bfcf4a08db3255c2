//! What holds for any bytes from outside. Not part of the server: `tests/fuzz` runs these functions under libFuzzer, and a
//! unit test runs them over the inputs that are kept there.
//!
//! A target is a function here, a row in [`TARGETS`], and a file in `tests/fuzz/src/bin` and a folder in
//! `tests/fuzz/corpus` of its name.

#![expect(clippy::indexing_slicing, reason = "a property that does not hold panics, here too")]

use std::sync::Arc;

use ring::rand::SystemRandom;
use rkyv::util::AlignedVec;
use url::{Position, Url};

use crate::client::Client;
use crate::client::event::{encode_initial_access, encode_stored};
use crate::client::registry::ClientRegistry;
use crate::clock::UnixTime;
use crate::config::Config;
use crate::journal::Entry;
use crate::oauth::application_type::ApplicationType;
use crate::oauth::redirect_uri::RedirectUri;
use crate::password::hash::PasswordHash;
use crate::signing::event::KeyEvent;
use crate::signing::seal::{CONTENT_BYTES_MAX, OpenError, Purpose, Sealer};
use crate::token::access_token::{Partition, TokenReference};
use crate::token::code::{CodeKind, CodeReference};
use crate::token::digest::TokenDigest;
use crate::token::event::{TokenEvent, encode_issued};
use crate::token::person_event::{self, PersonEvent, encode_kept};
use crate::token::refresh_token::RefreshKey;
use crate::token::section::{SECTION_SCHEMA, TokenSectionView, TokenWalk};
use crate::token::state::{Registries, Replay, ShardState};
use crate::token::user_code::{UserCode, UserCodeKey};
use crate::user::name::UserName;
use crate::user::registry::UserRegistry;
use crate::user::session::{SESSION_TOKEN_CHARACTERS, SessionDigest};

/// A property: panics on bytes that it does not hold for.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 15] = [
    ("authorize", authorize),
    ("basic", basic),
    ("block", block),
    ("config", config),
    ("form", form),
    ("head", head),
    ("json", json),
    ("password", password),
    ("record", record),
    ("redirect_uri", redirect_uri),
    ("request", request),
    ("sealed", sealed),
    ("snapshot", snapshot),
    ("token", token),
    ("user_code", user_code),
];

/// The query of an authorization request.
///
/// # Panics
///
/// When the property does not hold, as all of these functions do.
pub fn authorize(data: &[u8]) {
    crate::endpoint::fuzzing::authorize(data);
}

/// The value of an `Authorization` header with Basic credentials.
pub fn basic(data: &[u8]) {
    crate::endpoint::fuzzing::basic(data);
}

/// The blocks of a segment, and a journal that is opened on them.
pub fn block(data: &[u8]) {
    crate::journal::fuzzing::block(data);
}

/// A configuration file. Whatever is in it, the complaints are a line each.
///
/// # Panics
///
/// When the property does not hold.
pub fn config(data: &[u8]) {
    let lines: Vec<String> = match Config::of_file(data) {
        Ok(config) => config.effective().iter().map(ToString::to_string).collect(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    assert!(!lines.is_empty());
    for line in lines {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// `application/x-www-form-urlencoded`.
pub fn form(data: &[u8]) {
    crate::endpoint::fuzzing::form(data);
}

/// `HEAD`, and the header of a segment.
pub fn head(data: &[u8]) {
    crate::journal::fuzzing::head(data);
}

/// JSON from outside: a batch of tokens when the first byte is even, else the metadata of a client.
pub fn json(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    if first % 2 == 0 {
        crate::endpoint::fuzzing::batch(text);
    } else {
        crate::endpoint::fuzzing::metadata(text);
    }
}

/// The text of a password's hash, a username, or a session's token: what is read is what was written. No hash is checked, for that
/// takes long.
///
/// # Panics
///
/// When the property does not hold.
pub fn password(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(hash) = PasswordHash::parse(&text) {
        assert_eq!(hash.as_str(), text);
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
    if let Ok(name) = UserName::parse(&text) {
        assert_eq!(UserName::parse(name.as_str()), Ok(name.clone()));
        assert!(name.as_str().eq_ignore_ascii_case(&text));
    }
    assert_eq!(SessionDigest::of(&text).is_some(), text.len() == SESSION_TOKEN_CHARACTERS);
}

/// Two redirect URIs, a line each: one that is registered and one that a request names. One alone is both.
///
/// # Panics
///
/// When the property does not hold.
pub fn redirect_uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (registered, presented) = text.split_once('\n').unwrap_or((&*text, &*text));
    let [registered, presented] = [registered, presented].map(|text| RedirectUri::parse(text).ok());
    registered.iter().chain(&presented).for_each(read_alike);
    let (Some(registered), Some(presented)) = (registered, presented) else { return };
    let is_equal = registered.as_str() == presented.as_str();
    assert_eq!(registered.matches(&presented, ApplicationType::Web), is_equal);
    let is_alike = is_equal || on_loopback(&registered).is_some_and(|own| Some(own) == on_loopback(&presented));
    assert_eq!(registered.matches(&presented, ApplicationType::Native), is_alike);
}

/// A browser reads it as it is written: nothing in it is left out, added or taken for something else. So it does with an answer in
/// it, which it brings back.
fn read_alike(uri: &RedirectUri) {
    let text = uri.as_str();
    // What the xn-- names of a browser may be is not for us to say: one that it does not like leads nowhere.
    if text.contains("xn--") {
        return;
    }
    let url = Url::parse(text).expect("a browser reads it");
    let (scheme, rest) = text.split_once(':').expect("it has a scheme");
    assert!(
        url.scheme() == scheme && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
    );
    let hierarchy = rest.strip_prefix("//");
    let (authority, path) =
        hierarchy.map_or(("", rest), |rest| rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())));
    let is_of_the_web = ["http", "https"].contains(&scheme);
    let usual_port = if scheme == "https" { ":443" } else { ":80" };
    let shortened = authority.strip_suffix(usual_port).filter(|_| is_of_the_web);
    assert_eq!(&url[Position::BeforeHost..Position::AfterPort], shortened.unwrap_or(authority));
    let slash = if is_of_the_web && !path.starts_with('/') { "/" } else { "" };
    // The parser writes an apostrophe of a query as %27; servers read both alike.
    let apostrophes = |text: &str| text.replace("%27", "'");
    assert_eq!(apostrophes(&url[Position::BeforePath..]), apostrophes(&format!("{slash}{path}")));

    let added = [("code", "c"), ("state", text)];
    let location = Url::parse(&uri.with_parameters(added)).expect("a browser reads it with an answer too");
    assert_eq!(&location[..Position::AfterPath], &url[..Position::AfterPath]);
    let pairs: Vec<_> = location.query_pairs().into_owned().collect();
    let before = url.query_pairs().into_owned().collect::<Vec<_>>();
    let added = added.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pairs, [&before[..], &added].concat());
}

/// What is before and after the port of a loopback literal.
fn on_loopback(uri: &RedirectUri) -> Option<(&'static str, &str)> {
    let rest = |start: &'static str| Some((start, uri.as_str().strip_prefix(start)?));
    let (start, rest) = rest("http://127.0.0.1").or_else(|| rest("http://[::1]"))?;
    Some((start, rest.find(['/', '?']).map_or("", |at| &rest[at..])))
}

/// The bytes of a connection, as the fast path reads them.
pub fn request(data: &[u8]) {
    crate::endpoint::fuzzing::request(data);
}

/// A record's payload. The first two bytes are its kind and schema. What is read is applied, written and read again.
///
/// # Panics
///
/// When the property does not hold.
pub fn record(data: &[u8]) {
    let Some(([kind, schema], payload)) = data.split_first_chunk() else { return };
    let (kind, schema) = (u16::from(*kind), u16::from(*schema));
    let payload = aligned(payload);
    let registries = Registries::default();
    let registry = &registries.clients;
    if crate::client::event::replay(registry, kind, schema, &payload).is_ok_and(|is_ours| is_ours) {
        replay_again(registry);
    }
    if crate::user::event::replay(&registries.users, kind, schema, &payload).is_ok_and(|is_ours| is_ours) {
        replay_users_again(&registries.users);
    }
    if let Ok(Some(event)) = KeyEvent::decode(kind, schema, &payload) {
        let written = event.encode().expect("a key can be written");
        let read =
            KeyEvent::decode(written.kind, written.schema, &written.payload).expect("what was written can be read");
        assert_eq!(read, Some(event));
    }
    let Ok(Some(event)) = TokenEvent::decode(kind, schema, &payload) else { return };
    let is_valid = crate::token::event::check(kind, schema, &payload).is_ok();
    let mut replay = Replay::new(Arc::from("https://as.example"), registries, 0);
    let is_applied = replay.apply(&event, Partition(0)).is_ok();
    let state = replay.finish();
    assert!(is_applied || !is_valid, "what is valid can be applied");
    if let (TokenEvent::Person(event), true) = (&event, is_applied) {
        keep_again(event, &state);
    }
    if let TokenEvent::Issued { digest, issued_at, expires_at, terms } = &event {
        assert_eq!(state.find(*digest).is_some(), is_applied && *expires_at > 0);
        let guard = sdd::Guard::new();
        let Some(found) = state.reader().find(*digest, &guard).expect("nobody writes") else { return };
        let again = found.grant.terms();
        assert_eq!((again.client.id.as_str(), again.client.generation), (terms.client_id, terms.client_generation));
        let written = encode_issued(*digest, *issued_at, *expires_at, &again.client).expect("terms can be written");
        let read = TokenEvent::decode(kind, schema, &written).expect("what was written can be read");
        assert!(matches!(read, Some(TokenEvent::Issued { digest: read, .. }) if read == *digest));
    }
}

/// What a record about a person's grant made is written and read again, and makes the same.
fn keep_again(event: &PersonEvent<'_>, state: &ShardState) {
    if let PersonEvent::GrantStored { grant_id, grant } = event {
        let kept = state.person_grant(*grant_id).expect("it was stored");
        assert_eq!((kept.redeemed, kept.refresh, kept.created_at), (grant.redeemed, grant.refresh, grant.created_at));
        let is_there = |access: &person_event::AccessView<'_>| state.find(access.digest).is_some();
        assert!(grant.access.as_ref().is_none_or(|access| access.expires_at == 0 || is_there(access)));
    }
    for (grant_id, kept) in state.kept(None, usize::MAX) {
        let (kind, written) = encode_kept(grant_id, kept).expect("what is kept can be written");
        let read = TokenEvent::decode(kind, person_event::SCHEMA, &written).expect("what was written can be read");
        let mut replay = Replay::new(Arc::from("https://as.example"), Registries::default(), 0);
        replay.apply(&read.expect("it is a record of ours"), Partition(0)).expect("what was written is valid");
        let again = replay.finish();
        let (again_id, again) = again.kept(None, usize::MAX).next().expect("it was stored");
        assert_eq!(again_id, grant_id);
        let (again_kind, again) = encode_kept(grant_id, again).expect("what is kept can be written");
        assert_eq!((again_kind, again.as_slice()), (kind, written.as_slice()));
    }
}

fn replay_again(registry: &ClientRegistry) {
    for client in registry.all() {
        let (kind, written) = encode_stored(&client).expect("a client can be written");
        let again = ClientRegistry::default();
        let replayed = crate::client::event::replay(&again, kind, crate::client::event::SCHEMA, &written);
        assert!(replayed.expect("what was written can be read"));
        let again = again.find(client.id.as_str()).expect("it was stored");
        assert_eq!((&again.metadata, again.created_at), (&client.metadata, client.created_at));
        assert_eq!(again.generation, client.generation);
        let by_itself =
            |client: &Client| client.registration.as_ref().map(|own| (own.token, own.number, own.used_at()));
        assert_eq!(by_itself(&again), by_itself(&client));
    }
    for token in registry.all_initial_access() {
        let written = encode_initial_access(&token).expect("a token can be written");
        let again = ClientRegistry::default();
        let replayed = crate::client::event::replay(&again, written.kind, written.schema, &written.payload);
        assert!(replayed.expect("what was written can be read"));
        let again = again.initial_access(token.id).expect("it was stored");
        assert_eq!((again.registrations, &again.policy), (token.registrations, &token.policy));
    }
}

fn replay_users_again(registry: &UserRegistry) {
    let again = UserRegistry::default();
    let records = |registry: &UserRegistry, push: &mut dyn FnMut(&Entry)| {
        crate::user::event::records_of(registry, push).expect("people can be written");
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    records(registry, &mut |entry| {
        let replayed = crate::user::event::replay(&again, entry.kind, entry.schema, &entry.payload);
        assert!(replayed.expect("what was written can be read"));
        first.push(entry.payload.to_vec());
    });
    records(&again, &mut |entry| second.push(entry.payload.to_vec()));
    assert_eq!(first, second);
}

/// A sealed text, and a content that is sealed: what opens was sealed, for that purpose, and differs in nothing from it. The first
/// three bytes say where and how the text of the content is changed.
///
/// # Panics
///
/// When the property does not hold.
pub fn sealed(data: &[u8]) {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let [sealer, other] = [SEALING_KEY, [8; 32]].map(|key| Sealer::new(&key));
    let text = String::from_utf8_lossy(data);
    let opens = |sealer: &Sealer, text: &str| {
        let opens = |purpose: &Purpose| sealer.open(*purpose, text, 3600, SEALED_AT).is_ok();
        PURPOSES.into_iter().filter(opens).collect::<Vec<_>>()
    };
    if let Some((_, more)) = opens(&sealer, &text).split_first() {
        assert!(more.is_empty() && opens(&other, &text).is_empty(), "it is for one purpose, and of one key");
        let bytes = URL_SAFE_NO_PAD.decode(&*text).expect("it was opened");
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), text, "it is written in one way");
    }

    let Some(([low, high, change], content)) = data.split_first_chunk() else { return };
    let purpose = PURPOSES[usize::from(*low) % PURPOSES.len()];
    let sealed = sealer.seal(purpose, content, SEALED_AT, &SystemRandom::new());
    assert_eq!(sealed.is_err(), content.len() > CONTENT_BYTES_MAX);
    let Ok(sealed) = sealed else { return };
    let open = |text: &str, seconds| {
        let opened = sealer.open(purpose, text, 3600, SEALED_AT.plus_seconds(seconds));
        opened.map(|opened| (opened.content, opened.sealed_at))
    };
    assert_eq!(open(&sealed, 3600), Ok((content.to_vec(), SEALED_AT)));
    assert_eq!(open(&sealed, 3601), Err(OpenError::Expired));
    assert_eq!((opens(&sealer, &sealed), opens(&other, &sealed)), (vec![purpose], Vec::new()));
    let at = usize::from(u16::from_le_bytes([*low, *high])) % sealed.len();
    assert_eq!(open(&sealed[..at], 0), Err(OpenError::Broken), "cut at {at}");
    let mut changed = sealed.into_bytes();
    changed[at] ^= change;
    let changed = String::from_utf8_lossy(&changed);
    assert_eq!(open(&changed, 0).is_ok(), *change == 0, "changed at {at} by {change}");
}

/// The key of the sealed texts that are kept as inputs, and their time.
const SEALING_KEY: [u8; 32] = [7; 32];
const SEALED_AT: UnixTime = UnixTime::from_seconds(1_800_000_000);
const PURPOSES: [Purpose; 5] = [
    Purpose::AuthorizationRequest,
    Purpose::PushedRequest,
    Purpose::LoginChallenge,
    Purpose::LoginVerifier,
    Purpose::SigningKey,
];

/// A snapshot: its file when the first byte is even, else the payload of a section of tokens, which is loaded, walked, written
/// and loaded again.
///
/// # Panics
///
/// When the property does not hold.
pub fn snapshot(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    if first % 2 == 0 {
        return crate::journal::fuzzing::snapshot(data);
    }
    let load = |payload: &[u8]| {
        let section = TokenSectionView::decode(SECTION_SCHEMA, payload).ok()?;
        let mut replay = Replay::new(Arc::from("https://as.example"), Registries::default(), 0);
        replay.load(&section, |_| true).ok()?;
        Some(replay.finish())
    };
    let Some(state) = load(&aligned(data)) else { return };
    // The clients that it names are of generation 0 here; what is of another is left out.
    let mut walk = TokenWalk::new(state.reader(), 0);
    while let Some(section) = walk.next_section().expect("nobody writes") {
        let again = load(&section.payload).expect("what was written can be read");
        assert_eq!(again.tokens() as u64, section.tokens);
    }
}

/// As the journal hands a payload out.
fn aligned(payload: &[u8]) -> AlignedVec<16> {
    let mut aligned = AlignedVec::new();
    aligned.extend_from_slice(payload);
    aligned
}

/// A presented token.
///
/// # Panics
///
/// When the property does not hold.
pub fn token(data: &[u8]) {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let text = String::from_utf8_lossy(data);
    let coded = text.strip_prefix("tsr_at_").filter(|_| text.len() == 67);
    let coded = coded.and_then(|coded| URL_SAFE_NO_PAD.decode(coded).ok());
    let expected = coded.map(|bytes| (bytes[..8].to_vec(), TokenDigest::of_bytes(&bytes)));
    let reference = TokenReference::of(&text).map(|own| (own.routing_id.0.to_le_bytes().to_vec(), own.digest));
    assert_eq!(reference, expected);
    refresh_token(&text);
    code(&text);
}

/// The key of the refresh tokens that are kept as inputs.
const REFRESH_KEY: [u8; 32] = [7; 32];

fn refresh_token(text: &str) {
    let key = RefreshKey::new(&REFRESH_KEY);
    let Some(presented) = key.read(text) else { return };
    assert_eq!((presented.reference.digest, text.len()), (TokenDigest::of(text), 93));
    let [successor, again] = [(); 2].map(|()| key.successor(&presented));
    assert_eq!(successor.digest(), again.digest());
    let successor = key.read(successor.reveal()).expect("we made it").reference;
    let generation = presented.reference.generation.saturating_add(1);
    assert_eq!((successor.grant_id, successor.generation), (presented.reference.grant_id, generation));
    let access = TokenReference::of(key.access_token(&presented).reveal()).expect("we made it");
    assert_eq!(access.routing_id, successor.grant_id.routing_id());
}

fn code(text: &str) {
    let [code, device] = [CodeKind::Authorization, CodeKind::Device].map(|kind| CodeReference::of(kind, text));
    assert!(code.is_none() || device.is_none(), "a code is of one kind");
    for reference in [code, device].into_iter().flatten() {
        assert_eq!((reference.digest, text.len()), (TokenDigest::of(text), 77));
        assert!(TokenReference::of(text).is_none());
    }
}

/// A user code as a person types it: it is read as a naive reader reads it, and whatever is typed for a code leads where the code
/// leads that was shown.
///
/// # Panics
///
/// When the property does not hold.
pub fn user_code(data: &[u8]) {
    let typed = String::from_utf8_lossy(data);
    let code = UserCode::parse(&typed);
    assert_eq!(code.as_ref().map(ToString::to_string), naive_user_code(&typed), "{typed:?}");
    let Some(code) = code else { return };
    let shown = UserCode::parse(&code.to_string()).expect("what is shown can be typed");
    let [key, other] = [[7; 32], [8; 32]].map(|bytes| UserCodeKey::new(&bytes));
    assert_eq!(key.routing_id(&code), key.routing_id(&shown));
    assert_ne!(key.routing_id(&code), other.routing_id(&code));
    assert!(shown == code && !format!("{code:?}").contains(&code.to_string()));
}

fn naive_user_code(typed: &str) -> Option<String> {
    let letters: Vec<char> = typed.chars().filter(|letter| ![' ', '-'].contains(letter)).collect();
    let letters: String = letters.iter().map(char::to_ascii_uppercase).collect();
    let is_one = letters.chars().count() == 8 && letters.chars().all(|letter| "BCDFGHJKLMNPQRSTVWXZ".contains(letter));
    (is_one && typed.len() <= 32).then(|| format!("{}-{}", &letters[..4], &letters[4..]))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::client::event::{KIND_DELETED, encode_deleted};
    use crate::client::id::ClientId;
    use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
    use crate::client::{Client, Credential};
    use crate::oauth::audience::Audience;
    use crate::oauth::authentication_context::AuthenticationContext;
    use crate::oauth::scope::Scope;
    use crate::oauth::subject::Subject;
    use crate::token::access_token::AccessToken;
    use crate::token::code::Code;
    use crate::token::event::{KIND_ISSUED, KIND_REVOKED, encode_revoked};
    use crate::token::grant::{ClientTerms, GrantTerms};
    use crate::token::grant_id::GrantId;
    use crate::token::person::{
        DeviceDecision, PendingCode, PendingDevice, PersonGrant, PersonTerms, RefreshState, Standing,
    };
    use crate::token::person_event::{
        AccessIssued, KIND_CODE_STORED, KIND_DEVICE_STORED, KIND_GRANT_ENDED, KIND_GRANT_STORED, encode_code,
        encode_device, encode_grant, encode_grant_ended,
    };

    use super::*;

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
    }

    #[test]
    fn every_input_that_is_kept_passes() {
        for (target, run) in TARGETS {
            let files: Vec<_> = corpus(target).read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(files.len() > 4, "{target} has inputs");
            for file in files {
                let input = std::fs::read(&file).unwrap();
                let passed = std::panic::catch_unwind(|| run(&input));
                assert!(passed.is_ok(), "{}", file.display());
            }
        }
    }

    /// Inputs to begin with: what is written by us, and what is broken in one place.
    fn seeds() -> Vec<(&'static str, Vec<u8>)> {
        let mut seeds = crate::journal::fuzzing::seeds();
        for text in [
            "grant_type=client_credentials&scope=read+write",
            "token=tsr_at_abc&token_type_hint=access_token",
            "client_id=a%3Ab&client_secret=%C3%A9%2b",
            "a=1&b=2&&c&=d&a=3",
            "a=%zz",
            "a=%FF&b=%C0%80",
        ] {
            seeds.push(("form", text.into()));
        }
        for text in [
            "Basic YXBwOnNlY3JldA==",
            "bASIC YXBwOnNlY3JldA",
            "Basic  YSUzQWI6cyUyMCslMkI= ",
            "Basic Og==",
            "Basic YXBwOiV6eg==",
            "Basic YXB",
            "Bearer YXBwOnNlY3JldA==",
        ] {
            seeds.push(("basic", text.into()));
        }
        for text in [
            r#"0{"tokens":["a","tsr_at_b"]}"#,
            r#"0{"tokens":["\u00e9\n",""],"tokens":[]}"#,
            r#"0{"tokens":[1]}"#,
            r#"1{}"#,
            r#"1{"client_name":"n","scope":"a b a","audience":["x","https://y"],"introspection":"audience"}"#,
            r#"1{"grant_types":["client_credentials"],"token_endpoint_auth_method":"client_secret_post"}"#,
            r#"1{"access_token_lifetime_seconds":31536001,"grant_types":[]}"#,
        ] {
            seeds.push(("json", text.into()));
        }
        for text in [
            "shards = 3\nworkers = 7\nlisten = \"127.0.0.1:1\"\n",
            "durability = \"relaxed\"\nrelaxed_window_ms = 10\nissuer = \"https://as.example\"\n",
            "data_dir = \"a/../b\"\nmaster_key_file = \"b/c\"\nlog_filter = \"info,tessera=debug\"\n",
            "listn = 1\nshards = 0\nlog_format = 7\nmaster_key = \"x\"\n",
            "admin_listen = \"127.0.0.1:8080\"\naccess_token_lifetime_seconds = 60\nlog_format = \"json\"\n",
            "a = [1\n",
        ] {
            seeds.push(("config", text.into()));
        }
        let token = AccessToken::random(&SystemRandom::new()).unwrap();
        let text = token.reveal();
        for text in
            [text.to_owned(), text.to_lowercase(), text[1..].to_owned(), format!("{text}="), text.replace('_', "-")]
        {
            seeds.push(("token", text.into()));
        }
        for text in [
            "$argon2id$v=19$m=1024,t=2,p=1$i33e17WvMfpMg2tcValyMw$A4Eajm+CKfysmlNARvyq7D1NHEuDxFMj0Xoc2BQHGGs",
            "$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm",
            "$pbkdf2-sha256$1000$U6p1rtVaa01pTak1phQi5A$W0iNwGiHvIOeWTL8UniCKmRjSWvEVgEw9Wh47l045EA",
            "$pbkdf2-sha512$i=1000,l=64$q1l03aCce+erY9x7CM+WFA$wlS6AEIKNdXezGtMrnbAEUsDHYAm+51sLJz6GLxr+PLHygG/iDTJU4wcNKP58Lw/arw97FpcepojLytDAGTuiw",
            "Alice.B+c@Example.com",
            "a b",
            &"x".repeat(SESSION_TOKEN_CHARACTERS),
        ] {
            seeds.push(("password", text.into()));
        }
        seeds.extend(user_seeds());
        let grant_id = GrantId::from_bytes(*b"0123456789abcdef");
        let random = SystemRandom::new();
        let refresh = RefreshKey::new(&REFRESH_KEY).first(grant_id, &random).unwrap();
        let codes = [CodeKind::Authorization, CodeKind::Device]
            .map(|kind| Code::random(kind, grant_id, &random).unwrap().reveal().to_owned());
        for text in codes.into_iter().chain([refresh.reveal().to_owned()]) {
            seeds.push(("token", text[1..].into()));
            seeds.push(("token", text.into()));
        }
        for text in
            ["BCDF-GHJK", " bcdf ghjk ", "BCDF-GHJA", "b-c-d-f-g-h-j-k", "BCDF_GHJK", "\u{ff22}CDF-GHJK", "BCDFGHJKL"]
        {
            seeds.push(("user_code", text.into()));
        }
        for text in [
            "https://client.example/cb?tenant=7\nhttps://client.example/cb?tenant=7",
            "https://client.example/cb\nhttps://client.example:443/cb",
            "http://127.0.0.1/cb\nhttp://127.0.0.1:51234/cb",
            "http://[::1]:1/cb?x=1\nhttp://[::1]:65535/cb?x=1",
            "com.example.app:/callback?a='\ncom.example.app://callback/a%2Fb",
            "https://[2001:db8::1]:8443/:@!$&'()*+,=",
            "https://192.0.2.7?\nhttps://192.0.2.7/?",
        ] {
            seeds.push(("redirect_uri", text.into()));
        }
        seeds.extend(crate::endpoint::fuzzing::authorization_seeds().map(|text| ("authorize", text.into())));
        for (number, purpose) in PURPOSES.into_iter().enumerate() {
            let content = format!("content {number}").into_bytes();
            let sealed = Sealer::new(&SEALING_KEY).seal(purpose, &content, SEALED_AT, &random).unwrap();
            seeds.push(("sealed", sealed.into()));
            seeds.push(("sealed", [&[u8::try_from(number).unwrap(), 0, 1], &content[..]].concat()));
        }
        seeds.extend(record_seeds());
        seeds.extend(person_seeds());
        let section = std::fs::read(corpus("../../golden/token-section-1.bin")).unwrap();
        for cut in [section.len(), 100] {
            seeds.push(("snapshot", [&[1], &section[..cut]].concat()));
        }
        seeds
    }

    /// The golden files of people.
    fn user_seeds() -> Vec<(&'static str, Vec<u8>)> {
        let golden = |(kind, name): &(u16, &str)| {
            let payload = std::fs::read(corpus(&format!("../../golden/{}-1.bin", name.replace('_', "-")))).unwrap();
            let [low, _] = kind.to_le_bytes();
            ("record", [&[low, 1], payload.as_slice()].concat())
        };
        crate::user::event::KINDS.iter().map(golden).collect()
    }

    fn person_seeds() -> Vec<(&'static str, Vec<u8>)> {
        let (grant_id, digest) = (GrantId::from_bytes([3; 16]), TokenDigest::from_bytes([7; 16]));
        let (subject, standing) = (Subject::parse("ada").unwrap(), Standing::default());
        let context = AuthenticationContext::new(["pwd"], Some("urn:sure"));
        let person = PersonTerms { grant_id, subject, subject_generation: 1, auth_time: 2, context, standing };
        let without = GrantTerms::from(ClientTerms {
            id: ClientId::parse("a-longer-client-id").unwrap(),
            generation: 1,
            in_force: Arc::default(),
            scope: Scope::parse("read write").unwrap(),
            audience: Audience::parse(["https://api.example"]).unwrap(),
            claims: None,
        });
        let terms = without.granted_by(person);
        let code = PendingCode {
            digest,
            terms: terms.clone(),
            redirect_uri: Some(Box::from("https://app.example/cb")),
            code_challenge: Some([9; 32]),
            nonce: Some(Box::from("a nonce of the request")),
            expires_at: 60,
        };
        let device = |decision, terms: GrantTerms| PendingDevice {
            digest,
            terms,
            requested_at: 1,
            requested_from: Some(std::net::IpAddr::from([192, 0, 2, 1])),
            expires_at: 600,
            decision,
        };
        let refresh = RefreshState {
            generation: 2,
            current: digest,
            previous: Some(digest),
            refreshed_at: 5,
            idle_until: 50,
            expires_at: 100,
        };
        let grant = |refresh| PersonGrant {
            terms: terms.clone(),
            created_at: 4,
            redeemed: digest,
            refresh,
            access_expires_at: 20,
        };
        let audience = Some(Audience::parse(["https://api.example"]).unwrap());
        let scope = Some(Scope::parse("read").unwrap());
        let access = AccessIssued { digest, issued_at: 5, expires_at: 20, scope, audience };
        let records = [
            (KIND_CODE_STORED, encode_code(grant_id, &code)),
            (KIND_DEVICE_STORED, encode_device(grant_id, &device(DeviceDecision::Awaited, without))),
            (KIND_DEVICE_STORED, encode_device(grant_id, &device(DeviceDecision::Approved, terms.clone()))),
            (KIND_GRANT_STORED, encode_grant(grant_id, &grant(Some(refresh)), Some(&access))),
            (KIND_GRANT_STORED, encode_grant(grant_id, &grant(None), None)),
            (KIND_GRANT_ENDED, encode_grant_ended(grant_id)),
        ];
        let bytes = |(kind, payload): (u16, Result<AlignedVec, _>)| {
            let [kind, _] = kind.to_le_bytes();
            let payload: Result<AlignedVec, rkyv::rancor::Error> = payload;
            ("record", [&[kind, 1], payload.unwrap().as_slice()].concat())
        };
        records.into_iter().map(bytes).collect()
    }

    fn record_seeds() -> Vec<(&'static str, Vec<u8>)> {
        let digest = TokenDigest::from_bytes([7; 16]);
        let terms = |scope, audience: &[&str]| ClientTerms {
            id: ClientId::parse("app").unwrap(),
            generation: 1,
            in_force: Arc::default(),
            scope: Scope::parse(scope).unwrap(),
            audience: Audience::parse(audience.iter().copied()).unwrap(),
            claims: None,
        };
        let client = |json: &str, credential| {
            let document: ClientMetadataDocument = serde_json::from_str(json).unwrap();
            let metadata = ClientMetadata::parse(&document).unwrap();
            let id = ClientId::parse("a-longer-client-id").unwrap();
            let created_at = UnixTime::from_seconds(1_800_000_000);
            let in_force = Arc::default();
            let registration = None;
            encode_stored(&Client { id, metadata, credential, created_at, generation: 3, in_force, registration })
                .unwrap()
        };
        let secret = Credential::Generated(crate::client::secret::SecretDigest::of("s"));
        let hash = "$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm";
        let hash = PasswordHash::parse(hash).unwrap();
        let imported = Credential::Imported(Arc::new(crate::client::secret::ImportedSecret::new(hash)));
        let records = [
            (KIND_ISSUED, encode_issued(digest, 5, 6, &terms("", &[])).unwrap()),
            (
                KIND_ISSUED,
                encode_issued(digest, 5, u32::MAX, &terms("read write", &["https://api.example", "b"])).unwrap(),
            ),
            (KIND_REVOKED, encode_revoked(digest, 6).unwrap()),
            client("{}", Credential::Missing),
            client(r#"{"client_name":"n","scope":"a","audience":["x"]}"#, secret),
            client("{}", imported),
            (KIND_DELETED, encode_deleted(&ClientId::parse("a-longer-client-id").unwrap(), 4).unwrap()),
        ];
        let bytes = |(kind, payload): (u16, AlignedVec)| {
            let [low, _] = kind.to_le_bytes();
            let schema = if kind == KIND_REVOKED { 2 } else { 1 };
            ("record", [&[low, schema], payload.as_slice()].concat())
        };
        records.into_iter().map(bytes).collect()
    }

    #[test]
    #[ignore = "writes the seeds into tests/fuzz/corpus; needed when a format changes"]
    fn write_seeds() {
        for (target, seed) in seeds() {
            std::fs::create_dir_all(corpus(target)).unwrap();
            let name = blake3::hash(&seed).to_hex();
            std::fs::write(corpus(target).join(&name[..16]), seed).unwrap();
        }
    }
}
