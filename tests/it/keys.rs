//! The keys that sign: `/oauth2/jwks` (RFC 7517), `/admin/v1/keys`, and what stays of them.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use memchr::memmem;
use serde_json::{Value, json};
use tessera::config::Config;
use tessera::config::value::{Durability, KeyAlgorithms};
use tessera::oauth::algorithm::SigningAlgorithm;

use crate::harness::{START_SECONDS, TestServer};
use crate::http::{Answer, Request};

const JWKS: &str = "/oauth2/jwks";
const KEYS: &str = "/admin/v1/keys";
/// RFC 8037 Appendix A.1 and A.3.
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const KID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

fn with_keys(config: &mut Config) {
    config.storage.durability = Durability::Sync;
    config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA,ES256").unwrap();
}

fn rotating_daily(config: &mut Config) {
    config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA").unwrap();
    config.tokens.key_rotation_days = 1;
}

fn import(server: &TestServer, alg: &str, key: &str) -> Answer {
    server.ask_socket(&Request::post(KEYS).json(&json!({ "alg": alg, "key": key, "at_once": true })))
}

fn jwk() -> String {
    json!({ "kty": "OKP", "crv": "Ed25519", "d": PRIVATE, "x": PUBLIC }).to_string()
}

fn rotate(server: &TestServer, document: &Value) -> Answer {
    server.ask_socket(&Request::post(&format!("{KEYS}/rotate")).json(document))
}

/// Every key as `alg state`, in the order in which they sign.
fn states(server: &TestServer) -> Vec<String> {
    let listed = server.ask_socket(&Request::get(KEYS)).json();
    let state = |key: &Value| format!("{} {}", key["alg"].as_str().unwrap(), key["state"].as_str().unwrap());
    listed["keys"].as_array().unwrap().iter().map(state).collect()
}

/// The settings know them by their names alone.
#[test]
fn every_algorithm_may_be_configured() {
    let names = SigningAlgorithm::ALL.map(SigningAlgorithm::as_str);
    assert!(KeyAlgorithms::parse(&names.join(",")).unwrap().names().eq(names));
}

fn kids(document: &Value) -> Vec<String> {
    let kids = document["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned());
    let mut kids: Vec<_> = kids.collect();
    kids.sort_unstable();
    kids
}

fn published(server: &TestServer) -> Vec<String> {
    kids(&server.ask(&Request::get(JWKS)).json())
}

/// Waits for what a tick or a start has begun.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..ATTEMPTS_MAX {
        if is_so() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("it has not come to pass");
}

const PAUSE: Duration = Duration::from_millis(10);
/// Of [`until`]: a minute or more.
const ATTEMPTS_MAX: usize = 6_000;

#[test]
fn a_first_start_makes_keys_and_a_restart_has_the_same() {
    let server = TestServer::start_with(with_keys);
    let before = published(&server);
    assert_eq!(before.len(), 2);
    let mut listed = states(&server);
    listed.sort_unstable();
    assert_eq!(listed, ["ES256 signing", "EdDSA signing"]);
    let server = server.restart();
    assert_eq!(published(&server), before);
}

#[test]
fn a_directory_from_before_keys_gets_them_at_the_next_start() {
    let server = TestServer::start_durable();
    assert_eq!(published(&server), Vec::<String>::new());
    let app = server.register_app("app");
    let token = server.issue(&app);
    let server = server.restart_with(with_keys);
    assert_eq!(published(&server).len(), 2);
    assert!(server.is_active(&app, &token));
}

#[test]
fn a_snapshot_holds_the_keys() {
    let server = TestServer::start_with(with_keys);
    assert_eq!(import(&server, "EdDSA", &jwk()).status, 201);
    let before = published(&server);
    assert_eq!(server.ask_socket(&Request::post("/admin/v1/snapshots")).status, 201);
    assert_eq!(published(&server.restart()), before);
}

#[test]
fn the_jwk_set_is_fetched_once_and_then_asked_for_its_tag() {
    let server = TestServer::start_with(with_keys);
    let first = server.ask(&Request::get(JWKS));
    assert_eq!(first.status, 200);
    assert_eq!(first.field("content-type"), Some("application/jwk-set+json"));
    assert_eq!(first.field("cache-control"), Some("public, max-age=300"));
    assert_eq!(first.field("access-control-allow-origin"), Some("*"));
    let etag = first.field("etag").unwrap().to_owned();
    let if_none_match = |tags: &str| server.ask(&Request::get(JWKS).field("If-None-Match", tags));
    for tags in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        let again = if_none_match(&tags);
        assert_eq!((again.status, again.body.as_str(), again.field("etag")), (304, "", Some(etag.as_str())), "{tags}");
    }
    for tags in ["\"other\"", etag.trim_matches('"'), ""] {
        assert_eq!(if_none_match(tags).status, 200, "{tags}");
    }
    assert_eq!(rotate(&server, &json!({ "alg": "EdDSA" })).status, 201);
    let changed = if_none_match(&etag);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.field("etag"), Some(etag.as_str()));
    assert_eq!(server.ask(&Request::post(JWKS).form(&[])).status, 405);
}

