//! Records as older versions wrote them: each is read for ever. A file here is never changed; a new schema gets a new file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkyv::util::AlignedVec;
use serde_json::json;
use tessera::client::Credential;
use tessera::client::event as client_event;
use tessera::client::id::ClientId;
use tessera::client::registry::ClientRegistry;
use tessera::client::secret::SecretDigest;
use tessera::clock::{Clock, ManualTime, UnixTime};
use tessera::journal::{self, JournalKeys, Options, RealDisk};
use tessera::oauth::audience::Audience;
use tessera::oauth::scope::Scope;
use tessera::signing::derivation::DerivedKeys;
use tessera::token::access_token::Partition;
use tessera::token::digest::TokenDigest;
use tessera::token::event::{self as token_event, TermsView, TokenEvent};
use tessera::token::grant::GrantTerms;
use tessera::token::section::{TokenSectionView, TokenWalk, partitions_of};
use tessera::token::state::{NewToken, Replay, ShardState};
use tessera::token::summary::TokenSummary;

use crate::harness::{START_SECONDS, TestServer};
use crate::http::Request;

const DIGEST: TokenDigest = TokenDigest::from_bytes(*b"0123456789abcdef");
const AUDIENCE: [&str; 2] = ["https://api.example/", "urn:a-second-audience-that-is-longer-than-any-inlined-string"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The bytes of a golden file, aligned as the journal aligns a payload.
fn golden(name: &str) -> AlignedVec {
    let mut aligned = AlignedVec::new();
    aligned.extend_from_slice(&std::fs::read(file(name)).unwrap());
    aligned
}

fn terms() -> GrantTerms {
    GrantTerms {
        client_id: ClientId::parse("https://app.example/").unwrap(),
        client_generation: 3,
        scope: Scope::parse("read write").unwrap(),
        audience: Audience::parse(AUDIENCE).unwrap(),
    }
}

#[test]
fn token_issued_schema_1() {
    let payload = golden("token-issued-1.bin");
    let terms_view = TermsView {
        client_id: "https://app.example/",
        client_generation: 3,
        scope: "read write",
        audience: AUDIENCE.to_vec(),
    };
    let expected =
        TokenEvent::Issued { digest: DIGEST, issued_at: 1_800_000_000, expires_at: 1_800_003_600, terms: terms_view };
    assert_eq!(TokenEvent::decode(16, 1, &payload).unwrap(), Some(expected));
    let today = token_event::encode_issued(DIGEST, 1_800_000_000, 1_800_003_600, &terms()).unwrap();
    assert_eq!(*today, *payload, "what is written has changed: that needs a new schema");
}

#[test]
fn token_revoked_schema_1() {
    let payload = golden("token-revoked-1.bin");
    let expected = TokenEvent::Revoked { digest: DIGEST, expires_at: None };
    assert_eq!(TokenEvent::decode(17, 1, &payload).unwrap(), Some(expected));
}

#[test]
fn token_revoked_schema_2() {
    let payload = golden("token-revoked-2.bin");
    let expected = TokenEvent::Revoked { digest: DIGEST, expires_at: Some(1_800_003_600) };
    assert_eq!(TokenEvent::decode(17, 2, &payload).unwrap(), Some(expected));
    let today = token_event::encode_revoked(DIGEST, 1_800_003_600).unwrap();
    assert_eq!(*today, *payload, "what is written has changed: that needs a new schema");
}

#[test]
fn client_stored_schema_1() {
    let registry = ClientRegistry::default();
    assert!(client_event::replay(&registry, 1, 1, &golden("client-stored-1.bin")).unwrap());
    let client = registry.find("https://app.example/").unwrap();
    assert_eq!((client.generation, client.in_force.value()), (3, 3));
    assert_eq!(client.created_at, UnixTime::from_seconds(START_SECONDS));
    let Credential::Generated(digest) = client.credential else { panic!("{client:?}") };
    let secret = std::fs::read_to_string(file("client-stored-1.secret")).unwrap();
    assert_eq!(digest, SecretDigest::of(&secret));
    let document = serde_json::to_value(client.metadata.to_document()).unwrap();
    assert_eq!(document, client_metadata());
}

#[test]
fn client_deleted_schema_1() {
    let registry = ClientRegistry::default();
    client_event::replay(&registry, 1, 1, &golden("client-stored-1.bin")).unwrap();
    let in_force = registry.find("https://app.example/").unwrap().in_force.clone();
    assert!(client_event::replay(&registry, 2, 1, &golden("client-deleted-1.bin")).unwrap());
    assert!(registry.find("https://app.example/").is_none());
    assert_eq!(in_force.value(), 4, "tokens of generation 3 are dead");
}

/// A shard with an active token and a revoked one, of the same terms.
fn state() -> ShardState {
    let (terms, in_force) = (Arc::new(terms()), ClientRegistry::default());
    client_event::replay(&in_force, 1, 1, &golden("client-stored-1.bin")).unwrap();
    let in_force = in_force.generation(&terms.client_id);
    let mut state = ShardState::new(Arc::from("https://as.example"));
    for (digest, partition) in [(DIGEST, 7), (REVOKED, 8)] {
        let token =
            NewToken { digest, partition: Partition(partition), issued_at: 1_800_000_000, expires_at: 1_800_003_600 };
        state.issue(&token, &terms, &in_force);
    }
    state.revoke(REVOKED, 1);
    state
}

const REVOKED: TokenDigest = TokenDigest::from_bytes(*b"fedcba9876543210");

#[test]
fn snapshot_section_of_tokens_schema_1() {
    let payload = golden("token-section-1.bin");
    let section = TokenSectionView::decode(1, &payload).unwrap();
    let registry = Arc::new(ClientRegistry::default());
    client_event::replay(&registry, 1, 1, &golden("client-stored-1.bin")).unwrap();
    let replayed = |now, is_own: &dyn Fn(Partition) -> bool| {
        let mut replay = Replay::new(Arc::from("https://as.example"), Arc::clone(&registry), now);
        replay.load(&section, is_own).unwrap();
        replay.finish()
    };
    let state = replayed(1_800_000_000, &|_| true);
    let found = |digest| state.reader().find(digest).unwrap().unwrap();
    assert_eq!((found(DIGEST).revoked, found(REVOKED).revoked), (0, 1));
    assert_eq!((found(DIGEST).issued_at, found(DIGEST).expires_at), (1_800_000_000, 1_800_003_600));
    assert_eq!(*found(DIGEST).grant.terms(), terms());
    assert_eq!(
        replayed(1_800_000_000, &|partition| partition == Partition(8)).tokens(),
        1,
        "another shard has the other"
    );
    assert_eq!(replayed(1_800_003_600, &|_| true).tokens(), 0, "both have expired");

    let written = TokenWalk::new(self::state().reader(), 1_800_000_000).next_section().unwrap().unwrap();
    assert_eq!((written.tokens, partitions_of(written.scope())), (2, (Partition(7), Partition(8))));
    assert_eq!(*written.payload, *payload, "what is written has changed: that needs a new schema");
}

#[test]
fn every_record_has_a_summary_without_its_secrets() {
    let of_client = |kind, name| serde_json::to_value(client_event::ClientSummary::of(kind, 1, &golden(name)).unwrap());
    let stored = json!({
        "client_id": "https://app.example/", "generation": 3, "created_at": START_SECONDS,
        "created_at_rfc3339": "2027-01-15T08:00:00Z", "has_secret": true, "metadata": client_metadata(),
    });
    assert_eq!(of_client(1, "client-stored-1.bin").unwrap(), stored);
    let deleted = json!({ "client_id": "https://app.example/", "generation": 4 });
    assert_eq!(of_client(2, "client-deleted-1.bin").unwrap(), deleted);

    let of_token = |kind, name| serde_json::to_value(TokenSummary::of(kind, 1, &golden(name)).unwrap()).unwrap();
    let digest = "30313233343536373839616263646566";
    let issued = json!({
        "digest": digest, "client_id": "https://app.example/", "client_generation": 3, "scope": "read write",
        "audience": AUDIENCE, "issued_at": 1_800_000_000, "issued_at_rfc3339": "2027-01-15T08:00:00Z",
        "expires_at": 1_800_003_600, "expires_at_rfc3339": "2027-01-15T09:00:00Z",
    });
    assert_eq!(of_token(16, "token-issued-1.bin"), issued);
    assert_eq!(of_token(17, "token-revoked-1.bin"), json!({ "digest": digest }));
}

#[test]
fn a_schema_that_is_not_known_is_not_skipped() {
    for kind in [16, 17] {
        assert!(TokenEvent::decode(kind, 2, &golden("token-revoked-1.bin")).is_err());
    }
    for kind in [1, 2] {
        assert!(client_event::replay(&ClientRegistry::default(), kind, 2, &golden("client-deleted-1.bin")).is_err());
    }
}

fn client_metadata() -> serde_json::Value {
    json!({
        "client_name": "Das Tor", "grant_types": ["client_credentials"], "scope": "read write", "audience": AUDIENCE,
        "token_endpoint_auth_method": "client_secret_post", "introspection": "audience",
        "access_token_lifetime_seconds": 60,
    })
}

/// Writes the files. Only ever run to add one: `cargo test --test it -- --ignored golden::write`.
#[test]
#[ignore = "writes tests/golden"]
fn write() {
    let issued = token_event::encode_issued(DIGEST, 1_800_000_000, 1_800_003_600, &terms()).unwrap();
    write_new("token-issued-1.bin", &issued);
    let section = TokenWalk::new(state().reader(), 1_800_000_000).next_section().unwrap().unwrap();
    write_new("token-section-1.bin", &section.payload);
    write_new("token-revoked-2.bin", &token_event::encode_revoked(DIGEST, 1_800_003_600).unwrap());
    // A client's records are written by its actor alone, so they are read from a journal.
    let server = TestServer::start_durable();
    let mut metadata = client_metadata();
    metadata["client_id"] = json!("https://app.example/");
    let path = "/admin/v1/clients/https%3A%2F%2Fapp.example%2F";
    server.register(&metadata);
    server.ask_socket(&Request::new("DELETE", path));
    let client = server.register(&metadata);
    server.ask_socket(&Request::new("DELETE", path));
    let payloads = server.stop_and_read(client_payloads);
    let [.., stored, deleted] = &payloads[..] else { panic!() };
    write_new("client-stored-1.bin", stored);
    write_new("client-stored-1.secret", client.secret.as_bytes());
    write_new("client-deleted-1.bin", deleted);
}

fn write_new(name: &str, bytes: &[u8]) {
    if !file(name).exists() {
        std::fs::write(file(name), bytes).unwrap();
    }
}

/// The payloads of all client records of a data directory.
fn client_payloads(data_dir: &Path) -> Vec<Vec<u8>> {
    let keys = JournalKeys::from(&DerivedKeys::of(&[7; 32]));
    let disk = Arc::new(RealDisk::new(data_dir.to_owned()).unwrap());
    let clock = Arc::new(Clock::on(Box::new(ManualTime::new(UnixTime::from_seconds(START_SECONDS)))));
    let mut payloads = Vec::new();
    journal::open(disk, Options { journal_bytes_max: 256 << 20, ..Options::new(keys, 1, 1) }, clock, &mut |block| {
        payloads.extend(block.records().filter(|record| record.kind < 16).map(|record| record.payload.to_vec()));
    })
    .unwrap();
    payloads
}
