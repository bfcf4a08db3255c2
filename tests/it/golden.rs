//! Records as older versions wrote them: each is read for ever. A file here is never changed; a new schema gets a new file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkyv::util::AlignedVec;
use sdd::Guard;
use serde_json::json;
use tessera::client::Credential;
use tessera::client::event::{
    self as client_event, ClientRow, ClientSummary, DynamicRow, InitialAccessRow, RegistrationRow,
};
use tessera::client::id::ClientId;
use tessera::client::initial_access::{InitialAccessId, InitialAccessToken};
use tessera::client::metadata::TokenEndpointAuthMethod;
use tessera::client::registration_policy::{RegistrationPolicy, RegistrationPolicyDocument};
use tessera::client::registry::{ClientRegistry, Generation};
use tessera::client::secret::SecretDigest;
use tessera::clock::{Clock, ManualTime, UnixTime};
use tessera::journal::{self, JournalKeys, Options, RealDisk};
use tessera::oauth::algorithm::SigningAlgorithm;
use tessera::oauth::audience::Audience;
use tessera::oauth::authentication_context::AuthenticationContext;
use tessera::oauth::claims::ClaimsRequest;
use tessera::oauth::scope::Scope;
use tessera::oauth::subject::Subject;
use tessera::password::hash::PasswordHash;
use tessera::signing::derivation::DerivedKeys;
use tessera::signing::event::{KeyEvent, KeySummary, StoredKey};
use tessera::token::access_token::Partition;
use tessera::token::digest::TokenDigest;
use tessera::token::event::{self as token_event, TermsView, TokenEvent};
use tessera::token::grant::{ClientTerms, GrantTerms};
use tessera::token::grant_id::GrantId;
use tessera::token::person::{
    DeviceDecision, Pending, PendingCode, PendingDevice, PersonGrant, PersonTerms, RefreshState, Standing,
};
use tessera::token::person_event::{self, AccessIssued};
use tessera::token::proof::{ProofDigest, encode_proof_used};
use tessera::token::section::{TokenSectionView, TokenWalk, partitions_of};
use tessera::token::state::{NewToken, Registries, Replay, ShardState};
use tessera::token::summary::TokenSummary;
use tessera::user::User;
use tessera::user::consent::Consent;
use tessera::user::event::{UserEvent, UserSummary};
use tessera::user::name::UserName;
use tessera::user::profile::{Profile, ProfileDocument};
use tessera::user::session::{Session, SessionDigest};

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