#[test]
fn the_jwk_set_tells_of_public_halves_alone() {
    let server = TestServer::start_with(with_keys);
    for key in server.ask(&Request::get(JWKS)).json()["keys"].as_array().unwrap() {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        let expected: &[&str] = match key["alg"].as_str().unwrap() {
            "EdDSA" => &["alg", "crv", "kid", "kty", "use", "x"],
            _ => &["alg", "crv", "kid", "kty", "use", "x", "y"],
        };
        assert_eq!(members, expected);
        assert_eq!(key["use"], "sig");
    }
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_goes_when_nothing_it_signed_is_left() {
    let server = TestServer::start_with(|config| config.tokens.key_algorithms = KeyAlgorithms::parse("EdDSA").unwrap());
    assert_eq!(rotate(&server, &json!({})).status, 201);
    assert_eq!(states(&server), ["EdDSA signing", "EdDSA published"]);
    assert_eq!(published(&server).len(), 2);
    server.time.advance(Duration::from_secs(3599));
    assert_eq!(states(&server), ["EdDSA signing", "EdDSA published"]);
    server.time.advance(Duration::from_secs(1));
    assert_eq!(states(&server), ["EdDSA retired", "EdDSA signing"]);
    server.tick();
    until(|| published(&server).len() == 1);
    assert_eq!(states(&server), ["EdDSA signing"]);
    assert_eq!(rotate(&server, &json!({ "at_once": true })).status, 201);
    // The other signs from this very moment on.
    server.time.advance(Duration::from_millis(1));
    assert_eq!(states(&server), ["EdDSA retired", "EdDSA signing"]);
}

#[test]
fn a_key_is_rotated_when_it_is_as_old_as_the_setting_says() {
    let server = TestServer::start_with(rotating_daily);
    let before = published(&server);
    server.time.advance(Duration::from_secs(86_399));
    server.tick();
    assert_eq!(published(&server), before);
    server.time.advance(Duration::from_secs(1));
    server.tick();
    until(|| published(&server).len() == 2);
    assert_eq!(states(&server), ["EdDSA signing", "EdDSA published"]);
}

#[test]
fn a_key_that_is_there_already_is_imported() {
    let server = TestServer::start_with(with_keys);
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode([&PKCS8_PREFIX[..], &URL_SAFE_NO_PAD.decode(PRIVATE).unwrap()].concat())
    );
    let answer = import(&server, "EdDSA", &pem);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(published(&server).contains(&KID.to_owned()));
    // The same key as a JWK.
    assert_eq!(import(&server, "EdDSA", &jwk()).error(), (409, "invalid_request".to_owned()));
    let public_alone = json!({ "kty": "OKP", "crv": "Ed25519", "x": PUBLIC }).to_string();
    let mismatched = jwk().replace("11qYAY", "11qYAZ");
    for (alg, key) in [("ES256", &*jwk()), ("EdDSA", &*public_alone), ("EdDSA", &*mismatched), ("EdDSA", "key")] {
        assert_eq!(import(&server, alg, key).error(), (400, "invalid_request".to_owned()), "{alg} {key}");
    }
    assert_eq!(import(&server, "none", &jwk()).status, 400);
    assert!(published(&server.restart()).contains(&KID.to_owned()));
}

/// RFC 8410 §7.
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

#[test]
fn a_private_half_lies_nowhere_in_the_clear() {
    let server = TestServer::start_with(with_keys);
    assert_eq!(import(&server, "EdDSA", &jwk()).status, 201);
    let answers = [server.ask(&Request::get(JWKS)), server.ask_socket(&Request::get(KEYS))];
    assert!(answers.iter().all(|answer| !answer.body.contains(PRIVATE)));
    server.ask_socket(&Request::post("/admin/v1/snapshots"));
    let private = URL_SAFE_NO_PAD.decode(PRIVATE).unwrap();
    server.stop_and_read(|data_dir| {
        for bytes in files(data_dir) {
            assert_eq!(memmem::find(&bytes, &private), None);
            assert_eq!(memmem::find(&bytes, PRIVATE.as_bytes()), None);
        }
    });
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        if path.is_dir() { files(&path) } else { std::fs::read(path).into_iter().collect() }
    };
    entries.flat_map(read).collect()
}

#[test]
fn the_keys_are_for_administrators() {
    let server = TestServer::start_with(with_keys);
    for request in [Request::get(KEYS), Request::post(KEYS).json(&json!({})), Request::post(&format!("{KEYS}/rotate"))]
    {
        assert_eq!(server.ask(&request).status, 401);
    }
    let listed = server.ask_socket(&Request::get(KEYS)).json();
    assert_eq!(listed["keys"][0]["created_at"], START_SECONDS);
    assert_eq!(kids(&listed), published(&server));
    assert_eq!(rotate(&server, &json!({ "alg": "HS256" })).status, 400);
    assert_eq!(rotate(&server, &json!({ "all": true })).status, 400);
}
