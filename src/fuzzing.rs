//! What holds for any bytes from outside. Not part of the server: `tests/fuzz` runs these functions under libFuzzer, and a
//! unit test runs them over the inputs that are kept there.
//!
//! A target is a function here, a row in [`TARGETS`], and a file in `tests/fuzz/src/bin` and a folder in
//! `tests/fuzz/corpus` of its name.

#![expect(clippy::indexing_slicing, reason = "a property that does not hold panics, here too")]

use std::sync::Arc;

use rkyv::util::AlignedVec;

use crate::client::event::encode_stored;
use crate::client::registry::ClientRegistry;
use crate::config::Config;
use crate::token::access_token::{Partition, TokenReference};
use crate::token::digest::TokenDigest;
use crate::token::event::{TokenEvent, encode_issued};
use crate::token::grant::GrantTerms;
use crate::token::section::{SECTION_SCHEMA, TokenSectionView, TokenWalk};
use crate::token::state::Replay;

/// A property: panics on bytes that it does not hold for.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("basic", basic),
    ("block", block),
    ("config", config),
    ("form", form),
    ("head", head),
    ("json", json),
    ("record", record),
    ("request", request),
    ("snapshot", snapshot),
    ("token", token),
];

/// The value of an `Authorization` header with Basic credentials.
///
/// # Panics
///
/// When the property does not hold, as all of these functions do.
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
    let registry = Arc::new(ClientRegistry::default());
    if crate::client::event::replay(&registry, kind, schema, &payload).is_ok_and(|is_ours| is_ours) {
        replay_again(&registry);
    }
    let Ok(Some(event)) = TokenEvent::decode(kind, schema, &payload) else { return };
    let mut replay = Replay::new(Arc::from("https://as.example"), registry, 0);
    let is_applied = replay.apply(&event, Partition(0)).is_ok();
    let state = replay.finish();
    if let TokenEvent::Issued { digest, issued_at, expires_at, terms } = &event {
        assert_eq!(state.find(*digest).is_some(), is_applied && *expires_at > 0);
        let Some(found) = state.reader().find(*digest).expect("nobody writes") else { return };
        let again: &GrantTerms = found.grant.terms();
        assert_eq!((again.client_id.as_str(), again.client_generation), (terms.client_id, terms.client_generation));
        let written = encode_issued(*digest, *issued_at, *expires_at, again).expect("terms can be written");
        let read = TokenEvent::decode(kind, schema, &written).expect("what was written can be read");
        assert!(matches!(read, Some(TokenEvent::Issued { digest: read, .. }) if read == *digest));
    }
}

fn replay_again(registry: &ClientRegistry) {
    for client in registry.all() {
        let written = encode_stored(&client).expect("a client can be written");
        let (again, kind) = (ClientRegistry::default(), crate::client::event::KIND_STORED);
        let replayed = crate::client::event::replay(&again, kind, crate::client::event::SCHEMA, &written);
        assert!(replayed.expect("what was written can be read"));
        let again = again.find(client.id.as_str()).expect("it was stored");
        assert_eq!((&again.metadata, again.created_at), (&client.metadata, client.created_at));
        assert_eq!(again.generation, client.generation);
    }
}

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
        let mut replay = Replay::new(Arc::from("https://as.example"), Arc::default(), 0);
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
    let routing = text.strip_prefix("tsr_at_").filter(|_| text.len() == 67).and_then(|body| body.get(..12));
    let routing = routing.and_then(|routing| URL_SAFE_NO_PAD.decode(routing).ok());
    let reference = TokenReference::of(&text);
    assert_eq!(reference.map(|own| own.routing_id.0.to_le_bytes().to_vec()), routing.map(|bytes| bytes[..8].to_vec()));
    assert!(reference.is_none_or(|own| own.digest == TokenDigest::of(&text)));
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::client::event::{KIND_DELETED, KIND_STORED, encode_deleted};
    use crate::client::id::ClientId;
    use crate::client::metadata::{ClientMetadata, ClientMetadataDocument};
    use crate::client::{Client, Credential};
    use crate::oauth::audience::Audience;
    use crate::oauth::scope::Scope;
    use crate::token::access_token::AccessToken;
    use crate::token::event::{KIND_ISSUED, KIND_REVOKED, encode_revoked};

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
        let token = AccessToken::random(&ring::rand::SystemRandom::new()).unwrap();
        let text = token.reveal();
        for text in
            [text.to_owned(), text.to_lowercase(), text[1..].to_owned(), format!("{text}="), text.replace('_', "-")]
        {
            seeds.push(("token", text.into()));
        }
        seeds.extend(record_seeds());
        let section = std::fs::read(corpus("../../golden/token-section-1.bin")).unwrap();
        for cut in [section.len(), 100] {
            seeds.push(("snapshot", [&[1], &section[..cut]].concat()));
        }
        seeds
    }

    fn record_seeds() -> Vec<(&'static str, Vec<u8>)> {
        let digest = TokenDigest::from_bytes([7; 16]);
        let terms = |scope, audience: &[&str]| GrantTerms {
            client_id: ClientId::parse("app").unwrap(),
            client_generation: 1,
            scope: Scope::parse(scope).unwrap(),
            audience: Audience::parse(audience.iter().copied()).unwrap(),
        };
        let client = |json: &str, credential| {
            let document: ClientMetadataDocument = serde_json::from_str(json).unwrap();
            let metadata = ClientMetadata::parse(&document).unwrap();
            let id = ClientId::parse("a-longer-client-id").unwrap();
            let created_at = crate::clock::UnixTime::from_seconds(1_800_000_000);
            encode_stored(&Client { id, metadata, credential, created_at, generation: 3, in_force: Arc::default() })
                .unwrap()
        };
        let secret = Credential::Generated(crate::client::secret::SecretDigest::of("s"));
        let records = [
            (KIND_ISSUED, encode_issued(digest, 5, 6, &terms("", &[])).unwrap()),
            (
                KIND_ISSUED,
                encode_issued(digest, 5, u32::MAX, &terms("read write", &["https://api.example", "b"])).unwrap(),
            ),
            (KIND_REVOKED, encode_revoked(digest, 6).unwrap()),
            (KIND_STORED, client("{}", Credential::Missing)),
            (KIND_STORED, client(r#"{"client_name":"n","scope":"a","audience":["x"]}"#, secret)),
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