fn terms() -> ClientTerms {
    ClientTerms {
        id: ClientId::parse("https://app.example/").unwrap(),
        generation: 3,
        in_force: Arc::default(),
        scope: Scope::parse("read write").unwrap(),
        audience: Audience::parse(AUDIENCE).unwrap(),
        claims: None,
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
        claims: None,
        person: None,
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
fn proof_used_schema_1() {
    let payload = golden("proof-used-1.bin");
    let digest = ProofDigest::from_bytes(*DIGEST.as_bytes());
    let expected = TokenEvent::ProofUsed { digest, expires_at: 1_800_000_060 };
    assert_eq!(TokenEvent::decode(22, 1, &payload).unwrap(), Some(expected));
    assert!(TokenEvent::decode(22, 2, &payload).is_err());
    let today = encode_proof_used(digest, 1_800_000_060).unwrap();
    assert_eq!(*today, *payload, "what is written has changed: that needs a new schema");
    let is_used_at = |now| {
        let mut replay = replay(now);
        replay.apply(&TokenEvent::decode(22, 1, &payload).unwrap().unwrap(), Partition(9)).unwrap();
        replay.finish().is_proof_used(digest)
    };
    assert_eq!([is_used_at(1_800_000_059), is_used_at(1_800_000_060)], [true, false]);
}

#[test]
fn client_stored_schema_1() {
    let registry = ClientRegistry::default();
    assert!(client_event::replay(&registry, 1, 1, &golden("client-stored-1.bin")).unwrap());
    let client = registry.find("https://app.example/").unwrap();
    assert_eq!((client.generation, client.in_force.value()), (3, 3));
    assert_eq!(client.created_at, UnixTime::from_seconds(START_SECONDS));
    let Credential::Generated(digest) = &client.credential else { panic!("{client:?}") };
    let secret = std::fs::read_to_string(file("client-stored-1.secret")).unwrap();
    assert_eq!(*digest, SecretDigest::of(&secret));
    let document = serde_json::to_value(client.metadata.to_document()).unwrap();
    assert_eq!(document, client_metadata());
}

#[test]
fn client_imported_schema_1() {
    let registry = ClientRegistry::default();
    let payload = golden("client-imported-1.bin");
    assert!(client_event::replay(&registry, 3, 1, &payload).unwrap());
    let client = registry.find("https://app.example/").unwrap();
    let Credential::Imported(imported) = &client.credential else { panic!("{client:?}") };
    assert_eq!((imported.hash().as_str(), imported.proven().is_none()), (HASH, true));
    assert_eq!(
        *imported_client().to_entry().unwrap().payload,
        *payload,
        "what is written has changed: that needs a new kind"
    );
}

/// Of "correct horse".
const HASH: &str = "$2b$04$.q7HRqjabY2c352Ir0WJdeVmf0i1ngkBmBHD61YINN/0d6QHMe6bm";

fn imported_client() -> ClientRow {
    ClientRow {
        client_id: "https://app.example/".to_owned(),
        generation: 3,
        registration: Some(RegistrationRow {
            created_at: UnixTime::from_seconds(START_SECONDS),
            secret_sha256: None,
            secret_hash: Some(HASH.to_owned()),
            metadata: "{\"client_name\":\"Das Tor\"}".to_owned(),
            dynamic: None,
        }),
    }
}

/// Each kind of record about people, with its file and its summary.
fn user_events() -> [(&'static str, UserEvent, serde_json::Value); 7] {
    let subject = || Subject::parse("alice|1").unwrap();
    let client_id = || ClientId::parse("https://app.example/").unwrap();
    let at = UnixTime::from_seconds(START_SECONDS);
    let profile = ProfileDocument {
        more: serde_json::Map::new(),
        name: Some("Ада Лавлейс".to_owned()),
        email: Some("ada@example.com".to_owned()),
        email_verified: Some(true),
    };
    let user = User {
        subject: subject(),
        name: UserName::parse("ada@example.com").unwrap(),
        profile: Profile::parse(profile).unwrap(),
        password: Some(PasswordHash::parse(HASH).unwrap()),
        is_disabled: true,
        created_at: at,
        updated_at: at,
    };
    let digest = SessionDigest::from_bytes(*b"0123456789abcdef0123456789abcdef");
    let session = Session {
        digest,
        subject: subject(),
        generation: 3,
        auth_time: at,
        amr: vec!["pwd".to_owned(), "otp".to_owned()],
        acr: Some("urn:mace:incommon:iap:silver".to_owned()),
        created_at: at,
        expires_at: UnixTime::from_seconds(START_SECONDS + 43_200),
        idle_seconds: 3600,
        last_seen_at: at,
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64)".to_owned()),
        address: Some("2001:db8::1".parse().unwrap()),
        in_force: Arc::default(),
    };
    let consent = Consent {
        client_id: client_id(),
        client_generation: 4,
        subject_generation: 3,
        scope: Scope::parse("read write").unwrap(),
        granted_at: at,
    };
    let (time, id) = ("2027-01-15T08:00:00Z", "30313233343536373839616263646566");
    [
        (
            "user-stored-1.bin",
            UserEvent::UserStored { user: Arc::new(user), generation: 3 },
            json!({
                "sub": "alice|1", "username": "ada@example.com", "generation": 3, "disabled": true, "has_password": true,
                "name": "Ада Лавлейс", "email": "ada@example.com", "email_verified": true,
                "created_at_rfc3339": time, "updated_at_rfc3339": time,
            }),
        ),
        (
            "user-deleted-1.bin",
            UserEvent::UserDeleted { subject: subject(), generation: 4 },
            json!({ "sub": "alice|1", "generation": 4 }),
        ),
        (
            "subject-revoked-1.bin",
            UserEvent::SubjectRevoked { subject: subject(), generation: 5 },
            json!({ "sub": "alice|1", "generation": 5 }),
        ),
        (
            "session-stored-2.bin",
            UserEvent::SessionStored(Box::new(session)),
            json!({
                "session": id, "sub": "alice|1", "generation": 3, "amr": ["pwd", "otp"],
                "acr": "urn:mace:incommon:iap:silver", "auth_time_rfc3339": time,
                "expires_at_rfc3339": "2027-01-15T20:00:00Z", "idle_seconds": 3600, "last_seen_at_rfc3339": time,
                "address": "2001:db8::1", "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
            }),
        ),
        (
            "sessions-ended-1.bin",
            UserEvent::SessionsEnded { subject: subject(), digests: vec![digest] },
            json!({ "sub": "alice|1", "sessions": [id] }),
        ),
        (
            "consent-stored-1.bin",
            UserEvent::ConsentStored { subject: subject(), consent },
            json!({
                "sub": "alice|1", "generation": 3, "client_id": "https://app.example/", "client_generation": 4,
                "scope": "read write", "granted_at_rfc3339": time,
            }),
        ),
        (
            "consent-withdrawn-1.bin",
            UserEvent::ConsentWithdrawn { subject: subject(), client_id: client_id() },
            json!({ "sub": "alice|1", "client_id": "https://app.example/" }),
        ),
    ]
}

#[test]
fn records_about_people() {
    for (name, event, summary) in user_events() {
        let (payload, today) = (golden(name), event.encode().unwrap());
        assert!(name.ends_with(&format!("-{}.bin", today.schema)), "{name}");
        assert_eq!(*today.payload, *payload, "{name}: what is written has changed, that needs a new schema");
        let read = UserEvent::decode(today.kind, today.schema, &payload).unwrap().unwrap();
        assert_eq!(*read.encode().unwrap().payload, *payload, "{name}");
        let shown = serde_json::to_value(UserSummary::of(today.kind, today.schema, &payload).unwrap()).unwrap();
        assert_eq!(shown, summary, "{name}");
        for unknown in [0, today.schema + 1] {
            let read = UserEvent::decode(today.kind, unknown, &payload);
            assert!(read.is_err(), "{name}: a schema that is not known is not skipped");
        }
    }
}

#[test]
fn session_stored_schema_1() {
    let payload = golden("session-stored-1.bin");
    let Some(UserEvent::SessionStored(session)) = UserEvent::decode(35, 1, &payload).unwrap() else { panic!() };
    assert_eq!((session.subject.as_str(), session.generation, session.idle_seconds), ("alice|1", 3, 3600));
    assert_eq!((&session.amr[..], session.acr), (&["pwd".to_owned(), "otp".to_owned()][..], None));
    let shown = serde_json::to_value(UserSummary::of(35, 1, &payload).unwrap()).unwrap();
    let mut expected = user_events().into_iter().find(|(name, ..)| *name == "session-stored-2.bin").unwrap().2;
    expected.as_object_mut().unwrap().remove("acr");
    assert_eq!(shown, expected);
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
    let terms = GrantTerms::from(ClientTerms { in_force: in_generation(3), ..terms() });
    let mut state = ShardState::new(Arc::from("https://as.example"));
    for (digest, partition) in [(DIGEST, 7), (REVOKED, 8)] {
        let token =
            NewToken { digest, partition: Partition(partition), issued_at: 1_800_000_000, expires_at: 1_800_003_600 };
        state.issue(&token, &terms);
    }
    state.revoke(REVOKED, 1);
    state
}

const REVOKED: TokenDigest = TokenDigest::from_bytes(*b"fedcba9876543210");

#[test]
fn snapshot_section_of_tokens_schema_1() {
    let payload = golden("token-section-1.bin");
    let section = TokenSectionView::decode(1, &payload).unwrap();
    let replayed = |now, is_own: &dyn Fn(Partition) -> bool| {
        let mut replay = replay(now);
        replay.load(&section, is_own).unwrap();
        replay.finish()
    };
    let state = replayed(1_800_000_000, &|_| true);
    let guard = Guard::new();
    let found = |digest| state.reader().find(digest, &guard).unwrap().unwrap();
    assert_eq!((found(DIGEST).revoked, found(REVOKED).revoked), (0, 1));
    assert_eq!((found(DIGEST).issued_at, found(DIGEST).expires_at), (1_800_000_000, 1_800_003_600));
    assert_eq!(*found(DIGEST).grant.terms(), GrantTerms::from(terms()));
    assert_eq!(
        replayed(1_800_000_000, &|partition| partition == Partition(8)).tokens(),
        1,
        "another shard has the other"
    );
    assert_eq!(replayed(1_800_003_600, &|_| true).tokens(), 0, "both have expired");
}

/// A replay that knows the client of the golden files.
fn replay(now: u32) -> Replay {
    let registries = Registries::default();
    client_event::replay(&registries.clients, 1, 1, &golden("client-stored-1.bin")).unwrap();
    Replay::new(Arc::from("https://as.example"), registries, now)
}

fn state_with_person() -> ShardState {
    let mut state = state();
    let terms = ClientTerms { in_force: in_generation(3), claims: claims(), ..terms() };
    let terms = GrantTerms { client: Arc::new(terms), ..person_terms() };
    let token =
        NewToken { digest: PERSONAL, partition: Partition(9), issued_at: 1_800_000_000, expires_at: 1_800_003_600 };
    state.issue(&token, &terms);
    state
}

#[test]
fn snapshot_section_of_tokens_schema_2() {
    let payload = golden("token-section-2.bin");
    let mut replayed = replay(1_800_000_000);
    replayed.load(&TokenSectionView::decode(2, &payload).unwrap(), |_| true).unwrap();
    let replayed = replayed.finish();
    let (reader, guard) = (replayed.reader(), Guard::new());
    let found = |digest| reader.find(digest, &guard).unwrap().unwrap();
    assert_eq!(*found(DIGEST).grant.terms(), GrantTerms::from(terms()));
    assert_eq!(*found(PERSONAL).grant.terms(), person_terms());

    let state = state_with_person();
    let written = TokenWalk::new(state.reader(), 1_800_000_000).next_section().unwrap().unwrap();
    assert_eq!((written.tokens, partitions_of(written.scope())), (3, (Partition(7), Partition(9))));
    assert_eq!(*written.payload, *payload, "what is written has changed: that needs a new schema");
}

const PERSONAL: TokenDigest = TokenDigest::from_bytes(*b"0123456789ABCDEF");
const GRANT: GrantId = GrantId::from_bytes(*b"a person's grant");

fn in_generation(generation: u64) -> Arc<Generation> {
    let registry = ClientRegistry::default();
    client_event::replay(&registry, 1, 1, &golden("client-stored-1.bin")).unwrap();
    let in_force = registry.generation(&terms().id);
    assert_eq!(in_force.value(), generation);
    in_force
}

fn person_terms() -> GrantTerms {
    let (subject, standing) = (Subject::parse("ada").unwrap(), Standing::default());
    let context = AuthenticationContext::new(["pwd"], Some("urn:example:sure"));
    let auth_time = 1_799_999_000;
    let person = PersonTerms { grant_id: GRANT, subject, subject_generation: 0, auth_time, context, standing };
    GrantTerms::from(terms()).asking(claims()).granted_by(person)
}

fn claims() -> Option<ClaimsRequest> {
    ClaimsRequest::parse(r#"{"userinfo":{"email":{"essential":true}},"id_token":{"name":null}}"#).ok()
}

/// Applies records about people's grants as a restart does, each as the golden file has it.
fn replayed(names: &[(u16, &str)]) -> ShardState {
    let mut replay = replay(1_800_000_000);
    for (kind, name) in names {
        let payload = golden(name);
        let event = TokenEvent::decode(*kind, 1, &payload).unwrap().unwrap();
        replay.apply(&event, Partition(9)).unwrap();
    }
    replay.finish()
}

fn pending_code() -> PendingCode {
    PendingCode {
        digest: DIGEST,
        terms: person_terms(),
        redirect_uri: Some(Box::from("https://app.example/cb")),
        code_challenge: Some([7; 32]),
        nonce: Some(Box::from("n-0S6")),
        expires_at: 1_800_000_060,
    }
}

fn pending_device() -> PendingDevice {
    PendingDevice {
        digest: DIGEST,
        terms: person_terms(),
        requested_at: 1_800_000_000,
        requested_from: Some("192.0.2.1".parse().unwrap()),
        expires_at: 1_800_000_600,
        decision: DeviceDecision::Approved,
    }
}

fn person_grant() -> PersonGrant {
    let refresh = RefreshState {
        generation: 2,
        current: REVOKED,
        previous: Some(DIGEST),
        refreshed_at: 1_800_000_002,
        idle_until: 1_801_000_000,
        expires_at: 1_802_000_000,
    };
    PersonGrant {
        terms: person_terms(),
        created_at: 1_800_000_001,
        redeemed: DIGEST,
        refresh: Some(refresh),
        access_expires_at: 1_800_003_601,
    }
}

fn access_issued() -> AccessIssued {
    AccessIssued {
        digest: PERSONAL,
        issued_at: 1_800_000_002,
        expires_at: 1_800_003_601,
        scope: Some(Scope::parse("read").unwrap()),
        audience: Some(Audience::parse(AUDIENCE.into_iter().take(1)).unwrap()),
    }
}

#[test]
fn code_stored_schema_1() {
    let state = replayed(&[(18, "code-stored-1.bin")]);
    let Some(Pending::Code(code)) = state.pending(GRANT) else { panic!() };
    assert_eq!((code.digest, code.expires_at, code.code_challenge), (DIGEST, 1_800_000_060, Some([7; 32])));
    assert_eq!((code.redirect_uri.as_deref(), code.nonce.as_deref()), (Some("https://app.example/cb"), Some("n-0S6")));
    assert_eq!(code.terms, person_terms());
    let today = person_event::encode_code(GRANT, code).unwrap();
    assert_eq!(*today, *golden("code-stored-1.bin"), "what is written has changed: that needs a new schema");
}

#[test]
fn device_stored_schema_1() {
    let state = replayed(&[(19, "device-stored-1.bin")]);
    let (id, device) = state.device(GRANT.routing_id()).unwrap();
    assert_eq!((id, device.digest, device.decision), (GRANT, DIGEST, DeviceDecision::Approved));
    assert_eq!((device.requested_at, device.expires_at), (1_800_000_000, 1_800_000_600));
    assert_eq!(device.requested_from, Some("192.0.2.1".parse().unwrap()));
    let today = person_event::encode_device(GRANT, device).unwrap();
    assert_eq!(*today, *golden("device-stored-1.bin"), "what is written has changed: that needs a new schema");
}

#[test]
fn grant_stored_schema_1() {
    let state = replayed(&[(18, "code-stored-1.bin"), (20, "grant-stored-1.bin")]);
    assert!(state.pending(GRANT).is_none(), "its code is redeemed");
    let grant = state.person_grant(GRANT).unwrap();
    assert_eq!((grant.redeemed, grant.created_at, grant.access_expires_at), (DIGEST, 1_800_000_001, 1_800_003_601));
    assert_eq!(grant.refresh, person_grant().refresh);
    let token = state.find(PERSONAL).unwrap();
    assert_eq!(
        (token.terms.client.scope.as_str(), token.issued_at, token.expires_at),
        ("read", 1_800_000_002, 1_800_003_601)
    );
    assert_eq!(Some(&token.terms.client.audience), access_issued().audience.as_ref());
    let today = person_event::encode_grant(GRANT, grant, Some(&access_issued())).unwrap();
    assert_eq!(*today, *golden("grant-stored-1.bin"), "what is written has changed: that needs a new schema");
}

#[test]
fn grant_ended_schema_1() {
    let state = replayed(&[(20, "grant-stored-1.bin"), (21, "grant-ended-1.bin")]);
    assert_eq!(state.grants_in_force().count(), 0);
    assert_ne!(state.reader().find(PERSONAL, &Guard::new()).unwrap().unwrap().grant.ended(), 0);
    let today = person_event::encode_grant_ended(GRANT).unwrap();
    assert_eq!(*today, *golden("grant-ended-1.bin"), "what is written has changed: that needs a new schema");
}

#[test]
fn every_record_has_a_summary_without_its_secrets() {
    let of_client = |kind, name| serde_json::to_value(ClientSummary::of(kind, 1, &golden(name)).unwrap());
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

fn key_events() -> [(&'static str, KeyEvent, serde_json::Value); 2] {
    let kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".to_owned();
    let key = StoredKey {
        kid: kid.clone(),
        algorithm: SigningAlgorithm::EdDsa,
        created_at: UnixTime::from_millis(1_800_000_000_123),
        signs_from: UnixTime::from_millis(1_800_003_600_123),
        tokens_until: 1_800_010_000,
        sealed: "a-sealed-text-that-only-the-master-key-opens".to_owned(),
    };
    let shown = json!({
        "kid": kid, "alg": "EdDSA", "created_at_rfc3339": key.created_at.to_string(),
        "signs_from_rfc3339": key.signs_from.to_string(),
    });
    [
        ("key-stored-1.bin", KeyEvent::Stored(key), shown),
        ("key-removed-1.bin", KeyEvent::Removed { kid: kid.clone() }, json!({ "kid": kid })),
    ]
}

#[test]
fn records_about_keys_schema_1() {
    for (name, event, summary) in key_events() {
        let (payload, today) = (golden(name), event.encode().unwrap());
        assert_eq!(*today.payload, *payload, "{name}: what is written has changed, that needs a new schema");
        assert_eq!(KeyEvent::decode(today.kind, 1, &payload).unwrap(), Some(event), "{name}");
        let shown = serde_json::to_value(KeySummary::of(today.kind, 1, &payload).unwrap()).unwrap();
        assert_eq!(shown, summary, "{name}");
        assert!(
            KeyEvent::decode(today.kind, 2, &payload).is_err(),
            "{name}: a schema that is not known is not skipped"
        );
    }
}

fn registered_client() -> ClientRow {
    let dynamic = DynamicRow {
        initial_access: InitialAccessId::new(0x1234),
        number: 2,
        used_at: UnixTime::from_seconds(START_SECONDS + 86_400),
    };
    let row = imported_client();
    let registration = row.registration.map(|registration| RegistrationRow {
        secret_sha256: Some([7; 32]),
        secret_hash: None,
        dynamic: Some(dynamic),
        ..registration
    });
    ClientRow { registration, ..row }
}

fn initial_access() -> InitialAccessRow {
    use TokenEndpointAuthMethod::{ClientSecretBasic, ClientSecretPost, None};
    let policy = RegistrationPolicyDocument {
        scope: Some("read".to_owned()),
        token_endpoint_auth_methods: Some(vec![ClientSecretBasic, ClientSecretPost, None]),
        ..RegistrationPolicyDocument::default()
    };
    InitialAccessRow::Stored(Arc::new(InitialAccessToken {
        id: InitialAccessId::new(0x1234),
        digest: SecretDigest::from_bytes([9; 32]),
        label: Some("Partner".to_owned()),
        created_at: UnixTime::from_seconds(START_SECONDS),
        expires_at: UnixTime::from_seconds(START_SECONDS + 3600),
        registrations_max: Some(5),
        registrations: 1,
        policy: Arc::new(RegistrationPolicy::parse(&policy).unwrap()),
    }))
}

#[test]
fn client_registered_schema_1() {
    let registry = ClientRegistry::default();
    assert!(client_event::replay(&registry, 5, 1, &golden("initial-access-stored-1.bin")).unwrap());
    let payload = golden("client-registered-1.bin");
    assert!(client_event::replay(&registry, 4, 1, &payload).unwrap());
    let client = registry.find("https://app.example/").unwrap();
    let registration = client.registration.as_ref().unwrap();
    assert_eq!((registration.token, registration.number), (InitialAccessId::new(0x1234), 2));
    assert_eq!(registration.used_at(), UnixTime::from_seconds(START_SECONDS + 86_400));
    assert_eq!(registry.initial_access(registration.token).unwrap().registrations, 2, "it counts on its token");
    assert_eq!(
        *registered_client().to_entry().unwrap().payload,
        *payload,
        "what is written has changed: that needs a new kind"
    );
}

#[test]
fn initial_access_schema_1() {
    let shown = json!({
        "initial_access_token": "0000000000001234", "label": "Partner", "created_at_rfc3339": "2027-01-15T08:00:00Z",
        "expires_at_rfc3339": "2027-01-15T09:00:00Z", "registrations_max": 5, "registrations": 1,
        "policy": {
            "grant_types": ["authorization_code", "refresh_token"], "scope": "read",
            "token_endpoint_auth_methods": ["client_secret_basic", "client_secret_post", "none"], "audience": [],
        },
    });
    let revoked = InitialAccessRow::Revoked(InitialAccessId::new(0x1234));
    for (name, row, shown) in [
        ("initial-access-stored-1.bin", initial_access(), shown),
        ("initial-access-revoked-1.bin", revoked, json!({ "initial_access_token": "0000000000001234" })),
    ] {
        let (payload, today) = (golden(name), row.to_entry().unwrap());
        assert_eq!(*today.payload, *payload, "{name}: what is written has changed, that needs a new schema");
        let again = InitialAccessRow::decode(today.kind, 1, &payload).unwrap().unwrap();
        assert_eq!(*again.to_entry().unwrap().payload, *payload, "{name}");
        assert_eq!(serde_json::to_value(ClientSummary::of(today.kind, 1, &payload).unwrap()).unwrap(), shown, "{name}");
        assert!(
            client_event::check(today.kind, 2, &payload).is_err(),
            "{name}: a schema that is not known is not skipped"
        );
    }
    let registry = ClientRegistry::default();
    client_event::replay(&registry, 5, 1, &golden("initial-access-stored-1.bin")).unwrap();
    client_event::replay(&registry, 6, 1, &golden("initial-access-revoked-1.bin")).unwrap();
    assert!(registry.initial_access(InitialAccessId::new(0x1234)).is_none());
}

/// Writes the files. Only ever run to add one: `cargo test --test it -- --ignored golden::write`.
#[test]
#[ignore = "writes tests/golden"]
fn write() {
    write_new("client-registered-1.bin", &registered_client().to_entry().unwrap().payload);
    let revoked = InitialAccessRow::Revoked(InitialAccessId::new(0x1234));
    write_new("initial-access-stored-1.bin", &initial_access().to_entry().unwrap().payload);
    write_new("initial-access-revoked-1.bin", &revoked.to_entry().unwrap().payload);
    for (name, event, _) in user_events() {
        write_new(name, &event.encode().unwrap().payload);
    }
    for (name, event, _) in key_events() {
        write_new(name, &event.encode().unwrap().payload);
    }
    write_new("code-stored-1.bin", &person_event::encode_code(GRANT, &pending_code()).unwrap());
    write_new("device-stored-1.bin", &person_event::encode_device(GRANT, &pending_device()).unwrap());
    let grant = person_event::encode_grant(GRANT, &person_grant(), Some(&access_issued()));
    write_new("grant-stored-1.bin", &grant.unwrap());
    write_new("grant-ended-1.bin", &person_event::encode_grant_ended(GRANT).unwrap());
    write_new("client-imported-1.bin", &imported_client().to_entry().unwrap().payload);
    let issued = token_event::encode_issued(DIGEST, 1_800_000_000, 1_800_003_600, &terms()).unwrap();
    write_new("token-issued-1.bin", &issued);
    let section = TokenWalk::new(state().reader(), 1_800_000_000).next_section().unwrap().unwrap();
    write_new("token-section-1.bin", &section.payload);
    let section = TokenWalk::new(state_with_person().reader(), 1_800_000_000).next_section().unwrap().unwrap();
    write_new("token-section-2.bin", &section.payload);
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
